"""Splits a program in two: what depends only on inputs that stay constant, and the rest.

A model-predictive controller calls the network many times with the same measured signals s, and
with other commands u each time. What the signals contribute is computed once:

    y = W·[u, s] + b   becomes   folded = W_s·s + b,   y = W_u·u + folded
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nn4mc_codegen.program.derive import dependent
from nn4mc_codegen.program.expression import var
from nn4mc_codegen.program.instructions import ZERO, Elements, Linear
from nn4mc_codegen.program.program import Program


@dataclass(frozen=True)
class Folded:
    """`values` are the elements that are computed once, from the constant inputs alone; `results`
    read these as the input "folded"."""

    values: Elements
    results: dict[str, Elements]


def fold(p: Program, constant: Elements, results: dict[str, Elements]) -> Folded:
    """Split what computes `results`, where `constant` are the elements of the inputs that stay."""
    # First every product that reads constant elements beside others is made in two steps. The
    # element e of the program is then the element new[e].
    new = np.arange(p.size)
    known = _Known(p, constant)
    for instruction in list(p.instructions):
        part = instruction.renumbered(new, instruction.result)
        if isinstance(part, Linear) and (split := _split(p, part, known)) is not None:
            made = split
        elif any((new[e] != e).any() for e in instruction.reads):
            made = p.again(part)
        else:
            continue
        new = np.append(new, np.arange(len(new), p.size))
        new[instruction.result.elements] = made.ravel()
        known.update()
    results = {name: new[elements] for name, elements in results.items()}

    # The values are the fixed elements at the border: those that what varies reads, or that are
    # results themselves.
    fixed = known.elements & dependent(p, constant)
    needed = np.zeros(p.size, bool)
    for elements in results.values():
        needed[elements] = True
    border = needed & fixed
    for instruction in reversed(p.instructions):
        mine = instruction.result.elements
        if needed[mine].any() and not fixed[mine].all():
            for elements in instruction.reads:
                needed[elements] = True
                border[elements] |= fixed[elements]
    values = np.flatnonzero(border)

    # Last everything that varies is made once more, to read "folded" where it read the values.
    new = np.arange(p.size)
    new[values] = p.input("folded", len(values)).elements
    for instruction in list(p.instructions):
        mine = instruction.result.elements
        if not needed[mine].any() or fixed[mine].all():
            continue
        if any((new[e] != e).any() for e in instruction.reads):
            made = p.again(instruction.renumbered(new, instruction.result))
            new[mine] = made.ravel()
    return Folded(values, {name: new[elements] for name, elements in results.items()})


class _Known:
    """For each element of a growing program, whether it is computed from constants and from
    constant inputs alone."""

    def __init__(self, p: Program, constant: Elements):
        self._program = p
        self._instructions = 0
        self._arrays = 0
        self.elements = np.zeros(0, bool)
        self.update(constant)

    def update(self, constant: Elements | None = None) -> None:
        """Extend this to what the program has got since the last update."""
        p = self._program
        self.elements = np.append(self.elements, np.zeros(p.size - len(self.elements), bool))
        for array in p.arrays[self._arrays :]:
            if array.data is not None:
                self.elements[array.elements] = True
        if constant is not None:
            self.elements[constant] = True
        for i in p.instructions[self._instructions :]:
            self.elements[i.result.elements] = all(self.elements[e].all() for e in i.reads)
        self._arrays, self._instructions = len(p.arrays), len(p.instructions)


def _split(p: Program, linear: Linear, known: _Known) -> Elements | None:
    """The product made anew, the constant operands' share first, and then the rest on top of it;
    None if there is only one of both."""
    columns = known.elements[linear.x].all(axis=0)
    if columns.all() or not columns.any():
        return None
    start_known = known.elements[linear.start].all()
    with p.layer(linear.label, linear.formula):
        share = p.linear(
            linear.W[:, columns], linear.x[:, columns], linear.start if start_known else ZERO
        )
        rest = p.linear(
            linear.W[:, ~columns], linear.x[:, ~columns], share if start_known else linear.start
        )
        return rest if start_known else p.map(var(0) + var(1), rest, share)
