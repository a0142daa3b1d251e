"""TensorFlow Lite operators that put elements elsewhere: which, by axes with the batch in front."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from nn4mc_codegen.graph.ir import Shape
from nn4mc_codegen.importers.tflite_file import Operator
from nn4mc_codegen.importers.tflite_reader import Reader


@dataclass(frozen=True)
class Parts:
    """Slices of all axes of a tensor, and the shape that what they cut out is given."""

    slices: tuple[tuple[int | None, int | None, int], ...]
    """(start, stop, step) of each axis, as Python's slices count"""
    shape: Shape

    def of(self, x: np.ndarray) -> np.ndarray:
        return x[tuple(slice(*part) for part in self.slices)].reshape(self.shape)


def permutation(reader: Reader, operator: Operator, shape: Shape) -> tuple[int, ...]:
    """Of the axes of `shape`, from the operator's second input; raises `ModelError`."""
    axes = reader.integers(operator, 1)
    if sorted(axes) != list(range(len(shape))):
        reason = f"gives shape {shape} the axes {axes}, which is no order of them"
        raise operator.refusal(reason, "convert the model again")
    return tuple(axes)


def reversed_axes(reader: Reader, operator: Operator, shape: Shape) -> Parts:
    """Of REVERSE_V2: the axes that its second input names, from the end to the beginning."""
    named = reader.integers(operator, 1)
    if not all(-len(shape) <= axis < len(shape) for axis in named):
        raise operator.refusal(f"of axes {named} of shape {shape}", "convert the model again")
    turned = {axis % len(shape) for axis in named}
    steps = tuple((None, None, -1 if axis in turned else 1) for axis in range(len(shape)))
    return Parts(steps, shape)


def strided_slice(reader: Reader, operator: Operator, shape: Shape) -> Parts:
    """Of STRIDED_SLICE, by its inputs and masks; raises `ModelError`.

    Each entry of begin, end and strides is one axis of x in turn, but for two that the masks mark:
    an ellipsis stands for as many whole axes as the others leave, and a new axis for none. Of three
    axes, x[..., newaxis, 2] has begin (-, -, 2), ellipsis_mask 1, new_axis_mask 2 and
    shrink_axis_mask 4.
    """
    options = operator.options("StridedSliceOptions")
    begin, end, strides = (reader.integers(operator, position) for position in (1, 2, 3))
    count = len(begin)
    if not len(end) == len(strides) == count:
        raise operator.refusal("has bounds of different lengths", "convert the model again")
    if options.Offset():
        end = [first + size for first, size in zip(begin, end, strict=True)]

    def marked(mask: int) -> set[int]:
        return {k for k in range(count) if mask >> k & 1}

    ellipsis, new = marked(options.EllipsisMask()), marked(options.NewAxisMask())
    new -= ellipsis
    whole = len(shape) - (count - len(ellipsis) - len(new))
    if len(ellipsis) > 1 or whole < 0:
        raise operator.refusal(f"has {count} bounds for shape {shape}", "convert the model again")
    no_begin, no_end = marked(options.BeginMask()), marked(options.EndMask())
    single = marked(options.ShrinkAxisMask()) - ellipsis - new
    slices: list[tuple[int | None, int | None, int]] = []
    found: list[int] = []
    for k in range(count):
        if k in ellipsis:
            found += shape[len(slices) : len(slices) + whole]
            slices += [(None, None, 1)] * whole
            continue
        if k in new:
            found.append(1)
            continue
        extent = shape[len(slices)]
        if k in single:
            if not -extent <= begin[k] < extent:
                reason = f"takes element {begin[k]} of an axis of {extent}"
                raise operator.refusal(reason, "convert the model again")
            first = begin[k] % extent
            slices.append((first, first + 1, 1))
            continue
        if strides[k] == 0:
            raise operator.refusal("has a stride of 0", "convert the model again")
        part = None if k in no_begin else begin[k], None if k in no_end else end[k], strides[k]
        slices.append(part)
        found.append(len(range(*slice(*part).indices(extent))))
    rest = shape[len(slices) :]
    slices += [(None, None, 1)] * len(rest)
    found += rest
    if math.prod(found) == 0:
        reason = f"of shape {shape} leaves nothing, for it takes shape {tuple(found)}"
        raise operator.refusal(reason, "give it bounds within the tensor")
    return Parts(tuple(slices), tuple(found))


def split(reader: Reader, operator: Operator, shape: Shape) -> Parts:
    """Of SPLIT: one of equal parts along the axis that its first input is; raises `ModelError`."""
    axes, count = reader.integers(operator, 0), operator.options("SplitOptions").NumSplits()
    if len(axes) != 1 or not -len(shape) <= axes[0] < len(shape):
        raise operator.refusal(f"along axes {axes} of shape {shape}", "convert the model again")
    axis = axes[0] % len(shape)
    if not operator.part < count or shape[axis] % count:
        reason = f"of shape {shape} into {count} parts along axis {axis}"
        raise operator.refusal(reason, "convert the model again")
    size = shape[axis] // count
    part = operator.part * size, (operator.part + 1) * size, 1
    slices = tuple(part if k == axis else (None, None, 1) for k in range(len(shape)))
    return Parts(slices, (*shape[:axis], size, *shape[axis + 1 :]))


def unpack(reader: Reader, operator: Operator, shape: Shape) -> Parts:
    """Of UNPACK: one element of an axis, which goes; raises `ModelError`."""
    options = operator.options("UnpackOptions")
    axis, count = options.Axis(), options.Num()
    if not -len(shape) <= axis < len(shape) or not operator.part < count == shape[axis]:
        reason = f"of shape {shape} into {count} parts along axis {axis}"
        raise operator.refusal(reason, "convert the model again")
    axis %= len(shape)
    part = operator.part, operator.part + 1, 1
    slices = tuple(part if k == axis else (None, None, 1) for k in range(len(shape)))
    return Parts(slices, (*shape[:axis], *shape[axis + 1 :]))


CUTS = {
    "REVERSE_V2": reversed_axes,
    "SPLIT": split,
    "STRIDED_SLICE": strided_slice,
    "UNPACK": unpack,
}
"""Operators that take a part of x, or all of it in another order along its axes."""
CUT_INPUT = {"SPLIT": 1}
"""Which of their inputs x is, where it is not the first."""
