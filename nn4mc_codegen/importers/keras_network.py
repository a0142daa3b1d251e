"""The config of a Keras model as a list of the calls of its layers, each one known and plain.

What a file calls a layer is a class name, a module, a config and what it is called with. Only what
`ops.KERAS_LAYERS` lists is taken, by its plain name; code and classes of one's own are refused by
name, with a way out. The layers of models inside the model are its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from nn4mc_codegen.graph.check import ModelError, refuse
from nn4mc_codegen.graph.ir import Op
from nn4mc_codegen.importers.keras_file import layer_name, layers_of
from nn4mc_codegen.ops import KERAS_LAYERS

# Why, and what could be done, where a list of what is supported says too little.
REFUSED = {
    "CuDNNGRU": ("its arrays are laid out for the GPU", "save the model with GRU"),
    "CuDNNLSTM": ("its arrays are laid out for the GPU", "save the model with LSTM"),
    "Lambda": ("its Python code is not run", "build it from layers"),
    "Masking": ("steps cannot be left out while running", "feed complete sequences"),
    "RNN": ("a cell of one's own", "use GRU, LSTM or SimpleRNN"),
    "TFOpLambda": ("a TensorFlow function", "use a layer, as Add for +"),
}
# Where a class of a file comes from; one of another module only shares its name with Keras'.
MODULES = ("builtins", "keras", "keras_core", "tensorflow", "tf_keras")
MODELS = ("Functional", "Model", "Sequential")
MAX_LAYERS = 1 << 10

Key = tuple[str, int, int]
"""A layer's name, the number of its call, and which of what it makes: what one tensor is called in
a file."""


@dataclass(frozen=True)
class Call:
    """One call of a layer: of a class, with a config, on tensors, making one or more."""

    name: str
    """with the names of the models that it is in: `outer/inner`"""
    class_name: str
    config: dict[str, Any]
    sources: tuple[Key, ...]
    result: Key
    """the first of what it makes"""
    starts: int = 0
    """how many of the sources, at their end, are states that a recurrent layer begins with"""

    @property
    def op(self) -> type[Op]:
        """The operator that reads the layer; its flags say how the layer may be called."""
        return KERAS_LAYERS[self.class_name]

    @property
    def returns_sequences(self) -> bool:
        inner = self.config.get("layer") if self.class_name == "Bidirectional" else None
        config = inner["config"] if inner else self.config
        return self.op.carries_state and bool(config.get("return_sequences"))


@dataclass(frozen=True)
class Network:
    """The layers of a model as they are called, each after those that make what it reads."""

    inputs: dict[Key, Any]
    """shapes with the batch axis, as the file has them: checked where they are used"""
    calls: tuple[Call, ...]
    outputs: tuple[Key, ...]


def read_network(config: dict) -> Network:
    """The calls that a model's config means. Raises `ModelError`, and for a damaged config whatever
    Python raises for wrong types and missing keys."""
    reading = _Reading()
    outputs = reading.model(config, "", 0, None)
    return Network(reading.inputs, tuple(reading.calls), outputs)


class _Reading:
    """Calls of a model and of those inside of it, in order.

    A layer of a model inside the model is called once for each call of that model: its calls are
    numbered through all of them.
    """

    def __init__(self) -> None:
        self.inputs: dict[Key, Any] = {}
        self.calls: list[Call] = []
        self._taken: set[Key] = set()
        self._models = 0

    def model(
        self, config: dict, inside: str, number: int, given: Sequence[Key] | None
    ) -> tuple[Key, ...]:
        """Reads call `number` of a model on `given`, of the outermost model None; returns what it
        makes. `inside` stands before the names of its layers."""
        layers = layers_of(config)
        if not layers:
            what = f"the model '{inside.rstrip('/')}'" if inside else "the model"
            raise ModelError(f"{what} has no layer; nothing to compile")
        self._models += 1
        if max(len(layers), self._models) > MAX_LAYERS:
            raise ModelError(f"more than {MAX_LAYERS} layers; not a model for a microcontroller")
        if config["class_name"] == "Sequential":
            return self._sequential(config["config"], layers, inside, number, given)
        if config["class_name"] in MODELS:
            return self._functional(config["config"], inside, number, given)
        raise ModelError(
            f"model class '{config['class_name']}' is not supported; "
            "build a Sequential or functional model"
        )

    def _sequential(
        self,
        config: Any,
        layers: list[dict],
        inside: str,
        number: int,
        given: Sequence[Key] | None,
    ) -> tuple[Key, ...]:
        first, first_name = layers[0], layer_name(layers[0])
        if first["class_name"] == "InputLayer":
            _require_float32(first_name, first["config"])
            layers = layers[1:]
        if given is None:
            given = ((first_name, -1, 0),)
            shape = _declared_shape(first)
            if shape is None and isinstance(config, dict):
                shape = config.get("build_input_shape")
            self.inputs[given[0]] = shape
        made = tuple(given)
        for layer in layers:
            made = self._layer(layer, inside, number, made, 0)
            if len(made) != 1:
                advice = "use a functional model for layers that return several tensors"
                raise refuse(layer_name(layer), f"makes {len(made)} tensors", advice)
        return made

    def _functional(
        self, config: dict, inside: str, number: int, given: Sequence[Key] | None
    ) -> tuple[Key, ...]:
        made: dict[Key, Key] = {}
        pending = []
        ends, outputs = (list(_triples(config[f"{end}_layers"])) for end in ("input", "output"))
        for layer in config["layers"]:
            name = layer_name(layer)
            nodes = layer.get("inbound_nodes", [])
            if layer["class_name"] == "InputLayer":
                _require_float32(name, layer["config"])
                if given is None:
                    made[name, 0, 0] = (name, 0, 0)
                    self.inputs[name, 0, 0] = _declared_shape(layer)
            for k, node in enumerate(nodes):
                sources, starts = _sources(name, node, _is_recurrent(layer))
                pending.append((layer, (name, k), number * len(nodes) + k, sources, starts))
        read = [key for *_, sources, _ in pending for key in sources] + outputs
        pending = [(layer, _as_read(layer, key, read), *rest) for layer, key, *rest in pending]
        if given is None:
            self.inputs = {key: self.inputs[key] for key in ends}
        elif len(ends) != len(given):
            reason = f"takes {len(ends)} inputs but is called with {len(given)}"
            raise refuse(inside.rstrip("/"), reason, "save it again")
        else:
            made |= dict(zip(ends, given, strict=True))
        while pending:
            is_ready = [made.keys() >= set(sources) for *_, sources, _ in pending]
            ready = [item for item, now in zip(pending, is_ready, strict=True) if now]
            if not ready:
                name = pending[0][0]["config"].get("name")
                raise ModelError(f"layer '{name}': its inputs are made by no layer; save it again")
            for layer, (name, k), call, sources, starts in ready:
                found = self._layer(layer, inside, call, [made[s] for s in sources], starts)
                made |= {(name, k, part): key for part, key in enumerate(found)}
            pending = [item for item, now in zip(pending, is_ready, strict=True) if not now]
        return tuple(made[key] for key in outputs)

    def _layer(
        self, layer: dict, inside: str, number: int, sources: Sequence[Key], starts: int
    ) -> tuple[Key, ...]:
        """What a call of a layer makes, which may be a model."""
        if layer["class_name"] in MODELS and isinstance(layer.get("config"), dict | list):
            _require_own(layer_name(layer), layer)
            return self.model(layer, f"{inside}{layer_name(layer)}/", number, sources)
        call = _call(layer, inside, number, tuple(sources), starts)
        if call.result in self._taken:
            raise refuse(call.name, "is there twice", "give every layer a name of its own")
        if len(self.calls) == MAX_LAYERS:
            raise ModelError(f"more than {MAX_LAYERS} layers; not a model for a microcontroller")
        self._taken.add(call.result)
        self.calls.append(call)
        states = 4 if call.config.get("return_state") else 0
        return tuple((call.name, number, part) for part in range(1 + states))


def _as_read(layer: dict, key: tuple[str, int], read: Sequence[Key]) -> tuple[str, int]:
    """A call as those who read it call it. Keras 2 numbers the calls of a model that it has in a
    model from 1: its own making is call 0."""
    name, number = key
    calls = len(layer.get("inbound_nodes", []))
    from_1 = layer["class_name"] in MODELS and any(key[:2] == (name, calls) for key in read)
    return name, number + from_1


def _call(layer: dict, inside: str, number: int, sources: tuple[Key, ...], starts: int) -> Call:
    """A layer's call, of a class that can be compiled."""
    name, class_name, config = layer_name(layer), layer["class_name"], layer["config"]
    _require_known(name, layer)
    _require_float32(name, config)
    if class_name in ("TimeDistributed", "Bidirectional"):
        wrapped = [config[key] for key in ("layer", "backward_layer") if config.get(key)]
        for inner in wrapped:
            _require_known(name, inner)
            _require_float32(name, inner["config"])
    if class_name == "TimeDistributed":
        class_name, config = wrapped[0]["class_name"], _with_time(wrapped[0]["config"])
        op = KERAS_LAYERS.get(class_name)
        if op is None or not op.each_step or op.several_inputs:
            advice = "use it after a recurrent layer with return_sequences=False"
            raise refuse(name, f"TimeDistributed {class_name} is not supported", advice)
    elif class_name == "InputLayer":
        raise refuse(name, "is an input in the middle of the model", "make it the first layer")
    name = inside + name
    call = Call(name, class_name, config, sources, (name, number, 0), starts)
    if len(sources) - starts != 1 and not call.op.several_inputs:
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


