"""Reshape: the same elements in row-major order, in another shape."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nn4mc_codegen.graph.check import refuse
from nn4mc_codegen.graph.ir import Rewire, Shape


@dataclass(frozen=True)
class Reshape(Rewire):
    """`shape` without the batch axis; one extent may be -1."""

    shape: Shape

    kind = "reshape"
    keras_layers = ("Reshape",)
    keras_config = ("target_shape",)

    @classmethod
    def from_keras(cls, layer) -> Reshape:
        shape = layer.config.get("target_shape")
        if not shape or not all(isinstance(extent, int) for extent in shape):
            raise refuse(layer.name, f"target_shape is {shape!r}", "give every axis a size")
        return cls(tuple(shape))

    @property
    def formula(self) -> str:
        return "y = x as " + "×".join(map(str, self.shape))

    def output_shape(self, shapes: Sequence[Shape]) -> Shape:
        elements = math.prod(shapes[0])
        known = math.prod(extent for extent in self.shape if extent != -1)
        if (
            self.shape.count(-1) > 1
            or min(self.shape, default=1) < -1
            or known < 1
            or elements % known
        ):
            raise ValueError(f"cannot give shape {shapes[0]} the shape {self.shape}")
        if -1 not in self.shape and known != elements:
            raise ValueError(f"cannot give shape {shapes[0]} the shape {self.shape}")
        return tuple(elements // known if extent == -1 else extent for extent in self.shape)

    def evaluate(self, *values: np.ndarray) -> np.ndarray:
        return values[0].reshape(self.output_shape([values[0].shape]))
