"""The int8 tensors of a `.tflite` file: inputs, results, what they stand for, and the output."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from nn4mc_codegen.graph.check import ModelError, refuse
from nn4mc_codegen.graph.ir import Shape
from nn4mc_codegen.importers.tflite_file import File, Operator, Stored
from nn4mc_codegen.importers.tflite_reader import Reader, without_batch
from nn4mc_codegen.int8.quantize import HIGH, LOW, QNode, QOp, QTensor, QuantGraph

FLOAT_ADVICE = (
    "convert with a representative dataset and supported_ops = [OpsSet.TFLITE_BUILTINS_INT8]"
)
# Real limits of the activations that only clip.
CLIPS = {
    "NONE": (-math.inf, math.inf),
    "RELU": (0.0, math.inf),
    "RELU6": (0.0, 6.0),
    "RELU_0_TO_1": (0.0, 1.0),
    "RELU_N1_TO_1": (-1.0, 1.0),
}


@dataclass(frozen=True, eq=False)
class Value:
    tensor: QTensor
    shape: Shape
    """with the batch axis"""


@dataclass(frozen=True, eq=False)
class Floating:
    """A function of an int8 tensor, in float32 and not stored: of each element, in turn."""

    source: Value
    functions: tuple[tuple[str, Callable[[np.ndarray], np.ndarray]], ...] = ()

    @property
    def shape(self) -> Shape:
        return self.source.shape

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        for _, function in self.functions:
            x = np.asarray(function(x.astype(np.float64)), np.float32)
        return x


@dataclass(frozen=True, eq=False)
class FloatInput:
    """An input of the model, until its QUANTIZE says what its int8 mean."""

    name: str
    shape: Shape


class Int8Tensors(Reader):
    """What operators on int8 share; they themselves stand in a subclass."""

    def __init__(self, file: File, carries: bool = False):
        super().__init__(file, carries)
        self.inputs: dict[FloatInput, QTensor] = {}
        """what the QUANTIZE of each float32 input says that its int8 mean"""

    def input(self, index: int) -> FloatInput | QTensor:
        shape, stored = self.input_shape(index), self.file.tensor(index)
        name = self.file.input_name(index)
        if stored.type == "FLOAT32":
            self.values[index] = FloatInput(name, shape)
            return self.values[index]
        self.values[index] = Value(self.tensor(stored, shape, name), shape)
        return self.values[index].tensor

    def finish(self, inputs: list[FloatInput | QTensor], output) -> QuantGraph:
        tensors = []
        for given in inputs:
            if isinstance(given, FloatInput) and given not in self.inputs:
                raise refuse(given.name, "this input is not used", "leave it out of the model")
            tensors.append(self.inputs.get(given, given))
        if isinstance(output, Floating) and not output.functions:
            output = output.source
        if not isinstance(output, Value):
            raise ModelError(f"the model ends in float32 arithmetic; {FLOAT_ADVICE}")
        return QuantGraph(tuple(tensors), output.tensor, tuple(self.nodes))

    def tensor(self, stored: Stored, shape: Shape, name: str) -> QTensor:
        if stored.type != "INT8" or stored.scales.size != 1:
            reason = f"is {stored.type} with {stored.scales.size} scales"
            raise refuse(name, reason, FLOAT_ADVICE)
        scale, zero = float(stored.scales[0]), int(stored.zeros[0])
        return QTensor(name, without_batch(shape), scale, zero)

    def output(self, operator: Operator, shape: Shape) -> QTensor:
        return self.tensor(self.file.tensor(operator.outputs[0]), shape, operator.name)

    def node(
        self, operator: Operator, op: QOp, output: QTensor, shape: Shape, *inputs: Value
    ) -> Value:
        self.nodes.append(QNode(output.name, op, tuple(v.tensor for v in inputs), output))
        return Value(output, shape)

    def int8(self, operator: Operator, position: int = 0) -> Value:
        value = self.result(operator, position)
        if not isinstance(value, Value):
            raise operator.refusal("computes in float32 in an int8 model", FLOAT_ADVICE)
        return value

    def clips(self, operator: Operator, kind: str, output: QTensor) -> tuple[int, int]:
        """The int8 limits of an activation that only clips."""
        if kind not in CLIPS:
            raise operator.refusal(f"has the fused activation {kind}", "use a layer of its own")
        low, high = (
            output.zero + np.trunc(v + np.copysign(0.5, v))
            for v in (np.float64(np.float32(c) / np.float32(output.scale)) for c in CLIPS[kind])
        )
        return int(max(low, LOW)), int(min(high, HIGH))

    def same_scale(self, operator: Operator, value: Value, shape: Shape) -> QTensor:
        output = self.output(operator, shape)
        if (output.scale, output.zero) != (value.tensor.scale, value.tensor.zero):
            raise operator.refusal("changes the scale", "convert the model again")
        return output
