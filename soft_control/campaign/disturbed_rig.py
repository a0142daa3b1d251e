"""A rig around which something goes wrong in mid-run: channels that lie, pushes, a lost tracker.

What is wrong with the rig itself (gain, delay, load) are its own parameters; what stands here comes
between the rig and its instruments, and so works on every rig:

    outputs -> + pushes -> measured outputs, or none
    counts  -> faults of channels -> counts
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from soft_control.rigs import Rig, Sample

DRIFTS_PER_S = (0.5, 0.1, 0.05)
"""Of a channel's full scale a second. At 0.5 a quarter of it is gone after half a second, in which
a fault should be found; the others are there to see what a slow one does until it is."""
SPIKES = 0.05
"""Share of a spiking channel's samples that are a full scale off."""

ChannelKind = Callable[[float, float, float, float, np.random.Generator], float]
"""Counts that are read, from: the true counts, those of the first sample with the fault, seconds
since then, the channel's full scale in counts, and a generator of random numbers."""


def _drifting(per_s: float) -> ChannelKind:
    return lambda counts, first, late_s, full, rng: counts + per_s * full * late_s


def _spiking(
    counts: float, first: float, late_s: float, full: float, rng: np.random.Generator
) -> float:
    # Both numbers are drawn at each sample: what is drawn later does not depend on what came out.
    hit, sign = rng.random(), rng.choice((-1.0, 1.0))
    return counts + sign * full if hit < SPIKES else counts


CHANNEL_KINDS: dict[str, ChannelKind] = {
    "dead": lambda counts, first, late_s, full, rng: 0.0,
    "stuck": lambda counts, first, late_s, full, rng: first,
    **{f"drifting_{per_s:g}": _drifting(per_s) for per_s in DRIFTS_PER_S},
    "spiking": _spiking,
}
"""In what ways a channel can be wrong."""


@dataclass(frozen=True)
class ChannelFault:
    """A channel that does not say what it feels."""

    channel: int
    """Its number among the signals."""
    kind: str
    """One of CHANNEL_KINDS."""
    from_s: float


@dataclass(frozen=True)
class Push:
    """Somebody pushes and lets go: a displacement that rises and falls as half a sine."""

    displacement: tuple[float, ...]
    """(n,) at its height, in the outputs' units."""
    from_s: float
    for_s: float

    def at(self, t_s: float) -> np.ndarray:
        """(n,) displacement at the time `t_s`."""
        phase = (t_s - self.from_s) / self.for_s
        height = math.sin(math.pi * phase) if 0.0 < phase < 1.0 else 0.0
        return height * np.array(self.displacement)


@dataclass(frozen=True)
class Effect:
    """What a disturbance does to one rig."""

    changes: Mapping[str, Any] = field(default_factory=dict)
    """Of the rig's parameters, from the start on or with times of their own."""
    channels: Sequence[ChannelFault] = ()
    pushes: Sequence[Push] = ()
    tracker_lost_s: float = math.inf
    """From then on nobody measures the outputs."""

    @property
    def outside(self) -> bool:
        """Whether anything comes between the rig and its instruments."""
        return bool(self.channels or self.pushes or self.tracker_lost_s < math.inf)


class DisturbedRig:
    """As much of a rig as a run in process needs, with an effect around it."""

    def __init__(self, rig: Rig, effect: Effect, seed: int) -> None:
        """`seed`: of the spikes; those of a channel do not depend on other channels."""
        self._rig, self._effect, self._seed = rig, effect, seed
        self.description = rig.description
        self.command_names, self.signal_names = rig.command_names, rig.signal_names
        self.command_min, self.command_max = rig.command_min, rig.command_max
        sensor = rig.description.instruments.sensor
        self._count_min, self._count_max = sensor.count_min, sensor.count_max
        self._full = rig.description.full_scale_counts
        self._begin()

    def _begin(self) -> None:
        self._t_s = 0.0
        self._first: dict[ChannelFault, float] = {}
        self.wrong_from_s: dict[int, float] = {}
        """By the number of a channel when it first said something else than it felt."""
        self._rng = {
            fault: np.random.default_rng((self._seed, fault.channel))
            for fault in self._effect.channels
        }

    def reset(self, seed: int | None = None) -> None:
        """Back to rest, and nothing has gone wrong yet."""
        self._rig.reset(seed)
        self._begin()

    def step(self, command: np.ndarray, duration_s: float) -> None:
        """Hold `command` (m,) for `duration_s`, s."""
        self._rig.step(command, duration_s)
        self._t_s += duration_s

    def outputs(self) -> np.ndarray:
        """(n,) true outputs, pushes included."""
        return self._rig.outputs() + self._pushed()

    def measure(self) -> Sample:
        """What the instruments read; outputs that nobody measures are not a number."""
        seen = self._rig.measure()
        outputs = seen.outputs + self._pushed()
        if self._t_s >= self._effect.tracker_lost_s:
            outputs = np.full_like(outputs, np.nan)
        return Sample(outputs, self._felt(seen.signals))

    def _pushed(self) -> np.ndarray:
        none = np.zeros(len(self.description.outputs))
        return sum((push.at(self._t_s) for push in self._effect.pushes), none)

    def _felt(self, counts: np.ndarray) -> np.ndarray:
        felt = np.array(counts)
        for fault in self._effect.channels:
            if self._t_s < fault.from_s:
                continue
            true, full = float(counts[fault.channel]), self._full[fault.channel]
            first = self._first.setdefault(fault, true)
            late_s = self._t_s - fault.from_s
            kind = CHANNEL_KINDS[fault.kind]
            wrong = round(kind(true, first, late_s, full, self._rng[fault]))
            felt[fault.channel] = min(max(wrong, self._count_min), self._count_max)
            if felt[fault.channel] != true:
                self.wrong_from_s.setdefault(fault.channel, self._t_s)
        return felt
