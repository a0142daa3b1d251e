"""How far a sound signal is from what it should be: a firmware finds by it one that lies.

What it should be is signal_model.py's to say, by the outputs that the network predicts in its free
run and by the commands.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from soft_control.learning.card import ModelCard, SignalDoubt, SignalModel
from soft_control.learning.model import Model, free_run
from soft_control.learning.noise import measured_noise
from soft_control.learning.recording import Recording
from soft_control.learning.signal_model import model_inputs, predicted_signals

SLOW_S = 0.15
"""Time constant of the mean over which a drift shows."""
ALONE = 1e-3
"""Share of a difference that no other signal has to do with, at least."""
NEVER_BY_CHANCE = 1e-9
"""Probability that a live signal stands still for as long as one that is stuck: once in some
ten days at 120 Hz."""
STILL_S = 0.25
"""No signal is taken for stuck sooner: a message may come late."""
STILL_SAMPLES_MAX = 65_535
"""As the firmware counts; so many stand for never."""


def fit_signal_doubt(
    model: Model,
    known: SignalModel | None,
    training: Sequence[Recording],
    held_out: Sequence[Recording],
) -> SignalDoubt | None:
    """Of the network and of what is known of its signals, by the recordings, all on the control
    grid. None without a signal model, or where a free run gives nothing finite."""
    card = model.card
    if known is None:
        return None
    gain = 1.0 / max(SLOW_S * card.rate_hz, 1.0)
    errors = []
    for run in {id(run): run for run in (*training, *held_out)}.values():
        inputs = model_inputs(card, run, card.normalised_output(free_run(model, run)))
        signals = card.normalised_signal(run.signal(card.signal_names))
        error = signals - predicted_signals(known.hidden, known.weights, inputs)
        errors += [error[start:end] for start, end in run.bounds]
    # What it errs by is the network's error more than noise, and that is no bell: in some corners a
    # mean innovation is seven times its RMS. So the largest is what counts.
    innovation = largest(errors)
    if not np.isfinite(innovation).all():
        return None
    others = explained_by_others([slow_mean(error, gain) for error in errors])
    rests = [error - error @ others.T for error in errors]
    slow = largest([slow_mean(rest, gain) for rest in rests])
    return SignalDoubt(
        innovation=innovation.tolist(),
        others=others.tolist(),
        slow_rest=slow.tolist(),
        rest_sum=np.maximum(largest([sums(rest, slow) for rest in rests]), 0.1 * slow).tolist(),
        still_samples=still_samples(card, [*training, *held_out]),
    )


def largest(pieces: Sequence[np.ndarray]) -> np.ndarray:
    """(p,) largest amount in pieces of (T, p)."""
    return np.max([np.max(np.abs(piece), axis=0) for piece in pieces], axis=0)


def explained_by_others(pieces: Sequence[np.ndarray]) -> np.ndarray:
    """(p, p) least squares of each column of (T, p) on the other ones, whose rows are those of its
    precision matrix S⁻¹, over what stands on the diagonal: -S⁻¹[i, j] / S⁻¹[i, i]."""
    together = np.vstack(pieces)
    covariance = together.T @ together / len(together)
    alone = ALONE * np.diag(covariance) + 1e-12
    precision = np.linalg.inv(covariance + np.diag(alone))
    found = -precision / np.diag(precision)[:, None]
    np.fill_diagonal(found, 0.0)
    return found


def sums(rest: np.ndarray, slack: np.ndarray) -> np.ndarray:
    """(T, p) the larger one of both sums that the firmware makes of (T, p), but never found."""
    up, down, found = np.zeros_like(slack), np.zeros_like(slack), np.empty_like(rest)
    for k, value in enumerate(rest):
        up, down = np.maximum(up + value - slack, 0.0), np.maximum(down - value - slack, 0.0)
        found[k] = np.maximum(up, down)
    return found


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
