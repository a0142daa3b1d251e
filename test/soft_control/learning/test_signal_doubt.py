"""What a signal should be, and how far off it is: a rig whose network and noise are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from soft_control.control.observer import observer_config
from soft_control.control.sensor_doubt import HEADROOM, SLACK, SUM, doubt_config
from soft_control.learning.blank_card import blank_card
from soft_control.learning.card import SignalModel
from soft_control.learning.model import IncrementNetwork, Model
from soft_control.learning.signal_doubt import (
    STILL_S,
    STILL_SAMPLES_MAX,
    explained_by_others,
    fit_signal_doubt,
    slow_mean,
    still_samples,
    sums,
)
from soft_control.learning.signal_model import fit_signal_model, long_run_variance

from .test_training import POLE, RATE_HZ, TENDON, TINY, B, linear_run

NOISE = 0.01
TRAINING, HELD_OUT = [linear_run(1), linear_run(2)], [linear_run(3)]


@pytest.fixture(scope="module")
def model() -> Model:
    """The linear rig itself as a network: y + B u(k-1) - POLE y, normalised. It sees no signals."""
    card = blank_card(TENDON, TRAINING, HELD_OUT, TINY)
    scale, offset = np.array(card.output_scale), np.array(card.output_offset)
    m, n = len(card.command_names), len(card.output_names)
    weights = np.zeros((sum(card.input_sizes().values()), n))
    weights[:m] = (B * card.command_scale).T / scale
    weights[card.command_columns : card.command_columns + n] = -POLE * np.eye(n)
    bias = (B @ np.array(card.command_offset) - POLE * offset) / scale
    return Model(card, IncrementNetwork([(weights, bias)], card.command_columns))


@pytest.fixture(scope="module")
def known(model) -> SignalModel:
    return fit_signal_model(model, TRAINING, HELD_OUT, seed=0)


def test_signals_are_predicted_to_within_their_noise(model, known):
    doubt = fit_signal_doubt(model, known, TRAINING, HELD_OUT)
    noise = NOISE / np.array(model.card.signal_scale)
    # The largest of 3,600 of a normal law is 3.5 of its spread; the rest is what a fit of units
    # that saturate leaves of a straight line.
    assert np.all(doubt.innovation > 2.8 * noise) and np.all(doubt.innovation < 6 * noise)
    assert np.all(np.array(doubt.slow_rest) < doubt.innovation)
    assert np.all(np.diag(doubt.others) == 0.0)
    assert fit_signal_model(model, TRAINING, HELD_OUT, seed=0) == known


def test_what_model_and_network_err_by_is_measured(model, known):
    """The network is the rig but for the noise of its first output, from which a free run begins;
    the signals' noise is white: what adds up of it over time is not more than there is, but for
    what 600 samples tell of 119 lags, some 30 %."""
    noise = NOISE / np.array(model.card.signal_scale)
    assert np.all(known.noise > 0.9 * noise) and np.all(known.noise < 1.7 * noise)
    assert np.max(np.sqrt(np.diag(known.error))) < 0.05


def test_an_error_is_known_by_its_covariance_and_by_how_long_it_lasts(model):
    """Outputs that a slow process of known size moves, beside what the network knows of."""
    rng, keep, size = np.random.default_rng(3), np.exp(-1 / (0.3 * RATE_HZ)), 0.2
    runs = []
    for seed in range(10, 20):
        run = linear_run(seed)
        walk, walks = np.zeros(3), []
        for change in rng.standard_normal((len(run), 3)):
            walk = keep * walk + np.sqrt(1 - keep**2) * size * change
            walks.append(walk)
        scale = np.array(model.card.output_scale)
        runs.append(replace(run, outputs=run.outputs + scale * np.array(walks)))
    found = fit_signal_model(model, TRAINING, runs, seed=0)
    # Ten runs of 5 s hold some 80 times the 0.6 s that an error takes to be another one.
    np.testing.assert_allclose(np.sqrt(np.diag(found.error)), size, rtol=0.25)
    assert found.error_s == pytest.approx(0.3, rel=0.3)


def test_the_long_run_variance_of_what_lasts_is_larger():
    """Of x(k) = a x(k-1) + w it is var(w) / (1 - a)²."""
    rng, a = np.random.default_rng(0), 0.8
    white = rng.standard_normal((40_000, 2))
    lasting = np.zeros_like(white)
    for k in range(1, len(white)):
        lasting[k] = a * lasting[k - 1] + white[k]
    np.testing.assert_allclose(long_run_variance([white], 60), 1.0, rtol=0.15)
    np.testing.assert_allclose(
        long_run_variance([lasting[:20_000], lasting[20_000:]], 60), 25.0, rtol=0.2
    )


def test_the_gate_is_beyond_all_that_was_recorded(model, known):
    doubt = fit_signal_doubt(model, known, TRAINING, HELD_OUT)
    card = model.card.model_copy(update={"signal_doubt": doubt})
    config = doubt_config(card)
    gate = HEADROOM * np.array(card.signal_doubt.innovation)
    np.testing.assert_allclose(1.0 / config.per_gate, gate)
    np.testing.assert_allclose(
        config.slack * gate, SLACK * HEADROOM * np.array(card.signal_doubt.slow_rest)
    )
    np.testing.assert_allclose(gate / config.per_sum, SUM * np.array(card.signal_doubt.rest_sum))
    seen = np.vstack([card.normalised_signal(run.signals) for run in TRAINING])
    assert np.all(config.low < seen.min(axis=0)) and np.all(config.high > seen.max(axis=0))


def test_what_others_explain_is_least_squares_on_them():
    """Beside the share that always counts as a signal's own, a thousandth of its variance."""
    rng = np.random.default_rng(5)
    hidden, mix = rng.standard_normal((4_000, 2)), rng.standard_normal((2, 5))
    seen = hidden @ mix + 0.3 * rng.standard_normal((4_000, 5))
    found = explained_by_others([seen[:1_000], seen[1_000:]])
    for i in range(5):
        rest = np.delete(np.arange(5), i)
        wanted = np.linalg.lstsq(seen[:, rest], seen[:, i], rcond=None)[0]
        np.testing.assert_allclose(found[i, rest], wanted, atol=0.02)
        assert found[i, i] == 0.0


