"""ONNX' matrix products, convolutions, poolings and batch normalisation."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from nn4mc_codegen.graph.ir import Shape, Tensor
from nn4mc_codegen.importers.onnx_arithmetic import combined
from nn4mc_codegen.importers.onnx_file import OnnxNode
from nn4mc_codegen.importers.onnx_reader import Reader, Value
from nn4mc_codegen.ops.activation import LINEAR
from nn4mc_codegen.ops.batch_normalization import BatchNormalization
from nn4mc_codegen.ops.concatenate import Concatenate
from nn4mc_codegen.ops.conv import Conv
from nn4mc_codegen.ops.dense import Dense
from nn4mc_codegen.ops.depthwise import DepthwiseConv
from nn4mc_codegen.ops.matmul import MatMul
from nn4mc_codegen.ops.pad import Pad
from nn4mc_codegen.ops.pool import AveragePool, MaxPool
from nn4mc_codegen.ops.take import Slice
from nn4mc_codegen.ops.transpose import Transpose
from nn4mc_codegen.ops.windows import Windows

Pads = tuple[tuple[int, int], ...]


def gemm(r: Reader, node: OnnxNode) -> Value:
    """y = alpha·A·B + beta·C, A and B transposed where the attributes say so."""
    a, b = r.value(node, 0), r.value(node, 1)
    alpha, beta = node.number("alpha", 1.0), node.number("beta", 1.0)
    if len(a.shape) != 2 or len(b.shape) != 2:
        raise node.refusal(f"of shapes {a.shape} and {b.shape}", "use matrices")
    swapped = Transpose((1, 0))
    if node.integer("transA", 0):
        a = r.apply(node, swapped, a, part="_a")
    if node.integer("transB", 0):
        b = r.apply(node, swapped, b, part="_b")
    c = r.value(node, 2) if node.has(2) else np.zeros(1, np.float32)
    units = b.shape[1]
    constant = isinstance(b, np.ndarray) and isinstance(c, np.ndarray)
    if constant and (c.size == 1 or c.size == c.shape[-1] == units):
        bias = np.broadcast_to(beta * c.ravel().astype(np.float64), units).astype(np.float32)
        weights = alpha * _floats(node, b).astype(np.float64)
        return dense(r, node, a, weights.astype(np.float32), bias)
    y = product(r, node, a, b, "_product")
    if alpha != 1.0:
        y = combined(r, node, "multiply", y, np.array(alpha, np.float32), "_alpha")
    if node.has(2):
        if beta != 1.0:
            c = combined(r, node, "multiply", c, np.array(beta, np.float32), "_beta")
        y = combined(r, node, "add", y, c)
    return y


def matmul(r: Reader, node: OnnxNode) -> Value:
    return product(r, node, r.value(node, 0), r.value(node, 1))


def product(r: Reader, node: OnnxNode, a: Value, b: Value, part: str = "") -> Value:
    """a·b as NumPy's matmul: a vector counts as a row before the dot and as a column after it."""
    if not a.shape or not b.shape:
        raise node.refusal("of a number", "multiply elementwise")
    rows = a.shape if len(a.shape) > 1 else (1, *a.shape)
    columns = b.shape if len(b.shape) > 1 else (*b.shape, 1)
    shape = MatMul().output_shape([rows, columns])
    kept: Shape = shape
    if len(b.shape) == 1:
        kept = kept[:-1]
    if len(a.shape) == 1:
        kept = (*shape[:-2], *kept[len(shape) - 1 :])
    if isinstance(a, Tensor) and isinstance(b, np.ndarray) and b.size == math.prod(columns[-2:]):
        kernel = _floats(node, b).reshape(columns[-2:])
        made = dense(r, node, a, kernel, np.zeros(kernel.shape[1], np.float32), part)
        return r.shaped(node, made, kept, "_shape")
    if isinstance(b, Tensor) and isinstance(a, np.ndarray) and len(rows) == len(columns) == 2:
        turned = r.apply(node, Transpose((1, 0)), r.shaped(node, b, columns), part="_turned")
        kernel = np.ascontiguousarray(_floats(node, a).reshape(rows).T)
        made = dense(r, node, turned, kernel, np.zeros(rows[-2], np.float32), part)
        made = r.apply(node, Transpose((1, 0)), made, part="_back")
        return r.shaped(node, made, kept, "_shape")
    values = r.shaped(node, a, rows, "_rows"), r.shaped(node, b, columns, "_columns")
    return r.shaped(node, r.apply(node, MatMul(), *values, part=part), kept, "_shape")


