"""Kernels as their templates see them: with C names for all that they read and write.

A kernel becomes a static function, and kernels that print the same are one function. The template
of the head's kind (linear.j2, softmax.j2, or map.j2 without a head) prints the function's body, and
asks a `PrintedKernel` for everything that depends on the kernel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from nn4mc_codegen.printing.access import Access, Locator, Piece
from nn4mc_codegen.printing.c import c_float, index
from nn4mc_codegen.printing.fusion import Kernel, is_long
from nn4mc_codegen.printing.schedule import Procedure
from nn4mc_codegen.printing.source import Code
from nn4mc_codegen.program.expression import Expression, Function, var
from nn4mc_codegen.program.instructions import Array, Elements, Instruction


class PrintedKernel:
    """A kernel with the C names inside its function: x0, x1, … for arrays that it reads and y0, y1,
    … for those that it writes, or x and y where there is but one."""

    def __init__(self, code: Code, procedure: Procedure, kernel: Kernel):
        self.code = code
        self.name = code.name
        self.mode = code.options.optimize
        self.head = kernel.head
        self.feed, self.before = kernel.feed, kernel.before
        self.ranged = kernel.ranged
        self.maps = kernel.maps
        self.locator: Locator = procedure.locator
        self.shape = kernel.instructions[0].shape
        self.target = kernel.target
        self.stored = [i.result for i in kernel.stored]
        if kernel.target is not None:
            (owner,) = self.locator.single([kernel.target[:1, :1]])
            self.stored = [owner.array]
        self.label = kernel.instructions[-1].label
        self.macs = sum(i.macs for i in kernel.instructions)
        self.formulas = list(dict.fromkeys(i.formula for i in kernel.all_instructions))
        arrays: dict[int, Array] = {}
        for elements in kernel.reads:
            for piece in self.locator.pieces([elements.reshape(-1, elements.shape[-1])]):
                for access in piece.operands:
                    if access.array.data is None:
                        arrays.setdefault(access.array.first, access.array)
        self.sources = list(arrays.values())
        xs = ["x"] if len(self.sources) == 1 else [f"x{k}" for k in range(len(self.sources))]
        ys = ["y"] if len(self.stored) == 1 else [f"y{k}" for k in range(len(self.stored))]
        self.names = {id(a): x for a, x in zip(self.sources, xs, strict=True)}
        self.written = {id(a): y for a, y in zip(self.stored, ys, strict=True)}
        self._pointers = [f"const float *{x}" for x in xs] + [f"float *{y}" for y in ys]
        self.array_function = self._array_function(kernel)

    @property
    def parameters(self) -> str:
        return ", ".join(self._pointers + [f"int {name}" for name in self.range_names])

    @property
    def range_names(self) -> tuple[str, ...]:
        """If the kernel skips columns that are not wanted: the names of the parameters for the
        first wanted column and the one past the last."""
        return ()

    def _array_function(self, kernel: Kernel) -> Function | None:
        """The function whose loop over an array is all that the kernel does; all layers share that
        loop. Short functions are repeated in place instead, but for the sake of size."""
        if kernel.head is None and len(kernel.maps) == 1 and kernel.target is None:
            mapped = kernel.maps[0]
            if not is_long(mapped) and self.mode != "size":
                return None
            access = self.locator.single(mapped.operands)
            if (
                mapped.expression.op == "call"
                and mapped.expression.args[0].op == "var"
                and access is not None
                and (access[0].step == 1 or mapped.shape[1] == 1)
                and (access[0].row_step == mapped.shape[1] or mapped.shape[0] == 1)
            ):
                return mapped.expression.value
        return None

    def array(self, array: Array) -> str:
        """C expression of the pointer to an array's floats."""
        if array.data is None:
            return self.names[id(array)]
        return self.code.floats(array)

    def element(
        self, access: Access, row: str, column: str, row_plus: int = 0, plus: int = 0
    ) -> str:
        """C of the element [row + row_plus, column + plus] of an access; row and column are C."""
        step, row_step = access.step, access.row_step
        if self.is_literal(access):
            return c_float(access.array.data[access.start])
        start = access.start + plus * step + row_plus * row_step
        return f"{self.array(access.array)}[{index(start, (row_step, row), (step, column))}]"

    def pieces(self, operands: Sequence[Elements]) -> list[Piece]:
        return self.locator.pieces(operands)

    def is_literal(self, access: Access) -> bool:
        """Whether all elements of an access are one and the same constant."""
        return access.array.data is not None and access.step == 0 and access.row_step == 0

    def is_zero(self, access: Access) -> bool:
        """Whether all elements of an access are the literal zero."""
        return self.is_literal(access) and access.array.data[access.start] == 0.0

    # ------------------------------------------------------------------ elementwise formulas

    @cached_property
    def map_pieces(self) -> list[Piece]:
        """Rectangles of all operands that the formulas read from outside the kernel. Where the
        result goes to another array (`Kernel.target`), its elements are the first operand."""
        target = [] if self.target is None else [self.target]
        operands = [*target, *self._outside]
        return self.locator.pieces(operands) if operands else []

    @cached_property
    def _outside(self) -> list[Elements]:
        return [o.reshape(self.shape) for m in self.maps for o in m.operands if not self._made(o)]

    def _made(self, operand: Elements) -> Instruction | None:
        """The kernel's own instruction whose result an operand is, if it is one."""
        for i in [*self.maps, *([self.head] if self.head else [])]:
            if i.result.first <= operand.flat[0] < i.result.first + i.result.size:
                return i
        return None

    def formulas_at(
        self, piece: Piece | None, position: BlockPosition, rows: Sequence[tuple[int, str]]
    ) -> tuple[list[str], list[list[str]]]:
        """Statements for one column of a block: first those that hold for all rows, then for each
        row those that compute and store its element.

        `rows` has for each row its number in the block and the C name of the head's result there.
        """
        accesses = piece.operands if piece else ()
        aim, accesses = (None, accesses) if self.target is None else (accesses[0], accesses[1:])
        common = _Common(self, position, len(rows) > 1 or position.rows > 1)
        lines = []
        for number, head in rows:
            values = {id(self.head): head}
            statements: list[str] = []
            target = self._target(aim, position, number)
            if self.head is not None and id(self.head.result) in self.written:
                statements.append(f"{self.written[id(self.head.result)]}[{target}] = {head};")
            outside = iter(accesses)
            for k, m in enumerate(self.maps):
                operands = [
                    values[id(self._made(o))] if self._made(o) else next(outside)
                    for o in m.operands
                ]
                text = common.text(m.expression, operands, number)
                y = self.written.get(id(m.result)) or (aim and next(iter(self.written.values())))
                if any(self._made(o) is m for later in self.maps for o in later.operands):
                    name = f"t{k}{head.removeprefix('s') and '_' + head.removeprefix('s')}"
                    statements.append(f"const float {name} = {text};")
                    values[id(m)] = text = name
                if y:
                    statements.append(f"{y}[{target}] = {text};")
            lines.append(statements)
        return common.lines, lines

    def _target(self, aim: Access | None, position: BlockPosition, row: int) -> str:
        """Index of the element that a row's result is written to."""
        if aim is None:
            columns = self.shape[1]
            aim = Access(self.stored[0], columns * position.first_row + position.first, columns, 1)
        start = aim.start + row * aim.row_step + position.plus * aim.step
        return index(start, (aim.row_step, position.row), (aim.step, position.column))

    def loop_lines(self, piece: Piece) -> list[str]:
        """The loops of a piece of formulas that have no head."""
        j = "j" if piece.rows > 1 else "0"
        i = "i" if piece.columns > 1 else "0"
        position = BlockPosition(j, i, 0, piece.row, piece.column, piece.rows)
        common, (lines,) = self.formulas_at(piece, position, [(0, "")])
        loop_j = f"for (int j = 0; j < {piece.rows}; j++) {{"
        loop_i = f"for (int i = 0; i < {piece.columns}; i++) {{"
        if common:
            return [loop_i, *common, loop_j, *lines, "}", "}"]
        heads = [loop_j] * (piece.rows > 1) + [loop_i] * (piece.columns > 1)
        if not heads and len(self.map_pieces) > 1 and len(lines) > 1:
            heads = ["{"]
        return [*heads, *lines, *["}"] * len(heads)]


