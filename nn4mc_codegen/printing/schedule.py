"""From a program to one C function: only what its results need, joined into kernels, with places.

A kernel is what becomes one loop nest: a primitive and the short elementwise formulas that follow
it, or several such formulas on their own. Results that live only inside one call share memory where
their lives do not overlap.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np

from nn4mc_codegen.program.expression import Expression, const, var
from nn4mc_codegen.program.functions import LONG
from nn4mc_codegen.program.program import ZERO, Array, Elements, Instruction, Linear, Map, Program


def prune(p: Program, results: Mapping[str, Elements]) -> tuple[Program, dict[str, Elements]]:
    """A program of only what `results` need, element by element, and the results' numbers in it."""
    needed = np.zeros(p.size, bool)
    for elements in results.values():
        needed[elements] = True
    kept: list[tuple[Instruction, np.ndarray, dict]] = []
    for instruction in reversed(p.instructions):
        wanted = needed[instruction.result.elements]
        if wanted.any():
            computed, parts = instruction.restricted(wanted.reshape(instruction.shape))
            part = replace(instruction, **parts)
            for elements in part.reads:
                needed[elements] = True
            kept.append((part, instruction.result.elements[computed.ravel()], parts))

    q = Program(pairs=p.pairs)
    place = np.full(p.size, -1)
    place[:2] = 0, 1
    results_of = {id(i.result) for i in p.instructions}
    named = {id(array): name for name, array in p.inputs.items()}
    for array in p.arrays[1:]:
        if id(array) in results_of or not (needed[array.elements].any() or id(array) in named):
            continue
        copy = q.array(array.name, array.size, array.data)
        copy.paired = array.paired
        place[array.elements] = copy.elements
        if id(array) in named:
            q.inputs[named[id(array)]] = copy
    for part, old, _ in reversed(kept):
        new = part.renumbered(place, q.array(part.result.name, old.size))
        place[old] = new.result.elements
        q.instructions.append(new)
    return q, {name: place[elements] for name, elements in results.items()}


# Multiply-accumulates that an operand must take part in before it pays to test whether it is zero.
GATED = 16


def gated(p: Program) -> None:
    """Note in each Linear which relu switches its operands off, if skipping those pays.

    What comes from a relu that is zero is zero, and so is what goes back through it.
    """
    gate = np.full(p.size, ZERO)
    places = Places(p.arrays)
    for instruction in p.instructions:
        if isinstance(instruction, Map):
            switch = _switch(instruction.expression)
            if switch is not None:
                gate[instruction.result.elements] = instruction.operands[switch].ravel()
            elif (
                instruction.expression.op == "call" and instruction.expression.value.name == "relu"
            ):
                gate[instruction.result.elements] = instruction.result.elements
        elif isinstance(instruction, Linear):
            gates = gate[instruction.x]
            if (
                instruction.start.size >= GATED
                and np.all(gates == gates[:1])
                and np.all(gates != ZERO)
                and np.all(np.diff(gates[0]) == 1)
                and places.single([gates[:1]])
                and len(places.spans(instruction.W, instruction.x)) == 1
            ):
                instruction.gate = gates[0]


def unmasked(p: Program, results: Sequence[Elements]) -> None:
    """Where only a gated Linear reads what relu's slope was multiplied to, leave the product out:
    what the slope would make zero is not read."""
    places = Places(p.arrays)
    made = {i.result.first: i for i in p.instructions}
    for linear in list(p.instructions):
        if not isinstance(linear, Linear) or not linear.gate.size:
            continue
        owners = np.unique(places.owners(linear.x))
        mask = made.get(places.array(owners[0]).first) if len(owners) == 1 else None
        if not isinstance(mask, Map) or _switch(mask.expression) is None:
            continue
        if not _is_only_for(p, mask, linear, mask.result.elements, results):
            continue
        bare = _without_slope(mask.expression)
        if bare.op == "var":
            x = mask.operands[bare.value].ravel()[linear.x - mask.result.first]
            if len(places.spans(linear.W, x)) == 1:
                linear.x = x
                p.instructions.remove(mask)
            continue
        used = sorted(bare.operands)
        numbers = [var(used.index(k)) if k in used else var(0) for k in range(len(mask.operands))]
        mask.expression = bare.substitute(numbers)
        mask.operands = tuple(mask.operands[k] for k in used)


