"""Where an execution stands: functions that are being executed, and the block that comes next."""

from __future__ import annotations

from dataclasses import dataclass

from soft_control.proof.graph import Graph
from soft_control.proof.pieces import Count
from soft_control.proof.state import State


@dataclass(frozen=True)
class Frame:
    """A function that is being executed."""

    graph: Graph
    before: Frame | None
    returns_to: int
    key: tuple[int, ...]
    """Of the call."""
    turns: tuple[int, ...] = ()
    """Of the caller's loops, where it was called."""
    called_in: int = 0
    """The caller's block."""


@dataclass(slots=True)
class Pending:
    """What is known where a block begins that has not been executed yet."""

    frame: Frame
    block: int
    turns: tuple[int, ...]
    state: State
    whole: Count
    part: Count | None
