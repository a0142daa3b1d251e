from __future__ import annotations

import numpy as np
import pytest

from soft_control.learning.calibration import Calibration


def test_full_scale_becomes_one_and_a_dead_channel_zero():
    counts = np.array([[10, 0, 3], [20, 0, 1]])
    calibration = Calibration((20.0, 0.0, 3.0))
    np.testing.assert_array_equal(calibration.apply(counts), [[0.5, 0, 1], [1, 0, 1 / 3]])


def test_another_number_of_channels_is_refused():
    with pytest.raises(ValueError, match="2 channels read, but the calibration has 3"):
        Calibration((1.0, 1.0, 1.0)).apply(np.array([1, 2]))


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_a_full_scale_is_finite_and_not_negative(value):
    with pytest.raises(ValueError, match="channel 1"):
        Calibration((1.0, value))
