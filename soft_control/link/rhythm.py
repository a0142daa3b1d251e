"""How often samples come, and how many have passed where they were interrupted."""

from __future__ import annotations

from collections import deque

REMEMBERED = 120
"""Times between samples: each comes when this machine finds time, and only their mean is the
sensor's rhythm."""
ENOUGH = 12
"""Of them say it."""


class Rhythm:
    """Of a sensor whose rate nobody has told; time is an argument, s."""

    def __init__(self) -> None:
        # Not the times themselves: of a few samples between two gaps that came all at once, as they
        # do where the machine is busy, the mean alone would say nothing.
        self._between_s: deque[float] = deque(maxlen=REMEMBERED)
        self._last_s: float | None = None
        self._interrupted = False

    @property
    def period_s(self) -> float:
        """The mean time from one sample to the next, gaps left out; 0: it is not known yet."""
        count = len(self._between_s)
        return sum(self._between_s) / count if count >= ENOUGH else 0.0

    def interrupt(self) -> None:
        """The next sample is the first after a gap."""
        self._interrupted = True

    def sample(self, now_s: float) -> int | None:
        """One has come. Behind a gap: how many have not, by the rhythm before; else None."""
        passed = None
        if self._interrupted:
            self._interrupted, passed = False, 0
            if (period_s := self.period_s) and self._last_s is not None:
                passed = max(round((now_s - self._last_s) / period_s) - 1, 0)
        elif self._last_s is not None:
            self._between_s.append(now_s - self._last_s)
        self._last_s = now_s
        return passed
