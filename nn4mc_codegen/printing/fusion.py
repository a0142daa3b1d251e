"""Fusion: instructions that are computed together become one kernel, which is one loop nest in C.

y = relu(W·x + b)   is  Linear, Map      -> one kernel: each sum goes through relu and is stored
y = tanh(W·x + b)   is  Linear, Map      -> two kernels: tanh is long, and all layers share the
                                            one function that applies it to an array
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from nn4mc_codegen.printing.access import Locator
from nn4mc_codegen.printing.registers import DOT_OUTPUTS, HELD_OPERANDS
from nn4mc_codegen.program.expression import Expression, Function, var
from nn4mc_codegen.program.functions import LONG
from nn4mc_codegen.program.instructions import Elements, Instruction, Linear, Map
from nn4mc_codegen.program.program import Program


@dataclass(eq=False)
class Kernel:
    """Instructions that one C function computes, in this order:

    before  Map       a short formula whose results stay in registers; only `feed`, or without one
                      `head`, reads them
    feed    Linear    makes the operands of a gated `head`, and of these only the columns whose gate
                      is open; `head` alone reads them
    head    any kind  the primitive, or None
    maps    Map …     elementwise formulas of the head's result, or of each other's

    Every part but one of `head` and `maps` may be missing.
    """

    head: Instruction | None
    maps: list[Map]
    stored: list[Instruction] = field(default_factory=list)
    """those of `head` and `maps` whose results are written to memory, for others to read"""
    target: Elements | None = None
    """elements of another array that the one formula of `maps` overwrites, in place of filling an
    array of its own"""
    feed: Linear | None = None
    before: Map | None = None
    ranged: bool = False
    """whether the caller may want only a range of the columns of its result"""

    @property
    def instructions(self) -> list[Instruction]:
        """Those whose results may be stored."""
        return [*([self.head] if self.head else []), *self.maps]

    @property
    def all_instructions(self) -> list[Instruction]:
        return [*(i for i in (self.before, self.feed) if i is not None), *self.instructions]

    @property
    def reads(self) -> list[Elements]:
        """What its instructions read, but for each other's results."""
        everything = self.all_instructions
        inside = [(i.result.first, i.result.first + i.result.size) for i in everything]
        return [
            e
            for i in everything
            for e in i.reads
            if e.size and not any(a <= e.flat[0] < b for a, b in inside)
        ]


def is_long(mapped: Map) -> bool:
    """Whether a formula calls a function that is too long to be repeated in every kernel."""
    return any(f.cost >= LONG for f in mapped.expression.functions)


def fuse(p: Program, results: Sequence[Elements], locator: Locator, mode: str) -> list[Kernel]:
    """The kernels of a program, in order.

    A formula joins the kernel directly before it where it reads that kernel's result element by
    element. A small `Linear` becomes the feed of the gated one that follows, a short formula the
    `before` of a product that can hold its results in registers.
    """
    kernels: list[Kernel] = []
    heads = {i.result.first for i in p.instructions if not isinstance(i, Map)}
    maps = [i for i in p.instructions if isinstance(i, Map)]
    shared = {_called(m) for m in maps if int(m.operands[0].flat[0]) in heads} - {None}
    for instruction in p.instructions:
        last = kernels[-1] if kernels else None
        if isinstance(instruction, Map):
            if last and _joins(last, instruction, locator, mode, shared):
                last.maps.append(instruction)
            else:
                kernels.append(Kernel(None, [instruction]))
        elif last and _feeds(p, last, instruction, results, locator):
            kernels[-1] = Kernel(instruction, [], feed=last.head, before=last.before)
            earlier = kernels[-2] if len(kernels) > 1 and last.before is None else None
            if earlier and (before := _before(p, earlier, last.head, results, locator)):
                kernels[-2:] = [replace(kernels[-1], before=before)]
        elif last and (before := _before_dots(p, last, instruction, results, locator, mode)):
            kernels[-1] = Kernel(instruction, [], before=before)
        else:
            kernels.append(Kernel(instruction, []))
    read = np.zeros(p.size, bool)
    for elements in (*results, *(e for k in kernels for e in k.reads)):
        read[elements] = True
    for kernel in kernels:
        kernel.stored = [i for i in kernel.instructions if read[i.result.elements].any()]
    return kernels


def sums_by_output(linear: Linear, locator: Locator) -> bool:
    """Whether a product had better keep its operands in registers and sum one output after the
    other, than keep the sums of a block of outputs.

    That is so where the weights of an output stand side by side, as W transposed does on the way
    back. One row with too many operands for the registers is taken in ranges of operands; more rows
    are not.
    """
    x, start = (locator.single([e]) for e in (linear.x, linear.start))
    rows, outputs = linear.shape
    if linear.gate.size or outputs < DOT_OUTPUTS or None in (x, start):
        return False
    if rows > 1 and linear.x.size > HELD_OPERANDS:
        return False
    for begin, end in locator.spans(linear.W):
        W = locator.single([linear.W[:, begin:end]])
        if W is None or W[0].step != 1 or W[0].row_step < linear.W.shape[1]:
            return False
    return True


