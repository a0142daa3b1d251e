"""What is remembered of a run that goes on, so that another firmware can take it over."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from soft_control.link.codes import TETHERED, Clock, Wiring
from soft_control.link.learned_map import LearnedMap
from soft_control.link.messages import Telemetry


@dataclass(frozen=True)
class Lived:
    """A sample of the past."""

    k: int
    signals: Sequence[float]
    measured: Sequence[float] | None
    command: Sequence[float]
    predicted: Sequence[float]


@dataclass
class Remembered:
    """All that another firmware must know."""

    command: Sequence[float] = ()
    outputs: Sequence[float] = ()
    k: int = 0
    """Of ARM, as command and outputs."""
    first_k: int = 0
    """Of the run: there its trajectory begins."""
    modes: dict[str, Any] = field(default_factory=dict)
    """Of ARM."""
    trajectory: tuple[Sequence[Sequence[float]], int, bool, Sequence[float]] | None = None
    settings: Mapping[str, Any] | None = None
    learned: LearnedMap | None = None
    """Of the robot of today, when the firmware was asked last."""
    points: dict[int, Sequence[float]] = field(default_factory=dict)
    """Of the streamed reference, by sample."""
    measured: dict[int, Sequence[float]] = field(default_factory=dict)
    past: deque[Lived] = field(default_factory=deque)
    told: Telemetry | None = None
    """Last."""
    told_s: float = 0.0
    driven_k: int | None = None
    """The last sample for which the host has told a command."""

    @property
    def wiring(self) -> Wiring:
        return self.modes.get("wiring", Wiring.HOST)

    def modes_at(self, k: int) -> dict[str, Any]:
        """For an ARM at sample k of the run: its tether is as much shorter."""
        tethered = self.modes.get("tethered_samples", 0)
        if tethered == TETHERED:
            return self.modes
        return self.modes | {"tethered_samples": max(tethered - (k - self.first_k), 0)}

    @property
    def in_lockstep(self) -> bool:
        return self.modes.get("clock", Clock.SAMPLES) == Clock.SAMPLES