def _without_slope(e: Expression) -> Expression:
    """A product that `_switch` knows, without relu's slope."""
    if e.op != "*":
        return const(1.0)
    first = 0 if _switch(e.args[0]) is not None else 1
    return _without_slope(e.args[first]) * e.args[1 - first]


def _switch(e: Expression) -> int | None:
    """The operand that, if not above zero, makes a product with relu's slope zero."""
    if e.op == "*":
        found = [_switch(a) for a in e.args]
        return found[0] if found[0] is not None else found[1]
    if e.op == "where" and e.args[0].op == "var" and e.args[1:] == RELU_SLOPE:
        return e.args[0].value
    return None


RELU_SLOPE = const(0.0), const(1.0), const(0.0)


# ---------------------------------------------------------------------------- where elements lie


@dataclass(frozen=True)
class Access:
    """Element [j, i] is array[start + j·row_step + i·step]."""

    array: Array
    start: int
    row_step: int
    step: int


@dataclass(frozen=True)
class Piece:
    """A rectangle of rows and columns in which every operand is an `Access`."""

    row: int
    rows: int
    column: int
    columns: int
    operands: tuple[Access, ...]


class Places:
    """Finds the arrays of element numbers."""

    def __init__(self, arrays: Sequence[Array]):
        self._arrays = arrays
        self._firsts = np.array([a.first for a in arrays])

    def owners(self, elements: Elements) -> np.ndarray:
        """For each element the number of its array."""
        return np.searchsorted(self._firsts, elements, side="right") - 1

    def array(self, owner: int) -> Array:
        return self._arrays[owner]

    def pieces(self, operands: Sequence[Elements]) -> list[Piece]:
        """Rectangles that cover operands of one shape (rows, n), in order."""
        stack = np.stack(operands)  # (k, rows, n)
        owners = np.searchsorted(self._firsts, stack, side="right") - 1
        found: list[Piece] = []
        for row in range(stack.shape[1]):
            line = list(self._line(stack[:, row], owners[:, row], row))
            tail = found[len(found) - len(line) :] if row else []
            merged = [_below(above, piece) for above, piece in zip(tail, line, strict=False)]
            if len(tail) == len(line) and all(merged) and tail[0].row + tail[0].rows == row:
                found[len(found) - len(line) :] = merged
            else:
                found += line
        return found

    def spans(self, *matrices: Elements) -> list[tuple[int, int]]:
        """(begin, end) of the columns along which all the matrices have even steps."""
        cuts = {0, matrices[0].shape[1]}
        for elements in matrices:
            for piece in self.pieces([elements]):
                cuts |= {piece.column, piece.column + piece.columns}
        return list(pairwise(sorted(cuts)))

    def single(self, operands: Sequence[Elements]) -> tuple[Access, ...] | None:
        """The accesses, if one piece is enough."""
        pieces = self.pieces(operands)
        return pieces[0].operands if len(pieces) == 1 else None

    def _line(self, numbers: np.ndarray, owners: np.ndarray, row: int) -> Iterator[Piece]:
        """Pieces of one row: cut where an array ends or a step changes."""
        size = numbers.shape[1]
        steps = np.diff(numbers, axis=1)
        same = np.all(np.diff(owners, axis=1) == 0, axis=0)
        begin = 0
        while begin < size:
            end = begin + 1
            if end < size and same[begin]:
                even = (
                    np.all(steps[:, begin:] == steps[:, begin : begin + 1], axis=0) & same[begin:]
                )
                end += int(np.argmin(even)) if not even.all() else len(even)
            operands = tuple(
                Access(
                    self._arrays[owners[k, begin]],
                    int(numbers[k, begin] - self._firsts[owners[k, begin]]),
                    0,
                    int(steps[k, begin]) if end - begin > 1 else 0,
                )
                for k in range(len(numbers))
            )
            yield Piece(row, 1, begin, end - begin, operands)
            begin = end


