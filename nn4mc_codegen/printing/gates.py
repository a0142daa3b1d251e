"""Gates: products that skip the operands that a relu has switched off.

Where a relu's value is zero, the next layer's column of weights adds nothing; nor does anything go
back through it, for its slope is zero as well:

    forwards   h = relu(a)              y = W·h     column i of W is skipped where h[i] is zero
    backwards  d = (h > 0 ? 1 : 0)·g    e = V'·d    column i of V' is skipped where h[i] is zero

The element h[i] is the gate of column i. A backward product that skips what the slope would make
zero may read g itself, and the product d is not computed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nn4mc_codegen.printing.access import Locator
from nn4mc_codegen.program.expression import Expression, const, var
from nn4mc_codegen.program.instructions import ZERO, Elements, Linear, Map
from nn4mc_codegen.program.program import Program

GATED = 16
"""Sums that an operand must take part in before it pays to test whether it is zero.

Measured in instructions under QEMU (GCC 12.2). With 12 the Jacobian of 26-16-12-9 with relu takes
6332 instead of 6188; with 24 that of 26-8-3 takes 782 instead of 527, and with 8 and 24 the
second-order product of HASEL's network 1853 and 1819 instead of 1787.
"""

# What stands in the slope of a relu with the value y: y > 0 ? 1 : 0.
_RELU_SLOPE = const(0.0), const(1.0), const(0.0)


def add_gates(p: Program) -> None:
    """Note in each `Linear` of a program, as its `gate`, which relu switches its operands off; but
    only where skipping those pays."""
    gate = np.full(p.size, ZERO)  # for each element the one that is zero only if it is
    locator = Locator(p.arrays)
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
                and np.all(gates == gates[:1])  # a column has one gate for all rows
                and np.all(gates != ZERO)
                and np.all(np.diff(gates[0]) == 1)
                and locator.single([gates[:1]])
                and len(locator.spans(instruction.W, instruction.x)) == 1
            ):
                instruction.gate = gates[0]


def drop_slopes(p: Program, results: Sequence[Elements]) -> None:
    """Leave out the product with a relu's slope where nothing but a gated `Linear` reads it.

    That product, d = (h > 0 ? 1 : 0)·g above, differs from g only where the gate is closed, and
    there the `Linear` does not read it.
    """
    locator = Locator(p.arrays)
    made = {i.result.first: i for i in p.instructions}
    for linear in list(p.instructions):
        if not isinstance(linear, Linear) or not linear.gate.size:
            continue
        owners = np.unique(locator.owners(linear.x))
        product = made.get(locator.array(owners[0]).first) if len(owners) == 1 else None
        if not isinstance(product, Map) or _switch(product.expression) is None:
            continue
        if not p.is_read_only_by(product, linear, results):
            continue
        bare = _without_slope(product.expression)
        if bare.op == "var":
            # Nothing is left to compute: the Linear reads the other factor itself.
            x = product.operands[bare.value].ravel()[linear.x - product.result.first]
            if len(locator.spans(linear.W, x)) == 1:
                linear.x = x
                p.instructions.remove(product)
            continue
        used = sorted(bare.operands)
        numbers = [
            var(used.index(k)) if k in used else var(0) for k in range(len(product.operands))
        ]
        product.expression = bare.substitute(numbers)
        product.operands = tuple(product.operands[k] for k in used)


def _without_slope(e: Expression) -> Expression:
    """A product in which `_switch` finds a relu's slope, without that factor."""
    if e.op != "*":
        return const(1.0)
    first = 0 if _switch(e.args[0]) is not None else 1
    return _without_slope(e.args[first]) * e.args[1 - first]


def _switch(e: Expression) -> int | None:
    """The operand y whose slope of a relu, y > 0 ? 1 : 0, is a factor of a product, if there is
    one: unless that operand is above zero, the product is zero."""
    if e.op == "*":
        found = [_switch(a) for a in e.args]
        return found[0] if found[0] is not None else found[1]
    if e.op == "where" and e.args[0].op == "var" and e.args[1:] == _RELU_SLOPE:
        return e.args[0].value
    return None
