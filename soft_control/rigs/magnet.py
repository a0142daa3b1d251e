"""Field of a cuboid magnet, in closed form.

A uniformly magnetised cuboid is two charged sheets: Engel-Herbert and Hesjedal, "Calculation of the
magnetic stray field of a uniaxial magnetic domain", 2005. Exact at any distance, where a dipole is
wrong near to a magnet that is wider than the distance; fast enough that no table is needed.
"""

from __future__ import annotations

import itertools

import numpy as np

CORNERS = np.array(list(itertools.product((-1.0, 1.0), repeat=3)))
SIGNS = CORNERS.prod(axis=1)


def cuboid_field(points: np.ndarray, size: np.ndarray, polarisation: float) -> np.ndarray:
    """Flux density (K, 3) at `points` (K, 3) outside of a cuboid at the origin.

    `size` (3,) in the unit of the points; the cuboid is magnetised along z by `polarisation`, whose
    unit the result has.
    """
    x, y, z = np.moveaxis(points[:, None, :] - 0.5 * CORNERS * size, -1, 0)
    r = np.sqrt(x * x + y * y + z * z)
    # ln(r + y) without cancellation where y is negative: (r + y)(r - y) = x² + z²
    field = np.stack([_log_sum(y, r), _log_sum(x, r), -np.arctan2(x * y, z * r)])
    return -polarisation / (4 * np.pi) * (field @ SIGNS).T


def _log_sum(t: np.ndarray, r: np.ndarray) -> np.ndarray:
    return np.arcsinh(t / np.sqrt(np.maximum(r * r - t * t, 1e-300)))
