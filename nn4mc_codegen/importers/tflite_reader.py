"""The walk through the operators of a `.tflite` file, and what float32 and int8 operators share."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from nn4mc_codegen.graph.check import MAX_ELEMENTS, ModelError, refuse
from nn4mc_codegen.graph.ir import Graph, Shape
from nn4mc_codegen.importers.tflite_file import MAX_RANK, File, Operator, Stored
from nn4mc_codegen.int8.quantize import QuantGraph
from nn4mc_codegen.ops.activation import LINEAR, Activation

KERAS_ADVICE = "compile the Keras file instead"


class Reader(ABC):
    """Walks through the operators in order; what they mean stands in the subclasses.

    `values` has for every tensor so far a constant array, or what the subclass makes of a result,
    which has a `shape` with the batch axis. Shapes are followed here, for a batch of one: those in
    the file are wrong behind a dynamic Reshape.

    `carries` says whether recurrent layers, which then all go one step, keep their state from
    call to call; `steps` is how many steps each of them goes.
    """

    operators: dict[str, Callable]
    """kind of an operator -> method that applies it"""

    def __init__(self, file: File, carries: bool = False):
        self.file = file
        self.carries = carries
        self.steps: list[int] = []
        self.values: dict[int, Any] = {}
        self.nodes: list[Any] = []
        self.read = file.read

    def graph(self) -> Graph | QuantGraph:
        inputs = [self.input(index) for index in self.file.inputs]
        for operator in self.file.operators:
            self._apply(operator)
        if len(self.file.outputs) != 1:
            count = len(self.file.outputs)
            raise ModelError(f"the model has {count} outputs; join them with Concatenate")
        if self.file.outputs[0] not in self.values:
            raise ModelError("damaged: no operator makes the model's output")
        return self.finish(inputs, self.values[self.file.outputs[0]])

    @abstractmethod
    def input(self, index: int) -> Any:
        """Make the value of an input of the model."""

    @abstractmethod
    def finish(self, inputs: list[Any], output: Any) -> Graph | QuantGraph:
        """The graph, when every operator has been applied."""

    def input_shape(self, index: int) -> Shape:
        shape = self.file.tensor(index).shape
        if index in self.values or not shape or shape[0] != 1 or math.prod(shape) == 0:
            reason = f"input shape {shape} is not that of one sample"
            raise refuse(self.file.input_name(index), reason, "convert with a fixed shape")
        return shape

    def value(self, operator: Operator, position: int) -> Any:
        """What the operator's input of this position is: an array if it is constant."""
        if not operator.has(position):
            raise operator.refusal("lacks an input", "convert the model again")
        index = operator.inputs[position]
        if index not in self.values:
            stored = self.file.tensor(index)
            if stored.data is None:
                raise operator.refusal("reads what no operator before it makes", "convert it again")
            self.values[index] = self.constant_of(stored)
        return self.values[index]

    def constant_of(self, stored: Stored) -> np.ndarray:
        """What stands for a constant of the file."""
        assert stored.data is not None
        return stored.data

    def result(self, operator: Operator, position: int = 0) -> Any:
        """An input that must not be constant."""
        value = self.value(operator, position)
        if isinstance(value, np.ndarray):
            raise operator.refusal("of a constant is not supported", "convert the model again")
        return value

    def constant(self, operator: Operator, position: int) -> np.ndarray:
        """An input that must be constant."""
        value = self.value(operator, position)
        if not isinstance(value, np.ndarray):
            name = "weights" if position else "input"
            raise operator.refusal(f"has {name} that are not constant", KERAS_ADVICE)
        return value

    def integers(self, operator: Operator, position: int) -> list[int]:
        return [int(n) for n in self.constant(operator, position).ravel()[: 2 * MAX_RANK]]

    def _apply(self, operator: Operator) -> None:
        """Makes what an operator gives; of several results, each by itself, those that are read."""
        if len(operator.outputs) == 1:
            self._make(operator)
            return
        if operator.kind not in SEVERAL:
            raise self._unsupported(operator)
        for part, index in enumerate(operator.outputs):
            name = f"{operator.name}_{part}"
            one = replace(operator, name=name, outputs=(index,), part=part)
            if index in self.read:
                self._make(one)

    def _make(self, operator: Operator) -> None:
        (index,) = operator.outputs
        if index in self.values or self.file.tensor(index).data is not None:
            raise operator.refusal("writes a tensor that is written already", "convert it again")
        if operator.kind == "SHAPE":
            self.values[index] = np.array(self.value(operator, 0).shape, np.int32)
        elif operator.kind in FOLDED and all(
            isinstance(self.value(operator, p), np.ndarray) for p in range(len(operator.inputs))
        ):
            self.values[index] = self._folded(operator)
        elif operator.kind in self.operators:
            try:
                value = self.operators[operator.kind](self, operator)
            except ModelError:
                raise
            except ValueError as error:
                reason = " ".join(str(error).split())
                raise operator.refusal(reason, KERAS_ADVICE) from None
            if math.prod(value.shape) > MAX_ELEMENTS:
                raise operator.refusal(f"gives shape {value.shape}", "use a smaller model")
            self.values[index] = value
        else:
            raise self._unsupported(operator)

    def _unsupported(self, operator: Operator) -> ModelError:
        if operator.kind == "WHILE":
            reason = "is a loop, as Keras 3 writes recurrent layers"
            return operator.refusal(reason, KERAS_ADVICE)
        if operator.kind in RECURRENT:
            return operator.refusal("is recurrent and not supported", f"{KERAS_ADVICE}{ONE_WAY}")
        if operator.kind == "SPACE_TO_BATCH_ND":
            reason = "stands for a dilated convolution of an open batch size"
            return operator.refusal(reason, "give the model's Input batch_size=1 and convert again")
        known = ", ".join(sorted((*self.operators, "SHAPE")))
        return operator.refusal("is not supported", f"{KERAS_ADVICE}, or use only {known}")

    def _folded(self, operator: Operator) -> np.ndarray:
        """An operator on constants: those that compute shapes."""
        values = [self.value(operator, p) for p in range(len(operator.inputs))]
        if operator.kind != "DEQUANTIZE" and any(v.size > 64 for v in values):
            raise self._unsupported(operator)
        return np.asarray(FOLDED[operator.kind](operator, *values))

    # Operators that only give a new shape.

    def new_shape(self, operator: Operator) -> Shape:
        value = self.result(operator)
        shape = RESHAPES[operator.kind](self, operator, value.shape)
        if math.prod(shape) != math.prod(value.shape) or len(shape) > MAX_RANK or min(shape) < 1:
            reason = f"of {tuple(value.shape)} to {tuple(shape)} is impossible"
            raise operator.refusal(reason, "convert the model again")
        return shape

    def _reshape(self, operator: Operator, shape: Shape) -> Shape:
        wanted = self.integers(operator, 1)
        if wanted.count(-1) == 1:
            rest = math.prod(n for n in wanted if n != -1)
            wanted[wanted.index(-1)] = math.prod(shape) // max(rest, 1)
        return tuple(wanted)

    def _squeeze(self, operator: Operator, shape: Shape) -> Shape:
        table = operator.options("SqueezeOptions")
        axes = {table.SqueezeDims(i) % len(shape) for i in range(min(table.SqueezeDimsLength(), 9))}
        axes = axes or {i for i, n in enumerate(shape) if n == 1}
        return tuple(n for i, n in enumerate(shape) if i not in axes)

    def _expand_dims(self, operator: Operator, shape: Shape) -> Shape:
        (axis,) = self.integers(operator, 1)
        axis += len(shape) + 1 if axis < 0 else 0
        return (*shape[:axis], 1, *shape[axis:])


