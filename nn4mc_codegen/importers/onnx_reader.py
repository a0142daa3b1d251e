"""The walk through the nodes of an ONNX file, and what its operators share.

A tensor of the graph has the shape that ONNX gives it, with whatever stands for the batch: an axis
of extent 1 costs nothing. What is known before any input is, is folded: an operator on constants
is evaluated by its own meaning.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from nn4mc_codegen.graph.check import MAX_ELEMENTS, ModelError, printable, refuse
from nn4mc_codegen.graph.ir import Graph, Node, Op, Rewire, Shape, Tensor
from nn4mc_codegen.importers.onnx_file import OnnxFile, OnnxNode
from nn4mc_codegen.ops.concatenate import Concatenate
from nn4mc_codegen.ops.constant import Constant
from nn4mc_codegen.ops.reshape import Reshape
from nn4mc_codegen.ops.transpose import ChannelsFirst, ChannelsLast

Value = np.ndarray | Tensor
"""A constant, in its own type, or what a node of the graph makes."""
EXPORT_ADVICE = "export the model with constants in its place"


class Reader:
    """`extents` are those of the open axes by their symbol; `carries` says whether recurrent nodes
    carry their state from call to call (see importers/onnx_recurrent.py)."""

    def __init__(
        self,
        file: OnnxFile,
        operators: Mapping[str, Callable],
        extents: Mapping[str, int],
        carries: bool,
    ):
        self.file = file
        self.operators = operators
        self.extents = extents
        self.carries = carries
        self.values: dict[str, Value | ModelError] = {}
        """what each name stands for; an error is raised where anything asks for it"""
        self.nodes: list[Node] = []
        self.steps: list[int | None] = []
        """of each recurrent node how many steps it takes; None where it cannot carry its state"""
        self.lengths: set[int] = set()
        self.batches: set[int] = set()
        """all numbers of steps that recurrent nodes take, and of sequences side by side"""
        self._makers: dict[Tensor, Op] = {}
        self._last: dict[Tensor, Tensor] = {}
        """tensors that have a twin with its channels last"""
        self._reshaped: dict[Tensor, Tensor] = {}
        """tensors that are others in another shape"""
        self._shuffled: dict[Tensor, tuple[Tensor, np.ndarray]] = {}
        """flat tensors by the same elements in the order of the twin, and that order"""

    # ---------------------------------------------------------------- the walk

    def graph(self) -> tuple[Graph, tuple[Tensor, ...]]:
        """The graph, and its outputs as the file has them: of several the graph's one output is all
        of them, flat, one after the other. Raises `ModelError`."""
        inputs = []
        for given in self.file.inputs:
            shape = tuple(
                self.extents.get(e, 1) if isinstance(e, str) else e for e in given.extents
            )
            inputs.append(Tensor(printable(given.name)[:80], shape))
            self.values[given.name] = inputs[-1]
        for node in self.file.nodes:
            self._apply(node)
        found = [self._output(name) for name in self.file.outputs]
        if not found:
            raise ModelError("the model has no output; export it again")
        output = found[0]
        if len(found) > 1:
            flat = [self._node("outputs", Reshape((t.size,)), [t]) for t in found]
            output = self._node("outputs", Concatenate(0), flat)
        return Graph(tuple(inputs), output, self._needed(output)), tuple(found)

    def _output(self, name: str) -> Tensor:
        if name not in self.values:
            raise refuse(name[:80], "is an output that no node makes", "export it again")
        value = _not_refused(self.values[name])
        if isinstance(value, np.ndarray):
            raise refuse(name[:80], "is an output that no input has a say in", "leave it out")
        return value

    def _needed(self, output: Tensor) -> tuple[Node, ...]:
        needed, nodes = {output}, []
        for node in reversed(self.nodes):
            if node.output in needed:
                needed.update(node.inputs)
                nodes.append(node)
        return tuple(reversed(nodes))

    def _apply(self, node: OnnxNode) -> None:
        if node.kind not in self.operators:
            known = ", ".join(sorted(self.operators))
            raise node.refusal("is not supported", f"use only {known}")
        try:
            made = self.operators[node.kind](self, node)
        except ModelError:
            raise
        except ValueError as error:
            raise node.refusal(" ".join(str(error).split()), "export the model again") from None
        made = made if isinstance(made, tuple) else (made,)
        if any(node.outputs[len(made) :]):
            reason = f"has more than the {len(made)} output{'s' * (len(made) > 1)} it has here"
            raise node.refusal(reason, "leave the others out")
        for name, value in zip(node.outputs, made, strict=False):
            if name and name in self.values:
                raise node.refusal("makes a tensor that is made already", "export it again")
            self.values[name] = value

    # ---------------------------------------------------------------- inputs of a node

    def value(self, node: OnnxNode, position: int = 0) -> Value:
        if not node.has(position):
            raise node.refusal(f"lacks its input {position}", "export the model again")
        name = node.inputs[position]
        if name not in self.values:
            stored = self.file.constant(name)
            if stored is None:
                raise node.refusal("reads what no node before it makes", "export it again")
            self.values[name] = stored
        return _not_refused(self.values[name])

    def constant(self, node: OnnxNode, position: int, what: str) -> np.ndarray:
        """An input that must be constant; `what` it is stands in the message."""
        value = self.value(node, position)
        if not isinstance(value, np.ndarray):
            raise node.refusal(f"has {what} that are not constant", EXPORT_ADVICE)
        return value

    def floats(self, node: OnnxNode, position: int, what: str) -> np.ndarray:
        values = self.constant(node, position, what)
        if values.dtype != np.float32:
            raise node.refusal(f"has {what} of {values.dtype}", "export the model in float32")
        return values

    def whole(self, node: OnnxNode, position: int, what: str) -> list[int]:
        """Whole numbers, at most as many as a tensor can have axes."""
        values = self.constant(node, position, what)
        if values.dtype.kind not in "iu" or values.size > 16:
            raise node.refusal(f"has {values.size} {what} of {values.dtype}", EXPORT_ADVICE)
        return [int(n) for n in values.ravel()]

    def whole_or_attribute(self, node: OnnxNode, position: int, name: str) -> list[int] | None:
        """What newer opsets give as an input and older ones as an attribute; None if neither."""
        if node.has(position):
            return self.whole(node, position, name)
        return node.integers(name)

    # ---------------------------------------------------------------- results

    def apply(self, node: OnnxNode, op: Op, *values: Value, part: str = "") -> Value:
        """What the operator makes of the values: an array if they all are."""
        shape = op.output_shape([v.shape for v in values])
        if math.prod(shape) > MAX_ELEMENTS:
            raise node.refusal(f"gives shape {shape}", f"at most {MAX_ELEMENTS} elements fit")
        if not all(isinstance(v, np.ndarray) for v in values):
            tensors = [self.tensor(node, v) for v in values]
            return self._node(node.name + part, op, tensors)
        made = np.asarray(op.evaluate(*values))  # of one number NumPy makes no array
        return made if isinstance(op, Rewire) else made.astype(np.float32)

    def tensor(self, node: OnnxNode, value: Value) -> Tensor:
        if isinstance(value, Tensor):
            return value
        if value.dtype != np.float32:
            raise node.refusal(f"computes with {value.dtype}", "export the model in float32")
        return self._node(f"{node.name}_constant", Constant(value), [])

    def _node(self, name: str, op: Op, inputs: Sequence[Tensor]) -> Tensor:
        output = Tensor(name, op.output_shape([t.shape for t in inputs]))
        self.nodes.append(Node(name, op, tuple(inputs), output))
        self._makers[output] = op
        return output

    def shaped(self, node: OnnxNode, value: Value, shape: Shape, part: str = "") -> Value:
        """The same elements in another shape; of a tensor that has been given one already, those of
        the tensor before that."""
        if isinstance(value, Tensor):
            value = self._reshaped.get(value, value)
        if value.shape == tuple(shape):
            return value
        if math.prod(value.shape) != math.prod(shape):
            raise node.refusal(f"gives shape {value.shape} the shape {shape}", "export it again")
        made = self.apply(node, Reshape(tuple(shape)), value, part=part)
        if isinstance(value, Tensor):
            self._reshaped[made] = value
        if (
            isinstance(value, Tensor)
            and value in self._last
            and math.prod(shape) == max(shape, default=0)
        ):
            self._shuffled[made] = self._flat_twin(node, value)
        return made

    # ---------------------------------------------------------------- channels

    def channels_last(self, node: OnnxNode, value: Tensor) -> Tensor:
        """One sample (1, channels, …) as (…, channels)."""
        if value not in self._last:
            self._last[value] = self._node(f"{node.name}_last", ChannelsLast(), [value])
        return self._last[value]

    def channels_first(self, node: OnnxNode, last: Tensor) -> Tensor:
        """The way back. Whoever asks for the channels last of it gets what it was made from."""
        made = self._node(f"{node.name}_first", ChannelsFirst(), [last])
        self._last[made] = last
        return made

    def each_channel_last(self, node: OnnxNode, op: Op, *values: Tensor) -> Tensor | None:
        """An operator that treats every element alike, on the twins if all have one; else None."""
        if not all(isinstance(v, Tensor) and v in self._last for v in values):
            return None
        if len({v.shape for v in values}) > 1:
            return None
        made = self._node(node.name, op, [self._last[v] for v in values])
        return self.channels_first(node, made)

    def _flat_twin(self, node: OnnxNode, value: Tensor) -> tuple[Tensor, np.ndarray]:
        """The twin, flat, and of each of its elements the number in `value`, flat."""
        numbers = ChannelsLast().evaluate(np.arange(value.size).reshape(value.shape))
        flat = self._node(f"{node.name}_flat", Reshape((value.size,)), [self._last[value]])
        return flat, numbers.ravel()

    def in_any_order(self, value: Value) -> tuple[Value, np.ndarray | None]:
        """For a layer that may read its inputs in any order: those of a convolution as they lie in
        memory, and which of the file's elements each is; else the value itself."""
        return (
            self._shuffled.get(value, (value, None)) if isinstance(value, Tensor) else (value, None)
        )

    def twin(self, value: Value) -> Tensor | None:
        """The same tensor with its channels last, where a convolution or the like has made it."""
        return self._last.get(value) if isinstance(value, Tensor) else None

    def made_by(self, value: Tensor) -> Op | None:
        """The operator that makes a tensor; of an input of the network None."""
        return self._makers.get(value)


def _not_refused(value: Value | ModelError) -> Value:
    if isinstance(value, ModelError):
        raise value
    return value
