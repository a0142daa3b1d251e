"""Programs: what a graph means as a few primitives, which derive.py differentiates.

Every value is an element of an array and has a number of its own in the program. What an
instruction reads is a NumPy array of such numbers, so that rearranged, repeated, transposed and
broadcast operands cost nothing until C is printed. The numbers ZERO and ONE are literals: what is
known to be zero is never computed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from typing import ClassVar

import numpy as np

from nn4mc_codegen.program import expression
from nn4mc_codegen.program.expression import Expression, as_expression, var

Elements = np.ndarray
"""Numbers of elements, int64, of any shape."""
ZERO, ONE = 0, 1


@dataclass(eq=False)
class Array:
    """Elements first … first+size-1 of a program; `data` makes it a constant.

    Of a `paired` constant the elements 2k and 2k+1 are read at once.
    """

    name: str
    first: int
    size: int
    data: np.ndarray | None = None
    paired: bool = False

    @property
    def elements(self) -> Elements:
        return np.arange(self.first, self.first + self.size)


@dataclass(eq=False)
class Instruction(ABC):
    """A primitive. Each kind has a class, its rules in derive.py and a template of its name.

    `label` names the layer it comes from, `formula` what it computes, in the layer's letters.
    """

    kind: ClassVar[str]
    result: Array
    label: str
    formula: str

    @property
    @abstractmethod
    def reads(self) -> list[Elements]:
        """All that it reads."""

    @abstractmethod
    def compute(self, values: np.ndarray) -> np.ndarray:
        """The result's elements from the values of all elements, by their numbers."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """(rows, n) of the result."""

    def renumbered(self, place: np.ndarray, result: Array) -> Instruction:
        """The same with `place` of every element that it reads, and another result."""

        def move(part: object) -> object:
            if isinstance(part, np.ndarray):
                return place[part]
            return tuple(map(move, part)) if isinstance(part, tuple) else part

        moved = {f.name: move(getattr(self, f.name)) for f in fields(self)[3:]}
        return replace(self, result=result, **moved)

    def restricted(self, needed: np.ndarray) -> tuple[np.ndarray, dict[str, object]]:
        """For results (rows, n) of which only some are needed: which of them are computed after
        all, and the fields that compute those; by default all."""
        parts = {f.name: getattr(self, f.name) for f in fields(self)[3:]}
        return np.ones(self.shape, bool), parts

    @property
    def macs(self) -> int:
        return 0


@dataclass(eq=False)
class Linear(Instruction):
    """y[j, r] = start[j, r] + sum over i of W[r, i]·x[j, i], W constant.

    Where `gate` is not empty, x[:, i] adds nothing whenever gate[i] is zero, whatever it holds.
    """

    kind = "linear"
    W: Elements  # (n_out, n_in)
    x: Elements  # (rows, n_in)
    start: Elements  # (rows, n_out)
    gate: Elements = field(default_factory=lambda: np.zeros(0, np.int64))  # (n_in,)

    @property
    def reads(self) -> list[Elements]:
        return [self.W, self.x, self.start, *([self.gate] if self.gate.size else [])]

    def compute(self, values: np.ndarray) -> np.ndarray:
        x = values[self.x]
        if self.gate.size:
            x = np.where(values[self.gate] == 0.0, 0.0, x)
        return x @ values[self.W].T + values[self.start]

    @property
    def shape(self) -> tuple[int, int]:
        return self.start.shape

    def restricted(self, needed: np.ndarray) -> tuple[np.ndarray, dict[str, object]]:
        rows, columns = needed.any(axis=1), needed.any(axis=0)
        parts = {
            "W": self.W[columns],
            "x": self.x[rows],
            "start": self.start[rows][:, columns],
            "gate": self.gate,
        }
        return np.outer(rows, columns), parts

    @property
    def macs(self) -> int:
        return self.W.size * len(self.x)


@dataclass(eq=False)
class Map(Instruction):
    """y[j, i] = expression of the operands' elements [j, i]."""

    kind = "map"
    expression: Expression
    operands: tuple[Elements, ...]  # all of one shape (rows, n)

    @property
    def reads(self) -> list[Elements]:
        return list(self.operands)

    def compute(self, values: np.ndarray) -> np.ndarray:
        result = self.expression.evaluate([values[o] for o in self.operands])
        return np.broadcast_to(result, self.shape)

    @property
    def shape(self) -> tuple[int, int]:
        return self.operands[0].shape

    def restricted(self, needed: np.ndarray) -> tuple[np.ndarray, dict[str, object]]:
        grid = grid_of(needed)
        operands = tuple(o[needed].reshape(grid) for o in self.operands)
        return needed, {"expression": self.expression, "operands": operands}


