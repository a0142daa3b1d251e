"""How far the robot is from the network, by the signals: twin of firmware/src/loop/observer.c.

An extended Kalman filter beside the network's free run. The network's error e is taken for a
process that forgets, and the signals show it by the signal model of the card:

    e(k+1) = keep e(k) + w        variance of w = (1 - keep²) spread
    s      = h(y + e, u) + v      variance of v = noise

Without signals its covariance goes towards `spread`, that of the errors of free runs on recordings
held out; an error of the signal model that lasts counts as noise by its sum over time. Replayed on
the tendon rig's commands, whose network errs by 0.24 to 0.58 mm there, the estimate errs by 0.28 to
0.38; with twice the creep 0.7 to 1.6 instead of 0.8 to 2.3, with more slack 0.4 to 0.6 instead of
0.6 to 1.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # the card knows the compiler, which no node shall import
    from soft_control.learning.card import ModelCard

GATE = 4.0
"""Standard deviations beyond which an innovation is not taken."""


@dataclass(frozen=True)
class SignalFunction:
    """h: signal_model_t."""

    hidden: np.ndarray
    """(units, n + m + 1)"""
    weights: np.ndarray
    """(p, 1 + n + m + units)"""

    def features(self, outputs: np.ndarray, command: np.ndarray) -> np.ndarray:
        """(1 + n + m + units,) what all signals are expected by; outputs (n,), command (m,)."""
        z = np.concatenate([outputs, command])
        a = self.hidden[:, :-1] @ z + self.hidden[:, -1]
        return np.concatenate([[1.0], z, a / (1.0 + np.abs(a))])

    def slopes(self, features: np.ndarray, outputs: int) -> np.ndarray:
        """(p, n) derivatives of the signals by the outputs."""
        inputs = self.hidden.shape[1] - 1
        units = (1.0 - np.abs(features[1 + inputs :])) ** 2
        chain = units[:, None] * self.hidden[:, :outputs]
        return self.weights[:, 1 : 1 + outputs] + self.weights[:, 1 + inputs :] @ chain


@dataclass(frozen=True)
class ObserverConfig:
    """observer_config_t."""

    keep: float
    """Share of the error that is left after a sample."""
    renewed: np.ndarray
    """(n, n) (1 - keep²) spread."""
    noise: np.ndarray
    """(p,) variances."""


@dataclass
class Observer:
    """observer_t."""

    error: np.ndarray
    """(n,) of the network's outputs, normalised."""
    covariance: np.ndarray
    """(n, n)"""


def signal_function(card: ModelCard) -> SignalFunction | None:
    """None for a model that does not know what its signals should be."""
    known = card.signal_model
    return known and SignalFunction(np.array(known.hidden), np.array(known.weights))


def observer_config(card: ModelCard, headroom: float = 1.0) -> ObserverConfig | None:
    """headroom: times as large as in the recordings the network's errors are taken for. None with a
    headroom of 0, and for a model that does not know what its signals should be."""
    known = card.signal_model
    if known is None or headroom == 0.0:
        return None
    keep = float(np.exp(-1.0 / (known.error_s * card.rate_hz)))
    spread = headroom**2 * np.array(known.error)
    return ObserverConfig(keep, (1.0 - keep**2) * spread, np.array(known.noise) ** 2)


def reset(outputs: int) -> Observer:
    """The network of n outputs is right, and surely so: the robot rests where it says."""
    return Observer(np.zeros(outputs), np.zeros((outputs, outputs)))


def step(
    config: ObserverConfig,
    function: SignalFunction,
    observer: Observer,
    doubted: np.ndarray,
    signals: np.ndarray,
    predicted: np.ndarray,
    command: np.ndarray,
) -> np.ndarray:
    """(n,) the error, by the signals (p,) but those `doubted` (p,), by the outputs (n,) that the
    network predicts, without any offset, and by the newest command (m,) that these have seen."""
    before = config.keep * observer.error
    covariance = config.keep**2 * observer.covariance + config.renewed
    error = before.copy()
    features = function.features(predicted + before, command)
    away = signals - function.weights @ features
    slopes = function.slopes(features, len(predicted))
    for i in np.flatnonzero(~np.asarray(doubted)):
        innovation = away[i] - slopes[i] @ (error - before)
        seen = covariance @ slopes[i]
        variance = slopes[i] @ seen + config.noise[i]
        if not innovation**2 <= GATE**2 * variance:  # nor what is no number
            continue
        error = error + seen * innovation / variance
        covariance = covariance - np.outer(seen, seen) / variance
        np.fill_diagonal(covariance, np.maximum(np.diag(covariance), 0.0))
    observer.error, observer.covariance = error, covariance
    return error
