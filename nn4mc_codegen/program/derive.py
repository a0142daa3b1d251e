"""Derivatives of programs, as more instructions of the same program.

Each primitive has two rules, in terms of primitives: how adjoints go back (`back`), how tangents go
ahead (`ahead`). A Jacobian is either of them with the identity, a second-order product is the
second of the first. Known zeros and ones vanish in `Program.linear` and `Program.map`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import singledispatch

import numpy as np

from nn4mc_codegen.program.expression import var
from nn4mc_codegen.program.instructions import ONE, ZERO, Elements, Instruction, Linear, Map
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
    """(J, m + k): seeds (J, n) times the derivative of y (n,) with respect to the elements wrt (m,)
    and along each of the k groups `together`, whose elements move as one."""
    # Each group has an element of its own, which stands for how far the group has moved.
    moved = p.array("moved", len(together)).elements if together else wrt[:0]
    active = dependent(p, np.concatenate([wrt, *together, moved]))
    # For each array pairs of its elements (k,) and what arrives there (J, k).
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
        """(J, size): what arrived at each element, added up."""
        turn = np.zeros(size, np.int64)
        layers: list[Elements] = []
        for positions, adjoints in arrived.pop(owner, []):
            for k in _rounds(positions):
                rank = turn[positions[k]]
                for depth in np.unique(rank).tolist():
                    if depth == len(layers):
                        layers.append(np.zeros((len(seeds), size), np.int64))
                    at = k[rank == depth]
                    layers[depth][:, positions[at]] = adjoints[:, at]
                turn[positions[k]] += 1
        if not layers:
            return np.zeros((len(seeds), size), np.int64)
        return p.map(sum((var(k) for k in range(1, len(layers))), start=var(0)), *layers)

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
    """A Linear of elements in groups as one that reads `moved` as well, with summed weights; None
    where nothing is gained."""
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
    known = np.zeros((len(tangents), p.size), np.int64)
    known[:, wrt] = tangents
    for instruction in list(p.instructions):
        if all(np.all(known[:, e] == ZERO) for e in instruction.reads):
            continue
        with p.layer(f"t_{instruction.label}", _forwards(instruction)):
            moved = ahead(instruction, p, lambda e: known[:, e])
        known[:, instruction.result.elements] = moved.reshape(len(tangents), -1)
    return known[:, y]


def dependent(p: Program, wrt: Elements) -> np.ndarray:
    """For each element whether it depends on those of wrt."""
    active = np.zeros(p.size, bool)
    active[wrt] = True
    for instruction in p.instructions:
        first, size = instruction.result.first, instruction.result.size
        active[first : first + size] = any(active[e].any() for e in instruction.reads)
    return active


def _rounds(positions: np.ndarray) -> list[np.ndarray]:
    """Indices of `positions` in groups that hold no position twice."""
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
    """From the result's `adjoint` (J, size), send each operand its own: arrive(elements (…),
    adjoints (J, …))."""
    raise TypeError(f"no derivative rule for {instruction.kind}")


@singledispatch
def ahead(
    instruction: Instruction, p: Program, tangent: Callable[[Elements], Elements]
) -> Elements:
    """The result's tangents (T, size); `tangent(elements)` (T, …) gives those of operands."""
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
