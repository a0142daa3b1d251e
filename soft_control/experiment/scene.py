"""What is to be seen of a run: where each point is, was, and is wanted; knows no ROS."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from soft_control.control.sampled_reference import SampledReference
from soft_control.robots import units
from soft_control.robots.description import OutputGroup, RobotDescription

TRAIL_RATE_HZ = 60.0
"""Of the positions that a trail keeps: an eye sees no more, and a viewer gets all of them anew."""
CURVE_POINTS = 500
"""That a reference is drawn with; of a figure-eight of 50 mm they are 0.4 mm apart."""
LOOKS_BACK_S = 0.05
"""Where a curve crosses itself, the way that it came tells which branch it is on."""


@dataclass
class PointScene:
    """Of one point; all positions in m, in the robot's frame."""

    name: str
    tip: np.ndarray | None = None
    """(3,) where it was measured."""
    trail: np.ndarray = field(default_factory=lambda: np.zeros((0, 3)))
    """(K, 3) where it has been, the oldest first."""
    wanted: np.ndarray | None = None
    """(3,) its reference now."""
    reference: np.ndarray = field(default_factory=lambda: np.zeros((0, 3)))
    """(K, 3) of the reference: all of it where it is known, else what was seen of it."""
    horizon: np.ndarray = field(default_factory=lambda: np.zeros((0, 3)))
    """(K, 3) what the controller sees of the reference from now on."""
    predicted: np.ndarray | None = None
    """(3,) where the controller expects it to be next."""


class Trail:
    """Outputs with their times, not older than `length_s`."""

    def __init__(self, length_s: float) -> None:
        self._length_ns = round(length_s * 1e9)
        self._rows: deque[tuple[int, np.ndarray]] = deque()

    def add(self, now_ns: int, outputs: np.ndarray) -> None:
        """Forgets everything where time has gone backwards, for that is another run."""
        if self._rows and now_ns < self._rows[-1][0]:
            self._rows.clear()
        if self._rows and now_ns - self._rows[-1][0] < 0.99e9 / TRAIL_RATE_HZ:
            return
        self._rows.append((now_ns, outputs))
        while now_ns - self._rows[0][0] > self._length_ns:
            self._rows.popleft()

    def rows(self) -> np.ndarray:
        """(K, n), the oldest first."""
        return np.array([outputs for _, outputs in self._rows])

    def ago(self, now_ns: int, back_s: float) -> tuple[float, np.ndarray] | None:
        """How long ago, s, the newest row was that is so old, and the row (n,); None: there is
        none."""
        for at_ns, outputs in reversed(self._rows):
            age_s = (now_ns - at_ns) / 1e9
            if age_s >= back_s:
                return age_s, outputs
        return None


class Scene:
    """Takes what the graph says, and gives what there is to draw of it."""

    def __init__(
        self,
        robot: RobotDescription,
        trail_s: float = 10.0,
        curve: SampledReference | None = None,
        horizon: int = 0,
        rate_hz: float | None = None,
    ) -> None:
        """curve: the reference, where it is known as a whole; horizon: samples of it, at the
        control rate, that the controller sees, where it is not told them."""
        self._groups = [group for group in robot.groups if group.is_point]
        self._metres = {
            group.name: units.factor(robot.outputs[group.columns[0]].unit, "m")
            for group in self._groups
        }
        self._measured, self._asked = Trail(trail_s), Trail(trail_s)
        self._outputs = self._predicted = None
        self._asked_ns = 0
        self._ahead = np.zeros((0, len(robot.outputs)))
        self._curve = curve
        self._horizon_s = np.arange(horizon + 1) / (rate_hz or robot.rate_hz)

    def on_outputs(self, now_ns: int, outputs: np.ndarray) -> None:
        """Measured, (n,)."""
        self._outputs = outputs
        self._measured.add(now_ns, outputs)

    def on_reference(self, now_ns: int, ahead: np.ndarray) -> None:
        """The reference (T, n), now and T - 1 samples ahead."""
        self._ahead, self._asked_ns = ahead, now_ns
        self._asked.add(now_ns, ahead[0])

    def on_predicted(self, outputs: np.ndarray) -> None:
        """Outputs (n,) that the controller expects next."""
        self._predicted = outputs

    def points(self) -> list[PointScene]:
        """One for each point of the robot; outputs that are no position are not drawn."""
        whole = self._curve.curve(CURVE_POINTS) if self._curve else self._asked.rows()
        seen = self._sees()
        if self._curve and self._curve.periodic and len(whole):
            whole = np.vstack([whole, whole[:1]])
        return [
            PointScene(
                name=group.name,
                tip=self._place(group, self._outputs),
                trail=self._places(group, self._measured.rows()),
                wanted=self._place(group, self._ahead[0] if len(self._ahead) else None),
                reference=self._places(group, whole),
                horizon=self._places(group, seen),
                predicted=self._place(group, self._predicted),
            )
            for group in self._groups
        ]

    def _sees(self) -> np.ndarray:
        """(T, n) of the reference that the controller sees."""
        if len(self._ahead) != 1 or self._curve is None or len(self._horizon_s) < 2:
            return self._ahead
        return self._curve.values(self._time_on_curve(self._curve) + self._horizon_s)

    def _time_on_curve(self, curve: SampledReference) -> float:
        """When, s, the curve is where the reference now is, and was where it was a moment ago: who
        looks on from the middle of a run has not seen it begin."""
        times = np.linspace(0.0, curve.t_s[-1], max(CURVE_POINTS, len(curve.t_s)))
        missed = np.sum((curve.values(times) - self._ahead[0]) ** 2, axis=1)
        before = self._asked.ago(self._asked_ns, LOOKS_BACK_S)
        if before is not None:
            age_s, then = before
            missed += np.sum((curve.values(times - age_s) - then) ** 2, axis=1)
        return float(times[np.argmin(missed)])

    def _place(self, group: OutputGroup, outputs: np.ndarray | None) -> np.ndarray | None:
        if outputs is None or not np.all(np.isfinite(outputs)):
            return None
        return self._metres[group.name] * group.place(outputs)

    def _places(self, group: OutputGroup, rows: np.ndarray) -> np.ndarray:
        if not len(rows):
            return np.zeros((0, 3))
        return self._metres[group.name] * group.place(rows)


def line_width_m(points: list[PointScene]) -> float:
    """Of the lines of a picture that they fit into."""
    everything = [p.trail for p in points] + [p.reference for p in points]
    rows = np.vstack([rows for rows in everything if len(rows)] or [np.zeros((1, 3))])
    reach = float(np.max(np.ptp(rows, axis=0), initial=0.0))
    return max(0.01 * reach, 2e-4)
