"""Add: the sum of inputs of one shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nn4mc_codegen.graph.ir import Op, Shape
from nn4mc_codegen.program.expression import var
from nn4mc_codegen.program.program import Elements, Program


@dataclass(frozen=True)
class Add(Op):
    kind = "add"
    keras_layers = ("Add",)
    keras_functions = ("Add",)
    several_inputs = True
    each_step = True
    formula = "y = x0 + x1 + …"

    @classmethod
    def from_keras(cls, layer) -> Add:
        return cls()

    def output_shape(self, shapes: Sequence[Shape]) -> Shape:
        if len(set(shapes)) != 1:
            raise ValueError(f"adds shapes {', '.join(map(str, shapes))}, which differ")
        return shapes[0]

    def evaluate(self, *values: np.ndarray) -> np.ndarray:
        return sum(values[1:], start=values[0])

    def jacobians(self, *values: np.ndarray) -> list[np.ndarray]:
        return [np.eye(v.size) for v in values]

    def lower(self, p: Program, *x: Elements) -> Elements:
        return p.map(sum((var(k) for k in range(1, len(x))), start=var(0)), *x)
