"""Multiply: the elementwise product of inputs of one shape."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nn4mc_codegen.graph.ir import Op, Shape
from nn4mc_codegen.program.expression import var
from nn4mc_codegen.program.program import Elements, Program


@dataclass(frozen=True)
class Multiply(Op):
    kind = "multiply"
    keras_layers = ("Multiply",)
    keras_functions = ("Multiply",)
    several_inputs = True
    each_step = True
    formula = "y = x0·x1·…"

    @classmethod
    def from_keras(cls, layer) -> Multiply:
        return cls()

    def output_shape(self, shapes: Sequence[Shape]) -> Shape:
        if len(set(shapes)) != 1:
            raise ValueError(f"multiplies shapes {', '.join(map(str, shapes))}, which differ")
        return shapes[0]

    def evaluate(self, *values: np.ndarray) -> np.ndarray:
        return np.prod(values, axis=0)

    def jacobians(self, *values: np.ndarray) -> list[np.ndarray]:
        others = [np.prod([*values[:k], *values[k + 1 :]], axis=0) for k in range(len(values))]
        return [np.diag(np.broadcast_to(o, values[0].shape).ravel()) for o in others]

    def lower(self, p: Program, *x: Elements) -> Elements:
        return p.map(math.prod((var(k) for k in range(1, len(x))), start=var(0)), *x)
