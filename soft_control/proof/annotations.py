"""What sources say of loops that the machine code does not, by firmware/src/solver/loop_bound.h.

A note says file and line, and how often the loop there turns at most. It belongs to the innermost
loop that is left by a branch of that line, or of the line before it, where the head of the loop
stands.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from soft_control.proof.graph import Graph, Loop
from soft_control.proof.image import Image, ProofError


@dataclass(frozen=True)
class Note:
    """One LOOP_BOUND."""

    file: str
    line: int
    most: int


def read_notes(content: bytes) -> list[Note]:
    """Of the section .loop_bounds: line and bound, a word each, and the file's name with zeros up
    to a multiple of four bytes. Raises ProofError for anything else."""
    notes, at = [], 0
    while at < len(content):
        end = content.find(b"\0", at + 8)
        if end < 0:
            raise ProofError("section .loop_bounds ends within a note; build the firmware again")
        line, most = struct.unpack_from("<II", content, at)
        file = content[at + 8 : end].decode(errors="replace").rpartition("/")[2]
        notes.append(Note(file, line, most))
        at = end + 4 - end % 4
    return notes


def bounds_of(image: Image, graphs: Iterable[Graph], notes: list[Note]) -> dict[int, int]:
    """Head of each loop that a note belongs to -> how often it turns at most."""
    found: dict[int, int] = {}
    for graph in graphs:
        for loop in graph.loops.values():
            said = [
                note.most for note in notes if (note.file, note.line) in _lines(image, graph, loop)
            ]
            if said:
                found[loop.head] = min(said)
    return found


def _lines(image: Image, graph: Graph, loop: Loop) -> set[tuple[str, int]]:
    """File and line of each branch that leaves the loop from its own blocks, and the line after
    it."""
    inner = [other for other in graph.loops.values() if other.depth > loop.depth]
    nested = set().union(*(other.body for other in inner if other.body <= loop.body))
    return set(_exits(image, graph, loop, nested))


def _exits(image: Image, graph: Graph, loop: Loop, nested: set[int]) -> Iterator[tuple[str, int]]:
    for start in loop.body - nested:
        if all(to in loop.body for to in graph.successors[start]):
            continue
        file, line = image.line(graph.blocks[start].last)
        if line:
            yield file, line
            yield file, line + 1