def _called(mapped: Map) -> Function | None:
    """The function whose call is the whole formula, if it is one."""
    return mapped.expression.value if mapped.expression.op == "call" else None


def _joins(
    kernel: Kernel, mapped: Map, locator: Locator, mode: str, shared: Collection[Function]
) -> bool:
    """Whether a formula is computed with the kernel before it. `shared` are the functions that
    follow a head somewhere, so that the program has their loop over an array anyway.
    """
    if mode != "speed" and (is_long(mapped) or any(is_long(m) for m in kernel.maps)):
        return False
    if mode == "size" and (kernel.head is not None or _called(mapped) in shared):
        return False  # both are calls of a function that the layers share
    if kernel.head is not None and kernel.head.kind != "linear":
        return False
    shape = kernel.instructions[0].shape
    if mapped.operands[0].size != np.prod(shape):
        return False
    # Each operand is one whole result of the kernel, in order, or nothing of the kernel's at all.
    inside = [i.result for i in kernel.instructions]
    outside, aligned = [], 0
    for operand in mapped.operands:
        flat = operand.ravel()
        owner = next((a for a in inside if a.first <= flat.min() < a.first + a.size), None)
        if not any(np.any((flat >= a.first) & (flat < a.first + a.size)) for a in inside):
            outside.append(flat.reshape(shape))
        elif owner and np.array_equal(flat, owner.elements):
            aligned += 1
        else:
            return False
    if kernel.head is not None:
        return aligned > 0 and (not outside or locator.single(outside) is not None)
    return mapped.shape == kernel.maps[0].shape


def _feeds(
    p: Program, kernel: Kernel, linear: Instruction, results: Sequence[Elements], locator: Locator
) -> bool:
    """Whether the kernel is a small product that only the gated product `linear` reads."""
    feed = kernel.head
    if not isinstance(linear, Linear) or not linear.gate.size:
        return False
    if not isinstance(feed, Linear) or kernel.maps or kernel.feed:
        return False
    if feed.x.size > HELD_OPERANDS or feed.start.any():
        return False
    if any(locator.single([e]) is None for e in (feed.W, feed.x)):
        return False
    W = locator.single([linear.W])
    if W is None or W[0].step == 0:
        return False
    return _reads_whole(linear, feed) and p.is_read_only_by(feed, linear, results)


def _before_dots(
    p: Program,
    kernel: Kernel,
    linear: Instruction,
    results: Sequence[Elements],
    locator: Locator,
    mode: str,
) -> Map | None:
    """The kernel as the `before` of a product that sums output by output, if it can be that."""
    if mode == "size" or not isinstance(linear, Linear) or linear.x.size > HELD_OPERANDS:
        return None
    if not sums_by_output(linear, locator):
        return None
    return _before(p, kernel, linear, results, locator)


def _before(
    p: Program, kernel: Kernel, reader: Linear, results: Sequence[Elements], locator: Locator
) -> Map | None:
    """The kernel as one formula, if it consists of short formulas and makes all that the reader
    multiplies, for the reader alone."""
    if kernel.head is not None or any(is_long(m) for m in kernel.maps):
        return None
    last = kernel.maps[-1]
    read = [e for i in p.instructions if i not in kernel.maps for e in i.reads]
    for mapped in kernel.maps[:-1]:
        if any(np.isin(mapped.result.elements, e).any() for e in (*results, *read)):
            return None
    if not _reads_whole(reader, last) or not p.is_read_only_by(last, reader, results):
        return None
    # Each formula is put in the place of its result in the formulas that follow.
    known: dict[int, Expression] = {}
    operands: list[Elements] = []
    for mapped in kernel.maps:
        parts = []
        for operand in mapped.operands:
            if int(operand.flat[0]) not in known:
                operands.append(operand.reshape(reader.x.shape))
            parts.append(known.get(int(operand.flat[0]), var(len(operands) - 1)))
        known[mapped.result.first] = mapped.expression.substitute(parts)
    if not operands or locator.single(operands) is None:
        return None
    formula = "; ".join(dict.fromkeys(m.formula for m in kernel.maps))
    expression = known[last.result.first]
    return replace(last, formula=formula, expression=expression, operands=tuple(operands))


def _reads_whole(reader: Linear, made: Instruction) -> bool:
    """Whether what a product multiplies is another instruction's result, all of it in order."""
    return np.array_equal(reader.x.ravel(), made.result.elements)
