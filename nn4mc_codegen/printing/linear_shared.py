"""`Linear` with --optimize size: calls of the one function of source.c.j2 that all layers share.

NAME_linear adds up columns of weights, W[stride·i + r], and NAME_linear_across rows of them,
W[stride·r + i]; both take weights, operands and results by pointer, and any sizes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from nn4mc_codegen.printing.access import Access
from nn4mc_codegen.printing.c import index, moved
from nn4mc_codegen.printing.linear_kernel import PrintedLinear


def shared_calls(
    k: PrintedLinear, result: str, pointer: Callable[[Access], str]
) -> list[str] | None:
    """Statements that call the function for a kernel without a gate, whose result lies at `result`;
    None where its operands do not suit. `pointer` is that to an access's first element of row j."""
    lines, outputs = [], k.shape[1]
    for rows, columns in k.regions:
        block = k.head.start[rows.begin : rows.end, columns.begin : columns.end]
        (start,) = k.locator.single([block])
        if k.is_zero(start):
            bias = "0"
        elif start.step == 1 or columns.size == 1:
            bias = pointer(start)
        else:
            return None
        at = index(outputs * rows.begin + columns.begin, (outputs if rows.size > 1 else 0, "j"))
        target = moved(result, at)
        calls = []
        # With so large a body a region is one loop for each span of inputs.
        for loop in k.loops(rows, columns, body=k.head.W.size * k.shape[0]):
            W, length = loop.W, loop.turns * loop.unroll
            if loop.x.step != 1 and length > 1:
                return None
            if W.row_step == 1 or columns.size == 1 and W.step != 1:
                function, stride = "linear", W.step
            elif W.step == 1 or length == 1:
                function, stride = "linear_across", W.row_step
            else:
                return None
            k.code.helpers.add(function)
            pointers = pointer(replace(W, row_step=0)), pointer(loop.x)
            sizes = f"{columns.size}, {length}, {stride}"
            calls.append(f"{k.name}_{function}({', '.join([target, bias, *pointers, sizes])});")
            bias = target  # a further span of inputs adds to what the first has made
        if rows.size > 1:
            head = f"for (int j = 0; j < {rows.size}; j++) {{"
            calls = [head, *(f"    {call}" for call in calls), "}"]
        lines += calls
    return lines
