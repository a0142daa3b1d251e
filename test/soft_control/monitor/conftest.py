"""A small robot in a ROS domain of its own, that the monitor looks at."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

rclpy = pytest.importorskip("rclpy", reason="ROS 2 is not installed: soft_control[ros]")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue  # noqa: E402
from rcl_interfaces.msg import (  # noqa: E402
    FloatingPointRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor  # noqa: E402
from sensor_msgs.msg import JointState  # noqa: E402
from std_msgs.msg import Header  # noqa: E402
from trajectory_msgs.msg import JointTrajectory  # noqa: E402

from soft_control.experiment.ros_messages import (  # noqa: E402
    EVERY_SAMPLE,
    LATCHED,
    joint_state,
    to_stamp,
    trajectory,
)
from soft_control.experiment.runner import ros_domain  # noqa: E402

CONTROLLERS = ("mpc", "pid", "open_loop", "hold")
ROW_NS = 40_000_000


class SmallRobot:
    """One node that publishes what a robot does, and has parameters as those of the node mcu: some
    that can be set, a controller that refuses one choice, names and limits that are read only."""

    def __init__(self, domain: int, namespace: str = "") -> None:
        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.node = rclpy.create_node("mcu", namespace=namespace, context=self.context)
        self.k = 0
        self.start_ns = 1_000_000_000
        self.said: list[tuple[str, Any]] = []
        publisher = self.node.create_publisher
        self.outputs = publisher(JointState, "outputs", EVERY_SAMPLE)
        self.reference = publisher(JointTrajectory, "reference", EVERY_SAMPLE)
        self.command = publisher(JointState, "command", EVERY_SAMPLE)
        self.solver = publisher(DiagnosticArray, "solver", EVERY_SAMPLE)
        self.statistics = publisher(JointState, "~/statistics", EVERY_SAMPLE)
        self.active = publisher(Header, "controller", LATCHED)
        self.declare()
        self.node.add_on_set_parameters_callback(self.on_set)
        self.node.create_timer(0.02, self.step)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.thread = threading.Thread(target=self.spin, daemon=True)
        self.active.publish(Header(frame_id="mpc"))
        self.thread.start()

    def declare(self) -> None:
        fixed = ParameterDescriptor(read_only=True)
        weight = FloatingPointRange(from_value=0.0, to_value=1e300)
        one_of = f"one of {', '.join(CONTROLLERS)}"
        for name, value, descriptor in (
            ("output_names", ["tip_x", "tip_y"], fixed),
            ("command_names", ["left", "right"], fixed),
            ("command_min", [-2.0, -1.0], fixed),
            ("command_max", [2.0, 1.0], fixed),
            ("controller", "mpc", ParameterDescriptor(additional_constraints=one_of)),
            ("output_weight", [1.0, 2.0], ParameterDescriptor(description="1/mm².")),
            ("share", 0.5, ParameterDescriptor(floating_point_range=[weight])),
        ):
            self.node.declare_parameter(name, value, descriptor)

    def on_set(self, parameters: list[Any]) -> SetParametersResult:
        for parameter in parameters:
            if parameter.value == "pid":
                return SetParametersResult(successful=False, reason="pid has no position to see")
            self.said.append((parameter.name, parameter.value))
            if parameter.name == "controller":
                self.active.publish(Header(frame_id=parameter.value))
        return SetParametersResult(successful=True)

    def step(self) -> None:
        ns = self.start_ns + self.k * ROW_NS
        names = ["tip_x", "tip_y"]
        self.outputs.publish(joint_state(ns, names, [0.25 * self.k, 3.0]))
        self.reference.publish(trajectory(ns, ROW_NS, names, [[0.25 * self.k, 7.0]]))
        self.command.publish(joint_state(ns, ["left", "right"], [1.0, -0.5]))
        status = DiagnosticStatus(name="mpc", message="converged")
        status.values = [KeyValue(key="cost", value="0.5"), KeyValue(key="iterations", value="2")]
        message = DiagnosticArray(status=[status])
        message.header.stamp = to_stamp(ns)
        self.solver.publish(message)
        if self.k % 10 == 0:
            self.statistics.publish(joint_state(ns, ["rate_hz"], [25.0]))
        self.k += 1

    def spin(self) -> None:
        try:
            self.executor.spin()
        except ExternalShutdownException:
            pass

    def close(self) -> None:
        self.executor.shutdown()
        self.thread.join()
        self.node.destroy_node()
        self.context.try_shutdown()


@pytest.fixture
def domain() -> Iterator[int]:
    """A ROS domain of the test's own."""
    with ros_domain() as number:
        yield number


@pytest.fixture
def small_robot(domain: int) -> Iterator[Callable[..., SmallRobot]]:
    """small_robot(namespace) starts one; all have ended after the test."""
    started: list[SmallRobot] = []

    def start(namespace: str = "") -> SmallRobot:
        started.append(SmallRobot(domain, namespace))
        return started[-1]

    yield start
    for robot in started:
        if robot.context.ok():
            robot.close()


@pytest.fixture
def wait_until() -> Callable[..., Any]:
    """wait_until(what): what it returns as soon as that is true; fails after three minutes."""

    def wait(what: Callable[[], Any]) -> Any:
        limit = time.monotonic() + 180
        while time.monotonic() < limit:
            if found := what():
                return found
            time.sleep(0.02)
        pytest.fail("did not come true within three minutes")

    return wait
