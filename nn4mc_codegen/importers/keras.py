"""Keras models, of Keras 2 and 3, to `ir.Graph`: layers become operators, one after the other.

A layer becomes the operator that `ops.KERAS_LAYERS` has for its class; layers that do nothing at
inference are dropped. A network with a recurrent layer is read as what it does at one time step:
tensors that have a time axis lose it (see `_Sequences`).
"""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nn4mc_codegen.graph.check import MAX_ELEMENTS, ModelError, printable, refuse
from nn4mc_codegen.graph.ir import Graph, Node, Op, Tensor
from nn4mc_codegen.importers.keras_file import (
    KerasFile,
    Weights,
    layer_name,
    layers_of,
    opened,
)
from nn4mc_codegen.ops import KERAS_LAYERS
from nn4mc_codegen.ops.activation import LINEAR
from nn4mc_codegen.ops.batch_normalization import folded
from nn4mc_codegen.ops.softmax import Softmax

DROPPED = (
    "ActivityRegularization",
    "AlphaDropout",
    "Dropout",
    "GaussianDropout",
    "GaussianNoise",
    "SpatialDropout1D",
    "SpatialDropout2D",
)
RECURRENT = ("GRU", "LSTM", "SimpleRNN")
SEVERAL_INPUTS = ("Add", "Concatenate", "Multiply")
# What each time step goes through by itself.
STEPWISE = (
    *DROPPED,
    *SEVERAL_INPUTS,
    "Activation",
    "BatchNormalization",
    "Dense",
    "ELU",
    "LeakyReLU",
    "ReLU",
    "Softmax",
    "TimeDistributed",
)
WRAPPED = (*DROPPED, "Activation", "BatchNormalization", "Dense", "ELU", "LeakyReLU", "ReLU")
# Why, and what could be done, where a list of what is supported says too little.
REFUSED = {
    "Bidirectional": ("it needs the whole sequence before its first step", "use one direction"),
    "CuDNNGRU": ("its arrays are laid out for the GPU", "save the model with GRU"),
    "CuDNNLSTM": ("its arrays are laid out for the GPU", "save the model with LSTM"),
    "Functional": ("a model inside the model", "call its layers in the outer model"),
    "Lambda": ("its Python code is not run", "build it from layers"),
    "Masking": ("steps cannot be left out while running", "feed complete sequences"),
    "Model": ("a model inside the model", "call its layers in the outer model"),
    "RNN": ("a cell of one's own", "use GRU, LSTM or SimpleRNN"),
    "Sequential": ("a model inside the model", "add its layers to the outer model"),
    "TFOpLambda": ("a TensorFlow function", "use a layer, as Add for +"),
}
# Where a class of a file comes from; one of another module only shares its name with Keras'.
MODULES = ("builtins", "keras", "keras_core", "tensorflow", "tf_keras")
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
MAX_LAYERS = 1 << 10

Key = tuple[str, int]  # a layer and the number of its call: what one tensor is called in a file


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


def read(content: bytes) -> Graph:
    """Graph of a Keras file's bytes; raises `ModelError`."""
    try:
        with opened(content) as file:
            return folded(_Reader(file).graph())
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


@dataclass(frozen=True)
class _Call:
    """One call of a layer: of a class, with a config, on tensors, making one."""

    name: str
    class_name: str
    config: dict[str, Any]
    sources: tuple[Key, ...]
    result: Key

    @property
    def is_recurrent(self) -> bool:
        return self.class_name in RECURRENT

    @property
    def returns_sequences(self) -> bool:
        return self.is_recurrent and bool(self.config.get("return_sequences"))


