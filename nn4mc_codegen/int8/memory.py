"""Where the arrays of an int8 network lie, and how elements get from one to the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from nn4mc_codegen.int8.operators import Add, Lut, Multiply, Rewire
from nn4mc_codegen.int8.quantize import QOp, QTensor, QuantGraph

# These read element i of their operands before they write element i: the result may lie where an
# operand lies.
IN_PLACE = (Lut, Add, Multiply)


def rounded_up(size: int, step: int) -> int:
    """The next multiple of a step."""
    return -(-size // step) * step


@dataclass(frozen=True)
class Place:
    """Where a tensor lies: in `array` (x, y or the buffer) from element `start` on."""

    array: str
    start: int

    def __str__(self) -> str:
        return f"{self.array} + {self.start}" if self.start else self.array


def places_of(graph: QuantGraph, surplus: Callable[[QOp], int]) -> tuple[dict[QTensor, Place], int]:
    """Where each tensor lies, and the size of the buffer h that those inside the network share.

    A tensor lives from the node that makes it to the last one that reads it, and takes the first
    gap between those that live meanwhile. What only has another shape than its operand lies where
    that lies; the network's result lies in y. `surplus` says how many elements beyond its result an
    operator's kernel writes.
    """
    places: dict[QTensor, Place] = {}
    offset = 0
    for tensor in graph.inputs:
        places[tensor] = Place("x", offset)
        offset += tensor.size
    owner = {t: t for t in graph.inputs}  # of each tensor the one where it lies
    last: dict[QTensor, int] = {}  # of each owner the number of the node that reads it last
    for number, node in enumerate(graph.nodes):
        in_order = isinstance(node.op, Rewire) and np.array_equal(
            node.op.source, np.arange(node.output.size)
        )
        reshapes = in_order and len(node.inputs) == 1
        owner[node.output] = owner[node.inputs[0]] if reshapes else node.output
        last[owner[node.output]] = number  # a later node that reads it puts this off
        for tensor in node.inputs:
            last[owner[tensor]] = number
    last[owner[graph.output]] = len(graph.nodes)
    live: dict[QTensor, tuple[int, int]] = {}  # bytes of the buffer that are taken
    most = 0
    for number, node in enumerate(graph.nodes):
        if owner[node.output] is not node.output:
            places[node.output] = places[owner[node.output]]
            continue
        size = node.output.size + surplus(node.op)
        if owner[graph.output] is node.output and size == node.output.size:
            places[node.output] = Place("y", 0)
            continue
        free = {t for t in live if last[t] < number}
        if isinstance(node.op, IN_PLACE):
            free |= {t for t in live if last[t] == number and t.size == size and t in node.inputs}
        live = {t: place for t, place in live.items() if t not in free}
        start = _first_gap(sorted(live.values()), size)
        live[node.output] = (start, start + rounded_up(size, 4))
        places[node.output] = Place("h", start)
        most = max(most, start + rounded_up(size, 4))
    return places, most


def _first_gap(taken: Sequence[tuple[int, int]], size: int) -> int:
    start = 0
    for begin, end in taken:
        if start + size <= begin:
            break
        start = max(start, end)
    return start


@dataclass(frozen=True)
class Copy:
    """`count` times `length` elements of an operand, each time `source_step` further in it and
    `target_step` further in the result."""

    operand: int
    source: int
    target: int
    length: int
    count: int = 1
    source_step: int = 0
    target_step: int = 0

    def lines(self, operand: Place, result: Place) -> Iterator[str]:
        """Of C, from where the operand lies to where the result does."""
        source = Place(operand.array, operand.start + self.source)
        target = Place(result.array, result.start + self.target)
        if self.count == 1:
            yield f"memcpy({target}, {source}, {self.length});"
            return
        yield f"for (int i = 0; i < {self.count}; i++) {{"
        steps = f"{target} + i * {self.target_step}, {source} + i * {self.source_step}"
        yield f"    memcpy({steps}, {self.length});"
        yield "}"


def copies_of(source: np.ndarray, ends: np.ndarray) -> list[Copy]:
    """The copies that put element source[i] of the operands, counted one after the other, to
    position i of the result; `ends` says where operands end, and -1 in `source` that nothing is
    copied. Runs of one length at equal distances are one copy."""
    owner = np.where(source < 0, -1, np.searchsorted(ends, source, side="right"))
    cuts = np.flatnonzero((np.diff(source) != 1) | (np.diff(owner) != 0)) + 1
    starts, stops = [0, *cuts.tolist()], [*cuts.tolist(), len(source)]
    found: list[Copy] = []
    for begin, end in zip(starts, stops, strict=True):
        operand = int(owner[begin])
        if operand < 0:
            continue
        first = int(source[begin]) - (int(ends[operand - 1]) if operand else 0)
        run = Copy(operand, first, begin, end - begin)
        for i, other in enumerate(found):
            joined = _joined(other, run)
            if joined is not None:
                found[i] = joined
                break
        else:
            found.append(run)
    return found


def _joined(copy: Copy, run: Copy) -> Copy | None:
    """A copy with one more run, if that continues it at the same distance."""
    if (copy.operand, copy.length) != (run.operand, run.length):
        return None
    steps = run.source - copy.source, run.target - copy.target
    if copy.count > 1:
        if steps != (copy.count * copy.source_step, copy.count * copy.target_step):
            return None
        steps = copy.source_step, copy.target_step
    place = copy.operand, copy.source, copy.target, copy.length
    return Copy(*place, copy.count + 1, *steps)
