"""Once a second a node says how it is: for people on /diagnostics, its numbers on ~/statistics."""

from __future__ import annotations

import time
from collections.abc import Callable

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node
from sensor_msgs.msg import JointState

from soft_control.experiment.health import Health
from soft_control.experiment.ros_messages import RECENT, joint_state, to_stamp
from soft_control.topics import DIAGNOSTICS, STATISTICS

EVERY_S = 1.0


class Diagnostics:
    """Of a node in realtime. In lockstep, where time stands still between samples, nobody makes
    one, and a run's bag depends on no clock."""

    def __init__(
        self, node: Node, hardware: str, judge: Callable[[float], Health], every_s: float = EVERY_S
    ) -> None:
        """hardware: what the node owns, such as its port. judge: is told the time, s, since it was
        asked last, and asked by the node's executor."""
        self._node, self._hardware, self._judge = node, hardware, judge
        # One topic for all robots: the name of the node, with its namespace, tells them apart.
        self.diagnostics = node.create_publisher(DiagnosticArray, DIAGNOSTICS, RECENT)
        self.statistics = node.create_publisher(JointState, f"~/{STATISTICS}", RECENT)
        self._asked_s = time.monotonic()
        node.create_timer(every_s, self.say)

    def say(self) -> None:
        health, now_ns = self._count()
        numbers = health.numbers
        status = DiagnosticStatus(
            level=bytes([health.level]),
            name=self._node.get_fully_qualified_name().lstrip("/"),
            hardware_id=self._hardware,
            message=health.message,
            values=[KeyValue(key=key, value=f"{value:.9g}") for key, value in numbers.items()],
        )
        message = DiagnosticArray(status=[status])
        message.header.stamp = to_stamp(now_ns)
        self.diagnostics.publish(message)

    def _count(self) -> tuple[Health, int]:
        """The numbers are told; how the node is by them, and the time, ns."""
        now_s, now_ns = time.monotonic(), self._node.get_clock().now().nanoseconds
        health = self._judge(max(now_s - self._asked_s, 1e-3))
        self._asked_s = now_s
        numbers = health.numbers
        self.statistics.publish(joint_state(now_ns, list(numbers), list(numbers.values())))
        return health, now_ns

    def say_last(self) -> None:
        """At the end of the node: what was counted since it was said last is told, too. How it is
        is nobody's business any more: a simulated device goes a moment before its node."""
        self._count()
