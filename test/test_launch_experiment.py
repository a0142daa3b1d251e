"""The real launch file under the real launch tools, where ROS 2 has them.

PyPI's ROS 2 wheels leave `launch`, `launch_ros` and `launch_testing` out: there this skips.
"""

from __future__ import annotations

import json
import os
import tempfile
import unittest
from pathlib import Path

import pytest

REASON = "launch_testing is not installed: it comes with a ROS 2 installation"
launch = pytest.importorskip("launch", reason=REASON)
launch_testing = pytest.importorskip("launch_testing", reason=REASON)
pytest.importorskip("launch_ros", reason=REASON)

from launch.actions import IncludeLaunchDescription, SetEnvironmentVariable  # noqa: E402
from launch.launch_description_sources import PythonLaunchDescriptionSource  # noqa: E402
from launch_testing.actions import ReadyToTest  # noqa: E402
from launch_testing.asserts import assertExitCodes  # noqa: E402

from soft_control.paths import share  # noqa: E402

MODEL, FIRMWARE = (os.environ.get(f"SOFT_CONTROL_{name}", "") for name in ("MODEL", "FIRMWARE"))
OUT = Path(tempfile.mkdtemp(prefix="soft_control_launch_")) / "run"


@pytest.mark.launch_test
@pytest.mark.skipif(
    not MODEL or not FIRMWARE,
    reason="SOFT_CONTROL_MODEL and SOFT_CONTROL_FIRMWARE name no trained rig",
)
def generate_test_description():
    source = PythonLaunchDescriptionSource(str(share() / "launch" / "experiment.launch.py"))
    arguments = {
        "controller": "mpc",
        "target": "pil",
        "duration_s": "4.0",
        "model": MODEL,
        "firmware": FIRMWARE,
        "out": str(OUT),
    }
    return launch.LaunchDescription(
        [
            SetEnvironmentVariable("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST"),
            SetEnvironmentVariable("ROS_DOMAIN_ID", str(1 + os.getpid() % 100)),
            IncludeLaunchDescription(source, launch_arguments=arguments.items()),
            ReadyToTest(),
        ]
    )


class TestWhileItRuns(unittest.TestCase):
    def test_the_rig_ends_the_run(self, proc_info):
        proc_info.assertWaitForShutdown(process="rig", timeout=120)


@launch_testing.post_shutdown_test()
class TestAfterwards(unittest.TestCase):
    def test_every_node_ended_well(self, proc_info):
        assertExitCodes(proc_info)

    def test_the_run_is_complete(self):
        summary = json.loads((OUT / "summary.json").read_text())
        self.assertTrue(summary["complete"])
        self.assertEqual(summary["samples"], 480)
        self.assertEqual(summary["commands_outside_bounds"], 0)
