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
    without_gap: int
    """In a sample that comes right after the one before it."""


def read_notes(content: bytes) -> list[Note]:
    """Of the section .loop_bounds: line and two bounds, a word each, and the file's name with zeros
    up to a multiple of four bytes. Raises ProofError for anything else."""
    notes, at = [], 0
    while at < len(content):
        end = content.find(b"\0", at + 12)
        if end < 0:
            raise ProofError("section .loop_bounds ends within a note; build the firmware again")
        line, most, without_gap = struct.unpack_from("<III", content, at)
        file = content[at + 12 : end].decode(errors="replace").rpartition("/")[2]
        notes.append(Note(file, line, most, without_gap))
        at = end + 4 - end % 4
    return notes


def bounds_of(image: Image, graphs: Iterable[Graph], notes: list[Note]) -> dict[int, Note]:
    """Head of each loop that a note belongs to -> the note, of several the one that says least."""
    found: dict[int, Note] = {}
    for graph in graphs:
        for loop in graph.loops.values():
            lines = _lines(image, graph, loop)
            said = [note for note in notes if (note.file, note.line) in lines]
            if said:
                found[loop.head] = min(said, key=lambda note: note.most)
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
