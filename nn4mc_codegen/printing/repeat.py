"""Kernels whose rows fall into groups that do the same, a fixed distance further on.

The windows of an image are such rows: even steps along a line of the image, then a jump to the next
line. Windows of 3 × 3 pixels on an image of 5 × 6 pixels begin at the pixels

    0 1 2 3    6 7 8 9    12 13 14 15

which are 3 groups of 4 rows: the kernel is printed for the first 4, and is called in a loop of 3
turns with pointers that move on by 6 pixels of the image and by 4 rows of the result.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from nn4mc_codegen.printing.access import Locator
from nn4mc_codegen.printing.fusion import Kernel
from nn4mc_codegen.program.instructions import Elements, Linear, Map


@dataclass(frozen=True, eq=False)
class Repetition:
    """A kernel as one of its groups of rows, and the loops that call it for all groups."""

    kernel: Kernel
    """of the first group"""
    turns: tuple[int, ...]
    """of one loop or of two, the outer one first"""
    steps: dict[int, tuple[int, ...]]
    """by the first element of each array: how far each loop's turn moves the pointer to it on"""


def repetition(kernel: Kernel, locator: Locator) -> Repetition | None:
    """A kernel as groups of rows; None if one loop over all rows is enough, since they have even
    steps, or if nothing repeats."""
    if (
        kernel.feed
        or kernel.before
        or (kernel.head is not None and not isinstance(kernel.head, Linear))
    ):
        return None
    rows, columns = kernel.instructions[0].shape
    if rows < 4:  # the least are two groups of two
        return None
    read = _outside(kernel, (rows, columns))
    moving = read if kernel.target is None else [*read, kernel.target.reshape(rows, columns)]
    # A row here is all that one row of the kernel reads and overwrites; the zeros are for a kernel
    # that reads nothing but its own results.
    elements = np.concatenate([np.zeros((rows, 1), np.int64), *moving], axis=1)
    uneven = np.any(np.diff(elements, axis=0) != elements[1:2] - elements[:1], axis=1)
    size = int(np.argmax(uneven)) + 1  # rows of a group
    if not uneven.any() or size == 1 or rows % size:
        return None

    groups = elements.reshape(rows // size, -1)
    owners = locator.owners(groups)
    shifts: dict[int, np.ndarray] = {}
    for owner in np.unique(owners[0]).tolist():
        shift = groups[:, owners[0] == owner] - groups[0, owners[0] == owner]
        fixed = locator.array(owner).data is not None
        if np.any(shift != shift[:, :1]) or (fixed and np.any(shift)):
            return None
        shifts[locator.array(owner).first] = shift[:, 0]
    if np.any(owners != owners[0]):
        return None
    if kernel.target is None:
        made = np.arange(len(groups)) * size * columns
        shifts.update({i.result.first: made for i in kernel.stored})
    turns = _turns(np.stack(list(shifts.values()), axis=1))
    if turns is None:
        return None
    ends = [turns[1], 1] if len(turns) == 2 else [1]
    steps = {first: tuple(int(s[end]) for end in ends) for first, s in shifts.items()}
    return Repetition(_first(kernel, size, (rows, columns)), turns, steps)


def _turns(shifts: np.ndarray) -> tuple[int, ...] | None:
    """Turns of one loop or of two that move the arrays on by the shifts (groups, arrays); None if
    there are no such loops."""
    groups = np.arange(len(shifts))
    inner = np.any(np.diff(shifts, axis=0) != shifts[1:2], axis=1)
    length = int(np.argmax(inner)) + 1 if inner.any() else len(shifts)
    if length == len(shifts):
        return (length,)
    outer = shifts[length]
    expected = np.outer(groups // length, outer) + np.outer(groups % length, shifts[1])
    if length == 1 or len(shifts) % length or np.any(shifts != expected):
        return None
    return len(shifts) // length, length


def _outside(kernel: Kernel, shape: tuple[int, int]) -> list[Elements]:
    """What the kernel reads row by row, (rows, …) each: its operands but for its own results."""
    own = [(i.result.first, i.result.first + i.result.size) for i in kernel.instructions]
    found = [kernel.head.x, kernel.head.start] if kernel.head is not None else []
    for mapped in kernel.maps:
        found += [
            o.reshape(shape)
            for o in mapped.operands
            if not any(begin <= o.flat[0] < end for begin, end in own)
        ]
    return found


def _first(kernel: Kernel, size: int, shape: tuple[int, int]) -> Kernel:
    """The kernel of the first `size` rows."""

    def part(instruction: Linear | Map) -> Linear | Map:
        if isinstance(instruction, Linear):
            return replace(instruction, x=instruction.x[:size], start=instruction.start[:size])
        operands = tuple(o.reshape(shape)[:size] for o in instruction.operands)
        return replace(instruction, operands=operands)

    head = part(kernel.head) if kernel.head is not None else None
    maps = [part(m) for m in kernel.maps]
    parts = dict(zip(kernel.instructions, [*([head] if head else []), *maps], strict=True))
    target = kernel.target.reshape(shape)[:size] if kernel.target is not None else None
    return Kernel(head, maps, [parts[i] for i in kernel.stored], target)
