"""Signals as another day would have them: in training, each stream of rollouts has its own.

A network that is told a field believes its absolute value, and a magnet that is 1 % weaker then
moves the outputs that it predicts. So while it learns,

    signal <- (1 + g) signal + b

with one g for all signals and a b for each, drawn anew for every stream: what is left for it to
lean on is how the signals differ from one another, and its own prediction.
"""

from __future__ import annotations

import numpy as np

from soft_control.learning.card import ModelCard
from soft_control.learning.settings import TrainingSettings


class SignalShift:
    """The shifts of all streams side by side. All signals are normalised."""

    def __init__(self, card: ModelCard, settings: TrainingSettings, rng: np.random.Generator):
        # Normalised (1 + g) s is (1 + g) times the normalised one and g times this beside it.
        self._zero = np.array(card.signal_offset) / np.array(card.signal_scale)
        self._gain_spread, self._offset_spread = settings.signal_gain, settings.signal_offset
        self._rng = rng
        self._gain = np.zeros((settings.batch, 1))
        self._offset = np.zeros((settings.batch, len(self._zero)))
        self.draw(np.ones(settings.batch, dtype=bool))

    def draw(self, again: np.ndarray) -> None:
        """New shifts for the streams (B,) that begin `again` somewhere else."""
        if not self._gain_spread and not self._offset_spread:
            return  # and the training draws the same numbers as one that knows no shifts
        gain = self._gain_spread * self._rng.standard_normal(self._gain.shape)
        offset = self._offset_spread * self._rng.standard_normal(self._offset.shape)
        self._gain = np.where(again[:, None], gain, self._gain)
        self._offset = np.where(again[:, None], offset + gain * self._zero, self._offset)

    def of(self, signals: np.ndarray) -> np.ndarray:
        """(L, B, p) as each stream has them."""
        return ((1.0 + self._gain) * signals + self._offset).astype(np.float32)
