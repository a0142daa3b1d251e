"""The integer arithmetic of int8 networks, against real numbers."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from nn4mc_codegen.int8 import operators as o
from nn4mc_codegen.int8 import quantize as q
from nn4mc_codegen.int8.fixed_point import divide, fixed_point, hard_swish, rescale, rescale_once
from nn4mc_codegen.ops.windows import Windows

RANDOM = np.random.default_rng(0)
UNIT = q.QTensor("t", (1,), 1.0, 0)


def rescaling(rows: int, shift: int = -8) -> q.Rescaling:
    return q.Rescaling(np.full(rows, 1 << 30), np.full(rows, shift), 0)


@pytest.mark.parametrize("factor", [0.5, 1.0, 3e-10, 0.999999999999, 1e-3, 7.3, 2.0**-32])
def test_fixed_point_is_the_nearest(factor):
    multiplier, shift = fixed_point(factor)
    assert 1 << 30 <= multiplier < 1 << 31
    # Half a unit of the multiplier's 31 bits.
    assert abs(multiplier * 2.0 ** (shift - 31) - factor) <= factor * 2.0**-31


def test_tiny_factors_become_zero():
    assert fixed_point(2.0**-40)[0] == 0
    assert fixed_point(0.0)[0] == 0


def half_away(value: Fraction) -> int:
    return int(math.copysign(math.floor(abs(value) + Fraction(1, 2)), value)) if value else 0


def half_up(value: Fraction) -> int:
    return math.floor(value + Fraction(1, 2))


@pytest.mark.parametrize("shift", [-31, -20, -9, -2, -1, 0, 1, 3])
def test_rescaling_rounds_twice_or_once(shift):
    """Sums of every size, many of them halves after the multiplication."""
    multipliers = [1 << 30, (1 << 31) - 1, *RANDOM.integers(1 << 30, 1 << 31, 5).tolist()]
    bound = 1 << (28 - max(shift, 0))
    sums = [0, 1, -1, bound, -bound, *RANDOM.integers(-bound, bound, 50), *range(-40, 40)]
    for multiplier in multipliers:
        for s in map(int, sums):
            high = half_up(Fraction(s * 2 ** max(shift, 0) * multiplier, 1 << 31))
            twice = half_away(Fraction(high, 2 ** max(-shift, 0)))
            assert rescale(np.int64(s), multiplier, shift) == twice
            once = half_up(Fraction(s * multiplier, 2 ** (31 - shift)))
            assert rescale_once(np.int64(s), np.int64(multiplier), np.int64(shift)) == once


def test_division_rounds_halves_away_from_zero():
    for n in range(1, 13):
        for a in range(-60, 61):
            assert divide(np.int64(a), np.int64(n)) == half_away(Fraction(a, n))


def test_floats_round_to_the_nearest_and_stay_in_range():
    t = q.QTensor("t", (1,), 0.25, 3)
    values = np.array([0.0, 0.124, 0.125, -0.125, -0.124, 1e30, -1e30, np.inf, -np.inf, np.nan])
    expected = [3, 3, 4, 2, 3, 127, -128, 127, -128, -128]
    assert t.quantize(values).tolist() == expected
    just_below_half = np.nextafter(np.float32(0.125), np.float32(0))
    assert t.quantize(just_below_half) == 3
    every = np.arange(-128, 128)
    np.testing.assert_array_equal(t.quantize(t.dequantize(every)), every)


def test_softmax_is_that_of_real_numbers():
    x = q.QTensor("x", (7,), 0.05, 10)
    op = o.Softmax.of(7, x, 1.0)
    for _ in range(200):
        values = RANDOM.integers(-128, 128, (3, 7))
        powers = np.exp(x.dequantize(values).astype(np.float64))
        expected = powers / powers.sum(axis=1, keepdims=True)
        # Results have steps of 1/256; 1 itself cannot be represented.
        found = (op.evaluate(values) - q.LOW) / 256
        assert np.abs(found - np.minimum(expected, 255 / 256)).max() <= 1 / 256


def test_hard_swish_is_that_of_real_numbers():
    d = np.arange(-200, 200)
    x = 0.04 * d
    found = hard_swish(d, 0.04, 0.03) * 0.03
    # 16-bit factors, and half a step of the result.
    np.testing.assert_allclose(found, x * np.clip(x + 3, 0, 6) / 6, atol=0.02)


def test_convolution_is_a_sum_over_patches():
    """Of a network without scales: factor 2^-8, so that int8 holds the results."""
    windows = Windows((2, 3), (1, 2), (2, 1), "same")
    window = o.Window(windows, 5, 6, 3)
    weights = RANDOM.integers(-127, 128, (4, 18)).astype(np.int8)
    op = o.Conv(weights, np.zeros(4, np.int64), rescaling(4), window, 0)
    image = RANDOM.integers(-128, 128, (5, 6, 3))
    found = op.evaluate(image).reshape(5, 3, 4)
    kernel = weights.reshape(4, 2, 3, 3).astype(np.int64)
    padded = np.pad(image, ((1, 1), (0, 1), (0, 0)))
    for r in range(5):
        for c in range(3):
            patch = padded[r : r + 3 : 2, 2 * c : 2 * c + 3]
            sums = (kernel * patch).sum(axis=(1, 2, 3))
            assert np.abs(found[r, c] - np.clip(sums / 512, -128, 127)).max() <= 0.5 + 1e-6


HEAVY = np.full((1, 5000), 127, np.int8)


@pytest.mark.parametrize(
    "make",
    [
        lambda: o.Dense(np.full((1, 4), -128, np.int8), np.zeros(1, np.int64), rescaling(1), 1),
        # Where the result depends on x: else a smaller bias has it too.
        lambda: o.Dense(HEAVY, np.array([1 << 29]), rescaling(1, -21), 1),
        lambda: o.Dense(HEAVY[:, :20], np.zeros(1, np.int64), rescaling(1, 9), 1),
        lambda: o.Softmax.of(300, UNIT, 1.0),
        lambda: o.Add.of(UNIT, UNIT, q.QTensor("y", (1,), 1e-9, 0)),
        lambda: o.Multiply.of(UNIT, UNIT, q.QTensor("y", (1,), 1e-9, 0)),
        lambda: o.SquaredDifference.of(UNIT, UNIT, q.QTensor("y", (1,), 1e-9, 0)),
        lambda: o.Mean.of(1 << 22, UNIT, UNIT),
    ],
)
def test_what_32_bits_cannot_hold_is_refused(make):
    with pytest.raises(ValueError):
        make()


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("shift", [-31, -28, -24])
def test_a_dead_channel_keeps_its_result(sign, shift):
    """No weights, and a bias that the converter has clipped: 32 bits hold neither twice nor 256
    times as much. The other row stays as it is."""
    bias = np.array([sign << 30, 77])
    weights = np.array([[0, 0], [3, -4]], np.int8)
    r = q.Rescaling(np.array([1518500250, 1 << 30]), np.array([shift, -3]), -7)
    op = o.Dense(weights, bias, r, 1)
    x = np.array([[-128, 127], [5, 6], [127, -128]])
    expected = r(x @ weights.T.astype(np.int64) + bias, rescale_once)
    np.testing.assert_array_equal([op.evaluate(row)[0] for row in x], expected)
    assert np.abs(op.bias).max() < 1 << 16
    np.testing.assert_array_equal(op.weights[1], weights[1])
