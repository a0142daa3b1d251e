"""A block ready to be executed: what it does to a state, what it takes, what its branch tells."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from nn4mc_codegen.trial.cycles import Instruction, cost_of_trace
from soft_control.proof.graph import Block
from soft_control.proof.meaning import Effect
from soft_control.proof.operands import (
    NAMES,
    UnknownInstruction,
    immediate,
    register,
    registers,
    split,
)
from soft_control.proof.state import State
from soft_control.proof.values import (
    ANY,
    CONDITIONS,
    MOST,
    WORD,
    Value,
    flags_of_sum,
    numbers_of,
    values_of,
)

SETTING = "adds subs movs mvns ands orrs eors bics lsls lsrs asrs muls".split()
"""Of the instructions that set flags by their result, those that keep what goes with each
number."""
SILENT = (
    "mov movw mvn add addw sub subw rsb and orr eor bic lsl lsr asr uxtb uxth sxtb sxth ubfx mul "
    "mla mls ldr ldrb ldrh ldrsb ldrsh ldrd str strb strh strd ldmia stmia vldr vstr vldmia vstmia "
    "nop "
    "vmov vmov.f32 vadd.f32 vsub.f32 vmul.f32 vfma.f32 vfms.f32"
).split()
"""Instructions that leave the flags alone."""
WIDE = range(1 << 16)
"""Longer than any set of numbers."""


@dataclass(frozen=True)
class Trail:
    """The way that the longest count came: the last block and what was before it."""

    before: Trail | None
    block: int
    instructions: int


@dataclass(slots=True)
class Count:
    """What the longest way to a point takes; each number is the most by itself."""

    instructions: int
    cycles: int
    trail: Trail | None = None
    calls: tuple[int, ...] = ()
    """Of each function that is counted, the most by itself as well."""

    def most(self, other: Count) -> Count:
        longer = self if self.instructions >= other.instructions else other
        calls = self.calls
        if calls != other.calls:
            calls = tuple(map(max, self.calls, other.calls))
        cycles = max(self.cycles, other.cycles)
        return Count(longer.instructions, cycles, longer.trail, calls)

    def plus(self, code: Code) -> Count:
        trail = Trail(self.trail, code.block.start, len(code.block.code))
        cycles = self.cycles + code.cycles
        return Count(self.instructions + code.instructions, cycles, trail, self.calls)

    def called(self, number: int) -> Count:
        """After one more call of the function with this number among those that are counted."""
        calls = tuple(n + (i == number) for i, n in enumerate(self.calls))
        return Count(self.instructions, self.cycles, self.trail, calls)


@dataclass(frozen=True)
class Asked:
    """Registers whose values a branch tells of; None: nothing is told of that side."""

    left: int | None
    """Of a comparison, or the result that the flags were set by."""
    right: int | None = None
    number: int | None = None
    """What `left` was compared with."""


@dataclass
class Code:
    """A block ready to be executed."""

    block: Block
    effects: list[Effect]
    instructions: int
    cycles: int
    asked: Asked | None
    """What its last branch tells."""
    refused: UnknownInstruction | None = None


def cycles_of(code: Mapping[int, Instruction], goes_on: bool) -> int:
    """Most modelled cycles of a block, whatever comes before and after it.

    goes_on: its last instruction cannot jump, else it does. The first waits for a result of the one
    before it; and at the end the FPU is waited for, so that nothing is left for the next block to
    wait for.
    """
    first = next(iter(code.values()))
    waits = 1 if first.mnemonic.startswith("v") else 0
    last = next(reversed(code))
    behind = last + code[last].size if goes_on else 1
    mark = Instruction("vmov.f32", "s99, s98", 4)
    cost = cost_of_trace([*code, behind], {**code, behind: mark})
    return cost.cycles - 1 + waits


def asked_by_branch(block: Block) -> Asked | None:
    """What the branch at the end of a block asks."""
    if block.ends != "branch" or block.tested or block.last in block.conditions:
        return None
    return asked(block, list(block.code.items())[:-1])


def asked(block: Block, before: list[tuple[int, Instruction]]) -> Asked | None:
    """What a condition tells of registers: those of the last instruction before it that sets the
    flags, if none has been written since."""
    since: set[int] = set()
    for at, instruction in reversed(before):
        name, words = instruction.mnemonic, split(instruction.operands)
        if name == "cmp":
            if at in block.conditions:
                return None
            sides = [NAMES.get(words[0]), NAMES.get(words[1]) if len(words) == 2 else None]
            left, right = (side if side not in since else None for side in sides)
            number = immediate(words[1])
            if number is None and right is None:
                return None
            return Asked(left, right, None if number is None else number & WORD)
        if name in SETTING:
            result = register(words[0])
            return None if at in block.conditions or result in since else Asked(result)
        if name in SILENT:
            since |= written(name, words)
        else:
            return None
    return None


def written(name: str, words: list[str]) -> set[int]:
    """Registers that one of SILENT may write."""
    named = {NAMES[w.rstrip("!")] for w in words if w.rstrip("!") in NAMES}
    lists = {index for w in words if w.startswith("{") for index in registers(w)}
    bases = {NAMES[base] for w in words for base in re.findall(r"^\[(\w+)", w) if base in NAMES}
    return named | lists | bases


def without(value: Value, zero: bool) -> Value:
    """What is left of a value that is known to be 0, or not to be."""
    numbers = numbers_of(value)
    if numbers is None:
        return 0 if zero else ANY
    left = frozenset(n for n in numbers if (n == 0) == zero)
    return values_of(left) if left else frozenset()


def narrow(asked: Asked | None, state: State, mask: int) -> None:
    """Leaves of the registers that a branch has asked only what goes with flags of the mask."""
    if asked is None:
        return
    if asked.number is None and asked.right is None:
        _narrow_result(state, asked.left, mask)
        return
    left = state.registers[asked.left] if asked.left is not None else ANY
    right = asked.number if asked.right is None else state.registers[asked.right]
    mine, theirs = numbers_of(left), numbers_of(right)
    if mine is None and theirs is not None and asked.left is not None:
        if mask == CONDITIONS["eq"]:
            mine = theirs
        elif mask in (CONDITIONS["ls"], CONDITIONS["cc"]) and max(theirs) < MOST:
            mine = frozenset(range(max(theirs) + 1))
    if mine is None or theirs is None:
        return
    pairs = [(a, b) for a in mine for b in theirs if 1 << flags_of_sum(a, b ^ WORD, 1) & mask]
    if (
        pairs
        and asked.left is not None
        and len({a for a, _ in pairs}) < len(numbers_of(left) or WIDE)
    ):
        state.registers[asked.left] = values_of({a for a, _ in pairs})
    if pairs and asked.right is not None and len({b for _, b in pairs}) < len(theirs):
        state.registers[asked.right] = values_of({b for _, b in pairs})


def _narrow_result(state: State, result: int | None, mask: int) -> None:
    """By what the instruction that made a result has kept of the flags of each number."""
    if result is None or state.told is None:
        return
    numbers = numbers_of(state.registers[result])
    if numbers is None or not numbers <= state.told.keys():
        return
    left = {n for n in numbers if state.told[n] & mask}
    if left and len(left) < len(numbers):
        state.registers[result] = values_of(left)
