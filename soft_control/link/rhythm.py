"""How often samples come, and how many have passed where they were interrupted."""

from __future__ import annotations

from collections import deque

REMEMBERED = 120
"""Times of samples: each comes when this machine finds time, and only their mean is the sensor's
rhythm."""
ENOUGH = 12
"""Of them say it; fewer, as between two gaps, do not count against what was known before."""


class Rhythm:
    """Of a sensor whose rate nobody has told; time is an argument, s."""

    def __init__(self) -> None:
        self._at_s: deque[float] = deque(maxlen=REMEMBERED)
        self._before_s = 0.0
        self._interrupted = False

    @property
    def period_s(self) -> float:
        """The mean time from one sample to the next; 0: it is not known yet."""
        count = len(self._at_s)
        if count < ENOUGH:
            return self._before_s
        return (self._at_s[-1] - self._at_s[0]) / (count - 1)

    def interrupt(self) -> None:
        """The next sample is the first after a gap."""
        self._interrupted = True

    def sample(self, now_s: float) -> int | None:
        """One has come. Behind a gap: how many have not, by the rhythm before; else None."""
        passed = None
        if self._interrupted:
            self._interrupted, self._before_s = False, self.period_s
            known = self._at_s and self._before_s
            passed = max(round((now_s - self._at_s[-1]) / self._before_s) - 1, 0) if known else 0
            self._at_s.clear()
        self._at_s.append(now_s)
        return passed
