"""Rescaling as one multiply-accumulate: of every sum what rounding once or twice gives."""

from __future__ import annotations

import numpy as np
import pytest

from nn4mc_codegen.int8 import operators as o
from nn4mc_codegen.int8.line import BENT, LINE, LINES, PLAIN, forms_of
from nn4mc_codegen.int8.quantize import HIGH, LOW, Rescaling
from nn4mc_codegen.ops.windows import Windows

ROWS, COLUMNS = 4, 9


def layer(kind: str, seed: int, zero: int, shifts: tuple[int, int] = (-9, -6)) -> o.Linear:
    random = np.random.default_rng(seed)
    weights = random.integers(-127, 128, (ROWS, COLUMNS)).astype(np.int8)
    bias = random.integers(-9000, 9000, ROWS)
    multiplier = random.integers(1 << 30, 1 << 31, ROWS)
    shift = random.integers(shifts[0], shifts[1], ROWS, endpoint=True)
    parts = weights, bias, Rescaling(multiplier, shift, zero)
    if kind == "dense":
        return o.Dense(*parts, 1)
    return o.Conv(*parts, o.Window(Windows((3, 3), (1, 1), (1, 1), "same"), 8, 8, 1), 0)


def results(form, bits: int, row: int, sums: np.ndarray, start: int) -> np.ndarray:
    """What the C makes of a row's sums of products, which begin with `start`; 32 bits are enough
    for all that it computes on the way."""
    first, m, *rest = form.numbers[row].tolist()
    x = first + 256 * (sums - start)
    c = rest[0] if rest else form.c
    c = c - np.where(x < 0, rest[1], 0) if form.kind == BENT else c
    value = c + ((x * m) >> 32)
    assert np.abs(x).max() < 1 << 31 and np.abs(value).max() < 1 << 31 and 0 <= m < 1 << 31
    return np.clip(value >> bits, LOW, HIGH)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("kind", "zero", "form"),
    [("dense", 5, LINE), ("conv", LOW, LINES), ("conv", 17, BENT)],
    ids=["rounded once", "rounded twice, relu", "rounded twice"],
)
def test_every_sum_has_the_result_that_rounding_gives(kind, zero, form, seed):
    op = layer(kind, seed, zero)
    bits, (found,) = forms_of([op], [np.zeros(ROWS, np.int64)])
    assert found.kind == form
    reach = np.abs(op.weights.astype(np.int64)).sum(axis=1) * 128
    for row, (bias, most) in enumerate(zip(op.bias.tolist(), reach.tolist(), strict=True)):
        sums = np.arange(bias - most, bias + most + 1)
        expected = op._rescaled(sums[:, None] * np.ones(ROWS, np.int64))[:, row]
        np.testing.assert_array_equal(results(found, bits, row, sums, bias), expected)


def test_what_the_kernel_adds_is_taken_off_where_sums_start():
    op, extra = layer("dense", 0, 0), np.arange(ROWS)
    _, (plain,) = forms_of([op], [0 * extra])
    _, (shifted,) = forms_of([op], [extra])
    np.testing.assert_array_equal(plain.numbers[:, 0] - shifted.numbers[:, 0], extra)
    np.testing.assert_array_equal(plain.numbers[:, 1:], shifted.numbers[:, 1:])


def test_factors_too_far_apart_are_rounded_as_written():
    op = layer("conv", 1, 17, (-24, 4))
    _, (found,) = forms_of([op], [np.zeros(ROWS, np.int64)])
    assert found.kind == PLAIN
    np.testing.assert_array_equal(found.numbers[:, 1], op.rescaling.multiplier)


def test_no_layer_has_no_form():
    assert forms_of([], [])[1] == []
