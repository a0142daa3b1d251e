"""float32 operators of TensorFlow Lite, as the operators that Keras layers become."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from nn4mc_codegen.importers.tflite_file import Operator
from nn4mc_codegen.importers.tflite_float_tensors import FloatTensors, Value
from nn4mc_codegen.importers.tflite_reader import (
    ACTIVATION_KINDS,
    ACTIVATIONS,
    RESHAPES,
    activation_of,
    concatenation_axis,
    pad_amounts,
    window_of,
)
from nn4mc_codegen.importers.tflite_recurrent import sequence_lstm
from nn4mc_codegen.importers.tflite_shapes import CUT_INPUT, CUTS, permutation
from nn4mc_codegen.ops.activation import LINEAR, Activation
from nn4mc_codegen.ops.add import Add
from nn4mc_codegen.ops.batch_normalization import BatchNormalization
from nn4mc_codegen.ops.concatenate import Concatenate
from nn4mc_codegen.ops.conv import Conv
from nn4mc_codegen.ops.dense import Dense
from nn4mc_codegen.ops.depthwise import DepthwiseConv
from nn4mc_codegen.ops.elementwise import Elementwise
from nn4mc_codegen.ops.multiply import Multiply
from nn4mc_codegen.ops.pad import Pad
from nn4mc_codegen.ops.pool import AveragePool, MaxPool, Pool
from nn4mc_codegen.ops.reduce import Reduce
from nn4mc_codegen.ops.softmax import Softmax
from nn4mc_codegen.ops.take import Slice
from nn4mc_codegen.ops.transpose import Transpose
from nn4mc_codegen.ops.windows import Windows

# Meanings in ops/elementwise.py, and the schema's options that hold the fused activation.
BINARY: dict[str, tuple[str, str | None]] = {
    "ADD": ("add", "AddOptions"),
    "DIV": ("divide", "DivOptions"),
    "MAXIMUM": ("maximum", None),
    "MINIMUM": ("minimum", None),
    "MUL": ("multiply", "MulOptions"),
    "SQUARED_DIFFERENCE": ("squared_difference", None),
    "SUB": ("subtract", "SubOptions"),
}
FUNCTIONS = ("ABS", "NEG", "RSQRT", "SQRT", "SQUARE")


class FloatReader(FloatTensors):
    def _then(self, operator: Operator, value: Value, fused: str) -> Value:
        """A fused activation, as a node of its own."""
        if fused == "NONE":
            return value
        if fused == "RELU_N1_TO_1":
            return self._clipped(operator, value)
        if fused not in ("RELU", "RELU6", "TANH"):
            raise operator.refusal(f"has the fused activation {fused}", "use a layer of its own")
        found = self.node(operator, ACTIVATIONS[fused], value, part="_" + fused.lower())
        return Value(found.tensor, value.shape)

    def _clipped(self, operator: Operator, value: Value) -> Value:
        """min(max(x, -1), 1) = min(max(x + 1, 0), 2) - 1"""
        up, down = _per_channel(value, 1.0, 1.0), _per_channel(value, 1.0, -1.0)
        found = self.node(operator, up, value, part="_up")
        found = self.node(operator, Activation("capped_relu", (("m", 2.0),)), found, part="_clip")
        return Value(self.node(operator, down, found, part="_down").tensor, value.shape)

    def _bias(self, operator: Operator, outputs: int) -> np.ndarray:
        if not operator.has(2):
            return np.zeros(outputs, np.float32)
        bias = self.floats(operator, 2)
        if bias.shape != (outputs,):
            raise operator.refusal(f"has a bias of shape {bias.shape}", "convert it again")
        return bias

    # The operators.

    def _reshape(self, operator: Operator) -> Value:
        return self.shaped(operator, self.result(operator), self.new_shape(operator))

    def _activation(self, operator: Operator) -> Value:
        value = self.result(operator)
        found = self.node(operator, activation_of(operator), value)
        return Value(found.tensor, value.shape)

    def _relu_n1_to_1(self, operator: Operator) -> Value:
        return self._clipped(operator, self.result(operator))

    def _fully_connected(self, operator: Operator) -> Value:
        options = operator.options("FullyConnectedOptions")
        value, weights = self.result(operator), self.floats(operator, 1)
        if options.WeightsFormat() or weights.ndim != 2:
            raise operator.refusal("has shuffled weights", "convert the model again")
        rows = math.prod(value.shape) // weights.shape[1]
        outer = value.shape[:-1] if options.KeepNumDims() else (rows,)
        if value.shape[-1] != weights.shape[1]:
            value = self.shaped(operator, value, (rows, weights.shape[1]), "_rows")
        bias = self._bias(operator, weights.shape[0])
        result = self.node(operator, Dense(weights.T, bias, LINEAR), value)
        result = self._then(operator, result, operator.activation("FullyConnectedOptions"))
        return self.shaped(operator, result, (*outer, weights.shape[0]), "_shape")

    def _conv(self, operator: Operator, options: str, depthwise: bool) -> Value:
        value, weights = self.result(operator), self.floats(operator, 1)
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
        result = self.node(operator, op(kernel, bias, windows, groups, LINEAR), value)
        return self._then(operator, result, operator.activation(options))

    def _conv_2d(self, operator: Operator) -> Value:
        return self._conv(operator, "Conv2DOptions", False)

    def _depthwise_conv_2d(self, operator: Operator) -> Value:
        return self._conv(operator, "DepthwiseConv2DOptions", True)

    def _pool(self, operator: Operator, op: type[Pool]) -> Value:
        options = operator.options("Pool2DOptions")
        sizes = (options.FilterHeight(), options.FilterWidth())
        windows = Windows(**window_of(options, sizes))
        value = self.node(operator, op(windows), self.result(operator))
        return self._then(operator, value, operator.activation("Pool2DOptions"))

    def _max_pool(self, operator: Operator) -> Value:
        return self._pool(operator, MaxPool)

    def _average_pool(self, operator: Operator) -> Value:
        return self._pool(operator, AveragePool)

    def _reduced(self, operator: Operator) -> Value:
        value, axes = self.result(operator), self.integers(operator, 1)
        rank, mean = len(value.shape), operator.kind == "MEAN"
        if not axes or not all(-rank <= axis < rank for axis in axes):
            raise operator.refusal(f"over axes {axes} of {value.shape}", "convert it again")
        reduced = {axis % rank for axis in axes}
        kept = operator.options("ReducerOptions").KeepDims()
        shape = tuple(
            1 if axis in reduced else n
            for axis, n in enumerate(value.shape)
            if kept or axis not in reduced
        )
        if not shape:
            raise operator.refusal("leaves a number without axes", "keep the axes (keepdims)")
        positions = math.prod(value.shape[:-1])
        if mean and math.prod(n for n in shape[:-1]) == 1 and rank - 1 not in reduced:
            # Over all positions, as a pooling layer has it.
            value = self.shaped(operator, value, (1, positions, value.shape[-1]), "_positions")
            value = self.node(operator, AveragePool(None, keepdims=False), value)
        else:
            first = rank - len(value.tensor.shape)
            inner = tuple(sorted(axis - first for axis in reduced if axis >= first))
            if inner:
                value = self.node(operator, Reduce(inner, True, mean), value)
        return self.shaped(operator, value, shape, "_shape")

    def _pad(self, operator: Operator) -> Value:
        value = self.result(operator)
        amounts = pad_amounts(operator, value.shape, self.constant(operator, 1))
        if any(amounts[0]) or any(amounts[-1]):
            raise operator.refusal("pads the batch or the channels", "pad positions only")
        return self.node(operator, Pad(tuple(amounts[1:-1])), value)

    def _concatenation(self, operator: Operator) -> Value:
        values = [self.result(operator, p) for p in range(len(operator.inputs))]
        axis = concatenation_axis(operator, [v.shape for v in values])
        value = self.node(operator, Concatenate(axis - 1), *values)
        return self._then(operator, value, operator.activation("ConcatenationOptions"))

    def _softmax(self, operator: Operator) -> Value:
        value = self.result(operator)
        beta = operator.options("SoftmaxOptions").Beta()
        if beta != 1.0:
            raise operator.refusal(f"has beta {beta:g}", "use a plain softmax")
        return Value(self.node(operator, Softmax(), value).tensor, value.shape)

    def _binary(self, operator: Operator) -> Value:
        name, options = BINARY[operator.kind]
        fused = operator.activation(options) if options else "NONE"
        first, second = self.value(operator, 0), self.value(operator, 1)
        if isinstance(first, np.ndarray) and isinstance(second, np.ndarray):
            raise operator.refusal("of two constants is not supported", "convert it again")
        if isinstance(first, np.ndarray):
            found = self._with_constant(operator, name, second, self.floats(operator, 0), True)
        elif isinstance(second, np.ndarray):
            found = self._with_constant(operator, name, first, self.floats(operator, 1), False)
        elif first.shape == second.shape and name in ("add", "multiply", "subtract"):
            if name == "subtract":
                negative = _per_channel(second, -1.0, 0.0)
                tensor = self.node(operator, negative, second, part="_negative").tensor
                second = Value(tensor, second.shape)
            op = Multiply() if name == "multiply" else Add()
            found = Value(self.node(operator, op, first, second).tensor, first.shape)
        else:
            found = self._elementwise(operator, Elementwise(name, (None, None)), first, second)
        return self._then(operator, found, fused)

    def _with_constant(
        self, operator: Operator, name: str, value: Value, constant: np.ndarray, is_first: bool
    ) -> Value:
        """What scales and moves channels is a batch normalisation, which a layer before it takes
        up."""
        for_channels = constant.size == 1 or constant.size == constant.shape[-1] == value.shape[-1]
        affine = {
            "add": (1.0, constant),
            "multiply": (constant, 0.0),
            "subtract": (-1.0, constant) if is_first else (1.0, -constant),
        }
        if for_channels and constant.ndim <= len(value.shape) and name in affine:
            op = _per_channel(value, *affine[name])
            return Value(self.node(operator, op, value).tensor, value.shape)
        more = constant.ndim - len(value.tensor.shape)
        if more > 0 and constant.shape[:more] == (1,) * more:
            constant = constant.reshape(constant.shape[more:])
        operands = (constant, None) if is_first else (None, constant)
        return self._elementwise(operator, Elementwise(name, operands), value)

    def _elementwise(self, operator: Operator, op: Elementwise, *values: Value) -> Value:
        """Operands broadcast with the batch axis in front, which tensors have not."""
        given = iter(values)
        shape = np.broadcast_shapes(
            *(next(given).shape if o is None else o.shape for o in op.operands)
        )
        return self.shaped(operator, self.node(operator, op, *values), shape, "_shape")

    def _function(self, operator: Operator) -> Value:
        value, kind = self.result(operator), operator.kind
        if kind == "NEG":
            found = self.node(operator, _per_channel(value, -1.0, 0.0), value)
        elif kind == "SQUARE":
            found = self.node(operator, Multiply(), value, value)
        else:
            name = "absolute" if kind == "ABS" else "square_root"
            part = "_root" if kind == "RSQRT" else ""
            found = self.node(operator, Elementwise(name, (None,)), value, part=part)
            if kind == "RSQRT":
                one = np.array(1.0, np.float32)
                found = self.node(operator, Elementwise("divide", (one, None)), found)
        return Value(found.tensor, value.shape)

    def _transpose(self, operator: Operator) -> Value:
        value = self.result(operator)
        axes = permutation(self, operator, value.shape)
        shape = tuple(value.shape[axis] for axis in axes)
        first = len(value.shape) - len(value.tensor.shape)
        inner = tuple(axis - first for axis in axes if axis >= first)
        if inner != tuple(range(len(inner))):
            value = self.node(operator, Transpose(inner), value)
        return self.shaped(operator, value, shape, "_shape")

    def _cut(self, operator: Operator) -> Value:
        value = self.result(operator, CUT_INPUT.get(operator.kind, 0))
        parts = CUTS[operator.kind](self, operator, value.shape)
        first = len(value.shape) - len(value.tensor.shape)
        value = self.node(operator, Slice(parts.slices[first:]), value)
        return self.shaped(operator, value, parts.shape, "_shape")

    operators: dict[str, Callable] = {
        **dict.fromkeys(RESHAPES, _reshape),
        **dict.fromkeys(ACTIVATION_KINDS, _activation),
        **dict.fromkeys(BINARY, _binary),
        **dict.fromkeys(FUNCTIONS, _function),
        **dict.fromkeys(CUTS, _cut),
        **dict.fromkeys(("MEAN", "SUM"), _reduced),
        "AVERAGE_POOL_2D": _average_pool,
        "CONCATENATION": _concatenation,
        "CONV_2D": _conv_2d,
        "DEPTHWISE_CONV_2D": _depthwise_conv_2d,
        "FULLY_CONNECTED": _fully_connected,
        "MAX_POOL_2D": _max_pool,
        "PAD": _pad,
        "RELU_N1_TO_1": _relu_n1_to_1,
        "SOFTMAX": _softmax,
        "TRANSPOSE": _transpose,
        "UNIDIRECTIONAL_SEQUENCE_LSTM": sequence_lstm,
    }


def _per_channel(value: Value, scale, offset) -> BatchNormalization:
    channels = value.tensor.shape[-1:]
    parts = (np.broadcast_to(np.float32(p).ravel(), channels) for p in (scale, offset))
    return BatchNormalization(*(np.array(p, np.float32) for p in parts))
