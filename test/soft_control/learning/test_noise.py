"""The noise of recorded values is found to a few per cent, whatever moves beneath it."""

from __future__ import annotations

import numpy as np
import pytest

from soft_control.learning.noise import measured_noise
from soft_control.learning.recording import Recording


def recording(outputs: np.ndarray, starts: tuple[int, ...] = (0,)) -> Recording:
    t_s = np.arange(len(outputs)) / 100.0
    t_s += 50.0 * np.searchsorted(starts, np.arange(len(outputs)), "right")
    names = tuple(f"y{i}" for i in range(outputs.shape[1]))
    none = np.zeros((len(outputs), 0))
    return Recording("run", t_s, none, outputs, none, None, (), names, (), starts=starts)


def moving(samples: int) -> np.ndarray:
    """A swing of 1 at 1.5 Hz."""
    return np.sin(2 * np.pi * 1.5 * np.arange(samples) / 100.0)


@pytest.mark.parametrize("sigma", [0.003, 0.03])
def test_white_noise_on_a_motion_is_found(sigma):
    """10,000 samples tell a variance to 2 % or so; the median over blocks lies 1 % lower. At 100 Hz
    the motion itself has third differences of (2 pi 1.5 / 100)³ = 0.0008 and adds 2 % to 0.003."""
    noise = sigma * np.random.default_rng(0).standard_normal(10_000)
    run = recording(np.column_stack([moving(10_000) + noise, moving(10_000)]))
    found = measured_noise([run], run.output_names, ())
    assert found[0] == pytest.approx(sigma, rel=0.05)
    assert found[1] < 3e-4


def test_a_gap_and_a_few_jumps_are_no_noise():
    noise = 0.01 * np.random.default_rng(1).standard_normal(6_000)
    jumps = np.where(np.arange(6_000) % 1_500 < 750, 0.0, 5.0)
    run = recording((noise + jumps)[:, None], starts=(0, 3_000))
    assert measured_noise([run], run.output_names, ())[0] == pytest.approx(0.01, rel=0.05)


def test_too_few_samples_tell_of_no_noise():
    run = recording(np.array([[0.0], [1.0], [0.0]]))
    assert measured_noise([run], run.output_names, ()).tolist() == [0.0]
