"""A look at a run while it goes: the newest messages, a few times a second, disturbing nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PointStamped
from nav_msgs.msg import Path

from soft_control.experiment.ros_messages import GLANCE, Join, from_path, from_point, to_ns
from soft_control.experiment.summary import SETTLE_S
from soft_control.topics import REFERENCE, SOLVER, TIP_POSITION


@dataclass
class View:
    """What there is to see now; errors are of the samples seen, some ten a second."""

    t_s: float = 0.0
    error_mm: float = math.nan
    rmse_mm: float = math.nan
    step_cost: str = ""

    def note(self) -> str:
        """As one line, without what there is none of: open-loop runs have no error."""
        parts = [f"{self.t_s:5.1f} s"]
        if math.isfinite(self.error_mm):
            parts.append(f"error {self.error_mm:.2f} mm")
        if math.isfinite(self.rmse_mm):
            parts.append(f"RMSE {self.rmse_mm:.2f} mm")
        return "  ".join([*parts, self.step_cost])


class Live:
    """Context manager around a listening node; `poll()` returns the newest View."""

    def __enter__(self) -> Live:
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self.node = rclpy.create_node("softctl_live", context=self.context)
        self.executor = rclpy.executors.SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.view = View()
        self.start_ns: int | None = None
        self.squares: list[float] = []
        self.join = Join((TIP_POSITION, REFERENCE), self.on_sample)
        for message, topic, callback in (
            (PointStamped, TIP_POSITION, self.on_position),
            (Path, REFERENCE, lambda m: self.join.put(REFERENCE, m)),
            (DiagnosticArray, SOLVER, self.on_solver),
        ):
            self.node.create_subscription(message, topic, callback, GLANCE)
        return self

    def __exit__(self, *_: object) -> None:
        self.executor.shutdown()
        self.node.destroy_node()
        self.context.try_shutdown()

    def poll(self) -> View:
        for _ in range(9):  # three topics, three messages each
            self.executor.spin_once(timeout_sec=0)
        return self.view

    def on_position(self, position: PointStamped) -> None:
        now_ns = to_ns(position.header.stamp)
        if self.start_ns is None:
            self.start_ns = now_ns
        self.view.t_s = (now_ns - self.start_ns) * 1e-9
        self.join.put(TIP_POSITION, position)

    def on_sample(self, now_ns: int, position: PointStamped, reference: Path) -> None:
        try:
            error_mm = 1e3 * np.linalg.norm(from_point(position) - from_path(reference)[0])
        except ValueError:
            return  # nothing to show; the node that acts on it says what is wrong and ends the run
        self.view.error_mm = float(error_mm)
        if self.view.t_s >= SETTLE_S:
            self.squares.append(self.view.error_mm**2)
            self.view.rmse_mm = math.sqrt(sum(self.squares) / len(self.squares))

    def on_solver(self, message: DiagnosticArray) -> None:
        values = {pair.key: pair.value for status in message.status for pair in status.values}
        cost, unit = values.get("step_cost", ""), values.get("step_cost_unit", "none")
        if unit != "none" and cost.isdigit():
            self.view.step_cost = f"{int(cost):,} {unit}"
