"""Derivatives of programs, as more instructions of the same program.

Each primitive has two rules, written in primitives: how adjoints go back from its result to its
operands (`back`, reverse mode), and how tangents go ahead from its operands to its result (`ahead`,
forward mode). With J for the derivative of y by x:

    vjp   v'·J for the rows v' of `seeds`; with the identity as seeds, J itself, row by row
    jvp   J·t for the rows t of `tangents`; with the identity as tangents, J' itself
    hvp   jvp of what vjp has made: the derivative of v'·J along t

Zeros and ones of an identity cost nothing, as `Program.linear` and `Program.map` simplify.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import singledispatch

import numpy as np

from nn4mc_codegen.program.expression import var
from nn4mc_codegen.program.instructions import (
    ONE,
    ZERO,
    Array,
    Elements,
    Instruction,
    Linear,
    Map,
)
from nn4mc_codegen.program.program import Program


def identity(size: int) -> Elements:
    return np.where(np.eye(size, dtype=bool), ONE, ZERO)


def vjp(
    p: Program,
    y: Elements,
    seeds: Elements,
    wrt: Elements,
    together: Sequence[Elements] = (),
) -> Elements:
    """(J, m + k): seeds (J, n) times the derivative of y (n,) by the elements wrt (m,), and in the
    last k columns along the k groups `together`.

    The elements of a group move as one. The derivative along it is the sum of those by its members,
    but is found at once: each group has one more element in `moved`, which stands for how far the
    group has moved, and adjoints of a member also arrive there.
    """
    moved = p.array("moved", len(together)).elements if together else wrt[:0]
    active = dependent(p, np.concatenate([wrt, *together, moved]))
    # By the array's number: positions in the array (k,), and the adjoints (J, k) that arrive there.
    arrived: dict[int, list[tuple[Elements, Elements]]] = defaultdict(list)
    firsts = np.array([a.first for a in p.arrays])
    end = p.size

    def arrive(elements: Elements, adjoints: Elements) -> None:
        flat, adjoints = elements.ravel(), adjoints.reshape(len(seeds), -1)
        kept = active[flat] & np.any(adjoints != ZERO, axis=0)
        flat, adjoints = flat[kept], adjoints[:, kept]
        owners = np.searchsorted(firsts, flat, side="right") - 1
        for owner in np.unique(owners).tolist():
            mine = owners == owner
            arrived[owner].append((flat[mine] - firsts[owner], adjoints[:, mine]))

    def total(owner: int, size: int) -> Elements:
        """(J, size): the adjoints that arrived at each element of an array, added up.

        They are spread over layers, so that one Map can add the layers: the first that arrives at
        an element goes to layer 0, the second to layer 1, and so on. Where less arrives, a layer
        has ZERO, which `Program.map` leaves out.
        """
        turn = np.zeros(size, np.int64)
        layers: list[Elements] = []
        for positions, adjoints in arrived.pop(owner, []):
            for k in _without_repeats(positions):
                rank = turn[positions[k]]  # how many have arrived there before
                for depth in np.unique(rank).tolist():
                    if depth == len(layers):
                        layers.append(np.zeros((len(seeds), size), np.int64))
                    at = k[rank == depth]
                    layers[depth][:, positions[at]] = adjoints[:, at]
                turn[positions[k]] += 1
        if not layers:
            return np.zeros((len(seeds), size), np.int64)
        return p.add(layers)

    def arrive_with_groups(elements: Elements, adjoints: Elements) -> None:
        arrive(elements, adjoints)
        flat, adjoints = elements.ravel(), adjoints.reshape(len(seeds), -1)
        for number, group in zip(moved, together, strict=True):
            mine = np.isin(flat, group) & np.any(adjoints != ZERO, axis=0)
            if mine.any():
                ones = np.full((1, np.count_nonzero(mine)), ONE)
                arrive(number[None], p.linear(ones, adjoints[:, mine]))

    arrive_with_groups(y, seeds)
    owner_of = {a: number for number, a in enumerate(p.arrays)}
    for instruction in reversed(list(p.instructions)):
        array = instruction.result
        if array.first < end and owner_of[array] in arrived:
            with p.layer(f"d_{instruction.label}", _backwards(instruction)):
                adjoint = total(owner_of[array], array.size)
                extended = _with_groups(p, instruction, together, moved)
                if extended is None:
                    back(instruction, p, adjoint, arrive_with_groups)
                else:
                    back(extended, p, adjoint, arrive)
    wrt = np.concatenate([wrt, moved])
    gradient = np.zeros((len(seeds), len(wrt)), np.int64)
    with p.layer("d_x", "derivatives that meet, added up"):
        owners = np.searchsorted(firsts, wrt, side="right") - 1
        for owner in np.unique(owners).tolist():
            mine = owners == owner
            gradient[:, mine] = total(owner, p.arrays[owner].size)[:, wrt[mine] - firsts[owner]]
    return gradient


def _with_groups(
    p: Program, instruction: Instruction, together: Sequence[Elements], moved: Elements
) -> Linear | None:
    """A product that also reads how far each group has moved, if it reads members of groups; else,
    and where it has several rows, None.

    W·x with x0 and x2 in a group becomes W·x + (W[:, 0] + W[:, 2])·moved. The sums of weights are
    constants, so that the way back makes the group's column in the same product as the others.
    """
    if not isinstance(instruction, Linear) or len(instruction.x) != 1:
        return None
    columns = [np.flatnonzero(np.isin(instruction.x[0], group)) for group in together]
    read = np.array([c.size > 0 for c in columns], bool)
    if not read.any():
        return None
    sums = p.sums(instruction.W, [c for c in columns if c.size])
    return replace(
        instruction,
        W=np.hstack([instruction.W, sums]),
        x=np.hstack([instruction.x, moved[None, read]]),
    )


def jvp(p: Program, y: Elements, wrt: Elements, tangents: Elements) -> Elements:
    """(T, n): derivative of y (n,) along the tangents (T, m) of the elements wrt (m,)."""
    known = _Tangents(p, tangents, wrt)
    # The program may have other functions too, another derivative of y among them.
    for instruction in needed_for(p, y):
        if not any(known.moves(e) for e in instruction.reads):
            continue
        with p.layer(f"t_{instruction.label}", _forwards(instruction)):
            moved = ahead(instruction, p, known.of)
        known.add(instruction.result, moved.reshape(len(tangents), -1))
    return known.of(y)


class _Tangents:
    """Tangents (T, size) of the arrays that move; those of all others, weights among them, are
    ZERO and take no memory. `wrt` are elements of any arrays, with the tangents (T, m)."""

    def __init__(self, p: Program, tangents: Elements, wrt: Elements):
        self._firsts = np.array([a.first for a in p.arrays])
        self._numbers = {a: number for number, a in enumerate(p.arrays)}
        self._moving = np.zeros(p.size, bool)
        self._of: dict[int, Elements] = {}
        self._count = len(tangents)
        owners = self._owners(wrt)
        for owner in np.unique(owners).tolist():
            mine, array = owners == owner, p.arrays[owner]
            whole = np.zeros((len(tangents), array.size), np.int64)
            whole[:, wrt[mine] - array.first] = tangents[:, mine]
            self.add(array, whole)

    def _owners(self, elements: Elements) -> np.ndarray:
        return np.searchsorted(self._firsts, elements, side="right") - 1

    def add(self, array: Array, tangents: Elements) -> None:
        self._of[self._numbers[array]] = tangents
        self._moving[array.elements] = np.any(tangents != ZERO, axis=0)

    def moves(self, elements: Elements) -> bool:
        return bool(self._moving[elements].any())

    def of(self, elements: Elements) -> Elements:
        """(T, …)"""
        flat = elements.ravel()
        found = np.zeros((self._count, flat.size), np.int64)
        at = np.flatnonzero(self._moving[flat])
        owners = self._owners(flat[at])
        for owner in np.unique(owners).tolist():
            mine = at[owners == owner]
            found[:, mine] = self._of[owner][:, flat[mine] - self._firsts[owner]]
        return found.reshape(self._count, *elements.shape)


def needed_for(p: Program, y: Elements) -> list[Instruction]:
    """The instructions that elements y depend on, in order."""
    needed = np.zeros(p.size, bool)
    needed[y] = True
    found = []
    for instruction in reversed(p.instructions):
        first, size = instruction.result.first, instruction.result.size
        if needed[first : first + size].any():
            found.append(instruction)
            for elements in instruction.reads:
                needed[elements] = True
    return found[::-1]


def dependent(p: Program, wrt: Elements) -> np.ndarray:
    """For each element whether it depends on those of wrt."""
    active = np.zeros(p.size, bool)
    active[wrt] = True
    for instruction in p.instructions:
        first, size = instruction.result.first, instruction.result.size
        active[first : first + size] = any(active[e].any() for e in instruction.reads)
    return active


def _without_repeats(positions: np.ndarray) -> list[np.ndarray]:
    """Indices of `positions`, in groups within which no position comes twice: of positions 7 8 7 7
    the groups are 0 1, then 2, then 3."""
    rank = np.zeros(len(positions), np.int64)
    order = np.argsort(positions, kind="stable")
    same = np.diff(positions[order], prepend=-1) == 0
    starts = np.maximum.accumulate(np.where(same, 0, np.arange(len(order))))
    rank[order] = np.arange(len(order)) - starts
    return [np.flatnonzero(rank == k) for k in range(int(rank.max(initial=-1)) + 1)]


def _backwards(instruction: Instruction) -> str:
    return f"backwards through {instruction.formula}"


def _forwards(instruction: Instruction) -> str:
    return f"along tangents through {instruction.formula}"


# -------------------------------------------------------------------- the primitives' rules


@singledispatch
def back(
    instruction: Instruction,
    p: Program,
    adjoint: Elements,
    arrive: Callable[[Elements, Elements], None],
) -> None:
    """From the result's `adjoint` (J, size) make those of the operands, and hand each of them on:
    arrive(elements (…), adjoints (J, …))."""
    raise TypeError(f"no derivative rule for {instruction.kind}")


@singledispatch
def ahead(
    instruction: Instruction, p: Program, tangent: Callable[[Elements], Elements]
) -> Elements:
    """The result's tangents (T, size); `tangent(elements)` (T, …) gives the operands' tangents."""
    raise TypeError(f"no derivative rule for {instruction.kind}")


@back.register
def _(linear: Linear, p: Program, adjoint: Elements, arrive: Callable) -> None:
    count, (rows, outputs) = len(adjoint), linear.start.shape
    arrive(linear.start, adjoint)
    x = p.linear(linear.W.T, adjoint.reshape(count * rows, outputs))
    arrive(linear.x, x.reshape(count, -1))


@ahead.register
def _(linear: Linear, p: Program, tangent: Callable) -> Elements:
    x, start = tangent(linear.x), tangent(linear.start)
    count = len(x)
    moved = p.linear(
        linear.W,
        x.reshape(count * len(linear.x), -1),
        start.reshape(count * len(linear.x), -1),
    )
    return moved.reshape(count, -1)


@back.register
def _(mapped: Map, p: Program, adjoint: Elements, arrive: Callable) -> None:
    operands = [o.ravel() for o in mapped.operands]
    result, g = len(operands), len(operands) + 1
    for k, operand in enumerate(operands):
        slope = mapped.expression.derivative(k, var(result))
        values = p.map(var(g) * slope, *operands, mapped.result.elements, adjoint)
        arrive(operand, values)


@ahead.register
def _(mapped: Map, p: Program, tangent: Callable) -> Elements:
    operands = [o.ravel() for o in mapped.operands]
    result = len(operands)
    tangents = [tangent(o) for o in operands]
    moved = sum(
        (
            mapped.expression.derivative(k, var(result)) * var(result + 1 + k)
            for k in range(len(operands))
        ),
        start=var(0) * 0.0,
    )
    return p.map(moved, *operands, mapped.result.elements, *tangents)
