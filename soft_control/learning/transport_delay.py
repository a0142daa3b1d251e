"""Measures the transport delay of a robot: that of the linear model which predicts it best.

For each delay d in question the next increments of all outputs are explained, by least squares,
from three commands and six outputs, newest first:

    y(k+1) - y(k) = sum of H_i u(k-d-i), i < 3  +  sum of F_j y(k-j), j < 6  +  constant

and judged on data that it was not fitted to, each fifth of the recordings by the other four. With a
delay that is too long, what moves the outputs first is missing. One that is a sample or two too
short loses nothing, because the three commands still hold the true one: so the longest delay is
taken whose error is above the least by no more than one standard error of the difference, the rule
of Breiman, Friedman, Olshen and Stone, Classification and regression trees, 1984, section 3.4.3.

Tried and lost, on simulated robots of known delay: ten commands and no outputs, which nonlinearity
makes useless (8 to 28 samples on the recorded trunk, 22 here), and three outputs (26 there).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from soft_control.learning.settings import TrainingError

COMMAND_LAGS = 3
OUTPUT_LAGS = 6
FOLDS = 5
BLOCKS = 100
"""The standard error is that of the mean over so many stretches: neighbouring samples err alike."""

Segment = tuple[np.ndarray, np.ndarray]
"""Commands (T, m) and outputs (T, n) without a gap, on the control grid."""


def transport_delay(segments: Sequence[Segment], longest: int) -> int:
    """Whole samples d, at most `longest`, such that y(k+1) follows u(k-d) but not u(k-d+1).

    Raises TrainingError where no segment is long enough to tell.
    """
    before = longest + COMMAND_LAGS + OUTPUT_LAGS
    segments = [(u, y) for u, y in segments if len(u) > 2 * before]
    if not segments:
        raise TrainingError(
            f"no recording has {2 * before + 1} samples without a gap, as a transport delay of up "
            f"to {longest} samples needs: give input_delay or a smaller delay_max_s"
        )
    # Each command and output counts as much as any other, whatever its unit.
    u_scale, y_scale = (_scale(np.vstack(values)) for values in zip(*segments, strict=True))
    segments = [((u - u_scale[0]) / u_scale[1], (y - y_scale[0]) / y_scale[1]) for u, y in segments]
    errors = np.array([_errors(segments, delay, before) for delay in range(longest + 1)])
    least = errors.mean(axis=1).min(axis=0)
    # An output that never moves is predicted without error.
    pooled = np.mean(errors / np.maximum(least, np.finfo(float).tiny), axis=2)
    excess = pooled - pooled[np.argmin(pooled.mean(axis=1))]
    blocks = [part.mean(axis=1) for part in np.array_split(excess, BLOCKS, axis=1) if part.size]
    deviation = np.std(blocks, axis=0) / np.sqrt(len(blocks))
    return int(np.max(np.flatnonzero(excess.mean(axis=1) <= deviation)))


def _scale(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and spread, 1 for what never moves."""
    spread = values.std(axis=0)
    return values.mean(axis=0), np.where(spread > 0.0, spread, 1.0)


def _errors(segments: Sequence[Segment], delay: int, before: int) -> np.ndarray:
    """Squared errors (S, n) of the increments, each judged by a model of the other folds."""
    terms, moved = [], []
    for commands, outputs in segments:
        k = np.arange(before, len(outputs) - 1)
        lagged = [commands[k - delay - i] for i in range(COMMAND_LAGS)]
        lagged += [outputs[k - j] for j in range(OUTPUT_LAGS)]
        terms.append(np.hstack([*lagged, np.ones((len(k), 1))]))
        moved.append(outputs[k + 1] - outputs[k])
    folds = list(
        zip(
            np.array_split(np.vstack(terms), FOLDS),
            np.array_split(np.vstack(moved), FOLDS),
            strict=True,
        )
    )
    # Normal equations, a fold's taken away from those of all: one pass over the data a delay.
    squares, products = zip(*((x.T @ x, x.T @ y) for x, y in folds), strict=True)
    found = []
    for (x, y), square, product in zip(folds, squares, products, strict=True):
        coefficients = np.linalg.lstsq(sum(squares) - square, sum(products) - product, rcond=None)
        found.append((y - x @ coefficients[0]) ** 2)
    return np.vstack(found)
