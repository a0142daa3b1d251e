"""The operators on int8 tensors: what each computes, integer for integer, as the C does.

The arithmetic is that of TensorFlow Lite's reference kernels (Jacob et al., "Quantization and
Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", 2018). The bounds that
let the C do with 32 bits are checked where an operator is made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from nn4mc_codegen.int8.fixed_point import (
    divide,
    divide_by_power,
    exponential,
    fixed_point,
    high_product,
    reciprocal,
    rescale,
    rescale_once,
)
from nn4mc_codegen.int8.quantize import HIGH, LOW, QOp, QTensor, Rescaling
from nn4mc_codegen.int8.window import Window

EVERY = np.arange(LOW, HIGH + 1)
# The C doubles sums and products: they must stay below this.
MAX_SUM = 1 << 29


@dataclass(frozen=True, eq=False)
class Linear(QOp):
    """Rows of W times patches of x: what dense layers and convolutions share.

    `weights` (rows, columns) int8; `bias` (rows,) with the zero point z of x folded in:
    b - z·sum(W), for W·(x - z) + b = W·x + (b - z·sum(W)).
    """

    weights: np.ndarray
    bias: np.ndarray
    rescaling: Rescaling

    def __post_init__(self) -> None:
        if np.any(self.weights == LOW):
            raise ValueError("has a weight of -128, which int8 networks leave out")
        if np.any(self._beyond):
            self._settle()
        if np.any(self._beyond):
            raise ValueError("has sums beyond 2^29, too large for 32-bit arithmetic")

    @property
    def _beyond(self) -> np.ndarray:
        """Rows whose sums may be too large (rows,)."""
        return self._reach + np.abs(self.bias) >= MAX_SUM >> self.left

    @property
    def _reach(self) -> np.ndarray:
        """How far the weights move each row's sum from its bias at most (rows,)."""
        return np.abs(self.weights.astype(np.int64)).sum(axis=1) * 128

    def _settle(self) -> None:
        """Give rows with such sums, whose result is the same for any x, a small bias and no weights
        that have it too.

        A channel that is dead after training has tiny weights, and with them a tiny scale. Its bias
        in steps of that is huge, and converters clip it to 2^30.
        """
        least, most = (self._rescaled(self.bias + reach) for reach in (-self._reach, self._reach))
        settled = self._beyond & (least == most)
        r, rows = self.rescaling, len(self.bias)
        # The result's distance from the zero point, 256 times, by a factor of 1/256.
        parts = {
            "weights": np.where(settled[:, None], 0, self.weights).astype(self.weights.dtype),
            "bias": np.where(settled, (least - r.zero) << 8, self.bias),
            "rescaling": replace(
                r,
                multiplier=np.where(settled, 1 << 30, np.broadcast_to(r.multiplier, rows)),
                shift=np.where(settled, -7, np.broadcast_to(r.shift, rows)),
            ),
        }
        for name, value in parts.items():
            object.__setattr__(self, name, value)

    def _rescaled(self, sums: np.ndarray) -> np.ndarray:
        return self.rescaling(sums)

    @property
    def left(self) -> int:
        """Bits by which a sum may be shifted to the left."""
        return max(int(self.rescaling.shift.max()), 0)

    @property
    def constants(self) -> dict[str, np.ndarray]:
        return {"W": self.weights, "b": self.bias}

    def _sums(self, patches: np.ndarray) -> np.ndarray:
        rows = patches.reshape(-1, self.weights.shape[1])
        return rows @ self.weights.T.astype(np.int64) + self.bias


@dataclass(frozen=True, eq=False)
class Dense(Linear):
    """Applied to each of `count` vectors."""

    count: int

    kind = "dense"
    formula = "y = clip(m·(W·x + b))"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.left - int(self.rescaling.shift.min()) > 32:
            raise ValueError("has weight scales too far apart")

    @property
    def left(self) -> int:
        """So much that every factor is below 1/4."""
        return max(int(self.rescaling.shift.max()) + 2, 0)

    @property
    def macs(self) -> int:
        return self.weights.size * self.count

    def evaluate(self, *values: np.ndarray) -> np.ndarray:
        return self._rescaled(self._sums(values[0]))

    def _rescaled(self, sums: np.ndarray) -> np.ndarray:
        return self.rescaling(sums, rescale_once)


