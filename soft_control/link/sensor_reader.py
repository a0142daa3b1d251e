"""What all readers of a sensor have in common: counting, and words for what does not come."""

from __future__ import annotations

from abc import ABC, abstractmethod

WARNING_EVERY_S = 10.0
"""A board that garbles every sample would fill the log with some hundred warnings a second."""


class SensorReader(ABC):
    """Bytes from a sensor become samples, in whatever pieces they come; time is an argument.

    It knows how long no valid sample has come and what came instead.
    """

    def __init__(self, channels: int, timeout_s: float, now_s: float) -> None:
        """timeout_s: without a valid sample for so long the sensor has failed."""
        self.samples = 0
        self.dropped = 0
        """What came and was no sample, in all."""
        self._channels, self._timeout_s = channels, timeout_s
        self._warned_s, self._warned_of = now_s - WARNING_EVERY_S, 0
        self._start_over(now_s)

    def _start_over(self, now_s: float) -> None:
        """Something valid has come, and nothing since."""
        self._valid_s, self._bytes = now_s, 0

    @property
    def _faults(self) -> int:
        """That are worth a warning."""
        return self.dropped

    @abstractmethod
    def feed(self, data: bytes, now_s: float) -> list[list[int]]:
        """The counts (channels,) of each sample that these bytes complete."""

    @abstractmethod
    def rejoin(self) -> None:
        """The line was away: what comes next may begin in the middle of a sample, which then is
        none, and what has come of one before is the beginning of none."""

    def silent_s(self, now_s: float) -> float:
        """How long no valid sample has come, s."""
        return now_s - self._valid_s

    def warning(self, now_s: float) -> str | None:
        """What to say of faults since the last warning; None where it is too soon."""
        new = self._faults - self._warned_of
        if new == 0 or now_s - self._warned_s < WARNING_EVERY_S:
            return None
        self._warned_s, self._warned_of = now_s, self._faults
        return self._complaint(new)

    def failure(self, now_s: float) -> str | None:
        """Why the sensor counts as failed; None while valid samples come."""
        if self.silent_s(now_s) < self._timeout_s:
            return None
        instead = self._instead() if self._bytes else "nothing came"
        return f"no valid sample for {self._timeout_s:g} s: {instead}"

    @abstractmethod
    def _complaint(self, new: int) -> str:
        """About so many faults since the last one."""

    @abstractmethod
    def _instead(self) -> str:
        """What came in place of a sample, and what to do."""
