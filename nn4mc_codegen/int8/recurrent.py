"""SimpleRNN, GRU and LSTM in integers: one time step, integer for integer as the C computes it.

x is int8 and so are the weights, with a scale a row. States are int16: h with 15 fractional bits,
an LSTM's c with as many as its range leaves. Sums of products are int32; from there on everything
is int16, as in the LSTM of TensorFlow Lite Micro and CMSIS-NN (arm_lstm_unidirectional_s8):

    s = clip(m·(256·(2^a·Wx·x + Wh·h') + b))    arguments of the gates, with 12 fractional bits:
                                                within ±8; h' is the nearest int8 of h·2^-8
    tanh(s), sigmoid(s)                         with 15, from a table of 256 straight lines

What differs from there: x and h meet weights of one scale, and one table serves both functions, for
sigmoid(s) = (1 + tanh(s / 2)) / 2.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nn4mc_codegen.int8.quantize import HIGH, LOW, QOp

ONE = 15
"""Fractional bits of gates, of h and of what activations make."""
ARGUMENT = 12
"""Fractional bits of their arguments."""
HALF = 1 << (ONE - 1)
SEGMENT = 8
"""Bits of an argument that say where it stands in its segment of the table, 1/16 wide."""


def int16(values: np.ndarray) -> np.ndarray:
    """The nearest that 16 bits can hold."""
    return np.clip(values, -(1 << 15), (1 << 15) - 1)


def int8(h: np.ndarray) -> np.ndarray:
    """h as the products take it."""
    return np.minimum((h + 128) >> 8, HIGH)


def _table() -> np.ndarray:
    """tanh on -8 … 8: of each segment the value at its beginning, times 2^16, plus its rise.

    A chord of a function with second derivative f'' is off by f''·d²/8 in the middle of its segment
    of width d; with both ends moved by half of that it is off by no more than f''·d²/16 anywhere,
    at most 1.9e-4 here.
    """
    width = 2.0 ** (SEGMENT - ARGUMENT)
    t = np.tanh(np.arange(-128, 129) * width)
    ends = int16(np.rint((t + 2 * t * (1 - t**2) * width**2 / 16) * (1 << ONE)).astype(np.int64))
    return ends[:-1] * (1 << 16) + np.diff(ends)


TANH = _table()


def _line(x: np.ndarray) -> np.ndarray:
    """tanh of x with `ARGUMENT` fractional bits, with `ONE` + `SEGMENT`.

    A word's upper half stays above the lower one when it is shifted: what it leaves there, the
    rise's upper byte, is less than 9 parts in 256 of the last bit.
    """
    word = TANH[(x >> SEGMENT) + 128]
    return (word >> SEGMENT) + (word & 0xFFFF) * (x & 255)


def tanh(x: np.ndarray) -> np.ndarray:
    return (_line(x) + 128) >> SEGMENT


def sigmoid(x: np.ndarray) -> np.ndarray:
    """Of twice x."""
    return (_line(x) + (1 << 23) + 256) >> (SEGMENT + 1)


def hard_sigmoid(x: np.ndarray) -> np.ndarray:
    """min(max(x + 1/2, 0), 1), of x with 15 fractional bits."""
    return np.clip(x + HALF, 0, (1 << ONE) - 1)


@dataclass(frozen=True)
class Gate:
    """An activation between 0 and 1; its argument comes multiplied by `factor`, with `ARGUMENT`
    fractional bits."""

    name: str
    factor: float

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return GATES[self.name](x)


GATES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "sigmoid": sigmoid,
    "hard_sigmoid": hard_sigmoid,
}


@dataclass(frozen=True, eq=False)
class Sums:
    """clip(m·(256·(2^shift·Wx·x + Wh·h) + b)), int16: arguments of some gates, a row each.

    `weights` (rows, columns) int8, of which the first `inputs` meet x and the others h; `bias` and
    `multiplier` (rows,) int32; the latter are m·2^32.
    """

    weights: np.ndarray
    bias: np.ndarray
    multiplier: np.ndarray
    inputs: int
    shift: int

    def __call__(self, x: np.ndarray, h: np.ndarray) -> np.ndarray:
        Wx, Wh = np.split(self.weights.astype(np.int64), [self.inputs], axis=1)
        sums = self.bias
        if self.inputs:
            sums = sums + 256 * ((Wx @ x) << self.shift)
        if Wh.size:
            sums = sums + 256 * (Wh @ h)
        return int16((sums * self.multiplier + (1 << 31)) >> 32)


@dataclass(frozen=True)
class Output:
    """int8 from h: clip(multiplier·h·2^-shift / 2 + zero), to the nearest, halves up."""

    multiplier: int
    shift: int
    zero: int

    def __call__(self, h: np.ndarray) -> np.ndarray:
        twice = ((h * self.multiplier) >> self.shift) + 1 + 2 * self.zero
        return np.clip(twice >> 1, LOW, HIGH)


@dataclass(frozen=True, eq=False)
class Recurrent(QOp):
    """States come after x, and new ones after y."""

    sums: tuple[Sums, ...]
    gate: Gate | None
    inputs: int
    units: int
    output: Output

    gates: ClassVar[tuple[str, ...]]
    """letters of the arrays in `sums`"""

    @property
    def states(self) -> dict[str, int]:
        return {"h": self.units}

    @property
    def state_scales(self) -> dict[str, float]:
        return {"h": 2.0**-ONE}

    @property
    def constants(self) -> dict[str, np.ndarray]:
        pairs = zip(self.gates, self.sums, strict=True)
        return {f"{a}{g}": v for g, s in pairs for a, v in (("W", s.weights), ("b", s.bias))}

    @property
    def macs(self) -> int:
        return sum(s.weights.size for s in self.sums)

    def evaluate(self, *values: np.ndarray) -> np.ndarray:
        """[y, new states], one after the other, of x and the states."""
        x, *states = values
        states = self._step(x.ravel(), *states)
        return np.concatenate([self.output(states[0]), *states])

    @abstractmethod
    def _step(self, x: np.ndarray, *states: np.ndarray) -> tuple[np.ndarray, ...]:
        """The new states, of x (inputs,) and the states, all integers; the first of them is h."""


@dataclass(frozen=True, eq=False)
class SimpleRNN(Recurrent):
    kind = "simple_rnn"
    formula = "h = tanh(W·[x, h] + b)"
    gates = ("",)

    def _step(self, x: np.ndarray, *states: np.ndarray) -> tuple[np.ndarray, ...]:
        return (tanh(self.sums[0](x, int8(states[0]))),)


@dataclass(frozen=True, eq=False)
class GRU(Recurrent):
    """With the reset gate before the product: of z and r, and of the candidate."""

    kind = "gru"
    gates = ("g", "k")

    @property
    def formula(self) -> str:
        return (
            "z, r = s(Wg·[x, h] + bg), k = tanh(Wk·[x, r∘h] + bk), h = z∘h + (1 - z)∘k, "
            f"s = {self.gate.name}"
        )

    def _step(self, x: np.ndarray, *states: np.ndarray) -> tuple[np.ndarray, ...]:
        (h,) = states
        z, r = np.split(self.gate(self.sums[0](x, int8(h))), 2)
        reset = (r * h + HALF) >> ONE
        return (self._mixed(z, tanh(self.sums[1](x, int8(reset))), h),)

    @staticmethod
    def _mixed(z: np.ndarray, k: np.ndarray, h: np.ndarray) -> np.ndarray:
        return k + ((z * (h - k) + HALF) >> ONE)


@dataclass(frozen=True, eq=False)
class GRUResetAfter(GRU):
    """With it after the product: of z and r, and of the candidate by x and by h, which have
    `ARGUMENT` - `wide` fractional bits."""

    wide: int

    kind = "gru_reset_after"
    gates = ("g", "k", "u")

    @property
    def formula(self) -> str:
        return (
            "z, r = s(Wg·[x, h] + bg), k = tanh(Wk·x + bk + r∘(Wu·h + bu)), "
            f"h = z∘h + (1 - z)∘k, s = {self.gate.name}"
        )

    def _step(self, x: np.ndarray, *states: np.ndarray) -> tuple[np.ndarray, ...]:
        (h,) = states
        gates, by_x, by_h = (sums(x, int8(h)) for sums in self.sums)
        z, r = np.split(self.gate(gates), 2)
        shift = ONE - self.wide
        both = ((by_x << ONE) + r * by_h + (1 << shift >> 1)) >> shift
        return (self._mixed(z, tanh(int16(both)), h),)


@dataclass(frozen=True, eq=False)
class LSTM(Recurrent):
    """c has 15 - `cell` fractional bits. Rows are those of the gates i, f, k, o."""

    cell: int

    kind = "lstm"
    gates = ("",)

    @property
    def formula(self) -> str:
        return (
            "i, f, k, o = W·[x, h] + b, c = s(f)∘c + s(i)∘tanh(k), h = s(o)∘tanh(c), "
            f"s = {self.gate.name}"
        )

    @property
    def states(self) -> dict[str, int]:
        return {"h": self.units, "c": self.units}

    @property
    def state_scales(self) -> dict[str, float]:
        return {"h": 2.0**-ONE, "c": 2.0 ** (self.cell - ONE)}

    def _step(self, x: np.ndarray, *states: np.ndarray) -> tuple[np.ndarray, ...]:
        h, c = states
        i, f, k, o = np.split(self.sums[0](x, int8(h)), 4)
        i, f, o = map(self.gate, (i, f, o))
        c = int16((f * c + ((i * tanh(k)) >> self.cell) + HALF) >> ONE)
        # To 12 fractional bits.
        argument = int16(((c << self.cell) + 4) >> 3)
        return (o * tanh(argument) + HALF) >> ONE, c
