"""int8 operators of TensorFlow Lite, as operators of `quantize.QuantGraph`.

The converter leaves what has no int8 kernel (ELU, say) in float32 between a DEQUANTIZE and a
QUANTIZE. Where that is a function of one element it becomes a table like any other.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from nn4mc_codegen.graph.check import MAX_ELEMENTS
from nn4mc_codegen.graph.ir import Shape
from nn4mc_codegen.importers.tflite_file import Operator, Stored
from nn4mc_codegen.importers.tflite_int8_recurrent import sequence_lstm
from nn4mc_codegen.importers.tflite_int8_tensors import (
    CLIPS,
    FLOAT_ADVICE,
    Floating,
    FloatInput,
    Int8Tensors,
    Value,
)
from nn4mc_codegen.importers.tflite_reader import (
    ACTIVATION_KINDS,
    RESHAPES,
    activation_of,
    concatenation_axis,
    mean_shape,
    pad_amounts,
    window_of,
    without_batch,
)
from nn4mc_codegen.importers.tflite_shapes import CUT_INPUT, CUTS, permutation
from nn4mc_codegen.importers.tflite_wide import split_channels, split_rows
from nn4mc_codegen.int8.fixed_point import fixed_point, hard_swish, rescale
from nn4mc_codegen.int8.operators import (
    Add,
    AveragePool,
    Conv,
    Dense,
    Depthwise,
    Linear,
    Lut,
    MaxPool,
    Mean,
    Multiply,
    Pool,
    Rewire,
    Softmax,
    SquaredDifference,
    Window,
)
from nn4mc_codegen.int8.quantize import HIGH, LOW, QTensor, Rescaling
from nn4mc_codegen.ops.windows import Windows

# Most elements that one operator puts elsewhere: in search of a few copies that do it, each
# element's move is compared with those before it.
MAX_MOVED = 1 << 16


class Int8Reader(Int8Tensors):
    def _quantize(self, operator: Operator) -> Value:
        value = self.result(operator)
        output = self.output(operator, value.shape)
        if isinstance(value, FloatInput):
            if value in self.inputs:
                raise operator.refusal("of an input that is quantised already", FLOAT_ADVICE)
            self.inputs[value] = replace(output, name=value.name)
            return Value(self.inputs[value], value.shape)
        if isinstance(value, Value):
            return self._requantized(operator, value, output)
        words = "(".join(["y = ", *(name for name, _ in reversed(value.functions)), "x"])
        formula = words.replace("(", "", 1) + ")" * len(value.functions)
        table = Lut.of_float(value.source.tensor, output, value.evaluate, formula)
        return self.node(operator, table, output, value.shape, value.source)

    def _requantized(self, operator: Operator, value: Value, output: QTensor) -> Value:
        if (value.tensor.scale, value.tensor.zero) == (output.scale, output.zero):
            return value  # uint8 as int8, or the other way
        factor = fixed_point(value.tensor.scale / output.scale)
        table = _table(value.tensor, output, lambda x: rescale(x, *factor), LOW, HIGH)
        return self.node(operator, Lut(table, "y = x, rescaled"), output, value.shape, value)

    def _dequantize(self, operator: Operator) -> Floating:
        return Floating(self.int8(operator))

    def _reshape(self, operator: Operator) -> Value | Floating:
        shape = self.new_shape(operator)
        value = self.result(operator)
        if isinstance(value, Floating):
            name = f"{operator.name}_shape"
            tensor = replace(value.source.tensor, name=name, shape=without_batch(shape))
            moved = self._moved(operator, tensor, shape, value.source)
            return Floating(moved, value.functions)
        return self._moved(operator, self.output(operator, shape), shape, self.int8(operator))

    def _moved(self, operator: Operator, output: QTensor, shape: Shape, value: Value) -> Value:
        rewire = Rewire(np.arange(output.size), 0, "y = x, in another shape")
        return self.node(operator, rewire, output, shape, value)

    def _activation(self, operator: Operator) -> Value | Floating:
        value = self.result(operator)
        if isinstance(value, Floating):
            function = activation_of(operator).evaluate
            return Floating(value.source, (*value.functions, (operator.kind.lower(), function)))
        x, y = self.int8(operator).tensor, self.output(operator, value.shape)
        name = operator.kind.lower()
        if operator.kind in CLIPS:
            factor = fixed_point(float(np.float32(x.scale) / np.float32(y.scale)))
            limits = self.clips(operator, operator.kind, y)
            lut = Lut(_table(x, y, lambda d: rescale(d, *factor), *limits), f"y = {name}(x)")
        elif operator.kind == "LEAKY_RELU":
            slope = np.float32(operator.options("LeakyReluOptions").Alpha())
            activation_of(operator)  # refuses a slope that is no slope
            above = fixed_point(float(np.float32(x.scale) / np.float32(y.scale)))
            below = fixed_point(float(np.float32(x.scale) * slope / np.float32(y.scale)))

            def leaky(d: np.ndarray) -> np.ndarray:
                return np.where(d >= 0, rescale(d, *above), rescale(d, *below))

            lut = Lut(_table(x, y, leaky, LOW, HIGH), f"y = {name}(x)")
        elif operator.kind == "HARD_SWISH":
            table = _table(x, y, lambda d: hard_swish(d, x.scale, y.scale), LOW, HIGH)
            lut = Lut(table, f"y = {name}(x)")
        else:
            lut = Lut.of(x, y, activation_of(operator).evaluate, f"y = {name}(x)")
        return self.node(operator, lut, y, value.shape, value)

    def _weights(self, operator: Operator, axis: int) -> tuple[np.ndarray, Stored]:
        """int8 weights less their zero point, as int64; their scales are along `axis`."""
        weights, stored = self.constant(operator, 1), self.file.tensor(operator.inputs[1])
        if weights.dtype != np.int8:
            raise operator.refusal(f"has {weights.dtype} weights", FLOAT_ADVICE)
        if stored.scales.size not in (1, weights.shape[axis]) or (
            stored.scales.size > 1 and stored.axis != axis
        ):
            raise operator.refusal(f"has {stored.scales.size} weight scales", FLOAT_ADVICE)
        along = [1] * weights.ndim
        along[axis] = -1
        zeros = np.broadcast_to(stored.zeros, stored.scales.size).reshape(along)
        return weights.astype(np.int64) - zeros, stored

    def _linear(
        self,
        operator: Operator,
        x: QTensor,
        y: QTensor,
        rows: np.ndarray,
        stored: Stored,
        fused: str,
    ) -> tuple[np.ndarray, np.ndarray, Rescaling]:
        """Weights (outputs, columns), bias with the input's zero point, rescaling."""
        if stored.scales.size == 1:  # the product of scales is rounded to float32 first
            product = np.float32(x.scale) * stored.scales
            factors = product.astype(np.float64) / y.scale
        else:
            factors = x.scale * stored.scales.astype(np.float64) / y.scale
        rescaling = Rescaling.of(
            np.broadcast_to(factors, len(rows)), y.zero, *self.clips(operator, fused, y)
        )
        bias = np.zeros(len(rows), np.int64)
        if len(operator.inputs) > 2 and operator.inputs[2] >= 0:
            bias = self.constant(operator, 2)
            if bias.dtype != np.int32 or bias.shape != (len(rows),):
                reason = f"has a bias of {bias.dtype} and shape {bias.shape}"
                raise operator.refusal(reason, FLOAT_ADVICE)
        return rows, bias - x.zero * rows.sum(axis=1, dtype=np.int64), rescaling

    def _fully_connected(self, operator: Operator) -> Value:
        options, value = operator.options("FullyConnectedOptions"), self.int8(operator)
        weights, stored = self._weights(operator, 0)
        if options.WeightsFormat() or weights.ndim != 2:
            raise operator.refusal("has shuffled weights", "convert the model again")
        size = math.prod(value.shape)
        if size % weights.shape[1]:
            raise operator.refusal(f"takes {weights.shape[1]} inputs of {size}", "convert it again")
        count = size // weights.shape[1]
        value, weights = self._fitting(operator, value, (count, weights.shape[1]), weights)
        outer = value.shape[:-1] if options.KeepNumDims() else (count,)
        if math.prod(outer) != count:
            raise operator.refusal(f"has inputs of shape {value.shape}", "convert it again")
        shape = (*outer, weights.shape[0])
        output = self.output(operator, shape)
        fused = operator.activation("FullyConnectedOptions")
        linear = self._linear(operator, value.tensor, output, weights, stored, fused)
        return self.node(operator, Dense(*linear, count), output, shape, value)

    def _fitting(
        self, operator: Operator, value: Value, shape: Shape, weights: np.ndarray
    ) -> tuple[Value, np.ndarray]:
        """int8 weights (…, columns), and x (…, columns) of a shape with all that they meet."""
        weights, chosen = split_channels(weights)
        if len(chosen) > shape[-1]:
            numbers = np.arange(value.tensor.size).reshape(shape)[..., chosen]
            value = self._again(operator, value, numbers)
        return value, weights

    def _again(self, operator: Operator, value: Value, numbers: np.ndarray) -> Value:
        """x with elements that stand in it several times."""
        if numbers.size > MAX_ELEMENTS:
            raise operator.refusal(f"needs {numbers.size} inputs", "use a smaller model")
        shape = numbers.shape
        tensor = replace(value.tensor, name=f"{operator.name}_wide", shape=without_batch(shape))
        op = Rewire(numbers.ravel(), 0, "y = x, some of it again")
        return self.node(operator, op, tensor, shape, value)

    def _window(self, value: Value, operator: Operator, options: str, sizes: Shape) -> Window:
        if len(value.shape) != 4 or value.shape[0] != 1:
            raise operator.refusal(f"of an image of shape {value.shape}", "convert it again")
        windows = Windows(**window_of(operator.options(options), sizes))
        return Window(windows, *value.shape[1:])

    def _convolution(
        self, operator: Operator, options: str, op: type[Linear], value: Value, axis: int
    ) -> Value:
        weights, stored = self._weights(operator, axis)
        if weights.ndim != 4:
            raise operator.refusal(f"has a filter of shape {weights.shape}", "convert it again")
        window = self._window(value, operator, options, weights.shape[1:3])
        if op is Conv:
            fits = weights.shape[3] == window.channels
        else:
            fits = weights.shape[0] == 1 and weights.shape[3] % window.channels == 0
        if not fits:
            reason = f"has a filter of shape {weights.shape} for {window.channels} channels"
            raise operator.refusal(reason, "convolutions in groups are not supported in int8")
        if op is Conv:
            value, weights = self._fitting(operator, value, value.shape, weights)
            window = replace(window, channels=value.shape[-1])
            rows = weights.reshape(weights.shape[0], -1)
        else:
            size = window.height, window.width
            weights, windows, times = split_rows(weights, window.windows, *size)
            if times > 1:
                numbers = np.arange(value.tensor.size).reshape(value.shape)
                value = self._again(operator, value, np.repeat(numbers, times, axis=1))
                window = replace(window, windows=windows, height=window.height * times)
            rows = weights.reshape(-1, weights.shape[3]).T
        shape = (1, *window.output, len(rows))
        output = self.output(operator, shape)
        fused = operator.activation(options)
        linear = self._linear(operator, value.tensor, output, rows, stored, fused)
        return self.node(operator, op(*linear, window, value.tensor.zero), output, shape, value)

    def _conv_2d(self, operator: Operator) -> Value:
        return self._convolution(operator, "Conv2DOptions", Conv, self.int8(operator), 0)

    def _depthwise_conv_2d(self, operator: Operator) -> Value:
        value = self.int8(operator)
        return self._convolution(operator, "DepthwiseConv2DOptions", Depthwise, value, 3)

    def _pool(self, operator: Operator, op: type[Pool], **more: bool) -> Value:
        options, value = operator.options("Pool2DOptions"), self.int8(operator)
        sizes = (options.FilterHeight(), options.FilterWidth())
        window = self._window(value, operator, "Pool2DOptions", sizes)
        shape = (1, *window.output, window.channels)
        output = self.same_scale(operator, value, shape)
        limits = self.clips(operator, operator.activation("Pool2DOptions"), output)
        return self.node(operator, op(window, *limits, **more), output, shape, value)

    def _max_pool(self, operator: Operator) -> Value:
        return self._pool(operator, MaxPool)

    def _average_pool(self, operator: Operator) -> Value:
        unsigned = self.file.tensor(operator.outputs[0]).unsigned
        return self._pool(operator, AveragePool, halves_up=unsigned)

    def _mean(self, operator: Operator) -> Value:
        value, axes = self.int8(operator), self.integers(operator, 1)
        shape = mean_shape(operator, value.shape, axes)
        output = self.output(operator, shape)
        positions = math.prod(value.shape) // value.shape[-1]
        op = Mean.of(positions, value.tensor, output)
        return self.node(operator, op, output, shape, value)

    def _pad(self, operator: Operator) -> Value:
        value = self.int8(operator)
        amounts = pad_amounts(operator, value.shape, self.constant(operator, 1))
        shape = tuple(n + sum(pair) for n, pair in zip(value.shape, amounts, strict=True))
        output = self.same_scale(operator, value, shape)
        if any(amounts[0]) or output.size > 1 << 20:
            raise operator.refusal(f"to shape {shape}", "pad one sample, by a little")
        numbers = np.arange(1, value.tensor.size + 1).reshape(value.shape)
        source = np.pad(numbers, amounts).ravel() - 1
        rewire = Rewire(source, output.zero, "y = x with zeros around it")
        return self.node(operator, rewire, output, shape, value)

    def _transpose(self, operator: Operator) -> Value:
        value = self.int8(operator)
        axes = permutation(self, operator, value.shape)
        words = f"y = x with its axes in the order {', '.join(map(str, axes))}"
        return self._put(operator, value, lambda x: x.transpose(axes), words)

    def _cut(self, operator: Operator) -> Value | Floating:
        position, words = CUT_INPUT.get(operator.kind, 0), "y = a part of x"
        value = self.result(operator, position)
        parts = CUTS[operator.kind](self, operator, value.shape)
        if isinstance(value, Floating):
            x = value.source
            output = replace(x.tensor, name=operator.name, shape=without_batch(parts.shape))
            return Floating(self._put(operator, x, parts.of, words, output), value.functions)
        return self._put(operator, self.int8(operator, position), parts.of, words)

    def _put(
        self,
        operator: Operator,
        value: Value,
        where: Callable,
        words: str,
        output: QTensor | None = None,
    ) -> Value:
        """What becomes of x where `where` puts its elements, in their own scale."""
        numbers = where(np.arange(value.tensor.size).reshape(value.shape))
        if numbers.size > MAX_MOVED:
            reason = f"moves {numbers.size} elements"
            raise operator.refusal(reason, f"at most {MAX_MOVED} are moved in int8")
        output = output or self.same_scale(operator, value, numbers.shape)
        rewire = Rewire(numbers.ravel(), 0, words)
        return self.node(operator, rewire, output, numbers.shape, value)

    def _concatenation(self, operator: Operator) -> Value:
        values = [self.int8(operator, p) for p in range(len(operator.inputs))]
        axis = concatenation_axis(operator, [v.shape for v in values])
        ends = np.cumsum([v.tensor.size for v in values])
        numbers = [
            np.arange(end - v.tensor.size, end).reshape(v.shape)
            for v, end in zip(values, ends, strict=True)
        ]
        source = np.concatenate(numbers, axis=axis)
        output = self.output(operator, source.shape)
        if operator.activation("ConcatenationOptions") != "NONE":
            raise operator.refusal("has a fused activation", "use a layer of its own")
        for value in values:
            self.same_scale(operator, value, source.shape)
        rewire = Rewire(source.ravel(), 0, "y = [x0, x1, …]")
        return self.node(operator, rewire, output, source.shape, *values)

    def _softmax(self, operator: Operator) -> Value:
        value = self.int8(operator)
        output = self.output(operator, value.shape)
        if (output.scale, output.zero) != (1 / 256, LOW):
            raise operator.refusal(f"has output scale {output.scale:g}", "convert it again")
        beta = operator.options("SoftmaxOptions").Beta()
        op = Softmax.of(value.shape[-1], value.tensor, beta)
        return self.node(operator, op, output, value.shape, value)

    def _operand(self, operator: Operator, position: int) -> tuple[Value, np.ndarray | None]:
        value = self.value(operator, position)
        if not isinstance(value, np.ndarray):
            return self.int8(operator, position), None
        stored = self.file.tensor(operator.inputs[position])
        return Value(self.tensor(stored, value.shape, stored.name), value.shape), value

    def _binary(self, operator: Operator) -> Value:
        options = {"ADD": "AddOptions", "SUB": "SubOptions", "MUL": "MulOptions"}.get(operator.kind)
        (a, first), (b, second) = self._operand(operator, 0), self._operand(operator, 1)
        shape = np.broadcast_shapes(a.shape, b.shape)
        for operand in (a, b):  # one repeats as a whole, or neither
            inner = operand.shape[len(operand.shape) - len(_trimmed(operand.shape)) :]
            if inner != shape[len(shape) - len(inner) :]:
                reason = f"of shapes {a.shape} and {b.shape} is not supported"
                raise operator.refusal(reason, "make the shapes alike")
        output = self.output(operator, shape)
        limits = self.clips(operator, operator.activation(options) if options else "NONE", output)
        if first is not None and second is not None:
            raise operator.refusal("of two constants is not supported", "convert it again")
        operands = (a.tensor, b.tensor, output, (first, second))
        if operator.kind == "MUL":
            op = Multiply.of(*operands, *limits)
        elif operator.kind == "SQUARED_DIFFERENCE":
            op = SquaredDifference.of(*operands)
        else:
            op = Add.of(*operands, 1 if operator.kind == "ADD" else -1, *limits)
        given = [v for v, constant in ((a, first), (b, second)) if constant is None]
        return self.node(operator, op, output, shape, *given)

    operators: dict[str, Callable] = {
        **dict.fromkeys(RESHAPES, _reshape),
        **dict.fromkeys((*ACTIVATION_KINDS, "RELU_N1_TO_1"), _activation),
        **dict.fromkeys(("ADD", "MUL", "SQUARED_DIFFERENCE", "SUB"), _binary),
        **dict.fromkeys(CUTS, _cut),
        "AVERAGE_POOL_2D": _average_pool,
        "CONCATENATION": _concatenation,
        "CONV_2D": _conv_2d,
        "DEPTHWISE_CONV_2D": _depthwise_conv_2d,
        "DEQUANTIZE": _dequantize,
        "FULLY_CONNECTED": _fully_connected,
        "MAX_POOL_2D": _max_pool,
        "MEAN": _mean,
        "PAD": _pad,
        "QUANTIZE": _quantize,
        "SOFTMAX": _softmax,
        "TRANSPOSE": _transpose,
        "UNIDIRECTIONAL_SEQUENCE_LSTM": sequence_lstm,
    }


def _trimmed(shape: Shape) -> Shape:
    """Without the ones in front."""
    first = next((i for i, n in enumerate(shape) if n != 1), len(shape))
    return shape[first:]


def _table(x: QTensor, y: QTensor, function: Callable, low: int, high: int) -> np.ndarray:
    """Of an integer function of q - zero, whose zero is the result's."""
    return np.clip(function(np.arange(LOW, HIGH + 1) - x.zero) + y.zero, low, high)
