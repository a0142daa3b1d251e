"""Splits a program in two: what depends only on inputs that stay constant, and the rest.

A model-predictive controller calls the network many times with the same measured signals. What
these contribute is computed once: also their share of each `Linear` that reads them beside others.
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
    """`values` are computed from the constant inputs; `results` read them as the input "folded"."""

    values: Elements
    results: dict[str, Elements]


def fold(p: Program, constant: Elements, results: dict[str, Elements]) -> Folded:
    """Split what computes `results`, by the elements of the inputs that stay constant."""
    place = np.arange(p.size)
    known = _Known(p, constant)
    for instruction in list(p.instructions):
        part = instruction.renumbered(place, instruction.result)
        if isinstance(part, Linear) and (split := _split(p, part, known)) is not None:
            made = split
        elif any((place[e] != e).any() for e in instruction.reads):
            made = p.again(part)
        else:
            continue
        place = np.append(place, np.arange(len(place), p.size))
        place[instruction.result.elements] = made.ravel()
        known.update()
    results = {name: place[elements] for name, elements in results.items()}

    known = known.elements
    fixed = known & dependent(p, constant)
    needed = np.zeros(p.size, bool)
    for elements in results.values():
        needed[elements] = True
    frontier = needed & fixed
    for instruction in reversed(p.instructions):
        mine = instruction.result.elements
        if needed[mine].any() and not fixed[mine].all():
            for elements in instruction.reads:
                needed[elements] = True
                frontier[elements] |= fixed[elements]
    values = np.flatnonzero(frontier)

    place = np.arange(p.size)
    place[values] = p.input("folded", len(values)).elements
    for instruction in list(p.instructions):
        mine = instruction.result.elements
        if not needed[mine].any() or fixed[mine].all():
            continue
        if any((place[e] != e).any() for e in instruction.reads):
            made = p.again(instruction.renumbered(place, instruction.result))
            place[mine] = made.ravel()
    return Folded(values, {name: place[elements] for name, elements in results.items()})


class _Known:
    """For each element of a growing program whether nothing that varies is in it."""

    def __init__(self, p: Program, constant: Elements):
        self._program = p
        self._instructions = 0
        self._arrays = 0
        self.elements = np.zeros(0, bool)
        self.update(constant)

    def update(self, constant: Elements | None = None) -> None:
        """Also of what was made since."""
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
    """The share of the constant operands summed first, then the rest."""
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
