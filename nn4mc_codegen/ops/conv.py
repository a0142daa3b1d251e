"""Convolution: y[p, o] = f(b[o] + sum of W[t, c, o]·x[p·stride + t, c]).

The sum is over the taps t of the window and over the channels c.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nn4mc_codegen.graph.check import refuse
from nn4mc_codegen.graph.ir import Op, Shape
from nn4mc_codegen.ops.activation import LINEAR, Activation, read_activation
from nn4mc_codegen.ops.windows import OUTSIDE, Windows, gathered, read_numbers, read_windows
from nn4mc_codegen.program.program import ZERO, Elements, Program


@dataclass(frozen=True, eq=False)
class Conv(Op):
    """Over one or two axes.

    `kernel` (taps, input channels of a group, output channels), `bias` (output channels,). Output
    channel o reads the input channels of its group, o // (output channels / groups).
    """

    kernel: np.ndarray
    bias: np.ndarray
    windows: Windows
    groups: int
    activation: Activation

    kind = "conv"
    keras_layers = ("Conv1D", "Conv2D")
    keras_config = (
        *("filters", "kernel_size", "strides", "padding", "dilation_rate", "groups"),
        *("data_format", "activation", "use_bias"),
    )

    @classmethod
    def from_keras(cls, layer) -> Op:
        axes = 2 if layer.class_name.endswith("2D") else 1
        windows = read_windows(layer, "kernel_size", axes, ("valid", "same", "causal")[: 4 - axes])
        (filters,) = read_numbers(layer, "filters", 1)
        (groups,) = read_numbers(layer, "groups", 1, default=(1,))
        kernel, *rest = read_arrays(layer, "kernel")
        require_shape(layer, "kernel", kernel, (*windows.size, None, filters))
        if filters % groups:
            raise refuse(
                layer.name,
                f"{filters} filters in {groups} groups",
                "use a number of groups that divides the filters",
            )
        return cls(
            kernel.reshape(windows.taps, -1, filters),
            read_bias(layer, rest, filters),
            windows,
            groups,
            read_activation(layer, layer.config.get("activation")),
        )

    @property
    def constants(self) -> dict[str, np.ndarray]:
        return {"W": self.kernel, "b": self.bias}

    @property
    def formula(self) -> str:
        text = "y[p, o] = b[o] + sum W[t, c, o]·x[p + t, c]"
        if self.activation != LINEAR:
            text = f"y[p, o] = f(b[o] + sum W[t, c, o]·x[p + t, c]), f(x) = {self.activation.term}"
        grouped = f", {self.groups} groups" if self.groups > 1 else ""
        return f"{text}; {self.windows.text}{grouped}"

    def output_shape(self, shapes: Sequence[Shape]) -> Shape:
        (shape,) = shapes
        extents, channels = self.windows.split(shape)
        if channels != self.kernel.shape[1] * self.groups:
            takes = self.kernel.shape[1] * self.groups
            raise ValueError(f"takes {takes} channels but gets shape {shape}")
        return (*self.windows.extents(extents), self.kernel.shape[2])

    def _sum(self, x: np.ndarray) -> np.ndarray:
        places = self.windows.places(x.shape[:-1])
        taps = gathered(x, places, 0.0).reshape(*places.shape, self.groups, -1)
        kernel = self.kernel.astype(np.float64)
        kernel = kernel.reshape(*kernel.shape[:2], self.groups, -1)
        y = np.einsum("ptgc,tcgo->pgo", taps, kernel).reshape(len(places), -1)
        return (y + self.bias.astype(np.float64)).reshape(self.output_shape([x.shape]))

    def evaluate(self, *values: np.ndarray) -> np.ndarray:
        return self.activation.evaluate(self._sum(values[0]))

    def jacobians(self, *values: np.ndarray) -> list[np.ndarray]:
        (x,) = values
        places = self.windows.places(x.shape[:-1])
        matrix = self.dense_kernel().astype(np.float64)
        windows = np.arange(len(places))
        positions = math.prod(x.shape[:-1])
        full = np.zeros((len(places), matrix.shape[2], positions - OUTSIDE, x.shape[-1]))
        for tap in range(places.shape[1]):
            full[windows, :, places[:, tap]] += matrix[tap].T
        local = full[:, :, :positions].reshape(-1, x.size)
        return [self.activation.derivative(self._sum(x).ravel())[:, None] * local]

    def dense_kernel(self) -> np.ndarray:
        """(taps, input channels, output channels): zero between the groups."""
        taps, inputs, outputs = self.kernel.shape
        each = outputs // self.groups
        full = np.zeros((taps, inputs * self.groups, outputs), np.float32)
        for g in range(self.groups):
            channels = slice(g * each, (g + 1) * each)
            full[:, g * inputs : (g + 1) * inputs, channels] = self.kernel[:, :, channels]
        return full

    def lower(self, p: Program, *x: Elements) -> Elements:
        """A Linear whose rows are the windows; a group has a Linear of its own."""
        taps = self.windows.operands(p, x[0], ZERO)
        W = p.constant(f"W_{p.label}", self.kernel)
        b = p.constant(f"b_{p.label}", self.bias)
        parts = []
        for g in range(self.groups):
            inputs, outputs = W.shape[1], W.shape[2] // self.groups
            read = taps[:, :, g * inputs : (g + 1) * inputs].reshape(len(taps), -1)
            made = slice(g * outputs, (g + 1) * outputs)
            parts.append(p.linear(W[:, :, made].reshape(-1, outputs).T, read, b[made]))
        y = parts[0] if self.groups == 1 else p.copy(np.concatenate(parts, axis=1))
        return self.activation.lower(p, y.reshape(self.output_shape([x[0].shape])))

    def macs(self, *shapes: Shape) -> int:
        return math.prod(self.output_shape(shapes)[:-1]) * self.kernel.size


def read_arrays(layer, *names: str) -> list[np.ndarray]:
    """A layer's kernels and, last, its bias if it has one."""
    return layer.weights((*names, "bias") if layer.config.get("use_bias", True) else names)


def require_shape(layer, name: str, array: np.ndarray, shape: tuple[int | None, ...]) -> None:
    """Refuse an array of another shape; None stands for any extent."""
    fits = array.ndim == len(shape) and all(
        wanted in (None, extent) for wanted, extent in zip(shape, array.shape, strict=True)
    )
    if not fits:
        raise refuse(
            layer.name,
            f"{name} has shape {array.shape}",
            "config and weights are of different models; save the model again",
        )


def read_bias(layer, found: list[np.ndarray], outputs: int) -> np.ndarray:
    """What is left of a layer's arrays after its kernels: its bias, zero if it has none."""
    bias = found[0] if found else np.zeros(outputs, np.float32)
    require_shape(layer, "bias", bias, (outputs,))
    return bias
