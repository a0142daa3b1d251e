"""TensorFlow Lite's LSTM in integers, of the form that its converter makes of a float32 one.

x and h are int8 with scales and zero points of their own, weights int8 of one scale for each gate,
the cell state c is int16 with a power of two as its scale, and biases are int32. With int16 sums

    i, f, k, o = clip(clip(m·(W·(x - zx) + b)) + m'·U·(h - zh))     with 12 fractional bits
    c = clip(σ(f)∘c + σ(i)∘tanh(k))                                 each product rounded by itself
    h = clip(m″·σ(o)∘tanh(c) + zero)

every step is that of its reference kernels. Differs from `recurrent` by that: there x and h meet
weights of one scale, and h has 16 bits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nn4mc_codegen.int8 import curves
from nn4mc_codegen.int8.fixed_point import divide_by_power, rescale
from nn4mc_codegen.int8.quantize import HIGH, LOW, QOp

# The kernel has sums 256 times, and some of the weights 129 times in them on the way.
MAX_SUM = 1 << 22
MAX_SHIFT = 7
"""Bits by which a factor may exceed 1: sums that are had 256 times are shifted to the right."""
LOWEST_CELL = 15 - 6
"""Fewest fractional bits of c for which there is a tanh."""


def _int16(values: np.ndarray) -> np.ndarray:
    return np.clip(values, -(1 << 15), (1 << 15) - 1)


@dataclass(frozen=True, eq=False)
class Products:
    """m·(W·v + b) of the gates i, f, k, o one after the other.

    `weights` (4·units, columns) int8; `bias` (4·units,) with the zero point of v folded in;
    `multiplier` and `shift` (4,), one for each gate.
    """

    weights: np.ndarray
    bias: np.ndarray
    multiplier: np.ndarray
    shift: np.ndarray

    def __post_init__(self) -> None:
        if np.any(self.weights == LOW):
            raise ValueError("has a weight of -128, which int8 networks leave out")
        reach = np.abs(self.weights.astype(np.int64)).sum(axis=1) * 128 + np.abs(self.bias)
        if np.any(reach >= MAX_SUM):
            raise ValueError("has sums beyond 2^22, too large for its 32-bit arithmetic")
        if np.any(self.shift > MAX_SHIFT):
            raise ValueError("has gates that a single step of an input moves by 1/32")

    @property
    def factors(self) -> list[tuple[int, int]]:
        """Multiplier and shift of each gate."""
        return list(zip(self.multiplier.tolist(), self.shift.tolist(), strict=True))

    def __call__(self, v: np.ndarray) -> np.ndarray:
        """int32 (4, units)"""
        sums = (self.weights.astype(np.int64) @ v + self.bias).reshape(4, -1)
        return rescale(sums, self.multiplier[:, None], self.shift[:, None])


@dataclass(frozen=True, eq=False)
class LSTM(QOp):
    """On x (steps, inputs), with the result h (steps, units).

    If it `carries` its state, which is h less its zero point and c, that comes after x; else each
    sequence begins with zeros of them.
    """

    by_x: Products
    by_h: Products
    multiplier: int
    shift: int
    """of the factor from σ(o)·tanh(c), with 30 fractional bits, to steps of h"""
    scale: float
    """of h"""
    zero: int
    """of h"""
    cell: int
    """fractional bits of c"""
    clip: int
    """the largest absolute value of c"""
    steps: int
    carries: bool

    kind = "tflite_lstm"
    formula = "i, f, k, o = W·x + U·h + b, c = σ(f)∘c + σ(i)∘tanh(k), h = σ(o)∘tanh(c)"

    def __post_init__(self) -> None:
        if not LOWEST_CELL <= self.cell <= 15:
            raise ValueError(f"has a cell state of scale 2^{-self.cell}")
        if not -30 <= self.shift < 0:
            raise ValueError("has results of a scale that is next to nothing")

    @property
    def units(self) -> int:
        return len(self.by_x.bias) // 4

    @property
    def whole(self) -> int:
        """Bits above 1 of c."""
        return 15 - self.cell

    @property
    def states(self) -> dict[str, int]:
        return {"h": self.units, "c": self.units} if self.carries else {}

    @property
    def state_scales(self) -> dict[str, float]:
        return {"h": self.scale, "c": 2.0**-self.cell} if self.carries else {}

    @property
    def constants(self) -> dict[str, np.ndarray]:
        return {"W": self.by_x.weights, "U": self.by_h.weights, "b": self.by_x.bias}

    @property
    def macs(self) -> int:
        return self.steps * sum(p.weights.size for p in (self.by_x, self.by_h))

    def evaluate(self, *values: np.ndarray) -> np.ndarray:
        """[h, new states], one after the other."""
        x, *states = values
        h, c = states or (np.zeros(self.units, np.int64),) * 2
        h, rows = h + self.zero, []
        for row in x.reshape(self.steps, -1):
            h, c = self._step(row, h, c)
            rows.append(h)
        return np.concatenate([*rows, *([h - self.zero, c] if self.carries else [])])

    def _step(self, x: np.ndarray, h: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        i, f, k, o = _int16(_int16(self.by_x(x)) + self.by_h(h))
        i, f, o = map(curves.logistic, (i, f, o))
        kept = divide_by_power(f * c, np.int64(15))
        added = divide_by_power(i * curves.tanh(k, curves.WHOLE), np.int64(30 - self.cell))
        c = np.clip(_int16(kept + added), -self.clip, self.clip)
        product = o * curves.tanh(c, self.whole)
        return np.clip(rescale(product, self.multiplier, self.shift) + self.zero, LOW, HIGH), c
