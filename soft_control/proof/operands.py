"""The operands of an instruction as objdump prints them: registers, numbers, addresses, lists."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from soft_control.proof.state import FLOATS, PC, SP, State
from soft_control.proof.values import Named, Value, apply, named, plus, signed

NAMES = {f"r{i}": i for i in range(13)} | {"sb": 9, "sl": 10, "fp": 11, "ip": 12}
NAMES |= {"sp": SP, "lr": 14, "pc": PC}
NAMES |= {f"s{i}": FLOATS + i for i in range(32)}

Read = Callable[[State], Value]


class UnknownInstruction(ValueError):
    """One whose meaning is not known here."""


def split(text: str) -> list[str]:
    """At commas outside of brackets and braces."""
    return [part.strip() for part in re.split(r",(?![^\[{]*[\]}])", text)] if text else []


def register(text: str) -> int:
    if text not in NAMES:
        raise UnknownInstruction(f"operand {text}")
    return NAMES[text]


def immediate(text: str) -> int | None:
    """The number behind #, None where there is none."""
    found = re.fullmatch(r"#(-?(?:0x[0-9a-f]+|\d+))", text)
    return int(found[1], 0) if found else None


def with_name(state: State, index: int) -> Value:
    """What a register holds, which gets a name where it is not one number."""
    value = state.registers[index]
    if type(value) is int or type(value) is Named:
        return value
    value = state.registers[index] = named(value)
    return value


def registers(text: str) -> list[int]:
    """{r0, r4-r6} or {d8-d9}, the latter as s16 .. s19."""
    numbers = []
    for part in text.strip("{}").split(","):
        first, _, last = part.strip().partition("-")
        last = last or first
        if first[0] == "d":
            numbers += [FLOATS + i for i in range(2 * int(first[1:]), 2 * int(last[1:]) + 2)]
        else:
            numbers += range(register(first), register(last) + 1)
    return numbers


SHIFTS: dict[str, Callable[[int, int], int]] = {
    "lsl": lambda a, n: a << n if n < 32 else 0,
    "lsr": lambda a, n: a >> n if n < 32 else 0,
    "asr": lambda a, n: signed(a) >> min(n, 31),
    "ror": lambda a, n: a >> n % 32 | a << (32 - n % 32),
}


def reader(words: list[str], after: int) -> Read:
    """What the last operand of an instruction brings: a number, a register, or one shifted.

    after: what pc reads as.
    """
    number = immediate(words[0])
    if number is not None:
        constant = number & 0xFFFFFFFF
        return lambda state: constant
    index = register(words[0])
    if index == PC:
        return lambda state: after
    if len(words) == 1:
        return lambda state: state.registers[index]
    shift, _, amount = words[1].partition(" ")
    by = immediate(amount)
    if shift not in SHIFTS or by is None:
        raise UnknownInstruction(f"shift {words[1]}")
    function = SHIFTS[shift]
    return lambda state: apply(lambda a: function(a, by), state.registers[index])


@dataclass(frozen=True)
class Address:
    """[r1, #4], [r1, #4]!, [r1], #4, [r1, r2, lsl #2]."""

    base: int
    offset: Read | None
    """None: 0"""
    writes_back: bool
    before: bool
    """whether the offset counts before the access"""
    pc: int
    """what pc reads as, as a base"""

    def take(self, state: State) -> Value:
        """The address; a written back base is written."""
        if self.base == PC:
            base: Value = self.pc & ~3
        else:
            base = with_name(state, self.base) if self.writes_back else state.registers[self.base]
        moved = base if self.offset is None else plus(base, self.offset(state))
        if self.writes_back:
            state.registers[self.base] = moved
        return moved if self.before else base

    @property
    def own(self) -> bool:
        return self.base == SP


def address(words: list[str], after: int) -> Address:
    """From the operands that begin with a bracket."""
    found = re.fullmatch(r"\[([^\]]*)\](!?)", words[0])
    if found is None:
        raise UnknownInstruction(f"address {words[0]}")
    inside = [part.strip() for part in found[1].split(",")]
    behind = words[1:]
    offset = inside[1:] or behind
    return Address(
        base=register(inside[0]),
        offset=reader(offset, after) if offset else None,
        writes_back=bool(found[2] or behind),
        before=not behind,
        pc=after,
    )
