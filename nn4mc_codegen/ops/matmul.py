"""MatMul: the product of two matrices that are both results, or of stacks of such."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nn4mc_codegen.graph.ir import Op, Shape
from nn4mc_codegen.program.expression import var
from nn4mc_codegen.program.program import Elements, Program

# Products that one formula adds up, as in ops/depthwise.py.
TERMS = 12


@dataclass(frozen=True)
class MatMul(Op):
    """(…, m, k) times (…, k, n) gives (…, m, n); what stands before broadcasts as in NumPy."""

    kind = "matmul"
    formula = "y = x0·x1"

    def output_shape(self, shapes: Sequence[Shape]) -> Shape:
        a, b = shapes
        if len(a) < 2 or len(b) < 2 or a[-1] != b[-2]:
            raise ValueError(f"multiplies matrices of shapes {a} and {b}")
        return (*np.broadcast_shapes(a[:-2], b[:-2]), a[-2], b[-1])

    def evaluate(self, *values: np.ndarray) -> np.ndarray:
        return values[0] @ values[1]

    def jacobians(self, *values: np.ndarray) -> list[np.ndarray]:
        a, b = values
        y = np.empty(self.output_shape([a.shape, b.shape]))
        of_a = np.broadcast_to(_numbers(a), (*y.shape[:-2], *a.shape[-2:]))
        of_b = np.broadcast_to(_numbers(b), (*y.shape[:-2], *b.shape[-2:]))
        by_a, by_b = np.zeros((y.size, a.size)), np.zeros((y.size, b.size))
        for row, place in enumerate(np.ndindex(y.shape)):
            *stack, i, j = place
            row_of_a, column_of_b = of_a[(*stack, i)], of_b[(*stack, slice(None), j)]
            by_a[row, row_of_a] = b.ravel()[column_of_b]
            by_b[row, column_of_b] = a.ravel()[row_of_a]
        return [by_a, by_b]

    def lower(self, p: Program, *x: Elements) -> Elements:
        a, b = x
        shape = self.output_shape([a.shape, b.shape])
        y = None
        for first in range(0, a.shape[-1], TERMS):
            some = range(first, min(first + TERMS, a.shape[-1]))
            operands = [np.broadcast_to(e, shape) for k in some for e in _factors(a, b, k)]
            products = [var(2 * k) * var(2 * k + 1) for k in range(len(some))]
            total = sum(products[1:], start=products[0])
            if y is not None:
                total, operands = var(len(operands)) + total, [*operands, y]
            y = p.map(total, *operands)
        return y

    def macs(self, *shapes: Shape) -> int:
        return int(np.prod(self.output_shape(shapes))) * shapes[0][-1]


def _numbers(x: np.ndarray) -> np.ndarray:
    return np.arange(x.size).reshape(x.shape)


def _factors(a: Elements, b: Elements, k: int) -> tuple[Elements, Elements]:
    """What meets at the inner index k: a column of a, and a row of b."""
    return a[..., :, k : k + 1], b[..., k : k + 1, :]
