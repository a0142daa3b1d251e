"""References: where the tip shall be, as a function of time, on the surface the rig can reach."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

# Shape in the plane: phase (rad) -> y and z in units of the amplitudes.
SHAPES: dict[str, Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]] = {
    "figure_eight": lambda phase: (np.sin(2 * phase), np.sin(phase)),
    "pringle": lambda phase: (np.cos(phase), np.sin(phase)),
    "diagonal": lambda phase: (np.sin(phase), np.sin(phase)),
    "fixed": lambda phase: (np.ones_like(phase), np.ones_like(phase)),
}


@dataclass(frozen=True)
class Reference:
    """A closed curve in y and z, its x on the surface x = c · [1, y, z, y², yz, z²].

    Two commands reach a surface only: a reference off it costs millimetres that no controller can
    win back. The surface is fitted to recorded positions in training.

    Raises ValueError for a shape that is not in SHAPES or a surface without six coefficients.
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
    surface: tuple[float, ...] = (0.0,) * 6
    """Coefficients for y, z and x in m."""

    def __post_init__(self) -> None:
        if self.shape not in SHAPES:
            raise ValueError(f"reference '{self.shape}' is unknown; known are {', '.join(SHAPES)}")
        if len(self.surface) != 6:
            raise ValueError(f"a surface has 6 coefficients, not {len(self.surface)}")

    def position(self, t_s: np.ndarray | float) -> np.ndarray:
        """Positions (T, 3) in m at the times `t_s` (T,) in s."""
        return self._at(np.atleast_1d(np.asarray(t_s, dtype=float)) * self.angular_rate)

    def curve(self, points: int = 4000) -> np.ndarray:
        """One lap as (points, 3) in m, for the path error."""
        return self._at(np.linspace(0.0, 2 * math.pi, points, endpoint=False))

    def _at(self, phase: np.ndarray) -> np.ndarray:
        unit_y, unit_z = SHAPES[self.shape](phase)
        y = self.center_y + self.amplitude_y * unit_y
        z = self.center_z + self.amplitude_z * unit_z
        return np.column_stack([surface_terms(y, z) @ np.asarray(self.surface), y, z])


def surface_terms(y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """The terms [1, y, z, y², yz, z²] as (T, 6)."""
    return np.column_stack([np.ones_like(y), y, z, y * y, y * z, z * z])


def fit_surface(position: np.ndarray) -> tuple[float, ...]:
    """Least-squares surface through positions (T, 3) in m."""
    terms = surface_terms(position[:, 1], position[:, 2])
    # y and z are centimetres: in millimetres the terms are of one size and the fit well conditioned.
    size = np.array([1.0, 1e-3, 1e-3, 1e-6, 1e-6, 1e-6])
    solution, *_ = np.linalg.lstsq(terms / size, position[:, 0], rcond=None)
    return tuple(float(c) for c in solution / size)