def _below(above: Piece, piece: Piece) -> Piece | None:
    """Both as one, if `piece` continues `above` with even steps."""
    if (above.column, above.columns) != (piece.column, piece.columns):
        return None
    joined = []
    for a, b in zip(above.operands, piece.operands, strict=True):
        row_step = b.start - a.start if above.rows == 1 else a.row_step
        if a.array is not b.array or a.step != b.step or b.start != a.start + above.rows * row_step:
            return None
        joined.append(replace(a, row_step=row_step))
    return replace(above, rows=above.rows + 1, operands=tuple(joined))


# ---------------------------------------------------------------------------- kernels


@dataclass(eq=False)
class Kernel:
    """`head` and the elementwise formulas `maps` that are computed with it, element by element.

    Of all their results only `stored` are written to memory. With a `target` the lone formula does
    not fill an array of its own but overwrites these elements of another one. A gated head may have
    a `feed`, whose result it alone reads: only the columns that count are computed. What the feed,
    or a head that is summed `by_output`, reads may be the result of a lone formula, `held`. Of a
    `ranged` one only a range of columns of its result is wanted.
    """

    head: Instruction | None
    maps: list[Map]
    stored: list[Instruction] = field(default_factory=list)
    target: Elements | None = None
    feed: Linear | None = None
    held: Map | None = None
    ranged: bool = False

    @property
    def instructions(self) -> list[Instruction]:
        return [*([self.head] if self.head else []), *self.maps]

    @property
    def all_instructions(self) -> list[Instruction]:
        """Also those before the head."""
        return [*(i for i in (self.held, self.feed) if i is not None), *self.instructions]

    @property
    def reads(self) -> list[Elements]:
        """Elements from outside."""
        everything = self.all_instructions
        inside = [(i.result.first, i.result.first + i.result.size) for i in everything]
        return [
            e
            for i in everything
            for e in i.reads
            if e.size and not any(a <= e.flat[0] < b for a, b in inside)
        ]


def is_long(mapped: Map) -> bool:
    return any(f.cost >= LONG for f in mapped.expression.functions)


def group(p: Program, results: Sequence[Elements], places: Places, mode: str) -> list[Kernel]:
    """Kernels of a program, in order.

    Formulas join what stands directly before them where they read its result element by element
    and no long function would be repeated.
    """
    kernels: list[Kernel] = []
    for instruction in p.instructions:
        last = kernels[-1] if kernels else None
        if isinstance(instruction, Map):
            if last and _joins(last, instruction, places, mode):
                last.maps.append(instruction)
            else:
                kernels.append(Kernel(None, [instruction]))
        elif last and _feeds(p, last, instruction, results, places):
            kernels[-1] = Kernel(instruction, [], feed=last.head, held=last.held)
            before = kernels[-2] if len(kernels) > 1 and last.held is None else None
            if before and (held := _held(p, before, last.head, results, places)):
                kernels[-2:] = [replace(kernels[-1], held=held)]
        elif last and (held := _held_by_output(p, last, instruction, results, places, mode)):
            kernels[-1] = Kernel(instruction, [], held=held)
        else:
            kernels.append(Kernel(instruction, []))
    read = np.zeros(p.size, bool)
    for elements in (*results, *(e for k in kernels for e in k.reads)):
        read[elements] = True
    for kernel in kernels:
        kernel.stored = [i for i in kernel.instructions if read[i.result.elements].any()]
    return kernels


# Operands that are kept in registers at most, beside sums and weights.
HELD = 20
# Outputs from which on they are summed one by one.
MANY = 3


def by_output(linear: Linear, places: Places) -> bool:
    """Whether operands stay in registers while outputs are summed one by one: where the weights of
    an output stand side by side. Of one row, operands that are too many are taken in ranges."""
    x, start = (places.single([e]) for e in (linear.x, linear.start))
    rows, outputs = linear.shape
    if linear.gate.size or outputs < MANY or None in (x, start):
        return False
    if rows > 1 and linear.x.size > HELD:
        return False
    for begin, end in places.spans(linear.W):
        W = places.single([linear.W[:, begin:end]])
        if W is None or W[0].step != 1 or W[0].row_step < linear.W.shape[1]:
            return False
    return True


