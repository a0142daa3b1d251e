"""What is remembered of a run that goes on, so that another firmware can take it over."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from soft_control.experiment.trajectory import shifted
from soft_control.link.codes import TETHERED, Clock, Wiring
from soft_control.link.learned_map import LearnedMap
from soft_control.link.messages import Telemetry
from soft_control.link.session import McuSession


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

    # ------------------------------------------------------------------ told to another firmware

    def prepare(self, new: McuSession, k: int, settings: Mapping[str, Any] | None) -> None:
        """All that it must be told before a run that begins at sample k. Raises LinkError."""
        if self.trajectory:
            points, step, periodic, blend = self.trajectory
            new.upload(shifted(points, step, periodic, k - self.first_k), step, periodic, blend)
        else:
            new.forget_trajectory()  # a board may have followed one in its last run
        if settings:
            new.configure(settings)
        if self.learned and self.learned.says_something:
            new.adapt(self.learned)

    def stream(self, new: McuSession, k: int) -> None:
        """The points of the reference from sample k on that have been streamed so far."""
        last = k
        while last in self.points:
            last += 1
        new.preload(k, [self.points[at] for at in range(k, last)])

    def relive(
        self, new: McuSession, settings: Mapping[str, Any] | None, samples: int | None = None
    ) -> int:
        """Wiring host: it is told the past, all that is known of it or the last so many samples.
        Returns the next sample. Raises LinkError."""
        if not self.modes and not self.past:
            self.prepare(new, 0, settings)
            return self.k
        lived = list(self.past)
        begins = len(lived) < self.past.maxlen
        if samples is not None and len(lived) > samples:
            lived, begins = lived[-samples - 1 :], False
        command, outputs, first_k = self.command, self.outputs, self.k
        if not begins:  # the beginning of the run is no more known, or not wanted
            start, *lived = lived
            command, outputs, first_k = start.command, start.predicted, start.k + 1
        self.prepare(new, first_k, settings)
        new.arm(command, outputs, k=first_k, **self.modes_at(first_k))
        for one in lived:
            if one.measured is not None:
                new.measurement(one.k, one.measured)
            new.observe(one.k, one.signals, one.command)
        next_k = lived[-1].k + 1 if lived else first_k
        self.stream(new, next_k)
        return next_k
