"""ONNX' operators that give elements other places, and those on constants that compute shapes."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from nn4mc_codegen.graph.check import MAX_ELEMENTS
from nn4mc_codegen.graph.ir import Tensor
from nn4mc_codegen.importers.onnx_arithmetic import axis_of
from nn4mc_codegen.importers.onnx_file import TYPES, OnnxNode
from nn4mc_codegen.importers.onnx_reader import EXPORT_ADVICE, Reader, Value
from nn4mc_codegen.ops.concatenate import Concatenate
from nn4mc_codegen.ops.pad import Pad
from nn4mc_codegen.ops.take import Expand, Slice, Take
from nn4mc_codegen.ops.transpose import Transpose

FLOAT = 1  # TensorProto.FLOAT


def reshape(r: Reader, node: OnnxNode) -> Value:
    value, wanted = r.value(node), r.whole(node, 1, "extents")
    if not node.integer("allowzero", 0):
        if any(n == 0 and axis >= len(value.shape) for axis, n in enumerate(wanted)):
            raise node.refusal(f"of {value.shape} to {wanted}", "export it again")
        wanted = [n or value.shape[axis] for axis, n in enumerate(wanted)]
    if wanted.count(-1) == 1:
        rest = math.prod(n for n in wanted if n != -1)
        wanted[wanted.index(-1)] = math.prod(value.shape) // max(rest, 1)
    if min(wanted, default=1) < 1:
        raise node.refusal(f"of {value.shape} to {wanted}", "export it again")
    return r.shaped(node, value, tuple(wanted))


def flatten(r: Reader, node: OnnxNode) -> Value:
    value, axis = r.value(node), node.integer("axis", 1)
    rank = len(value.shape)
    if not -rank <= axis <= rank:
        raise node.refusal(f"has axis {axis} of {rank}", "export the model again")
    axis += rank if axis < 0 else 0
    return r.shaped(node, value, (math.prod(value.shape[:axis]), math.prod(value.shape[axis:])))


def squeeze(r: Reader, node: OnnxNode) -> Value:
    value = r.value(node)
    axes = r.whole_or_attribute(node, 1, "axes")
    if axes is None:
        left_out = {axis for axis, n in enumerate(value.shape) if n == 1}
    else:
        left_out = {axis_of(node, axis, len(value.shape)) for axis in axes}
    if any(value.shape[axis] != 1 for axis in left_out):
        raise node.refusal(f"of {value.shape} along axes {sorted(left_out)}", "export it again")
    kept = tuple(n for axis, n in enumerate(value.shape) if axis not in left_out)
    return r.shaped(node, value, kept)


def unsqueeze(r: Reader, node: OnnxNode) -> Value:
    value = r.value(node)
    axes = r.whole_or_attribute(node, 1, "axes") or []
    rank = len(value.shape) + len(axes)
    new = {axis_of(node, axis, rank) for axis in axes}
    if len(new) < len(axes):
        raise node.refusal(f"has axes {axes}", "export it again")
    old = iter(value.shape)
    return r.shaped(node, value, tuple(1 if axis in new else next(old) for axis in range(rank)))


def transpose(r: Reader, node: OnnxNode) -> Value:
    value = r.value(node)
    axes = node.integers("perm", [*range(len(value.shape))][::-1])
    return r.apply(node, Transpose(tuple(axes)), value)


def concat(r: Reader, node: OnnxNode) -> Value:
    values = [r.value(node, position) for position in range(len(node.inputs))]
    axis = axis_of(node, node.integer("axis", 0), len(values[0].shape))
    if len({v.dtype for v in values if isinstance(v, np.ndarray)}) > 1:
        raise node.refusal("of several types", "export the model again")
    return r.apply(node, Concatenate(axis), *values)


def split(r: Reader, node: OnnxNode) -> tuple[Value, ...]:
    value = r.value(node)
    axis = axis_of(node, node.integer("axis", 0), len(value.shape))
    extent, count = value.shape[axis], len(node.outputs)
    sizes = r.whole_or_attribute(node, 1, "split")
    if sizes is None:
        each = -(-extent // count)
        sizes = [max(min(each, extent - k * each), 0) for k in range(count)]
    if len(sizes) != count or min(sizes) < 1 or sum(sizes) != extent:
        raise node.refusal(f"of {extent} into {sizes}", "export the model with parts that add up")
    ends = np.cumsum(sizes)
    parts = []
    for number, (size, end) in enumerate(zip(sizes, ends.tolist(), strict=True)):
        whole = [(None, None, 1)] * len(value.shape)
        whole[axis] = (end - size, end, 1)
        parts.append(r.apply(node, Slice(tuple(whole)), value, part=f"_{number}"))
    return tuple(parts)


def slice_(r: Reader, node: OnnxNode) -> Value:
    value = r.value(node)
    starts, ends = r.whole(node, 1, "starts"), r.whole(node, 2, "ends")
    axes = r.whole(node, 3, "axes") if node.has(3) else [*range(len(starts))]
    steps = r.whole(node, 4, "steps") if node.has(4) else [1] * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
        raise node.refusal(f"has {len(starts)} starts, {len(axes)} axes", "export it again")
    parts: list = [(None, None, 1)] * len(value.shape)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        axis = axis_of(node, axis, len(value.shape))
        # As Python counts, but for an end before the first element, which Python calls None.
        stop = None if step < 0 and end < -value.shape[axis] else end
        parts[axis] = (start, stop, step)
    made = Slice(tuple(parts))
    if isinstance(value, Tensor) and 0 in made.output_shape([value.shape]):
        raise node.refusal(f"takes nothing of {value.shape}", "leave it out")
    return r.apply(node, made, value)


def gather(r: Reader, node: OnnxNode) -> Value:
    value, indices = r.value(node), r.constant(node, 1, "indices")
    if indices.dtype.kind != "i":
        raise node.refusal(f"has indices of {indices.dtype}", EXPORT_ADVICE)
    axis = axis_of(node, node.integer("axis", 0), len(value.shape))
    return r.apply(node, Take(indices, axis), value)


def expand(r: Reader, node: OnnxNode) -> Value:
    wanted = r.whole(node, 1, "extents")
    if min(wanted, default=1) < 1:
        raise node.refusal(f"has extents {wanted}", EXPORT_ADVICE)
    return r.apply(node, Expand(tuple(wanted)), r.value(node))


def tile(r: Reader, node: OnnxNode) -> Value:
    value, repeats = r.value(node), r.whole(node, 1, "repeats")
    if len(repeats) != len(value.shape) or min(repeats, default=1) < 1:
        raise node.refusal(f"of {value.shape} by {repeats}", EXPORT_ADVICE)
    for axis, count in enumerate(repeats):
        if count > 1:
            if count * math.prod(value.shape) > MAX_ELEMENTS:
                raise node.refusal(f"of {value.shape} by {repeats}", "use a smaller model")
            indices = np.tile(np.arange(value.shape[axis]), count)
            value = r.apply(node, Take(indices, axis), value, part=f"_{axis}")
    return value


def pad(r: Reader, node: OnnxNode) -> Value:
    value, pads = r.value(node), r.whole(node, 1, "amounts")
    if node.word("mode", "constant") != "constant":
        raise node.refusal(f"has mode '{node.word('mode', '')}'", "pad with zeros")
    filled = r.constant(node, 2, "value").ravel() if node.has(2) else np.zeros(1, np.float32)
    if filled.size != 1 or (isinstance(value, Tensor) and filled[0] != 0):
        raise node.refusal("pads with another number than 0", "pad with zeros")
    rank = len(value.shape)
    axes = r.whole(node, 3, "axes") if node.has(3) else [*range(rank)]
    if len(pads) != 2 * len(axes) or not all(0 <= n < 1 << 16 for n in pads):
        raise node.refusal(f"has amounts {pads}", "give a number from 0 to 65535 for each side")
    sides = [(0, 0)] * rank
    for axis, before, after in zip(axes, pads[: len(axes)], pads[len(axes) :], strict=True):
        sides[axis_of(node, axis, rank)] = (before, after)
    if isinstance(value, np.ndarray):
        grown = math.prod(n + sum(side) for n, side in zip(value.shape, sides, strict=True))
        if grown > MAX_ELEMENTS:
            raise node.refusal(f"of {value.shape} by {pads}", "use a smaller model")
        return np.pad(value, sides, constant_values=filled[0])
    if rank > 2 and value.shape[0] == 1 and not any(sides[0] + sides[1]):
        last = r.apply(node, Pad(tuple(sides[2:])), r.channels_last(node, value))
        return r.channels_first(node, last)
    # Every axis is one of positions, and the one channel comes after them.
    column = r.shaped(node, value, (*value.shape, 1), "_column")
    made = r.apply(node, Pad(tuple(sides)), column)
    return r.shaped(node, made, made.shape[:-1], "_shape")


def cast(r: Reader, node: OnnxNode) -> Value:
    value, to = r.value(node), node.integer("to", FLOAT)
    if isinstance(value, np.ndarray):
        if to not in TYPES:
            raise node.refusal(f"to type {to}", "export the model in float32")
        return value.astype(TYPES[to][0])
    if to != FLOAT:
        raise node.refusal("of a result to another type", "export the model in float32")
    return value


def cast_like(r: Reader, node: OnnxNode) -> Value:
    value, like = r.value(node), r.value(node, 1)
    if isinstance(value, np.ndarray):
        return value.astype(np.float32 if isinstance(like, Tensor) else like.dtype)
    if isinstance(like, np.ndarray) and like.dtype != np.float32:
        raise node.refusal("of a result to another type", "export the model in float32")
    return value


def shape(r: Reader, node: OnnxNode) -> Value:
    extents = r.value(node).shape
    first, last = node.integer("start", 0), node.integer("end", len(extents))
    return np.array(extents[slice(first, last)], np.int64)


def constant(r: Reader, node: OnnxNode) -> Value:
    kinds = {"value_float": np.float32, "value_floats": np.float32}
    kinds |= {"value_int": np.int64, "value_ints": np.int64}
    for name, value in node.attributes.items():
        if name == "value" and isinstance(value, np.ndarray):
            return value
        if name in kinds:
            return np.array(value, kinds[name])
    raise node.refusal("has no number", "export it again")


def constant_of_shape(r: Reader, node: OnnxNode) -> Value:
    extents = r.whole(node, 0, "extents")
    value = node.attributes.get("value", np.zeros(1, np.float32))
    if not isinstance(value, np.ndarray) or value.size != 1 or min(extents, default=1) < 0:
        raise node.refusal(f"has extents {extents}", "export it again")
    if math.prod(extents) > MAX_ELEMENTS:
        raise node.refusal(f"has extents {extents}", "use a smaller model")
    return np.full(extents, value.ravel()[0], value.dtype)


def identity(r: Reader, node: OnnxNode) -> Value:
    return r.value(node)


def dropout(r: Reader, node: OnnxNode) -> Value:
    if node.has(2) and np.any(r.constant(node, 2, "mode")):
        raise node.refusal("is in training mode", "export the model in evaluation mode")
    return r.value(node)


def folded(function: Callable) -> Callable:
    """An operator on constants alone: those that exporters write to compute shapes."""

    def read(r: Reader, node: OnnxNode) -> Value:
        values = [r.constant(node, k, "inputs") for k in range(len(node.inputs))]
        if any(v.size > 1 << 12 for v in values):
            raise node.refusal("of large constants is not supported", EXPORT_ADVICE)
        return np.asarray(function(*values))

    return read


def mod(r: Reader, node: OnnxNode) -> Value:
    return folded(np.fmod if node.integer("fmod", 0) else np.mod)(r, node)


def _range(start: np.ndarray, limit: np.ndarray, step: np.ndarray) -> np.ndarray:
    first, last, each = (float(n) for n in (start, limit, step))
    if each == 0.0 or not abs((last - first) / each) <= 1 << 16:
        raise ValueError("is of more than 65536 numbers")
    return np.arange(start.item(), limit.item(), step.item(), start.dtype)


OPERATORS: dict[str, Callable] = {
    "Cast": cast,
    "CastLike": cast_like,
    "Concat": concat,
    "Constant": constant,
    "ConstantOfShape": constant_of_shape,
    "Dropout": dropout,
    "Equal": folded(np.equal),
    "Expand": expand,
    "Flatten": flatten,
    "Floor": folded(np.floor),
    "Gather": gather,
    "Identity": identity,
    "Mod": mod,
    "Not": folded(np.logical_not),
    "Pad": pad,
    "Range": folded(_range),
    "Reshape": reshape,
    "Shape": shape,
    "Size": lambda r, node: np.array(math.prod(r.value(node).shape), np.int64),
    "Slice": slice_,
    "Split": split,
    "Squeeze": squeeze,
    "Tile": tile,
    "Transpose": transpose,
    "Unsqueeze": unsqueeze,
    "Where": folded(np.where),
}