RESHAPES = {
    "RESHAPE": Reader._reshape,
    "SQUEEZE": Reader._squeeze,
    "EXPAND_DIMS": Reader._expand_dims,
}
SEVERAL = ("SPLIT", "UNPACK")
"""Operators with several results."""
RECURRENT = (
    "BIDIRECTIONAL_SEQUENCE_LSTM",
    "BIDIRECTIONAL_SEQUENCE_RNN",
    "LSTM",
    "RNN",
    "SVDF",
    "UNIDIRECTIONAL_SEQUENCE_RNN",
)
ONE_WAY = ", or use UNIDIRECTIONAL_SEQUENCE_LSTM, as Keras 2 writes an LSTM of a fixed batch size"


def _slice(operator: Operator, x: np.ndarray, *bounds: np.ndarray) -> np.ndarray:
    table = operator.options("StridedSliceOptions")
    if x.ndim != 1 or any(b.size != 1 for b in bounds):
        raise operator.refusal("of such constants is not supported", KERAS_ADVICE)
    begin, end, step = (int(b.ravel()[0]) for b in bounds)
    found = x[None if table.BeginMask() else begin : None if table.EndMask() else end : step]
    return found[0] if table.ShrinkAxisMask() else found


def _concatenation(operator: Operator, *values: np.ndarray) -> np.ndarray:
    return np.concatenate(values, axis=operator.options("ConcatenationOptions").Axis())