def test_a_step_adds_up_beyond_its_slack():
    rest = np.concatenate([np.zeros(10), np.full(20, -0.5), np.zeros(10)])[:, None]
    found = sums(rest, np.array([0.2]))[:, 0]
    assert found[9] == 0.0
    assert found[29] == pytest.approx(20 * 0.3)
    assert found[-1] == pytest.approx(20 * 0.3 - 10 * 0.2)


def test_without_signals_there_is_nothing_to_doubt(model):
    blind = TINY.model_copy(update={"signals": False})
    card = blank_card(TENDON, TRAINING, HELD_OUT, blind)
    assert fit_signal_model(Model(card, model.network), TRAINING, HELD_OUT, seed=0) is None
    assert fit_signal_doubt(Model(card, model.network), None, TRAINING, HELD_OUT) is None
    assert doubt_config(card) is None and observer_config(card) is None


def test_the_mean_is_the_recursion_that_the_firmware_does():
    values = np.random.default_rng(0).standard_normal((50, 2))
    mean = np.zeros(2)
    for value, found in zip(values, slow_mean(values, 0.2), strict=True):
        mean += 0.2 * (value - mean)
        np.testing.assert_allclose(found, mean)


def rounded(quantum: float, noise: float) -> list:
    """A run whose two signals are y and z with this noise, rounded."""
    rng = np.random.default_rng(9)
    run = linear_run(4)
    felt = 0.5 + 10 * run.outputs[:, 1:]
    felt = felt + noise * rng.standard_normal(felt.shape)
    return [linear_run(4, signals=np.round(felt / quantum) * quantum if quantum else felt)]


def test_what_stands_still_by_chance_is_not_stuck(model):
    """Noise of half a quantum repeats a value with P = 0.683 at most: 55 times in a row with 1e-9;
    noise of a whole one with 0.383, 22 times. Without rounding, the least is asked."""
    least = int(np.ceil(STILL_S * RATE_HZ))
    assert still_samples(model.card, rounded(0.0, NOISE)) == [least] * 2
    half, whole = (still_samples(model.card, rounded(NOISE / x, NOISE)) for x in (0.5, 1.0))
    # The noise is measured, on 600 samples, to some 5 %.
    assert half == pytest.approx([55, 55], abs=8)
    assert whole == pytest.approx([22, 22], abs=3)


def test_a_signal_without_noise_is_never_stuck(model):
    """It may stand still because the robot does."""
    assert min(still_samples(model.card, rounded(0.05, 1e-4))) > 500
    still = linear_run(4, signals=np.full((600, 2), 0.5))
    assert still_samples(model.card, [still]) == [STILL_SAMPLES_MAX] * 2
