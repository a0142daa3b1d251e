"""Outputs less their reference at the same instant, sample by sample as both come in.

In lockstep both have the stamp of the sample. In realtime the tracker that sees the outputs and the
controller that tells the reference have clocks and rates of their own, so the reference is taken at
the stamp of the outputs, on the straight line between its neighbours in time:

    reference    r0 ------------*------ r1            * = r0 + (t - t0) / (t1 - t0) · (r1 - r0)
    outputs                     y                 error = y - *

Outputs wait for the later neighbour; nothing is guessed before the first reference, after the last,
or across a gap, as where the host's line to the microcontroller is cut.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence

import numpy as np

GAP_PERIODS = 3.0
"""Neighbours farther apart than so many periods are the edges of a gap: two samples in a row may be
lost, for in 25 ms at 120 Hz a reference is a straight line to some um. A cut lasts longer."""
WAITING_MAX = 4096
"""Outputs, and references, that wait for the other: 34 s at 120 Hz. A logger in lockstep falls some
thousand samples behind, but with both alike; where no reference ever comes the oldest go."""
SET_BACK_NS = 100_000_000
"""Messages may overtake one another by less; a stamp that goes back further is a clock set back."""

Stamped = tuple[int, Sequence[float]]
"""Stamp, ns, and values (n,)."""


class TrackingError:
    """Takes outputs and references in the order of their stamps and gives errors in that order."""

    def __init__(self, names: Sequence[str], points: Sequence[str], rate_hz: float) -> None:
        """`names` of the outputs, and of each the point it belongs to, or an empty text. Raises
        ValueError where these are not as many, or an output stands twice."""
        if len(names) != len(points) or len(set(names)) != len(names):
            raise ValueError(
                f"outputs {', '.join(names)} with points {', '.join(map(repr, points))}: wanted "
                "each output once, and of each its point or an empty text"
            )
        self._columns = {
            point: [i for i, of in enumerate(points) if of == point]
            for point in dict.fromkeys(filter(None, points))
        }
        self.outputs = tuple(names)
        self.names = (*names, *(f"{p}_norm" if p in names else p for p in self._columns))
        """Of the values of an error: each output's, with its sign, in the unit of the output; then
        of each point the norm of its outputs', by the point's name, or with `_norm` behind it where
        an output is called so too."""
        self._gap_ns = GAP_PERIODS * 1e9 / rate_hz
        self._seen, self._told = _InOrder(), _InOrder()

    def put_outputs(self, stamp_ns: int, values: Sequence[float]) -> list[Stamped]:
        """What is measured (n,), in the order of `names`; returns the errors that are known now."""
        self._seen.add(stamp_ns, values)
        return list(self._matched())

    def put_reference(self, stamp_ns: int, values: Sequence[float]) -> list[Stamped]:
        """What was to be (n,), the same way."""
        self._told.add(stamp_ns, values)
        return list(self._matched())

    def _matched(self) -> Iterator[Stamped]:
        seen, told = self._seen.waiting, self._told.waiting
        while seen and told and told[-1][0] >= seen[0][0]:
            stamp_ns, values = seen.popleft()
            while len(told) > 1 and told[1][0] <= stamp_ns:
                told.popleft()
            wanted = _at(stamp_ns, told, self._gap_ns)
            if wanted is not None:
                yield stamp_ns, self._error(values, wanted)

    def _error(self, values: Sequence[float], wanted: Sequence[float]) -> list[float]:
        error = [y - r for y, r in zip(values, wanted, strict=True)]
        norms = [math.hypot(*(error[i] for i in these)) for these in self._columns.values()]
        return error + norms


class _InOrder:
    """Messages of one topic that wait. A stamp that came before counts once; one that was overtaken
    is left out; after a clock was set back all begins anew."""

    def __init__(self) -> None:
        self.waiting: deque[Stamped] = deque(maxlen=WAITING_MAX)
        self._newest_ns: int | None = None

    def add(self, stamp_ns: int, values: Sequence[float]) -> None:
        if self._newest_ns is not None and stamp_ns <= self._newest_ns:
            if stamp_ns >= self._newest_ns - SET_BACK_NS:
                return
            self.waiting.clear()
        self._newest_ns = stamp_ns
        self.waiting.append((stamp_ns, values))


def interpolated(
    at_ns: np.ndarray, stamps_ns: np.ndarray, rows: np.ndarray, rate_hz: float
) -> np.ndarray:
    """(T, n) what TrackingError takes for the reference at times (T,), ns, all at once, of rows
    (K, n) told at stamps (K,), ns, in order and each once; NaN where none was told."""
    found = np.full((len(at_ns), rows.shape[1]), np.nan)
    if not len(stamps_ns):
        return found
    after = np.searchsorted(stamps_ns, at_ns)
    inside = after < len(stamps_ns)
    after = np.minimum(after, len(stamps_ns) - 1)
    exact = inside & (stamps_ns[after] == at_ns)
    before = np.maximum(after - 1, 0)
    gap_ns = stamps_ns[after] - stamps_ns[before]
    between = inside & ~exact & (after > 0) & (gap_ns <= GAP_PERIODS * 1e9 / rate_hz)
    found[exact] = rows[after[exact]]
    low, high = before[between], after[between]
    part = (at_ns[between] - stamps_ns[low]) / gap_ns[between]
    found[between] = rows[low] + part[:, None] * (rows[high] - rows[low])
    return found


def _at(stamp_ns: int, told: deque[Stamped], gap_ns: float) -> Sequence[float] | None:
    """The reference at an instant that is no later than the last of `told`, and before its second;
    None before the first and across a gap."""
    before_ns, before = told[0]
    if before_ns == stamp_ns:
        return before
    if before_ns > stamp_ns:
        return None
    after_ns, after = told[1]
    if after_ns - before_ns > gap_ns:
        return None
    part = (stamp_ns - before_ns) / (after_ns - before_ns)
    return [r0 + part * (r1 - r0) for r0, r1 in zip(before, after, strict=True)]
