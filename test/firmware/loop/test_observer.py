"""observer.c: it is the Kalman filter that it says, its twin agrees, nothing makes it unbounded.

The signals here follow exactly from the signal model of the test network, but for their noise.
"""

from __future__ import annotations

import ctypes
from ctypes import c_bool, c_float
from pathlib import Path

import numpy as np
import pytest
from scipy.linalg import solve_discrete_are

from soft_control.control import observer
from soft_control.control.observer import ObserverConfig, SignalFunction
from soft_control.learning.card import load_card

from ..conftest import CModel, M, N, P, signal_model_of_test

KNOWN = signal_model_of_test()
FUNCTION = SignalFunction(np.array(KNOWN.hidden), np.array(KNOWN.weights))
NONE = np.zeros(P, bool)
SOURCES = ("loop/observer.c", "loop/signal_model.c", "solver/number.c")


class CConfig(ctypes.Structure):
    """observer_config_t"""

    _fields_ = [("keep", c_float), ("renewed", (c_float * N) * N), ("noise", c_float * P)]


class CObserver(ctypes.Structure):
    """observer_t"""

    _fields_ = [("error", c_float * N), ("covariance", (c_float * N) * N)]


class Firmware:
    """The C, one sample after another."""

    def __init__(self, library: Path, config: ObserverConfig) -> None:
        self._library, self._model, self.state = (
            ctypes.CDLL(str(library)),
            CModel.of(KNOWN),
            CObserver(),
        )
        self._config = CConfig(keep=config.keep)
        np.ctypeslib.as_array(self._config.renewed)[...] = config.renewed
        np.ctypeslib.as_array(self._config.noise)[...] = config.noise
        self._library.observer_reset(ctypes.byref(self.state))

    def step(self, doubted, signals, predicted, command) -> np.ndarray:
        arrays = [np.ascontiguousarray(a, np.float32) for a in (signals, predicted, command)]
        self._library.observer_step(
            ctypes.byref(self._config),
            ctypes.byref(self._model),
            ctypes.byref(self.state),
            (c_bool * P)(*doubted),
            *(a.ctypes.data_as(ctypes.POINTER(c_float)) for a in arrays),
        )
        return np.array(self.state.error)

    @property
    def covariance(self) -> np.ndarray:
        return np.array(self.state.covariance)


@pytest.fixture(scope="module")
def config(model_dir) -> ObserverConfig:
    return observer.observer_config(load_card(model_dir))


@pytest.fixture
def firmware_observer(estimating, config) -> Firmware:
    return Firmware(estimating.library, config)


def wandering(config: ObserverConfig, samples: int, seed: int):
    """Errors (T, n) of a network as the configuration says, its predictions (T, n), commands
    (T, m), and the signals (T, p) that show them."""
    rng = np.random.default_rng(seed)
    error, errors = np.zeros(N), []
    for change in rng.multivariate_normal(np.zeros(N), config.renewed, samples):
        error = config.keep * error + change
        errors.append(error)
    t = np.arange(samples)[:, None] / 120.0
    z = np.sin(2 * np.pi * (rng.uniform(0.15, 0.4, N + M) * t + rng.uniform(0, 1, N + M)))
    predicted, commands, errors = z[:, :N], z[:, N:], np.array(errors)
    signals = np.array(
        [
            FUNCTION.weights @ FUNCTION.features(y + e, u)
            for y, e, u in zip(predicted, errors, commands, strict=True)
        ]
    )
    signals += np.sqrt(config.noise) * rng.standard_normal(signals.shape)
    return errors, signals, predicted, commands


def test_the_covariance_settles_where_the_riccati_equation_has_it(config, firmware_observer):
    """At one place the filter is linear and of constant gain; scipy solves for its covariance."""
    predicted, command = np.array([0.2, -0.1, 0.3]), np.array([0.1, 0.4])
    slopes = FUNCTION.slopes(FUNCTION.features(predicted, command), N)
    signals = FUNCTION.weights @ FUNCTION.features(predicted, command)
    before = solve_discrete_are(
        config.keep * np.eye(N), slopes.T, config.renewed, np.diag(config.noise)
    )
    gain = before @ slopes.T @ np.linalg.inv(slopes @ before @ slopes.T + np.diag(config.noise))
    wanted = before - gain @ slopes @ before
    for _ in range(2000):
        error = firmware_observer.step(NONE, signals, predicted, command)
    np.testing.assert_allclose(error, 0.0, atol=1e-5)
    np.testing.assert_allclose(firmware_observer.covariance, wanted, rtol=1e-3, atol=1e-7)


