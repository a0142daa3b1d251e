"""Softmax over the last axis: y = exp(x - max x) / sum exp(x - max x)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from nn4mc_codegen.graph.check import refuse
from nn4mc_codegen.graph.ir import Op, Shape
from nn4mc_codegen.ops.activation import Activation
from nn4mc_codegen.program.derive import ahead, back
from nn4mc_codegen.program.expression import var
from nn4mc_codegen.program.program import ONE, Elements, Instruction, Program


@dataclass(frozen=True)
class Softmax(Op):
    """`axis` as Keras counts it, the batch being 0."""

    axis: int = -1

    kind = "softmax"
    keras_layers = ("Softmax",)
    keras_config = ("axis",)
    each_step = True
    formula = "y = exp(x - max x) / sum exp(x - max x)"

    @classmethod
    def from_keras(cls, layer) -> Softmax:
        axis = layer.config.get("axis", -1)
        if type(axis) is not int:
            raise refuse(layer.name, f"softmax over axis {axis!r}", "use the last axis alone")
        return cls(axis)

    def output_shape(self, shapes: Sequence[Shape]) -> Shape:
        (shape,) = shapes
        if self.axis not in (-1, len(shape)):
            raise ValueError(f"is a softmax over axis {self.axis} of {shape}: only the last can be")
        return shape

    def evaluate(self, *values: np.ndarray) -> np.ndarray:
        (x,) = values
        return _softmax(x)

    def jacobians(self, *values: np.ndarray) -> list[np.ndarray]:
        y = self.evaluate(*values).reshape(-1, values[0].shape[-1])
        rows, n = y.shape
        blocks = np.zeros((rows, n, rows, n))
        for r in range(rows):
            blocks[r, :, r, :] = np.diag(y[r]) - np.outer(y[r], y[r])
        return [blocks.reshape(y.size, y.size)]

    def lower(self, p: Program, *x: Elements) -> Elements:
        rows = x[0].reshape(-1, x[0].shape[-1])
        return p.make(RowSoftmax, rows.shape, x=rows).reshape(x[0].shape)


def _softmax(x: np.ndarray) -> np.ndarray:
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


@dataclass(eq=False)
class RowSoftmax(Instruction):
    """y[j, i] = exp(x[j, i] - max of x[j]) / sum over i of the same."""

    kind = "softmax"
    x: Elements  # (rows, n)

    exponential = Activation("exponential").function

    @property
    def reads(self) -> list[Elements]:
        return [self.x]

    @property
    def shape(self) -> tuple[int, int]:
        return self.x.shape

    def compute(self, values: np.ndarray) -> np.ndarray:
        return _softmax(values[self.x])


def _product(p: Program, softmax: RowSoftmax, vectors: Elements) -> Elements:
    """(J, rows·n): the symmetric derivative diag(y) - y·y' of each row, times `vectors` (J, …)."""
    rows, n = softmax.x.shape
    y = softmax.result.elements.reshape(rows, n)
    vectors = vectors.reshape(-1, rows, n)
    weighted = p.map(var(0) * var(1), vectors, y)
    sums = p.linear(np.full((1, n), ONE), weighted.reshape(-1, n)).reshape(-1, rows, 1)
    return p.map(var(0) * (var(1) - var(2)), y, vectors, sums).reshape(len(vectors), -1)


@back.register
def _(softmax: RowSoftmax, p: Program, adjoint: Elements, arrive: Callable) -> None:
    arrive(softmax.x, _product(p, softmax, adjoint))


@ahead.register
def _(softmax: RowSoftmax, p: Program, tangent: Callable) -> Elements:
    return _product(p, softmax, tangent(softmax.x))