def _require_known(name: str, layer: dict) -> None:
    class_name = layer["class_name"]
    if class_name in REFUSED:
        reason, advice = REFUSED[class_name]
        raise refuse(name, f"{class_name} is not supported: {reason}", advice)
    module, own = _module(layer)
    # keras.ops functions share names with layers, but not their arguments.
    if ".ops." in module:
        op = KERAS_LAYERS.get(class_name)
        own = own and op is not None and class_name in op.keras_functions
    if not own or class_name not in (*KERAS_LAYERS, "InputLayer", "TimeDistributed"):
        supported = ", ".join(sorted(KERAS_LAYERS))
        kind = class_name if own else f"{class_name} of {module}"
        raise refuse(name, f"{kind} is not supported", f"build the model from {supported}")


def _module(layer: dict) -> tuple[str, bool]:
    """Where a class comes from, and whether that is Keras."""
    module = str(layer.get("module") or "keras")
    registered = layer.get("registered_name") in (None, layer["class_name"])
    return module, registered and module.split(".")[0] in MODULES


def _require_own(name: str, layer: dict) -> None:
    module, own = _module(layer)
    if not own:
        reason = f"{layer['class_name']} of {module} is not supported"
        raise refuse(name, reason, "use a Sequential or functional model of Keras")


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


