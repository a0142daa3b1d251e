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
    """A closed curve in y and z, its x on the surface that the rig can reach.

    Two commands reach a surface only: a reference off it costs millimetres that no controller can
    win back. The surface, a polynomial x(y, z), is fitted to recorded positions in training.

    Raises ValueError for a shape that is not in SHAPES or coefficients of no whole degree.
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

    def __post_init__(self) -> None:
        if self.shape not in SHAPES:
            raise ValueError(f"reference '{self.shape}' is unknown; known are {', '.join(SHAPES)}")
        surface_degree(len(self.surface))

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
        terms = surface_terms(y, z, surface_degree(len(self.surface)))
        return np.column_stack([terms @ np.asarray(self.surface), y, z])


def surface_terms(y: np.ndarray, z: np.ndarray, degree: int) -> np.ndarray:
    """The terms y^i z^j with i + j <= degree, y and z in centimetres so that all are of one size.

    y and z are (T,) in m, the result is (T, (degree + 1)(degree + 2) / 2).
    """
    powers = [(i, j) for i in range(degree + 1) for j in range(degree + 1 - i)]
    return np.column_stack([(100 * y) ** i * (100 * z) ** j for i, j in powers])


def surface_degree(coefficients: int) -> int:
    """Degree of the polynomial with so many coefficients. Raises ValueError where there is none."""
    for degree in range(coefficients):
        if (degree + 1) * (degree + 2) // 2 == coefficients:
            return degree
    raise ValueError(f"no polynomial in y and z has {coefficients} coefficients")


def fit_surface(position: np.ndarray, degree: int = 4) -> tuple[float, ...]:
    """Least-squares surface through positions (T, 3) in m; coefficients in m.

    Over the whole range of the tendon rig a quadratic misses its reachable surface by 0.5 mm RMS,
    a quartic by 0.1 mm.
    """
    terms = surface_terms(position[:, 1], position[:, 2], degree)
    return tuple(np.linalg.lstsq(terms, position[:, 0], rcond=None)[0].tolist())
