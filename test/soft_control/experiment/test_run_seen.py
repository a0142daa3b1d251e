"""Runs that are looked at: what viewers get, and that a run does without them."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="ROS 2 is not installed: soft_control[ros]")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus  # noqa: E402
from sensor_msgs.msg import JointState  # noqa: E402
from visualization_msgs.msg import MarkerArray  # noqa: E402

from soft_control.experiment import runner  # noqa: E402
from soft_control.experiment.bringup import prepare  # noqa: E402
from soft_control.experiment.settings import Experiment  # noqa: E402
from soft_control.experiment.summary import summarise  # noqa: E402
from soft_control.robots.links import LINKS  # noqa: E402


class Viewer:
    """Hears what a viewer would hear, of a robot in a namespace."""

    def __init__(self, namespace: str) -> None:
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self.node = rclpy.create_node("viewer", context=self.context, namespace=namespace)
        self.executor = rclpy.executors.SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.markers: list[MarkerArray] = []
        self.joints: list[JointState] = []
        self.node.create_subscription(MarkerArray, "markers", self.markers.append, 10)
        self.node.create_subscription(JointState, "joint_states", self.joints.append, 10)
        self.said: list[DiagnosticStatus] = []
        self.counted: list[DiagnosticArray] = []
        self.node.create_subscription(
            DiagnosticArray, "/diagnostics", lambda m: self.said.extend(m.status), 100
        )
        self.node.create_subscription(DiagnosticArray, "mcu", self.counted.append, 100)

    def poll(self) -> None:
        for _ in range(20):
            self.executor.spin_once(timeout_sec=0)

    def close(self) -> None:
        self.executor.shutdown()
        self.node.destroy_node()
        self.context.try_shutdown()


def process_of(node: str, run_dir: Path) -> int | None:
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().decode().replace("\0", " ").split()
        except OSError:
            continue
        if str(run_dir / "parameters" / f"{node}.yaml") in words:
            return int(process.name)
    return None


def test_viewers_get_markers_and_joints_and_a_run_goes_on_without_the_node(tendon, tmp_path):
    """In a namespace, whose frames have its prefix; the node is killed in mid-run."""
    out = tmp_path / "run"
    killed = []
    with runner.ros_domain():
        viewer = Viewer("/left")

        def poll() -> None:
            viewer.poll()
            if len(viewer.joints) >= 10 and not killed:
                killed.append(process_of("visual", out))
                os.kill(killed[0], signal.SIGKILL)

        try:
            nodes = prepare(experiment(tendon, out, namespace="left", visual=True, duration_s=20.0))
            runner.run(nodes, out, poll)
        finally:
            viewer.close()
    assert killed
    assert summarise(out)["complete"]

    last = viewer.markers[-1]
    assert {marker.header.frame_id for marker in last.markers} == {"left/rig_base"}
    assert {marker.ns for marker in last.markers} >= {"reference", "horizon", "tip", "wanted"}
    tips = {}
    for message in viewer.markers:
        stamp = message.markers[0].header.stamp
        tip = next(marker for marker in message.markers if marker.ns == "tip").points[0]
        tips[stamp.sec, stamp.nanosec] = np.array([tip.x, tip.y, tip.z])
    checked = 0
    for message in viewer.joints:
        stamp = message.header.stamp
        tip = tips.get((stamp.sec, stamp.nanosec))
        if tip is not None:
            said = dict(zip(message.name, message.position, strict=True))
            expected = LINKS["tendon"].of_tip(tip)
            assert {name: said[name] for name in expected} == pytest.approx(expected)
            checked += 1
    assert checked > 3


def of(statuses: list[DiagnosticStatus], node: str) -> list[DiagnosticStatus]:
    return [status for status in statuses if status.name == node]


def numbers(status: DiagnosticStatus) -> dict[str, float]:
    return {pair.key: float(pair.value) for pair in status.values}


def experiment(tendon, out: Path, **changes) -> Experiment:
    return Experiment(
        model=tendon.model, firmware=tendon.firmware, target="sil", out=out, **changes
    )


@pytest.mark.long
def test_a_controller_that_stops_for_a_while_is_said_in_diagnostics(tendon, tmp_path):
    """In realtime: the gate misses it, and refuses what it answers to samples of before."""
    out = tmp_path / "run"
    stopped: list[int] = []
    with runner.ros_domain():
        viewer = Viewer("")

        def silent() -> bool:
            return any(numbers(s)["silent"] for s in of(viewer.said, "dynamixel"))

        def poll() -> None:
            viewer.poll()
            if not stopped and of(viewer.said, "mcu") and numbers(viewer.said[-1])["rate_hz"] > 0:
                stopped.append(process_of("mcu", out))
                os.kill(stopped[0], signal.SIGSTOP)
            elif len(stopped) == 1 and silent():
                os.kill(stopped[0], signal.SIGCONT)
                stopped.append(0)

        try:
            runner.run(
                prepare(experiment(tendon, out, clock="realtime", duration_s=30.0)), out, poll
            )
        finally:
            viewer.close()
    assert len(stopped) == 2, "it was stopped and continued"
    assert {s.name for s in viewer.said} >= {"lightlace", "mcu", "dynamixel"}
    missed = [s for s in of(viewer.said, "dynamixel") if "silent" in s.message]
    assert missed and missed[0].level == DiagnosticStatus.WARN
    assert numbers(of(viewer.said, "mcu")[-1])["samples"] > 0
    back = numbers(of(viewer.said, "dynamixel")[-1])
    assert back["commands"] > numbers(missed[0])["commands"], "commands come again"


def test_counters_of_the_microcontroller_come_while_the_run_goes_on(tendon, tmp_path):
    out = tmp_path / "run"
    with runner.ros_domain():
        viewer = Viewer("")
        during: list[int] = []

        def poll() -> None:
            viewer.poll()
            during[:] = [len(viewer.counted)]

        try:
            nodes = prepare(experiment(tendon, out, clock="realtime", wiring="mcu", duration_s=6.0))
            runner.run(nodes, out, poll)
        finally:
            viewer.close()
    assert during[0] >= 2
    last = numbers_of(viewer.counted[-1])
    assert {"missed_samples", "bad_frames", "lost_points"} <= last.keys()
    assert last["sensor_samples"] > numbers_of(viewer.counted[0])["sensor_samples"]
    status = of(viewer.said, "mcu")[-1]
    assert numbers(status)["sensor_samples"] > 0
    at_the_end = summarise(out)["mcu"]
    assert at_the_end["sensor_samples"] >= last["sensor_samples"], "the last word counts"


def numbers_of(message: DiagnosticArray) -> dict[str, float]:
    return {
        pair.key: float(pair.value)
        for pair in message.status[0].values
        if pair.key not in ("state", "cause")
    }


def test_in_lockstep_nobody_says_how_it_is(tendon, tmp_path):
    """A bag would depend on how fast the machine was."""
    out = tmp_path / "run"
    with runner.ros_domain():
        viewer = Viewer("")
        try:
            runner.run(
                prepare(experiment(tendon, out, wiring="mcu", duration_s=10.0)), out, viewer.poll
            )
            viewer.poll()
        finally:
            viewer.close()
    assert not viewer.said and len(viewer.counted) <= 1
