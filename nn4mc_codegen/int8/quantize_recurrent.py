"""From SimpleRNN, GRU and LSTM of float32 to those of integers, by ranges of their states."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from nn4mc_codegen.int8 import recurrent as r
from nn4mc_codegen.int8.quantize import QTensor
from nn4mc_codegen.ops.activation import Activation
from nn4mc_codegen.ops.recurrent import GRU, LSTM, Recurrent, SimpleRNN

MAX_SHIFT = 8
"""Most bits by which products with x are shifted to the left."""
# A bias has at most so many steps, an eighth of what sums may have.
DEAD_BIAS = 1 << 28
# Half of what int32 holds: the kernel's sums have some of the weights 129 times in them on the way.
MAX_SUM = 1 << 30
MAX_MULTIPLIER = 1 << 31


def peak(op: Recurrent, x: np.ndarray, states: Sequence[np.ndarray], new: np.ndarray) -> float:
    """The largest absolute value of a step that int16 must hold beside h: of an LSTM's new cell
    state, of the two parts of a GRU's candidate."""
    u = op.units
    if isinstance(op, LSTM):
        return float(np.abs(new[u:]).max())
    if not isinstance(op, GRU) or not op.reset_after:
        return 0.0
    bias, inner_bias = op.biases
    parts = (
        x @ op.kernel[:, 2 * u :] + bias[2 * u :],
        states[0] @ op.recurrent[:, 2 * u :] + inner_bias,
    )
    return float(max(np.abs(part).max() for part in parts))


def quantized(op: Recurrent, x: QTensor, y: QTensor, highest: float) -> r.Recurrent:
    """The integer form of a layer on x with the result y, by the highest `peak` of its steps.

    Raises ValueError, whose message goes on after the layer's name, for what has none.
    """
    if not all(np.isfinite([highest, *map(np.sum, (op.kernel, op.recurrent, op.bias))])):
        raise ValueError("has weights or states that are not finite")
    if op.activation.name != "tanh":
        raise ValueError(f"has the activation {op.activation.name}; its int8 form has tanh alone")
    gate = None if isinstance(op, SimpleRNN) else _gate(op.recurrent_activation)
    return _Layer(op, x, y, gate).made(highest)


def _gate(activation: Activation) -> r.Gate:
    if activation.name == "sigmoid":
        return r.Gate("sigmoid", 0.5)
    if activation.name == "hard_sigmoid":
        slope = dict(activation.parameters)["a"]
        return r.Gate("hard_sigmoid", slope * 2.0 ** (r.ONE - r.ARGUMENT))
    raise ValueError(
        f"has the recurrent activation {activation.name}; its int8 form has sigmoid and "
        "hard_sigmoid alone"
    )


def _bits_above(value: float, most: float) -> int:
    """By how many powers of two a value exceeds `most`."""
    return max(math.ceil(math.log2(value / most)), 0) if value > most else 0


