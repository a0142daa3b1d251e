"""The launch file under launch_testing, as a package that includes it would test it: topics and
parameters while it runs, exit codes afterwards. test_ways_to_run.py has what can go wrong.

PyPI's ROS 2 wheels leave `launch`, `launch_ros` and `launch_testing` out: there this skips.
"""

from __future__ import annotations

import json
import tempfile
import time
import unittest
from pathlib import Path

import pytest

REASON = "launch_testing is not installed: it comes with a ROS 2 installation"
launch = pytest.importorskip("launch", reason=REASON)
launch_testing = pytest.importorskip("launch_testing", reason=REASON)
pytest.importorskip("launch_ros", reason=REASON)

import rclpy  # noqa: E402
from ament_index_python.packages import PackageNotFoundError, get_package_prefix  # noqa: E402
from launch.actions import IncludeLaunchDescription  # noqa: E402
from launch.launch_description_sources import PythonLaunchDescriptionSource  # noqa: E402
from launch_testing.actions import ReadyToTest  # noqa: E402
from launch_testing.asserts import assertExitCodes  # noqa: E402
from rcl_interfaces.srv import DescribeParameters  # noqa: E402

from soft_control.paths import share  # noqa: E402

OUT = Path(tempfile.mkdtemp(prefix="soft_control_launch_")) / "run"
TOPICS = {"/left/outputs", "/left/signals/calibrated", "/left/command", "/left/command/asked"}


def is_installed() -> bool:
    try:
        return bool(get_package_prefix("soft_control"))
    except PackageNotFoundError:
        return False


@pytest.mark.launch_test
@pytest.mark.skipif(not is_installed(), reason="soft_control is not on AMENT_PREFIX_PATH")
def generate_test_description():
    source = PythonLaunchDescriptionSource(str(share() / "launch" / "experiment.launch.py"))
    arguments = {
        "controller": "excitation",
        "clock": "realtime",
        "duration_s": "60.0",
        "namespace": "left",
        "out": str(OUT),
    }
    include = IncludeLaunchDescription(source, launch_arguments=arguments.items())
    return launch.LaunchDescription([include, ReadyToTest()])


class TestWhileItRuns(unittest.TestCase):
    def test_topics_and_parameters_are_there_and_the_rig_ends_the_run(self, proc_info):
        # The launch file has set domain and discovery of this process too.
        rclpy.init()
        node = rclpy.create_node("looks_on")
        try:
            deadline = time.monotonic() + 55
            while missing := TOPICS - {name for name, _ in node.get_topic_names_and_types()}:
                self.assertLess(time.monotonic(), deadline, f"missing: {missing}")
                time.sleep(0.1)
            client = node.create_client(DescribeParameters, "/left/rig/describe_parameters")
            self.assertTrue(client.wait_for_service(30))
            asked = client.call_async(DescribeParameters.Request(names=["rate_hz"]))
            rclpy.spin_until_future_complete(node, asked, timeout_sec=30)
            self.assertEqual(asked.result().descriptors[0].description, "Samples a second.")
        finally:
            node.destroy_node()
            rclpy.shutdown()
        proc_info.assertWaitForShutdown(process="rig", timeout=240)


@launch_testing.post_shutdown_test()
class TestAfterwards(unittest.TestCase):
    def test_every_node_ended_well(self, proc_info):
        assertExitCodes(proc_info)

    def test_there_is_a_run(self):
        summary = json.loads((OUT / "summary.json").read_text())
        self.assertEqual(summary["namespace"], "/left")
        self.assertGreater(summary["samples"], 100)
        self.assertEqual(summary["commands_outside_bounds"], 0)
