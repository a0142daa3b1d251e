"""Keras files, read without Keras: `.keras` (zip) and legacy `.h5`/`.hdf5`, of Keras 2 and 3.

Only JSON and arrays are read; nothing in a file is executed or unpickled. A layer becomes the
operator that `ops.KERAS_LAYERS` has for its class; layers that do nothing at inference are dropped.
"""

from __future__ import annotations

import io
import json
import math
import re
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import h5py
import numpy as np

from nn4mc_codegen.check import MAX_ELEMENTS, ModelError, refuse
from nn4mc_codegen.ir import Graph, Node, Op, Tensor
from nn4mc_codegen.ops import KERAS_LAYERS
from nn4mc_codegen.ops.activation import LINEAR

DROPPED = (
    "ActivityRegularization",
    "AlphaDropout",
    "Dropout",
    "GaussianDropout",
    "GaussianNoise",
    "SpatialDropout1D",
    "SpatialDropout2D",
)
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
MAX_CONFIG_BYTES = 1 << 24
MAX_WEIGHT_BYTES = 1 << 28


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
        found = self._stored.of_layer(self.name)
        if len(found) != len(names):
            raise refuse(
                self.name,
                f"the file has {len(found)} of its arrays, it needs {', '.join(names)}",
                "save the whole model after it is built",
            )
        return [self._array(dataset, name) for dataset, name in zip(found, names, strict=True)]

    def _array(self, dataset: h5py.Dataset, name: str) -> np.ndarray:
        if dataset.dtype != np.float32:
            raise refuse(self.name, f"{name} is {dataset.dtype}", "save the model in float32")
        if dataset.external or dataset.is_virtual:
            raise refuse(self.name, f"{name} lies in another file", "save the model as one file")
        if dataset.size > MAX_ELEMENTS:
            raise refuse(
                self.name,
                f"{name} has {dataset.size} elements",
                f"at most {MAX_ELEMENTS} fit a microcontroller",
            )
        return np.asarray(dataset[()], dtype=np.float32)


def read(content: bytes) -> Graph:
    """Graph of a Keras file's bytes; raises `ModelError`."""
    try:
        if content.startswith(b"\x89HDF\r\n\x1a\n"):
            return _read_hdf5(content)
        if content.startswith(b"PK"):
            return _read_zip(content)
    except ModelError:
        raise
    except RecursionError:
        raise ModelError("config is nested too deeply; not a Keras model") from None
    except DAMAGE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ModelError(f"damaged or not a Keras model ({reason}); save it again") from None
    if not content:
        raise ModelError("empty file; save the model again")
    raise ModelError("neither a .keras zip nor an HDF5 file; save the model with model.save()")


def _read_zip(content: bytes) -> Graph:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        config = json.loads(_member(archive, "config.json", MAX_CONFIG_BYTES))
        metadata = json.loads(_member(archive, "metadata.json", MAX_CONFIG_BYTES))
        weights = _member(archive, "model.weights.h5", MAX_WEIGHT_BYTES)
    with h5py.File(io.BytesIO(weights), "r") as file:
        return _read_config(config, metadata.get("keras_version"), ZipWeights(file, config))