@dataclass(frozen=True)
class BlockPosition:
    """Where in a block formulas are computed: at [row, column + plus] of a piece."""

    row: str
    """C of the block's first row; rows count from the piece's first"""
    column: str
    """C of the block's first column"""
    plus: int
    first_row: int
    """row and column of the result where the piece begins"""
    first: int
    rows: int
    """of the piece"""


class _Common:
    """Prints formulas, and computes parts that are the same in all rows once, before the rows.

    The statements for those parts are in `lines`. If they are not `wanted`, as there is but one
    row, formulas are printed whole.
    """

    def __init__(self, kernel: PrintedKernel, position: BlockPosition, wanted: bool):
        self._kernel = kernel
        self._position = position
        self._wanted = wanted
        self.lines: list[str] = []
        self._names: dict[str, str] = {}

    def text(self, e: Expression, operands: Sequence[Access | str], row: int) -> str:
        """C of a formula whose operands are accesses or C names."""
        names = [o if isinstance(o, str) else self._element(o, row) for o in operands]
        same = [not isinstance(o, str) and o.row_step == 0 for o in operands]  # in all rows
        if not self._wanted:
            return self._kernel.code.expression(e, names)

        def split(part: Expression) -> Expression:
            if part.op in ("var", "const") or not part.operands:
                return part
            if all(same[k] for k in part.operands):
                names.append(self._hoisted(self._kernel.code.expression(part, names)))
                return var(len(names) - 1)
            return replace(part, args=tuple(map(split, part.args)))

        return self._kernel.code.expression(split(e), names)

    def _element(self, access: Access, row: int) -> str:
        p = self._position
        return self._kernel.element(access, p.row, p.column, row, p.plus)

    def _hoisted(self, text: str) -> str:
        """Name of the variable that has this value for all rows: f0, f1, …"""
        if text not in self._names:
            plus = self._position.plus
            self._names[text] = f"f{len(self._names)}_{plus}" if plus else f"f{len(self._names)}"
            self.lines.append(f"const float {self._names[text]} = {text};")
        return self._names[text]