@dataclass(eq=False)
class Program:
    """Instructions in order, each with a new result. `inputs` and `states` are arrays as well."""

    arrays: list[Array] = field(default_factory=list)
    instructions: list[Instruction] = field(default_factory=list)
    inputs: dict[str, Array] = field(default_factory=dict)
    pairs: bool = True
    """whether rows of matrices begin at even places, so that their elements are read two at once"""
    by_unit: bool = False
    """whether the weights of a unit that reads the network's inputs stand side by side: so they are
    read at once where a derivative is carried back to the inputs"""
    alone: Elements = field(default_factory=lambda: np.zeros(0, np.int64))
    """inputs with a column of the Jacobian"""
    together: list[Elements] = field(default_factory=list)
    """inputs that move as one, with a column of the Jacobian after those"""
    size: int = 0
    label: str = ""
    formula: str = ""
    _made: dict = field(default_factory=dict)

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
        """Numbers of new constants, of the shape of `data`; a layer called twice has them once."""
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
        """Numbers of the weights (units, n) of what reads x (n,), inputs of the network; those of a
        unit stand side by side.

        Where inputs move as one, with the sums of their weights: behind those of the inputs that
        have a column of the Jacobian, so that one product makes all its columns.
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
        """Numbers of constants (units, groups): the constants W (units, n), added up along each
        group of columns."""
        key = _sums_key(W, groups)
        if key not in self._made:
            values = np.zeros(self.size, np.float32)
            for array in self.arrays:
                if array.data is not None:
                    values[array.elements] = array.data
            # By column: a product with its transpose reads them as a layer's own weights are read.
            data = np.ascontiguousarray(_added(values[W], groups).T)
            self._made[key] = self.constant(f"W{len(self.arrays)}_{self.label}", data).T
        return self._made[key]

    @contextmanager
    def layer(self, label: str, formula: str) -> Iterator[None]:
        """What is made inside comes from this layer."""
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
        if np.all(counts <= 1):  # nothing to sum: a product, or a column of W itself
            column = np.argmax(x != ZERO, axis=1)
            factor = np.take_along_axis(x, column[:, None], axis=1)
            return self.map(var(0) * var(1) + var(2), W[:, column].T, factor, start)
        if np.any(x <= ONE):
            x = self.copy(x)
        return self.make(Linear, (rows, outputs), W=W, x=x, start=start)

    def map(self, formula: Expression | float, *operands: Elements) -> Elements:
        """Elements of `formula` over operands that broadcast; its shape is theirs.

        What literals decide is not computed: products with ZERO vanish, and with ONE stay alone.
        """
        formula = as_expression(formula)
        operands = np.broadcast_arrays(*operands)
        shape = operands[0].shape
        flat = [o.reshape(-1) for o in operands]
        result = np.zeros(flat[0].size, np.int64)
        codes = np.zeros(flat[0].size, np.int64)
        for o in flat:
            codes = 3 * codes + np.where(o == ZERO, 1, np.where(o == ONE, 2, 0))
        literals = {1: expression.ZERO, 2: expression.ONE}
        for code in np.unique(codes).tolist():
            digits = [code // 3**k % 3 for k in reversed(range(len(flat)))]
            known = formula.substitute([literals.get(d, var(k)) for k, d in enumerate(digits)])
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

    def copy(self, x: Elements) -> Elements:
        """The same elements side by side in one new array."""
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
        parts = {f.name: getattr(instruction, f.name) for f in fields(instruction)[3:]}
        with self.layer(instruction.label, instruction.formula):
            return self.make(type(instruction), instruction.shape, **parts)

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
    """(units, groups): sums along groups of columns, rounded once."""
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


def grid_of(chosen: np.ndarray) -> tuple[int, int]:
    """(rows, n) of the chosen elements of a matrix: rows stay rows where all have the same columns,
    else all stand in one."""
    rows, columns = (int(np.count_nonzero(chosen.any(axis=axis))) for axis in (1, 0))
    count = int(np.count_nonzero(chosen))
    return (rows, columns) if rows * columns == count else (1, count)
