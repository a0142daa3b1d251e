"""Accesses and pieces say where each element number lies."""

from __future__ import annotations

import numpy as np
import pytest

from nn4mc_codegen.printing.access import Access, Locator
from nn4mc_codegen.program.program import Program


@pytest.fixture
def program() -> Program:
    p = Program()
    p.array("other", 8)  # numbers 2 to 9
    p.array("h", 30)  # 10 to 39
    p.array("last", 5)
    return p


def test_even_steps_are_one_access(program):
    numbers = np.array([[20, 21, 22], [30, 31, 32]])
    (access,) = Locator(program.arrays).single([numbers])
    assert access == Access(program.arrays[2], start=10, row_step=10, step=1)


def test_an_array_ends_where_the_next_one_begins(program):
    """The numbers go on evenly, but they are of two arrays."""
    numbers = np.arange(8, 12)[None]
    locator = Locator(program.arrays)
    assert locator.single([numbers]) is None
    assert locator.spans(numbers) == [(0, 2), (2, 4)]


def test_pieces_cover_any_matrices(program):
    """Each element of each operand once, where its piece says that it lies."""
    random = np.random.default_rng(0)
    for _ in range(100):
        shape = tuple(random.integers(1, 6, 2))
        steps = random.integers(0, 3, 4)
        even = 10 + steps[0] + steps[1] * np.arange(shape[0])[:, None] + np.arange(shape[1])
        any_ = random.integers(0, program.size, shape)
        operands = [np.where(random.random(shape) < 0.9, even, any_), even]
        found = [np.full(shape, -1) for _ in operands]
        for piece in Locator(program.arrays).pieces(operands):
            j, i = np.indices((piece.rows, piece.columns))
            for numbers, a in zip(found, piece.operands, strict=True):
                part = numbers[piece.row :, piece.column :][: piece.rows, : piece.columns]
                assert np.all(part == -1)
                part[...] = a.array.first + a.start + a.row_step * j + a.step * i
        np.testing.assert_array_equal(found, operands)
