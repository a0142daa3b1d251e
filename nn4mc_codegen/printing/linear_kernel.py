"""`Linear` as its template sees it: sums in registers, in blocks, weights read some at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise, product

from nn4mc_codegen.printing.c import Tile, c_float, index, tiles
from nn4mc_codegen.printing.kernels import Place, PrintedKernel
from nn4mc_codegen.printing.schedule import HELD, Access, by_output
from nn4mc_codegen.program.expression import var
from nn4mc_codegen.program.program import Array, Linear


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
        found = []
        for row_tile in _cut_tiles(row_cuts, ROWS):
            if self._skips:
                # Small blocks: more of them lie outside a range.
                output_tiles = [_shared_tile(self.shape[1], SUMS // row_tile.size)]
            else:
                output_tiles = _cut_tiles(output_cuts, self._sums // row_tile.size, self._even)
            found += [(row_tile, output_tile) for output_tile in output_tiles]
        return found

    @property
    def _skips(self) -> bool:
        """Whether blocks outside a range of outputs can be skipped: in one loop over all."""
        return self.ranged and not self.dots and len(self.cuts[1]) == 2

    @cached_property
    def range(self) -> tuple[str, ...]:
        skipped = self._skips and not all(outputs.single for _, outputs in self.blocks)
        return ("first", "past") if skipped else ()

    def open_outputs(self, outputs: Tile) -> str:
        """First lines of the loop over outputs, r the first of a block; where the blocks are more
        than the outputs, the last one overlaps that before it."""
        if not self._skips or outputs.single:
            return outputs.open("r")
        size, last = outputs.size, outputs.end - outputs.size
        variable = "q" if outputs.end % size else "r"
        head = f"for (int {variable} = first / {size} * {size}; {variable} < past; "
        head += f"{variable} += {size}) {{"
        return head + (f"\nconst int r = q < {last} ? q : {last};" if variable == "q" else "")

    @property
    def _sums(self) -> int:
        """Accumulators that a block may have."""
        return GATED_SUMS if self.gate is not None and not self.in_rows else SUMS

    @property
    def _even(self) -> bool:
        """Whether blocks are better of even size: where weights may be read two at once."""
        return self.gate is None and not self.in_rows

    @cached_property
    def in_rows(self) -> bool:
        """Whether the weights of one input stand side by side."""
        access = self.places.single([self.head.W])
        return access is not None and access[0].row_step == 1 and self.mode != "size"

    # ------------------------------------------------------------------ operands in registers

    @cached_property
    def dots(self) -> list[tuple[int, int]]:
        """Ranges of inputs that are kept in registers while all outputs are summed one by one: if
        the weights of an output stand side by side. Else nothing."""
        if self.mode == "size" or self.target is not None or not by_output(self.head, self.places):
            return []
        found = []
        for begin, end in self.places.spans(self.head.W):
            tile = _shared_tile(end - begin, HELD)
            starts = range(begin, end, tile.size)
            found += [(start, min(start + tile.size, end)) for start in starts]
        return found

    def dot_loads(self, begin: int, end: int) -> list[str]:
        """Statements that load the operands of a range."""
        (x,) = self.places.single([self.head.x])
        if not self._loads_at_once:
            return self._held_lines(self.head, begin, end)
        at = index(x.start + begin)
        pointer = self.array(x.array) + ("" if at == "0" else f" + {at}")
        return [f"{self.code.held(end - begin)}({pointer});"]

    @property
    def _loads_at_once(self) -> bool:
        """Whether the operands stand side by side."""
        (x,) = self.places.single([self.head.x])
        return x.step == 1 and len(self.head.x) == 1 and not self.before

    def dot_weights(self, begin: int, end: int) -> str:
        """Pointer to the first output's weights of a range."""
        (W,) = self.places.single([self.head.W[:, begin:end]])
        pointer = self.code.constant(W.array) + (".f" if W.array.paired else "")
        at = index(W.start)
        return pointer if at == "0" else f"{pointer} + {at}"

    def dot(self, begin: int, end: int) -> list[str]:
        """Statements of one output, r: its sums over a range, stored at the end of the last."""
        (W,) = self.places.single([self.head.W[:, begin:end]])
        count, outputs = self.shape
        rows, output = Tile(0, count, count), Tile(0, outputs, 1)
        sums = [self.sum(a, 0, rows) for a in range(count)]
        y = f"{self.written[id(self.stored[-1])]}[r]"
        if begin:
            starts = [y]
        elif self.starts_zero:
            starts = []
        else:
            starts = [self.start_element(rows, output, a, 0) for a in range(count)]
        lines = [f"float {s} = {start};" for s, start in zip(sums, starts, strict=False)]
        lines = lines or [f"float {s};" for s in sums]
        width = end - begin
        # What fills up a row is read along.
        fill = W.row_step == width + 1 and W.start % W.row_step == 0
        chunk = self.share(width + fill, REGISTERS - count * (width + 1) - 1)
        for done in range(0, width + fill, chunk):
            size = min(chunk, width + fill - done)
            lines.append(f"{{ {self.code.row(size)}(W);")
            for i in range(min(size, width - done)):
                for a, s in enumerate(sums):
                    operand = f"h{done + i}" if self._loads_at_once else f"h{a}_{begin + done + i}"
                    first = self.starts_zero and begin + done + i == 0
                    lines.append(self.term(s, f"w{i}", operand, first))
            lines += [f"(void)w{size - 1};"] * (done + size > width)
            lines[-1] += " }"
        if W.row_step > width + fill:
            lines.append(f"W += {W.row_step - width - fill};")
        last = end == self.head.W.shape[1]
        return [*lines, *(self.results(rows, output, 0) if last else [f"{y} = {sums[0]};"])]

    def term(self, s: str, w: str, x: str, first: bool) -> str:
        """Statement that adds a product to a sum, or begins the sum with it."""
        return f"{s} = {w} * {x};" if first else f"{s} = {self.name}_mac({w}, {x}, {s});"

    @property
    def starts_zero(self) -> bool:
        (start,) = self.places.single([self.head.start]) or (None,)
        return bool(
            start is not None and self.is_literal(start) and start.array.data[start.start] == 0.0
        )

    # ------------------------------------------------------------------ sums in registers

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
        if not self.head.gate.size:
            return None
        self.code.shared.add("on")
        return self.places.single([self.head.gate[None]])[0]

    @property
    def listed(self) -> str:
        """What the list of what is switched on holds: the number, or where its weights begin if its
        operands are packed."""
        if self.feed is None:
            return "i"
        (W,) = self.places.single([self.head.W])
        pointer = self.code.constant(W.array) + (".f" if W.array.paired else "")
        return f"{pointer} + {index(W.start, (W.step, 'i'))}"

    @property
    def clears(self) -> bool:
        """Whether with everything switched off the result is zero: the sums then begin with what is
        switched on first."""
        return self.gate is not None and self.starts_zero and not self.maps

    def array(self, array: Array) -> str:
        if self.feed is not None and array is self.feed.result:
            return "packed"
        return super().array(array)

    @property
    def held(self) -> list[str]:
        """Statements that load or compute what the feed multiplies."""
        return self._held_lines(self.feed, 0, self.feed.x.shape[1])

    def _held_lines(self, linear: Linear, begin: int, end: int) -> list[str]:
        """Statements that load or compute columns of what a Linear multiplies; zero where its gate
        is."""
        rows, inputs = linear.x.shape
        expression = self.before.expression if self.before else var(0)
        operands = self.before.operands if self.before else (linear.x,)
        accesses = self.places.single([o.reshape(rows, inputs) for o in operands])
        gate = self.places.single([linear.gate[None]])[0] if linear.gate.size else None
        tables: dict[str, str] = {}
        same: dict[str, str] = {}
        lines = []
        for q in range(begin, end):
            pairs: dict[str, str] = {}
            values = [
                self.code.expression(
                    expression, [self._held_element(x, a, q, tables, pairs, same) for x in accesses]
                )
                for a in range(rows)
            ]
            names = [f"h{a}_{q}" for a in range(rows)]
            declared = [f"{name} = 0.0f" if gate else name for name in names]
            lines.append(f"float {', '.join(declared)};")
            body = [f"{self.name}_pair {p}; {p}.two = {at};" for at, p in pairs.items()]
            body += [f"{name} = {value};" for name, value in zip(names, values, strict=True)]
            test = f"if ({self.name}_on({self.element(gate, '0', '0', 0, q)})) " if gate else ""
            body[0] = f"{test}{{ {body[0]}"
            body[-1] += " }"
            lines += body
        hide = f"{self.name}_hidden"
        heads = [f"const {self.name}_two *{p} = {hide}({W});" for W, p in tables.items()]
        heads += [f"const float {name} = {element};" for element, name in same.items()]
        return [*heads, *lines]

    def _held_element(
        self,
        access: Access,
        row: int,
        column: int,
        tables: dict[str, str],
        pairs: dict[str, str],
        same: dict[str, str],
    ) -> str:
        """An element; of paired constants through a pointer in `tables` and a pair in `pairs`, and
        through a variable in `same` if all columns have it."""
        if not access.array.paired or self.is_literal(access):
            text = self.element(access, "0", "0", row, column)
            if access.step == 0 and access.array.data is None:
                text = same.setdefault(text, f"g{len(same)}")
            return text
        table = tables.setdefault(f"{self.code.constant(access.array)}.two", f"W{len(tables)}")
        number = access.start + row * access.row_step + column * access.step
        pair = pairs.setdefault(f"{table}[{number // 2}]", f"w{len(pairs)}")
        return f"{pair}.f[{number % 2}]"

    @property
    def fed(self) -> list[str]:
        """Statements that make column i of the feed's result the next one of `packed`."""
        rows, inputs = self.feed.x.shape
        (W,) = self.places.single([self.feed.W])
        pointer = self.code.constant(W.array) + (".f" if W.array.paired else "")
        lines = [f"const float *W = {pointer} + {index(W.start, (W.row_step, 'i'))};"]
        at_once = W.step == 1 and inputs >= ROW
        if at_once:
            # What fills up a row is read along.
            width = inputs + (W.row_step == inputs + 1)
            lines.append(f"{self.code.row(width)}(W);")
            lines += [f"(void)w{inputs};"] * (width > inputs) + ["(void)W;"]
        for q in range(inputs):
            w = f"w{q}" if at_once else f"W[{q * W.step}]"
            for a in range(rows):
                lines.append(self.term(f"s{a}" if q else f"float s{a}", w, f"h{a}_{q}", q == 0))
        target = [index(a, (rows, "count")) for a in range(rows)]
        return [*lines, *(f"packed[{at}] = s{a};" for a, at in enumerate(target))]

    def reads_rows(self, rows: Tile, outputs: Tile, W: Access) -> bool:
        """Whether a block's weights of one input are side by side, enough to be read at once."""
        return (
            self.mode != "size"
            and not self.is_literal(W)
            and W.row_step == 1
            and outputs.size >= ROW
            and (W.step == 0 or W.step >= outputs.size)
            and self.row_chunk(rows, outputs.size) >= ROW
        )

    def row_chunk(self, rows: Tile, width: int) -> int:
        """Weights of a row that are read at once."""
        return self.share(width, REGISTERS - rows.size * width - 2)

    @staticmethod
    def share(width: int, free: int) -> int:
        """Of a row of `width` weights how many are read at once, in even shares."""
        free = min(free, ROW_LIMIT)
        return -(-width // -(-width // free)) if free > 0 else 0

    def sum(self, a: int, b: int, rows: Tile) -> str:
        """Name of the sum of row a and output b of a block."""
        return f"s{b}" if rows.size == 1 else f"s{a}_{b}"

    def starts(self, rows: Tile, outputs: Tile) -> list[str]:
        """Statements that make a block's sums begin."""
        names = [self.sum(a, b, rows) for a in range(rows.size) for b in range(outputs.size)]
        if self.clears:
            return [f"float {name};" for name in names]
        (start,) = self.places.single(
            [self.head.start[rows.begin : rows.end, outputs.begin : outputs.end]]
        )
        at_once = rows.size == 1 and start.step == 1 and self.mode != "size"
        if at_once and ROW <= outputs.size <= REGISTERS - ROW_LIMIT:
            start = _from(start, rows, outputs)
            at = index(start.start, (start.row_step, rows.at("j")), (1, outputs.at("r")))
            pointer = self.array(start.array) + ("" if at == "0" else f" + {at}")
            return [
                *(f"float {name};" for name in names),
                f"{{ {self.code.held(outputs.size)}({pointer});",
                *(f"{name} = h{b};" for b, name in enumerate(names[:-1])),
                f"{names[-1]} = h{len(names) - 1}; }}",
            ]
        return [
            f"float {self.sum(a, b, rows)} = {self.start_element(rows, outputs, a, b)};"
            for a in range(rows.size)
            for b in range(outputs.size)
        ]

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
# and an operand or two. Weights that are read one by one, behind a gate, leave room for more sums:
# 27 of 3 rows and a weight and 3 operands take 31, which GCC 12 does without spilling.
SUMS, ROWS, GATED_SUMS = 20, 4, 28
# Registers; floats that are read at once at least and at most.
REGISTERS, ROW, ROW_LIMIT = 32, 3, 16
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


def _shared_tile(total: int, limit: int) -> Tile:
    """One loop in blocks of at most `limit`, as few and as even as can be."""
    return Tile(0, total, -(-total // -(-total // limit)))


@dataclass(frozen=True)
class Part:
    """A loop over `turns` times `unroll` inputs of a block's sums.

    `pairs` says along what two weights stand together: outputs, inputs, or nothing. Of a "row" all
    the block's weights of one input stand together.
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
        if kernel.reads_rows(rows, outputs, W):
            if kernel.gate is not None:
                return [cls(kernel, rows, outputs, length, 1, "row", W, x)]
            return cls._of_rows(kernel, rows, outputs, length, limit, W, x)
        if paired and W.row_step == 1 and outputs.size > 1 and (length == 1 or W.step % 2 == 0):
            even = outputs.size % 2 == 0 and (outputs.end - outputs.begin) % 2 == 0
            pairs = "outputs" if outputs.single or even else ""
        elif paired and W.step == 1 and (outputs.end - outputs.begin == 1 or W.row_step % 2 == 0):
            pairs = "inputs" if length > 1 and kernel.gate is None else ""
        else:
            pairs = ""
        if kernel.gate is not None:
            pairs = "" if kernel.feed else pairs  # the list holds pointers to single weights
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

    @classmethod
    def _of_rows(
        cls,
        kernel: PrintedLinear,
        rows: Tile,
        outputs: Tile,
        length: int,
        limit: int,
        W: Access,
        x: Access,
    ) -> list[Part]:
        """One loop where the turns can be of more than half the limit, else two."""
        found, done = [], 0
        for tile in tiles(length, max(1, limit)):
            turns = (tile.end - tile.begin) // tile.size
            W_here = replace(W, start=W.start + done * W.step)
            x_here = replace(x, start=x.start + done * x.step)
            found.append(cls(kernel, rows, outputs, turns, tile.size, "row", W_here, x_here))
            done += turns * tile.size
        return found

    @property
    def factor(self) -> str:
        """The weight, where all are the same literal."""
        W = self.W
        return c_float(W.array.data[W.start]) if self.kernel.is_literal(W) else ""

    @property
    def W_type(self) -> str:
        return f"{self.kernel.name}_two" if self.two else "float"

    @property
    def two(self) -> bool:
        """Whether weights are read two at once."""
        return self.pairs in ("outputs", "inputs")

    @property
    def W_pointer(self) -> str:
        r, begin = self.outputs.at("r"), self.outputs.begin
        if self.outputs.single:
            terms = ()  # the block's first output is the only one, W.start its place
        elif self.pairs == "outputs":
            terms = ((1, f"({r} - {begin}) / 2" if begin else f"{r} / 2"),)
        else:
            terms = (
                (self.W.row_step // (2 if self.two else 1), f"({r} - {begin})" if begin else r),
            )
        pointer = self.kernel.code.constant(self.W.array)
        if self.W.array.paired:
            pointer += ".two" if self.two else ".f"
        at = index(self.W.start // (2 if self.two else 1), *terms)
        pointer += "" if at == "0" else f" + {at}"
        hidden = self.two and self.turns == 1
        return f"{self.kernel.name}_hidden({pointer})" if hidden else pointer

    @property
    def x_pointer(self) -> str:
        start = self.x.start - self.rows.begin * self.x.row_step
        at = index(start, (self.x.row_step, self.rows.at("j")))
        return self.kernel.array(self.x.array) + ("" if at == "0" else f" + {at}")

    def x_at(self, number: str) -> str:
        """Pointer to the operands of what is switched on, by its number in the list."""
        at = number if self.kernel.feed is not None else f"active[{number}]"
        offset = index(0, (self.x_advance, at))
        return self.x_pointer + ("" if offset == "0" else f" + {offset}")

    def W_at(self, number: str) -> str:
        """Pointer to the weights of what is switched on."""
        if self.kernel.feed is not None:
            (W,) = self.kernel.places.single([self.kernel.head.W])
            r = index(0, (W.row_step, self.outputs.at("r")))
            return f"active[{number}]" + ("" if r == "0" else f" + {r}")
        step = self.W.step // (2 if self.two else 1)
        return f"{self.W_pointer} + {index(0, (step, f'active[{number}]'))}"

    @property
    def W_advance(self) -> int:
        if self.pairs == "row":
            return 0  # reading them moves on
        return self.unroll * self.W.step // (2 if self.two else 1)

    @property
    def x_advance(self) -> int:
        return self.unroll * self.x.step

    @property
    def macs(self) -> list[str]:
        """The statements of one turn."""
        return self._statements(first=False)

    @property
    def first_macs(self) -> list[str]:
        """The statements of the first turn, where sums begin with its products."""
        return self._statements(first=True)

    def _statements(self, first: bool) -> list[str]:
        if self.pairs == "row":
            return [line for u in range(self.unroll) for line in self._row_macs(u, first)]
        lines = []
        rows, outputs = range(self.rows.size), range(self.outputs.size)
        for u in range(0, self.unroll, 2 if self.pairs == "inputs" else 1):
            for b in range(0, self.outputs.size, 2 if self.pairs == "outputs" else 1):
                if not self.pairs:
                    w = self.factor or f"W[{u * self.W.step + b * self.W.row_step}]"
                    lines += [self._mac(w, a, b, u, first) for a in rows]
                    continue
                at = (u * self.W.step + b * self.W.row_step) // 2
                two = []
                for k in (0, 1):
                    if self.pairs == "outputs" and b + k in outputs:
                        two += [self._mac(f"w.f[{k}]", a, b + k, u, first) for a in rows]
                    elif self.pairs == "inputs":
                        two += [self._mac(f"w.f[{k}]", a, b, u + k, first) for a in rows]
                load = f"{self.kernel.name}_pair w; w.two = W[{at}];"
                lines.append("{ " + " ".join([load, *two]) + " }")
        return lines

    def _row_macs(self, u: int, first: bool) -> list[str]:
        """The statements of one input: its weights are read some at a time."""
        outputs, step = self.outputs.size, self.W.step
        lines = [f"{self.kernel.code.held(self.rows.size)}(v);"] * self.together
        # Where a row ends with an element that only fills it up, it is read along.
        width = outputs + (step == outputs + 1 and outputs % 2)
        chunk = self.kernel.row_chunk(self.rows, width)
        for done in range(0, width, chunk):
            size = min(chunk, width - done)
            lines.append(f"{{ {self.kernel.code.row(size)}(W);")
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
    def together(self) -> bool:
        """Whether the operands of all rows are read at once."""
        return self.gated and self.pairs == "row" and self.x.row_step == 1 and self.rows.size >= ROW

    def _mac(self, w: str, a: int, b: int, u: int, first: bool) -> str:
        s = self.kernel.sum(a, b, self.rows)
        x = f"h{a}" if self.together else f"v[{u * self.x.step + a * self.x.row_step}]"
        return self.kernel.term(s, w, x, first)
