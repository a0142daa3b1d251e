"""Keras models, of Keras 2 and 3, to `ir.Graph`: layers become operators, one after the other.

A layer becomes the operator that `ops.KERAS_LAYERS` has for its class; an operator that hands on
what it gets is left out. A network with a recurrent layer is read as what it does at one time step:
tensors that have a time axis lose it (see `Sequences`).
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
from nn4mc_codegen.importers.keras_file import KerasFile, Weights, opened
from nn4mc_codegen.importers.keras_network import Call, Network, read_network
from nn4mc_codegen.importers.keras_sequences import Sequences
from nn4mc_codegen.ops.activation import LINEAR
from nn4mc_codegen.ops.batch_normalization import folded
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


@dataclass(frozen=True)
class Source:
    """What a file's model is made of, before it becomes a graph: enough to build it in Keras."""

    network: Network
    keras_major: int
    arrays: dict[str, list[np.ndarray]]
    """of each layer that has any, in Keras' order"""


def read(content: bytes) -> Graph:
    """Graph of a Keras file's bytes; raises `ModelError`."""
    return _reading(content, lambda reader: folded(reader.graph()))


def read_source(content: bytes) -> Source:
    """What `read` makes a graph of; raises `ModelError` wherever `read` does."""

    def source(reader: _Reader) -> Source:
        reader.graph()
        file = reader.file
        return Source(reader.network, file.keras_major, file.weights.taken)

    return _reading(content, source)


def _reading(content: bytes, work: Callable[[_Reader], T]) -> T:
    try:
        with opened(content) as file:
            return work(_Reader(file))
    except ModelError:
        raise
    except RecursionError:
        raise ModelError("config is nested too deeply; not a Keras model") from None
    except DAMAGE as error:
        raise ModelError(
            f"damaged or not a Keras model ({_one_line(error)}); save it again"
        ) from None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


class _Reader:
    def __init__(self, file: KerasFile):
        self.file = file
        self.network = read_network(file.config)
        self._ops: dict[str, tuple[Op, ...]] = {}
        self._nodes: list[Node] = []

    def graph(self) -> Graph:
        network = self.network
        sequences = Sequences(network.calls)
        made = {key: sequences.input_tensor(key, shape) for key, shape in network.inputs.items()}
        inputs = tuple(made.values())
        for call in network.calls:
            missing = [key for key in call.sources if key not in made]
            if missing:
                raise refuse(call.name, f"reads '{missing[0][0]}', no input", "save it again")
            tensors = [made[key] for key in call.sources]
            made[call.result] = self._apply(sequences.at_one_step(call, tensors), tensors)
        return Graph(inputs, made[network.output], tuple(self._nodes))

    def _apply(self, call: Call, tensors: list[Tensor]) -> Tensor:
        if call.name not in self._ops:  # a layer called several times keeps its weights once
            self._ops[call.name] = self._read_ops(call)
        name, number = call.result
        node_name = printable(f"{name}_call_{number}" if number else name)
        ops = self._ops[call.name]
        for part, op in enumerate(ops):
            last = part == len(ops) - 1
            tensors = [self._node(call, op, node_name if last else f"{node_name}_part", tensors)]
        return tensors[0]

    def _read_ops(self, call: Call) -> tuple[Op, ...]:
        """What a layer does, one operator after the other."""
        config, rest = call.config, ()
        if _is_softmax(config.get("activation")):
            config, rest = config | {"activation": "linear"}, (Softmax(),)
        layer = KerasLayer(
            call.name, call.class_name, config, self.file.keras_major, self.file.weights
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

    def _node(self, call: Call, op: Op, name: str, tensors: list[Tensor]) -> Tensor:
        try:
            _require_size([t.shape for t in tensors])
            shape = op.output_shape([t.shape for t in tensors])
            _require_size([shape])
        except ValueError as error:
            reason = f"layer '{call.name}' ({call.class_name}) {_one_line(error)}"
            raise ModelError(reason) from None
        output = Tensor(name, shape)
        self._nodes.append(Node(name, op, tuple(tensors), output))
        return output


def _require_size(shapes: list[tuple[int, ...]]) -> None:
    if sum(math.prod(shape) for shape in shapes) > MAX_ELEMENTS:
        raise ValueError(f"has more than {MAX_ELEMENTS} elements: no microcontroller holds them")


def _is_softmax(activation: Any) -> bool:
    """Keras 3 writes a name, Keras 2 may write {"class_name": "function", "config": name}."""
    if isinstance(activation, dict):
        activation = activation.get("config")
    return activation == "softmax"
