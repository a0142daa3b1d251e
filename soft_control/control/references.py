"""References: what each output shall be, as a function of time: a shape, or samples from a file."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from soft_control.learning.surface import Surface

Phases = Sequence[Callable[[np.ndarray], np.ndarray]]
"""Components of a shape: phase (T,), rad, to (T,) in units of an output's amplitude."""

SWIRL_TURNS = 2
"""Of the swirl on its way up, and the same back on its way down: as in the recorded one."""


def _height(phase: np.ndarray) -> np.ndarray:
    """From 0 up to 1 and back, in straight lines."""
    return 1.0 - np.abs(np.mod(phase, 2 * math.pi) / math.pi - 1.0)


def _swirl(turned: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    """One horizontal component of a spiral that opens as it rises and closes the same way back."""

    def component(phase: np.ndarray) -> np.ndarray:
        height = _height(phase)
        return height * turned(2 * math.pi * SWIRL_TURNS * height)

    return component


def _levels(*levels: float) -> Callable[[np.ndarray], np.ndarray]:
    """A staircase: each level for an equal part of the lap."""

    def component(phase: np.ndarray) -> np.ndarray:
        # A billionth: a step that falls on a sample must not miss it by rounding.
        lap = np.mod(phase / (2 * math.pi) + 1e-9, 1.0)
        return np.asarray(levels)[np.minimum((lap * len(levels)).astype(int), len(levels) - 1)]

    return component


def _double(phase: np.ndarray) -> np.ndarray:
    return np.sin(2 * phase)


# An output takes the component that its parameters name.
SHAPES: dict[str, Phases] = {
    "figure_eight": (np.sin, _double, np.sin),
    "pringle": (np.cos, np.cos, np.sin),
    "diagonal": (np.sin,),
    "fixed": (np.ones_like,),
    "swirl": (_swirl(np.cos), _swirl(np.sin), _height),
    "step": (_levels(0.0, *(1.0,) * 15),),
    "multi_level": (_levels(0.0, 0.5, -0.25, 1.0, 0.25, -0.75, -1.0, 0.75),),
}


@dataclass(frozen=True)
class Reference:
    """A closed curve through the outputs, one lap in 2π rad of phase.

    Output i is centre[i] + amplitude[i] · component[i] of the shape. A reference that the robot
    cannot reach costs an error that no controller can win back: where a robot has fewer commands
    than outputs, those that its `surface` says to follow are on top of their polynomial in the
    leading ones.

    Raises ValueError for a shape that is not in SHAPES, vectors of other lengths than `outputs`, a
    surface of other outputs, or a number that is not finite.
    """

    outputs: tuple[str, ...]
    """n names."""
    shape: str
    amplitude: tuple[float, ...]
    """(n,) in the outputs' units."""
    centre: tuple[float, ...]
    """(n,) in the outputs' units."""
    component: tuple[int, ...]
    """(n,) number of the shape's component; where a shape has fewer they are counted round."""
    angular_rate: float
    """rad/s; the paper's 150 samples per radian at 120 Hz are 0.8."""
    surface: Surface | None = None
    """What the outputs that cannot be chosen freely follow."""

    def __post_init__(self) -> None:
        if self.shape not in SHAPES:
            raise ValueError(f"reference '{self.shape}' is unknown; known are {', '.join(SHAPES)}")
        vectors = {key: getattr(self, key) for key in ("amplitude", "centre", "component")}
        for key, values in vectors.items():
            if len(values) != len(self.outputs):
                raise ValueError(
                    f"{key} of the reference has {len(values)} values for "
                    f"{len(self.outputs)} outputs"
                )
        for key, values in (vectors | {"angular_rate": [self.angular_rate]}).items():
            if not np.isfinite(values).all():
                raise ValueError(f"{key} of the reference is not finite")
        check_surface(self.surface, self.outputs)

    def values(self, t_s: np.ndarray | float) -> np.ndarray:
        """Outputs (T, n) at the times `t_s` (T,) in s."""
        return self._at(np.atleast_1d(np.asarray(t_s, dtype=float)) * self.angular_rate)

    def curve(self, points: int = 4000) -> np.ndarray:
        """One lap as (points, n), for the path error."""
        return self._at(np.linspace(0.0, 2 * math.pi, points, endpoint=False))

    def _at(self, phase: np.ndarray) -> np.ndarray:
        return self.on_surface(self.own(phase))

    def own(self, phase: np.ndarray) -> np.ndarray:
        """Outputs (T, n) at the phases (T,), rad, before any follows a surface."""
        phases = SHAPES[self.shape]
        units = [phases[number % len(phases)](phase) for number in self.component]
        own = [
            centre + amplitude * unit
            for centre, amplitude, unit in zip(self.centre, self.amplitude, units, strict=True)
        ]
        return np.column_stack(own)

    def on_surface(self, own: np.ndarray) -> np.ndarray:
        """Outputs (T, n) of `own` (T, n): those that follow are what they add to the surface."""
        if self.surface is None:
            return own
        found = own.copy()
        places = [self.outputs.index(name) for name in self.surface.leading]
        for name, followed in self.surface.follow(found[:, places]).items():
            i = self.outputs.index(name)
            found[:, i] = followed + own[:, i]
        return found


def check_surface(surface: Surface | None, outputs: Sequence[str]) -> None:
    """Raises ValueError for a surface that has other outputs than these."""
    if surface is not None:
        foreign = [n for n in (*surface.leading, *surface.following) if n not in outputs]
        if foreign:
            raise ValueError(f"the surface has outputs that the robot has not: {foreign[0]}")