def test_errors_are_found_and_their_size_is_known(config, firmware_observer):
    """What is left is far below what there was, and of the size that the covariance says: 4,000
    samples of which some 60 are independent tell the variance to 20 %, twice that is let pass."""
    errors, signals, predicted, commands = wandering(config, 4000, 1)
    left, said = [], []
    for e, s, y, u in zip(errors, signals, predicted, commands, strict=True):
        left.append(e - firmware_observer.step(NONE, s, y, u))
        said.append(np.diag(firmware_observer.covariance))
    left, said = np.mean(np.square(left), axis=0), np.mean(said, axis=0)
    assert np.all(left < 0.5 * np.mean(errors**2, axis=0))
    np.testing.assert_allclose(left, said, rtol=0.4)


def test_without_signals_the_error_is_forgotten_and_its_size_is_that_of_recordings(
    config, firmware_observer
):
    _, signals, predicted, commands = wandering(config, 100, 2)
    for row in zip(signals, predicted, commands, strict=True):
        firmware_observer.step(NONE, *row)
    assert np.max(np.abs(firmware_observer.state.error)) > 0.01
    for _ in range(2000):
        error = firmware_observer.step(~NONE, signals[0], predicted[0], commands[0])
    np.testing.assert_allclose(error, 0.0, atol=1e-6)
    np.testing.assert_allclose(firmware_observer.covariance, KNOWN.error, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30, 50.0])
def test_a_spark_is_not_taken(config, firmware_observer, estimating, value):
    other = Firmware(estimating.library, config)
    _, signals, predicted, commands = wandering(config, 200, 3)
    for k in range(200):
        spoiled, doubted = signals[k].copy(), NONE.copy()
        if k == 150:
            spoiled[1], doubted[1] = value, True
        first = firmware_observer.step(NONE, spoiled, predicted[k], commands[k])
        second = other.step(doubted, signals[k], predicted[k], commands[k])
        np.testing.assert_array_equal(first, second)


def test_the_twin_agrees_over_ten_thousand_steps(config, firmware_observer):
    """Of float32 against float64, within 1e-4 of the outputs' scale."""
    _, signals, predicted, commands = wandering(config, 10_000, 4)
    rng = np.random.default_rng(5)
    doubted = np.repeat(rng.random((100, P)) < 0.2, 100, axis=0)
    twin, worst = observer.reset(N), 0.0
    for row in zip(doubted, signals, predicted, commands, strict=True):
        wanted = observer.step(config, FUNCTION, twin, *row)
        worst = max(worst, np.max(np.abs(firmware_observer.step(*row) - wanted)))
        worst = max(worst, np.max(np.abs(firmware_observer.covariance - twin.covariance)))
    assert worst < 1e-4


def test_a_larger_headroom_trusts_the_signals_more(model_dir, config):
    card = load_card(model_dir)
    larger = observer.observer_config(card, 3.0)
    np.testing.assert_allclose(larger.renewed, 9.0 * config.renewed)
    assert (larger.keep, larger.noise.tolist()) == (config.keep, config.noise.tolist())
    assert observer.observer_config(card, 0.0) is None


def test_a_million_hostile_steps_under_sanitizers(estimating, hostile_steps):
    (moved,) = hostile_steps("observer_fuzz.c", estimating, SOURCES)
    assert moved > 100_000  # steps that have moved the error


def test_rounding_makes_no_variance_negative(firmware_observer):
    """Signals without noise leave nothing of an error along one direction: 0, more or less 6e-8 of
    what there was."""
    settings, state = firmware_observer._config, firmware_observer.state
    settings.keep = 1.0
    np.ctypeslib.as_array(settings.renewed)[...] = 0.0
    np.ctypeslib.as_array(settings.noise)[...] = 1e-12
    predicted, command = np.array([0.2, -0.1, 0.3]), np.array([0.1, 0.4])
    signals = FUNCTION.weights @ FUNCTION.features(predicted, command)
    rng, none_left = np.random.default_rng(6), 0
    for _ in range(300):
        along = rng.standard_normal(N)
        state.error[:] = [0.0] * N
        np.ctypeslib.as_array(state.covariance)[...] = np.outer(along, along)
        firmware_observer.step(NONE, signals, predicted, command)
        variances = np.diag(firmware_observer.covariance)
        assert np.all(variances >= 0.0) and variances.max() < 1e-5 * along @ along
        none_left += np.any(variances == 0.0)
    assert none_left > 100
