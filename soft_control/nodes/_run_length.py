"""The end of a run that no rig ends: so long after its first sample."""

from __future__ import annotations

import time
from collections.abc import Callable

SPARE_S = 0.5
"""The answers to the last samples take a moment."""
FIRST_S = 10.0
"""The first sample comes within, of a robot that is there: the outputs of a motion tracker take
some seconds at most."""


class RunLength:
    """Kept by the node that has the samples of a robot of one's own. Nothing is of a run before
    the first sample that was answered: a run is not shorter where that one took its time."""

    def __init__(self, duration_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        """duration_s: of the run; 0: it has no end."""
        self._duration_s, self._clock = duration_s, clock
        self._expected_s: float | None = None
        self._began_s: float | None = None

    def expect(self) -> None:
        """All are there: the first sample may come."""
        self._expected_s = self._clock()

    def begin(self) -> None:
        """That one has come; those after it change nothing."""
        if self._began_s is None:
            self._began_s = self._clock()

    @property
    def is_over(self) -> bool:
        """Whether the run has had its length."""
        if not self._duration_s or self._began_s is None:
            return False
        return self._clock() - self._began_s >= self._duration_s + SPARE_S

    @property
    def is_late(self) -> bool:
        """Whether the first sample should have come by now."""
        if not self._duration_s or self._expected_s is None or self._began_s is not None:
            return False
        return self._clock() - self._expected_s >= FIRST_S

    def check(self, awaited: str) -> None:
        """Raises SystemExit where the run is over, and RuntimeError where it is late. awaited: what
        has not come, and why that may be, in words."""
        if self.is_over:
            raise SystemExit
        if self.is_late:
            raise RuntimeError(f"all nodes have been there for {FIRST_S:g} s without {awaited}")
