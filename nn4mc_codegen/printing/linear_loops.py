"""The loops that add to a block's sums: which weights are read together, and in which order.

A layer that Keras has written stores the weights of an input side by side; a layer that is carried
backwards, the weights of an output. With 5 inputs i and 3 outputs r they are read as follows, a
line a load:

    stored W[i][r]   "row"           w00 w01 w02         all outputs of input 0
                                     w10 w11 w12         all outputs of input 1 …
                     "output pairs"  w00 w01 | w02       two outputs of an input, if a row is short
    stored W[r][i]   "input pairs"   w00 w10 | w20 w30   two inputs of an output
    any              "single"        w00                 one weight after the other
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from nn4mc_codegen.printing.access import Access
from nn4mc_codegen.printing.c import Tile, c_float, index, moved, tiles
from nn4mc_codegen.printing.linear_blocks import BlockedLinear
from nn4mc_codegen.printing.registers import READ_AT_ONCE_MIN, REGISTERS, share


@dataclass(frozen=True)
class SumLoop:
    """A loop of `turns` over inputs; a turn adds the products of `unroll` inputs to all sums of a
    block of `rows` and `outputs`. W and x are the accesses from the loop's first input on."""

    kernel: BlockedLinear
    rows: Tile
    outputs: Tile
    turns: int
    unroll: int
    reading: str
    """row, output pairs, input pairs or single"""
    W: Access
    x: Access

    @property
    def gated(self) -> bool:
        return self.kernel.gate is not None

    @property
    def places(self) -> bool:
        """Whether the registers of sums and weights are told, see `BlockedLinear.placed`."""
        return self.reading == "row" and not self.gated

    # ------------------------------------------------------------------ pointers

    @property
    def factor(self) -> str:
        """The weight, where all are the same literal."""
        W = self.W
        return c_float(W.array.data[W.start]) if self.kernel.is_literal(W) else ""

    @property
    def _in_pairs(self) -> bool:
        """Whether weights are read two at once."""
        return self.reading in ("output pairs", "input pairs")

    @property
    def _weights_of_a_load(self) -> int:
        """Floats by which the pointer W counts."""
        return 2 if self._in_pairs else 1

    @property
    def W_type(self) -> str:
        return f"{self.kernel.name}_two" if self._in_pairs else "float"

    @property
    def W_pointer(self) -> str:
        """C expression of the pointer to the weights of the block's first output."""
        r, begin = self.outputs.at("r"), self.outputs.begin
        if self.outputs.single:
            terms = ()  # W.start is the place of the loop's only block
        elif self.reading == "output pairs":
            terms = ((1, f"({r} - {begin}) / 2" if begin else f"{r} / 2"),)
        else:
            row_step = self.W.row_step // self._weights_of_a_load
            terms = ((row_step, f"({r} - {begin})" if begin else r),)
        pointer = self.kernel.code.constant(self.W.array)
        if self.W.array.paired:
            pointer += ".two" if self._in_pairs else ".f"
        at = index(self.W.start // self._weights_of_a_load, *terms)
        pointer = moved(pointer, at)
        # GCC knows constants that no loop goes over, and would load them one by one.
        hidden = self._in_pairs and self.turns == 1
        return f"{self.kernel.name}_hidden({pointer})" if hidden else pointer

    @property
    def x_pointer(self) -> str:
        """C expression of the pointer to the operand of the block's first row."""
        start = self.x.start - self.rows.begin * self.x.row_step
        at = index(start, (self.x.row_step, self.rows.at("j")))
        return moved(self.kernel.array(self.x.array), at)

    @property
    def W_advance(self) -> int:
        """How far the pointer W moves on with a turn."""
        if self.reading == "row":
            return 0  # the macro that reads a row moves it on
        return self.unroll * self.W.step // self._weights_of_a_load

    @property
    def x_advance(self) -> int:
        return self.unroll * self.x.step

    # ------------------------------------------------------------------ behind a gate

    def x_at(self, number: str) -> str:
        """Pointer to the operands of the input that stands at this number in the list `active` of
        those that are switched on."""
        at = number if self.kernel.feed is not None else f"active[{number}]"
        return moved(self.x_pointer, index(0, (self.x_advance, at)))

    def W_at(self, number: str) -> str:
        """Pointer to the weights of that input."""
        if self.kernel.feed is not None:  # the list itself holds pointers to weights
            (W,) = self.kernel.locator.single([self.kernel.head.W])
            return moved(f"active[{number}]", index(0, (W.row_step, self.outputs.at("r"))))
        step = self.W.step // self._weights_of_a_load
        return f"{self.W_pointer} + {index(0, (step, f'active[{number}]'))}"

    # ------------------------------------------------------------------ statements

    @property
    def macs(self) -> list[str]:
        """The statements of one turn."""
        return self._statements(first=False)

    @property
    def first_macs(self) -> list[str]:
        """The statements of the first turn, where sums begin with its products."""
        return self._statements(first=True)

    def _statements(self, first: bool) -> list[str]:
        if self.reading == "row":
            return [line for u in range(self.unroll) for line in self._row_statements(u, first)]
        lines = []
        rows, outputs = range(self.rows.size), range(self.outputs.size)
        for u in range(0, self.unroll, 2 if self.reading == "input pairs" else 1):
            for b in range(0, self.outputs.size, 2 if self.reading == "output pairs" else 1):
                if self.reading == "single":
                    w = self.factor or f"W[{u * self.W.step + b * self.W.row_step}]"
                    lines += [self._mac(w, a, b, u, first) for a in rows]
                    continue
                at = (u * self.W.step + b * self.W.row_step) // 2
                two = []
                for k in (0, 1):
                    if self.reading == "input pairs":
                        two += [self._mac(f"w.f[{k}]", a, b, u + k, first) for a in rows]
                    elif b + k in outputs:
                        two += [self._mac(f"w.f[{k}]", a, b + k, u, first) for a in rows]
                load = f"{self.kernel.name}_pair w; w.two = W[{at}];"
                lines.append("{ " + " ".join([load, *two]) + " }")
        return lines

    def _row_statements(self, u: int, first: bool) -> list[str]:
        """The statements of one input, whose weights are read some at a time."""
        outputs, step = self.outputs.size, self.W.step
        lines = [f"{self.kernel.code.read_operands(self.rows.size)}(v);"] * self._operands_at_once
        # The element that fills a row up to an even length is read as well: W then stands at the
        # next row.
        width = outputs + (step == outputs + 1 and outputs % 2)
        chunk = _weights_at_once(self.rows, width)
        for done in range(0, width, chunk):
            size = min(chunk, width - done)
            code = self.kernel.code
            sums = self.rows.size * outputs
            row = code.read_row(size, sums) if self.places else code.read_weights(size)
            lines.append(f"{{ {row}(W);")
            lines += [
                self._mac(f"w{b}", a, done + b, u, first)
                for b in range(min(size, outputs - done))
                for a in range(self.rows.size)
            ]
            lines += [f"(void)w{size - 1};"] * (done + size > outputs)
            lines[-1] += " }"
        rest = step - width if self.kernel.gate is None else 0
        return [*lines, *[f"W += {rest};"] * (rest > 0)]

    @property
    def _operands_at_once(self) -> bool:
        """Whether the operands of all rows are read by one instruction."""
        side_by_side = self.x.row_step == 1 and self.rows.size >= READ_AT_ONCE_MIN
        return self.gated and self.reading == "row" and side_by_side

    def _mac(self, w: str, a: int, b: int, u: int, first: bool) -> str:
        """Statement for the weight w of row a, output b and the turn's input u."""
        s = self.kernel.sum(a, b, self.rows)
        x = f"h{a}" if self._operands_at_once else f"v[{u * self.x.step + a * self.x.row_step}]"
        if self.places:
            return f"{self.kernel.code.macro}_ADD({s}, {w}, {x});"
        return self.kernel.term(s, w, x, first)


def sum_loops(
    kernel: BlockedLinear,
    rows: Tile,
    outputs: Tile,
    length: int,
    limit: int,
    W: Access,
    x: Access,
) -> list[SumLoop]:
    """Loops over `length` inputs, of which a turn takes at most `limit`."""
    reading = _reading(kernel, rows, outputs, length, W)
    found, done = [], 0
    for turns, unroll, how in _turns(kernel, reading, length, limit):
        W_here = replace(W, start=W.start + done * W.step)
        x_here = replace(x, start=x.start + done * x.step)
        found.append(SumLoop(kernel, rows, outputs, turns, unroll, how, W_here, x_here))
        done += turns * unroll
    return found


def _reading(kernel: BlockedLinear, rows: Tile, outputs: Tile, length: int, W: Access) -> str:
    """How the weights of a block are read, see `SumLoop.reading`."""
    if _reads_rows(kernel, rows, outputs, W):
        return "row"
    if not W.array.paired or W.start % 2:
        return "single"
    if W.row_step == 1 and outputs.size > 1 and (length == 1 or W.step % 2 == 0):
        even = outputs.size % 2 == 0 and (outputs.end - outputs.begin) % 2 == 0
        # With a feed, the list of what is switched on holds pointers to single weights.
        fits = (outputs.single or even) and not (kernel.gate is not None and kernel.feed)
        return "output pairs" if fits else "single"
    if W.step == 1 and (outputs.end - outputs.begin == 1 or W.row_step % 2 == 0):
        return "input pairs" if length > 1 and kernel.gate is None else "single"
    return "single"


def _reads_rows(kernel: BlockedLinear, rows: Tile, outputs: Tile, W: Access) -> bool:
    """Whether the weights that a block has of one input stand side by side, and are enough to be
    read by one instruction."""
    return (
        kernel.mode != "size"
        and not kernel.is_literal(W)
        and W.row_step == 1
        and outputs.size >= READ_AT_ONCE_MIN
        and (W.step == 0 or W.step >= outputs.size)
        and _weights_at_once(rows, outputs.size) >= READ_AT_ONCE_MIN
    )


def _weights_at_once(rows: Tile, width: int) -> int:
    """How many weights of a row of `width` are read by one instruction: beside them and the sums
    two registers stay free for operands."""
    return share(width, REGISTERS - rows.size * width - 2)


def _turns(
    kernel: BlockedLinear, reading: str, length: int, limit: int
) -> Iterator[tuple[int, int, str]]:
    """Turns, inputs of a turn, and reading of each loop that `length` inputs take.

    13 inputs of which a turn takes at most 4 are 3 turns of 4 and 1 turn of 1.
    """
    if kernel.gate is not None:
        yield length, 1, reading
    elif reading == "row":
        # One loop where turns of more than half the limit divide the length, else two.
        for tile in tiles(length, max(1, limit)):
            yield (tile.end - tile.begin) // tile.size, tile.size, reading
    else:
        unroll, done = max(1, min(length, limit)), 0
        if reading == "input pairs":
            unroll = max(2, unroll - unroll % 2)
        while done < length:
            if unroll > length - done:
                unroll = length - done
                if reading == "input pairs" and unroll > 1:
                    unroll -= unroll % 2
                elif reading == "input pairs":
                    reading = "single"
            turns = (length - done) // unroll
            yield turns, unroll, reading
            done += turns * unroll
