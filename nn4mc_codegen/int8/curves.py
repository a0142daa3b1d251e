"""tanh and the logistic function of 16-bit fixed point, to the bit as TensorFlow Lite has them.

Both are made of one curve: the quotient q(x) = 2 / (1 + exp(-x)), x >= 0, with 13 fractional bits,

    logistic(x) = q(x) / 2 = 1 - logistic(-x),  tanh(x) = q(2x) - 1 = -tanh(-x)

whose last bits are noise of their 16-bit arithmetic (gemmlowp's fixedpoint.h: a Taylor series of
exp on a quarter, one factor for each bit above that, three steps of Newton's method for the
reciprocal). To make it takes about a hundred instructions; `table` is what a dozen look it up in.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nn4mc_codegen.int8.fixed_point import divide_by_power

ONE = 15
"""Fractional bits of results."""
HALF = 1 << 13
"""q(0) = 1, and its fractional bits."""
FACTORS = (25520, 19875, 12055, 4435, 600, 11, 0, 0, 0)
"""exp(-1/4), exp(-1/2), exp(-1) … exp(-64) with 15 fractional bits."""
BLOCK = 16
"""Arguments that share a number of a table."""
WHOLE = 3
"""Bits above 1 of the gates' arguments."""
END = 1 << 15


def high_product(a: np.ndarray, b: np.ndarray | int) -> np.ndarray:
    """a·b / 2^15, to nearest, halves up."""
    return (a * b + (1 << 14)) >> 15


def exponential(u: np.ndarray, whole: int) -> np.ndarray:
    """exp(-u) with 15 fractional bits, of u > 0 with 15 - `whole`."""
    quarter = 1 << (13 - whole)
    fraction = (-u & (quarter - 1)) - quarter
    x = (fraction << whole) + (1 << 12)
    x2 = high_product(x, x)
    x3, x4 = high_product(x2, x), high_product(x2, x2)
    third = high_product(divide_by_power(x4, np.int64(2)) + x3, 10923)
    at_eighth = 28918  # exp(-1/8)
    result = at_eighth + high_product(x + divide_by_power(third + x2, np.int64(1)), at_eighth)
    for bit, factor in enumerate(FACTORS[: whole + 2]):
        has = (fraction + u) >> (13 - whole + bit) & 1
        result = np.where(has == 1, high_product(result, factor), result)
    return result


def quotient(e: np.ndarray) -> np.ndarray:
    """2 / (1 + e) with 13 fractional bits, of e with 15: from a straight line, which is off by 1/17
    of the value at most, by three steps of Newton's method."""
    half = (e + (1 << ONE)) >> 1
    q = 23130 + high_product(half, -15420)
    for _ in range(3):
        q = q + (high_product(q, HALF - high_product(half, q)) << 2)
    return q


@functools.cache
def curve(whole: int) -> np.ndarray:
    """q(u) for u = 0 … 2^15 with 15 - `whole` fractional bits; in 0 it is 1."""
    u = np.arange(END + 1)
    found = quotient(exponential(u, whole))
    found[0] = HALF
    return found


def logistic(x: np.ndarray) -> np.ndarray:
    """Of x with 12 fractional bits."""
    above = np.minimum(2 * curve(WHOLE)[np.abs(x)], (1 << ONE) - 1)
    return np.where(x < 0, (1 << ONE) - 1 - above, above)


def tanh(x: np.ndarray, whole: int) -> np.ndarray:
    """Of x with 15 - `whole` fractional bits."""
    above = np.minimum(4 * (curve(whole + 1)[np.abs(x)] - HALF), (1 << ONE) - 1)
    return np.where(x < 0, -above, above)


def tail() -> list[tuple[int, int]]:
    """Where q, with 12 fractional bits of u, takes another value beyond 8, and by how much more."""
    values = curve(WHOLE + 1)[END // 2 :]
    steps = np.flatnonzero(np.diff(values)) + 1
    return [(END + 2 * int(k), int(values[k] - values[k - 1])) for k in steps]


@dataclass(frozen=True, eq=False)
class Table:
    """q(u) = (entry >> 16) + rests[(entry & 0xffff) + u % BLOCK], entry = entries[…][u // BLOCK].

    A block's values are a few steps above its least one, in patterns that come again and again, the
    end of one often the beginning of another.
    """

    entries: dict[int, np.ndarray]
    """by the bits above 1 of u"""
    rests: np.ndarray


def table(wholes: Sequence[int]) -> Table:
    """Of the curves for arguments with so many bits above 1."""
    blocks, least = {}, {}
    for whole in wholes:
        values = curve(whole)
        values = np.append(values, np.full(BLOCK - 1, values[-1])).reshape(-1, BLOCK)
        least[whole] = values.min(axis=1)
        blocks[whole] = list(map(bytes, (values - least[whole][:, None]).astype(np.uint8)))
    rests, places = _overlapped([p for whole in wholes for p in blocks[whole]])
    entries = {whole: (least[whole] << 16) + [places[p] for p in blocks[whole]] for whole in wholes}
    return Table(entries, np.frombuffer(rests, np.uint8).astype(np.int64))


def _overlapped(patterns: Sequence[bytes]) -> tuple[bytes, dict[bytes, int]]:
    """Bytes in which all patterns stand, and where: those that overlap most are joined first."""
    patterns = list(dict.fromkeys(patterns))
    after: dict[int, tuple[int, int]] = {}  # of a pattern the next one and how far they overlap
    chain = list(range(len(patterns)))  # of its first and its last pattern: the other end
    begins = set(chain)
    for length in range(BLOCK - 1, 0, -1):
        heads: dict[bytes, list[int]] = {}
        for i in sorted(begins):
            heads.setdefault(patterns[i][:length], []).append(i)
        for i, pattern in enumerate(patterns):
            if i in after:
                continue
            waiting = heads.get(pattern[-length:], [])
            k = next((k for k in waiting if k != chain[i]), None)  # not the head of its own chain
            if k is None:
                continue
            waiting.remove(k)
            begins.remove(k)
            after[i] = k, length
            head, end = chain[i], chain[k]
            chain[head], chain[end] = end, head
    joined, places = bytearray(), {}
    for i in sorted(begins):
        k, length = i, 0
        while True:
            joined += patterns[k][length:]
            places[patterns[k]] = len(joined) - BLOCK
            if k not in after:
                break
            k, length = after[k]
    return bytes(joined), places