@dataclass(frozen=True, eq=False)
class Windowed(Linear):
    """Outside the image x is its zero point, `input_zero`."""

    window: Window
    input_zero: int

    @property
    def macs(self) -> int:
        return self.weights.size * self.window.positions


@dataclass(frozen=True, eq=False)
class Conv(Windowed):
    """Columns of W are (tap, channel) of a patch."""

    kind = "conv"
    formula = "y = clip(m·(W·patch(x) + b))"

    def evaluate(self, *values: np.ndarray) -> np.ndarray:
        return self._rescaled(self._sums(self.window.patches(values[0], self.input_zero)))


@dataclass(frozen=True, eq=False)
class Depthwise(Windowed):
    """Row r of W, a column a tap, meets channel r // per_channel alone."""

    kind = "depthwise"
    formula = "y[c] = clip(m[c]·(W[c]·patch(x)[c] + b[c]))"

    @property
    def per_channel(self) -> int:
        return self.weights.shape[0] // self.window.channels

    def evaluate(self, *values: np.ndarray) -> np.ndarray:
        patches = self.window.patches(values[0], self.input_zero)
        repeated = np.repeat(patches, self.per_channel, axis=2)
        sums = np.einsum("pkr,rk->pr", repeated, self.weights.astype(np.int64))
        return self._rescaled(sums + self.bias)


@dataclass(frozen=True, eq=False)
class Pool(QOp):
    window: Window
    low: int = LOW
    high: int = HIGH


@dataclass(frozen=True, eq=False)
class MaxPool(Pool):
    kind = "max_pool"
    formula = "y = max(patch(x))"

    def evaluate(self, *values: np.ndarray) -> np.ndarray:
        largest = self.window.patches(values[0], LOW).max(axis=1)
        return np.clip(largest, self.low, self.high)


