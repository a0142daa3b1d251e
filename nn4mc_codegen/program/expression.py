"""Elementwise formulas as trees: written with operators, differentiated, evaluated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Function:
    """A function of one float that the generated C has by this `symbol`.

    `slope(x, y)` is its derivative, written in x or in the value y, whichever is cheaper.
    """

    symbol: str
    value: Callable[[np.ndarray], np.ndarray]
    slope: Callable[[Expression, Expression], Expression]
    cost: int
    """about how many instructions one value takes on a Cortex-M4F"""
    name: str = ""
    """what templates/functions.j2 knows it by"""
    parameters: tuple[tuple[str, float], ...] = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Function) and self.symbol == other.symbol

    def __hash__(self) -> int:
        return hash(self.symbol)

    def __call__(self, x: Expression) -> Expression:
        return Expression("call", (x,), self)


@dataclass(frozen=True)
class Expression:
    """A formula: an operation `op` on the formulas `args`.

    op is +, -, *, /, abs, where (a > b ? c : d), or one of these with a `value`: var (the operand's
    number), const (a float), call (the `Function`).
    """

    op: str
    args: tuple[Expression, ...] = ()
    value: int | float | Function | None = None

    def __add__(self, other: Expression | float) -> Expression:
        return _add(self, as_expression(other))

    def __radd__(self, other: float) -> Expression:
        return as_expression(other) + self

    def __sub__(self, other: Expression | float) -> Expression:
        return _subtract(self, as_expression(other))

    def __rsub__(self, other: float) -> Expression:
        return as_expression(other) - self

    def __mul__(self, other: Expression | float) -> Expression:
        return _multiply(self, as_expression(other))

    def __rmul__(self, other: float) -> Expression:
        return as_expression(other) * self

    def __truediv__(self, other: Expression | float) -> Expression:
        return _divide(self, as_expression(other))

    def __rtruediv__(self, other: float) -> Expression:
        return as_expression(other) / self

    @property
    def operands(self) -> frozenset[int]:
        """Numbers of the operands that it reads."""
        if self.op == "var":
            return frozenset((self.value,))
        return frozenset().union(*(a.operands for a in self.args))

    @property
    def cost(self) -> int:
        """About how many instructions it takes on a Cortex-M4F; operands and constants are free."""
        own = {"var": 0, "const": 0, "where": 4}.get(self.op, 1)
        if self.op == "call":
            own = self.value.cost
        return own + sum(a.cost for a in self.args)

    def substitute(self, operands: Sequence[Expression]) -> Expression:
        """The formula with operands[k] in the place of operand k, simplified anew."""
        if self.op == "var":
            return operands[self.value]
        args = tuple(a.substitute(operands) for a in self.args)
        if args == self.args:
            return self
        return (
            _REBUILD[self.op](*args) if self.op != "call" else Expression("call", args, self.value)
        )

    def derivative(self, operand: int, result: Expression | None = None) -> Expression:
        """The derivative with respect to one operand. `result`, if given, is what stands for the
        value of the whole formula, which the derivative may then read instead of computing it."""
        if self.op == "var":
            return ONE if self.value == operand else ZERO
        if operand not in self.operands:
            return ZERO
        slopes = [a.derivative(operand) for a in self.args]
        a = self.args
        if self.op == "+":
            return slopes[0] + slopes[1]
        if self.op == "-":
            return slopes[0] - slopes[1]
        if self.op == "*":
            return slopes[0] * a[1] + a[0] * slopes[1]
        if self.op == "/":
            return (slopes[0] - (result or self) * slopes[1]) / a[1]
        if self.op == "abs":
            return where(a[0], 0.0, slopes[0], 0.0 - slopes[0])
        if self.op == "where":
            return where(a[0], a[1], slopes[2], slopes[3])
        return self.value.slope(a[0], result or self) * slopes[0]

    def evaluate(self, operands: Sequence[np.ndarray]) -> np.ndarray:
        """The formula's values in NumPy, elementwise."""
        if self.op == "var":
            return operands[self.value]
        if self.op == "const":
            return np.float64(self.value)
        args = [a.evaluate(operands) for a in self.args]
        if self.op == "call":
            return self.value.value(args[0])
        return _NUMPY[self.op](*args)

    @property
    def functions(self) -> set[Function]:
        own = {self.value} if self.op == "call" else set()
        return own.union(*(a.functions for a in self.args))


def var(number: int) -> Expression:
    return Expression("var", (), number)


def const(value: float) -> Expression:
    return Expression("const", (), float(value))


def as_expression(value: Expression | float) -> Expression:
    return value if isinstance(value, Expression) else const(value)


def where(
    a: Expression, b: Expression | float, then: Expression | float, otherwise: Expression | float
) -> Expression:
    """a > b ? then : otherwise; a NaN goes the way of `otherwise`."""
    b, then, otherwise = as_expression(b), as_expression(then), as_expression(otherwise)
    if then == otherwise:
        return then
    return Expression("where", (as_expression(a), b, then, otherwise))


def absolute(x: Expression) -> Expression:
    return Expression("abs", (x,))


ZERO, ONE = const(0.0), const(1.0)


def _both_const(a: Expression, b: Expression) -> bool:
    return a.op == b.op == "const"


def _add(a: Expression, b: Expression) -> Expression:
    if _both_const(a, b):
        return const(a.value + b.value)
    if a == ZERO:
        return b
    return a if b == ZERO else Expression("+", (a, b))


def _subtract(a: Expression, b: Expression) -> Expression:
    if _both_const(a, b):
        return const(a.value - b.value)
    return a if b == ZERO else Expression("-", (a, b))


def _multiply(a: Expression, b: Expression) -> Expression:
    if _both_const(a, b):
        return const(a.value * b.value)
    if ZERO in (a, b):
        return ZERO
    if a == ONE:
        return b
    return a if b == ONE else Expression("*", (a, b))


def _divide(a: Expression, b: Expression) -> Expression:
    if a == ZERO:
        return ZERO
    return a if b == ONE else Expression("/", (a, b))


_REBUILD = {
    "+": _add,
    "-": _subtract,
    "*": _multiply,
    "/": _divide,
    "abs": absolute,
    "where": where,
}
_NUMPY = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "abs": np.abs,
    "where": lambda a, b, then, otherwise: np.where(a > b, then, otherwise),
}
