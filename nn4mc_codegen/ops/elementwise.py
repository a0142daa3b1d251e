"""Elementwise arithmetic of results and constants, which broadcast as in NumPy.

What has an activation's name, and sums and products of results of one shape, are `Activation`,
`Add` and `Multiply`. At a kink |x|' is -1, and of two equal numbers the second counts as the larger
and as the smaller.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import erf

from nn4mc_codegen.graph.ir import Op, Shape
from nn4mc_codegen.program.expression import Expression, absolute, const, var, where
from nn4mc_codegen.program.functions import NORMAL_CDF, SQUARE_ROOT
from nn4mc_codegen.program.program import Elements, Program


@dataclass(frozen=True)
class Meaning:
    """Formula for people, as an expression, and in NumPy; and its derivatives by each operand."""

    formula: str
    expression: Callable[..., Expression]
    value: Callable[..., np.ndarray]
    slopes: Callable[..., tuple]


MEANINGS = {
    "add": Meaning("a + b", lambda a, b: a + b, np.add, lambda a, b: (1.0, 1.0)),
    "subtract": Meaning("a - b", lambda a, b: a - b, np.subtract, lambda a, b: (1.0, -1.0)),
    "multiply": Meaning("a·b", lambda a, b: a * b, np.multiply, lambda a, b: (b, a)),
    "divide": Meaning("a / b", lambda a, b: a / b, np.divide, lambda a, b: (1.0 / b, -a / (b * b))),
    "squared_difference": Meaning(
        "(a - b)²",
        lambda a, b: (a - b) * (a - b),
        lambda a, b: np.square(a - b),
        lambda a, b: (2.0 * (a - b), -2.0 * (a - b)),
    ),
    "minimum": Meaning(
        "min(a, b)",
        lambda a, b: where(b, a, a, b),
        np.minimum,
        lambda a, b: (np.where(b > a, 1.0, 0.0), np.where(b > a, 0.0, 1.0)),
    ),
    "maximum": Meaning(
        "max(a, b)",
        lambda a, b: where(a, b, a, b),
        np.maximum,
        lambda a, b: (np.where(a > b, 1.0, 0.0), np.where(a > b, 0.0, 1.0)),
    ),
    "prelu": Meaning(
        "a > 0 ? a : b·a",
        lambda a, b: where(a, 0.0, a, b * a),
        lambda a, b: np.where(a > 0, a, b * a),
        lambda a, b: (np.where(a > 0, 1.0, b), np.where(a > 0, 0.0, a)),
    ),
    "threshold": Meaning(
        "a > b ? a : 0",
        lambda a, b: where(a, b, a, 0.0),
        lambda a, b: np.where(a > b, a, 0.0),
        lambda a, b: (np.where(a > b, 1.0, 0.0), 0.0),
    ),
    "absolute": Meaning("|a|", absolute, np.abs, lambda a: (np.where(a > 0, 1.0, -1.0),)),
    "square_root": Meaning("sqrt(a)", SQUARE_ROOT, np.sqrt, lambda a: (0.5 / np.sqrt(a),)),
    "error_function": Meaning(
        "erf(a)",
        lambda a: 2.0 * NORMAL_CDF(2**0.5 * a) - 1.0,
        erf,
        lambda a: (2 / np.sqrt(np.pi) * np.exp(-a * a),),
    ),
}


@dataclass(frozen=True, eq=False)
class Elementwise(Op):
    """`operands` of the meaning `name`: float32 arrays, and None for each input, in their order."""

    name: str
    operands: tuple[np.ndarray | None, ...]

    kind = "elementwise"
    keras_layers = ("Subtract", "Maximum", "Minimum")
    keras_functions = ("Subtract", "Maximum", "Minimum")
    several_inputs = True
    each_step = True

    @classmethod
    def from_keras(cls, layer) -> Elementwise:
        return cls(layer.class_name.lower(), (None, None))

    @property
    def formula(self) -> str:
        letters = ("ab"[k] for k, o in enumerate(self.operands) if o is not None)
        fixed = "".join(f", {letter} constant" for letter in letters)
        return f"y = {MEANINGS[self.name].formula}{fixed}"

    @property
    def constants(self) -> dict[str, np.ndarray]:
        return {"ab"[k]: o for k, o in enumerate(self.operands) if o is not None}

    def output_shape(self, shapes: Sequence[Shape]) -> Shape:
        wanted = sum(operand is None for operand in self.operands)
        if len(shapes) != wanted:
            raise ValueError(f"takes {wanted} inputs but gets {len(shapes)}")
        given = iter(shapes)
        return np.broadcast_shapes(*(next(given) if o is None else o.shape for o in self.operands))

    def _values(self, values: Sequence[np.ndarray]) -> list[np.ndarray]:
        given = iter(values)
        return [next(given) if o is None else o.astype(np.float64) for o in self.operands]

    def evaluate(self, *values: np.ndarray) -> np.ndarray:
        return np.asarray(MEANINGS[self.name].value(*self._values(values)))

    def jacobians(self, *values: np.ndarray) -> list[np.ndarray]:
        shape = self.output_shape([v.shape for v in values])
        operands = self._values(values)
        slopes = MEANINGS[self.name].slopes(*operands)
        found = []
        for given, operand, slope in zip(self.operands, operands, slopes, strict=True):
            if given is None:
                numbers = np.arange(operand.size).reshape(operand.shape)
                elements = np.broadcast_to(numbers, shape).ravel()
                jacobian = np.zeros((elements.size, operand.size))
                jacobian[np.arange(elements.size), elements] = np.broadcast_to(slope, shape).ravel()
                found.append(jacobian)
        return found

    def lower(self, p: Program, *x: Elements) -> Elements:
        """A constant of one element is a number in the formula, a larger one an array."""
        shape = self.output_shape([e.shape for e in x])
        given, letters, elements = iter(x), [], []
        for number, operand in enumerate(self.operands):
            if operand is not None and operand.size == 1:
                letters.append(const(float(operand.ravel()[0])))
                continue
            letters.append(var(len(elements)))
            if operand is None:
                elements.append(next(given))
            else:
                elements.append(p.constant(f"{'ab'[number]}_{p.label}", operand))
        formula = MEANINGS[self.name].expression(*letters)
        rows = [np.atleast_1d(np.broadcast_to(e, shape)) for e in elements]
        return p.map(formula, *rows).reshape(shape)
