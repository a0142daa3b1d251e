"""Keras models, of Keras 2 and 3, to `ir.Graph`: layers become operators, one after the other.

A layer becomes the operator that `ops.KERAS_LAYERS` has for its class; an operator that hands on
what it gets is left out. A network with a recurrent layer is read as what it does at one time step
where it can be: tensors that have a time axis lose it (see `keras_sequences`). Of several outputs
the graph's one output is all of them, flat, one after the other.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from nn4mc_codegen.graph.check import MAX_ELEMENTS, ModelError, printable, refuse
from nn4mc_codegen.graph.ir import Graph, Node, Op, Tensor
from nn4mc_codegen.importers.keras_file import GivenArrays, KerasFile, Weights, opened
from nn4mc_codegen.importers.keras_network import Call, Key, Network, read_network
from nn4mc_codegen.importers.keras_sequences import MAX_STEPS, NeedsSequence, Sequences, Whole
from nn4mc_codegen.importers.keras_unrolled import require_step, unrolled
from nn4mc_codegen.ops.activation import LINEAR
from nn4mc_codegen.ops.batch_normalization import folded
from nn4mc_codegen.ops.concatenate import Concatenate
from nn4mc_codegen.ops.reshape import Reshape
from nn4mc_codegen.ops.softmax import Softmax

T = TypeVar("T")
# All the ways in which json, h5py, zipfile, zlib and the reader below meet nonsense.
DAMAGE = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)


@dataclass(frozen=True)
class KerasLayer:
    """What an operator's `from_keras` sees of a layer."""

    name: str
    class_name: str
    config: dict[str, Any]
    keras_major: int
    _stored: Weights = field(repr=False)

    def weights(self, names: Sequence[str]) -> list[np.ndarray]:
        """The layer's arrays, float32, which must be as many as `names`."""
        return self._stored.arrays(self.name, tuple(names))

    def inner(self, layer: dict, arrays: list[np.ndarray]) -> KerasLayer:
        """A layer that this one wraps, with its part of the arrays."""
        stored = GivenArrays(arrays)
        return KerasLayer(self.name, layer["class_name"], layer["config"], self.keras_major, stored)


@dataclass(frozen=True)
class Source:
    """What a file's model is made of, before it becomes a graph: enough to build it in Keras."""

    network: Network
    keras_major: int
    arrays: dict[str, list[np.ndarray]]
    """of each layer that has any, in Keras' order"""
    sizes: tuple[int, ...]
    """of each output, of a sequence that of one step"""


def read(content: bytes) -> Graph:
    """Graph of a Keras file's bytes; raises `ModelError`."""
    return _reading(content, lambda file: folded(_read(file).graph))


def read_source(content: bytes) -> Source:
    """What `read` makes a graph of; raises `ModelError` wherever `read` does."""

    def source(file: KerasFile) -> Source:
        reader = _read(file)
        return Source(reader.network, file.keras_major, file.weights.taken, reader.sizes)

    return _reading(content, source)


def _reading(content: bytes, work: Callable[[KerasFile], T]) -> T:
    try:
        with opened(content) as file:
            return work(file)
    except ModelError:
        raise
    except RecursionError:
        raise ModelError("config is nested too deeply; not a Keras model") from None
    except DAMAGE as error:
        raise ModelError(
            f"damaged or not a Keras model ({_one_line(error)}); save it again"
        ) from None


def _read(file: KerasFile) -> _Reader:
    network = read_network(file.config)
    try:
        return _Reader(file, network, Sequences(network.calls))
    except NeedsSequence as refused:
        shapes = network.inputs.values()
        if any(extent is None for shape in shapes for extent in list(shape or ())[1:]):
            raise  # how long a sequence is, the file does not say
        return _Reader(file, network, Whole(), refused)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