def _dequantize(operator: Operator, x: np.ndarray) -> np.ndarray:
    """Weights that are stored as float16; those in int8 are float32 already where floats compute
    with them."""
    if x.dtype not in (np.float16, np.float32):
        advice = "convert with a representative dataset, or without optimizations"
        raise operator.refusal(f"of {x.dtype} weights for float32 arithmetic", advice)
    return x.astype(np.float32)


FOLDED: dict[str, Callable[..., np.ndarray]] = {
    "CONCATENATION": _concatenation,
    "DEQUANTIZE": _dequantize,
    "GATHER": lambda _, x, indices: x[indices],
    "PACK": lambda _, *values: np.stack(values),
    "REDUCE_PROD": lambda _, x, axes: np.prod(x, keepdims=False, dtype=np.int64),
    "STRIDED_SLICE": _slice,
}


def window_of(options: Any, sizes: Sequence[int]) -> dict[str, Any]:
    """What `ops.windows.Windows` takes, from the options of a convolution or pooling."""
    strides = (options.StrideH(), options.StrideW())
    dilation = (1, 1)
    if hasattr(options, "DilationHFactor"):
        dilation = (options.DilationHFactor(), options.DilationWFactor())
    if options.Padding() not in (0, 1):
        raise ValueError(f"has padding {options.Padding()}")
    if not all(0 < n < 1 << 16 for n in (*sizes, *strides, *dilation)):
        raise ValueError(f"has window {tuple(sizes)}, strides {strides}, dilation {dilation}")
    padding = "same" if options.Padding() == 0 else "valid"
    return {"size": tuple(sizes), "strides": strides, "dilation": dilation, "padding": padding}


# Activations without options, fused ones among them.
ACTIVATIONS = {
    "NONE": LINEAR,
    "RELU": Activation("relu"),
    "RELU6": Activation("capped_relu", (("m", 6.0),)),
    "RELU_0_TO_1": Activation("capped_relu", (("m", 1.0),)),
    "TANH": Activation("tanh"),
    "LOGISTIC": Activation("sigmoid"),
    "ELU": Activation("elu", (("a", 1.0),)),
    "EXP": Activation("exponential"),
    "HARD_SWISH": Activation("hard_swish"),
}


def activation_of(operator: Operator) -> Activation:
    """Of an operator that is an activation; raises `ModelError`."""
    if operator.kind == "LEAKY_RELU":
        slope = operator.options("LeakyReluOptions").Alpha()
        if not 0.0 <= slope < math.inf:
            raise operator.refusal(f"has slope {slope:g}", "use a slope above 0")
        return Activation("leaky_relu", (("a", slope),)) if slope else ACTIVATIONS["RELU"]
    if operator.kind == "GELU":
        return Activation("gelu_tanh" if operator.options("GeluOptions").Approximate() else "gelu")
    return ACTIVATIONS[operator.kind]


ACTIVATION_KINDS = (*(kind for kind in ACTIVATIONS if kind != "NONE"), "LEAKY_RELU", "GELU")


def without_batch(shape: Shape) -> Shape:
    """Of a shape with the batch axis in front, if it is there: rows of vectors may be in its place,
    behind a Reshape."""
    return shape[1:] if len(shape) > 1 and shape[0] == 1 else shape


def mean_shape(operator: Operator, shape: Shape, axes: list[int]) -> Shape:
    """Result of a mean over all positions, with the batch axis; other means are refused."""
    table = operator.options("ReducerOptions")
    reduced = {axis % len(shape) for axis in axes}
    last = len(shape) - 1
    left = [n for i, n in enumerate(shape[:-1]) if i not in reduced]
    if last in reduced or math.prod(left) != 1:
        raise operator.refusal(
            f"over axes {sorted(reduced)} of {shape} is not supported",
            "take the mean over all positions, keeping the channels",
        )
    if table.KeepDims():
        return tuple(1 if i in reduced else n for i, n in enumerate(shape))
    return tuple(n for i, n in enumerate(shape) if i not in reduced)


def pad_amounts(operator: Operator, shape: Shape, table: np.ndarray) -> list[tuple[int, int]]:
    if table.shape != (len(shape), 2) or table.min() < 0 or table.max() >= 1 << 16:
        raise operator.refusal(f"has amounts of shape {table.shape}", "convert it again")
    return [(int(before), int(after)) for before, after in table]


def concatenation_axis(operator: Operator, shapes: list[Shape]) -> int:
    """Counted with the batch axis, which it must not be."""
    axis, rank = operator.options("ConcatenationOptions").Axis(), len(shapes[0])
    if not -rank <= axis < rank or any(len(s) != rank or s[0] != 1 for s in shapes):
        raise operator.refusal(f"along axis {axis} of {shapes[0]}", "convert it again")
    if axis % rank == 0:
        raise operator.refusal("along the batch axis", "the batch axis must stay")
    return axis % rank