class _Reader:
    def __init__(self, file: KerasFile):
        self._file = file
        self._ops: dict[str, tuple[Op, ...]] = {}
        self._nodes: list[Node] = []

    def graph(self) -> Graph:
        config = self._file.config
        if len(layers_of(config)) > MAX_LAYERS:
            raise ModelError(f"more than {MAX_LAYERS} layers; not a model for a microcontroller")
        if config["class_name"] == "Sequential":
            return self._sequential(config["config"], layers_of(config))
        if config["class_name"] in ("Functional", "Model"):
            return self._functional(config["config"])
        raise ModelError(
            f"model class '{config['class_name']}' is not supported; "
            "build a Sequential or functional model"
        )

    def _sequential(self, config: Any, layers: list[dict]) -> Graph:
        if not layers:
            raise ModelError("the model has no layer; nothing to compile")
        shape = _declared_shape(layers[0])
        if shape is None and isinstance(config, dict):
            shape = config.get("build_input_shape")
        first = last = (layer_name(layers[0]), -1)
        calls = []
        for layer in layers:
            if layer["class_name"] != "InputLayer":
                result = (layer_name(layer), 0)
                calls.append(self._call(layer, 0, (last,)))
                last = result
        if layers[0]["class_name"] == "InputLayer":
            _require_float32(layer_name(layers[0]), layers[0]["config"])
        return self._connect({first: shape}, calls, (first,), last)

    def _functional(self, config: dict) -> Graph:
        shapes, calls = {}, []
        for layer in config["layers"]:
            name = layer_name(layer)
            if layer["class_name"] == "InputLayer":
                _require_float32(name, layer["config"])
                shapes[name, 0] = _declared_shape(layer)
            for number, node in enumerate(layer.get("inbound_nodes", [])):
                calls.append(self._call(layer, number, tuple(_sources(name, node))))
        if len(calls) > MAX_LAYERS:
            raise ModelError(f"more than {MAX_LAYERS} layers; not a model for a microcontroller")
        outputs = list(_triples(config["output_layers"]))
        if len(outputs) != 1:
            raise ModelError(f"the model has {len(outputs)} outputs; join them with Concatenate")
        inputs = tuple(_triples(config["input_layers"]))
        return self._connect(shapes, _in_order(shapes, calls), inputs, outputs[0])

    def _call(self, layer: dict, number: int, sources: tuple[Key, ...]) -> _Call:
        """A layer's call, of a class that can be compiled."""
        name, class_name, config = layer_name(layer), layer["class_name"], layer["config"]
        _require_known(name, layer, KERAS_LAYERS)
        _require_float32(name, config)
        if class_name == "TimeDistributed":
            inner = config["layer"]
            _require_known(name, inner, WRAPPED)
            _require_float32(name, inner["config"])
            class_name, config = inner["class_name"], _with_time(inner["config"])
        if len(sources) != 1 and class_name not in SEVERAL_INPUTS:
            raise refuse(
                name, f"{class_name} is called with {len(sources)} tensors", "call it with one"
            )
        return _Call(name, class_name, config, sources, (name, number))

    def _connect(
        self,
        shapes: dict[Key, Any],
        calls: list[_Call],
        inputs: tuple[Key, ...],
        output: Key,
    ) -> Graph:
        """Apply layers that stand in order; `shapes` are the inputs', with the batch axis."""
        sequences = _Sequences(calls)
        made: dict[Key, Tensor] = {}
        for key in inputs:
            made[key] = sequences.input_tensor(key, shapes[key])
        for call in calls:
            missing = [key for key in call.sources if key not in made]
            if missing:
                raise refuse(call.name, f"reads '{missing[0][0]}', no input", "save it again")
            sources = [made[key] for key in call.sources]
            made[call.result] = self._apply(sequences.at_one_step(call, sources), sources)
        return Graph(tuple(made[key] for key in inputs), made[output], tuple(self._nodes))

    def _apply(self, call: _Call, tensors: list[Tensor]) -> Tensor:
        if call.class_name in DROPPED:
            return tensors[0]
        if call.name not in self._ops:  # a layer called several times keeps its weights once
            self._ops[call.name] = self._read_ops(call)
        name, number = call.result
        node_name = printable(f"{name}_call_{number}" if number else name)
        ops = self._ops[call.name]
        for part, op in enumerate(ops):
            last = part == len(ops) - 1
            tensors = [self._node(call, op, node_name if last else f"{node_name}_part", tensors)]
        return tensors[0]

    def _read_ops(self, call: _Call) -> tuple[Op, ...]:
        """What a layer does, one operator after the other."""
        config, rest = call.config, ()
        if _is_softmax(config.get("activation")):
            config, rest = config | {"activation": "linear"}, (Softmax(),)
        layer = KerasLayer(
            call.name, call.class_name, config, self._file.keras_major, self._file.weights
        )
        try:
            ops = KERAS_LAYERS[call.class_name].from_keras(layer)
        except ModelError:
            raise
        except DAMAGE as error:
            reason = f"its part of the file is damaged ({_one_line(error)})"
            raise refuse(call.name, reason, "save the model again") from None
        ops = (*(ops if isinstance(ops, tuple) else (ops,)), *rest)
        return tuple(op for op in ops if op != LINEAR)

    def _node(self, call: _Call, op: Op, name: str, tensors: list[Tensor]) -> Tensor:
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


