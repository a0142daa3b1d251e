"""How the signals follow from the outputs, by which a firmware tells how far its network is off.

A signal is predicted from the outputs and from the newest command that these have seen, never from
other signals: of these, several may lie at once. With z = [y, u],

    s = weights @ [1, z, a / (1 + |a|)],   a = hidden @ [z, 1]

a small network whose units cost a division each. A drift has to be larger than what the model errs
by where it errs most. Measured on the simulated tendon rig, largest error of a mean over 0.15 s, in
closed loop on five references as trained, of the full scale of the four channels, whose noise
alone comes to some 0.010, 0.003, 0.003 and 0.030:

    12 units, all weights by L-BFGS, 4,000 samples      0.041  0.030  0.022  0.043
    12 units, variable projection, 8,000 samples        0.034  0.015  0.009  0.041
    20 units, variable projection, 20,000 samples       0.020  0.013  0.009  0.033
    24 units, variable projection, 20,000 samples       0.020  0.012  0.010  0.039

The HASEL rig's pose is more than its three outputs, and no number of units tells it: 0.006 to 0.014
with 12 and with 24 of them. What the signals say together does: signal_doubt.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from soft_control.learning.card import ModelCard, SignalModel
from soft_control.learning.model import Model, free_run
from soft_control.learning.recording import Recording

UNITS = 20
RIDGE = 0.2
"""On all weights, beside the sum of squared errors of normalised signals over FIT_SAMPLES of them.
Of fewer samples it grows as they are fewer, for what they leave open has to be smooth: where a load
parts outputs and commands that always went together, an observer goes by the slope there."""
FIT_SAMPLES = 20_000
"""Neighbours are nearly equal but for their noise: fitted to 4,000 or 8,000, the largest errors on
the run held out are up to three times as large."""
FIT_ITERATIONS = 400
STARTS, NEIGHBOURS = 3, 16
"""Of the starts that one is kept whose means over so many samples err least where they err most: a
drift has to be larger than that."""
NOISE_S, ERROR_S = 1.0, 2.0
"""What an error of the signals, and of the network, has to do with itself so much later is left
out."""
SETTLE_S = 1.0
"""Of a free run left out: it begins at the measured outputs, without any error."""
NOISE_MIN = 1e-3
"""Of a normalised signal: a simulated one may have none at all."""


def fit_signal_model(
    model: Model, training: Sequence[Recording], held_out: Sequence[Recording], seed: int
) -> SignalModel | None:
    """Fitted to the measured outputs of `training`; what it and free runs of the network err by is
    that of `held_out`; all on the control grid. None for a network without signals, or where a free
    run gives nothing finite."""
    card = model.card
    if not card.signal_names:
        return None
    errors = []
    for run in held_out:
        away = card.normalised_output(free_run(model, run)) - _outputs(card, run)
        errors += [away[start + round(SETTLE_S * card.rate_hz) : end] for start, end in run.bounds]
    errors = [error for error in errors if len(error)]
    if not errors or not np.isfinite(np.vstack(errors)).all():
        return None
    inputs = np.vstack([model_inputs(card, run, _outputs(card, run)) for run in training])
    signals = np.vstack([_signals(card, run) for run in training])
    chosen = np.linspace(0, len(inputs) - 1, min(len(inputs), FIT_SAMPLES)).astype(int)
    hidden, weights = _fit(inputs[chosen], signals[chosen], seed)
    left = []
    for run in held_out:
        predicted = predicted_signals(hidden, weights, model_inputs(card, run, _outputs(card, run)))
        left += [(_signals(card, run) - predicted)[start:end] for start, end in run.bounds]
    noise = np.sqrt(long_run_variance(left, round(NOISE_S * card.rate_hz)))
    together = np.vstack(errors)
    variance = np.mean(together**2, axis=0).sum()
    lasting = long_run_variance(errors, round(ERROR_S * card.rate_hz)).sum()
    # An exponential correlation of time constant t adds up to 1 + 2 t: the sample itself, and both
    # sides of it.
    samples = max((lasting / max(variance, 1e-12) - 1.0) / 2.0, 1.0)
    return SignalModel(
        hidden=hidden.tolist(),
        weights=weights.tolist(),
        noise=np.maximum(noise, NOISE_MIN).tolist(),
        error=(together.T @ together / len(together)).tolist(),
        error_s=samples / card.rate_hz,
    )


def blank_signal_model(card: ModelCard) -> SignalModel | None:
    """One of the size of those fitted, that has learned nothing, for what it takes to run one. None
    for a network without signals."""
    columns, signals = len(card.output_names) + len(card.command_names), len(card.signal_names)
    if not signals:
        return None
    return SignalModel(
        hidden=np.zeros((UNITS, columns + 1)).tolist(),
        weights=np.zeros((signals, 1 + columns + UNITS)).tolist(),
        noise=[1.0] * signals,
        error=np.eye(len(card.output_names)).tolist(),
        error_s=1.0,
    )


def long_run_variance(pieces: Sequence[np.ndarray], lags: int) -> np.ndarray:
    """(p,) sum of the autocovariances of (T, p), about 0, over all lags to both sides, by the
    Bartlett weights that keep it above 0: Newey and West, A simple, positive semi-definite,
    heteroskedasticity and autocorrelation consistent covariance matrix, Econometrica 55 (1987)."""
    count = sum(map(len, pieces))
    found = sum((piece**2).sum(axis=0) for piece in pieces) / count
    for lag in range(1, lags):
        both = sum((piece[:-lag] * piece[lag:]).sum(axis=0) for piece in pieces if len(piece) > lag)
        found = found + 2.0 * (1.0 - lag / lags) * both / count
    least = sum((piece**2).sum(axis=0) for piece in pieces) / count
    return np.maximum(found, least)


def predicted_signals(hidden: np.ndarray, weights: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    """(…, p) normalised, from (…, n + m) outputs and commands, normalised."""
    return _features(np.asarray(hidden), inputs) @ np.asarray(weights).T


def model_inputs(card: ModelCard, run: Recording, outputs: np.ndarray) -> np.ndarray:
    """(T, n + m) normalised: the outputs (T, n) given, and the newest commands these have seen."""
    commands = card.normalised_command(run.command(card.command_names))
    since = card.input_delay + 1
    seen = [commands[np.maximum(np.arange(start, end) - since, start)] for start, end in run.bounds]
    return np.hstack([outputs, np.vstack(seen)])


def _outputs(card: ModelCard, run: Recording) -> np.ndarray:
    return card.normalised_output(run.output(card.output_names))


def _signals(card: ModelCard, run: Recording) -> np.ndarray:
    return card.normalised_signal(run.signal(card.signal_names))


def _features(hidden: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    a = inputs @ hidden[:, :-1].T + hidden[:, -1]
    one = np.ones((*inputs.shape[:-1], 1))
    return np.concatenate([one, inputs, a / (1.0 + np.abs(a))], axis=-1)


def _fit(inputs: np.ndarray, signals: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """hidden (UNITS, n + m + 1) and weights (p, 1 + n + m + UNITS), from `STARTS` at random.

    The weights are solved for at each step, so that L-BFGS searches the units alone: Golub and
    Pereyra, The differentiation of pseudo-inverses and nonlinear least squares problems whose
    variables separate, SIAM Journal on Numerical Analysis 10 (1973).
    """
    from scipy.optimize import minimize  # slow to import, and few who read a card fit one

    columns = inputs.shape[1]
    shape = (UNITS, columns + 1)
    ridge = RIDGE * FIT_SAMPLES / len(inputs)
    with_one = np.hstack([inputs, np.ones((len(inputs), 1))])

    def solved(layer: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        known = _features(layer, inputs)
        normal = known.T @ known + ridge * np.eye(known.shape[1])
        return known, np.linalg.solve(normal, known.T @ signals).T

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        layer = flat.reshape(shape)
        known, out = solved(layer)
        error = known @ out.T - signals
        slope = (1.0 - np.abs(known[:, 1 + columns :])) ** 2
        inner = (error @ out[:, 1 + columns :]) * slope
        value = np.sum(error**2) + ridge * (np.sum(out**2) + np.sum(layer**2))
        gradient = 2.0 * (inner.T @ with_one + ridge * layer)
        return float(value) / error.size, gradient.ravel() / error.size

    rng, options = np.random.default_rng(seed), {"maxiter": FIT_ITERATIONS}
    best, least = None, math.inf
    for _ in range(STARTS):
        start = rng.standard_normal(shape) * min(1.0, math.sqrt(5.0 / columns))
        found = minimize(loss, start.ravel(), jac=True, method="L-BFGS-B", options=options)
        hidden = found.x.reshape(shape)
        known, out = solved(hidden)
        sums = np.cumsum(known @ out.T - signals, axis=0)
        span = min(NEIGHBOURS, len(sums) - 1)
        worst = float(np.log(np.max(np.abs(sums[span:] - sums[:-span]), axis=0) + 1e-9).sum())
        if best is None or worst < least:
            best, least = (hidden, out), worst
    return best
