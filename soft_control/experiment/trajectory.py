"""A reference as it is told to the microcontroller before a run: a table of points.

A lap that the firmware has room for goes round there, between its points in straight lines; what
such a table would bend has one row a sample instead, and is uploaded whole where there is room, or
else sent while it is followed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from soft_control.control.references import Reference
from soft_control.control.sampled_reference import ROWS_MAX, SampledReference
from soft_control.link.messages import points_max
from soft_control.link.session import McuSession

BENT_MAX = 1e-4
"""Of the range of an output, by which straight lines between points may miss a reference: 2.5 um of
25 mm, a twentieth of a motion tracker's noise."""
LAPS = 100, 200, 400, 800
"""Points of a lap that are tried before all that there is room for."""
REACHED_S = 1.0
"""The reference of a run that begins elsewhere than the robot rests is met within so long."""
WAY = 1 << 32
"""A trajectory's whole way, in the unit of its step."""


def tabulate(
    curve: Reference | SampledReference, rate_hz: float, samples: int, room: int
) -> SampledReference:
    """The table of a reference for so many samples: a lap of as few points as will do, at most
    `room`, or one row a sample.

    Raises ValueError where there are more than ROWS_MAX samples and no lap to go round.
    """
    at_s = np.arange(samples) / rate_hz
    lap_s = _lap_s(curve)
    if lap_s is not None:
        # Each point takes the emulated serial line a millisecond before a run can begin.
        for count in (*(n for n in LAPS if n < room), room):
            times_s = lap_s * np.arange(count + 1) / count
            points = curve.values(times_s)
            points[-1] = points[0]
            lap = _table(curve.outputs, times_s, points)
            missed = np.abs(lap.values(at_s) - curve.values(at_s)).max(axis=0)
            if np.all(missed <= BENT_MAX * np.ptp(points, axis=0)):
                return lap
    if samples > ROWS_MAX:
        raise ValueError(
            f"a reference of {samples:,} samples that is no lap of {room:,} points: at most "
            f"{ROWS_MAX:,} can be sent"
        )
    return _table(curve.outputs, at_s, curve.values(at_s))


def _lap_s(curve: Reference | SampledReference) -> float | None:
    """Duration of a lap, s; None: there is none."""
    if isinstance(curve, SampledReference):
        return curve.t_s[-1] if curve.periodic else None
    return 2.0 * math.pi / abs(curve.angular_rate) if curve.angular_rate else None


def _table(outputs: tuple[str, ...], t_s: np.ndarray, points: np.ndarray) -> SampledReference:
    return SampledReference(outputs, tuple(t_s.tolist()), tuple(map(tuple, points.tolist())))


@dataclass(frozen=True)
class Trajectory:
    """What `McuSession.upload` takes; T points of n outputs."""

    points: np.ndarray
    """(T, n)"""
    step: int
    """Of its way in a sample, in units of 2^-32 of the way."""
    periodic: bool
    blend: np.ndarray
    """(n,) how far each output may move in a sample until it has met the trajectory."""


def trajectory(table: SampledReference, rate_hz: float, rest: np.ndarray) -> Trajectory:
    """A table of `tabulate` as the firmware follows it, from outputs at `rest` (n,) on: so much
    faster than the reference itself ever moves that it is met within REACHED_S."""
    points = np.array(table.rows)
    samples_s = np.arange(0.0, table.t_s[-1], 1 / rate_hz)
    moves = np.abs(np.diff(table.values(samples_s), axis=0)).max(axis=0, initial=0.0)
    blend = moves + np.abs(points[0] - rest) / (REACHED_S * rate_hz)
    if table.periodic:
        step = round(WAY / (table.t_s[-1] * rate_hz))
        return Trajectory(points[:-1], step, True, blend)
    return Trajectory(points, round(WAY / (len(points) - 1)), False, blend)


def shifted(
    points: Sequence[Sequence[float]], step: int, periodic: bool, samples: int
) -> list[list[float]]:
    """A trajectory as it is `samples` after its beginning, in as many points: what lies between two
    of them is on the straight line, as the firmware has it."""
    table = np.asarray(points, dtype=float)
    count = len(table)
    way = samples * step % WAY if periodic else min(samples * step, WAY)
    at = way / WAY * (count if periodic else count - 1) + np.arange(count)
    index = np.floor(at).astype(int)
    share = (at - index)[:, None]
    if periodic:
        here, there = table[index % count], table[(index + 1) % count]
    else:
        here, there = table[np.minimum(index, count - 1)], table[np.minimum(index + 1, count - 1)]
    return (here + share * (there - here)).tolist()


class ToldReference:
    """The reference of a session with a microcontroller, by its table: uploaded before a run, or
    where that has more points than there is room for, sent while it is followed."""

    def __init__(
        self, session: McuSession, table: SampledReference, rate_hz: float, rest: np.ndarray
    ) -> None:
        """Uploads what fits. Raises LinkError."""
        self._session, self._room = session, session.info.trajectory_points
        self._rows: np.ndarray | None = None
        self._sent = 0
        whole = trajectory(table, rate_hz, rest)
        if len(whole.points) <= self._room:
            session.upload(whole.points.tolist(), whole.step, whole.periodic, whole.blend.tolist())
        else:
            session.forget_trajectory()
            self._rows = np.array(table.rows)

    def send_ahead(self, k: int) -> None:
        """What is not uploaded: as far beyond sample k as there is room, a frame or more at once.

        Raises LinkError."""
        if self._rows is None:
            return
        self._sent = max(self._sent, k)
        end = min(k + self._room, len(self._rows))
        if end - self._sent >= points_max(self._session.info.sizes) or end == len(self._rows):
            self._session.preload(self._sent, self._rows[self._sent : end].tolist())
            self._sent = end

    def at(self, k: int) -> list[float]:
        """(n,) of sample k, or of the end; where the table is uploaded, nobody asks for it."""
        if self._rows is None:
            return [0.0] * self._session.info.outputs
        return self._rows[min(k, len(self._rows) - 1)].tolist()
