"""The transport delay of robots that have a known one is found to the sample."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import dlsim

from soft_control.learning.excitation import excitation
from soft_control.learning.settings import TrainingError
from soft_control.learning.transport_delay import transport_delay

SAMPLES = 3_000


def commands(seed: int) -> np.ndarray:
    """One minute at 50 Hz of what `softctl collect` gives."""
    limit = np.ones(2)
    return excitation(SAMPLES / 50.0, 50.0, -limit, limit, 0.1 * limit, seed)


def linear(given: np.ndarray, delay: int) -> np.ndarray:
    """(T, 2) by scipy: y(k+1) = A y(k) + B u(k-d), with time constants of 5 and 20 samples."""
    a = np.diag([np.exp(-1 / 5), np.exp(-1 / 20)])
    b = (np.eye(2) - a) @ np.array([[1.0, 0.4], [-0.3, 1.0]])
    late = np.vstack([np.zeros((delay, 2)), given])[: len(given)]
    return dlsim((a, b, np.eye(2), np.zeros((2, 2)), 1.0), late)[1]


def found(given: np.ndarray, outputs: np.ndarray, longest: int = 20) -> int:
    return transport_delay([(given, outputs)], longest)


@pytest.mark.parametrize("delay", [0, 1, 4, 13])
@pytest.mark.parametrize("noise", [1e-4, 0.003])
def test_it_is_found_to_the_sample(delay, noise):
    given = commands(1)
    outputs = linear(given, delay)
    outputs += noise * np.std(outputs) * np.random.default_rng(2).standard_normal(outputs.shape)
    assert found(given, outputs) == delay


def test_units_and_a_bent_map_do_not_matter():
    given = commands(3)
    outputs = linear(given, 6) + 1e-3 * np.random.default_rng(5).standard_normal((SAMPLES, 2))
    bent = np.column_stack([1e-3 * np.tanh(outputs[:, 0]), 1e5 * (outputs[:, 1] + 2.0) ** 2])
    assert found(given, bent) == 6


def test_runs_are_put_together():
    """Each alone is too short to tell."""
    pieces = [commands(seed)[:400] for seed in (4, 5, 6, 7)]
    noise = 1e-3 * np.random.default_rng(6).standard_normal((400, 2))
    assert transport_delay([(piece, linear(piece, 3) + noise) for piece in pieces], 20) == 3


def test_recordings_that_cannot_tell_are_refused():
    given = commands(8)[:50]
    with pytest.raises(TrainingError, match="no recording has 59 samples without a gap"):
        found(given, linear(given, 2))
