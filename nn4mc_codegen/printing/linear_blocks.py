"""Register blocking of `Linear`: sums stand in registers, a block of rows × outputs at a time.

A product of 6 rows and 10 outputs, with at most 4 rows and 20 sums a block, is two blocks of rows
in one loop, and in each of them two of outputs:

                outputs 0 to 4      outputs 5 to 9
    rows 0-2    s0_0 … s2_4         s0_0 … s2_4      15 sums each, names count within the block
    rows 3-5    s0_0 … s2_4         s0_0 … s2_4

Each block begins its sums (`starts`), adds to them in loops over the inputs (linear_loops.py), and
makes of them what is stored (`results`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from functools import cached_property
from itertools import pairwise, product

from nn4mc_codegen.printing.access import Access
from nn4mc_codegen.printing.c import Tile, index, moved, tiles
from nn4mc_codegen.printing.fusion import sums_by_output
from nn4mc_codegen.printing.kernels import BlockPosition, PrintedKernel
from nn4mc_codegen.printing.registers import (
    BLOCK_ROWS,
    BLOCK_SUMS,
    GATED_BLOCK_SUMS,
    READ_AT_ONCE_MIN,
)
from nn4mc_codegen.program.instructions import Array, Linear


class BlockedLinear(PrintedKernel):
    """A `Linear` with the formulas that follow it, in blocks."""

    head: Linear

    # ------------------------------------------------------------------ blocks

    @cached_property
    def cuts(self) -> tuple[list[int], list[int]]:
        """Where rows and outputs are cut so that all that a block reads has even steps."""
        rows, outputs = self.shape
        row_cuts, output_cuts = {0, rows}, {0, outputs}
        for piece in self.locator.pieces([self.head.start]):
            row_cuts |= {piece.row, piece.row + piece.rows}
            output_cuts |= {piece.column, piece.column + piece.columns}
        for piece in self.locator.pieces([self.head.x]) if self.feed is None else ():
            row_cuts |= {piece.row, piece.row + piece.rows}
        for piece in self.locator.pieces([self.head.W]):
            output_cuts |= {piece.row, piece.row + piece.rows}
        return sorted(row_cuts), sorted(output_cuts)

    @property
    def regions(self) -> list[tuple[Tile, Tile]]:
        """Rows and outputs between the cuts, each region as one block of any size."""
        rows, outputs = (
            [Tile(begin, end, end - begin) for begin, end in pairwise(cuts)] for cuts in self.cuts
        )
        return list(product(rows, outputs))

    @cached_property
    def blocks(self) -> list[tuple[Tile, Tile]]:
        """Loops over rows and outputs in blocks whose sums fit the registers."""
        row_cuts, output_cuts = self.cuts
        found = []
        for rows in _tiles_between(row_cuts, BLOCK_ROWS):
            if self._skips_blocks:
                # Of even and rather small blocks more lie outside the range that is wanted.
                output_tiles = [even_tile(self.shape[1], BLOCK_SUMS // rows.size)]
            else:
                limit = self._sums_of_block // rows.size
                output_tiles = _tiles_between(output_cuts, limit, self._in_even_blocks)
            found += [(rows, outputs) for outputs in output_tiles]
        return found

    @property
    def _sums_of_block(self) -> int:
        """Sums that a block may have."""
        return GATED_BLOCK_SUMS if self.gate is not None and not self._in_rows else BLOCK_SUMS

    @property
    def _in_even_blocks(self) -> bool:
        """Whether blocks had better have an even number of outputs: where weights may be read two
        at once."""
        return self.gate is None and not self._in_rows

    @cached_property
    def _in_rows(self) -> bool:
        """Whether the weights of one input stand side by side."""
        access = self.locator.single([self.head.W])
        return access is not None and access[0].row_step == 1 and self.mode != "size"

    @cached_property
    def by_output(self) -> bool:
        """Whether there are no blocks, since operands stay in registers and outputs are summed one
        by one (linear_dots.py)."""
        return (
            self.mode != "size" and self.target is None and sums_by_output(self.head, self.locator)
        )

    # ------------------------------------------------------------------ a range of outputs

    @property
    def _skips_blocks(self) -> bool:
        """Whether blocks outside the wanted range of outputs are skipped, which takes one loop over
        all outputs."""
        return self.ranged and not self.by_output and len(self.cuts[1]) == 2

    @cached_property
    def range_names(self) -> tuple[str, ...]:
        skipped = self._skips_blocks and not all(outputs.single for _, outputs in self.blocks)
        return ("first", "past") if skipped else ()

    def open_outputs(self, outputs: Tile) -> str:
        """First lines of the loop over blocks of outputs, r being the first output of a block.

        If blocks of `size` outputs do not divide their number, the last block begins earlier and
        computes some outputs a second time: 10 outputs in blocks of 4 begin at 0, 4 and 6.
        """
        if not self._skips_blocks or outputs.single:
            return outputs.open("r")
        size, last = outputs.size, outputs.end - outputs.size
        variable = "q" if outputs.end % size else "r"
        head = f"for (int {variable} = first / {size} * {size}; {variable} < past; "
        head += f"{variable} += {size}) {{"
        return head + (f"\nconst int r = q < {last} ? q : {last};" if variable == "q" else "")

    # ------------------------------------------------------------------ gates

    @cached_property
    def gate(self) -> Access | None:
        """Where the elements lie that switch operands off, if there are such."""
        if not self.head.gate.size:
            return None
        self.code.helpers.add("on")
        return self.locator.single([self.head.gate[None]])[0]

    @property
    def clears(self) -> bool:
        """Whether the result is zero if everything is switched off. Sums then do not begin with
        zero, but with the product of the first operand that is switched on."""
        return self.gate is not None and self.starts_zero and not self.maps

    def array(self, array: Array) -> str:
        if self.feed is not None and array is self.feed.result:
            return "packed"
        return super().array(array)

    # ------------------------------------------------------------------ the sums of a block

    def sum(self, a: int, b: int, rows: Tile) -> str:
        """Name of the sum of row a and output b of a block."""
        return f"s{b}" if rows.size == 1 else f"s{a}_{b}"

    @cached_property
    def placed(self) -> Collection[tuple[Tile, Tile]]:
        """Blocks for whose sums and weights the registers are told. Sum k is register k."""
        return ()

    def total(self, rows: Tile, outputs: Tile, a: int, b: int) -> str:
        """Name of that sum where all products have been added."""
        s = self.sum(a, b, rows)
        return s.replace("s", "z") if (rows, outputs) in self.placed else s

    def totals(self, rows: Tile, outputs: Tile) -> list[str]:
        """Statements that take a block's sums out of the registers that were told: a function that
        is called later may overwrite these."""
        if (rows, outputs) not in self.placed:
            return []
        places = product(range(rows.size), range(outputs.size))
        return [
            f"const float {self.total(rows, outputs, a, b)} = {self.sum(a, b, rows)};"
            for a, b in places
        ]

    def _declared(self, rows: Tile, outputs: Tile, a: int, b: int) -> str:
        """Declaration of a sum, without a semicolon."""
        s = self.sum(a, b, rows)
        if (rows, outputs) in self.placed:
            return f"{self.code.macro}_SUM_AT({s}, {outputs.size * a + b})"
        return f"float {s}"

    def term(self, s: str, w: str, x: str, first: bool) -> str:
        """Statement that adds the product w·x to the sum s, or begins the sum with it."""
        return f"{s} = {w} * {x};" if first else f"{s} = {self.name}_mac({w}, {x}, {s});"

    @property
    def starts_zero(self) -> bool:
        """Whether all sums start at the literal zero."""
        start = self.locator.single([self.head.start])
        return start is not None and bool(self.is_zero(start[0]))

    def starts(self, rows: Tile, outputs: Tile) -> list[str]:
        """Statements that make a block's sums begin."""
        places = list(product(range(rows.size), range(outputs.size)))
        names = [self.sum(a, b, rows) for a, b in places]
        declared = [self._declared(rows, outputs, a, b) for a, b in places]
        if self.clears:
            return [f"{declaration};" for declaration in declared]
        (start,) = self.locator.single(
            [self.head.start[rows.begin : rows.end, outputs.begin : outputs.end]]
        )
        at_once = rows.size == 1 and start.step == 1 and self.mode != "size"
        if at_once and READ_AT_ONCE_MIN <= outputs.size <= BLOCK_SUMS:
            start = _of_whole(start, rows, outputs)
            at = index(start.start, (start.row_step, rows.at("j")), (1, outputs.at("r")))
            pointer = moved(self.array(start.array), at)
            return [
                *(f"{declaration};" for declaration in declared),
                f"{{ {self.code.read_operands(outputs.size)}({pointer});",
                *(f"{name} = h{b};" for b, name in enumerate(names[:-1])),
                f"{names[-1]} = h{len(names) - 1}; }}",
            ]
        return [
            f"{declaration} = {self.start_element(rows, outputs, a, b)};"
            for declaration, (a, b) in zip(declared, places, strict=True)
        ]

    def start_element(self, rows: Tile, outputs: Tile, a: int, b: int) -> str:
        """What the sum of row a and output b of a block starts with."""
        block = self.head.start[rows.begin : rows.end, outputs.begin : outputs.end]
        (access,) = self.locator.single([block])
        access = _of_whole(access, rows, outputs)
        return self.element(access, rows.at("j"), outputs.at("r"), a, b)

    def results(self, rows: Tile, outputs: Tile, b: int) -> list[str]:
        """Statements that make of the sums of output b what is stored."""
        piece = self.map_pieces[0] if self.map_pieces else None
        position = BlockPosition(rows.at("j"), outputs.at("r"), b, 0, 0, self.shape[0])
        sums = [(a, self.total(rows, outputs, a, b)) for a in range(rows.size)]
        common, lines = self.formulas_at(piece, position, sums)
        return [*common, *(line for row in lines for line in row)]


def even_tile(total: int, limit: int) -> Tile:
    """One loop in as few blocks as `limit` allows, as even as can be: 25 in blocks of at most 10
    are blocks of 9, of which the last one is not full."""
    return Tile(0, total, -(-total // -(-total // limit)))


def _of_whole(access: Access, rows: Tile, outputs: Tile) -> Access:
    """The access of a region of a matrix as one of the whole matrix: loops count rows and outputs
    from the matrix's first."""
    start = access.start - rows.begin * access.row_step - outputs.begin * access.step
    return replace(access, start=start)


def _tiles_between(cuts: list[int], limit: int, even: bool = True) -> Iterator[Tile]:
    """Loops in blocks of at most `limit`, between each cut and the next."""
    for begin, end in pairwise(cuts):
        for tile in tiles(end - begin, limit, even):
            yield Tile(begin + tile.begin, begin + tile.end, tile.size)
