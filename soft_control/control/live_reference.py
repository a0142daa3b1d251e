"""A reference whose shape, size, place and pace change while it is followed, without a jump."""

from __future__ import annotations

import math

import numpy as np

from soft_control.control.references import Reference

REACHED_S = 1.0
"""For the way where neither the reference before nor the one after moves at all."""
POINTS = 4000
"""Of a lap, in which its fastest move is looked for."""


class LiveReference:
    """Samples of a reference, in order. Another one goes on at the phase of the one before. From
    where that one was it moves towards the new one, output by output, no faster than either of
    them ever moves, until it has met it; outputs that follow a surface stay on it."""

    def __init__(self, reference: Reference, period_s: float) -> None:
        self._reference, self._period_s = reference, period_s
        self._ahead_s = np.zeros(1)
        self._phase, self._since_s = 0.0, 0.0
        self._now_s = 0.0
        self._speed = np.zeros(len(reference.outputs))
        """Per output, its unit a second, until it is met."""
        self._own: np.ndarray | None = None
        """(n,) at the sample before, where not all are met."""
        self._met = np.ones(len(reference.outputs), dtype=bool)

    def values(self, now_s: float, ahead: int = 0) -> np.ndarray:
        """Outputs (1 + ahead, n) at the sample now_s, s since the start, and at those after it."""
        if len(self._ahead_s) != ahead + 1:
            self._ahead_s = np.arange(ahead + 1) * self._period_s
        own = self._reference.own(self._phases(now_s + self._ahead_s))
        if self._own is not None:
            own = self._approach(own, now_s - self._now_s)
        self._now_s = now_s
        return self._reference.on_surface(own)

    def change(self, reference: Reference) -> None:
        """From the next sample on; of the same outputs and surface."""
        at_s = np.array([self._now_s])
        before = self._reference.own(self._phases(at_s))[0] if self._own is None else self._own
        speeds = [self._fastest(one) for one in (self._reference, reference)]
        self._phase, self._since_s = float(self._phases(at_s)[0]), self._now_s
        self._reference, self._own = reference, before
        there = reference.own(self._phases(at_s))[0]
        fastest = np.maximum(*speeds)
        self._speed = np.where(fastest > 0.0, fastest, np.abs(there - before) / REACHED_S)
        self._met = np.zeros(len(reference.outputs), dtype=bool)

    def _phases(self, at_s: np.ndarray) -> np.ndarray:
        return self._phase + self._reference.angular_rate * (at_s - self._since_s)

    def _approach(self, there: np.ndarray, passed_s: float) -> np.ndarray:
        """`there` (T, n) is where the new one is; the first of them is passed_s after the last."""
        here, met = self._own, self._met
        rows = []
        for step, row in enumerate(there):
            allowed = self._speed * (passed_s if step == 0 else self._period_s)
            met = met | (np.abs(row - here) <= allowed)
            here = np.where(met, row, here + np.clip(row - here, -allowed, allowed))
            rows.append(here)
            if step == 0:
                self._met, self._own = met, None if met.all() else here
        return np.array(rows)

    def _fastest(self, reference: Reference) -> np.ndarray:
        """(n,) of a lap, in the outputs' units a second."""
        phases = np.linspace(0.0, 2 * math.pi, POINTS + 1)
        moves = np.abs(np.diff(reference.own(phases), axis=0)).max(axis=0)
        return moves * POINTS * abs(reference.angular_rate) / (2 * math.pi)
