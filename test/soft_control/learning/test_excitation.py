from __future__ import annotations

import numpy as np
import pytest

from soft_control.learning.excitation import excitation

MINIMUM, MAXIMUM, MOVE_MAX = np.array([-1.7, -1.0]), np.array([1.4, 1.0]), np.array([0.05, 0.02])


def test_commands_keep_their_limits_and_use_their_range():
    commands = excitation(60.0, 120.0, MINIMUM, MAXIMUM, MOVE_MAX, seed=3)
    assert commands.shape == (7200, 2)
    assert np.all((commands >= MINIMUM) & (commands <= MAXIMUM))
    start = np.vstack([(MINIMUM + MAXIMUM) / 2, commands])
    assert np.all(np.abs(np.diff(start, axis=0)) <= MOVE_MAX * (1 + 1e-12))
    assert np.all(np.ptp(commands, axis=0) > 0.8 * (MAXIMUM - MINIMUM))


def test_seed_decides():
    one, same, other = (excitation(5, 120, MINIMUM, MAXIMUM, MOVE_MAX, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert np.any(one != other)


def test_nothing_to_do_is_an_error():
    with pytest.raises(ValueError, match="holds no sample"):
        excitation(0.001, 120, MINIMUM, MAXIMUM, MOVE_MAX, 0)
    with pytest.raises(ValueError, match="minimum < maximum"):
        excitation(1.0, 120, MINIMUM, MINIMUM, MOVE_MAX, 0)
