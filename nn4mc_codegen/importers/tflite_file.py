"""The flatbuffer of a `.tflite` file: its tensors and operators, every index and length checked.

It is read through the schema's own classes (package `tflite`). They stay inside the file whatever
it says; the lengths that a file claims are checked here before anything is counted by them.

A quantised uint8 is an int8 that is 128 higher, and so is its zero point: q - zero, which is all
that counts, is the same. Such tensors are shown as int8 here, and nothing after this knows uint8.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tflite

from nn4mc_codegen.graph.check import MAX_ELEMENTS, ModelError, printable, refuse
from nn4mc_codegen.graph.ir import Shape

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
    "UINT8": np.dtype("u1"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
}


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
    unsigned: bool = False
    """whether the file has it as uint8, 128 higher"""
    variable: bool = False
    """whether the interpreter keeps it from one call to the next, zero at first"""


@dataclass(frozen=True, eq=False)
class Operator:
    kind: str
    name: str
    inputs: tuple[int, ...]
    """tensors; -1 is one that is left out"""
    outputs: tuple[int, ...]
    _table: Any
    intermediates: tuple[int, ...] = ()
    """tensors that are none but by their scales; -1 is one that is left out"""
    part: int = 0
    """which of several outputs is meant, where they are made one by one"""

    def has(self, position: int) -> bool:
        """Whether there is an input at a position."""
        return position < len(self.inputs) and self.inputs[position] >= 0

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
    def types(self) -> set[str]:
        """Of the inputs and of all that operators make."""
        made = (i for operator in self.operators for i in operator.outputs)
        return {self.tensor(i).type for i in (*self.inputs, *made)}

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

    @property
    def read(self) -> set[int]:
        """Tensors that operators read or the model gives."""
        return {i for operator in self.operators for i in operator.inputs} | set(self.outputs)

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
        unsigned = kind == "UINT8" and scales.size > 0
        if unsigned:
            kind, zeros = "INT8", zeros - 128
            data = (data ^ 0x80).view(np.int8) if data is not None else None
        beyond = zeros[(zeros < -128) | (zeros > 127)]
        if kind == "INT8" and beyond.size:
            raise refuse(name, f"has zero point {beyond[0]}", "convert the model again")
        variable = bool(table.IsVariable())
        return Stored(name, shape, kind, data, scales, zeros, axis, unsigned, variable)

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
        inputs = self._optional(table.InputsLength(), table.InputsAsNumpy)
        between = self._optional(table.IntermediatesLength(), table.IntermediatesAsNumpy)
        outputs = self._indices(table.OutputsAsNumpy())
        return Operator(kind, f"{kind.lower()}_{number}", inputs, outputs, table, between)

    def _optional(self, length: int, values: Callable) -> tuple[int, ...]:
        """Tensors of which any may be left out."""
        found = tuple(int(i) for i in np.atleast_1d(values())[:MAX_TENSORS]) if length else ()
        if any(not -1 <= i < self._tensors for i in found):
            raise ModelError("damaged: it names tensors that it does not have")
        return found


def _text(name: bytes | None) -> str:
    return printable((name or b"").decode("utf-8", "replace")[:MAX_NAME])
