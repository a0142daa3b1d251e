"""Prune: a program of only what its results need, element by element."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from nn4mc_codegen.program.instructions import Elements, Instruction
from nn4mc_codegen.program.program import Program


def prune(p: Program, results: Mapping[str, Elements]) -> tuple[Program, dict[str, Elements]]:
    """The pruned program, and the numbers that the results' elements have in it.

    Every input stays, so that the C function keeps its parameters.
    """
    needed = np.zeros(p.size, bool)
    for elements in results.values():
        needed[elements] = True
    # From the last instruction to the first: what is left of it, and the elements that this makes.
    kept: list[tuple[Instruction, Elements]] = []
    for instruction in reversed(p.instructions):
        wanted = needed[instruction.result.elements]
        if wanted.any():
            computed, parts = instruction.restricted(wanted.reshape(instruction.shape))
            part = replace(instruction, **parts)
            for elements in part.reads:
                needed[elements] = True
            kept.append((part, instruction.result.elements[computed.ravel()]))

    pruned = Program(pairs=p.pairs)
    new_number = np.full(p.size, -1)
    new_number[:2] = 0, 1  # the literals, which every program begins with
    made = {id(i.result) for i in p.instructions}
    input_names = {id(array): name for name, array in p.inputs.items()}
    for array in p.arrays[1:]:
        name = input_names.get(id(array))
        if id(array) in made or not (name or needed[array.elements].any()):
            continue
        copy = pruned.array(array.name, array.size, array.data)
        copy.paired = array.paired
        new_number[array.elements] = copy.elements
        if name:
            pruned.inputs[name] = copy
    for part, old in reversed(kept):
        new = part.renumbered(new_number, pruned.array(part.result.name, old.size))
        new_number[old] = new.result.elements
        pruned.instructions.append(new)
    return pruned, {name: new_number[elements] for name, elements in results.items()}