def dense(
    r: Reader, node: OnnxNode, x: Value, kernel: np.ndarray, bias: np.ndarray, part: str = ""
) -> Value:
    """A `Dense`; where x is the flat result of a convolution, with its weights in that order."""
    plain, order = r.in_any_order(x)
    if order is not None and kernel.shape[0] == order.size:
        kernel = np.ascontiguousarray(kernel[order])
        made = r.apply(node, Dense(kernel, bias, LINEAR), plain, part=part)
        return r.shaped(node, made, (*x.shape[:-1], kernel.shape[1]), "_row")
    return r.apply(node, Dense(kernel, bias, LINEAR), x, part=part)


def _floats(node: OnnxNode, values: np.ndarray) -> np.ndarray:
    if values.dtype != np.float32:
        raise node.refusal(f"has weights of {values.dtype}", "export the model in float32")
    return values


# ---------------------------------------------------------------- windows


def each_sample(
    r: Reader, node: OnnxNode, work: Callable[[Tensor], Tensor], position: int = 0
) -> Value:
    """`work` on one sample (…, channels) after the other, as (samples, channels, …) again."""
    value = r.value(node, position)
    if not isinstance(value, Tensor) or len(value.shape) < 3:
        raise node.refusal(f"of shape {value.shape}", "give it samples of channels of positions")
    if value.shape[0] == 1:
        return r.channels_first(node, work(r.channels_last(node, value)))
    rest = ((None, None, 1),) * (len(value.shape) - 1)
    parts = []
    for sample in range(value.shape[0]):
        one = r.apply(node, Slice(((sample, sample + 1, 1), *rest)), value, part=f"_{sample}")
        parts.append(r.channels_first(node, work(r.channels_last(node, one))))
    return r.apply(node, Concatenate(0), *parts, part="_all")


def read_windows(node: OnnxNode, size: Shape, extents: Shape) -> Windows:
    """Of a convolution or pooling whose windows have this size; raises `ModelError`."""
    axes = len(size)
    strides = tuple(node.integers("strides", [1] * axes))
    dilation = tuple(node.integers("dilations", [1] * axes))
    pads = node.integers("pads", [0] * 2 * axes)
    numbers = (*size, *strides, *dilation)
    if (
        len(extents) != axes
        or len(strides) != axes
        or len(dilation) != axes
        or len(pads) != 2 * axes
        or not all(0 < n < 1 << 16 for n in numbers)
        or not all(0 <= n < 1 << 16 for n in pads)
    ):
        reason = f"has window {tuple(size)}, strides {strides}, dilations {dilation}, pads {pads}"
        raise node.refusal(reason, f"give {axes} positive numbers each")
    kind = node.word("auto_pad", "NOTSET")
    if kind == "SAME_UPPER":
        return Windows(size, strides, dilation, "same")
    if kind == "SAME_LOWER":  # the odd one comes before
        same = Windows(size, strides, dilation, "same").pads(extents)
        return Windows(size, strides, dilation, tuple(pair[::-1] for pair in same))
    if kind == "VALID" or not any(pads):
        return Windows(size, strides, dilation, "valid")
    if kind != "NOTSET":
        raise node.refusal(f"has auto_pad '{kind}'", "use SAME_UPPER, SAME_LOWER, VALID or NOTSET")
    return Windows(size, strides, dilation, tuple(zip(pads[:axes], pads[axes:], strict=True)))


def conv(r: Reader, node: OnnxNode) -> Value:
    x, weights = r.value(node), r.floats(node, 1, "weights")
    if weights.ndim < 3 or len(x.shape) != weights.ndim:
        raise node.refusal(f"of shape {x.shape} with weights {weights.shape}", "export it again")
    outputs, inputs, *size = weights.shape
    groups = node.integer("group", 1)
    if not 0 < groups <= outputs or outputs % groups or inputs * groups != x.shape[1]:
        raise node.refusal(f"of {x.shape[1]} channels in {groups} groups", "export it again")
    bias = r.floats(node, 2, "biases") if node.has(2) else np.zeros(outputs, np.float32)
    if bias.shape != (outputs,):
        raise node.refusal(f"has a bias of shape {bias.shape}", "export it again")
    windows = read_windows(node, tuple(size), x.shape[2:])
    kernel = np.moveaxis(weights, (0, 1), (-1, -2)).reshape(windows.taps, inputs, outputs)
    kernel = np.ascontiguousarray(kernel)
    kind = DepthwiseConv if inputs == 1 and groups > 1 else Conv
    op = kind(kernel, bias, windows, groups, LINEAR)
    return each_sample(r, node, lambda one: r.apply(node, op, one))