def _feeds(
    p: Program, kernel: Kernel, linear: Instruction, results: Sequence[Elements], places: Places
) -> bool:
    """Whether the kernel is a Linear that only `linear` reads, gated, and small enough for that."""
    feed = kernel.head
    if not isinstance(linear, Linear) or not linear.gate.size:
        return False
    if not isinstance(feed, Linear) or kernel.maps or kernel.feed or feed.x.size > HELD:
        return False
    if feed.start.any() or any(places.single([e]) is None for e in (feed.W, feed.x)):
        return False
    W = places.single([linear.W])
    if W is None or W[0].step == 0:
        return False
    return _is_only_for(p, feed, linear, linear.x, results)


def _held_by_output(
    p: Program,
    kernel: Kernel,
    linear: Instruction,
    results: Sequence[Elements],
    places: Places,
    mode: str,
) -> Map | None:
    """The formula whose results, read by nothing but `linear`, stay in registers there."""
    if mode == "size" or not isinstance(linear, Linear) or linear.x.size > HELD:
        return None
    return _held(p, kernel, linear, results, places) if by_output(linear, places) else None


def _held(
    p: Program, kernel: Kernel, reader: Linear, results: Sequence[Elements], places: Places
) -> Map | None:
    """The kernel as one formula, if it is short formulas of all that the reader reads."""
    if kernel.head is not None or any(is_long(m) for m in kernel.maps):
        return None
    last = kernel.maps[-1]
    read = [e for i in p.instructions if i not in kernel.maps for e in i.reads]
    for mapped in kernel.maps[:-1]:
        if any(np.isin(mapped.result.elements, e).any() for e in (*results, *read)):
            return None
    if not _is_only_for(p, last, reader, reader.x, results):
        return None
    known: dict[int, Expression] = {}
    operands: list[Elements] = []
    for mapped in kernel.maps:
        parts = []
        for operand in mapped.operands:
            if int(operand.flat[0]) not in known:
                operands.append(operand.reshape(reader.x.shape))
            parts.append(known.get(int(operand.flat[0]), var(len(operands) - 1)))
        known[mapped.result.first] = mapped.expression.substitute(parts)
    if not operands or places.single(operands) is None:
        return None
    formula = "; ".join(dict.fromkeys(m.formula for m in kernel.maps))
    expression = known[last.result.first]
    return replace(last, formula=formula, expression=expression, operands=tuple(operands))


def _is_only_for(
    p: Program,
    instruction: Instruction,
    reader: Instruction,
    read: Elements,
    results: Sequence[Elements],
) -> bool:
    """Whether what the reader reads there is the instruction's result, which nothing else reads."""
    if not np.array_equal(read.ravel(), instruction.result.elements):
        return False
    others = [e for i in p.instructions if i is not reader for e in i.reads]
    return not any(np.isin(instruction.result.elements, e).any() for e in (*results, *others))


def _joins(kernel: Kernel, mapped: Map, places: Places, mode: str) -> bool:
    if mode != "speed" and (is_long(mapped) or any(is_long(m) for m in kernel.maps)):
        return False
    if mode == "size" and (kernel.head is not None or mapped.expression.op == "call"):
        return False  # both are calls of a function that the layers share
    if kernel.head is not None and kernel.head.kind != "linear":
        return False
    shape = kernel.instructions[0].shape
    if mapped.operands[0].size != np.prod(shape):
        return False
    inside = {i.result.first: i.result for i in kernel.instructions}
    outside, aligned = [], 0
    for operand in mapped.operands:
        flat = operand.ravel()
        owner = next((a for a in inside.values() if a.first <= flat.min() < a.first + a.size), None)
        ends = [a for a in inside.values() if np.any((flat >= a.first) & (flat < a.first + a.size))]
        if not ends:
            outside.append(flat.reshape(shape))
        elif owner and np.array_equal(flat, owner.elements):
            aligned += 1
        else:
            return False
    if kernel.head is not None:
        return aligned > 0 and (not outside or places.single(outside) is not None)
    return mapped.shape == kernel.maps[0].shape


