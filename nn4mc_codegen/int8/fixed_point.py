"""Integer arithmetic on fixed-point numbers, rounded as TensorFlow Lite's reference kernels do.

A positive real factor is multiplier·2^(shift - 31) with the multiplier in [2^30, 2^31). NumPy's
int64 holds every intermediate result.
"""

from __future__ import annotations

import math

import numpy as np


def fixed_point(factor: float) -> tuple[int, int]:
    """(multiplier, shift) nearest to a factor >= 0; factors below 2^-32 become 0."""
    fraction, shift = math.frexp(factor)
    multiplier = math.floor(fraction * (1 << 31) + 0.5)
    if multiplier == 1 << 31:
        multiplier, shift = multiplier >> 1, shift + 1
    return (multiplier, shift) if shift >= -31 else (0, -2)


def high_product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a·b / 2^31, to nearest, halves up."""
    return (a * b + (1 << 30)) >> 31


def divide_by_power(a: np.ndarray, exponent: np.ndarray) -> np.ndarray:
    """a / 2^exponent, to nearest, halves away from zero."""
    rest = a & ((1 << exponent) - 1)
    half = (1 << exponent) >> 1
    return (a >> exponent) + ((rest > half) | ((rest == half) & (a >= 0) & (exponent > 0)))


def rescale_once(a: np.ndarray, multiplier: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """a times a fixed-point factor, to nearest, halves up: of dense layers."""
    return (a * multiplier + (1 << (30 - shift))) >> (31 - shift)


def rescale(a: np.ndarray, multiplier: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """a times a fixed-point factor, rounded twice: of everything else."""
    multiplier, shift = np.asarray(multiplier, np.int64), np.asarray(shift, np.int64)
    shifted = np.asarray(a, np.int64) << np.maximum(shift, 0)
    return divide_by_power(high_product(shifted, multiplier), np.maximum(-shift, 0))


def divide(a: np.ndarray, n: np.ndarray) -> np.ndarray:
    """a / n, to nearest, halves away from zero."""
    return np.sign(a) * ((np.abs(a) + n // 2) // n)


def exponential(x: np.ndarray) -> np.ndarray:
    """exp(x) with 31 fractional bits of x <= 0 with 26.

        x = f - k/4, -1/4 <= f < 0             x = -1.3 is f = -0.05, k = 5
        exp(f) by Taylor's series about -1/8
        exp(-k/4) by the bits of k             exp(-5/4) = exp(-1)·exp(-1/4)

    `factors` are exp(-1/4), exp(-1/2), exp(-1) … exp(-16).
    """
    quarter = 1 << 24
    fraction = (x & (quarter - 1)) - quarter
    f = (fraction << 5) + (1 << 28)
    f2 = high_product(f, f)
    f3, f4 = high_product(f2, f), high_product(f2, f2)
    two = np.int64(2)
    third = high_product(divide_by_power(f4, two) + f3, np.int64(715827883))
    series = f + divide_by_power(third + f2, np.int64(1))
    at_eighth = np.int64(1895147668)
    result = at_eighth + high_product(at_eighth, series)
    rest = fraction - x
    factors = (1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242)
    for bit, factor in enumerate(factors, start=24):
        result = np.where(rest & (1 << bit), high_product(result, np.int64(factor)), result)
    return np.where(x == 0, (1 << 31) - 1, result)


def reciprocal(x: int) -> int:
    """1 / (1 + x) for x in [0, 1), both with 31 fractional bits.

    Three steps of Newton's method for the reciprocal of the half h = (1 + x) / 2 with 29 fractional
    bits, from the straight line 48/17 - 32/17·h, off by 1/17 of the value at most.
    """
    half = (x + (1 << 31) - 1 + 1) >> 1
    guess = 1515870810 + ((half * -1010580540 + (1 << 30)) >> 31)
    for _ in range(3):
        error = (1 << 29) - ((half * guess + (1 << 30)) >> 31)
        guess += ((guess * error + (1 << 30)) >> 31) << 2
    return min(guess << 1, (1 << 31) - 1)


def hard_swish(d: np.ndarray, input_scale: float, output_scale: float) -> np.ndarray:
    """x·relu6(x + 3)/6 of x = d·input_scale, in steps of output_scale: 16-bit fixed point.

    `value` is x in steps of the result, `ramp` is relu6(x + 3)/6 with 15 fractional bits: the line
    x/3, cut off at ±1 where 16 bits end, plus 1, halved.
    """

    def factor16(value: np.float32) -> tuple[int, int]:
        multiplier, shift = fixed_point(float(value))
        return min((multiplier + (1 << 15)) >> 16, (1 << 15) - 1), shift

    def high_product16(a: np.ndarray, b: int) -> np.ndarray:
        """a·b / 2^15, to nearest, halves away from zero."""
        return divide_by_power(a * b, np.int64(15))

    fine_scale = np.float32(input_scale) / np.float32(128)
    multiplier, shift = factor16(fine_scale / np.float32(output_scale))
    if shift > 0:
        raise ValueError("has an output scale far below its input scale")
    fine = d * 128
    value = high_product16(fine, multiplier)
    multiplier, ramp_shift = factor16(fine_scale / np.float32(3 / 32768))
    ramp = np.clip(fine << max(ramp_shift - 1, 0), -(1 << 15), (1 << 15) - 1)
    ramp = high_product16(ramp, multiplier)
    if ramp_shift > 0:
        ramp = np.clip(ramp << 1, -(1 << 15), (1 << 15) - 1)
    ramp = divide_by_power(ramp, np.int64(max(-ramp_shift, 0)))
    ramp = (ramp + (1 << 15)) >> 1
    product = ramp * value
    truncated = np.sign(product) * (np.abs(product) >> 15)
    return divide_by_power(truncated, np.int64(-shift))
