"""Operands of a `Linear` that are held in registers: the statements that load or compute them.

Row a of column q becomes the variable h{a}_{q}. With a formula before the product (`Kernel.before`)
it is computed, d = g·(1 - y·y) say; with a gate it is zero where that is closed:

    float h0_3 = 0.0f; if (fk_on(g[3])) { h0_3 = …; }
"""

from __future__ import annotations

from dataclasses import dataclass, field

from nn4mc_codegen.printing.access import Access
from nn4mc_codegen.printing.linear_blocks import BlockedLinear
from nn4mc_codegen.program.expression import var
from nn4mc_codegen.program.instructions import Linear


def operand_lines(kernel: BlockedLinear, linear: Linear, begin: int, end: int) -> list[str]:
    """Statements for the columns begin … end-1 of what `linear`, a part of the kernel, multiplies.

    What is the same for all columns stands before them: pointers to pairs of constants, and
    elements that every column reads.
    """
    rows, inputs = linear.x.shape
    expression = kernel.before.expression if kernel.before else var(0)
    operands = kernel.before.operands if kernel.before else (linear.x,)
    accesses = kernel.locator.single([o.reshape(rows, inputs) for o in operands])
    gate = kernel.locator.single([linear.gate[None]])[0] if linear.gate.size else None
    shared = _SharedReads()
    lines = []
    for q in range(begin, end):
        pairs: dict[str, str] = {}
        values = [
            kernel.code.expression(
                expression, [shared.element(kernel, x, a, q, pairs) for x in accesses]
            )
            for a in range(rows)
        ]
        held = [f"h{a}_{q}" for a in range(rows)]
        declared = [f"{name} = 0.0f" if gate else name for name in held]
        lines.append(f"float {', '.join(declared)};")
        body = [f"{kernel.name}_pair {p}; {p}.two = {at};" for at, p in pairs.items()]
        body += [f"{name} = {value};" for name, value in zip(held, values, strict=True)]
        test = f"if ({kernel.name}_on({kernel.element(gate, '0', '0', 0, q)})) " if gate else ""
        body[0] = f"{test}{{ {body[0]}"
        body[-1] += " }"
        lines += body
    return [*shared.declarations(kernel.name), *lines]


@dataclass
class _SharedReads:
    """What several columns share, by the C text that it stands for."""

    tables: dict[str, str] = field(default_factory=dict)
    """names of pointers to arrays of pairs of constants"""
    elements: dict[str, str] = field(default_factory=dict)
    """names of variables for elements that every column reads"""

    def element(
        self, kernel: BlockedLinear, access: Access, row: int, column: int, pairs: dict[str, str]
    ) -> str:
        """C of one element. A paired constant is one half of a pair, which is loaded whole; `pairs`
        collects the names of a column's pairs."""
        if not access.array.paired or kernel.is_literal(access):
            text = kernel.element(access, "0", "0", row, column)
            if access.step == 0 and access.array.data is None:
                text = self.elements.setdefault(text, f"g{len(self.elements)}")
            return text
        pointer = f"{kernel.code.constant(access.array)}.two"
        table = self.tables.setdefault(pointer, f"W{len(self.tables)}")
        number = access.start + row * access.row_step + column * access.step
        pair = pairs.setdefault(f"{table}[{number // 2}]", f"w{len(pairs)}")
        return f"{pair}.f[{number % 2}]"

    def declarations(self, name: str) -> list[str]:
        tables = [
            f"const {name}_two *{table} = {name}_hidden({pointer});"
            for pointer, table in self.tables.items()
        ]
        return [*tables, *(f"const float {g} = {text};" for text, g in self.elements.items())]