@dataclass(frozen=True, eq=False)
class AveragePool(Pool):
    """Of the elements inside the image."""

    halves_up: bool = False
    """whether halves are rounded up, as the kernels of uint8 do, whose numbers are never negative;
    else away from zero"""

    kind = "average_pool"
    formula = "y = mean(patch(x))"

    def evaluate(self, *values: np.ndarray) -> np.ndarray:
        sums, counts = self.window.patches(values[0], 0).sum(axis=1), self.window.counts[:, None]
        means = (sums + counts // 2) // counts if self.halves_up else divide(sums, counts)
        return np.clip(means, self.low, self.high)


@dataclass(frozen=True, eq=False)
class Mean(QOp):
    """Mean of `positions` vectors: clip(factor·(sum of x - z) + zero); the factor divides too."""

    positions: int
    input_zero: int
    rescaling: Rescaling

    kind = "mean"
    formula = "y = mean(x)"

    @classmethod
    def of(cls, positions: int, x: QTensor, y: QTensor) -> Mean:
        multiplier, shift = fixed_point(x.scale / y.scale)
        if positions * 255 * 2.0 ** max(shift, 0) >= MAX_SUM:
            raise ValueError(f"takes the mean of {positions} elements, too many")
        # The multiplier, 2^30 to 2^31, is divided by the count after it has gained as many bits as
        # the count will take away: of 49 elements 5, for 32 <= 49 < 64.
        more = min(positions.bit_length() - 1, 31 + shift)
        factor = (multiplier << more) // positions, shift - more
        return cls(positions, x.zero, Rescaling(*map(np.atleast_1d, factor), y.zero))

    def evaluate(self, *values: np.ndarray) -> np.ndarray:
        sums = values[0].reshape(self.positions, -1).sum(axis=0)
        return self.rescaling(sums - self.positions * self.input_zero)


@dataclass(frozen=True, eq=False)
class Lut(QOp):
    """Any function of one element: a table of its 256 values, for x = -128 … 127."""

    table: np.ndarray
    formula: str

    kind = "lut"

    @classmethod
    def of(
        cls, x: QTensor, y: QTensor, function: Callable[[np.ndarray], np.ndarray], formula: str
    ) -> Lut:
        """Of a function of real numbers, rounded to float32 and times 1 / scale, as TensorFlow Lite
        makes its tables."""
        with np.errstate(all="ignore"):
            real = np.asarray(function(x.dequantize(EVERY).astype(np.float64)), np.float32)
            steps = (real * (np.float32(1) / np.float32(y.scale))).astype(np.float64)
        rounded = np.trunc(steps + np.copysign(0.5, steps)) + y.zero
        clipped = np.where(np.isnan(rounded), LOW, np.clip(rounded, LOW, HIGH))
        return cls(clipped.astype(np.int64), formula)

    @classmethod
    def of_float(
        cls, x: QTensor, y: QTensor, function: Callable[[np.ndarray], np.ndarray], formula: str
    ) -> Lut:
        """Of a function of float32, between DEQUANTIZE and QUANTIZE."""
        with np.errstate(all="ignore"):
            return cls(y.quantize(function(x.dequantize(EVERY))), formula)

    def evaluate(self, *values: np.ndarray) -> np.ndarray:
        return self.table[values[0] - LOW]


Fixed = tuple[np.ndarray | None, np.ndarray | None]


@dataclass(frozen=True, eq=False)
class Binary(QOp):
    """Of two tensors, of which the smaller repeats. `fixed` are those that are no inputs."""

    fixed: Fixed

    @property
    def constants(self) -> dict[str, np.ndarray]:
        return {n: c for n, c in zip("ab", self.fixed, strict=True) if c is not None}

    def _operands(self, values: tuple[np.ndarray, ...]) -> tuple[np.ndarray, np.ndarray]:
        given = iter(values)
        a, b = (next(given) if c is None else c.astype(np.int64) for c in self.fixed)
        period = min(a.size, b.size)
        shape = (max(a.size, b.size) // period, period)
        return np.resize(a, shape), np.resize(b, shape)


@dataclass(frozen=True, eq=False)
class Add(Binary):
    """Both operands are brought to a common scale, twice the coarser one of theirs with 20 more
    bits, and added there; the sum is then brought to the scale of the result."""

    zeros: tuple[int, int]
    factors: tuple[tuple[int, int], tuple[int, int]]
    sign: int
    """of the second operand"""
    rescaling: Rescaling

    kind = "add"

    @classmethod
    def of(
        cls,
        a: QTensor,
        b: QTensor,
        y: QTensor,
        fixed: Fixed = (None, None),
        sign: int = 1,
        low: int = LOW,
        high: int = HIGH,
    ) -> Add:
        fine = 2.0 * max(a.scale, b.scale)
        factors = fixed_point(a.scale / fine), fixed_point(b.scale / fine)
        rescaling = Rescaling.of(np.array([fine / ((1 << 20) * y.scale)]), y.zero, low, high)
        if rescaling.shift[0] > 0:
            raise ValueError("has an output scale far below its input scales")
        return cls(fixed, (a.zero, b.zero), factors, sign, rescaling)

    @property
    def formula(self) -> str:
        return "y = a + b" if self.sign > 0 else "y = a - b"

    def evaluate(self, *values: np.ndarray) -> np.ndarray:
        return self.rescaling(self._sum(values, 20))

    def _sum(self, values: tuple[np.ndarray, ...], bits: int) -> np.ndarray:
        """a + sign·b on the common scale, with so many more bits."""
        a, b = (
            rescale((value - zero) << bits, *factor)
            for value, zero, factor in zip(
                self._operands(values), self.zeros, self.factors, strict=True
            )
        )
        return a + self.sign * b


@dataclass(frozen=True, eq=False)
class SquaredDifference(Add):
    """As Add, with 7 more bits, so that the square of the difference stays below 2^30."""

    kind = "squared_difference"
    formula = "y = (a - b)²"

    @classmethod
    def of(
        cls, a: QTensor, b: QTensor, y: QTensor, fixed: Fixed = (None, None)
    ) -> SquaredDifference:
        fine = 2.0 * max(a.scale, b.scale)
        factors = fixed_point(a.scale / fine), fixed_point(b.scale / fine)
        rescaling = Rescaling.of(np.array([fine**2 / ((1 << 14) * y.scale)]), y.zero)
        if rescaling.shift[0] >= 0:
            raise ValueError("has an output scale far below its input scales")
        return cls(fixed, (a.zero, b.zero), factors, -1, rescaling)

    def evaluate(self, *values: np.ndarray) -> np.ndarray:
        return self.rescaling(self._sum(values, 7) ** 2)


@dataclass(frozen=True, eq=False)
class Multiply(Binary):
    zeros: tuple[int, int]
    rescaling: Rescaling

    kind = "multiply"
    formula = "y = a·b"

    @classmethod
    def of(
        cls,
        a: QTensor,
        b: QTensor,
        y: QTensor,
        fixed: Fixed = (None, None),
        low: int = LOW,
        high: int = HIGH,
    ) -> Multiply:
        factor = np.float32(a.scale) * np.float32(b.scale) / np.float32(y.scale)
        rescaling = Rescaling.of(np.array([factor]), y.zero, low, high)
        if rescaling.shift[0] > 12:
            raise ValueError("has an output scale far below its input scales")
        return cls(fixed, (a.zero, b.zero), rescaling)

    def evaluate(self, *values: np.ndarray) -> np.ndarray:
        a, b = self._operands(values)
        return self.rescaling((a - self.zeros[0]) * (b - self.zeros[1]))


@dataclass(frozen=True, eq=False)
class Softmax(QOp):
    """Along the last axis, of `depth` elements: exp(x - max) from a table, times 1 / their sum.

    `exponentials[d]` is exp(-beta·scale·d), 31 fractional bits, and 0 where it is negligible.
    """

    depth: int
    exponentials: np.ndarray

    kind = "softmax"
    formula = "y = exp(x) / sum(exp(x))"

    @classmethod
    def of(cls, depth: int, x: QTensor, beta: float) -> Softmax:
        """For results of scale 1/256 and zero -128."""
        # Differences x - max are multiplied by beta·scale into numbers with 26 fractional bits, of
        # which an int32 holds those above -32. `furthest` is the last difference that surely stays
        # above -31; exp(-31) = 3e-14 is nothing beside the 1 of the largest element.
        factor = min(beta * x.scale * (1 << 26), (1 << 31) - 1.0)
        multiplier, shift = fixed_point(factor)
        if depth > 256 or not 0 <= shift <= 31 or factor <= 1.0:
            raise ValueError(f"takes the softmax of {depth} elements of scale {x.scale:g}")
        furthest = min(int(31.0 * (1 << 26) / (1 << shift)), 255)
        differences = -np.arange(furthest + 1, dtype=np.int64)
        return cls(depth, exponential(high_product(differences << shift, multiplier)))

    def evaluate(self, *values: np.ndarray) -> np.ndarray:
        x = values[0].reshape(-1, self.depth)
        away = x.max(axis=1, keepdims=True) - x
        table = np.append(self.exponentials, 0)
        terms = table[np.minimum(away, len(self.exponentials))]
        sums = divide_by_power(terms, np.int64(12)).sum(axis=1)
        result = np.empty_like(x)
        for row, total in enumerate(sums.tolist()):
            # total·2^headroom lies in [2^31, 2^32), which stands for [1, 2): the reciprocal takes
            # the part above 1. Terms have 31 fractional bits and their sum 19; the result has 8.
            headroom = 32 - total.bit_length()
            inverse = reciprocal((total << headroom) - (1 << 31))
            scaled = high_product(terms[row], np.int64(inverse))
            result[row] = divide_by_power(scaled, np.int64(12 - headroom + 31 - 8)) + LOW
        counted = away < len(self.exponentials)
        return np.where(counted, np.clip(result, LOW, HIGH), LOW)


@dataclass(frozen=True, eq=False)
class Rewire(QOp):
    """Elements put elsewhere, as the flat `source` of each says; -1 is the constant `fill`."""

    source: np.ndarray
    fill: int
    formula: str

    kind = "rewire"

    def evaluate(self, *values: np.ndarray) -> np.ndarray:
        every = np.concatenate([*(v.ravel() for v in values), [self.fill]])
        return every[self.source]