class _Sequences:
    """Which tensors have a time axis, and what layers mean at one time step.

    What a recurrent layer reads is a sequence, and so is what it returns with return_sequences;
    layers that treat each time step by itself read sequences where they make one, and make one
    where they read one. A sequence's tensor is one time step of it.
    """

    def __init__(self, calls: list[_Call]):
        self._keys: set[Key] = set()
        self._steps: dict[Key, int | None] = {}  # length of a sequence, None where it is open
        before = -1
        while len(self._keys) > before:  # grows until nothing new is found
            before = len(self._keys)
            for call in (*reversed(calls), *calls):
                stepwise = call.class_name in STEPWISE
                if call.is_recurrent or (stepwise and call.result in self._keys):
                    self._keys.update(call.sources)
                stepped = stepwise and not self._keys.isdisjoint(call.sources)
                if call.returns_sequences or stepped:
                    self._keys.add(call.result)

    def input_tensor(self, key: Key, shape: Any) -> Tensor:
        name = key[0]
        if shape is None:
            raise refuse(
                name, "the model's input shape is not in the file", "build it with an Input layer"
            )
        extents = list(shape)[1:]
        if key in self._keys:
            self._steps[key] = extents.pop(0) if len(extents) > 1 else 1
        if not all(type(extent) is int and extent > 0 for extent in extents):
            raise refuse(
                name, f"input shape {tuple(extents)} is not fixed", "give every axis a size"
            )
        if math.prod(extents) > MAX_ELEMENTS:
            raise refuse(
                name,
                f"input shape {tuple(extents)} is too large",
                f"at most {MAX_ELEMENTS} elements",
            )
        return Tensor(printable(name), tuple(extents))

    def at_one_step(self, call: _Call, tensors: list[Tensor]) -> _Call:
        """The call with its config as it is for tensors without the time axis."""
        reads = [key in self._keys for key in call.sources]
        if not any(reads):
            if call.result in self._keys:
                return self._first_of_one(call, tensors[0])
            return call
        steps = [self._steps.get(key) for key in call.sources if key in self._keys]
        if call.result in self._keys:
            self._steps[call.result] = steps[0]
        if call.is_recurrent:
            return call
        if call.class_name in STEPWISE:
            if not all(reads):
                raise refuse(
                    call.name, "joins a sequence and a single sample", "give both a time axis"
                )
            return _without_time(call, len(tensors[0].shape))
        if steps != [1]:
            raise _needs_several_steps(call)
        return call

    def _first_of_one(self, call: _Call, tensor: Tensor) -> _Call:
        """A Reshape that gives one sample a time axis of extent 1."""
        target = call.config.get("target_shape", [None])
        first, *rest = target
        if call.class_name == "Reshape" and rest:
            if first == 1 or (first == -1 and math.prod(rest) == tensor.size):
                self._steps[call.result] = 1
                return _Call(
                    call.name,
                    call.class_name,
                    call.config | {"target_shape": rest},
                    call.sources,
                    call.result,
                )
            raise refuse(
                call.name,
                "Reshape makes several time steps of one sample",
                "give the model's input a time axis",
            )
        raise _needs_several_steps(call)


def _needs_several_steps(call: _Call) -> ModelError:
    return refuse(
        call.name,
        f"{call.class_name} needs several time steps at once, which a network that runs sample by "
        "sample does not have",
        "put it after a recurrent layer with return_sequences=False",
    )


def _without_time(call: _Call, axes: int) -> _Call:
    """The axis of Concatenate, Softmax and BatchNormalization, counted from the end."""
    axis = call.config.get("axis")
    if isinstance(axis, list) and len(axis) == 1:
        (axis,) = axis
    if type(axis) is not int:
        return call
    from_end = axis - (axes + 2) if axis >= 0 else axis
    if from_end < -axes:
        raise refuse(
            call.name, f"{call.class_name} along the time axis", "use an axis within one time step"
        )
    config = call.config | {"axis": from_end}
    return _Call(call.name, call.class_name, config, call.sources, call.result)


def _with_time(config: dict) -> dict:
    """Of a wrapped layer: axes that count from the front count one more in the wrapper."""
    axis = config.get("axis")
    if isinstance(axis, list) and len(axis) == 1:
        (axis,) = axis
    return config | {"axis": axis + 1} if type(axis) is int and axis > 0 else config


