"""SimpleRNN, GRU and LSTM: one time step, with the state as an operand.

x is one time step's input, h (and c) the state, · the product with a matrix, ∘ elementwise. What
Keras does along a sequence is the same step again and again from a state of zeros.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from nn4mc_codegen.graph.check import refuse
from nn4mc_codegen.graph.ir import Op, Shape
from nn4mc_codegen.ops.activation import Activation, read_activation
from nn4mc_codegen.program.expression import var
from nn4mc_codegen.program.program import Elements, Program


@dataclass(frozen=True, eq=False)
class Recurrent(Op):
    """`kernel` (inputs, gates·units) and `recurrent` (units, gates·units) have the gates side by
    side in Keras' order, transposed as Keras stores them; `bias` (gates·units,)."""

    kernel: np.ndarray
    recurrent: np.ndarray
    bias: np.ndarray
    activation: Activation
    gates: ClassVar[int]

    keras_config = (
        *("units", "activation", "recurrent_activation", "use_bias", "reset_after"),
        *("return_sequences", "return_state", "go_backwards"),
    )
    carries_state = True

    @classmethod
    def read(cls, layer, **more) -> Recurrent:
        """From a layer of Keras."""
        config = layer.config
        use_bias = config.get("use_bias", True)
        names = ("kernel", "recurrent_kernel", *(("bias",) if use_bias else ()))
        kernel, recurrent, *bias = layer.weights(names)
        units = config.get("units", config.get("output_dim"))
        width = units * cls.gates if isinstance(units, int) else -1
        biases = bias[0] if bias else np.zeros(width, np.float32)
        if (
            kernel.ndim != 2
            or kernel.shape[1] != width
            or recurrent.shape != (units, width)
            or biases.shape not in cls.bias_shapes(width)
        ):
            raise refuse(
                layer.name,
                f"arrays have shapes {kernel.shape}, {recurrent.shape} and {biases.shape} "
                f"but the layer has {units} units",
                "config and weights are of different models; save the model again",
            )
        activation = read_activation(layer, config.get("activation", "tanh"))
        return cls(kernel, recurrent, biases, activation, **more)

    @classmethod
    def bias_shapes(cls, width: int) -> tuple[Shape, ...]:
        return ((width,),)

    @property
    def units(self) -> int:
        return len(self.recurrent)

    @property
    def states(self) -> dict[str, int]:
        return {"h": self.units}

    @property
    def constants(self) -> dict[str, np.ndarray]:
        return {"W": self.kernel, "U": self.recurrent, "b": self.bias}

    def output_shape(self, shapes: Sequence[Shape]) -> Shape:
        (shape,) = shapes
        if shape != (len(self.kernel),):
            raise ValueError(f"takes {len(self.kernel)} inputs a step but gets shape {shape}")
        return (self.units,)

    def macs(self, *shapes: Shape) -> int:
        return self.kernel.size + self.recurrent.size

    def _columns(self, array: np.ndarray, *gates: int) -> np.ndarray:
        """The columns of some gates, side by side; the same array each time."""
        key = id(array), gates
        if key not in self._cut:
            parts = [array[..., g * self.units : (g + 1) * self.units] for g in gates]
            self._cut[key] = np.concatenate(parts, axis=-1)
        return self._cut[key]

    @cached_property
    def _cut(self) -> dict:
        return {}

    def _sums(
        self, p: Program, h: Elements, x: Elements, bias: np.ndarray, *gates: int
    ) -> Elements:
        """W·x + U·h + b of some gates (gates, units)."""
        names = "".join(map(str, gates)) if len(gates) < self.gates else ""
        W = p.constant(f"W{names}_{p.label}", self._columns(self.kernel, *gates)).T
        U = p.constant(f"U{names}_{p.label}", self._columns(self.recurrent, *gates)).T
        b = p.constant(f"b{names}_{p.label}", self._columns(bias, *gates))
        sums = p.linear(np.hstack([W, U]), np.concatenate([x, h])[None], b)
        return sums.reshape(len(gates), self.units)


def _f64(*arrays: np.ndarray) -> list[np.ndarray]:
    return [a.astype(np.float64) for a in arrays]