def _is_recurrent(layer: dict) -> bool:
    op = KERAS_LAYERS.get(layer["class_name"])
    return op is not None and op.carries_state


def _triples(value: Any) -> Iterator[Key]:
    """Each [layer, call, tensor] in nested lists and dicts, in Keras' order."""
    if isinstance(value, dict):
        for key in sorted(value):
            yield from _triples(value[key])
    elif len(value) >= 3 and isinstance(value[0], str):
        yield value[0], value[1], value[2]
    else:
        for item in value:
            yield from _triples(item)


def _sources(name: str, node: Any, recurrent: bool) -> tuple[tuple[Key, ...], int]:
    """What one call of a layer reads, in order, and how many of them at the end are states."""
    found: list[Key] = []
    if isinstance(node, dict):  # Keras 3
        arguments = dict(node.get("kwargs") or {})
        found += _keras_tensors(name, node["args"])
        if recurrent and arguments.get("initial_state"):
            found += _keras_tensors(name, arguments.pop("initial_state"))
        _require_plain(name, arguments)
    else:
        for item in node:
            if isinstance(item, list) and len(item) > 3:
                _require_plain(name, item[3])
        found += _triples(node)
    return tuple(found), len(found) - 1 if recurrent else 0


def _require_plain(name: str, arguments: Any) -> None:
    """Refuse arguments beside the tensors that say anything, unlike training=False, mask=None."""
    for key, value in (arguments or {}).items():
        if value and value != [None] * len(value if isinstance(value, list) else ()):
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
