"""Dense: y = f(W·x + b), of each row where x is a matrix."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nn4mc_codegen.graph.check import refuse
from nn4mc_codegen.graph.ir import Op, Shape
from nn4mc_codegen.ops.activation import LINEAR, Activation, read_activation
from nn4mc_codegen.program.program import Elements, Program


@dataclass(frozen=True, eq=False)
class Dense(Op):
    """`kernel` (inputs, outputs) is W transposed, as Keras stores it; `bias` (outputs,)."""

    kernel: np.ndarray
    bias: np.ndarray
    activation: Activation

    kind = "dense"
    keras_layers = ("Dense",)
    keras_config = ("units", "activation", "use_bias")
    each_step = True

    @classmethod
    def from_keras(cls, layer) -> Dense:
        if layer.config.get("quantization_config"):
            raise refuse(layer.name, "its weights are quantised", "save the float32 model")
        use_bias = layer.config.get("use_bias", True)
        names = ("kernel", "bias") if use_bias else ("kernel",)
        weights = layer.weights(names)
        kernel = weights[0]
        units = layer.config.get("units", layer.config.get("output_dim"))
        if kernel.ndim != 2 or kernel.shape[1] != units:
            raise refuse(
                layer.name,
                f"kernel has shape {kernel.shape} but the layer has {units} units",
                "config and weights are of different models; save the model again",
            )
        bias = weights[1] if use_bias else np.zeros(units, np.float32)
        if bias.shape != (units,):
            raise refuse(
                layer.name,
                f"bias has shape {bias.shape} but the layer has {units} units",
                "config and weights are of different models; save the model again",
            )
        return cls(kernel, bias, read_activation(layer, layer.config.get("activation")))

    @property
    def constants(self) -> dict[str, np.ndarray]:
        return {"W": self.kernel, "b": self.bias}

    @property
    def formula(self) -> str:
        if self.activation == LINEAR:
            return "y = W·x + b"
        return f"y = f(W·x + b), f(x) = {self.activation.term}"

    def output_shape(self, shapes: Sequence[Shape]) -> Shape:
        (shape,) = shapes
        if shape[-1] != self.kernel.shape[0]:
            raise ValueError(f"takes {self.kernel.shape[0]} inputs but gets shape {shape}")
        return (*shape[:-1], self.kernel.shape[1])

    def _sum(self, x: np.ndarray) -> np.ndarray:
        return x @ self.kernel.astype(np.float64) + self.bias.astype(np.float64)

    def evaluate(self, *values: np.ndarray) -> np.ndarray:
        return self.activation.evaluate(self._sum(values[0]))

    def jacobians(self, *values: np.ndarray) -> list[np.ndarray]:
        slope = self.activation.derivative(self._sum(values[0]).ravel())
        rows = values[0].size // len(self.kernel)
        return [slope[:, None] * np.kron(np.eye(rows), self.kernel.T.astype(np.float64))]

    @cached_property
    def _by_unit(self) -> np.ndarray:
        """W, kept so that a layer that is called twice has its constants once."""
        return np.ascontiguousarray(self.kernel.T)

    def lower(self, p: Program, *x: Elements) -> Elements:
        if p.by_unit and np.isin(x[0], p.inputs["x"].elements).all():
            rows = x[0].reshape(-1, len(self.kernel))
            if len(rows) == 1:
                W = p.unit_weights(f"W_{p.label}", self._by_unit, rows[0])
            else:
                W = p.constant(f"W_{p.label}", self._by_unit)
        else:
            W = p.constant(f"W_{p.label}", self.kernel).T
        b = p.constant(f"b_{p.label}", self.bias)
        y = p.linear(W, x[0].reshape(-1, W.shape[1]), b)
        return self.activation.lower(p, y.reshape(*x[0].shape[:-1], len(W)))

    def macs(self, *shapes: Shape) -> int:
        return math.prod(shapes[0]) * self.kernel.shape[1]