@dataclass(frozen=True, eq=False)
class SimpleRNN(Recurrent):
    kind = "simple_rnn"
    keras_layers = ("SimpleRNN",)
    gates = 1

    @classmethod
    def from_keras(cls, layer) -> SimpleRNN:
        return cls.read(layer)

    @property
    def formula(self) -> str:
        return f"h = f(W·x + U·h + b), f(x) = {self.activation.term}"

    def evaluate(self, *values: np.ndarray) -> np.ndarray:
        x, h = values
        W, U, b = _f64(self.kernel, self.recurrent, self.bias)
        return self.activation.evaluate(x @ W + h @ U + b)

    def jacobians(self, *values: np.ndarray) -> list[np.ndarray]:
        x, h = values
        W, U, b = _f64(self.kernel, self.recurrent, self.bias)
        slope = self.activation.derivative(x @ W + h @ U + b)[:, None]
        return [slope * W.T, slope * U.T]

    def lower(self, p: Program, *x: Elements) -> Elements:
        return self.activation.lower(p, self._sums(p, x[1], x[0], self.bias, 0)[0])


@dataclass(frozen=True, eq=False)
class GRU(Recurrent):
    """Gates z (update), r (reset), h (candidate). With `reset_after` the reset gate acts on U·h and
    not on h, and `bias` is (2, 3·units): of W·x, of U·h."""

    recurrent_activation: Activation
    reset_after: bool

    kind = "gru"
    keras_layers = ("GRU",)
    gates = 3

    @classmethod
    def from_keras(cls, layer) -> GRU:
        # Keras 2 wrote no reset_after before it had one, and then defaulted to False.
        reset_after = layer.config.get("reset_after", layer.keras_major >= 3)
        gate = layer.config.get("recurrent_activation", "sigmoid")
        op = cls.read(
            layer,
            recurrent_activation=read_activation(layer, gate),
            reset_after=bool(reset_after),
        )
        if op.bias.shape == (2, op.kernel.shape[1]) and not reset_after:
            raise refuse(
                layer.name,
                "has the two biases of reset_after=True, which its config denies",
                "config and weights are of different models; save the model again",
            )
        return op

    @classmethod
    def bias_shapes(cls, width: int) -> tuple[Shape, ...]:
        return (width,), (2, width)

    @property
    def formula(self) -> str:
        s, f = self.recurrent_activation.term, self.activation.term
        inner = "r∘(Uh·h + bh')" if self.reset_after else "Uh·(r∘h)"
        return (
            "z = s(Wz·x + Uz·h + bz), r = s(Wr·x + Ur·h + br), "
            f"k = f(Wh·x + bh + {inner}), h = z∘h + (1 - z)∘k, s(x) = {s}, f(x) = {f}"
        )

    @cached_property
    def biases(self) -> tuple[np.ndarray, np.ndarray]:
        """Of W·x with what always adds to it, and of U·h of the candidate."""
        u = self.units
        if self.bias.ndim == 1:
            return self.bias, np.zeros(u, np.float32)
        joined = self.bias[0].copy()
        joined[: 2 * u] += self.bias[1, : 2 * u]
        return joined, self.bias[1, 2 * u :].copy()

    def _parts(self, x: np.ndarray, h: np.ndarray):
        """In float64: slopes of the gates z, r and candidate k, their values, and U·h of k."""
        u, s, f = self.units, self.recurrent_activation, self.activation
        W, U = _f64(self.kernel, self.recurrent)
        b = self.bias.astype(np.float64).reshape(-1, 3 * u)
        sums = x @ W + b[0]
        inner = h @ U + (b[1] if len(b) == 2 else 0.0)
        gates = sums[: 2 * u] + inner[: 2 * u]
        z, r = np.split(s.evaluate(gates), 2)
        if self.reset_after:
            candidate = sums[2 * u :] + r * inner[2 * u :]
        else:
            candidate = sums[2 * u :] + (r * h) @ U[:, 2 * u :]
        slopes = *np.split(s.derivative(gates), 2), f.derivative(candidate)
        return slopes, (z, r, f.evaluate(candidate)), inner[2 * u :]

    def evaluate(self, *values: np.ndarray) -> np.ndarray:
        _, (z, _, k), _ = self._parts(*values)
        return z * values[1] + (1 - z) * k

    def jacobians(self, *values: np.ndarray) -> list[np.ndarray]:
        x, h = values
        (dz, dr, dk), (z, r, k), inner = self._parts(x, h)
        Wz, Wr, Wk = (w.T for w in np.split(self.kernel.astype(np.float64), 3, axis=1))
        Uz, Ur, Uk = (w.T for w in np.split(self.recurrent.astype(np.float64), 3, axis=1))
        by_x = self._slopes(dz, dr, Wz, Wr, inner, h, Uk)
        by_h = self._slopes(dz, dr, Uz, Ur, inner, h, Uk)
        own = r[:, None] * Uk if self.reset_after else Uk * r
        candidates = dk[:, None] * (by_x[1] + Wk), dk[:, None] * (by_h[1] + own)
        return [
            (h - k)[:, None] * by_x[0] + (1 - z)[:, None] * candidates[0],
            (h - k)[:, None] * by_h[0] + (1 - z)[:, None] * candidates[1] + np.diag(z),
        ]

    def _slopes(self, dz, dr, A_z, A_r, inner, h, Uk) -> tuple[np.ndarray, np.ndarray]:
        """Of z, and of the candidate's sum through r, for an operand that A multiplies."""
        r_slope = dr[:, None] * A_r
        through = inner[:, None] * r_slope if self.reset_after else Uk @ (h[:, None] * r_slope)
        return dz[:, None] * A_z, through

    def lower(self, p: Program, *x: Elements) -> Elements:
        x, h = x
        bias, inner_bias = self.biases
        z, r = self.recurrent_activation.lower(p, self._sums(p, h, x, bias, 0, 1))
        W = p.constant(f"W2_{p.label}", self._columns(self.kernel, 2)).T
        U = p.constant(f"U2_{p.label}", self._columns(self.recurrent, 2)).T
        b = p.constant(f"b2_{p.label}", self._columns(bias, 2))
        if self.reset_after:
            sums = p.linear(W, x[None], b)[0]
            inner = p.linear(U, h[None], p.constant(f"b3_{p.label}", inner_bias))[0]
            candidate = p.map(var(0) + var(1) * var(2), sums, r, inner)
        else:
            reset = p.map(var(0) * var(1), r, h)
            candidate = p.linear(np.hstack([W, U]), np.concatenate([x, reset])[None], b)[0]
        k = self.activation.lower(p, candidate)
        return p.map(var(2) + var(0) * (var(1) - var(2)), z, h, k)


