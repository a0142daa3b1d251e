"""Programs: what a network means as a few primitives, which derive.py differentiates.

A program grows: an operator's `lower`, and the rules of derivatives, append instructions to it and
get the element numbers of the results (see instructions.py). Equal instructions and equal constants
are made once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from nn4mc_codegen.program import expression
from nn4mc_codegen.program.expression import Expression, as_expression, var
from nn4mc_codegen.program.instructions import (
    ONE,
    ZERO,
    Array,
    Elements,
    Instruction,
    Linear,
    Map,
    grid_of,
)

MAX_CODE = 2**60
"""One more digit of base 3 still fits 64 bits."""
MAX_TERMS = 100
"""Most terms of one formula. A formula is a tree that functions walk by calling themselves, and
Python's limit of 1000 nested calls is reached at 255 terms."""


@dataclass(eq=False)
class Program:
    """Instructions in order, each with a result of its own, and the arrays of all elements.

    `inputs` are the arrays that a caller gives, by their names in C: x, state, v, t, folded.
    """

    arrays: list[Array] = field(default_factory=list)
    instructions: list[Instruction] = field(default_factory=list)
    inputs: dict[str, Array] = field(default_factory=dict)
    pairs: bool = True
    """Whether the rows of constant matrices are filled up to an even length. Every row then begins
    at an even address in floats, and its weights can be loaded two by one instruction."""
    by_unit: bool = False
    """Whether a layer that reads the network's inputs stores its weights unit by unit, W[unit][i],
    and not input by input as Keras does. A derivative that goes back from a unit to the inputs then
    reads that unit's weights from consecutive addresses, many by one instruction."""
    alone: Elements = field(default_factory=lambda: np.zeros(0, np.int64))
    """Inputs that have a column of the Jacobian of their own."""
    together: list[Elements] = field(default_factory=list)
    """Groups of inputs that move as one. Each group has one column of the Jacobian, the sum of its
    inputs' columns; these columns come after those of `alone`."""
    size: int = 0
    """Number of elements."""
    label: str = ""
    formula: str = ""
    """Label and formula of the layer whose instructions are being appended, see `layer`."""
    _made: dict = field(default_factory=dict)
    """What was made before, by a key of all that it was made of."""

    def __post_init__(self) -> None:
        if not self.arrays:
            self.array("literals", 2, np.array([0.0, 1.0], np.float32))

    def array(self, name: str, size: int, data: np.ndarray | None = None) -> Array:
        self.arrays.append(Array(name, self.size, size, data))
        self.size += size
        return self.arrays[-1]

    def input(self, name: str, size: int) -> Array:
        self.inputs[name] = self.array(name, size)
        return self.inputs[name]

    def constant(self, name: str, data: np.ndarray) -> Elements:
        """Numbers of constants, of the shape of `data`; the same array of data is stored once, so
        that a layer that is called twice has its weights once."""
        key = "constant", id(data)
        if key not in self._made:
            stored = np.asarray(data, np.float32)
            width = data.shape[-1]
            if self.pairs and data.ndim > 1 and width > 1 and width % 2:
                stored = np.pad(stored, [(0, 0)] * (data.ndim - 1) + [(0, 1)])
            array = self.array(name, stored.size, stored.ravel())
            array.paired = self.pairs and data.ndim > 1 and stored.size % 2 == 0
            elements = array.elements.reshape(stored.shape)[..., :width]
            self._made[key] = data, elements  # data, so that its id stays its own
        return self._made[key][1]

    def unit_weights(self, name: str, data: np.ndarray, x: Elements) -> Elements:
        """Numbers of the weights (units, n) of a layer that reads x (n,), inputs of the network.

        They are stored unit by unit (see `by_unit`). Where inputs move as one, the sums of their
        weights are stored as well, and the order is that of the Jacobian's columns. With columns
        for u0, for y0 and for u0 and u1 together, each unit of a layer on [u0, u1, y0, s0] has

            w(u0) w(y0)  w(u0)+w(u1)  w(u1) w(s0)

        and the first three, side by side, are all that the Jacobian's columns are a product of.
        """
        groups = [g for g in (np.flatnonzero(np.isin(x, t)) for t in self.together) if g.size]
        if not groups:
            return self.constant(name, data)
        key = "units", id(data), _key(x)
        if key not in self._made:
            first = np.flatnonzero(np.isin(x, self.alone))
            last = np.setdiff1d(np.arange(len(x)), first)
            parts = [data[:, first], _added(data, groups), data[:, last]]
            stored = self.constant(name, np.concatenate(parts, axis=1))
            W = np.empty(data.shape, np.int64)
            W[:, first] = stored[:, : len(first)]
            W[:, last] = stored[:, len(first) + len(groups) :]
            sums = stored[:, len(first) : len(first) + len(groups)]
            self._made[_sums_key(W, groups)] = sums
            self._made[key] = data, W  # data, so that its id stays its own
        return self._made[key][1]

    def sums(self, W: Elements, groups: Sequence[np.ndarray]) -> Elements:
        """Numbers of constants (units, groups): for each group of columns of the constants W
        (units, n) the sum along the group."""
        key = _sums_key(W, groups)
        if key not in self._made:
            values = np.zeros(self.size, np.float32)
            for array in self.arrays:
                if array.data is not None:
                    values[array.elements] = array.data
            # Stored group by group, as a layer's weights are stored input by input: a product with
            # the transposed sums then reads consecutive addresses.
            data = np.ascontiguousarray(_added(values[W], groups).T)
            self._made[key] = self.constant(f"W{len(self.arrays)}_{self.label}", data).T
        return self._made[key]

    @contextmanager
    def layer(self, label: str, formula: str) -> Iterator[None]:
        """Instructions that are appended inside the `with` block come from this layer."""
        before = self.label, self.formula
        self.label, self.formula = label, formula
        yield
        self.label, self.formula = before

    # ---------------------------------------------------------------- primitives

    def linear(self, W: Elements, x: Elements, start: Elements | int = ZERO) -> Elements:
        """(rows, n_out): Linear of W (n_out, n_in), x (rows, n_in) and start (… n_out)."""
        rows, outputs = len(x), len(W)
        start = np.broadcast_to(start, (rows, outputs))
        used = np.any(x != ZERO, axis=0) & np.any(W != ZERO, axis=0)
        W, x = W[:, used], x[:, used]
        counts = np.count_nonzero(x != ZERO, axis=1)
        if np.all(counts == 0):
            return start.copy()
        if np.all(counts <= 1):  # one term a sum: a product, or where x is ONE a column of W
            column = np.argmax(x != ZERO, axis=1)
            factor = np.take_along_axis(x, column[:, None], axis=1)
            return self.map(var(0) * var(1) + var(2), W[:, column].T, factor, start)
        if np.any(x <= ONE):
            x = self.copy(x)
        return self.make(Linear, (rows, outputs), W=W, x=x, start=start)

    def map(self, formula: Expression | float, *operands: Elements) -> Elements:
        """Elements of `formula` over operands that broadcast; the result has their shape.

        Where operands are literals the formula is simplified first, and elements that this decides
        cost no instruction: a·ZERO is ZERO, a·ONE is a itself. Elements for which the same operands
        are literals become one Map.
        """
        formula = as_expression(formula)
        operands = np.broadcast_arrays(*operands)
        shape = operands[0].shape
        flat = [o.reshape(-1) for o in operands]
        result = np.zeros(flat[0].size, np.int64)
        # Elements for which the same operands are literals have the same code, a number of base 3.
        codes = np.zeros(flat[0].size, np.int64)
        for o in flat:
            if codes.max(initial=0) > MAX_CODE:
                codes = np.unique(codes, return_inverse=True)[1]  # ranks tell them apart as well
            codes = 3 * codes + np.where(o == ZERO, 1, np.where(o == ONE, 2, 0))
        literals = {ZERO: expression.ZERO, ONE: expression.ONE}
        for code, first in zip(*np.unique(codes, return_index=True), strict=True):
            known = formula.substitute(
                [literals.get(int(o[first]), var(k)) for k, o in enumerate(flat)]
            )
            chosen = codes == code
            if known.op == "var":
                result[chosen] = flat[known.value][chosen]
            elif known in (expression.ZERO, expression.ONE):
                result[chosen] = ZERO if known == expression.ZERO else ONE
            else:
                grid = grid_of(chosen.reshape(-1, shape[-1]))
                numbers = [o[chosen].reshape(grid) for o in flat]
                result[chosen] = self._map(known, numbers).reshape(-1)
        return result.reshape(shape)

    def add(self, terms: Sequence[Elements]) -> Elements:
        """The elementwise sum of terms of one shape, in formulas of at most `MAX_TERMS`."""
        while len(terms) > 1:
            groups = [terms[i : i + MAX_TERMS] for i in range(0, len(terms), MAX_TERMS)]
            sums = [sum((var(k) for k in range(1, len(g))), start=var(0)) for g in groups]
            terms = [self.map(total, *g) for total, g in zip(sums, groups, strict=True)]
        return terms[0]

    def copy(self, x: Elements) -> Elements:
        """The same elements copied, one after the other, into one new array."""
        x2 = x.reshape(-1, x.shape[-1])
        return self.make(Map, x2.shape, expression=var(0), operands=(x2,)).reshape(x.shape)

    def _map(self, formula: Expression, operands: Sequence[Elements]) -> Elements:
        used = sorted(formula.operands)
        if not used:  # a constant
            value = np.full(operands[0].shape, formula.evaluate([]), np.float32)
            name = f"c{len(self.arrays)}_{self.label}"
            return self.array(name, value.size, value.ravel()).elements.reshape(value.shape)
        renamed = {number: var(k) for k, number in enumerate(used)}
        formula = formula.substitute([renamed.get(k, var(k)) for k in range(len(operands))])
        kept = tuple(operands[k] for k in used)
        return self.make(Map, kept[0].shape, expression=formula, operands=kept)

    def make(self, kind: type[Instruction], shape: tuple[int, int], **parts) -> Elements:
        """Append an instruction, unless it was made before; numbers of its result (rows, n)."""
        key = (kind, *(_key(part) for part in parts.values()))
        if key not in self._made:
            array = self.array(self.label, int(np.prod(shape)))
            self.instructions.append(kind(array, self.label, self.formula, **parts))
            self._made[key] = array.elements.reshape(shape)
        return self._made[key]

    def again(self, instruction: Instruction) -> Elements:
        """The same instruction with a result of its own; numbers of its result (rows, n)."""
        with self.layer(instruction.label, instruction.formula):
            return self.make(type(instruction), instruction.shape, **instruction.parts)

    def is_read_only_by(
        self, made: Instruction, reader: Instruction, results: Sequence[Elements]
    ) -> bool:
        """Whether no instruction but `reader` reads what `made` makes, nor is it in `results`."""
        others = [e for i in self.instructions if i is not reader for e in i.reads]
        return not any(np.isin(made.result.elements, e).any() for e in (*results, *others))

    # ---------------------------------------------------------------- meaning

    def evaluate(self, given: dict[str, np.ndarray], wanted: Elements) -> np.ndarray:
        """Values of the wanted elements in float64, for the inputs by name."""
        values = np.full(self.size, np.nan)
        for array in self.arrays:
            if array.data is not None:
                values[array.elements] = array.data
        for name, array in self.inputs.items():
            values[array.elements] = given[name]
        for instruction in self.instructions:
            values[instruction.result.elements] = instruction.compute(values).ravel()
        return values[wanted]


def _added(weights: np.ndarray, groups: Sequence[np.ndarray]) -> np.ndarray:
    """(units, groups): sums along groups of columns, added in float64 and rounded once."""
    sums = [weights[:, g].sum(axis=1, dtype=np.float64) for g in groups]
    return np.stack(sums, axis=1).astype(np.float32)


def _sums_key(W: Elements, groups: Sequence[np.ndarray]) -> tuple:
    return ("sums", *(_key(W[:, g]) for g in groups))


def _key(part: object) -> object:
    if isinstance(part, np.ndarray):
        return part.shape, part.tobytes()
    if isinstance(part, tuple):
        return tuple(_key(p) for p in part)
    return part