# ---------------------------------------------------------------------------- functions

# What a function keeps on the stack at most; more lies in one static array that all share.
STACK_FLOATS = 1024


@dataclass(eq=False)
class Procedure:
    """One C function, in kernels."""

    program: Program
    places: Places
    kernels: list[Kernel]
    results: dict[Array, tuple[str, int]]
    """of each array that lies in what the caller gave: the result's name, and the offset in it"""
    memory: dict[Array, int]
    """offset of each array that lives only inside the function"""
    memory_size: int
    """floats that these take at most at one time"""

    @property
    def macs(self) -> int:
        return sum(i.macs for i in self.program.instructions)


def schedule(
    p: Program,
    results: Mapping[str, Elements],
    mode: str = "balanced",
    ranged: str | None = None,
) -> Procedure:
    """The function that computes `results` from the inputs that they depend on.

    Of the result `ranged`, a matrix, only a range of columns may be wanted at run time.
    """
    q, wanted = prune(p, results)
    if mode != "size":
        gated(q)
        unmasked(q, list(wanted.values()))
    kernels = group(q, list(wanted.values()), Places(q.arrays), mode)
    placed: dict[Array, tuple[str, int]] = {}
    for name in wanted:
        _place(q, kernels, name, wanted, placed)
    for kernel in kernels if ranged else ():
        kernel.ranged = _makes_columns(kernel, kernels, placed, ranged, results[ranged].shape)
    offsets, size = allocate(q, kernels, list(placed))
    apart = sum(a.size for a in offsets)
    if mode == "speed" and apart <= STACK_FLOATS:
        # Straight-line code keeps small arrays in registers, if each stands alone.
        ends = np.cumsum([0, *(a.size for a in offsets)]).tolist()
        offsets, size = dict(zip(offsets, ends, strict=False)), apart
    return Procedure(q, Places(q.arrays), kernels, placed, offsets, size)


def _makes_columns(
    kernel: Kernel,
    kernels: Sequence[Kernel],
    placed: Mapping[Array, tuple[str, int]],
    name: str,
    shape: tuple[int, int],
) -> bool:
    """Whether a kernel makes the result `name`, of this shape, where the caller wants it, and the
    others at most overwrite elements of that by what they were."""
    if not isinstance(kernel.head, Linear) or kernel.target is not None or len(kernel.stored) != 1:
        return False
    made = kernel.stored[0]
    if placed.get(made.result) != (name, 0) or made.shape != shape:
        return False
    for other in kernels:
        for elements in other.reads:
            if np.isin(elements, made.result.elements).any() and (
                other.target is None or not np.array_equal(elements.ravel(), other.target.ravel())
            ):
                return False
    return True


def _place(
    q: Program,
    kernels: list[Kernel],
    name: str,
    results: Mapping[str, Elements],
    placed: dict[Array, tuple[str, int]],
) -> None:
    """Let the elements of a result be made where the caller wants them, or copied there.

    An array that is a part of the result lies there from the beginning; so does one that is all of
    it but for some elements, which are overwritten in the end.
    """
    wanted = results[name].ravel()
    start = {int(e): k for k, e in reversed(list(enumerate(wanted)))}
    missing = np.ones(len(wanted), bool)
    whole: Array | None = None
    for time, kernel in enumerate(kernels):
        for array in (i.result for i in kernel.stored):
            at = start.get(array.first, -1)
            part = slice(at, at + array.size)
            exact = at >= 0 and np.array_equal(wanted[part], array.elements)
            if not exact and array.size == len(wanted) and missing.all():
                exact = 2 * np.count_nonzero(array.elements == wanted) > array.size
                part, whole = slice(0, array.size), array if exact else whole
            if (
                exact
                and array not in placed
                and _is_free(q, kernels, time, name, part.start, array)
            ):
                placed[array] = name, part.start
                missing[part] = array.elements != wanted[part]
    if not missing.any():
        return
    if whole is None:
        whole = q.array(name, len(wanted))
        placed[whole] = name, 0
    todo = np.flatnonzero(missing)
    others = [elements for other, elements in results.items() if other != name]
    for kernel in kernels:
        made = kernel.instructions[-1].result
        if made not in placed and not any(np.isin(made.elements, e).any() for e in others):
            todo = _write_through(q, kernels, kernel, name, whole, wanted, todo)
    if len(todo):
        copy = Map(whole, "result", f"{name}: copied", var(0), (wanted[todo].reshape(1, -1),))
        kernels.append(Kernel(None, [copy], [], whole.elements[todo].reshape(1, -1)))


