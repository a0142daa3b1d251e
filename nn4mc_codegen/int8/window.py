"""Windows that slide over an image of int8."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from nn4mc_codegen.ops.windows import OUTSIDE, Windows, gathered


@dataclass(frozen=True)
class Window:
    """A window of two axes that slides over an image (height, width, channels)."""

    windows: Windows
    height: int
    width: int
    channels: int

    @property
    def output(self) -> tuple[int, int]:
        """Rows and columns of windows."""
        return self.windows.extents((self.height, self.width))

    @property
    def positions(self) -> int:
        return math.prod(self.output)

    @property
    def in_one_piece(self) -> bool:
        """Whether the taps of a window inside the image lie side by side in memory."""
        return self.windows.size[0] == 1 and 1 in (self.windows.size[1], self.windows.dilation[1])

    @property
    def leaves_the_image(self) -> bool:
        """Whether any tap lies outside the image."""
        return bool(np.any(self._places == OUTSIDE))

    def patches(self, x: np.ndarray, fill: int) -> np.ndarray:
        """(positions, taps, channels); `fill` where a tap lies outside the image."""
        return gathered(x.reshape(-1, self.channels), self._places, fill)

    @property
    def counts(self) -> np.ndarray:
        """Taps inside the image (positions,)."""
        return np.count_nonzero(self._places != OUTSIDE, axis=1)

    @property
    def _places(self) -> np.ndarray:
        return self.windows.places((self.height, self.width))
