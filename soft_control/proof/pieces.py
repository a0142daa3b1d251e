"""A block ready to be executed: what it does to a state, what it takes, what its branch tells."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from nn4mc_codegen.trial.cycles import Instruction, cost_of_trace
from soft_control.proof.graph import Block
from soft_control.proof.meaning import Effect
from soft_control.proof.operands import UnknownInstruction, immediate, register, split
from soft_control.proof.state import State
from soft_control.proof.values import (
    ANY,
    CONDITIONS,
    MOST,
    Value,
    flags_of_sum,
    numbers_of,
    values_of,
)


@dataclass(frozen=True)
class Trail:
    """The way that the longest count came: the last block and what was before it."""

    before: Trail | None
    block: int
    instructions: int


@dataclass(slots=True)
class Count:
    """What the longest way to a point takes; each of the two is the most by itself."""

    instructions: int
    cycles: int
    trail: Trail | None = None

    def most(self, other: Count) -> Count:
        longer = self if self.instructions >= other.instructions else other
        return Count(longer.instructions, max(self.cycles, other.cycles), longer.trail)

    def plus(self, code: Code) -> Count:
        trail = Trail(self.trail, code.block.start, len(code.block.code))
        return Count(self.instructions + code.instructions, self.cycles + code.cycles, trail)


@dataclass
class Code:
    """A block ready to be executed."""

    block: Block
    effects: list[Effect]
    instructions: int
    cycles: int
    compared: tuple[int, Callable[[State], Value]] | None
    """Register of the comparison that its last branch asks, and with what it was compared."""
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


def compared(block: Block) -> tuple[int, Callable[[State], Value]] | None:
    """Register and other operand of the cmp whose flags the branch at the end asks, if neither has
    been written in between."""
    if block.ends != "branch" or block.tested or block.last in block.conditions:
        return None
    code = list(block.code.items())[:-1]
    if not code or code[-1][1].mnemonic != "cmp" or code[-1][0] in block.conditions:
        return None
    words = split(code[-1][1].operands)
    number = immediate(words[1])
    left = register(words[0])
    if number is not None:
        return left, lambda state: number & 0xFFFFFFFF
    right = register(words[1]) if len(words) == 2 else None
    return None if right is None else (left, lambda state: state.registers[right])


def without(value: Value, zero: bool) -> Value:
    """What is left of a value that is known to be 0, or not to be."""
    numbers = numbers_of(value)
    if numbers is None:
        return 0 if zero else ANY
    left = frozenset(n for n in numbers if (n == 0) == zero)
    return values_of(left) if left else frozenset()


def narrowed(value: Value, other: Value, mask: int) -> Value:
    """What is left of a value after `cmp value, other`, of which the flags are in the mask."""
    others = numbers_of(other)
    if others is None:
        return value
    numbers = numbers_of(value)
    if numbers is None:
        if mask in (CONDITIONS["ls"], CONDITIONS["cc"], CONDITIONS["eq"]) and max(others) <= MOST:
            numbers = frozenset(range(max(others) + 1))
        elif mask == CONDITIONS["eq"]:
            numbers = others
        else:
            return value
    left = {
        n for n in numbers if any(1 << flags_of_sum(n, o ^ 0xFFFFFFFF, 1) & mask for o in others)
    }
    return values_of(left) if left else value
