"""`Linear` output by output: operands stay in registers, each output is a dot product with them.

The way back through a layer, e = W'·d, is such a product: the weights of an output stand side by
side, as the layer stores them input by input. For 3 operands and many outputs the C is

    load h0 h1 h2                      once
    for each output r:
        load w0 w1 w2, W moves on      by one instruction
        y[r] = w0·h0 + w1·h1 + w2·h2
"""

from __future__ import annotations

from dataclasses import dataclass

from nn4mc_codegen.printing.access import Access
from nn4mc_codegen.printing.c import Tile, index, moved
from nn4mc_codegen.printing.linear_blocks import BlockedLinear, even_tile
from nn4mc_codegen.printing.linear_operands import operand_lines
from nn4mc_codegen.printing.registers import HELD_OPERANDS, REGISTERS, share


@dataclass(frozen=True)
class Dots:
    """The products of the inputs begin … end-1 with all outputs. Where operands are too many for
    the registers, the first range stores its sums, and each later one adds to them."""

    kernel: BlockedLinear
    begin: int
    end: int

    @property
    def loads(self) -> list[str]:
        """Statements that load the operands into registers."""
        kernel = self.kernel
        (x,) = kernel.locator.single([kernel.head.x])
        if not self._loads_at_once:
            return operand_lines(kernel, kernel.head, self.begin, self.end)
        pointer = moved(kernel.array(x.array), index(x.start + self.begin))
        return [f"{kernel.code.read_operands(self.end - self.begin)}({pointer});"]

    @property
    def W_pointer(self) -> str:
        """C expression of the pointer to the first output's weights."""
        return moved(self.kernel.code.floats(self._weights.array), index(self._weights.start))

    @property
    def statements(self) -> list[str]:
        """Statements of one output r: the dot product of each row, and what is stored of it."""
        kernel, W, width = self.kernel, self._weights, self.end - self.begin
        count, outputs = kernel.shape
        rows, output = Tile(0, count, count), Tile(0, outputs, 1)
        sums = [kernel.sum(a, 0, rows) for a in range(count)]
        y = f"{kernel.written[id(kernel.stored[-1])]}[r]"
        if self.begin:
            starts = [y]  # only a single row is taken in ranges
        elif kernel.starts_zero:
            starts = []
        else:
            starts = [kernel.start_element(rows, output, a, 0) for a in range(count)]
        lines = [f"float {s} = {start};" for s, start in zip(sums, starts, strict=False)]
        lines = lines or [f"float {s};" for s in sums]
        # The element that fills an output's weights up to an even length is read as well.
        fill = W.row_step == width + 1 and W.start % W.row_step == 0
        chunk = share(width + fill, REGISTERS - count * (width + 1) - 1)
        for done in range(0, width + fill, chunk):
            size = min(chunk, width + fill - done)
            lines.append(f"{{ {kernel.code.read_weights(size)}(W);")
            for i in range(min(size, width - done)):
                lines += self._terms(sums, i, done + i)
            lines += [f"(void)w{size - 1};"] * (done + size > width)
            lines[-1] += " }"
        if W.row_step > width + fill:
            lines.append(f"W += {W.row_step - width - fill};")
        last = self.end == kernel.head.W.shape[1]
        return [*lines, *(kernel.results(rows, output, 0) if last else [f"{y} = {sums[0]};"])]

    def _terms(self, sums: list[str], weight: int, column: int) -> list[str]:
        """Statements that add a weight's product with a column of operands, of each row."""
        lines = []
        for a, s in enumerate(sums):
            operand = f"h{column}" if self._loads_at_once else f"h{a}_{self.begin + column}"
            first = self.kernel.starts_zero and self.begin + column == 0
            lines.append(self.kernel.term(s, f"w{weight}", operand, first))
        return lines

    @property
    def _weights(self) -> Access:
        (W,) = self.kernel.locator.single([self.kernel.head.W[:, self.begin : self.end]])
        return W

    @property
    def _loads_at_once(self) -> bool:
        """Whether one instruction loads the operands: one row of them, side by side."""
        (x,) = self.kernel.locator.single([self.kernel.head.x])
        return x.step == 1 and len(self.kernel.head.x) == 1 and not self.kernel.before


def dots_of(kernel: BlockedLinear) -> list[Dots]:
    """All ranges of inputs, each of at most `HELD_OPERANDS`; empty for a kernel in blocks."""
    if not kernel.by_output:
        return []
    found = []
    for begin, end in kernel.locator.spans(kernel.head.W):
        tile = even_tile(end - begin, HELD_OPERANDS)
        starts = range(begin, end, tile.size)
        found += [Dots(kernel, start, min(start + tile.size, end)) for start in starts]
    return found
