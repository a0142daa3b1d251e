"""TensorFlow Lite files (`.tflite`), read without TensorFlow.

The flatbuffer is read through the schema's own classes (package `tflite`). They stay inside the
file whatever it says; the lengths that a file claims are checked here before anything is counted
by them. A file whose tensors are int8 becomes a `quantize.QuantGraph`, any other an `ir.Graph`.
"""

from __future__ import annotations

import math
import struct
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tflite

from nn4mc_codegen.graph.check import MAX_ELEMENTS, ModelError, printable, refuse
from nn4mc_codegen.graph.ir import Graph, Shape
from nn4mc_codegen.int8.quantize import QuantGraph

KERAS_ADVICE = "compile the Keras file instead"
# What the schema's classes, NumPy and the reader below raise where a file is nonsense.
DAMAGE = (
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    TypeError,
    ValueError,
    struct.error,
)
MAX_OPERATORS = 1 << 12
MAX_TENSORS = 1 << 14
MAX_RANK = 6
MAX_NAME = 64

_OPERATORS = {v: k for k, v in vars(tflite.BuiltinOperator).items() if type(v) is int}
_ACTIVATIONS = {v: k for k, v in vars(tflite.ActivationFunctionType).items() if type(v) is int}
_TYPES = {v: k for k, v in vars(tflite.TensorType).items() if type(v) is int}
_DTYPES = {
    "FLOAT32": np.dtype("<f4"),
    "FLOAT16": np.dtype("<f2"),
    "INT8": np.dtype("i1"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
}


def read(content: bytes) -> Graph | QuantGraph:
    """Graph of a `.tflite` file's bytes; raises `ModelError`."""
    from nn4mc_codegen.importers.tflite_float import FloatReader
    from nn4mc_codegen.importers.tflite_int8 import Int8Reader

    try:
        file = File(content)
        reader = Int8Reader if file.is_int8 else FloatReader
        return reader(file).graph()
    except ModelError:
        raise
    except DAMAGE as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ModelError(f"damaged or not a TensorFlow Lite model ({reason})") from None


@dataclass(frozen=True, eq=False)
class Stored:
    """A tensor as the file describes it."""

    name: str
    shape: Shape
    type: str
    data: np.ndarray | None
    """of a constant"""
    scales: np.ndarray
    """float32, empty where the tensor is not quantised"""
    zeros: np.ndarray
    axis: int
    """along which the scales differ, if there are several"""


@dataclass(frozen=True, eq=False)
class Operator:
    kind: str
    name: str
    inputs: tuple[int, ...]
    """tensors; -1 is one that is left out"""
    outputs: tuple[int, ...]
    _table: Any

    def options(self, name: str) -> Any:
        """The operator's options, of the schema's class `name`."""
        if self._table.BuiltinOptionsType() != getattr(tflite.BuiltinOptions, name):
            raise self.refusal("its options are missing", "convert the model again")
        found = getattr(tflite, name)()
        table = self._table.BuiltinOptions()
        found.Init(table.Bytes, table.Pos)
        return found

    def activation(self, name: str) -> str:
        """The fused activation, which stands in the options of class `name`."""
        value = self.options(name).FusedActivationFunction()
        return _ACTIVATIONS.get(value, str(value))

    def refusal(self, reason: str, advice: str) -> ModelError:
        return refuse(self.name, f"{self.kind} {reason}", advice)


class File:
    """The main subgraph of a file: its tensors and operators, every index checked."""

    def __init__(self, content: bytes):
        self._limit = len(content)
        self._constants = 0
        model = tflite.Model.GetRootAs(content, 0)
        if self._count(model.SubgraphsLength(), MAX_TENSORS) < 1:
            raise ModelError("the file holds no graph; convert the model again")
        self._model, graph = model, model.Subgraphs(0)
        self._codes = self._count(model.OperatorCodesLength(), MAX_OPERATORS)
        self._buffers = self._count(model.BuffersLength(), 4 * MAX_TENSORS)
        tensors = self._count(graph.TensorsLength(), MAX_TENSORS)
        self._read: dict[int, Stored] = {}
        self._graph, self._tensors = graph, tensors
        self.inputs = self._indices(graph.InputsAsNumpy())
        self.outputs = self._indices(graph.OutputsAsNumpy())
        count = self._count(graph.OperatorsLength(), MAX_OPERATORS)
        self.operators = [self._operator(number) for number in range(count)]

    @property
    def is_int8(self) -> bool:
        """Whether any result is int8."""
        made = (i for operator in self.operators for i in operator.outputs)
        return any(self.tensor(i).type == "INT8" for i in (*self.inputs, *made))

    def tensor(self, index: int) -> Stored:
        if index not in self._read:
            self._read[index] = self._tensor(index)
        return self._read[index]

    def input_name(self, index: int) -> str:
        """Name of an input in the signature that the converter writes, else the tensor's own."""
        if 0 < self._count(self._model.SignatureDefsLength(), MAX_TENSORS):
            signature = self._model.SignatureDefs(0)
            for i in range(self._count(signature.InputsLength(), MAX_TENSORS)):
                if signature.Inputs(i).TensorIndex() == index:
                    return _text(signature.Inputs(i).Name())
        return self.tensor(index).name

    def _count(self, length: int, most: int) -> int:
        """A length that the file claims: each element takes four bytes of it at least."""
        if length > min(most, self._limit // 4):
            raise ModelError(f"damaged: it claims {length} parts; convert the model again")
        return length

    def _indices(self, values: Any) -> tuple[int, ...]:
        found = tuple(int(v) for v in np.atleast_1d(values)[:MAX_TENSORS])
        if not found or any(not 0 <= i < self._tensors for i in found):
            raise ModelError("damaged: it names tensors that it does not have")
        return found

    def _tensor(self, index: int) -> Stored:
        table = self._graph.Tensors(index)
        name = _text(table.Name())
        kind = _TYPES.get(table.Type(), str(table.Type()))
        if table.ShapeLength() > MAX_RANK:
            raise refuse(name, f"has {table.ShapeLength()} axes", f"at most {MAX_RANK} are read")
        shape = tuple(int(n) for n in table.ShapeAsNumpy()) if table.ShapeLength() else ()
        if any(n < 0 for n in shape) or math.prod(shape) > MAX_ELEMENTS:
            raise refuse(name, f"shape {shape}", f"at most {MAX_ELEMENTS} elements fit")
        quantization = table.Quantization()
        scales, zeros = np.zeros(0, np.float32), np.zeros(0, np.int64)
        if quantization is not None and quantization.ScaleLength():
            scales = quantization.ScaleAsNumpy()
            zeros = quantization.ZeroPointAsNumpy()
            zeros = np.zeros(len(scales), np.int64) if isinstance(zeros, int) else zeros
            if len(zeros) != len(scales) or not np.all(np.isfinite(scales) & (scales > 0)):
                raise refuse(name, "its scales are damaged", "convert the model again")
        axis = quantization.QuantizedDimension() if quantization is not None else 0
        data = self._data(name, kind, shape, table.Buffer())
        return Stored(name, shape, kind, data, scales, zeros, axis)

    def _data(self, name: str, kind: str, shape: Shape, index: int) -> np.ndarray | None:
        if not 0 <= index < self._buffers:
            raise refuse(name, f"buffer {index} is not in the file", "convert the model again")
        buffer = self._model.Buffers(index)
        if buffer.Offset() > 1:
            raise refuse(name, "its data lie outside the flatbuffer", "the model is too large")
        if not buffer.DataLength():
            return None
        if kind not in _DTYPES:
            raise refuse(name, f"is {kind}", "convert to float32 or full-integer int8")
        raw, dtype = buffer.DataAsNumpy(), _DTYPES[kind]
        if raw.size != math.prod(shape) * dtype.itemsize:
            raise refuse(name, f"{raw.size} bytes for shape {shape}", "convert the model again")
        # Constants may share bytes: this bounds what the graph makes of them, not the file.
        self._constants += math.prod(shape)
        if self._constants > MAX_ELEMENTS:
            raise refuse(name, "too many constants", f"at most {MAX_ELEMENTS} elements fit")
        return raw.view(dtype).reshape(shape)

    def _operator(self, number: int) -> Operator:
        table = self._graph.Operators(number)
        if not 0 <= table.OpcodeIndex() < self._codes:
            raise ModelError(f"damaged: operator {number} has no code")
        code = self._model.OperatorCodes(table.OpcodeIndex())
        builtin = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())  # the older field is a byte
        kind = _OPERATORS.get(builtin, f"operator code {builtin}")
        if kind == "CUSTOM":
            kind = f"custom operator '{_text(code.CustomCode())}'"
        inputs = np.atleast_1d(table.InputsAsNumpy())[:MAX_TENSORS] if table.InputsLength() else ()
        inputs = tuple(int(i) for i in inputs)
        if any(not -1 <= i < self._tensors for i in inputs):
            raise ModelError("damaged: it names tensors that it does not have")
        outputs = self._indices(table.OutputsAsNumpy())
        return Operator(kind, f"{kind.lower()}_{number}", inputs, outputs, table)


def _text(name: bytes | None) -> str:
    return printable((name or b"").decode("utf-8", "replace")[:MAX_NAME])


class Reader(ABC):
    """Walks through the operators in order; what they mean stands in the subclasses.

    `values` has for every tensor so far a constant array, or what the subclass makes of a result,
    which has a `shape` with the batch axis. Shapes are followed here, for a batch of one: those in
    the file are wrong behind a dynamic Reshape.
    """

    operators: dict[str, Callable]
    """kind of an operator -> method that applies it"""

    def __init__(self, file: File):
        self.file = file
        self.values: dict[int, Any] = {}

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
        index = operator.inputs[position] if position < len(operator.inputs) else -1
        if index < 0:
            raise operator.refusal("lacks an input", "convert the model again")
        if index not in self.values:
            data = self.file.tensor(index).data
            if data is None:
                raise operator.refusal("reads what no operator before it makes", "convert it again")
            self.values[index] = data
        return self.values[index]

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
        (index, *others) = operator.outputs
        if index in self.values or self.file.tensor(index).data is not None:
            raise operator.refusal("writes a tensor that is written already", "convert it again")
        if operator.kind == "SHAPE":
            self.values[index] = np.array(self.value(operator, 0).shape, np.int32)
        elif operator.kind in FOLDED and all(
            isinstance(self.value(operator, p), np.ndarray) for p in range(len(operator.inputs))
        ):
            self.values[index] = self._folded(operator)
        elif operator.kind in self.operators and not others:
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
        if operator.kind in RECURRENT:
            reason = "is recurrent: in a .tflite file its state is lost between samples"
            return operator.refusal(reason, "compile the Keras file, which keeps it")
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
RECURRENT = (
    "BIDIRECTIONAL_SEQUENCE_LSTM",
    "BIDIRECTIONAL_SEQUENCE_RNN",
    "LSTM",
    "RNN",
    "SVDF",
    "UNIDIRECTIONAL_SEQUENCE_LSTM",
    "UNIDIRECTIONAL_SEQUENCE_RNN",
    "WHILE",
)


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
    """Weights that are stored as float16."""
    if x.dtype != np.float16:
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
