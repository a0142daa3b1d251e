"""Gains of the disturbance estimate, as firmware/src/loop/estimate.h states their rule.

The disturbance is a random walk. It is seen as position - prediction, through the noise of that
position: of a measured one, or of the one that the signals alone give, which is as noisy as the
map's residual is large.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def gain(ratio: float | np.ndarray) -> np.ndarray:
    """Steady-state Kalman gain for ratio = variance of a step of the walk / variance of noise."""
    ratio = np.asarray(ratio, dtype=float)
    return 0.5 * (np.sqrt(ratio * (ratio + 4.0)) - ratio)


def signal_trust(residual_mm: Sequence[float], position_noise_mm: float) -> np.ndarray:
    """(n,) variance of a measured position over that of the signals', one an axis.

    At most 1: the map was fitted to measured positions, what it seems to know better is chance.
    """
    return np.minimum(1.0, (position_noise_mm / np.maximum(residual_mm, 1e-9)) ** 2)
