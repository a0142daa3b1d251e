"""float32 operators of TensorFlow Lite, as the operators that Keras layers become."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from nn4mc_codegen.graph.check import refuse
from nn4mc_codegen.graph.ir import Graph, Node, Op, Shape, Tensor
from nn4mc_codegen.importers.tflite_file import Operator
from nn4mc_codegen.importers.tflite_reader import (
    ACTIVATION_KINDS,
    ACTIVATIONS,
    RESHAPES,
    Reader,
    activation_of,
    concatenation_axis,
    mean_shape,
    pad_amounts,
    window_of,
    without_batch,
)
from nn4mc_codegen.ops.activation import LINEAR, Activation
from nn4mc_codegen.ops.add import Add
from nn4mc_codegen.ops.batch_normalization import BatchNormalization
from nn4mc_codegen.ops.concatenate import Concatenate
from nn4mc_codegen.ops.conv import Conv
from nn4mc_codegen.ops.dense import Dense
from nn4mc_codegen.ops.depthwise import DepthwiseConv
from nn4mc_codegen.ops.multiply import Multiply
from nn4mc_codegen.ops.pad import Pad
from nn4mc_codegen.ops.pool import AveragePool, MaxPool, Pool
from nn4mc_codegen.ops.reshape import Reshape
from nn4mc_codegen.ops.softmax import Softmax
from nn4mc_codegen.ops.windows import Windows


@dataclass(frozen=True, eq=False)
class Value:
    tensor: Tensor
    shape: Shape
    """with the batch axis"""


class FloatReader(Reader):
    def input(self, index: int) -> Tensor:
        shape = self.input_shape(index)
        stored = self.file.tensor(index)
        name = self.file.input_name(index)
        if stored.type != "FLOAT32":
            raise refuse(name, f"is {stored.type}", "convert with float32 inputs")
        value = Value(Tensor(name, without_batch(shape)), shape)
        self.values[index] = value
        return value.tensor

    def finish(self, inputs: list[Tensor], output: Value) -> Graph:
        return Graph(tuple(inputs), output.tensor, tuple(self.nodes))

    def _node(self, operator: Operator, op: Op, *inputs: Value, part: str = "") -> Value:
        """Apply an operator; the batch axis goes in front of what comes out."""
        shape = op.output_shape([value.tensor.shape for value in inputs])
        output = Tensor(operator.name + part, shape)
        self.nodes.append(Node(output.name, op, tuple(v.tensor for v in inputs), output))
        return Value(output, (1, *shape))

    def _shaped(self, operator: Operator, value: Value, shape: Shape, part: str = "") -> Value:
        """The same elements in a shape with batch axis."""
        if value.tensor.shape == without_batch(shape):
            return Value(value.tensor, shape)
        value = self._node(operator, Reshape(without_batch(shape)), value, part=part)
        return Value(value.tensor, shape)

    def _then(self, operator: Operator, value: Value, fused: str) -> Value:
        """A fused activation, as a node of its own."""
        if fused == "NONE":
            return value
        if fused == "RELU_N1_TO_1":
            return self._clipped(operator, value)
        if fused not in ("RELU", "RELU6", "TANH"):
            raise operator.refusal(f"has the fused activation {fused}", "use a layer of its own")
        found = self._node(operator, ACTIVATIONS[fused], value, part="_" + fused.lower())
        return Value(found.tensor, value.shape)

    def _clipped(self, operator: Operator, value: Value) -> Value:
        """min(max(x, -1), 1) = min(max(x + 1, 0), 2) - 1"""
        up, down = _per_channel(value, 1.0, 1.0), _per_channel(value, 1.0, -1.0)
        found = self._node(operator, up, value, part="_up")
        found = self._node(operator, Activation("capped_relu", (("m", 2.0),)), found, part="_clip")
        return Value(self._node(operator, down, found, part="_down").tensor, value.shape)

    def _floats(self, operator: Operator, position: int) -> np.ndarray:
        values = self.constant(operator, position)
        if values.dtype != np.float32:
            advice = "convert with a representative dataset, or without optimizations"
            raise operator.refusal(f"has {values.dtype} weights in float32 arithmetic", advice)
        return values

    def _bias(self, operator: Operator, outputs: int) -> np.ndarray:
        if len(operator.inputs) < 3 or operator.inputs[2] < 0:
            return np.zeros(outputs, np.float32)
        bias = self._floats(operator, 2)
        if bias.shape != (outputs,):
            raise operator.refusal(f"has a bias of shape {bias.shape}", "convert it again")
        return bias

    # The operators.

    def _reshape(self, operator: Operator) -> Value:
        return self._shaped(operator, self.result(operator), self.new_shape(operator))

    def _activation(self, operator: Operator) -> Value:
        value = self.result(operator)
        found = self._node(operator, activation_of(operator), value)
        return Value(found.tensor, value.shape)

    def _relu_n1_to_1(self, operator: Operator) -> Value:
        return self._clipped(operator, self.result(operator))

    def _fully_connected(self, operator: Operator) -> Value:
        options = operator.options("FullyConnectedOptions")
        value, weights = self.result(operator), self._floats(operator, 1)
        if options.WeightsFormat() or weights.ndim != 2:
            raise operator.refusal("has shuffled weights", "convert the model again")
        rows = math.prod(value.shape) // weights.shape[1]
        outer = value.shape[:-1] if options.KeepNumDims() else (rows,)
        if value.shape[-1] != weights.shape[1]:
            value = self._shaped(operator, value, (rows, weights.shape[1]), "_rows")
        bias = self._bias(operator, weights.shape[0])
        result = self._node(operator, Dense(weights.T, bias, LINEAR), value)
        result = self._then(operator, result, operator.activation("FullyConnectedOptions"))
        return self._shaped(operator, result, (*outer, weights.shape[0]), "_shape")

    def _conv(self, operator: Operator, options: str, depthwise: bool) -> Value:
        value, weights = self.result(operator), self._floats(operator, 1)
        if weights.ndim != 4 or value.shape[0] != 1:
            raise operator.refusal(f"has a filter of shape {weights.shape}", "convert it again")
        windows = Windows(**window_of(operator.options(options), weights.shape[1:3]))
        channels = value.shape[-1]
        if depthwise:
            outputs = weights.shape[3]
            kernel = weights.reshape(windows.taps, 1, outputs)
            groups, op = channels, DepthwiseConv
        else:
            outputs = weights.shape[0]
            kernel = weights.transpose(1, 2, 3, 0).reshape(windows.taps, -1, outputs)
            groups, op = max(channels // max(weights.shape[3], 1), 1), Conv
        if outputs % groups:
            raise operator.refusal(f"has a filter of shape {weights.shape}", "convert it again")
        bias = self._bias(operator, outputs)
        result = self._node(operator, op(kernel, bias, windows, groups, LINEAR), value)
        return self._then(operator, result, operator.activation(options))

    def _conv_2d(self, operator: Operator) -> Value:
        return self._conv(operator, "Conv2DOptions", False)

    def _depthwise_conv_2d(self, operator: Operator) -> Value:
        return self._conv(operator, "DepthwiseConv2DOptions", True)

    def _pool(self, operator: Operator, op: type[Pool]) -> Value:
        options = operator.options("Pool2DOptions")
        sizes = (options.FilterHeight(), options.FilterWidth())
        windows = Windows(**window_of(options, sizes))
        value = self._node(operator, op(windows), self.result(operator))
        return self._then(operator, value, operator.activation("Pool2DOptions"))

    def _max_pool(self, operator: Operator) -> Value:
        return self._pool(operator, MaxPool)

    def _average_pool(self, operator: Operator) -> Value:
        return self._pool(operator, AveragePool)

    def _mean(self, operator: Operator) -> Value:
        value = self.result(operator)
        shape = mean_shape(operator, value.shape, self.integers(operator, 1))
        channels = value.shape[-1]
        positions = (1, math.prod(value.shape) // channels, channels)
        value = self._shaped(operator, value, positions, "_positions")
        value = self._node(operator, AveragePool(None, keepdims=False), value)
        return self._shaped(operator, value, shape, "_shape")

    def _pad(self, operator: Operator) -> Value:
        value = self.result(operator)
        amounts = pad_amounts(operator, value.shape, self.constant(operator, 1))
        if any(amounts[0]) or any(amounts[-1]):
            raise operator.refusal("pads the batch or the channels", "pad positions only")
        return self._node(operator, Pad(tuple(amounts[1:-1])), value)

    def _concatenation(self, operator: Operator) -> Value:
        values = [self.result(operator, p) for p in range(len(operator.inputs))]
        axis = concatenation_axis(operator, [v.shape for v in values])
        value = self._node(operator, Concatenate(axis - 1), *values)
        return self._then(operator, value, operator.activation("ConcatenationOptions"))

    def _softmax(self, operator: Operator) -> Value:
        value = self.result(operator)
        beta = operator.options("SoftmaxOptions").Beta()
        if beta != 1.0:
            raise operator.refusal(f"has beta {beta:g}", "use a plain softmax")
        return Value(self._node(operator, Softmax(), value).tensor, value.shape)

    def _binary(self, operator: Operator) -> Value:
        name = {"ADD": "AddOptions", "SUB": "SubOptions", "MUL": "MulOptions"}[operator.kind]
        fused = operator.activation(name)
        first, second = self.value(operator, 0), self.value(operator, 1)
        if isinstance(first, np.ndarray) and isinstance(second, np.ndarray):
            raise operator.refusal("of two constants is not supported", "convert it again")
        constants = [v for v in (first, second) if isinstance(v, np.ndarray)]
        if constants:
            value = second if isinstance(first, np.ndarray) else first
            (constant,) = constants
            if operator.kind == "MUL":
                scale, offset = constant, 0.0
            elif operator.kind == "ADD":
                scale, offset = 1.0, constant
            else:
                scale, offset = (-1.0, constant) if value is second else (1.0, -constant)
            result = self._node(operator, self._affine(operator, value, scale, offset), value)
            return self._then(operator, Value(result.tensor, value.shape), fused)
        if operator.kind == "SUB":
            negative = _per_channel(second, -1.0, 0.0)
            tensor = self._node(operator, negative, second, part="_negative").tensor
            second = Value(tensor, second.shape)
        op = Multiply() if operator.kind == "MUL" else Add()
        result = self._node(operator, op, first, second)
        return self._then(operator, Value(result.tensor, first.shape), fused)

    def _affine(self, operator: Operator, value: Value, scale, offset) -> Op:
        for constant in (scale, offset):
            extra = np.asarray(constant)
            if extra.size not in (1, value.shape[-1]) or (
                extra.size > 1 and extra.shape[-1] != value.shape[-1]
            ):
                reason = f"of shape {value.shape} with a constant of shape {extra.shape}"
                raise operator.refusal(reason, "use one number, or one for each channel")
        return _per_channel(value, scale, offset)

    operators: dict[str, Callable] = {
        **dict.fromkeys(RESHAPES, _reshape),
        **dict.fromkeys(ACTIVATION_KINDS, _activation),
        **dict.fromkeys(("ADD", "MUL", "SUB"), _binary),
        "AVERAGE_POOL_2D": _average_pool,
        "CONCATENATION": _concatenation,
        "CONV_2D": _conv_2d,
        "DEPTHWISE_CONV_2D": _depthwise_conv_2d,
        "FULLY_CONNECTED": _fully_connected,
        "MAX_POOL_2D": _max_pool,
        "MEAN": _mean,
        "PAD": _pad,
        "RELU_N1_TO_1": _relu_n1_to_1,
        "SOFTMAX": _softmax,
    }


def _per_channel(value: Value, scale, offset) -> BatchNormalization:
    channels = value.tensor.shape[-1:]
    parts = (np.broadcast_to(np.float32(p).ravel(), channels) for p in (scale, offset))
    return BatchNormalization(*(np.array(p, np.float32) for p in parts))
