"""Reduce: the sum or the mean of a tensor along some of its axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nn4mc_codegen.graph.ir import Op, Shape
from nn4mc_codegen.program.expression import var
from nn4mc_codegen.program.program import ONE, Elements, Program

# Up to so many elements are one formula; more are a product with a row of ones, as in ops/pool.py.
TERMS = 12


@dataclass(frozen=True)
class Reduce(Op):
    """Along `axes`, which stay with extent 1 where `keepdims` says so."""

    axes: tuple[int, ...]
    keepdims: bool
    mean: bool

    kind = "reduce"

    @property
    def formula(self) -> str:
        what = "mean" if self.mean else "sum"
        return f"y = {what} of x along axes {', '.join(map(str, self.axes))}"

    def output_shape(self, shapes: Sequence[Shape]) -> Shape:
        (shape,) = shapes
        if len(set(self.axes)) < len(self.axes) or not all(0 <= a < len(shape) for a in self.axes):
            raise ValueError(f"reduces axes {self.axes} of shape {shape}")
        if self.keepdims:
            return tuple(1 if axis in self.axes else n for axis, n in enumerate(shape))
        return tuple(n for axis, n in enumerate(shape) if axis not in self.axes)

    def _rows(self, x: np.ndarray) -> np.ndarray:
        """(results, elements of each)"""
        moved = np.moveaxis(x, self.axes, range(-len(self.axes), 0))
        return moved.reshape(-1, math.prod(x.shape[axis] for axis in self.axes))

    def evaluate(self, *values: np.ndarray) -> np.ndarray:
        rows = self._rows(values[0])
        y = rows.sum(axis=1) / (rows.shape[1] if self.mean else 1)
        return y.reshape(self.output_shape([values[0].shape]))

    def jacobians(self, *values: np.ndarray) -> list[np.ndarray]:
        (x,) = values
        rows = self._rows(np.arange(x.size).reshape(x.shape))
        jacobian = np.zeros((len(rows), x.size))
        share = 1 / rows.shape[1] if self.mean else 1.0
        np.put_along_axis(jacobian, rows, share, axis=1)
        return [jacobian]

    def lower(self, p: Program, *x: Elements) -> Elements:
        rows = self._rows(x[0])
        terms = rows.shape[1]
        share = 1 / terms if self.mean else 1.0
        if terms <= TERMS:
            total = sum((var(k) for k in range(1, terms)), start=var(0))
            y = p.map(total * share, *(rows[:, k] for k in range(terms)))
        else:
            y = p.linear(np.full((1, terms), ONE), rows).reshape(-1)
            y = p.map(var(0) * share, y)
        return y.reshape(self.output_shape([x[0].shape]))

    def macs(self, *shapes: Shape) -> int:
        return math.prod(shapes[0])
