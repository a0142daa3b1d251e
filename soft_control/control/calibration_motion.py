"""The reference of a run that begins with a calibration: a rich motion, then what was asked for.

What the robot of today is like is learned from motion along all of its outputs: a figure-eight goes
far to all sides, a swirl also rises.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from soft_control.control.references import Reference
from soft_control.control.sampled_reference import ROWS_MAX, SampledReference

CALIBRATION_SHAPES = ("figure_eight", "swirl")
"""Each for an equal part of the calibration."""
BLEND_S = 1.0
"""From one motion to the next: none begins where the one before ends."""

Values = Callable[[np.ndarray], np.ndarray]
"""(T,) times, s -> (T, n) outputs."""


def after_calibration(
    then: Reference | SampledReference,
    motions: Sequence[Reference | SampledReference],
    calibrate_s: float,
    rate_hz: float,
    samples: int,
) -> SampledReference:
    """`motions` one after the other for `calibrate_s`, then `then` from its own beginning, in
    `samples` rows at `rate_hz`; a motion fades into the next within BLEND_S before its end.

    Raises ValueError where there are more rows than a reference may have.
    """
    if samples > ROWS_MAX:
        raise ValueError(
            f"a calibration and what follows it are {samples:,} samples: at most {ROWS_MAX:,} can "
            "be told"
        )
    t_s = np.arange(samples) / rate_hz
    each_s = calibrate_s / len(motions)
    parts = [*(motion.values for motion in motions), then.values]
    rows = parts[0](t_s)
    for number, values in enumerate(parts[1:], 1):
        begins_s = number * each_s
        share = np.clip((t_s - begins_s) / min(BLEND_S, each_s) + 1.0, 0.0, 1.0)[:, None]
        # Before its time it stands at its beginning, which the blend leads to.
        rows = (1.0 - share) * rows + share * values(np.maximum(t_s - begins_s, 0.0))
    return SampledReference(then.outputs, tuple(t_s.tolist()), tuple(map(tuple, rows.tolist())))
