"""One direction of a line, and what may become of bytes on their way.

Time is an argument, chance has a seed: the same bytes at the same times are damaged alike.
"""

from __future__ import annotations

import enum
import random
from abc import ABC, abstractmethod

from pydantic import Field

from soft_control.rigs.parameters import Strict


class Way(enum.StrEnum):
    """Of bytes, as the controller sees them."""

    IN = "in"
    OUT = "out"


class Damage(Strict, ABC):
    """What a wire does to bytes; its fields are settings of the fault."""

    @abstractmethod
    def apply(self, data: bytes, chance: random.Random, passed: int) -> list[tuple[float, bytes]]:
        """Pieces of `data`, each with the time (s) by which it comes later. `passed` bytes have
        been damaged or not before."""


class EveryByte(Damage):
    """Damage of single bytes."""

    every: int = Field(67, ge=1)
    """Bytes, of which one is damaged."""

    def apply(self, data: bytes, chance: random.Random, passed: int) -> list[tuple[float, bytes]]:
        out = bytearray()
        for at, byte in enumerate(data, passed + 1):
            out += self.of(byte, chance) if at % self.every == 0 else bytes([byte])
        return [(0.0, bytes(out))]

    @abstractmethod
    def of(self, byte: int, chance: random.Random) -> bytes:
        """What comes in place of a byte."""


class Drop(EveryByte):
    """Bytes never come."""

    def of(self, byte: int, chance: random.Random) -> bytes:
        return b""


class Flip(EveryByte):
    """A bit of a byte is another."""

    def of(self, byte: int, chance: random.Random) -> bytes:
        return bytes([byte ^ 1 << chance.randrange(8)])


class Duplicate(EveryByte):
    """Bytes come twice."""

    def of(self, byte: int, chance: random.Random) -> bytes:
        return bytes([byte, byte])


class Reorder(Damage):
    """A byte changes places with its successor."""

    every: int = Field(67, ge=2)
    """Bytes, of which one is damaged."""

    def apply(self, data: bytes, chance: random.Random, passed: int) -> list[tuple[float, bytes]]:
        out = bytearray(data)
        for i in range(len(out) - 1):
            if (passed + i + 1) % self.every == 0:
                out[i], out[i + 1] = out[i + 1], out[i]
        return [(0.0, bytes(out))]


class Truncate(Damage):
    """Of what is written at once only the first half comes."""

    every: int = Field(4, ge=1)
    """Writes, of which one on average is cut short."""

    def apply(self, data: bytes, chance: random.Random, passed: int) -> list[tuple[float, bytes]]:
        return [(0.0, data if chance.randrange(self.every) else data[: len(data) // 2])]


class Delay(Damage):
    """All comes later, in its order."""

    delay_s: float = Field(0.03, gt=0, le=10)

    def apply(self, data: bytes, chance: random.Random, passed: int) -> list[tuple[float, bytes]]:
        return [(self.delay_s, data)]


class Garbage(Damage):
    """Bytes that nobody has sent come between those that somebody has."""

    size: int = Field(40, ge=1, le=2000)
    """Bytes before each write."""

    def apply(self, data: bytes, chance: random.Random, passed: int) -> list[tuple[float, bytes]]:
        return [(0.0, chance.randbytes(self.size) + data)]


class Storm(Damage):
    """Bytes that nobody has sent come in place of those that somebody has."""

    size: int = Field(200, ge=1, le=2000)
    """Bytes in place of each write."""

    def apply(self, data: bytes, chance: random.Random, passed: int) -> list[tuple[float, bytes]]:
        return [(0.0, chance.randbytes(self.size))]


class Cut(Damage):
    """Nothing comes."""

    def apply(self, data: bytes, chance: random.Random, passed: int) -> list[tuple[float, bytes]]:
        return []


DAMAGES: dict[str, type[Damage]] = {
    "drop": Drop,
    "flip": Flip,
    "duplicate": Duplicate,
    "reorder": Reorder,
    "truncate": Truncate,
    "delay": Delay,
    "garbage": Garbage,
    "storm": Storm,
    "cut": Cut,
}
"""By the name that a fault has for them: a new one is a class and a line."""


class Wire:
    """One direction of a line; whole until `damage` is set."""

    def __init__(self, seed: int = 0) -> None:
        self.damage: Damage | None = None
        self._chance = random.Random(seed)
        self._passed = 0
        self._late: list[tuple[float, bytes]] = []

    @property
    def whole(self) -> bool:
        """What is written comes as it is."""
        return self.damage is None and not self._late

    def carry(self, data: bytes, now_s: float) -> bytes:
        """Takes what is written at now_s, or nothing; returns what arrives."""
        if self.whole:
            return data
        if self.damage is None:
            pieces = [(0.0, data)]
        else:
            pieces = self.damage.apply(data, self._chance, self._passed) if data else []
            self._passed += len(data)
        # What was late keeps its place before what is written after it.
        after_s = self._late[-1][0] if self._late else now_s
        self._late += [(max(after_s, now_s + late_s), piece) for late_s, piece in pieces]
        arrived = b""
        while self._late and self._late[0][0] <= now_s + 1e-9:
            arrived += self._late.pop(0)[1]
        return arrived
