"""Where the windows of convolutions and poolings lie.

Positions are counted over the spatial axes alone, in row-major order; channels come last and are
no concern of this file.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nn4mc_codegen.graph.check import ModelError, refuse
from nn4mc_codegen.graph.ir import Shape
from nn4mc_codegen.program.program import ONE, Elements, Program

# Bounds the compiler's own memory: eight bytes for each.
MAX_OPERANDS = 1 << 25

# A window reads this place where it hangs over the edge: index -1, a row put after the last one.
OUTSIDE = -1


@dataclass(frozen=True)
class Windows:
    """Windows of `size` taps, one number an axis in each of size, strides and dilation.

    `padding` is valid (windows stay inside), same (as many windows as positions at stride 1; the
    odd one of the padding comes after, as in TensorFlow), causal (a window ends where it stands),
    or the positions (before, after) of each axis.
    """

    size: tuple[int, ...]
    strides: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: str | tuple[tuple[int, int], ...]

    @property
    def taps(self) -> int:
        return math.prod(self.size)

    @property
    def text(self) -> str:
        """What the generated comments say of it."""
        words = [f"window {'×'.join(map(str, self.size))}"]
        if set(self.strides) != {1}:
            words.append(f"stride {'×'.join(map(str, self.strides))}")
        if set(self.dilation) != {1}:
            words.append(f"dilation {'×'.join(map(str, self.dilation))}")
        if self.padding != "valid":
            named = isinstance(self.padding, str)
            sides = () if named else (f"{before} and {after}" for before, after in self.padding)
            words.append(f"padding {self.padding if named else ' × '.join(sides)}")
        return ", ".join(words)

    def split(self, shape: Shape) -> tuple[Shape, int]:
        """Spatial extents and channels of a tensor's shape; ValueError where it has other axes."""
        if len(shape) != len(self.size) + 1:
            raise ValueError(f"takes {len(self.size)} axes and channels but gets shape {shape}")
        return shape[:-1], shape[-1]

    def pads(self, extents: Shape) -> tuple[tuple[int, int], ...]:
        """Positions outside (before, after) that the windows read, for each axis."""
        if not isinstance(self.padding, str):
            return self.padding
        pads = []
        for n, k, s, d in zip(extents, self.size, self.strides, self.dilation, strict=True):
            reach = (k - 1) * d + 1
            if self.padding == "causal":
                pads.append((reach - 1, 0))
            elif self.padding == "same":
                total = max((-(-n // s) - 1) * s + reach - n, 0)
                pads.append((total // 2, total - total // 2))
            else:
                pads.append((0, 0))
        return tuple(pads)

    def extents(self, extents: Shape) -> Shape:
        """Number of windows along each axis; ValueError where none fits."""
        found = []
        for axis, (before, after) in enumerate(self.pads(extents)):
            reach = (self.size[axis] - 1) * self.dilation[axis] + 1
            rest = extents[axis] + before + after - reach
            if rest < 0:
                raise ValueError(f"has windows of {reach} along an axis of {extents[axis]}")
            found.append(rest // self.strides[axis] + 1)
        return tuple(found)

    def places(self, extents: Shape) -> np.ndarray:
        """(windows, taps) position that each tap of each window reads, or OUTSIDE."""
        numbers = np.arange(math.prod(extents)).reshape(extents)
        numbers = np.pad(numbers, self.pads(extents), constant_values=OUTSIDE)
        for axis, count in enumerate(self.extents(extents)):
            first = np.arange(count) * self.strides[axis]
            offsets = np.arange(self.size[axis]) * self.dilation[axis]
            numbers = np.take(numbers, first[:, None] + offsets, axis=2 * axis)
        # The axes alternate: windows, taps, windows, taps.
        axes = len(extents)
        order = (*range(0, 2 * axes, 2), *range(1, 2 * axes, 2))
        return numbers.transpose(order).reshape(-1, self.taps)

    def operands(self, p: Program, x: Elements, outside: int) -> Elements:
        """(windows, taps, channels) elements that the windows read; `outside` beyond the edges.

        Padding becomes an array of its own, once, so that all windows read at the same strides.
        """
        extents = self.extents(x.shape[:-1])
        if math.prod(extents) * self.taps * x.shape[-1] > MAX_OPERANDS:
            raise ModelError(
                f"layer '{p.label}': its {'×'.join(map(str, extents))} windows read more than "
                f"{MAX_OPERANDS} elements; no microcontroller has the time for it"
            )
        pads = (*self.pads(x.shape[:-1]), (0, 0))
        padded = np.pad(x, pads, constant_values=outside)
        if np.any(padded <= ONE) or padded.size > x.size:
            lines = padded.reshape(-1, padded.shape[-2] * padded.shape[-1])  # of an image
            padded = p.copy(lines).reshape(padded.shape)
        inside = replace(self, padding="valid")
        return padded.reshape(-1, x.shape[-1])[inside.places(padded.shape[:-1])]


def gathered(x: np.ndarray, places: np.ndarray, outside: float) -> np.ndarray:
    """(windows, taps, channels) of x (…, channels); `outside` stands where a tap is outside."""
    rows = x.reshape(-1, x.shape[-1])
    return np.vstack([rows, np.full((1, x.shape[-1]), outside)])[places]


def read_windows(layer, size: str, axes: int, paddings: Sequence[str]) -> Windows:
    """Of a layer of Keras whose window size has the key `size`; raises `check.ModelError`."""
    require_channels_last(layer)
    sizes = read_numbers(layer, size, axes)
    padding = layer.config.get("padding", "valid")
    if padding not in paddings:
        raise refuse(layer.name, f"padding is {padding!r}", f"use one of {', '.join(paddings)}")
    # Poolings stand side by side unless the file says otherwise; convolutions move by one.
    ones = (1,) * axes
    strides = read_numbers(layer, "strides", axes, default=sizes if size == "pool_size" else ones)
    return Windows(sizes, strides, read_numbers(layer, "dilation_rate", axes, ones), padding)


def read_numbers(
    layer, key: str, count: int, default: tuple[int, ...] | None = None
) -> tuple[int, ...]:
    """Positive integers of a layer's config, given as one or as a list of `count`."""
    value: Any = layer.config.get(key)
    if value is None and default is not None:
        return default
    numbers = [value] * count if isinstance(value, int) else value
    right = isinstance(numbers, list) and len(numbers) == count
    if not right or not all(type(n) is int and 0 < n < 1 << 16 for n in numbers):
        wanted = "a number" if count == 1 else f"{count} numbers"
        raise refuse(layer.name, f"{key} is {value!r}", f"give {wanted} from 1 to 65535")
    return tuple(numbers)


def require_channels_last(layer) -> None:
    if layer.config.get("data_format") == "channels_first":
        raise refuse(layer.name, "data_format channels_first", "use channels_last")
