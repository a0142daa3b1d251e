"""ONNX' elementwise operators, reductions and activations."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np

from nn4mc_codegen.graph.ir import Op, Tensor
from nn4mc_codegen.importers.onnx_file import OnnxNode
from nn4mc_codegen.importers.onnx_reader import Reader, Value
from nn4mc_codegen.ops.activation import NO_MAXIMUM, Activation
from nn4mc_codegen.ops.add import Add
from nn4mc_codegen.ops.batch_normalization import BatchNormalization
from nn4mc_codegen.ops.conv import Conv
from nn4mc_codegen.ops.dense import Dense
from nn4mc_codegen.ops.elementwise import MEANINGS, Elementwise
from nn4mc_codegen.ops.multiply import Multiply
from nn4mc_codegen.ops.reduce import Reduce
from nn4mc_codegen.ops.softmax import Softmax
from nn4mc_codegen.ops.transpose import ChannelsLast, Transpose

# Largest whole exponent that becomes a product.
MAX_POWER = 8


def each_element(r: Reader, node: OnnxNode, op: Op, *values: Value, part: str = "") -> Value:
    """An operator that treats every element alike."""
    made = None if part else r.each_channel_last(node, op, *values)
    return r.apply(node, op, *values, part=part) if made is None else made


def binary(r: Reader, node: OnnxNode, name: str) -> Value:
    return combined(r, node, name, r.value(node, 0), r.value(node, 1))


def combined(r: Reader, node: OnnxNode, name: str, a: Value, b: Value, part: str = "") -> Value:
    """Two values by a meaning of ops/elementwise.py."""
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return _folded(node, name, a, b)
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        if a.shape == b.shape and name in ("add", "multiply"):
            return each_element(r, node, Add() if name == "add" else Multiply(), a, b, part=part)
        return each_element(r, node, Elementwise(name, (None, None)), a, b, part=part)
    value, constant = (b, a) if isinstance(a, np.ndarray) else (a, b)
    if constant.dtype != np.float32:
        raise node.refusal(f"computes with {constant.dtype}", "export the model in float32")
    is_first = value is b
    if np.broadcast_shapes(value.shape, constant.shape) == value.shape:
        twin = r.twin(value)
        if twin is not None:  # with the constant turned as the tensor is
            turned = constant.reshape((1,) * (len(value.shape) - constant.ndim) + constant.shape)
            made = _with_constant(r, node, name, twin, ChannelsLast().evaluate(turned), is_first)
            return r.channels_first(node, made)
    return _with_constant(r, node, name, value, constant, is_first, part)


def _with_constant(
    r: Reader,
    node: OnnxNode,
    name: str,
    value: Tensor,
    constant: np.ndarray,
    is_first: bool,
    part: str = "",
) -> Value:
    """What scales and moves the outputs of a layer is a `BatchNormalization`, which is folded into
    that layer's weights."""
    made_by = r.made_by(value)
    # One number, or one for each channel: (3, 1) on 3 rows of 3 channels has one for each row.
    for_channels = constant.size == 1 or (
        constant.size == value.shape[-1] == constant.shape[-1] if value.shape else False
    )
    if isinstance(made_by, Dense | Conv) and for_channels and constant.ndim <= len(value.shape):
        affine = _affine(name, constant.astype(np.float64), is_first)
        if affine is not None:
            scale, offset = (
                np.array(np.broadcast_to(np.ravel(a), value.shape[-1:]), np.float32) for a in affine
            )
            return r.apply(node, BatchNormalization(scale, offset), value, part=part)
    operands = (constant, None) if is_first else (None, constant)
    return r.apply(node, Elementwise(name, operands), value, part=part)


def _affine(name: str, constant: np.ndarray, is_first: bool) -> tuple | None:
    """Scale and offset of x that are the same; None where there are none."""
    if name == "add":
        return 1.0, constant
    if name == "multiply":
        return constant, 0.0
    if name == "subtract":
        return (-1.0, constant) if is_first else (1.0, -constant)
    if name == "divide" and not is_first and np.all(constant != 0.0):
        return 1.0 / constant, 0.0
    return None


