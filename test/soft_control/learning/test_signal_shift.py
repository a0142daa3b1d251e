"""Signals as another day would have them, in training: what each stream of rollouts sees."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from soft_control.learning.settings import TrainingSettings
from soft_control.learning.signal_shift import SignalShift

STREAMS, SAMPLES = 400, 30
OFFSET, SCALE = np.array([0.8, -0.4, 0.0]), np.array([0.04, 0.02, 0.02])
CARD = SimpleNamespace(signal_offset=OFFSET.tolist(), signal_scale=SCALE.tolist())
SIGNALS = np.random.default_rng(1).standard_normal((SAMPLES, STREAMS, 3)).astype(np.float32)


def shift(**settings: float) -> SignalShift:
    chosen = TrainingSettings(batch=STREAMS, **settings)
    return SignalShift(CARD, chosen, np.random.default_rng(0))


def physical(normalised: np.ndarray) -> np.ndarray:
    return normalised * SCALE + OFFSET


def test_a_gain_is_one_factor_on_all_physical_signals_of_a_stream():
    shifted = shift(signal_gain=0.02).of(SIGNALS)
    factor = physical(shifted) / physical(SIGNALS)
    seen = np.abs(physical(SIGNALS)) > 0.01  # beside zero a ratio of float32 says nothing
    mean = np.average(factor, axis=(0, 2), weights=seen)
    assert shifted.dtype == np.float32
    of_stream = np.broadcast_to(mean[:, None], factor.shape)
    np.testing.assert_allclose(factor[seen], of_stream[seen], atol=2e-5)
    # The spread of 400 factors is known to 1 / sqrt(800), and their mean to 1 / 20 of it.
    assert np.std(mean) == pytest.approx(0.02, rel=0.15)
    assert np.mean(mean) == pytest.approx(1.0, abs=0.004)


def test_an_offset_is_one_of_each_signal_of_a_stream():
    added = shift(signal_offset=0.5).of(SIGNALS) - SIGNALS
    np.testing.assert_allclose(added, np.broadcast_to(added[0], added.shape), atol=1e-5)
    np.testing.assert_allclose(np.std(added[0], axis=0), 0.5, rtol=0.15)
    np.testing.assert_allclose(np.corrcoef(added[0].T), np.eye(3), atol=0.2)


def test_a_shift_stays_until_its_stream_begins_somewhere_else():
    shifts = shift(signal_gain=0.02, signal_offset=0.5)
    before = shifts.of(SIGNALS)
    again = np.arange(STREAMS) % 3 == 0
    shifts.draw(again)
    moved = np.any(shifts.of(SIGNALS) != before, axis=(0, 2))
    np.testing.assert_array_equal(moved, again)


def test_without_shifts_signals_are_the_same_bits_and_no_number_is_drawn():
    rng = np.random.default_rng(3)
    shifts = SignalShift(CARD, TrainingSettings(batch=STREAMS), rng)
    shifts.draw(np.ones(STREAMS, dtype=bool))
    np.testing.assert_array_equal(shifts.of(SIGNALS), SIGNALS)
    assert rng.random() == np.random.default_rng(3).random()


def test_a_card_without_signals_has_none_to_shift():
    none = SimpleNamespace(signal_offset=[], signal_scale=[])
    settings = TrainingSettings(batch=4, signal_gain=0.1, signal_offset=0.1)
    shifts = SignalShift(none, settings, np.random.default_rng(0))
    assert shifts.of(np.zeros((5, 4, 0), dtype=np.float32)).shape == (5, 4, 0)
