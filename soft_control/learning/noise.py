"""Measures the noise of recorded values: what is left of them in their third differences.

White noise of standard deviation σ has third differences of variance (1 + 9 + 9 + 1) σ² = 20 σ²; a
smooth motion that is sampled often leaves next to nothing in them. Estimators of this kind: Gasser,
Sroka, Jennen-Steinmetz, Residual variance and residual pattern in nonlinear regression, Biometrika
73 (1986) 625-633.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from soft_control.learning.recording import Recording

ORDER = 3
GAIN = 20.0
"""Variance of third differences of white noise of variance 1."""
BLOCK_SAMPLES = 100
"""The median over blocks of so many differences is taken: a fast motion spoils few of them."""


def measured_noise(
    recordings: Sequence[Recording], output_names: Sequence[str], signal_names: Sequence[str]
) -> np.ndarray:
    """Standard deviation (outputs + signals,) of the noise, in their units, of runs as they were
    recorded: on a grid of other times, interpolation has taken part of it away."""
    blocks = []
    for run in recordings:
        values = np.hstack([run.output(output_names), run.signal(signal_names)])
        for start, end in run.bounds:
            left = np.diff(values[start:end], ORDER, axis=0) ** 2 / GAIN
            count = max(len(left) // BLOCK_SAMPLES, 1)
            if len(left):
                blocks += [part.mean(axis=0) for part in np.array_split(left, count)]
    if not blocks:
        return np.zeros(len(output_names) + len(signal_names))
    return np.sqrt(np.median(blocks, axis=0))
