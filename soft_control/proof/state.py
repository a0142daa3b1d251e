"""What is known of registers and memory at one point of a program, whichever way led there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from soft_control.proof.values import ALL_FLAGS, ANY, Named, Value, join, numbers_of

SP, LR, PC = 13, 14, 15
FLOATS = 16
"""Register number of s0; s31 is the last of REGISTERS."""
REGISTERS = FLOATS + 32

Kept = tuple[int, Value, bool]
"""Bytes, value, and whether it was put there relative to the stack pointer."""


@dataclass(slots=True)
class State:
    """Registers, flags and those places in memory of which something is known."""

    registers: list[Value] = field(default_factory=lambda: [ANY] * REGISTERS)
    flags: int = ALL_FLAGS
    memory: dict[int, Kept] = field(default_factory=dict)
    """Address -> what was stored there. What is not here is as it was at the start."""
    told: dict[int, int] | None = None
    """Result of the last instruction that set the flags by a sum -> the flags that go with it."""

    def copy(self) -> State:
        return State(self.registers.copy(), self.flags, self.memory.copy(), self.told)

    def join(self, other: State) -> None:
        """Becomes what holds in either."""
        mine, theirs = self.registers, other.registers
        if mine != theirs:
            self.registers = [
                a if a == b else join(a, b) for a, b in zip(mine, theirs, strict=True)
            ]
        self.flags |= other.flags
        self.told = None
        self.memory = joined_memory(self.memory, other.memory)

    def without_names(self) -> tuple:
        """Equal for states that differ in nothing but the names of what is not known."""
        names: dict[int, int] = {}

        def renamed(value: Value) -> Value | tuple:
            if type(value) is not Named:
                return value
            number = names.setdefault(value.name, len(names))
            return number, value.offset, value.base

        places = sorted(self.memory.items(), key=lambda item: item[0])
        return (
            self.flags,
            [renamed(value) for value in self.registers],
            [(address, size, renamed(value)) for address, (size, value, _) in places],
        )


def joined_memory(mine: dict[int, Kept], theirs: dict[int, Kept]) -> dict[int, Kept]:
    """What is known of memory in both cases."""
    if mine is theirs or mine == theirs:
        return mine
    both: dict[int, Kept] = {}
    for address, kept in mine.items():
        other = theirs.get(address)
        if other == kept:
            both[address] = kept
        elif other is not None and other[0] == kept[0]:
            value = join(kept[1], other[1])
            if value is not ANY:
                both[address] = kept[0], value, kept[2] and other[2]
    return both


@dataclass
class Memory:
    """Loads and stores: constants come from the image, what was stored comes back."""

    constants: Callable[[int, int], int | None]
    """(address, bytes) -> what stands in flash there; None: that is no flash."""
    blind: set[int] = field(default_factory=set)
    """Addresses of the instructions that stored somewhere that is not known."""

    def load(self, state: State, address: Value, size: int) -> Value:
        places = numbers_of(address)
        if places is None:
            return ANY
        value: Value = None
        for number, place in enumerate(places):
            here = self._load_one(state, place, size)
            value = here if number == 0 else join(value, here)
            if value is ANY:
                return ANY
        return value

    def _load_one(self, state: State, address: int, size: int) -> Value:
        kept = state.memory.get(address)
        if kept is not None and kept[0] == size:
            return kept[1]
        memory = state.memory
        for near in range(address - 3, address + size):
            if near in memory and near + memory[near][0] > address:
                return ANY
        return self.constants(address, size)

    def store(
        self, state: State, address: Value, size: int, value: Value, own: bool, at: int
    ) -> None:
        """own: relative to the stack pointer; at: where the instruction stands."""
        places = numbers_of(address)
        if places is None:
            # It cannot be told where. What the compiler saved on the stack is not among it: the
            # program would return to nowhere.
            self.blind.add(at)
            state.memory = {a: kept for a, kept in state.memory.items() if kept[2]}
            return
        if len(places) == 1:
            (place,) = places
            _forget(state.memory, place, size)
            if value is not ANY:
                state.memory[place] = size, value, own
            return
        for place in places:
            old = state.memory.get(place)
            _forget(state.memory, place, size)
            if old is not None and old[0] == size:
                both = join(old[1], value)
                if both is not ANY:
                    state.memory[place] = size, both, old[2]


def _forget(memory: dict[int, Kept], address: int, size: int) -> None:
    for near in range(address - 3, address + size):
        if near in memory and near + memory[near][0] > address:
            del memory[near]
