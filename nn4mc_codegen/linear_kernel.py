"""`Linear` as its template sees it: sums in registers, in blocks, weights read two at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
import re
from itertools import pairwise, product

from nn4mc_codegen.c import Tile, c_float, index, tiles
from nn4mc_codegen.expression import var
from nn4mc_codegen.kernels import Place, PrintedKernel
from nn4mc_codegen.program import Array, Linear
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
        for piece in self.places.pieces([self.head.x]) if self.feed is None else ():
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
            for output_tile in _cut_tiles(
                output_cuts, self._sums // row_tile.size, self.gate is None
            )
        ]

    @property
    def _sums(self) -> int:
        """Accumulators that a block may have. With a gate, no operand is kept for later."""
        return SUMS if self.gate is None else GATED_SUMS

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
            if self.feed is None:
                (x_access,) = self.places.single([x[:, begin:end]])
            else:
                x_access = Access(self.feed.result, rows.begin, 1, len(self.head.x))
            if not (self.is_literal(W_access) and W_access.array.data[W_access.start] == 0.0):
                length, limit = end - begin, (body or BODY[self.mode]) // (rows.size * outputs.size)
                found += Part.of(self, rows, outputs, length, limit, W_access, x_access)
        return found

    @cached_property
    def gate(self) -> Access | None:
        """Where stands what switches the operands off, if that is worth a test."""
        return self.places.single([self.head.gate[None]])[0] if self.head.gate.size else None

    @property
    def clears(self) -> bool:
        """Whether with everything switched off the result is zero: the sums then begin with what is
        switched on first."""
        (start,) = self.places.single([self.head.start]) or (None,)
        zero = start is not None and self.is_literal(start) and start.array.data[start.start] == 0.0
        return self.gate is not None and zero and not self.maps

    def array(self, array: Array) -> str:
        if self.feed is not None and array is self.feed.result:
            return "packed"
        return super().array(array)

    @property
    def held(self) -> list[str]:
        """Statements that load or compute what the feed multiplies; zero where its gate is."""
        rows, inputs = self.feed.x.shape
        expression = self.before.expression if self.before else var(0)
        operands = self.before.operands if self.before else (self.feed.x,)
        accesses = self.places.single([o.reshape(rows, inputs) for o in operands])
        gate = self.places.single([self.feed.gate[None]])[0] if self.feed.gate.size else None
        tables: dict[str, str] = {}
        lines = []
        for q in range(inputs):
            pairs: dict[str, str] = {}
            values = [
                self.code.expression(
                    expression, [self._held_element(x, a, q, tables, pairs) for x in accesses]
                )
                for a in range(rows)
            ]
            names = [f"h{a}_{q}" for a in range(rows)]
            lines.append(
                f"float {', '.join(f'{name} = 0.0f' if gate else name for name in names)};"
            )
            lines.append(f"if ({self.element(gate, '0', '0', 0, q)} != 0.0f) {{" if gate else "{")
            lines += [f"{self.name}_pair {p}; {p}.two = {at};" for at, p in pairs.items()]
            lines += [f"{name} = {value};" for name, value in zip(names, values, strict=True)]
            lines.append("}")
        hide = f"{self.name}_hidden"
        heads = [f"const {self.name}_two *{p} = {hide}({W});" for W, p in tables.items()]
        return [*heads, *lines]

    def _held_element(
        self, access: Access, row: int, column: int, tables: dict[str, str], pairs: dict[str, str]
    ) -> str:
        """An element; of paired constants through a pointer in `tables` and a pair in `pairs`."""
        if not access.array.paired or self.is_literal(access):
            return self.element(access, "0", "0", row, column)
        table = tables.setdefault(f"{self.code.constant(access.array)}.two", f"W{len(tables)}")
        number = access.start + row * access.row_step + column * access.step
        pair = pairs.setdefault(f"{table}[{number // 2}]", f"w{len(pairs)}")
        return f"{pair}.f[{number % 2}]"

    @property
    def fed(self) -> list[str]:
        """Statements that make column i of the feed's result the next one of `packed`."""
        rows, inputs = self.feed.x.shape
        (W,) = self.places.single([self.feed.W])
        table = self.code.constant(W.array)
        two = W.array.paired and W.start % 2 == 0 and W.step == 1 and W.row_step % 2 == 0
        if two:
            at = index(W.start // 2, (W.row_step // 2, "i"))
            lines = [f"const {self.name}_two *W = {table}.two + {at};", f"{self.name}_pair w;"]
        else:
            table += ".f" if W.array.paired else ""
            lines = [f"const float *W = {table} + {index(W.start, (W.row_step, 'i'))};"]
        for q in range(inputs):
            if two:
                lines += [f"w.two = W[{q // 2}];"] * (q % 2 == 0)
            w = f"w.f[{q % 2}]" if two else f"W[{q * W.step}]"
            for a in range(rows):
                product = f"{self.name}_mac({w}, h{a}_{q}, s{a})" if q else f"{w} * h{a}_0"
                lines.append(f"{'' if q else 'float '}s{a} = {product};")
        target = [index(a, (rows, "count")) for a in range(rows)]
        return [*lines, *(f"packed[{at}] = s{a};" for a, at in enumerate(target))]

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


GATED_SUMS = 28
# Accumulators that a block may have, rows that it may have: 32 registers hold these, the weights
# and an operand or two.
SUMS, ROWS = 20, 4
# Multiply-accumulates that a loop's body may have.
BODY = {"speed": 128, "balanced": 40, "size": 8}


def _from(access: Access, rows: Tile, outputs: Tile) -> Access:
    """An access of a part of a matrix, counted from the matrix's first row and column."""
    start = access.start - rows.begin * access.row_step - outputs.begin * access.step
    return replace(access, start=start)


def _cut_tiles(cuts: list[int], limit: int, even: bool = True) -> Iterator[Tile]:
    for begin, end in pairwise(cuts):
        for tile in tiles(end - begin, limit, even):
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

    def x_at(self, number: str) -> str:
        """Pointer to the operands of what is switched on, by its number in the list."""
        at = f"active[{number}]" if self.kernel.feed is None else number
        offset = index(0, (self.x_advance, at))
        return self.x_pointer + ("" if offset == "0" else f" + {offset}")

    def W_at(self, number: str) -> str:
        """Pointer to the weights of what is switched on."""
        return f"{self.W_pointer} + {index(0, (self.W_advance, f'active[{number}]'))}"

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

    @property
    def first_macs(self) -> list[str]:
        """The statements of the first turn, where sums begin with its products."""
        text = "\n".join(self.macs)
        pattern = rf"(s[0-9_]+) = {self.kernel.name}_mac\((.*?), (v\[\d+\]), \1\)"
        return re.sub(pattern, r"\1 = \2 * \3", text).splitlines()

    def _mac(self, w: str, a: int, b: int, u: int) -> str:
        s = self.kernel.sum(a, b, self.rows)
        x = f"v[{u * self.x.step + a * self.x.row_step}]"
        return f"{s} = {self.kernel.name}_mac({w}, {x}, {s});"
