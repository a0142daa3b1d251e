"""Calibration of sensor signals: counts of a converter become unitless signals near 1."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Calibration:
    """calibrated = counts / full_scale_counts; a channel with full scale 0 is dead and reads 0."""

    full_scale_counts: tuple[float, ...]

    def __post_init__(self) -> None:
        bad = [i for i, v in enumerate(self.full_scale_counts) if not (np.isfinite(v) and v >= 0)]
        if bad:
            raise ValueError(f"full_scale_counts of channel {bad[0]} must be finite and >= 0")

    def apply(self, counts: np.ndarray) -> np.ndarray:
        """Counts (p,) or (T, p) -> calibrated signals of the same shape.

        Raises ValueError where the number of channels differs.
        """
        counts = np.asarray(counts, dtype=float)
        scale = np.asarray(self.full_scale_counts, dtype=float)
        if counts.shape[-1] != scale.size:
            raise ValueError(
                f"{counts.shape[-1]} channels read, but the calibration has {scale.size}: "
                "check full_scale_counts of the signals in the robot's description"
            )
        return np.divide(counts, scale, out=np.zeros_like(counts), where=scale > 0)