def _is_free(
    q: Program, kernels: list[Kernel], time: int, name: str, offset: int, array: Array
) -> bool:
    """Whether kernel `time` may write its result into an argument that is also read."""
    if name not in q.inputs:
        return True
    old = q.inputs[name].elements[offset : offset + array.size]
    if any(np.isin(e, old).any() for k in kernels[time + 1 :] for e in k.reads):
        return False
    writer = kernels[time]
    aligned = writer.head is None and all(
        np.array_equal(e.ravel(), old) or not np.isin(e, old).any() for e in writer.reads
    )
    return aligned or not any(np.isin(e, old).any() for e in writer.reads)


def _write_through(
    q: Program,
    kernels: list[Kernel],
    kernel: Kernel,
    name: str,
    whole: Array,
    wanted: Elements,
    todo: np.ndarray,
) -> np.ndarray:
    """What a lone formula makes for nothing but a result is written there at once, if no other
    kernel reads what it overwrites. Returns which elements are then still to be copied."""
    if kernel.head is not None or len(kernel.maps) != 1 or kernel.target is not None:
        return todo
    (mapped,) = kernel.maps
    at = todo[np.isin(wanted[todo], mapped.result.elements)]
    if not np.array_equal(wanted[at], mapped.result.elements):
        return todo
    spoilt = np.concatenate([mapped.result.elements, whole.elements[at]])
    aligned = all(
        np.array_equal(o.ravel(), whole.elements[at]) or not np.isin(o, whole.elements).any()
        for o in mapped.operands
    )
    others = [k for k in kernels if k is not kernel]
    if not aligned or any(np.isin(e, spoilt).any() for k in others for e in k.reads):
        return todo
    if name in q.inputs:  # the argument is also read, until here
        old = q.inputs[name].elements[at]
        later = kernels[kernels.index(kernel) + 1 :]
        own = [e for e in kernel.reads if not np.array_equal(e.ravel(), old)]
        if any(np.isin(e, old).any() for e in [*own, *(e for k in later for e in k.reads)]):
            return todo
    kernel.target = whole.elements[at].reshape(mapped.shape)
    kernel.stored = []
    return np.setdiff1d(todo, at)


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
    q: Program, kernels: Sequence[Kernel], outside: Sequence[Array]
) -> tuple[dict[Array, int], int]:
    """Offsets of the stored results that are not `outside`, and the floats that they take.

    Arrays that live at different times share places; the largest are placed first, each as low as
    it fits.
    """
    places = Places(q.arrays)
    last_use: dict[int, int] = {}
    for time, kernel in enumerate(kernels):
        for elements in kernel.reads:
            last_use.update(dict.fromkeys(np.unique(places.owners(elements)).tolist(), time))
    numbers = {a: number for number, a in enumerate(q.arrays)}
    blocks: list[_Block] = []
    for time, kernel in enumerate(kernels):
        for array in (i.result for i in kernel.stored):
            if array in outside:
                continue
            block = next(
                (b for b in blocks if b.end == time and _passes_on(kernel, b, array)), None
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


def _passes_on(kernel: Kernel, block: _Block, array: Array) -> bool:
    """Whether a lone formula may overwrite the block's last array, which is read for the last time:
    if it reads it element by element."""
    old = block.arrays[-1]
    if kernel.head is not None or len(kernel.maps) != 1 or old.size != array.size:
        return False
    return all(
        np.array_equal(e.ravel(), old.elements) or not np.isin(e, old.elements).any()
        for e in kernel.reads
    )
