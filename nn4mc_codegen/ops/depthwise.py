"""Depthwise convolution, where each channel has kernels of its own: a `Conv` in groups of one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nn4mc_codegen.graph.ir import Op
from nn4mc_codegen.ops.activation import LINEAR, read_activation
from nn4mc_codegen.ops.conv import Conv, read_arrays, read_bias, require_shape
from nn4mc_codegen.ops.windows import Windows, read_numbers, read_windows
from nn4mc_codegen.program.expression import var
from nn4mc_codegen.program.program import ZERO, Elements, Program

# Taps that one formula adds up: each formula is a loop of its own, which stores its sums for the
# next one to add to; all nine taps of a 3×3 window are within one.
TAPS = 12


@dataclass(frozen=True, eq=False)
class DepthwiseConv(Conv):
    """Output channel c·m + i is input channel c under its kernel i of m."""

    kind = "depthwise"
    keras_layers = ("DepthwiseConv1D", "DepthwiseConv2D", "SeparableConv1D", "SeparableConv2D")
    keras_config = (
        *("filters", "kernel_size", "strides", "padding", "dilation_rate", "depth_multiplier"),
        *("data_format", "activation", "use_bias"),
    )

    @classmethod
    def from_keras(cls, layer) -> Op | tuple[Op, ...]:
        """A separable convolution is a depthwise one, then one of single taps over all channels."""
        axes = 2 if layer.class_name.endswith("2D") else 1
        separable = layer.class_name.startswith("Separable")
        windows = read_windows(layer, "kernel_size", axes, ("valid", "same"))
        (multiplier,) = read_numbers(layer, "depth_multiplier", 1, default=(1,))
        activation = read_activation(layer, layer.config.get("activation"))
        names = ("depthwise_kernel", "pointwise_kernel") if separable else ("depthwise_kernel",)
        kernel, *rest = read_arrays(layer, *names)
        require_shape(layer, names[0], kernel, (*windows.size, None, multiplier))
        channels = kernel.shape[-2]
        kernel = kernel.reshape(windows.taps, 1, channels * multiplier)
        if not separable:
            bias = read_bias(layer, rest, channels * multiplier)
            return cls(kernel, bias, windows, channels, activation)

        pointwise, *rest = rest
        (filters,) = read_numbers(layer, "filters", 1)
        ones = (1,) * axes
        require_shape(layer, names[1], pointwise, (*ones, channels * multiplier, filters))
        bias = read_bias(layer, rest, filters)
        zero = np.zeros(channels * multiplier, np.float32)
        depthwise = cls(kernel, zero, windows, channels, LINEAR)
        pointwise = pointwise.reshape(1, -1, filters)
        single = Windows(ones, ones, ones, "valid")
        return depthwise, Conv(pointwise, bias, single, 1, activation)

    def lower(self, p: Program, *x: Elements) -> Elements:
        """Elementwise over the channels, which lie side by side: a sum of products of taps."""
        W = p.constant(f"W_{p.label}", self.kernel[:, 0])
        y = p.constant(f"b_{p.label}", self.bias)
        taps = self.windows.operands(p, x[0], ZERO)
        taps = np.repeat(taps, W.shape[1] // taps.shape[2], axis=2)
        for first in range(0, len(W), TAPS):
            some = range(first, min(first + TAPS, len(W)))
            terms = [var(1 + 2 * k) * var(2 + 2 * k) for k in range(len(some))]
            operands = [a for t in some for a in (W[t], taps[:, t])]
            y = p.map(sum(terms, start=var(0)), y, *operands)
        return self.activation.lower(p, y.reshape(self.output_shape([x[0].shape])))
