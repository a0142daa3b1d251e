"""Rules that all of a firmware keeps, whatever is executed: every loop ends.

The loops of a sample and of interrupts are executed, which bounds them (execution.py). Those of
what else there is, answers to messages or the start, only have to end. A loop ends where

- its turns were bounded by execution, or a LOOP_BOUND stands in it, or
- it counts: in each turn a register moves on by a constant, nothing else writes it, and in each
  turn it is compared with something that stands still, which leads out of the loop.

What counts past its end by a step that does not meet it would go round the whole of 2^32 numbers;
the compiler makes no such loop of a program that is defined.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Set

from nn4mc_codegen.trial.cycles import Instruction
from soft_control.proof.findings import Problem
from soft_control.proof.graph import Block, Graph, Loop
from soft_control.proof.image import Image
from soft_control.proof.instructions import NOTHING, STORES, TESTS
from soft_control.proof.operands import NAMES, immediate, registers, split
from soft_control.proof.state import PC, SP

PROGRAM = "main"
"""Its own loop is the program, which does not end."""
CALLED_CHANGES = {0, 1, 2, 3, 12, 14}
"""Registers that a call may leave with anything in them (Procedure Call Standard, 6.1.1)."""
SHIFTS = ("lsr", "asr")
"""To the right: by at least one bit, so that the register is 0 after 32 turns."""


def endless(
    image: Image, graphs: Iterable[Graph], bounded: Set[int], final: Set[str]
) -> list[Problem]:
    """Loops that may not end.

    bounded: heads of those whose turns are known or said. final: functions that end the program,
    whose last loop waits for the restart.
    """
    return [
        Problem(
            "a loop of which it is not seen that it ends", graph.function.name, loop.head,
            image.place(loop.head),
            "let it count, or say LOOP_BOUND(most turns) in its body, see firmware/src/solver/"
            "loop_bound.h",
        )
        for graph in graphs
        for loop in graph.loops.values()
        if loop.head not in bounded
        and not (graph.function.name == PROGRAM and loop.depth == 1)
        and graph.function.name not in final
        and _turns_without(graph, loop, _last_calls(image, graph, loop, final))
        and not counts(graph, loop)
    ]  # fmt: skip


def _last_calls(image: Image, graph: Graph, loop: Loop, final: Set[str]) -> set[int]:
    """Blocks of the loop that call what does not come back."""
    found = set()
    for start in loop.body:
        block = graph.blocks[start]
        called = image.function_at(block.target or 0) if block.ends == "call" else None
        if called is not None and called.name in final:
            found.add(start)
    return found


def counts(graph: Graph, loop: Loop) -> bool:
    """Is there a register that moves on in each turn, and is compared in each turn?"""
    blocks = {start: graph.blocks[start] for start in loop.body}
    if len(blocks) == 1 and _copy_counts(blocks[loop.head]):
        return True
    written = [found for block in blocks.values() for found in _writes(block)]
    moving = {r for _, r, step in written if step} - {r for _, r, step in written if not step}
    still = {*range(PC)} - {r for _, r, _ in written}
    for counter in moving:
        steps = [(at, step) for at, r, step in written if r == counter]
        if len({step > 0 for _, step in steps}) > 1:
            continue
        moved = {start for start, block in blocks.items() if any(a in block.code for a, _ in steps)}
        leaves = {
            start
            for start, block in blocks.items()
            if any(to not in loop.body for to in graph.successors[start])
            and _compares(block, counter, still)
        }
        if not _turns_without(graph, loop, moved) and not _turns_without(graph, loop, leaves):
            return True
    return False


def _copy_counts(block: Block) -> bool:
    """The same of a loop of one block, whose counter may pass through other registers on its way:
    mov r2, r5; ldmia r2!, {r0, r1}; cmp r2, r6; mov r5, r2; bne."""
    holds: dict[int, tuple[int, int] | None] = {r: (r, 0) for r in range(PC)}
    compared: tuple[str, str] | None = None
    tested: list[tuple[int, int] | None] = []
    for at, instruction in block.code.items():
        name, words = instruction.mnemonic, split(instruction.operands)
        if name == "cmp":
            compared = (words[0], words[1])
            tested = [holds.get(NAMES.get(word, PC)) for word in words[:2]]
        elif name.endswith("s") and name not in ("movs", "mvns"):
            tested = []  # other flags
        if name in ("mov", "movs") and at not in block.conditions and words[1] in NAMES:
            holds[NAMES[words[0]]] = holds.get(NAMES[words[1]])
            continue
        for register, step in _written(instruction, block.conditions.get(at)).items():
            before = holds.get(register)
            known = step and before is not None and at not in block.conditions
            by_shift = name.removesuffix("s") in SHIFTS
            holds[register] = (before[0], before[1] + step) if known and not by_shift else None
    if compared is None or not tested or block.ends != "branch":
        return False
    moving = {r for r, held in holds.items() if held is not None and held[0] == r and held[1]}
    still = {r for r, held in holds.items() if held == (r, 0)}
    first, second = tested
    if first is None or first[0] not in moving:
        return False
    return immediate(compared[1]) is not None or (second is not None and second[0] in still)


def _turns_without(graph: Graph, loop: Loop, blocks: Set[int]) -> bool:
    """Can the loop be gone round without any of these blocks?"""
    if loop.head in blocks:
        return False
    todo, seen = [loop.head], set()
    while todo:
        for to in graph.successors[todo.pop()]:
            if to == loop.head:
                return True
            if to in loop.body and to not in blocks and to not in seen:
                seen.add(to)
                todo.append(to)
    return False


def _writes(block: Block) -> Iterator[tuple[int, int, int]]:
    """(address, register, step) of each register that is written; step 0: by anything else than one
    constant step, or not always."""
    for at, instruction in block.code.items():
        sure = at not in block.conditions
        for register, step in _written(instruction, block.conditions.get(at)).items():
            yield at, register, step if sure else 0
    if block.ends in ("call", "pointer"):
        for register in CALLED_CHANGES:
            yield block.last, register, 0


def _written(instruction: Instruction, condition: str | None) -> Mapping[int, int]:
    name = instruction.mnemonic.partition(".")[0]
    if condition is not None:
        name = name.removesuffix(condition)
    plain, words = name.removesuffix("s"), split(instruction.operands)
    if name in NOTHING or name in TESTS or re.fullmatch(r"it[te]{0,3}|b.*", name) or not words:
        return {}
    if name in ("ldmia", "stmia", "ldmdb", "stmdb", "vldmia", "vstmia", "push", "pop"):
        return _of_lists(name, words)
    found: dict[int, int] = {}
    results = words[: 2 if name in ("ldrd", "umull", "smull", "umlal", "smlal", "vmov") else 1]
    if name not in STORES and name not in ("cbz", "cbnz", "vstr", "vcmp", "vcmpe"):
        found.update({NAMES[word]: 0 for word in results if NAMES.get(word, PC) < PC})
    for place, word in enumerate(words):
        base = re.match(r"\[(\w+)", word)
        if base and (word.endswith("!") or place + 1 < len(words)):
            behind = (
                words[place + 1] if place + 1 < len(words) else word.strip("[]!").split(", ")[-1]
            )
            found[NAMES[base[1]]] = immediate(behind) or 0
    own = len(words) == 2 or words[1] == words[0]
    amount = immediate(words[-1]) or 0
    if own and words[0] in NAMES and amount:
        if plain in ("add", "addw", "sub", "subw"):
            found[NAMES[words[0]]] = amount if plain.startswith("add") else -amount
        elif plain in SHIFTS:
            found[NAMES[words[0]]] = -amount
    return found


def _of_lists(name: str, words: list[str]) -> dict[int, int]:
    """Of a load or store of several; push and pop move the stack pointer alone, and back."""
    listed = registers(words[-1])
    found = {r: 0 for r in listed if r < PC} if name in ("ldmia", "ldmdb", "pop") else {}
    if words[0].endswith("!"):
        size = 4 * len(listed)
        found[NAMES[words[0][:-1]]] = -size if name.endswith("db") else size
    return {r: step for r, step in found.items() if r != SP}


def _compares(block: Block, counter: int, still: Set[int]) -> bool:
    """Is the way on decided by the counter and what stands still?"""
    if block.tested is not None:
        return block.tested[1] == counter
    for instruction in reversed(block.code.values()):
        name, words = instruction.mnemonic.partition(".")[0], split(instruction.operands)
        if name in ("cmp", "cmn"):
            known = {NAMES[words[0]], NAMES.get(words[1].split(",")[0], counter)}
            return counter in known and known - {counter} <= still
        if name in ("tst", "teq", "vmrs"):
            return False
        if name.endswith("s") and words and name[:-1] in ("add", "sub", "lsr", "asr"):
            return NAMES.get(words[0]) == counter
    return False
