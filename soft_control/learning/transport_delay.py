"""Measures the transport delay of a robot: the most samples that a model of it can do without.

For each delay d in question the increments of all outputs are explained, by least squares, from
those of the commands d samples ago and before:

    y(k+1) - y(k) = sum over j < 10 of H_j · Δu(k-d-j) + three lags of Δu(k-d-10) + constant

No output is among the regressors, so noise makes nothing of it wrong but its residual. As long as d
is too short the true terms are all there, and the first of no use; one sample too long, and what
moves the outputs first is missing. Judged on the last fifth of each run, delays up to the true one
are equally good: so the longest is taken whose error is not above the least by more than one
standard error of the difference, the rule of Breiman, Friedman, Olshen and Stone, Classification
and regression trees, 1984, section 3.4.3.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from soft_control.learning.settings import TrainingError

LAGS = 10
"""Commands that have a coefficient each. With 20, smooth commands let the later ones stand in for
the first: 34 samples instead of 21 on the recorded trunk. With 5, a slow robot hides a sample."""
TAIL_SAMPLES = (5.0, 20.0, 80.0)
"""Time constants of the lags by which older commands are felt."""
JUDGED_SHARE = 0.2
"""Of each run, its end."""
BLOCKS = 30
"""The standard error is that of the mean over so many stretches: neighbouring samples err alike."""


def transport_delay(
    commands: Sequence[np.ndarray],
    outputs: Sequence[np.ndarray],
    bounds: Sequence[Sequence[tuple[int, int]]],
    longest: int,
) -> int:
    """Whole samples from a command (T, m) to its first effect on the outputs (T, n) beyond the next
    sample, at most `longest`, of runs on the control grid; `bounds` are their segments.

    Raises TrainingError where no segment is long enough to tell.
    """
    before = longest + LAGS
    segments = [
        (u[start:end], y[start:end])
        for u, y, parts in zip(commands, outputs, bounds, strict=True)
        for start, end in parts
        if end - start > 2 * before
    ]
    if not segments:
        raise TrainingError(
            f"no recording has {2 * before + 1} samples without a gap, as a transport delay of up "
            f"to {longest} samples needs: give input_delay or a smaller delay_max_s"
        )
    errors = np.array([_errors(segments, delay, before) for delay in range(longest + 1)])
    # Each output counts as much as any other, whatever its unit.
    least = errors.mean(axis=1).min(axis=0)
    pooled = np.mean(errors / np.where(least > 0.0, least, 1.0), axis=2)
    total = pooled.mean(axis=1)
    excess = pooled - pooled[np.argmin(total)]
    blocks = [part.mean(axis=1) for part in np.array_split(excess, BLOCKS, axis=1) if part.size]
    deviation = np.std(blocks, axis=0, ddof=1) / np.sqrt(len(blocks))
    return int(np.max(np.flatnonzero(excess.mean(axis=1) <= deviation)))


def _errors(
    segments: Sequence[tuple[np.ndarray, np.ndarray]], delay: int, before: int
) -> np.ndarray:
    """Squared errors (S, n) of the increments on what is judged by."""
    learned: list[tuple[np.ndarray, np.ndarray]] = []
    judged: list[tuple[np.ndarray, np.ndarray]] = []
    for commands, outputs in segments:
        k = np.arange(before, len(outputs) - 1)
        terms, moved = _terms(commands, delay, k), outputs[k + 1] - outputs[k]
        cut = round((1.0 - JUDGED_SHARE) * len(k))
        learned.append((terms[:cut], moved[:cut]))
        judged.append((terms[cut:], moved[cut:]))
    coefficients = np.linalg.lstsq(*map(np.vstack, zip(*learned, strict=True)), rcond=None)[0]
    return np.vstack([(moved - terms @ coefficients) ** 2 for terms, moved in judged])


def _terms(commands: np.ndarray, delay: int, k: np.ndarray) -> np.ndarray:
    """Regressors (len(k), …) of the increments from sample k on."""
    from scipy.signal import lfilter  # slow to import

    moves = np.diff(commands, axis=0, prepend=commands[:1])
    columns = [moves[k - delay - j] for j in range(LAGS)]
    for samples in TAIL_SAMPLES:
        keep = np.exp(-1.0 / samples)
        columns.append(lfilter([1.0 - keep], [1.0, -keep], moves, axis=0)[k - delay - LAGS])
    return np.hstack([*columns, np.ones((len(k), 1))])
