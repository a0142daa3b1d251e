"""Transpose: the axes in another order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nn4mc_codegen.graph.ir import Rewire, Shape


@dataclass(frozen=True)
class Transpose(Rewire):
    """Axis i of the result is axis `axes`[i] of what it is made from."""

    axes: tuple[int, ...]

    kind = "transpose"

    @property
    def formula(self) -> str:
        return f"y = x with its axes in the order {', '.join(map(str, self.axes))}"

    def output_shape(self, shapes: Sequence[Shape]) -> Shape:
        if sorted(self.axes) != list(range(len(shapes[0]))):
            raise ValueError(f"has the axes {self.axes} for shape {shapes[0]}")
        return tuple(shapes[0][axis] for axis in self.axes)

    def evaluate(self, *values: np.ndarray) -> np.ndarray:
        return values[0].transpose(self.axes)


@dataclass(frozen=True)
class ChannelsLast(Rewire):
    """One sample (1, channels, …) as convolutions here take it: (…, channels)."""

    kind = "channels_last"
    formula = "y = x with its channels last"

    def output_shape(self, shapes: Sequence[Shape]) -> Shape:
        (shape,) = shapes
        if len(shape) < 2 or shape[0] != 1:
            raise ValueError(f"takes one sample with channels but gets shape {shape}")
        return (*shape[2:], shape[1])

    def evaluate(self, *values: np.ndarray) -> np.ndarray:
        return np.moveaxis(values[0][0], 0, -1)


@dataclass(frozen=True)
class ChannelsFirst(Rewire):
    """The way back: (…, channels) as (1, channels, …)."""

    kind = "channels_first"
    formula = "y = x with its channels first"

    def output_shape(self, shapes: Sequence[Shape]) -> Shape:
        (shape,) = shapes
        return (1, shape[-1], *shape[:-1])

    def evaluate(self, *values: np.ndarray) -> np.ndarray:
        return np.moveaxis(values[0], -1, 0)[None]
