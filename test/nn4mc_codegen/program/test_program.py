"""What literals decide is not computed, and what is computed means what it should."""

from __future__ import annotations

import numpy as np
import pytest

from nn4mc_codegen.program.expression import var
from nn4mc_codegen.program.instructions import ONE, ZERO
from nn4mc_codegen.program.program import MAX_TERMS, Program


def test_products_with_literals_cost_no_instruction():
    p = Program()
    x = p.input("x", 3).elements
    found = p.map(var(0) * var(1) + var(2), x, [ZERO, ONE, ONE], [ONE, ZERO, x[0]])
    assert found[0] == ONE and found[1] == x[1]
    (only,) = p.instructions  # x[2] + x[0]
    np.testing.assert_array_equal(found[2:], only.result.elements)


@pytest.mark.parametrize("terms", [2, 41, 64, MAX_TERMS + 1, 2 * MAX_TERMS + 3])
def test_sums_of_many_terms_some_of_them_zero(terms):
    p, random = Program(), np.random.default_rng(terms)
    x = p.input("x", terms * 6).elements.reshape(terms, 6)
    known = random.random(x.shape) < 0.3
    values = random.normal(size=x.size)
    found = p.evaluate({"x": values}, p.add(list(np.where(known, ZERO, x))))
    expected = np.where(known, 0.0, values.reshape(x.shape)).sum(axis=0)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_weights_of_columns_stand_first_and_side_by_side():
    """Inputs u0 u1 y0 s0; columns of u0, of y0, and of u0 and u1 together."""
    p = Program(by_unit=True, pairs=False)
    x = p.input("x", 4).elements
    p.alone, p.together = x[[0, 2]], [x[[0, 1]]]
    data = np.array([[1, 20, 300, 4000], [5, 60, 700, 8000]], np.float32)
    W = p.unit_weights("W", data, x)
    stored = p.arrays[-1]
    np.testing.assert_array_equal(
        stored.data.reshape(2, 5), [[1, 300, 21, 20, 4000], [5, 700, 65, 60, 8000]]
    )
    np.testing.assert_array_equal(stored.data[W - stored.first], data)
    (sums,) = p.sums(W, [np.array([0, 1])]).T
    np.testing.assert_array_equal(stored.data[sums - stored.first], [21, 65])


def test_equal_instructions_are_made_once():
    p = Program()
    x = p.input("x", 3).elements
    first, again = (p.map(var(0) * var(0), x) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert len(p.instructions) == 1
