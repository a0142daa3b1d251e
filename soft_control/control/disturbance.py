"""Gains of the disturbance estimate, as firmware/src/loop/estimate.h states their rule.

The disturbance is a random walk. It is seen as measured outputs - prediction, through their noise.
"""

from __future__ import annotations

import numpy as np


def gain(ratio: float | np.ndarray) -> np.ndarray:
    """Steady-state Kalman gain for ratio = variance of a step of the walk / variance of noise."""
    ratio = np.asarray(ratio, dtype=float)
    return 0.5 * (np.sqrt(ratio * (ratio + 4.0)) - ratio)
