"""Concatenate: the inputs one after the other along one axis."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nn4mc_codegen.graph.check import refuse
from nn4mc_codegen.graph.ir import Rewire


@dataclass(frozen=True)
class Concatenate(Rewire):
    """`axis` counts without the batch axis: 0 is the first axis of one sample."""

    axis: int

    kind = "concatenate"
    keras_layers = ("Concatenate",)
    keras_config = ("axis",)
    several_inputs = True
    each_step = True
    formula = "y = [x0, x1, …]"

    @classmethod
    def from_keras(cls, layer) -> Concatenate:
        axis = layer.config.get("axis", -1)
        if axis == 0 or not isinstance(axis, int):
            raise refuse(layer.name, f"concatenates along axis {axis}", "the batch axis must stay")
        return cls(axis - 1 if axis > 0 else axis)

    def evaluate(self, *values: np.ndarray) -> np.ndarray:
        return np.concatenate(values, axis=self.axis)
