"""References: where the tip shall be, as a function of time, on the surface the rig can reach."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np

from soft_control.learning.surface import surface_degree, surface_terms

Units = tuple[np.ndarray, np.ndarray, np.ndarray]
"""x, y and z in units of the amplitudes."""

SWIRL_TURNS = 2
"""Of the swirl on its way up, and the same back on its way down: as in the recorded one."""


def _swirl(phase: np.ndarray) -> Units:
    """A spiral that opens as it rises, from the centre, and closes the same way back."""
    height = 1.0 - np.abs(np.mod(phase, 2 * math.pi) / math.pi - 1.0)
    turn = 2 * math.pi * SWIRL_TURNS * height
    return height * np.cos(turn), height * np.sin(turn), height


def _levels(*levels: float) -> Callable[[np.ndarray], Units]:
    """A staircase on all axes: each level for an equal part of the lap."""

    def shape(phase: np.ndarray) -> Units:
        # A billionth: a step that falls on a sample must not miss it by rounding.
        lap = np.mod(phase / (2 * math.pi) + 1e-9, 1.0)
        value = np.asarray(levels)[np.minimum((lap * len(levels)).astype(int), len(levels) - 1)]
        return value, value, value

    return shape


# phase (rad) -> units
SHAPES: dict[str, Callable[[np.ndarray], Units]] = {
    "figure_eight": lambda phase: (np.sin(phase), np.sin(2 * phase), np.sin(phase)),
    "pringle": lambda phase: (np.cos(phase), np.cos(phase), np.sin(phase)),
    "diagonal": lambda phase: (np.sin(phase),) * 3,
    "fixed": lambda phase: (np.ones_like(phase),) * 3,
    "swirl": _swirl,
    "step": _levels(0.0, *(1.0,) * 15),
    "multi_level": _levels(0.0, 0.5, -0.25, 1.0, 0.25, -0.75, -1.0, 0.75),
}


@dataclass(frozen=True)
class Reference:
    """A closed curve; for rigs with two commands in y and z, its x on the surface that they reach.

    A reference off that surface costs millimetres that no controller can win back. The surface, a
    polynomial x(y, z), is fitted to recorded positions in training; `amplitude_x` goes on top of
    it and is for rigs that reach a volume.

    Raises ValueError for a shape that is not in SHAPES, coefficients of no whole degree, or a
    number that is not finite.
    """

    shape: str
    amplitude_y: float
    """m"""
    amplitude_z: float
    """m"""
    angular_rate: float
    """rad/s; the paper's 150 samples per radian at 120 Hz are 0.8."""
    center_y: float = 0.0
    """m"""
    center_z: float = 0.0
    """m"""
    surface: tuple[float, ...] = (0.0,)
    """Coefficients of `surface_terms`, m; by default the plane x = 0."""
    amplitude_x: float = 0.0
    """m"""
    center_x: float = 0.0
    """m"""

    def __post_init__(self) -> None:
        if self.shape not in SHAPES:
            raise ValueError(f"reference '{self.shape}' is unknown; known are {', '.join(SHAPES)}")
        surface_degree(len(self.surface))
        numbers = {key: [getattr(self, key)] for key in REFERENCE_KEYS} | {"surface": self.surface}
        for key, values in numbers.items():
            if not np.isfinite(values).all():
                raise ValueError(f"{key} of the reference is not finite")

    def position(self, t_s: np.ndarray | float) -> np.ndarray:
        """Positions (T, 3) in m at the times `t_s` (T,) in s."""
        return self._at(np.atleast_1d(np.asarray(t_s, dtype=float)) * self.angular_rate)

    def curve(self, points: int = 4000) -> np.ndarray:
        """One lap as (points, 3) in m, for the path error."""
        return self._at(np.linspace(0.0, 2 * math.pi, points, endpoint=False))

    def _at(self, phase: np.ndarray) -> np.ndarray:
        unit_x, unit_y, unit_z = SHAPES[self.shape](phase)
        y = self.center_y + self.amplitude_y * unit_y
        z = self.center_z + self.amplitude_z * unit_z
        terms = surface_terms(y, z, surface_degree(len(self.surface)))
        x = terms @ np.asarray(self.surface) + self.center_x + self.amplitude_x * unit_x
        return np.column_stack([x, y, z])


REFERENCE_KEYS = tuple(
    field.name for field in fields(Reference) if field.name not in ("shape", "surface")
)
"""What config/reference.yaml sets."""
