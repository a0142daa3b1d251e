"""Where elements lie: the array of an element number, and rectangles of numbers with even steps.

A program names what it reads by element numbers; C names it by an array and an index. A matrix of
numbers that grow evenly along its rows and columns becomes one `Access`. Of an array h whose first
element has the number 10:

    20 21 22
    30 31 32    is Access(h, start=10, row_step=10, step=1): element [j, i] is h[10 + 10·j + i]

Any other matrix is cut into `Piece`s, rectangles that are accesses.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from nn4mc_codegen.program.instructions import Array, Elements


@dataclass(frozen=True)
class Access:
    """Element [j, i] is array[start + j·row_step + i·step]."""

    array: Array
    start: int
    row_step: int
    step: int


@dataclass(frozen=True)
class Piece:
    """A rectangle of rows and columns in which every operand is an `Access`."""

    row: int
    rows: int
    column: int
    columns: int
    operands: tuple[Access, ...]


class Locator:
    """Finds the arrays of element numbers, and the accesses of matrices of them."""

    def __init__(self, arrays: Sequence[Array]):
        self._arrays = arrays
        self._firsts = np.array([a.first for a in arrays])

    def owners(self, elements: Elements) -> np.ndarray:
        """For each element the number of its array."""
        return np.searchsorted(self._firsts, elements, side="right") - 1

    def array(self, owner: int) -> Array:
        return self._arrays[owner]

    def pieces(self, operands: Sequence[Elements]) -> list[Piece]:
        """Rectangles that cover operands of one shape (rows, n), in order."""
        stack = np.stack(operands)  # (k, rows, n)
        owners = self.owners(stack)
        found: list[Piece] = []
        for row in range(stack.shape[1]):
            line = list(self._line(stack[:, row], owners[:, row], row))
            tail = found[len(found) - len(line) :] if row else []
            merged = [_continued(above, piece) for above, piece in zip(tail, line, strict=False)]
            if len(tail) == len(line) and all(merged) and tail[0].row + tail[0].rows == row:
                found[len(found) - len(line) :] = merged
            else:
                found += line
        return found

    def spans(self, *matrices: Elements) -> list[tuple[int, int]]:
        """Ranges (begin, end) of columns; within each of them all the matrices have even steps."""
        cuts = {0, matrices[0].shape[1]}
        for elements in matrices:
            for piece in self.pieces([elements]):
                cuts |= {piece.column, piece.column + piece.columns}
        return list(pairwise(sorted(cuts)))

    def single(self, operands: Sequence[Elements]) -> tuple[Access, ...] | None:
        """The operands' accesses, if one piece covers them."""
        pieces = self.pieces(operands)
        return pieces[0].operands if len(pieces) == 1 else None

    def _line(self, numbers: np.ndarray, owners: np.ndarray, row: int) -> Iterator[Piece]:
        """Pieces of one row, cut where for any operand an array ends or the step changes."""
        size = numbers.shape[1]
        steps = np.diff(numbers, axis=1)
        same = np.all(np.diff(owners, axis=1) == 0, axis=0)
        begin = 0
        while begin < size:
            end = begin + 1
            if end < size and same[begin]:
                even = (
                    np.all(steps[:, begin:] == steps[:, begin : begin + 1], axis=0) & same[begin:]
                )
                end += int(np.argmin(even)) if not even.all() else len(even)
            operands = tuple(
                Access(
                    self._arrays[owners[k, begin]],
                    int(numbers[k, begin] - self._firsts[owners[k, begin]]),
                    0,
                    int(steps[k, begin]) if end - begin > 1 else 0,
                )
                for k in range(len(numbers))
            )
            yield Piece(row, 1, begin, end - begin, operands)
            begin = end


def _continued(above: Piece, piece: Piece) -> Piece | None:
    """Both pieces as one, if `piece` is the next row of `above` and the step from row to row stays
    the same."""
    if (above.column, above.columns) != (piece.column, piece.columns):
        return None
    joined = []
    for a, b in zip(above.operands, piece.operands, strict=True):
        row_step = b.start - a.start if above.rows == 1 else a.row_step
        if a.array is not b.array or a.step != b.step or b.start != a.start + above.rows * row_step:
            return None
        joined.append(replace(a, row_step=row_step))
    return replace(above, rows=above.rows + 1, operands=tuple(joined))
