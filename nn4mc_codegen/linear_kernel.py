"""`Linear` as its template sees it: sums in registers, in blocks, weights read two at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise, product

from nn4mc_codegen.c import Tile, c_float, index, tiles
from nn4mc_codegen.kernels import Place, PrintedKernel
from nn4mc_codegen.program import Linear
from nn4mc_codegen.schedule import Access


class PrintedLinear(PrintedKernel):
    """Linear with the formulas that follow it."""

    head: Linear

    @cached_property
    def cuts(self) -> tuple[list[int], list[int]]:
        """Where rows and outputs are cut so that all that a block reads has even steps."""
        rows, outputs = self.shape
        row_cuts, output_cuts = {0, rows}, {0, outputs}
        for piece in self.places.pieces([self.head.start]):
            row_cuts |= {piece.row, piece.row + piece.rows}
            output_cuts |= {piece.column, piece.column + piece.columns}
        for piece in self.places.pieces([self.head.x]):
            row_cuts |= {piece.row, piece.row + piece.rows}
        for piece in self.places.pieces([self.head.W]):
            output_cuts |= {piece.row, piece.row + piece.rows}
        return sorted(row_cuts), sorted(output_cuts)

    @cached_property
    def blocks(self) -> list[tuple[Tile, Tile]]:
        """Loops over rows and outputs in blocks whose sums fit the registers."""
        row_cuts, output_cuts = self.cuts
        return [
            (row_tile, output_tile)
            for row_tile in _cut_tiles(row_cuts, ROWS)
            for output_tile in _cut_tiles(output_cuts, SUMS // row_tile.size)
        ]

    @property
    def ranges(self) -> list[tuple[Tile, Tile]]:
        """The same without blocks: whole ranges of rows and outputs."""
        rows, outputs = (
            [Tile(begin, end, end - begin) for begin, end in pairwise(cuts)] for cuts in self.cuts
        )
        return list(product(rows, outputs))

    def parts(self, rows: Tile, outputs: Tile, body: int = 0) -> list[Part]:
        """The sum in pieces, each a loop of at most `body` multiply-accumulates a turn, by default
        what suits the mode."""
        W = self.head.W[outputs.begin : outputs.end]
        x = self.head.x[rows.begin : rows.end]
        found: list[Part] = []
        for begin, end in self.places.spans(W, x):
            (W_access,) = self.places.single([W[:, begin:end]])
            (x_access,) = self.places.single([x[:, begin:end]])
            if not (self.is_literal(W_access) and W_access.array.data[W_access.start] == 0.0):
                length, limit = end - begin, (body or BODY[self.mode]) // (rows.size * outputs.size)
                found += Part.of(self, rows, outputs, length, limit, W_access, x_access)
        return found

    @cached_property
    def gate(self) -> Access | None:
        """Where stands what switches the operands off, if that is worth a test."""
        return self.places.single([self.head.gate[None]])[0] if self.head.gate.size else None

    def sum(self, a: int, b: int, rows: Tile) -> str:
        """Name of the sum of row a and output b of a block."""
        return f"s{b}" if rows.size == 1 else f"s{a}_{b}"

    def start_element(self, rows: Tile, outputs: Tile, a: int, b: int) -> str:
        block = self.head.start[rows.begin : rows.end, outputs.begin : outputs.end]
        (access,) = self.places.single([block])
        access = _from(access, rows, outputs)
        return self.element(access, rows.at("j"), outputs.at("r"), a, b)

    def results(self, rows: Tile, outputs: Tile, b: int) -> list[str]:
        """Statements that make of the sums of output b what is stored."""
        piece = self.map_pieces[0] if self.map_pieces else None
        place = Place(rows.at("j"), outputs.at("r"), b, 0, 0, self.shape[0])
        sums = [(a, self.sum(a, b, rows)) for a in range(rows.size)]
        common, lines = self.formulas_at(piece, place, sums)
        return [*common, *(line for row in lines for line in row)]


# Accumulators that a block may have, rows that it may have: 32 registers hold these, the weights
# and an operand or two.
SUMS, ROWS = 20, 4
# Multiply-accumulates that a loop's body may have.
BODY = {"speed": 128, "balanced": 40, "size": 8}


def _from(access: Access, rows: Tile, outputs: Tile) -> Access:
    """An access of a part of a matrix, counted from the matrix's first row and column."""
    start = access.start - rows.begin * access.row_step - outputs.begin * access.step
    return replace(access, start=start)


def _cut_tiles(cuts: list[int], limit: int) -> Iterator[Tile]:
    for begin, end in pairwise(cuts):
        for tile in tiles(end - begin, limit, even=True):
            yield Tile(begin + tile.begin, begin + tile.end, tile.size)


