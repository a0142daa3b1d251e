"""A whole run whose firmware restarts under the emulator while the graph lives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed: pip install soft_control[ros]")

import rclpy  # noqa: E402
from sensor_msgs.msg import JointState  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402

from soft_control.experiment.bringup import prepare  # noqa: E402
from soft_control.experiment.ros_messages import LATEST_SAMPLE, to_ns  # noqa: E402
from soft_control.experiment.runner import ros_domain, run  # noqa: E402
from soft_control.experiment.settings import Experiment  # noqa: E402
from soft_control.experiment.summary import finish  # noqa: E402
from soft_control.firmware_files import read_build  # noqa: E402
from soft_control.learning.bag_messages import read_topics  # noqa: E402

MOVE_MAX = 0.0506
"""Of a sample, rad: config/robots/tendon.yaml."""


class Caller:
    """Asks for one restart when the run has begun."""

    def __init__(self) -> None:
        self.node = rclpy.create_node("caller")
        self.client = self.node.create_client(Trigger, "/mcu/restart")
        self.answer = None
        self.stamps: set[int] = set()
        self.node.create_subscription(JointState, "/command", self.heard, LATEST_SAMPLE)

    def heard(self, message: JointState) -> None:
        self.stamps.add(to_ns(message.header.stamp))

    def poll(self) -> None:
        rclpy.spin_once(self.node, timeout_sec=0.0)
        begun = len(self.stamps) > 1
        if begun and self.answer is None and self.client.service_is_ready():
            self.answer = self.client.call_async(Trigger.Request())


@pytest.mark.long
@pytest.mark.parametrize("wiring", ["host", "mcu"])
def test_no_sample_is_lost_and_no_command_jumps(tendon, tmp_path: Path, wiring):
    out = tmp_path / "run"
    experiment = Experiment(
        wiring=wiring,
        target="pil",
        duration_s=12.0,
        model=tendon.model,
        firmware=tendon.firmware,
        out=out,
    )
    with ros_domain():
        nodes = prepare(experiment)
        rclpy.init(signal_handler_options=rclpy.SignalHandlerOptions.NO)
        caller = Caller()
        try:
            run(nodes, out, caller.poll)
        finally:
            caller.node.destroy_node()
            rclpy.try_shutdown()
    answer = caller.answer.result()
    assert answer.success and read_build(tendon.firmware).build_id in answer.message
    summary = finish(out)
    assert summary["complete"] and summary["samples"] == 1440
    assert summary["commands_outside_bounds"] == 0
    assert sum(summary["solver_status"].values()) == 1440
    topics, _ = read_topics(out / "bag", ("/command", "/firmware"))
    told = np.array([m.position for m in topics["/command"].values()])
    assert len(told) == 1440
    assert np.abs(np.diff(told, axis=0)).max() <= MOVE_MAX + 1e-6
    assert len(topics["/firmware"]) == 2