def pool(r: Reader, node: OnnxNode, is_max: bool) -> Value:
    x = r.value(node)
    extents = x.shape[2:]
    size = tuple(node.integers("kernel_shape", []))
    windows = read_windows(node, size, extents)
    reach = [(n - 1) * d + 1 for n, d in zip(size, windows.dilation, strict=True)]
    if any(max(pair) >= n for pair, n in zip(windows.pads(extents), reach, strict=True)):
        raise node.refusal("pads by a whole window or more", "pad by less")
    padded: Pads = ((0, 0),) * len(size)
    if not is_max and node.integer("count_include_pad", 0):
        # Zeros that count are put around the input; windows then hang over an edge no more.
        padded = windows.pads(extents)
        windows = Windows(size, windows.strides, windows.dilation, "valid")
        extents = tuple(n + sum(pair) for n, pair in zip(extents, padded, strict=True))
    if node.integer("ceil_mode", 0):
        windows = _with_last(windows, extents, padded)
    pooling = MaxPool(windows) if is_max else AveragePool(windows)

    def work(one: Tensor) -> Tensor:
        if any(map(any, padded)):
            one = r.apply(node, Pad(padded), one, part="_padded")
        return r.apply(node, pooling, one)

    return each_sample(r, node, work)


def _with_last(windows: Windows, extents: Shape, padded: Pads) -> Windows:
    """With ceil_mode a last window may hang over the end, unless it would begin in the padding."""
    pads = []
    for axis, (before, after) in enumerate(windows.pads(extents)):
        stride = windows.strides[axis]
        reach = (windows.size[axis] - 1) * windows.dilation[axis] + 1
        rest = (extents[axis] + before + after - reach) % stride
        last = extents[axis] + before + after - reach - rest + stride
        # `last` is where one more window would begin, counted from the first padding.
        if rest and last < extents[axis] + before - padded[axis][1]:
            after += stride - rest
        pads.append((before, after))
    return Windows(windows.size, windows.strides, windows.dilation, tuple(pads))


def global_pool(r: Reader, node: OnnxNode, is_max: bool) -> Value:
    op = MaxPool(None) if is_max else AveragePool(None)
    return each_sample(r, node, lambda one: r.apply(node, op, one))


def batch_normalization(r: Reader, node: OnnxNode) -> Value:
    if node.integer("training_mode", 0):
        raise node.refusal("is in training mode", "export the model in evaluation mode")
    x = r.value(node)
    arrays = [r.floats(node, k, "parameters").astype(np.float64) for k in range(1, 5)]
    if len(x.shape) < 2 or any(a.shape != x.shape[1:2] for a in arrays):
        raise node.refusal(f"of shape {x.shape} with other channels", "export it again")
    gamma, beta, mean, variance = arrays
    variance = variance + node.number("epsilon", 1e-5)
    if np.any(variance <= 0.0):
        raise node.refusal("has a variance that is negative", "train the model again")
    scale = gamma / np.sqrt(variance)
    offset = beta - mean * scale
    op = BatchNormalization(scale.astype(np.float32), offset.astype(np.float32))
    if len(x.shape) == 2:
        return r.apply(node, op, x)
    return each_sample(r, node, lambda one: r.apply(node, op, one))


OPERATORS: dict[str, Callable] = {
    "AveragePool": lambda r, node: pool(r, node, is_max=False),
    "BatchNormalization": batch_normalization,
    "Conv": conv,
    "Gemm": gemm,
    "GlobalAveragePool": lambda r, node: global_pool(r, node, is_max=False),
    "GlobalMaxPool": lambda r, node: global_pool(r, node, is_max=True),
    "MatMul": matmul,
    "MaxPool": lambda r, node: pool(r, node, is_max=True),
}
