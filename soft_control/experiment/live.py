"""A look at a run while it goes: the newest messages, a few times a second, disturbing nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectory

from soft_control.experiment.record import SETTLE_S
from soft_control.experiment.ros_messages import GLANCE, Join, by_name, from_trajectory, to_ns
from soft_control.plain_text import printable
from soft_control.robots.description import RobotDescription
from soft_control.security.enclaves import init_words
from soft_control.topics import OUTPUTS, REFERENCE, SOLVER, relative


@dataclass
class View:
    """What there is to see now; errors are of the robot's first point or output, at the samples
    seen, some ten a second."""

    t_s: float = 0.0
    error: float = math.nan
    rmse: float = math.nan
    unit: str = ""
    """Of both, on paper; empty: none."""
    step_cost: str = ""

    def note(self) -> str:
        """As one line, without what there is none of: open-loop runs have no error."""
        parts = [f"{self.t_s:5.1f} s"]
        for title, error in (("error", self.error), ("RMSE", self.rmse)):
            if math.isfinite(error):
                parts.append(f"{title} {error:.2f} {self.unit}".strip())
        return "  ".join([*parts, self.step_cost])


class Live:
    """Context manager around a listening node; `poll()` returns the newest View."""

    def __init__(
        self, robot: RobotDescription, namespace: str = "", settled_s: float = SETTLE_S
    ) -> None:
        """settled_s: the error is summed up from then on."""
        self.namespace, self.settled_s = namespace, settled_s
        self.robot, self.group = robot, robot.groups[0]

    def __enter__(self) -> Live:
        self.context = rclpy.Context()
        rclpy.init(context=self.context, args=init_words("softctl_live", self.namespace))
        self.node = rclpy.create_node(
            "softctl_live", context=self.context, namespace=self.namespace
        )
        self.executor = rclpy.executors.SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.view = View(unit="" if self.group.unit == "1" else printable(self.group.unit))
        self.start_ns: int | None = None
        self.squares, self.counted = 0.0, 0
        self.join = Join((OUTPUTS, REFERENCE), self.on_sample)
        for message, topic, callback in (
            (JointState, OUTPUTS, self.on_outputs),
            (JointTrajectory, REFERENCE, lambda m: self.join.put(REFERENCE, m)),
            (DiagnosticArray, SOLVER, self.on_solver),
        ):
            self.node.create_subscription(message, relative(topic), callback, GLANCE)
        return self

    def __exit__(self, *_: object) -> None:
        self.executor.shutdown()
        self.node.destroy_node()
        self.context.try_shutdown()

    def poll(self) -> View:
        for _ in range(9):  # three topics, three messages each
            self.executor.spin_once(timeout_sec=0)
        return self.view

    def on_outputs(self, outputs: JointState) -> None:
        now_ns = to_ns(outputs.header.stamp)
        if self.start_ns is None:
            self.start_ns = now_ns
        self.view.t_s = (now_ns - self.start_ns) * 1e-9
        self.join.put(OUTPUTS, outputs)

    def on_sample(self, now_ns: int, outputs: JointState, reference: JointTrajectory) -> None:
        names = self.robot.output_names
        try:
            seen = by_name(outputs, names, OUTPUTS, others=True)
            difference = seen - from_trajectory(reference, names)[0]
        except ValueError:
            return  # nothing to show; the node that acts on it says what is wrong and ends the run
        self.view.error = float(self.group.distance(difference))
        if self.view.t_s >= self.settled_s:
            self.squares += self.view.error**2
            self.counted += 1
            self.view.rmse = math.sqrt(self.squares / self.counted)

    def on_solver(self, message: DiagnosticArray) -> None:
        values = {pair.key: pair.value for status in message.status for pair in status.values}
        cost, unit = values.get("step_cost", ""), values.get("step_cost_unit", "none")
        if unit != "none" and cost.isdigit():
            self.view.step_cost = f"{int(cost):,} {unit}"
