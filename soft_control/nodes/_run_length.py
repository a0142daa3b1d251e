"""The end of a run that no rig ends: so long after all nodes were there."""

from __future__ import annotations

import time
from collections.abc import Callable

SPARE_S = 0.5
"""The first sample after that, and the first answer, take a moment."""


class RunLength:
    """Kept by the node that has the samples of a robot of one's own."""

    def __init__(self, duration_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        """duration_s: of the run; 0: it has no end."""
        self._duration_s, self._clock = duration_s, clock
        self._began_s: float | None = None

    def begin(self) -> None:
        """All are there: what comes from now on is of the run."""
        self._began_s = self._clock()

    @property
    def is_over(self) -> bool:
        """Whether the run has had its length."""
        if not self._duration_s or self._began_s is None:
            return False
        return self._clock() - self._began_s >= self._duration_s + SPARE_S

    def check(self) -> None:
        """Raises SystemExit where the run is over."""
        if self.is_over:
            raise SystemExit
