"""Pushing directions through a program: which sums make the tangents of its results.

A tangent says how an element moves along a direction. What J·t means for one direction is jvp of
derive.py; here are the sums for many directions at once, each a row of a matrix with a column a
direction. A recurrent cell needs the rows of its new state in terms of those of x and the state. Of
a GRU, whose gates z and k are products with x and h, row r is

    dh'[r] = (cz[r] Wz[r] + ck[r] Wk[r]) · dx  +  (cz[r] Uz[r] + ck[r] Uk[r]) · dh  +  z[r] dh[r]

with slopes cz, ck that one step gives: a row of weights is summed once, over the gates, and then
multiplied with all directions. That takes a third of what it would take gate by gate, and the
Jacobian, whose row the sum is, is never stored.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from nn4mc_codegen.program.derive import dependent
from nn4mc_codegen.program.expression import var
from nn4mc_codegen.program.instructions import ONE, ZERO, Elements, Instruction, Linear
from nn4mc_codegen.program.program import Program


@dataclass(frozen=True, eq=False)
class Gate:
    """slope[r] · W[r], a share of what multiplies the tangents of a source."""

    slope: Elements  # (rows,)
    W: Elements  # (rows, count)


@dataclass(eq=False)
class Source:
    """The elements whose tangents are multiplied with the sum of the gates."""

    elements: Elements  # (count,)
    gates: list[Gate] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Own:
    """slope[r] times the tangent of elements[r]: what comes to row r without a product."""

    slope: Elements  # (rows,)
    elements: Elements  # (rows,)


@dataclass(eq=False)
class Pass:
    """The tangents of `result` are the sum over all sources and all own elements."""

    label: str
    result: Elements  # (rows,)
    sources: list[Source] = field(default_factory=list)
    own: list[Own] = field(default_factory=list)


class Plan:
    """The passes, in their order, that give the tangents of `wanted`; slopes are appended to `p`.

    An element's tangent is stored where a product reads it, where it is wanted, and where several
    formulas read it; what lies between is summed up in slopes, by the chain rule.
    """

    def __init__(self, p: Program, wanted: Sequence[Elements]):
        self._p = p
        self._firsts = np.array([a.first for a in p.arrays])
        given = [p.inputs[name].elements for name in ("x", "state") if name in p.inputs]
        self._active = dependent(p, np.concatenate(given))
        self._made: dict[int, Instruction] = {i.result.first: i for i in p.instructions}
        self._stored = np.zeros(p.size, bool)
        self._stored[np.concatenate(given)] = True
        self._keep(p, wanted)
        self._keys: dict[int, object] = {}
        self.passes = [made for i in list(p.instructions) for made in self._passes(i)]

    def _keep(self, p: Program, wanted: Sequence[Elements]) -> None:
        readers = np.zeros(p.size, np.int64)
        for instruction in p.instructions:
            read = np.unique(np.concatenate([e.ravel() for e in instruction.reads]))
            readers[read] += 1
            if isinstance(instruction, Linear):
                readers[instruction.x] += 2
        kept = readers > 1
        for elements in wanted:
            kept[elements] = True
        self._stored |= kept & self._active

    def _passes(self, instruction: Instruction) -> Iterator[Pass]:
        """One for each run of stored results that are made of the same kinds of terms."""
        elements = instruction.result.elements
        elements = elements[self._stored[elements]]
        keys = [self._made_of(int(e)) for e in elements]
        starts = [k for k in range(len(keys)) if k == 0 or keys[k] != keys[k - 1]]
        for first, past in pairwise([*starts, len(keys)]):
            made = Pass(instruction.label, elements[first:past])
            with self._p.layer(f"t_{instruction.label}", "slopes of its tangents"):
                self._trace(made, made.result, np.full(past - first, ONE), within=True)
            made.sources = [s for s in made.sources if s.gates]
            yield made

    def _owner(self, element: int) -> Instruction | None:
        first = self._firsts[np.searchsorted(self._firsts, element, side="right") - 1]
        return self._made.get(int(first))

    def _kind(self, element: int) -> object:
        """Equal for elements that a formula may read side by side."""
        if not self._active[element]:
            return None
        if self._stored[element]:
            return "stored", int(np.searchsorted(self._firsts, element, side="right"))
        return self._made_of(element)

    def _made_of(self, element: int) -> object:
        if element not in self._keys:
            instruction = self._owner(element)
            at = element - instruction.result.first
            if isinstance(instruction, Linear):
                row, unit = divmod(at, instruction.shape[1])
                below = row, self._kind(int(instruction.start[row, unit]))
            else:
                below = tuple(self._kind(int(o.ravel()[at])) for o in instruction.operands)
            self._keys[element] = instruction.result.first, below
        return self._keys[element]

    def _trace(self, made: Pass, elements: Elements, slope: Elements, within: bool = False) -> None:
        """Add `slope` times the tangents of `elements`, which are of one kind, to a pass."""
        if not self._active[elements[0]] or np.all(slope == ZERO):
            return
        if self._stored[elements[0]] and not within:
            made.own.append(Own(slope, elements))
            return
        instruction = self._owner(int(elements[0]))
        at = elements - instruction.result.first
        if isinstance(instruction, Linear):
            rows, units = np.divmod(at, instruction.shape[1])
            self._multiply(made, instruction, int(rows[0]), units, slope)
            self._trace(made, instruction.start[rows[0], units], slope)
            return
        operands = [o.ravel()[at] for o in instruction.operands]
        for k, operand in enumerate(operands):
            derivative = instruction.expression.derivative(k, var(len(operands)))
            factor = var(len(operands) + 1)
            self._trace(made, operand, self._p.map(factor * derivative, *operands, elements, slope))

    def _multiply(
        self, made: Pass, linear: Linear, row: int, units: Elements, slope: Elements
    ) -> None:
        """A gate for each run of operands that stand side by side."""
        x, W = linear.x[row], linear.W[units]
        moving = np.flatnonzero(self._active[x])
        arrays = np.searchsorted(self._firsts, x[moving], side="right")
        jumps = (np.diff(moving) != 1) | (np.diff(x[moving]) != 1) | (np.diff(arrays) != 0)
        for run in np.split(moving, np.flatnonzero(jumps) + 1):
            for source in made.sources:
                if np.array_equal(source.elements, x[run]):
                    break
            else:
                source = Source(x[run])
                made.sources.append(source)
            source.gates.append(Gate(slope, W[:, run]))
