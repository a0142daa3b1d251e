"""Constant: an array of the file where a network goes on with it as with a result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nn4mc_codegen.graph.ir import Op, Shape
from nn4mc_codegen.program.program import Elements, Program


@dataclass(frozen=True, eq=False)
class Constant(Op):
    """`value` float32; the operator reads nothing."""

    value: np.ndarray

    kind = "constant"
    formula = "y constant"

    @property
    def constants(self) -> dict[str, np.ndarray]:
        return {"y": self.value}

    def output_shape(self, shapes: Sequence[Shape]) -> Shape:
        return self.value.shape

    def evaluate(self, *values: np.ndarray) -> np.ndarray:
        return self.value.astype(np.float64)

    def jacobians(self, *values: np.ndarray) -> list[np.ndarray]:
        return []

    def lower(self, p: Program, *x: Elements) -> Elements:
        return p.constant(f"y_{p.label}", self._row).reshape(self.value.shape)

    @property
    def _row(self) -> np.ndarray:
        return self.value if self.value.ndim == 1 else np.atleast_1d(self.value)