def _folded(node: OnnxNode, name: str, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    if a.dtype != b.dtype:
        raise node.refusal(f"of {a.dtype} and {b.dtype}", "export the model again")
    if name == "divide" and a.dtype.kind in "iu":
        if np.any(b == 0):
            raise node.refusal("divides by zero", "export the model again")
        return (np.sign(a) * np.sign(b) * (np.abs(a) // np.abs(b))).astype(a.dtype)
    shape = np.broadcast_shapes(a.shape, b.shape)
    if math.prod(shape) > max(a.size, b.size, 1 << 16):
        raise node.refusal(f"of constants gives shape {shape}", "use a smaller model")
    return np.asarray(MEANINGS[name].value(a, b)).astype(a.dtype)


def several(r: Reader, node: OnnxNode, name: str) -> Value:
    """Of any number of inputs: Sum, Max, Min, Mean."""
    values = [r.value(node, position) for position in range(len(node.inputs))]
    if not values:
        raise node.refusal("has no inputs", "export it again")
    total = values[0]
    for number, value in enumerate(values[1:], 1):
        total = combined(r, node, name, total, value, "" if number == 1 else f"_{number}")
    return total


def mean(r: Reader, node: OnnxNode) -> Value:
    share = np.array(1 / len(node.inputs), np.float32)
    return combined(r, node, "multiply", several(r, node, "add"), share, "_mean")


def unary(r: Reader, node: OnnxNode, op: Op) -> Value:
    return each_element(r, node, op, r.value(node))


def plain(name: str) -> Callable:
    return lambda r, node: unary(r, node, Activation(name))


def clip(r: Reader, node: OnnxNode) -> Value:
    value = r.value(node)
    if isinstance(value, np.ndarray):
        limits = [r.constant(node, k, "limits") if node.has(k) else None for k in (1, 2)]
        return value if limits == [None, None] else np.clip(value, *limits).astype(value.dtype)
    low, high = (
        float(r.floats(node, position, "limits").reshape(-1)[0]) if node.has(position) else default
        for position, default in ((1, -math.inf), (2, math.inf))
    )
    if low == 0.0 and high > 0.0:
        if high >= NO_MAXIMUM:
            return unary(r, node, Activation("relu"))
        return unary(r, node, Activation("capped_relu", (("m", high),)))
    if math.isnan(low) or math.isnan(high):
        raise node.refusal("has a limit that is NaN", "give numbers")
    if low > -NO_MAXIMUM:
        value = combined(r, node, "maximum", value, np.array(low, np.float32))
    if high < NO_MAXIMUM:
        value = combined(r, node, "minimum", value, np.array(high, np.float32), "_high")
    return value


def leaky_relu(r: Reader, node: OnnxNode) -> Value:
    slope = node.number("alpha", 0.01)
    if slope < 0.0:
        return combined(r, node, "prelu", r.value(node), np.array(slope, np.float32))
    return unary(
        r, node, Activation("leaky_relu", (("a", slope),)) if slope else Activation("relu")
    )


def elu(r: Reader, node: OnnxNode) -> Value:
    return unary(r, node, Activation("elu", (("a", _positive(node, "alpha", 1.0)),)))


def selu(r: Reader, node: OnnxNode) -> Value:
    alpha = _positive(node, "alpha", 1.6732632)
    scale = _positive(node, "gamma", 1.0507010)
    return unary(r, node, Activation("selu", (("s", scale), ("a", alpha))))


def celu(r: Reader, node: OnnxNode) -> Value:
    """alpha·elu(x / alpha)"""
    alpha = np.array(_positive(node, "alpha", 1.0), np.float32)
    if alpha == 1.0:
        return unary(r, node, Activation("elu", (("a", 1.0),)))
    inner = combined(r, node, "divide", r.value(node), alpha, "_inner")
    inner = r.apply(node, Activation("elu", (("a", 1.0),)), inner, part="_elu")
    return combined(r, node, "multiply", inner, alpha)


def hard_sigmoid(r: Reader, node: OnnxNode) -> Value:
    slope, middle = _positive(node, "alpha", 0.2), node.number("beta", 0.5)
    if middle == 0.5:
        return unary(r, node, Activation("hard_sigmoid", (("a", slope),)))
    ramp = combined(r, node, "multiply", r.value(node), np.array(slope, np.float32), "_slope")
    ramp = combined(r, node, "add", ramp, np.array(middle, np.float32), "_ramp")
    return r.apply(node, Activation("capped_relu", (("m", 1.0),)), ramp)


def gelu(r: Reader, node: OnnxNode) -> Value:
    kinds = {"none": "gelu", "tanh": "gelu_tanh"}
    approximate = node.word("approximate", "none")
    if approximate not in kinds:
        raise node.refusal(f"is approximated by '{approximate}'", "use none or tanh")
    return unary(r, node, Activation(kinds[approximate]))


def swish(r: Reader, node: OnnxNode) -> Value:
    alpha = node.number("alpha", 1.0)
    if alpha == 1.0:
        return unary(r, node, Activation("swish"))
    gate = combined(r, node, "multiply", r.value(node), np.array(alpha, np.float32), "_scaled")
    gate = r.apply(node, Activation("sigmoid"), gate, part="_gate")
    return combined(r, node, "multiply", r.value(node), gate)


def mish(r: Reader, node: OnnxNode) -> Value:
    """x·tanh(softplus(x))"""
    value = r.value(node)
    gate = r.apply(node, Activation("softplus"), value, part="_softplus")
    gate = r.apply(node, Activation("tanh"), gate, part="_tanh")
    return combined(r, node, "multiply", value, gate)


def thresholded(r: Reader, node: OnnxNode) -> Value:
    at = np.array(node.number("alpha", 1.0), np.float32)
    return combined(r, node, "threshold", r.value(node), at)


def prelu(r: Reader, node: OnnxNode) -> Value:
    return combined(r, node, "prelu", r.value(node), r.floats(node, 1, "slopes"))


def of_one(name: str) -> Callable:
    return lambda r, node: unary(r, node, Elementwise(name, (None,)))


def reciprocal(r: Reader, node: OnnxNode) -> Value:
    return combined(r, node, "divide", np.array(1.0, np.float32), r.value(node))


def negative(r: Reader, node: OnnxNode) -> Value:
    value = r.value(node)
    if isinstance(value, np.ndarray):
        return -value
    return combined(r, node, "multiply", value, np.array(-1.0, np.float32))


def power(r: Reader, node: OnnxNode) -> Value:
    value, exponents = r.value(node), r.constant(node, 1, "exponents")
    if isinstance(value, np.ndarray):
        return np.power(value, exponents).astype(value.dtype)
    if exponents.size != 1:
        raise node.refusal(f"has {exponents.size} exponents", "use one number")
    exponent = float(exponents.ravel()[0])
    if exponent in range(2, MAX_POWER + 1):
        return each_element(r, node, Multiply(), *[value] * int(exponent))
    if exponent == 1.0:
        return value
    if exponent == 0.5:
        return unary(r, node, Elementwise("square_root", (None,)))
    if exponent == -1.0:
        return reciprocal(r, node)
    raise node.refusal(f"has the exponent {exponent:g}", f"use 0.5, -1 or 1 to {MAX_POWER}")


def softmax(r: Reader, node: OnnxNode) -> Value:
    value = r.value(node)
    axis, last = axis_of(node, node.integer("axis", -1), len(value.shape)), len(value.shape) - 1
    if axis == last:
        return r.apply(node, Softmax(), value)
    order = [*range(len(value.shape))]
    order[axis], order[last] = last, axis
    turned = r.apply(node, Transpose(tuple(order)), value, part="_turned")
    made = r.apply(node, Softmax(), turned)
    return r.apply(node, Transpose(tuple(order)), made, part="_back")


def reduced(r: Reader, node: OnnxNode, is_mean: bool) -> Value:
    value = r.value(node)
    axes = r.whole_or_attribute(node, 1, "axes")
    if not axes and node.integer("noop_with_empty_axes", 0):
        return value
    rank = len(value.shape)
    found = tuple(axis_of(node, axis, rank) for axis in axes) if axes else tuple(range(rank))
    return r.apply(node, Reduce(found, bool(node.integer("keepdims", 1)), is_mean), value)


def layer_normalization(r: Reader, node: OnnxNode) -> tuple[Value, ...]:
    """y = s∘(x - m) / sqrt(v + e) + o with mean m and variance v; then m and 1 / sqrt(v + e)."""
    x = r.value(node)
    axis = axis_of(node, node.integer("axis", -1), len(x.shape))
    average = Reduce(tuple(range(axis, len(x.shape))), True, True)
    middle = r.apply(node, average, x, part="_mean")
    centred = combined(r, node, "subtract", x, middle, "_centred")
    squares = r.apply(node, Multiply(), centred, centred, part="_squares")
    variance = r.apply(node, average, squares, part="_variance")
    epsilon = np.array(_positive(node, "epsilon", 1e-5), np.float32)
    deviation = combined(r, node, "add", variance, epsilon, "_epsilon")
    deviation = r.apply(node, Elementwise("square_root", (None,)), deviation, part="_deviation")
    inverse = combined(r, node, "divide", np.array(1.0, np.float32), deviation, "_inverse")
    y = combined(r, node, "multiply", centred, inverse, "_normal")
    scale = r.floats(node, 1, "scales")
    offset = r.floats(node, 2, "offsets") if node.has(2) else np.zeros(1, np.float32)
    width = x.shape[-1:]
    if scale.shape == width and offset.shape in ((1,), width):
        offset = np.array(np.broadcast_to(offset, width))
        return r.apply(node, BatchNormalization(scale, offset), y), middle, inverse
    y = combined(r, node, "multiply", y, scale, "_scaled")
    return combined(r, node, "add", y, offset), middle, inverse


def axis_of(node: OnnxNode, axis: int, rank: int) -> int:
    if not -rank <= axis < rank:
        raise node.refusal(f"has axis {axis} of {rank}", "export the model again")
    return axis % rank


def _positive(node: OnnxNode, name: str, default: float) -> float:
    value = node.number(name, default)
    if value <= 0.0:
        raise node.refusal(f"has {name} {value:g}", "use one above 0")
    return value


OPERATORS: dict[str, Callable] = {
    "Abs": of_one("absolute"),
    "Add": partial(binary, name="add"),
    "Celu": celu,
    "Clip": clip,
    "Div": partial(binary, name="divide"),
    "Elu": elu,
    "Erf": of_one("error_function"),
    "Exp": plain("exponential"),
    "Gelu": gelu,
    "HardSigmoid": hard_sigmoid,
    "HardSwish": plain("hard_swish"),
    "LayerNormalization": layer_normalization,
    "LeakyRelu": leaky_relu,
    "Max": partial(several, name="maximum"),
    "Mean": mean,
    "Min": partial(several, name="minimum"),
    "Mish": mish,
    "Mul": partial(binary, name="multiply"),
    "Neg": negative,
    "PRelu": prelu,
    "Pow": power,
    "Reciprocal": reciprocal,
    "ReduceMean": partial(reduced, is_mean=True),
    "ReduceSum": partial(reduced, is_mean=False),
    "Relu": plain("relu"),
    "Selu": selu,
    "Sigmoid": plain("sigmoid"),
    "Softmax": softmax,
    "Softplus": plain("softplus"),
    "Softsign": plain("softsign"),
    "Sqrt": of_one("square_root"),
    "Sub": partial(binary, name="subtract"),
    "Sum": partial(several, name="add"),
    "Swish": swish,
    "Tanh": plain("tanh"),
    "ThresholdedRelu": thresholded,
}
