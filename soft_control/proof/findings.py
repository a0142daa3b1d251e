"""What an execution finds: how long its longest way is, its loops, and what cannot be bounded."""

from __future__ import annotations

from dataclasses import dataclass

from soft_control.proof.pieces import Count
from soft_control.proof.values import Value


@dataclass(frozen=True)
class Problem:
    """Why something cannot be bounded."""

    what: str
    function: str
    address: int
    place: str
    """file.c:12"""
    remedy: str

    def __str__(self) -> str:
        where = f"{self.function}, {self.place}" if self.place else self.function
        return f"{where} (0x{self.address:08x}): {self.what}; {self.remedy}"


@dataclass
class LoopFound:
    """A loop as it was executed."""

    function: str
    head: int
    turns: int
    """The most in one go; 1 is a loop that is gone through once."""
    annotated: int | None
    """The bound that was said, where one was."""


@dataclass
class Result:
    """What `run` found."""

    whole: Count
    part: Count | None
    """Between the two marks; None where they are not passed."""
    problems: list[Problem]
    loops: list[LoopFound]
    blind: list[int]
    """Instructions that store at an address that is not known."""
    blocks: int
    """Executed."""
    returned: Value
    """What r0 holds at the end."""