def _in_order(shapes: dict[Key, Any], calls: list[_Call]) -> list[_Call]:
    """Files need not be in order: each call after those that make what it reads."""
    ordered, made = [], set(shapes)
    while len(ordered) < len(calls):
        ready = [c for c in calls if c.result not in made and made.issuperset(c.sources)]
        if not ready:
            name = next(c.name for c in calls if c.result not in made)
            raise ModelError(f"layer '{name}': its inputs are made by no layer; save it again")
        ordered += ready
        made.update(c.result for c in ready)
    return ordered


def _require_known(name: str, layer: dict, known) -> None:
    class_name = layer["class_name"]
    if class_name in REFUSED:
        reason, advice = REFUSED[class_name]
        raise refuse(name, f"{class_name} is not supported: {reason}", advice)
    module = str(layer.get("module") or "keras")
    own = layer.get("registered_name") in (None, class_name) and module.split(".")[0] in MODULES
    # keras.ops functions share names with layers, but not their arguments.
    if ".ops." in module:
        own = own and class_name in ("Add", "Multiply")
    if not own or class_name not in (*known, *DROPPED, "InputLayer", "TimeDistributed"):
        supported = ", ".join(sorted((*KERAS_LAYERS, "Dropout", "GaussianNoise")))
        kind = class_name if own else f"{class_name} of {module}"
        raise refuse(name, f"{kind} is not supported", f"build the model from {supported}")


def _require_float32(name: str, config: dict) -> None:
    """Of a dtype, or of a dtype policy as Keras 2 and 3 write it, which may hold another one."""
    dtype = config.get("dtype")
    for _ in range(4):
        if isinstance(dtype, dict):
            inner = dtype.get("config") or {}
            dtype = inner.get("name") or inner.get("default_policy") or dtype.get("class_name")
    if isinstance(dtype, dict):
        dtype = "an unknown dtype policy"
    if dtype not in (None, "float32"):
        raise refuse(name, f"computes in {dtype}", "save the model with dtype float32")


def _require_size(shapes: list[tuple[int, ...]]) -> None:
    if sum(math.prod(shape) for shape in shapes) > MAX_ELEMENTS:
        raise ValueError(f"has more than {MAX_ELEMENTS} elements: no microcontroller holds them")


def _is_softmax(activation: Any) -> bool:
    """Keras 3 writes a name, Keras 2 may write {"class_name": "function", "config": name}."""
    if isinstance(activation, dict):
        activation = activation.get("config")
    return activation == "softmax"


def _declared_shape(layer: dict) -> Any:
    config = layer["config"]
    return config.get("batch_shape") or config.get("batch_input_shape")


def _triples(value: Any) -> Iterator[Key]:
    """(layer, call) of each [layer, call, tensor] in nested lists and dicts, in Keras' order."""
    if isinstance(value, dict):
        for key in sorted(value):
            yield from _triples(value[key])
    elif len(value) >= 3 and isinstance(value[0], str):
        if value[2] != 0:
            raise refuse(
                value[0], "a layer with several outputs is not supported", "use one output"
            )
        yield value[0], value[1]
    else:
        for item in value:
            yield from _triples(item)


def _sources(name: str, node: Any) -> Iterator[Key]:
    """(layer, call) of the inputs of one call of a layer, in order."""
    if isinstance(node, dict):  # Keras 3
        _require_plain(name, node.get("kwargs"))
        yield from _keras_tensors(name, node["args"])
    else:
        for item in node:
            if isinstance(item, list) and len(item) > 3:
                _require_plain(name, item[3])
        yield from _triples(node)


def _require_plain(name: str, arguments: Any) -> None:
    """Refuse arguments beside the tensors that say anything, unlike training=False, mask=None."""
    for key, value in (arguments or {}).items():
        if value:
            raise refuse(name, f"is called with {key}={value!r:.40}", "call it with tensors only")


def _keras_tensors(name: str, value: Any) -> Iterator[Key]:
    if isinstance(value, list):
        for item in value:
            yield from _keras_tensors(name, item)
    elif isinstance(value, dict) and value.get("class_name") == "__keras_tensor__":
        yield from _triples(value["config"]["keras_history"])
    else:
        raise refuse(
            name, "is called with something that is no tensor", "call layers with tensors only"
        )
