"""Parts of a tensor: slices, entries by constant indices, elements repeated by broadcasting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nn4mc_codegen.graph.check import MAX_ELEMENTS, refuse
from nn4mc_codegen.graph.ir import Op, Rewire, Shape
from nn4mc_codegen.ops.reshape import Reshape


@dataclass(frozen=True)
class Slice(Rewire):
    """`parts` (start, stop, step) of each axis, as Python's slices count; None is the end."""

    parts: tuple[tuple[int | None, int | None, int], ...]

    kind = "slice"

    @property
    def formula(self) -> str:
        return f"y = x[{', '.join(map(_text, self.parts))}]"

    def evaluate(self, *values: np.ndarray) -> np.ndarray:
        return values[0][tuple(slice(*part) for part in self.parts)]


def _text(part: tuple[int | None, int | None, int]) -> str:
    start, stop, step = ("" if n is None else str(n) for n in part)
    return f"{start}:{stop}" if step == "1" else f"{start}:{stop}:{step}"


@dataclass(frozen=True, eq=False)
class Take(Rewire):
    """The entries `indices` (any shape) along an axis, which the axes of `indices` replace."""

    indices: np.ndarray
    axis: int

    kind = "take"

    @property
    def formula(self) -> str:
        return f"y = x at {self.indices.size} constant indices along axis {self.axis}"

    def output_shape(self, shapes: Sequence[Shape]) -> Shape:
        (shape,) = shapes
        if not 0 <= self.axis < len(shape):
            raise ValueError(f"takes from axis {self.axis} of shape {shape}")
        extent = shape[self.axis]
        if self.indices.size and not (
            -extent <= self.indices.min() and self.indices.max() < extent
        ):
            raise ValueError(f"has an index outside of axis {self.axis} of shape {shape}")
        return (*shape[: self.axis], *self.indices.shape, *shape[self.axis + 1 :])

    def evaluate(self, *values: np.ndarray) -> np.ndarray:
        return np.take(values[0], self.indices, axis=self.axis)


@dataclass(frozen=True)
class Expand(Rewire):
    """Broadcast with `shape`, as NumPy does."""

    shape: Shape

    kind = "expand"

    @property
    def formula(self) -> str:
        return f"y = x repeated as {'×'.join(map(str, self.shape))}"

    def output_shape(self, shapes: Sequence[Shape]) -> Shape:
        return np.broadcast_shapes(shapes[0], self.shape)

    def evaluate(self, *values: np.ndarray) -> np.ndarray:
        return np.broadcast_to(values[0], self.output_shape([values[0].shape]))


class RepeatVector(Expand):
    """Reads a vector that becomes `n` equal rows."""

    keras_layers = ("RepeatVector",)
    keras_config = ("n",)

    @classmethod
    def from_keras(cls, layer) -> tuple[Op, ...]:
        n = layer.config.get("n")
        if type(n) is not int or not 0 < n <= MAX_ELEMENTS:
            raise refuse(layer.name, f"n is {n!r:.40}", "give a whole number above 0")
        return Reshape((1, -1)), Expand((n, 1))
