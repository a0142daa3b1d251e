"""Where a function's arrays lie: in what the caller gave, or in memory that arrays share in turn.

A step through layers of 10, 20, 6 and 1 units has three arrays of its own, h1, h2 and h3. Two of
them live at one time, so that 30 floats hold all three:

    floats       0 to 19   20 to 29
    1st kernel             h1          h1 is made from x, which is the caller's
    2nd kernel   h2        h1          h2 is made from h1
    3rd kernel   h2        h3          h3 takes the place of h1
    4th kernel             h3          y, which is the caller's, is made from h3
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nn4mc_codegen.printing.access import Locator
from nn4mc_codegen.printing.fusion import Kernel
from nn4mc_codegen.program.expression import var
from nn4mc_codegen.program.instructions import Array, Elements, Map
from nn4mc_codegen.program.program import Program

# ---------------------------------------------------------------------------- the caller's arrays


def lay_result(
    p: Program,
    kernels: list[Kernel],
    name: str,
    results: Mapping[str, Elements],
    laid: dict[Array, tuple[str, int]],
) -> None:
    """Let kernels write the result `name` where the caller wants it, and add to `laid` the arrays
    that lie there, each with the result's name and the array's offset in it.

    What is not made there directly is copied in the end, by a kernel that is appended. Three kinds
    of arrays need no copy:
    - one that is a part of the result, element after element;
    - the one that agrees with more than half of the result: the other elements are overwritten in
      the end. A Jacobian with columns of its inputs in between is such an array;
    - the result of a lone formula that is written to nothing but the result's missing elements.
    """
    wanted = results[name].ravel()
    position = {int(e): k for k, e in reversed(list(enumerate(wanted)))}
    missing = np.ones(len(wanted), bool)
    whole: Array | None = None
    for time, kernel in enumerate(kernels):
        for array in (i.result for i in kernel.stored):
            at = position.get(array.first, -1)
            part = slice(at, at + array.size)
            fits = at >= 0 and np.array_equal(wanted[part], array.elements)
            if not fits and array.size == len(wanted) and missing.all():
                fits = 2 * np.count_nonzero(array.elements == wanted) > array.size
                part, whole = slice(0, array.size), array if fits else whole
            if fits and array not in laid and _may_write(p, kernels, time, name, part.start, array):
                laid[array] = name, part.start
                missing[part] = array.elements != wanted[part]
    if not missing.any():
        return
    if whole is None:
        whole = p.array(name, len(wanted))
        laid[whole] = name, 0
    todo = np.flatnonzero(missing)
    others = [elements for other, elements in results.items() if other != name]
    for kernel in kernels:
        made = kernel.instructions[-1].result
        if made not in laid and not any(np.isin(made.elements, e).any() for e in others):
            todo = _write_through(p, kernels, kernel, name, whole, wanted, todo)
    if len(todo):
        copy = Map(whole, "result", f"{name}: copied", var(0), (wanted[todo].reshape(1, -1),))
        kernels.append(Kernel(None, [copy], [], whole.elements[todo].reshape(1, -1)))


def _may_write(
    p: Program, kernels: list[Kernel], time: int, name: str, offset: int, array: Array
) -> bool:
    """Whether kernel number `time` may write its result to this offset of the caller's array.

    The state is both read and written, in the same array. Its old elements may be overwritten once
    no later kernel reads them, and by a kernel that reads them itself only if that is a formula
    that reads element i before it writes element i.
    """
    if name not in p.inputs:
        return True
    old = p.inputs[name].elements[offset : offset + array.size]
    if any(np.isin(e, old).any() for k in kernels[time + 1 :] for e in k.reads):
        return False
    writer = kernels[time]
    aligned = writer.head is None and all(
        np.array_equal(e.ravel(), old) or not np.isin(e, old).any() for e in writer.reads
    )
    return aligned or not any(np.isin(e, old).any() for e in writer.reads)


def _write_through(
    p: Program,
    kernels: list[Kernel],
    kernel: Kernel,
    name: str,
    whole: Array,
    wanted: Elements,
    todo: np.ndarray,
) -> np.ndarray:
    """Let a lone formula that is made for nothing but the result write there at once, if no other
    kernel reads what that overwrites. Returns which positions of the result are still missing."""
    if kernel.head is not None or len(kernel.maps) != 1 or kernel.target is not None:
        return todo
    (mapped,) = kernel.maps
    at = todo[np.isin(wanted[todo], mapped.result.elements)]
    if not np.array_equal(wanted[at], mapped.result.elements):
        return todo
    overwritten = np.concatenate([mapped.result.elements, whole.elements[at]])
    aligned = all(
        np.array_equal(o.ravel(), whole.elements[at]) or not np.isin(o, whole.elements).any()
        for o in mapped.operands
    )
    others = [k for k in kernels if k is not kernel]
    if not aligned or any(np.isin(e, overwritten).any() for k in others for e in k.reads):
        return todo
    if name in p.inputs:  # the state: its old elements must not be read from here on
        old = p.inputs[name].elements[at]
        later = kernels[kernels.index(kernel) + 1 :]
        own = [e for e in kernel.reads if not np.array_equal(e.ravel(), old)]
        if any(np.isin(e, old).any() for e in [*own, *(e for k in later for e in k.reads)]):
            return todo
    kernel.target = whole.elements[at].reshape(mapped.shape)
    kernel.stored = []
    return np.setdiff1d(todo, at)


# ---------------------------------------------------------------------------- the function's own


@dataclass(eq=False)
class _Block:
    """Memory that arrays of one size have one after the other, from kernel `begin` to `end`."""

    arrays: list[Array]
    begin: int
    end: int
    offset: int = 0

    @property
    def size(self) -> int:
        return self.arrays[0].size


def allocate(
    p: Program, kernels: Sequence[Kernel], outside: Sequence[Array]
) -> tuple[dict[Array, int], int]:
    """Offsets of the stored results that are not `outside`, and the floats that they take.

    An array lives from the kernel that makes it to the last one that reads it. Arrays that live at
    different times share memory: the largest are placed first, each as low as it fits.
    """
    locator = Locator(p.arrays)
    last_use: dict[int, int] = {}
    for time, kernel in enumerate(kernels):
        for elements in kernel.reads:
            last_use.update(dict.fromkeys(np.unique(locator.owners(elements)).tolist(), time))
    numbers = {a: number for number, a in enumerate(p.arrays)}
    blocks: list[_Block] = []
    for time, kernel in enumerate(kernels):
        for array in (i.result for i in kernel.stored):
            if array in outside:
                continue
            block = next(
                (b for b in blocks if b.end == time and _overwrites(kernel, b, array)), None
            )
            if block is None:
                block = _Block([], time, time)
                blocks.append(block)
            block.arrays.append(array)
            block.end = last_use.get(numbers[array], time)
    placed: list[_Block] = []
    for block in sorted(blocks, key=lambda b: (-b.size, b.begin)):
        for other in sorted(placed, key=lambda b: b.offset):
            together = other.begin <= block.end and block.begin <= other.end
            if together and block.offset + block.size > other.offset:
                block.offset = max(block.offset, other.offset + other.size)
        placed.append(block)
    offsets = {array: block.offset for block in blocks for array in block.arrays}
    return offsets, max((b.offset + b.size for b in blocks), default=0)


def _overwrites(kernel: Kernel, block: _Block, array: Array) -> bool:
    """Whether a lone formula may write its result over the block's last array, which it is the last
    to read: it may if it reads that array only element by element."""
    old = block.arrays[-1]
    if kernel.head is not None or len(kernel.maps) != 1 or old.size != array.size:
        return False
    return all(
        np.array_equal(e.ravel(), old.elements) or not np.isin(e, old.elements).any()
        for e in kernel.reads
    )