@dataclass(frozen=True)
class Part:
    """A loop over `turns` times `unroll` inputs of a block's sums.

    `pairs` says along what two weights stand together: outputs, inputs, or nothing.
    """

    kernel: PrintedLinear
    rows: Tile
    outputs: Tile
    turns: int
    unroll: int
    pairs: str
    W: Access
    x: Access

    @property
    def gated(self) -> bool:
        return self.kernel.gate is not None

    @classmethod
    def of(
        cls,
        kernel: PrintedLinear,
        rows: Tile,
        outputs: Tile,
        length: int,
        limit: int,
        W: Access,
        x: Access,
    ) -> list[Part]:
        """Loops over `length` inputs, of which a turn takes `limit` at most."""
        paired = W.array.paired and W.start % 2 == 0
        if paired and W.row_step == 1 and outputs.size > 1 and (length == 1 or W.step % 2 == 0):
            pairs = "outputs" if outputs.single or outputs.size % 2 == 0 else ""
        elif paired and W.step == 1 and (outputs.end - outputs.begin == 1 or W.row_step % 2 == 0):
            pairs = "inputs" if length > 1 and kernel.gate is None else ""
        else:
            pairs = ""
        if kernel.gate is not None:
            return [cls(kernel, rows, outputs, length, 1, pairs, W, x)]
        unroll = max(1, min(length, limit))
        if pairs == "inputs":
            unroll = max(2, unroll - unroll % 2)
        found, done = [], 0
        while done < length:
            if unroll > length - done:
                unroll = length - done
                if pairs == "inputs" and unroll > 1:
                    unroll -= unroll % 2
                elif pairs == "inputs":
                    pairs = ""
            turns = (length - done) // unroll
            W_here = replace(W, start=W.start + done * W.step)
            x_here = replace(x, start=x.start + done * x.step)
            found.append(cls(kernel, rows, outputs, turns, unroll, pairs, W_here, x_here))
            done += turns * unroll
        return found

    @property
    def factor(self) -> str:
        """The weight, where all are the same literal."""
        W = self.W
        return c_float(W.array.data[W.start]) if self.kernel.is_literal(W) else ""

    @property
    def W_type(self) -> str:
        return f"{self.kernel.name}_two" if self.pairs else "float"

    @property
    def W_pointer(self) -> str:
        r, begin = self.outputs.at("r"), self.outputs.begin
        if self.outputs.single:
            terms = ()  # the block's first output is the only one, W.start its place
        elif self.pairs == "outputs":
            terms = ((1, f"({r} - {begin}) / 2" if begin else f"{r} / 2"),)
        else:
            terms = (
                (self.W.row_step // (2 if self.pairs else 1), f"({r} - {begin})" if begin else r),
            )
        pointer = self.kernel.code.constant(self.W.array)
        if self.W.array.paired:
            pointer += ".two" if self.pairs else ".f"
        at = index(self.W.start // (2 if self.pairs else 1), *terms)
        pointer += "" if at == "0" else f" + {at}"
        hidden = self.pairs and self.turns == 1
        return f"{self.kernel.name}_hidden({pointer})" if hidden else pointer

    @property
    def x_pointer(self) -> str:
        start = self.x.start - self.rows.begin * self.x.row_step
        at = index(start, (self.x.row_step, self.rows.at("j")))
        return self.kernel.array(self.x.array) + ("" if at == "0" else f" + {at}")

    @property
    def W_advance(self) -> int:
        return self.unroll * self.W.step // (2 if self.pairs else 1)

    @property
    def x_advance(self) -> int:
        return self.unroll * self.x.step

    @property
    def macs(self) -> list[str]:
        """The statements of one turn."""
        lines = []
        rows, outputs = range(self.rows.size), range(self.outputs.size)
        for u in range(0, self.unroll, 2 if self.pairs == "inputs" else 1):
            for b in range(0, self.outputs.size, 2 if self.pairs == "outputs" else 1):
                if not self.pairs:
                    w = self.factor or f"W[{u * self.W.step + b * self.W.row_step}]"
                    lines += [self._mac(w, a, b, u) for a in rows]
                    continue
                at = (u * self.W.step + b * self.W.row_step) // 2
                two = []
                for k in (0, 1):
                    if self.pairs == "outputs" and b + k in outputs:
                        two += [self._mac(f"w.f[{k}]", a, b + k, u) for a in rows]
                    elif self.pairs == "inputs":
                        two += [self._mac(f"w.f[{k}]", a, b, u + k) for a in rows]
                load = f"{self.kernel.name}_pair w; w.two = W[{at}];"
                lines.append("{ " + " ".join([load, *two]) + " }")
        return lines

    def _mac(self, w: str, a: int, b: int, u: int) -> str:
        s = self.kernel.sum(a, b, self.rows)
        x = f"v[{u * self.x.step + a * self.x.row_step}]"
        return f"{s} = {self.kernel.name}_mac({w}, {x}, {s});"
