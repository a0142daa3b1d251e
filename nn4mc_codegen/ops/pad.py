"""Zero padding: zeros before and after along the spatial axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nn4mc_codegen.graph.check import refuse
from nn4mc_codegen.graph.ir import Op, Shape
from nn4mc_codegen.ops.windows import require_channels_last
from nn4mc_codegen.program.program import ZERO, Elements, Program


@dataclass(frozen=True)
class Pad(Op):
    """`amounts` (before, after) of each spatial axis; channels come last and stay."""

    amounts: tuple[tuple[int, int], ...]

    kind = "pad"
    keras_layers = ("ZeroPadding1D", "ZeroPadding2D")
    keras_config = ("padding", "data_format")

    @classmethod
    def from_keras(cls, layer) -> Pad:
        require_channels_last(layer)
        value = layer.config.get("padding", 1)
        axes = 2 if layer.class_name.endswith("2D") else 1
        if axes == 1 and isinstance(value, list):
            value = [value]  # (before, after) of the one axis
        sides = [value] * axes if isinstance(value, int) else value
        pairs = [[side, side] if isinstance(side, int) else side for side in sides]
        if len(pairs) != axes or not all(_is_pair(pair) for pair in pairs):
            raise refuse(
                layer.name, f"padding is {value!r}", "give numbers from 0 to 65535 for each side"
            )
        return cls(tuple((before, after) for before, after in pairs))

    @property
    def formula(self) -> str:
        return f"y = x with zeros around it: {' and '.join(map(str, self.amounts))}"

    def output_shape(self, shapes: Sequence[Shape]) -> Shape:
        (shape,) = shapes
        if len(shape) != len(self.amounts) + 1:
            raise ValueError(f"pads {len(self.amounts)} axes but gets shape {shape}")
        padded = (n + sum(pair) for n, pair in zip(shape[:-1], self.amounts, strict=True))
        return (*padded, shape[-1])

    def evaluate(self, *values: np.ndarray) -> np.ndarray:
        return np.pad(values[0], (*self.amounts, (0, 0)))

    def jacobians(self, *values: np.ndarray) -> list[np.ndarray]:
        (x,) = values
        numbers = self.evaluate(np.arange(1, x.size + 1).reshape(x.shape)).ravel()
        return [np.eye(x.size + 1)[numbers][:, 1:]]

    def lower(self, p: Program, *x: Elements) -> Elements:
        return np.pad(x[0], (*self.amounts, (0, 0)), constant_values=ZERO)


def _is_pair(value) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 2
        and all(type(n) is int and 0 <= n < 1 << 16 for n in value)
    )
