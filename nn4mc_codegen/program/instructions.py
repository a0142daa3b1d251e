"""Instructions: the few primitives that a program is made of, and the arrays of what they compute.

Every value is an element of an array and has a number of its own in the program. What an
instruction reads is a NumPy array of such numbers. A layer of 2 units y = W·x on x = [x0, x1],

    numbers     0 1     2 3   4 5 6 7   8 9
    arrays      0 and 1   x      W       y

is Linear(W=[[4, 5], [6, 7]], x=[[2, 3]], start=[[0, 0]]) with the result y,

so that rearranged, repeated, transposed and broadcast operands are other matrices of the same
numbers, and cost nothing until C is printed. The first two numbers, ZERO and ONE, are literals:
what is known to be zero is never computed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, fields, replace
from typing import ClassVar

import numpy as np

from nn4mc_codegen.program.expression import Expression

Elements = np.ndarray
"""Numbers of elements, int64, of any shape."""
ZERO, ONE = 0, 1


@dataclass(eq=False)
class Array:
    """The elements with the numbers first … first+size-1; with `data` they are constants.

    The elements 2k and 2k+1 of a `paired` constant can be loaded by one instruction.
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

    `label` names the layer that the instruction comes from; `formula` says in that layer's letters
    what it computes. The fields that a subclass adds are what it computes with.
    """

    kind: ClassVar[str]
    result: Array
    label: str
    formula: str

    @property
    @abstractmethod
    def reads(self) -> list[Elements]:
        """The elements of all operands, one matrix an operand."""

    @abstractmethod
    def compute(self, values: np.ndarray) -> np.ndarray:
        """The result's elements from the values of all elements, by their numbers."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """(rows, n) of the result."""

    @property
    def parts(self) -> dict[str, object]:
        """The fields that the subclass adds to result, label and formula, by their names."""
        return {f.name: getattr(self, f.name) for f in fields(self)[3:]}

    def renumbered(self, new_number: np.ndarray, result: Array) -> Instruction:
        """The same instruction in another program: it reads new_number[e] where it read the element
        e, and it has another result."""

        def move(part: object) -> object:
            if isinstance(part, np.ndarray):
                return new_number[part]
            return tuple(map(move, part)) if isinstance(part, tuple) else part

        moved = {name: move(part) for name, part in self.parts.items()}
        return replace(self, result=result, **moved)

    def restricted(self, needed: np.ndarray) -> tuple[np.ndarray, dict[str, object]]:
        """What is left of the instruction where only some of its results are `needed` (rows, n).

        Returned are which results it computes then, at least the needed ones, and its `parts` for
        these. By default an instruction stays whole.
        """
        return np.ones(self.shape, bool), self.parts

    @property
    def macs(self) -> int:
        """Multiply-accumulates."""
        return 0


@dataclass(eq=False)
class Linear(Instruction):
    """y[j, r] = start[j, r] + sum over i of W[r, i]·x[j, i], W constant.

    Where `gate` is not empty, column i counts only while the element gate[i] is not zero: otherwise
    x[:, i] is not read, whatever it holds.
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


def grid_of(chosen: np.ndarray) -> tuple[int, int]:
    """Shape (rows, n) for the chosen elements of a matrix of bool.

    Where all rows have the same chosen columns, the elements keep their rows; else they stand one
    after the other in a single row.
    """
    rows, columns = (int(np.count_nonzero(chosen.any(axis=axis))) for axis in (1, 0))
    count = int(np.count_nonzero(chosen))
    return (rows, columns) if rows * columns == count else (1, count)
