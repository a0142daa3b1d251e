"""The surface x(y, z) that a rig with two commands reaches: a polynomial fitted to positions."""

from __future__ import annotations

import numpy as np


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
