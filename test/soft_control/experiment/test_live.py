"""The look at a run while it goes, over a real ROS graph in this process."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="ROS 2 is not installed: soft_control[ros]")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue  # noqa: E402
from sensor_msgs.msg import JointState  # noqa: E402
from trajectory_msgs.msg import JointTrajectory  # noqa: E402

from soft_control.experiment.live import Live  # noqa: E402
from soft_control.experiment.ros_messages import EVERY_SAMPLE, joint_state, trajectory  # noqa: E402
from soft_control.experiment.runner import ros_domain  # noqa: E402
from soft_control.rigs import describe  # noqa: E402

START_NS, SECOND_NS = 10_000_000_000, 1_000_000_000
TIMEOUT_S = 30.0


@pytest.fixture
def run():
    """(live, outputs, reference, solver): the view of a run, and the publishers of its topics; a
    sample at START_NS with an error of 5 mm and a cost of 1 cycle has been seen."""
    with ros_domain():
        context = rclpy.Context()
        rclpy.init(context=context)
        node = rclpy.create_node("run", context=context)
        topics = (
            (JointState, "/outputs"),
            (JointTrajectory, "/reference"),
            (DiagnosticArray, "/solver"),
        )
        outputs, reference, solver = (
            node.create_publisher(*topic, EVERY_SAMPLE) for topic in topics
        )
        with Live(describe("tendon")) as live:
            deadline = time.monotonic() + TIMEOUT_S
            # What is published before both ends know of each other is lost on this reader.
            while math.isnan(live.view.error) or not live.view.step_cost:
                assert time.monotonic() < deadline, "nothing is seen"
                outputs.publish(seen(START_NS, 0.005))
                reference.publish(wanted(START_NS))
                solver.publish(told(step_cost="1", step_cost_unit="cycles"))
                live.poll()
                time.sleep(0.01)
            yield live, outputs, reference, solver
        node.destroy_node()
        context.try_shutdown()


def seen(ns: int, x: float) -> JointState:
    return joint_state(ns, "xyz", [x, 0.0, 0.0])


def wanted(ns: int) -> JointTrajectory:
    return trajectory(ns, 1, "xyz", np.zeros((2, 3)))


def told(**values: str) -> DiagnosticArray:
    pairs = [KeyValue(key=key, value=value) for key, value in values.items()]
    return DiagnosticArray(status=[DiagnosticStatus(values=pairs)])


def polled(live: Live, shows) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not shows(live.poll()):
        assert time.monotonic() < deadline, live.view
        time.sleep(0.01)


def test_it_shows_time_and_errors_of_the_newest_samples(run):
    live, outputs, reference, _ = run
    for t_s, error_mm in ((1, 4.0), (2, 3.0), (3, 1.0)):
        ns = START_NS + t_s * SECOND_NS
        outputs.publish(seen(ns, 1e-3 * error_mm))
        reference.publish(wanted(ns))
        polled(live, lambda view, error_mm=error_mm: math.isclose(view.error, error_mm))
    assert live.view.t_s == 3.0
    # Errors count after the first 2 s.
    assert math.isclose(live.view.rmse, math.sqrt((3.0**2 + 1.0**2) / 2))
    assert "error 1.00 mm" in live.view.note()


def test_it_shows_what_a_step_cost(run):
    live, _, _, solver = run
    assert live.view.step_cost == "1 cycles"
    solver.publish(DiagnosticArray())
    solver.publish(told(cost="1.0"))
    solver.publish(told(step_cost="281000", step_cost_unit="instructions"))
    polled(live, lambda view: view.step_cost == "281,000 instructions")


def test_a_position_that_makes_no_sense_does_not_break_the_run_off(run):
    live, outputs, reference, _ = run
    for ns, x in ((START_NS + 1, math.nan), (START_NS + 2, 0.002)):
        reference.publish(wanted(ns))
        outputs.publish(seen(ns, x))
    polled(live, lambda view: math.isclose(view.error, 2.0))
