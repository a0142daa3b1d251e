"""The config of a Keras model as a list of the calls of its layers, each one known and plain.

What a file calls a layer is a class name, a module, a config and what it is called with. Only what
`ops.KERAS_LAYERS` lists is taken, by its plain name; code, classes of one's own and models inside
the model are refused by name, with a way out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from nn4mc_codegen.graph.check import ModelError, refuse
from nn4mc_codegen.graph.ir import Op
from nn4mc_codegen.importers.keras_file import layer_name, layers_of
from nn4mc_codegen.ops import KERAS_LAYERS

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
MAX_LAYERS = 1 << 10

Key = tuple[str, int]
"""A layer's name and the number of its call: what one tensor is called in a file."""


@dataclass(frozen=True)
class Call:
    """One call of a layer: of a class, with a config, on tensors, making one."""

    name: str
    class_name: str
    config: dict[str, Any]
    sources: tuple[Key, ...]
    result: Key

    @property
    def op(self) -> type[Op]:
        """The operator that reads the layer; its flags say how the layer may be called."""
        return KERAS_LAYERS[self.class_name]

    @property
    def returns_sequences(self) -> bool:
        return self.op.carries_state and bool(self.config.get("return_sequences"))


@dataclass(frozen=True)
class Network:
    """The layers of a model as they are called, each after those that make what it reads."""

    inputs: dict[Key, Any]
    """shapes with the batch axis, as the file has them: checked where they are used"""
    calls: tuple[Call, ...]
    output: Key


def read_network(config: dict) -> Network:
    """The calls that a model's config means. Raises `ModelError`, and for a damaged config whatever
    Python raises for wrong types and missing keys."""
    layers = layers_of(config)
    if len(layers) > MAX_LAYERS:
        raise ModelError(f"more than {MAX_LAYERS} layers; not a model for a microcontroller")
    if config["class_name"] == "Sequential":
        return _sequential(config["config"], layers)
    if config["class_name"] in ("Functional", "Model"):
        return _functional(config["config"])
    raise ModelError(
        f"model class '{config['class_name']}' is not supported; "
        "build a Sequential or functional model"
    )


def _sequential(config: Any, layers: list[dict]) -> Network:
    if not layers:
        raise ModelError("the model has no layer; nothing to compile")
    shape = _declared_shape(layers[0])
    if shape is None and isinstance(config, dict):
        shape = config.get("build_input_shape")
    first = last = (layer_name(layers[0]), -1)
    calls = []
    for layer in layers:
        if layer["class_name"] != "InputLayer":
            calls.append(_call(layer, 0, (last,)))
            last = calls[-1].result
    if layers[0]["class_name"] == "InputLayer":
        _require_float32(layer_name(layers[0]), layers[0]["config"])
    return Network({first: shape}, tuple(calls), last)


def _functional(config: dict) -> Network:
    shapes, calls = {}, []
    for layer in config["layers"]:
        name = layer_name(layer)
        if layer["class_name"] == "InputLayer":
            _require_float32(name, layer["config"])
            shapes[name, 0] = _declared_shape(layer)
        for number, node in enumerate(layer.get("inbound_nodes", [])):
            calls.append(_call(layer, number, tuple(_sources(name, node))))
    if len(calls) > MAX_LAYERS:
        raise ModelError(f"more than {MAX_LAYERS} layers; not a model for a microcontroller")
    outputs = list(_triples(config["output_layers"]))
    if len(outputs) != 1:
        raise ModelError(f"the model has {len(outputs)} outputs; join them with Concatenate")
    inputs = {key: shapes[key] for key in _triples(config["input_layers"])}
    return Network(inputs, tuple(_in_order(shapes, calls)), outputs[0])


def _call(layer: dict, number: int, sources: tuple[Key, ...]) -> Call:
    """A layer's call, of a class that can be compiled."""
    name, class_name, config = layer_name(layer), layer["class_name"], layer["config"]
    _require_known(name, layer)
    _require_float32(name, config)
    if class_name == "TimeDistributed":
        inner = config["layer"]
        _require_known(name, inner)
        _require_float32(name, inner["config"])
        class_name, config = inner["class_name"], _with_time(inner["config"])
        op = KERAS_LAYERS.get(class_name)
        if op is None or not op.each_step or op.several_inputs:
            advice = "use it after a recurrent layer with return_sequences=False"
            raise refuse(name, f"TimeDistributed {class_name} is not supported", advice)
    elif class_name == "InputLayer":
        raise refuse(name, "is an input in the middle of the model", "make it the first layer")
    call = Call(name, class_name, config, sources, (name, number))
    if len(sources) != 1 and not call.op.several_inputs:
        raise refuse(
            name, f"{class_name} is called with {len(sources)} tensors", "call it with one"
        )
    return call


def _with_time(config: dict) -> dict:
    """Of a wrapped layer: axes that count from the front count one more in the wrapper."""
    axis = config.get("axis")
    if isinstance(axis, list) and len(axis) == 1:
        (axis,) = axis
    return config | {"axis": axis + 1} if type(axis) is int and axis > 0 else config


def _in_order(shapes: dict[Key, Any], calls: list[Call]) -> list[Call]:
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


def _require_known(name: str, layer: dict) -> None:
    class_name = layer["class_name"]
    if class_name in REFUSED:
        reason, advice = REFUSED[class_name]
        raise refuse(name, f"{class_name} is not supported: {reason}", advice)
    module = str(layer.get("module") or "keras")
    own = layer.get("registered_name") in (None, class_name) and module.split(".")[0] in MODULES
    # keras.ops functions share names with layers, but not their arguments.
    if ".ops." in module:
        op = KERAS_LAYERS.get(class_name)
        own = own and op is not None and class_name in op.keras_functions
    if not own or class_name not in (*KERAS_LAYERS, "InputLayer", "TimeDistributed"):
        supported = ", ".join(sorted(KERAS_LAYERS))
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