def _member(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    if name not in archive.namelist():
        raise ModelError(f"the zip has no {name}; save the model with model.save('….keras')")
    if archive.getinfo(name).file_size > limit:
        raise ModelError(
            f"{name} unpacks to more than {limit >> 20} MiB; not a model for this compiler"
        )
    return archive.read(name)


def _read_hdf5(content: bytes) -> Graph:
    with h5py.File(io.BytesIO(content), "r") as file:
        if "model_config" not in file.attrs:
            raise ModelError(
                "no model_config: weights alone; save the whole model with model.save()"
            )
        config = json.loads(file.attrs["model_config"])
        version = file.attrs.get("keras_version", file["model_weights"].attrs.get("keras_version"))
        return _read_config(config, version, Hdf5Weights(file["model_weights"]))


class Weights:
    def of_layer(self, name: str) -> list[h5py.Dataset]:
        """Datasets of a layer in Keras' order: empty if it has none."""
        raise NotImplementedError


class Hdf5Weights(Weights):
    """Legacy files: a group a layer, its attribute weight_names gives the order."""

    def __init__(self, group: h5py.Group):
        self._group = group

    def of_layer(self, name: str) -> list[h5py.Dataset]:
        group = _inside(self._group, name)
        if group is None:
            return []
        names = [
            n.decode() if isinstance(n, bytes) else str(n) for n in group.attrs["weight_names"]
        ]
        found = [_inside(group, n) for n in names]
        return [d for d in found if isinstance(d, h5py.Dataset)]


class ZipWeights(Weights):
    """`.keras` files: a group a layer, named by its class and a counter, not by the layer's name.

    Newer Keras notes the layer's name in the group; for older files the counting is repeated here.
    """

    def __init__(self, file: h5py.File, config: dict):
        layers = _inside(file, "layers") or _inside(file, "_layer_checkpoint_dependencies") or {}
        self._groups: dict[str, h5py.Group] = {}
        used: dict[str, int] = {}
        for layer in _layers(config):
            key = _snake_case(layer["class_name"])
            count = used[key] = used.get(key, -1) + 1
            group = _inside(layers, f"{key}_{count}" if count else key)
            if group is not None:
                self._groups[_layer_name(layer)] = group
        for key in layers:
            group = _inside(layers, key)
            if group is not None and "vars" in group and "name" in group["vars"].attrs:
                self._groups[str(group["vars"].attrs["name"])] = group

    def of_layer(self, name: str) -> list[h5py.Dataset]:
        if name not in self._groups or "vars" not in self._groups[name]:
            return []
        stored = self._groups[name]["vars"]
        return [_inside(stored, key) for key in sorted(stored, key=int)]


def _inside(group: Any, path: str) -> Any:
    """Member of a group, or None; links that leave the file are not followed."""
    for part in path.strip("/").split("/"):
        if part not in group:
            return None
        if isinstance(group.get(part, getlink=True), h5py.ExternalLink):
            raise ModelError(f"'{path}' is a link to another file; save the model as one file")
        group = group[part]
    return group


def _snake_case(name: str) -> str:
    """How Keras names a group after a class: LeakyReLU -> leaky_re_lu, Conv1D -> conv1d."""
    return re.sub("(?<=.)(?=[A-Z][a-z])|(?<=[a-z])(?=[A-Z])", "_", name).lower()


def _layers(config: dict) -> list[dict]:
    inner = config["config"]
    return inner if isinstance(inner, list) else inner["layers"]  # a list before Keras 2.2.3


def _layer_name(layer: dict) -> str:
    return layer["config"].get("name") or layer["name"]


def _read_config(config: dict, version: Any, weights: Weights) -> Graph:
    version = version.decode() if isinstance(version, bytes) else str(version)
    if not re.match(r"\d+\.", version):
        raise ModelError("the file does not say which Keras version wrote it; save it again")
    reader = _Reader(int(version.split(".")[0]), weights)
    if config["class_name"] == "Sequential":
        return reader.sequential(config["config"], _layers(config))
    if config["class_name"] in ("Functional", "Model"):
        return reader.functional(config["config"])
    raise ModelError(
        f"model class '{config['class_name']}' is not supported; "
        "build a Sequential or functional model"
    )


class _Reader:
    def __init__(self, keras_major: int, weights: Weights):
        self._keras_major = keras_major
        self._weights = weights
        self._ops: dict[str, Op] = {}
        self._nodes: list[Node] = []

    def sequential(self, config: Any, layers: list[dict]) -> Graph:
        if not layers:
            raise ModelError("the model has no layer; nothing to compile")
        built = config.get("build_input_shape") if isinstance(config, dict) else None
        tensor = first = _input_tensor(layers[0], built)
        for layer in layers:
            if layer["class_name"] != "InputLayer":
                tensor = self._apply(layer, _layer_name(layer), [tensor])
        return Graph((first,), tensor, tuple(self._nodes))

    def functional(self, config: dict) -> Graph:
        """Layers are applied when all that they need is there: files need not be in order."""
        made: dict[tuple[str, int], Tensor] = {}
        waiting = []  # (layer, call number, keys of its inputs)
        for layer in config["layers"]:
            if layer["class_name"] == "InputLayer":
                made[_layer_name(layer), 0] = _input_tensor(layer, None)
            for call, node in enumerate(layer.get("inbound_nodes", [])):
                waiting.append((layer, call, _sources(_layer_name(layer), node)))
        while waiting:
            ready = [w for w in waiting if all(key in made for key in w[2])]
            if not ready:
                name = _layer_name(waiting[0][0])
                raise ModelError(f"layer '{name}': its inputs are made by no layer; save it again")
            waiting = [w for w in waiting if w not in ready]
            for layer, call, keys in ready:
                name = _layer_name(layer)
                node_name = f"{name}_call_{call}" if call else name
                made[name, call] = self._apply(layer, node_name, [made[key] for key in keys])
        outputs = list(_triples(config["output_layers"]))
        if len(outputs) != 1:
            raise ModelError(f"the model has {len(outputs)} outputs; join them with Concatenate")
        inputs = tuple(made[key] for key in _triples(config["input_layers"]))
        return Graph(inputs, made[outputs[0]], tuple(self._nodes))

    def _apply(self, layer: dict, node_name: str, inputs: list[Tensor]) -> Tensor:
        class_name, config, name = layer["class_name"], layer["config"], _layer_name(layer)
        _require_float32(name, config)
        if class_name in DROPPED:
            return inputs[0]
        op_class = KERAS_LAYERS.get(class_name)
        if op_class is None or layer.get("registered_name") not in (None, class_name):
            supported = ", ".join(sorted((*KERAS_LAYERS, "Dropout", "GaussianNoise")))
            raise refuse(
                name, f"{class_name} is not supported", f"build the model from {supported}"
            )
        if name not in self._ops:  # a layer that is called several times keeps its weights once
            self._ops[name] = op_class.from_keras(
                KerasLayer(name, class_name, config, self._keras_major, self._weights)
            )
        op = self._ops[name]
        if op == LINEAR:
            return inputs[0]
        try:
            shape = op.output_shape([t.shape for t in inputs])
        except ValueError as error:
            reason = " ".join(str(error).split())
            raise ModelError(f"layer '{name}' ({class_name}) {reason}") from None
        output = Tensor(node_name, shape)
        self._nodes.append(Node(node_name, op, tuple(inputs), output))
        return output


def _input_tensor(layer: dict, built: Any) -> Tensor:
    config, name = layer["config"], _layer_name(layer)
    shape = config.get("batch_shape") or config.get("batch_input_shape") or built
    if shape is None:
        raise refuse(
            name, "the model's input shape is not in the file", "build it with an Input layer"
        )
    extents = shape[1:]
    if not all(isinstance(extent, int) and extent > 0 for extent in extents):
        raise refuse(name, f"input shape {tuple(extents)} is not fixed", "give every axis a size")
    if math.prod(extents) > MAX_ELEMENTS:
        raise refuse(
            name, f"input shape {tuple(extents)} is too large", f"at most {MAX_ELEMENTS} elements"
        )
    if layer["class_name"] == "InputLayer":
        _require_float32(name, config)
    return Tensor(name, tuple(extents))


def _require_float32(name: str, config: dict) -> None:
    """Of a dtype, or of a dtype policy as Keras 3 writes it."""
    dtype = config.get("dtype")
    if isinstance(dtype, dict):
        dtype = dtype.get("config", {}).get("name", dtype.get("class_name"))
    if dtype not in (None, "float32"):
        raise refuse(name, f"computes in {dtype}", "save the model with dtype float32")


def _triples(value: Any) -> Iterator[tuple[str, int]]:
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


def _sources(name: str, node: Any) -> list[tuple[str, int]]:
    """(layer, call) of the inputs of one call of a layer, in order."""
    if isinstance(node, dict):  # Keras 3
        if node.get("kwargs", {}).get("training"):
            raise refuse(name, "is called with training=True", "call it without")
        return list(_keras_tensors(name, node["args"]))
    if any(isinstance(item, list) and len(item) > 3 and item[3] for item in node):
        raise refuse(name, "is called with extra arguments", "call layers with tensors only")
    return list(_triples(node))


def _keras_tensors(name: str, value: Any) -> Iterator[tuple[str, int]]:
    if isinstance(value, list):
        for item in value:
            yield from _keras_tensors(name, item)
    elif isinstance(value, dict) and value.get("class_name") == "__keras_tensor__":
        yield from _triples(value["config"]["keras_history"])
    else:
        raise refuse(
            name, "is called with something that is no tensor", "call layers with tensors only"
        )