@dataclass(frozen=True, eq=False)
class LSTM(Recurrent):
    """Gates i (input), f (forget), k (candidate), o (output)."""

    recurrent_activation: Activation

    kind = "lstm"
    keras_layers = ("LSTM",)
    gates = 4

    @classmethod
    def from_keras(cls, layer) -> LSTM:
        gate = layer.config.get("recurrent_activation", "sigmoid")
        return cls.read(layer, recurrent_activation=read_activation(layer, gate))

    @property
    def states(self) -> dict[str, int]:
        return {"h": self.units, "c": self.units}

    @property
    def formula(self) -> str:
        s, f = self.recurrent_activation.term, self.activation.term
        return (
            "i, f, o = s(W·x + U·h + b), k = g(Wk·x + Uk·h + bk), c = f∘c + i∘k, h = o∘g(c), "
            f"s(x) = {s}, g(x) = {f}"
        )

    def _gates(self, x: np.ndarray, h: np.ndarray) -> list[np.ndarray]:
        W, U, b = _f64(self.kernel, self.recurrent, self.bias)
        return np.split(x @ W + h @ U + b, 4)

    def evaluate(self, *values: np.ndarray) -> np.ndarray:
        x, h, c = values
        s, g = self.recurrent_activation.evaluate, self.activation.evaluate
        i, f, k, o = self._gates(x, h)
        c = s(f) * c + s(i) * g(k)
        return np.concatenate([s(o) * g(c), c])

    def jacobians(self, *values: np.ndarray) -> list[np.ndarray]:
        x, h, c = values
        s, g = self.recurrent_activation, self.activation
        i, f, k, o = self._gates(x, h)
        new_c = s.evaluate(f) * c + s.evaluate(i) * g.evaluate(k)
        to_h = s.evaluate(o) * g.derivative(new_c)
        result = []
        for array in _f64(self.kernel, self.recurrent):
            Ai, Af, Ak, Ao = (a.T for a in np.split(array, 4, axis=1))
            c_slope = (
                (c * s.derivative(f))[:, None] * Af
                + (g.evaluate(k) * s.derivative(i))[:, None] * Ai
                + (s.evaluate(i) * g.derivative(k))[:, None] * Ak
            )
            o_slope = (g.evaluate(new_c) * s.derivative(o))[:, None] * Ao
            result.append(np.vstack([to_h[:, None] * c_slope + o_slope, c_slope]))
        forget = np.diag(s.evaluate(f))
        return [*result, np.vstack([to_h[:, None] * forget, forget])]

    def lower(self, p: Program, *x: Elements) -> Elements:
        x, h, c = x
        # i, f and o side by side, so that one loop applies their activation.
        sums = self._sums(p, h, x, self.bias, 0, 1, 3, 2)
        i, f, o = self.recurrent_activation.lower(p, sums[:3])
        k = self.activation.lower(p, sums[3])
        c = p.map(var(0) * var(1) + var(2) * var(3), f, c, i, k)
        h = p.map(var(0) * var(1), o, self.activation.lower(p, c))
        return np.concatenate([h, c])
