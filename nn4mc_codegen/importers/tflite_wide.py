"""Weights that are further from their zero point than the kernels' 127, as those of uint8 may be.

    w·x = a·x + b·x        where a + b = w: of w = 178 a is 127 and b 51

What such a weight meets stands in x as often as the weight has parts. The sums are the same
integers, and so is what becomes of them.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from nn4mc_codegen.int8.quantize import HIGH
from nn4mc_codegen.ops.windows import Windows


def split_channels(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int8 weights (…, columns) with columns added behind for what does not fit, and of which
    column of x (columns,) each of them is."""
    parts = _parts(weights)
    axes = tuple(range(weights.ndim - 1))
    chosen = [np.flatnonzero(np.any(part, axis=axes)) for part in parts[1:]]
    chosen.insert(0, np.arange(weights.shape[-1]))
    columns = [part[..., some] for part, some in zip(parts, chosen, strict=True)]
    return np.concatenate(columns, axis=-1), np.concatenate(chosen)


def split_rows(weights: np.ndarray, windows: Windows, height: int, width: int) -> tuple:
    """int8 weights (1, rows, columns, channels) of windows that take every row of the image several
    times, those windows, and how many times that is. Raises ValueError for dilated rows."""
    parts = _parts(weights)
    times, shape = len(parts), weights.shape
    if times == 1:
        return parts[0], windows, 1
    if windows.dilation[0] > 1 and windows.size[0] > 1:
        raise ValueError("has weights beyond 127 steps of their zero point in a dilated window")
    above, beside = windows.pads((height, width))
    pads = (above[0] * times, above[1] * times), beside
    taller = replace(
        windows,
        size=(windows.size[0] * times, windows.size[1]),
        strides=(windows.strides[0] * times, windows.strides[1]),
        padding=pads,
    )
    rows = np.stack(parts, axis=2).reshape(1, shape[1] * times, *shape[2:])
    return rows, taller, times


def _parts(weights: np.ndarray) -> list[np.ndarray]:
    """int8 arrays, from -127 to 127, whose sum the weights are; one at least."""
    parts, rest = [], weights
    while not parts or np.any(rest):
        parts.append(np.clip(rest, -HIGH, HIGH).astype(np.int8))
        rest = rest - parts[-1]
    return parts
