from __future__ import annotations

import numpy as np
import pytest

from soft_control.control.disturbance import gain


@pytest.mark.parametrize("ratio", [1e-6, 0.0026, 0.3, 10.0])
def test_the_gain_is_where_a_kalman_filter_settles(ratio: float):
    """Its variance, step by step, in units of the noise's, until nothing moves any more."""
    variance = 1.0
    for _ in range(20_000):
        predicted = variance + ratio
        weight = predicted / (predicted + 1.0)
        variance = (1.0 - weight) * predicted
    assert gain(ratio) == pytest.approx(weight, rel=1e-6)


def test_the_gain_follows_a_walk_as_well_as_any():
    """A random walk seen through noise: the rule's gain has the least error, others have more."""
    rng = np.random.default_rng(0)
    ratio, walks = 0.04, 2000
    walk = np.cumsum(np.sqrt(ratio) * rng.standard_normal((200, walks)), axis=0)
    seen = walk + rng.standard_normal(walk.shape)

    def error(g: float) -> float:
        estimate = np.zeros(walks)
        for row in seen:
            estimate += g * (row - estimate)
        return float(np.mean((estimate - walk[-1]) ** 2))

    best = float(gain(ratio))
    # 2000 walks tell 10 % more error from none.
    assert error(0.6 * best) > 1.05 * error(best) < error(1.7 * best) / 1.05


def test_a_ratio_of_nothing_gains_nothing():
    assert gain(0.0) == 0.0
