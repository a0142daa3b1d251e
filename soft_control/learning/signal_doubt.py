"""What each signal should be, by which a firmware finds one that lies and goes on without it.

A signal is predicted from the outputs that the network itself predicts and from the newest command
that it sees, never from other signals: of these, several may lie at once. With z = [y, u],

    s = weights @ [1, z, a / (1 + |a|)],   a = hidden @ [z, 1]

a small network whose units cost a division each. Measured on the simulated tendon rig, RMS error on
the run held out, normalised, of the four channels, whose noise is 0.10, 0.02, 0.04 and 0.41:

    quadratic in y                  0.24  0.21  0.23  0.55
    quadratic in y and u            0.24  0.20  0.22  0.53
    cubic in y                      0.16  0.14  0.20  0.46
    32 units at random, of y        0.14  0.08  0.13  0.43
    12 units fitted, of y           0.11  0.07  0.07  0.42
    12 units fitted, of y and u     0.11  0.07  0.07  0.42   largest error smaller by a quarter
    8 units fitted, of y and u      0.17  0.08  0.14  0.42
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from soft_control.learning.card import ModelCard, SignalDoubt
from soft_control.learning.model import Model, free_run
from soft_control.learning.noise import measured_noise
from soft_control.learning.recording import Recording

UNITS = 12
SLOW_S = 0.15
"""Time constant of the mean over which a drift shows."""
RIDGE = 1e-4
"""On all weights, beside errors of normalised signals."""
FIT_SAMPLES = 4_000
"""Neighbours are nearly equal: more of them would only cost time."""
FIT_ITERATIONS = 250
NEVER_BY_CHANCE = 1e-9
"""Probability that a live signal stands still for as long as one that is stuck: once in some
ten days at 120 Hz."""
STILL_S = 0.25
"""No signal is taken for stuck sooner: a message may come late."""
STILL_SAMPLES_MAX = 65_535
"""As the firmware counts; so many stand for never."""


def fit_signal_doubt(
    model: Model, training: Sequence[Recording], held_out: Sequence[Recording], seed: int
) -> SignalDoubt | None:
    """Fitted to free runs of the network on `training`, and how far off it is on these and on
    `held_out`, all on the control grid. None for a network without signals, or where a free run
    gives nothing finite."""
    card = model.card
    if not card.signal_names:
        return None
    inputs, signals = _both(card, model, training)
    if not np.isfinite(inputs).all():
        return None
    chosen = np.linspace(0, len(inputs) - 1, min(len(inputs), FIT_SAMPLES)).astype(int)
    hidden, weights = _fit(inputs[chosen], signals[chosen], seed)
    # What it errs by is the model's error more than noise, and that is no bell: in some corners a
    # mean innovation is seven times its RMS. So the largest is what counts.
    gain = 1.0 / max(SLOW_S * card.rate_hz, 1.0)
    largest = []
    for run in {id(run): run for run in (*training, *held_out)}.values():
        inputs, signals = _both(card, model, [run])
        error = signals - predicted_signals(hidden, weights, inputs)
        slow = [slow_mean(error[start:end], gain) for start, end in run.bounds]
        largest.append(np.max(np.abs([error, np.vstack(slow)]), axis=1))
    innovation, slow_innovation = np.max(largest, axis=0)
    if not np.isfinite([innovation, slow_innovation]).all():
        return None
    return SignalDoubt(
        hidden=hidden.tolist(),
        weights=weights.tolist(),
        innovation=innovation.tolist(),
        slow_s=SLOW_S,
        slow_innovation=slow_innovation.tolist(),
        still_samples=still_samples(card, [*training, *held_out]),
    )


def predicted_signals(hidden: np.ndarray, weights: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    """(…, p) normalised, from (…, n + m) outputs and commands, normalised."""
    return _features(hidden, inputs) @ weights.T


def slow_mean(values: np.ndarray, gain: float) -> np.ndarray:
    """(T, p) exponentially weighted mean of (T, p), from 0: mean += gain · (value - mean)."""
    from scipy.signal import lfilter  # slow to import, and few who read a card fit one

    return lfilter([gain], [1.0, gain - 1.0], values, axis=0)


def still_samples(card: ModelCard, runs: Sequence[Recording]) -> list[int]:
    """Samples in a row that are equal to that before them, of which a live signal has no more.

    A signal of noise σ that is rounded to quanta q repeats a value with a probability of at most
    P(|noise| < q/2), where it rests in the middle of a quantum. So often that it is
    `NEVER_BY_CHANCE`; and twice as often as in any recording, where sensors may be slower.
    """
    noise = measured_noise(runs, (), card.signal_names)
    values = [run.signal(card.signal_names) for run in runs]
    found = []
    for i, spread in enumerate(noise):
        steps = np.diff(np.unique(np.concatenate([v[:, i] for v in values])))
        quantum = float(steps.min()) if len(steps) else 0.0
        own = math.sqrt(max(spread**2 - quantum**2 / 12.0, 0.0))  # without that of rounding
        again = math.erf(quantum / (2.0 * math.sqrt(2.0) * own)) if own > 0.0 else 1.0
        by_chance = math.log(NEVER_BY_CHANCE) / math.log(again) if 0.0 < again < 1.0 else 0.0
        by_chance = math.inf if again >= 1.0 else by_chance
        seen = max(
            _longest_still(v[start:end, i])
            for v, run in zip(values, runs, strict=True)
            for start, end in run.bounds
        )
        least = max(by_chance, 2.0 * seen, STILL_S * card.rate_hz)
        found.append(math.ceil(min(least, STILL_SAMPLES_MAX)))
    return found


def _longest_still(values: np.ndarray) -> int:
    changes = np.flatnonzero(np.diff(values) != 0.0)
    edges = np.concatenate([[-1], changes, [len(values) - 1]])
    return int(np.max(np.diff(edges))) - 1


def _both(
    card: ModelCard, model: Model, runs: Sequence[Recording]
) -> tuple[np.ndarray, np.ndarray]:
    """Inputs (T, n + m) and signals (T, p), normalised."""
    inputs, signals = [], []
    for run in runs:
        outputs = card.normalised_output(free_run(model, run))
        commands = card.normalised_command(run.command(card.command_names))
        since = card.input_delay + 1  # the newest command that y has seen
        seen = [
            commands[np.maximum(np.arange(start, end) - since, start)] for start, end in run.bounds
        ]
        inputs.append(np.hstack([outputs, np.vstack(seen)]))
        signals.append(card.normalised_signal(run.signal(card.signal_names)))
    return np.vstack(inputs), np.vstack(signals)


def _features(hidden: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    a = inputs @ hidden[:, :-1].T + hidden[:, -1]
    one = np.ones((*inputs.shape[:-1], 1))
    return np.concatenate([one, inputs, a / (1.0 + np.abs(a))], axis=-1)


def _fit(inputs: np.ndarray, signals: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """hidden (UNITS, n + m + 1) and weights (p, 1 + n + m + UNITS): ridge regression on units at
    random, then all weights together by L-BFGS."""
    from scipy.optimize import minimize  # slow to import, and few who read a card fit one

    rng = np.random.default_rng(seed)
    columns, count = inputs.shape[1], signals.shape[1]
    hidden = rng.standard_normal((UNITS, columns + 1)) * min(1.0, math.sqrt(5.0 / columns))
    known = _features(hidden, inputs)
    ridge = 10 * RIDGE * len(known) * np.eye(known.shape[1])
    weights = np.linalg.solve(known.T @ known + ridge, known.T @ signals).T
    with_one = np.hstack([inputs, np.ones((len(inputs), 1))])

    def split(flat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return flat[: hidden.size].reshape(hidden.shape), flat[hidden.size :].reshape(count, -1)

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        layer, out = split(flat)
        a = with_one @ layer.T
        slope = 1.0 / (1.0 + np.abs(a))
        features = np.hstack([with_one[:, -1:], inputs, a * slope])
        error = features @ out.T - signals
        back = 2.0 / error.size * error
        inner = back @ out[:, 1 + columns :] * slope**2
        gradient = np.concatenate([(inner.T @ with_one).ravel(), (back.T @ features).ravel()])
        value = np.mean(error**2) + RIDGE / count * np.sum(flat**2)
        return float(value), gradient + 2.0 * RIDGE / count * flat

    start = np.concatenate([hidden.ravel(), weights.ravel()])
    options = {"maxiter": FIT_ITERATIONS, "maxfun": 2 * FIT_ITERATIONS}
    return split(minimize(loss, start, jac=True, method="L-BFGS-B", options=options).x)
