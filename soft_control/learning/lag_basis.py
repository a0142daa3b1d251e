"""The basis in which a training sees lags.

Neighbouring lags are nearly equal and all that tells a motion is in their differences, too small
beside the lags for gradient descent to find. So the layers see x @ basis in training.
"""

from __future__ import annotations

import numpy as np

from soft_control.learning.card import ModelCard


def whitening(card: ModelCard, lags: np.ndarray, limit: float) -> np.ndarray:
    """(inputs, inputs) from commands and output lags (S, nd·m + dd·n): ZCA whitening (Bell,
    Sejnowski: The independent components of natural scenes are edge filters, Vision Research,
    1997). Components of small spread are scaled up by at most `limit` times as much as the widest.
    Signals stay as they are.

    Measured on the simulated tendon rig, three seeds each: with 30 a free run errs by 1.02 to 1.05
    mm, 100 diverges. Differences weighted by 20 give 0.97 to 1.03 mm, but a network that the MPC
    can outwit: where a measured load makes the reference unreachable, it finds quick moves that
    the network alone rewards, and errs by 1.4 to 1.9 mm against 0.9 to 1.0.
    """
    variance, components = np.linalg.eigh(np.cov(lags.astype(float), rowvar=False))
    spread = np.sqrt(np.maximum(variance, 0.0))
    scale = 1.0 / np.maximum(spread, spread.max() / limit)
    basis = np.eye(sum(card.input_sizes().values()))
    basis[: len(scale), : len(scale)] = (components * scale) @ components.T
    return basis


def differences(card: ModelCard, gain: float) -> np.ndarray:
    """(inputs, inputs): to each lag l but the newest, gain · (l - its newer neighbour) is added."""
    basis = np.eye(sum(card.input_sizes().values()))
    outputs_end = card.command_columns + card.output_columns
    for start, end, width in (
        (0, card.command_columns, len(card.command_names)),
        (card.command_columns, outputs_end, len(card.output_offset)),
    ):
        older = np.arange(start + width, end)
        basis[older, older] += gain
        basis[older - width, older] -= gain
    return basis
