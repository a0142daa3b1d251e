"""The float32 tensors of a `.tflite` file: inputs, results, constants of any kind, the output."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nn4mc_codegen.graph.check import refuse
from nn4mc_codegen.graph.ir import Graph, Node, Op, Shape, Tensor
from nn4mc_codegen.importers.tflite_file import Operator, Stored
from nn4mc_codegen.importers.tflite_reader import Reader, without_batch
from nn4mc_codegen.ops.reshape import Reshape


@dataclass(frozen=True, eq=False)
class Value:
    tensor: Tensor
    shape: Shape
    """with the batch axis"""


class FloatTensors(Reader):
    """What operators on float32 share; they themselves stand in a subclass."""

    def constant_of(self, stored: Stored) -> np.ndarray:
        return dequantized(stored) if stored.scales.size else super().constant_of(stored)

    def input(self, index: int) -> Tensor:
        shape = self.input_shape(index)
        stored = self.file.tensor(index)
        name = self.file.input_name(index)
        if stored.type != "FLOAT32":
            raise refuse(name, f"is {stored.type}", "convert with float32 inputs")
        value = Value(Tensor(name, without_batch(shape)), shape)
        self.values[index] = value
        return value.tensor

    def finish(self, inputs: list[Tensor], output: Value) -> Graph:
        return Graph(tuple(inputs), output.tensor, tuple(self.nodes))

    def node(self, operator: Operator, op: Op, *inputs: Value, part: str = "") -> Value:
        """Apply an operator; the batch axis goes in front of what comes out."""
        shape = op.output_shape([value.tensor.shape for value in inputs])
        output = Tensor(operator.name + part, shape)
        self.nodes.append(Node(output.name, op, tuple(v.tensor for v in inputs), output))
        return Value(output, (1, *shape))

    def shaped(self, operator: Operator, value: Value, shape: Shape, part: str = "") -> Value:
        """The same elements in a shape with batch axis."""
        if value.tensor.shape == without_batch(shape):
            return Value(value.tensor, shape)
        value = self.node(operator, Reshape(without_batch(shape)), value, part=part)
        return Value(value.tensor, shape)

    def floats(self, operator: Operator, position: int) -> np.ndarray:
        values = self.constant(operator, position)
        if values.dtype != np.float32:
            advice = "convert with a representative dataset, or without optimizations"
            raise operator.refusal(f"has {values.dtype} weights in float32 arithmetic", advice)
        return values


def dequantized(stored: Stored) -> np.ndarray:
    """scale·(q - zero) of a quantised constant in float32, rounded once, as DEQUANTIZE has it.

    Where float32 arithmetic reads int8 weights, TensorFlow Lite's own kernels round what they are
    multiplied with to 8 bits too, anew at each call; the C does not: it multiplies floats.
    """
    assert stored.data is not None
    shape = [1] * stored.data.ndim
    if stored.scales.size > 1:
        if not 0 <= stored.axis < len(shape) or stored.scales.size != stored.shape[stored.axis]:
            reason = f"has {stored.scales.size} scales for shape {stored.shape}"
            raise refuse(stored.name, reason, "convert the model again")
        shape[stored.axis] = -1
    steps = stored.data - stored.zeros.reshape(shape)
    return steps.astype(np.float32) * stored.scales.reshape(shape)