class _Reader:
    def __init__(
        self,
        file: KerasFile,
        network: Network,
        sequences: Sequences | Whole,
        why_whole: NeedsSequence | None = None,
    ):
        self.network = network
        self._file = file
        self._sequences = sequences
        self._why_whole = why_whole
        self._ops: dict[str, tuple[Op, ...]] = {}
        self._nodes: list[Node] = []
        made = {key: sequences.input_tensor(key, shape) for key, shape in network.inputs.items()}
        inputs = tuple(made.values())
        for call in network.calls:
            tensors = [_found(made, key, call.name) for key in call.sources]
            results = self._apply(sequences.at_one_step(call, tensors), tensors)
            name, number, _ = call.result
            made |= {(name, number, part): tensor for part, tensor in enumerate(results)}
        outputs = [_found(made, key, "output") for key in network.outputs]
        if not outputs:
            raise ModelError("the model has no output; save it again")
        self.sizes = tuple(tensor.size for tensor in outputs)
        output = outputs[0]
        if len(outputs) > 1:
            flat = [self._joined("outputs", Reshape((t.size,)), [t]) for t in outputs]
            output = self._joined("outputs", Concatenate(0), flat)
        self.graph = Graph(inputs, output, self._needed(output))

    def _needed(self, output: Tensor) -> tuple[Node, ...]:
        """Without what no output reads, such as states that nobody takes."""
        needed, nodes = {output}, []
        for node in reversed(self._nodes):
            if node.output in needed:
                needed.update(node.inputs)
                nodes.append(node)
        return tuple(reversed(nodes))

    def _apply(self, call: Call, tensors: list[Tensor]) -> list[Tensor]:
        """What a call of a layer makes."""
        if call.name not in self._ops:  # a layer called several times keeps its weights once
            self._ops[call.name] = self._read_ops(call)
        name, number, _ = call.result
        node_name = printable(f"{name}_call_{number}" if number else name)
        ops = self._ops[call.name]
        if call.op.carries_state and not self._sequences.carries:
            return self._along(call, node_name, ops, tensors)
        for part, op in enumerate(ops):
            last = part == len(ops) - 1
            tensors = [self._node(call, op, node_name if last else f"{node_name}_part", tensors)]
        return tensors[:1]

    def _along(
        self, call: Call, name: str, ops: tuple[Op, ...], tensors: list[Tensor]
    ) -> list[Tensor]:
        """A recurrent layer along a whole sequence."""
        steps = tensors[0].shape[0] if tensors[0].shape else 0
        if steps > MAX_STEPS:
            reason = f"goes along {steps} steps at once, since {self._why_whole}"
            raise refuse(call.name, reason, f"at most {MAX_STEPS} are unrolled")

        def node(op: Op, inputs: list[Tensor], part: str = "") -> Tensor:
            return self._node(call, op, name + part, inputs)

        return unrolled(call, ops, tensors, node)

    def _read_ops(self, call: Call) -> tuple[Op, ...]:
        """What a layer does, one operator after the other."""
        config, rest = call.config, ()
        if _is_softmax(config.get("activation")) and not call.op.carries_state:
            config, rest = config | {"activation": "linear"}, (Softmax(),)
        if call.op.carries_state and self._sequences.carries:
            require_step(call)
        layer = KerasLayer(
            call.name, call.class_name, config, self._file.keras_major, self._file.weights
        )
        try:
            ops = call.op.from_keras(layer)
        except ModelError:
            raise
        except DAMAGE as error:
            reason = f"its part of the file is damaged ({_one_line(error)})"
            raise refuse(call.name, reason, "save the model again") from None
        ops = (*(ops if isinstance(ops, tuple) else (ops,)), *rest)
        return tuple(op for op in ops if op != LINEAR)

    def _joined(self, name: str, op: Op, tensors: list[Tensor]) -> Tensor:
        output = Tensor(name, op.output_shape([t.shape for t in tensors]))
        self._nodes.append(Node(name, op, tuple(tensors), output))
        return output

    def _node(self, call: Call, op: Op, name: str, tensors: list[Tensor]) -> Tensor:
        try:
            _require_size([t.shape for t in tensors])
            shape = op.output_shape([t.shape for t in tensors])
            _require_size([shape])
        except ValueError as error:
            reason = f"layer '{call.name}' ({call.class_name}) {_one_line(error)}"
            raise ModelError(reason) from None
        return self._joined(name, op, tensors)


def _found(made: dict[Key, Tensor], key: Key, name: str) -> Tensor:
    if key not in made:
        raise refuse(name, f"reads '{key[0]}', no input", "save it again")
    return made[key]


def _require_size(shapes: list[tuple[int, ...]]) -> None:
    if sum(math.prod(shape) for shape in shapes) > MAX_ELEMENTS:
        raise ValueError(f"has more than {MAX_ELEMENTS} elements: no microcontroller holds them")


def _is_softmax(activation: Any) -> bool:
    """Keras 3 writes a name, Keras 2 may write {"class_name": "function", "config": name}."""
    if isinstance(activation, dict):
        activation = activation.get("config")
    return activation == "softmax"
