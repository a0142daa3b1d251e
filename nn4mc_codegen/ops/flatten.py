"""Flatten: the same elements in row-major order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nn4mc_codegen.graph.check import refuse
from nn4mc_codegen.graph.ir import Rewire


@dataclass(frozen=True)
class Flatten(Rewire):
    kind = "flatten"
    keras_layers = ("Flatten",)
    keras_config = ("data_format",)
    formula = "y = x, flat"

    @classmethod
    def from_keras(cls, layer) -> Flatten:
        if layer.config.get("data_format") == "channels_first":
            raise refuse(layer.name, "data_format channels_first", "use channels_last")
        return cls()

    def evaluate(self, *values: np.ndarray) -> np.ndarray:
        return values[0].reshape(-1)