class _Layer:
    """A layer of float32 on its way; `made` gives that of integers."""

    def __init__(self, op: Recurrent, x: QTensor, y: QTensor, gate: r.Gate | None):
        self._op, self._x, self._y, self._gate = op, x, y, gate
        rows = (2 if isinstance(op, GRU) else op.gates) * op.units
        self._W = op.kernel.T.astype(np.float64)
        self._U = op.recurrent.T.astype(np.float64)
        self._shift = self._best_shift(self._W[:rows], self._U[:rows])

    def made(self, highest: float) -> r.Recurrent:
        op, u = self._op, self._op.units
        W, U = self._W, self._U
        bias, inner_bias = op.biases if isinstance(op, GRU) else (op.bias, None)
        last = self._gate, len(op.kernel), u, self._output()
        if isinstance(op, SimpleRNN):
            return r.SimpleRNN((self._sums(bias, 1.0, W, U),), *last)
        s = self._gate.factor
        if isinstance(op, LSTM):
            cell = _bits_above(highest, 1.0)
            if cell > r.ONE:
                raise ValueError(f"has a cell state of {highest:.3g}; int16 holds up to 2^15")
            factors = np.repeat([s, s, 1.0, s], u)
            return r.LSTM((self._sums(bias, factors, W, U),), *last, cell)
        gates = self._sums(bias[: 2 * u], s, W[: 2 * u], U[: 2 * u])
        W, U, bias = W[2 * u :], U[2 * u :], bias[2 * u :]
        if not op.reset_after:
            return r.GRU((gates, self._sums(bias, 1.0, W, U)), *last)
        wide = _bits_above(highest, 8.0)
        if wide >= r.ONE:
            raise ValueError(f"has a candidate of {highest:.3g}, too large for int16")
        by_x = self._sums(bias, 2.0**-wide, W, U[:, :0])
        by_h = self._sums(inner_bias, 2.0**-wide, W[:, :0], U)
        return r.GRUResetAfter((gates, by_x, by_h), *last, wide)

    def _best_shift(self, W: np.ndarray, U: np.ndarray) -> int:
        """That of the products with x which makes the least error.

        A row of weights has one step for both. Where x reaches further than h, which stays within
        1, the weights of x would take all of its 8 bits and leave few to those of h.
        """

        def error(shift: int) -> float:
            x_step, h_step = self._steps(shift)
            step = np.maximum(np.abs(W).max(axis=1) * x_step, np.abs(U).max(axis=1) * h_step)
            # Weights are off by up to half a step; typical operands are a quarter of x's range, and
            # h of 1/4.
            x, h = 64 * self._x.scale / x_step, 0.25 / h_step
            return float(np.sum(step**2) * (W.shape[1] * x**2 + U.shape[1] * h**2))

        return min(range(MAX_SHIFT + 1), key=error)

    def _steps(self, shift: int) -> tuple[float, float]:
        """What 1 in a sum stands for, by a weight of 1: of x and of h."""
        return self._x.scale * 2.0 ** -(8 + shift), 2.0**-r.ONE

    def _sums(
        self, bias: np.ndarray, factors: np.ndarray | float, W: np.ndarray, U: np.ndarray
    ) -> r.Sums:
        """Rows of factors·(W·x + U·h + bias)."""
        inputs, units = W.shape[1], U.shape[1]
        shift = self._shift if inputs and units else 0
        x_step, h_step = self._steps(shift)
        rows, bias = np.hstack([W * x_step, U * h_step]), bias.astype(np.float64)
        scale = np.maximum(np.abs(rows).max(axis=1) / 127, np.abs(bias) / DEAD_BIAS)
        scale = np.maximum(scale, np.finfo(np.float32).tiny)
        operands = 256 * np.repeat([1 << shift, 1], [inputs, units])
        while True:
            weights = np.rint(rows / scale[:, None]).astype(np.int64)
            steps = np.rint(bias / scale).astype(np.int64)
            steps -= self._x.zero * (weights * operands)[:, :inputs].sum(axis=1)
            beyond = np.abs(weights) @ (128 * operands) + np.abs(steps) >= MAX_SUM
            if not beyond.any():
                break
            scale[beyond] *= 2  # a row of so many large weights does with fewer bits
        multiplier = np.rint(scale * factors * 2.0 ** (32 + r.ARGUMENT))
        if np.any(multiplier >= MAX_MULTIPLIER):
            raise ValueError("has gates that a single input moves by hundreds")
        return r.Sums(weights.astype(np.int8), steps, multiplier.astype(np.int64), inputs, shift)

    def _output(self) -> r.Output:
        """The factor, twice that of a step of h to one of y, as 15 bits and a shift."""
        fraction, exponent = math.frexp(2.0 * 2.0**-r.ONE / self._y.scale)
        multiplier = min(round(fraction * (1 << 15)), (1 << 15) - 1)
        shift = 15 - exponent
        if not 0 <= shift < 32:
            raise ValueError(f"has results of at most {255 * self._y.scale:.2g}, next to nothing")
        return r.Output(multiplier, shift, self._y.zero)
