"""Gains of the disturbance estimate, as firmware/src/loop/estimate.h states their rule.

The disturbance is a random walk. It is seen as outputs - prediction, through the noise of these
outputs: of measured ones, or of those that the signals alone give, which are as noisy as the map's
residual is large.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def gain(ratio: float | np.ndarray) -> np.ndarray:
    """Steady-state Kalman gain for ratio = variance of a step of the walk / variance of noise."""
    ratio = np.asarray(ratio, dtype=float)
    return 0.5 * (np.sqrt(ratio * (ratio + 4.0)) - ratio)


def signal_trust(residual: Sequence[float], noise: Sequence[float]) -> np.ndarray:
    """(n,) variance of a measured output over that of the signals' one.

    Both as standard deviations, (n,), in the outputs' display units. At most 1: the map was fitted
    to measured outputs, what it seems to know better is chance.
    """
    return np.minimum(1.0, (np.asarray(noise) / np.maximum(residual, 1e-9)) ** 2)
