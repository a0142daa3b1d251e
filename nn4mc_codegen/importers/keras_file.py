"""Bytes of a Keras file to its config and its arrays: `.keras` (zip) and `.h5`/`.hdf5`.

Only JSON and arrays are read; nothing in a file is executed, unpickled, unpacked to disk or
followed to another file, and what is read is bounded whatever the file declares.
"""

from __future__ import annotations

import codecs
import io
import json
import re
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np

from nn4mc_codegen.graph.check import MAX_ELEMENTS, ModelError, refuse

MAX_CONFIG_BYTES = 1 << 22
MAX_WEIGHT_BYTES = 1 << 26
# h5py and zipfile decode names by these. Python loads a codec when it is first used, and the reader
# then has no doors any more (see `isolation`).
for _codec in ("ascii", "cp437", "latin-1"):
    codecs.lookup(_codec)
# Those that HDF5 has built in: others would be looked for among the machine's plugins.
FILTERS = (h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32)


@dataclass(frozen=True)
class KerasFile:
    config: dict[str, Any]
    keras_major: int
    weights: Weights


@contextmanager
def opened(content: bytes) -> Iterator[KerasFile]:
    """Raises `ModelError` for a file of another kind and h5py's errors for a damaged one."""
    if content.startswith(b"\x89HDF\r\n\x1a\n"):
        with h5py.File(io.BytesIO(content), "r") as file:
            yield _of_hdf5(file)
    elif content.startswith(b"PK"):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            config = _json(_member(archive, "config.json", MAX_CONFIG_BYTES))
            metadata = _json(_member(archive, "metadata.json", MAX_CONFIG_BYTES))
            weights = _member(archive, "model.weights.h5", MAX_WEIGHT_BYTES)
        with h5py.File(io.BytesIO(weights), "r") as file:
            major = _major(metadata.get("keras_version"))
            yield KerasFile(config, major, ZipWeights(file, config))
    elif not content:
        raise ModelError("empty file; save the model again")
    else:
        raise ModelError("neither a .keras zip nor an HDF5 file; save the model with model.save()")


def _member(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    found = [member for member in archive.infolist() if member.filename == name]
    if not found:
        raise ModelError(f"the zip has no {name}; save the model with model.save('….keras')")
    if len(found) > 1:
        raise ModelError(f"the zip has {name} {len(found)} times; save the model again")
    if found[0].compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ModelError(f"{name} is packed in a way that Keras does not use; save the model again")
    with archive.open(found[0]) as file:
        content = file.read(limit + 1)  # what it declares to unpack to need not be true
    if len(content) > limit or found[0].file_size > limit:
        raise ModelError(
            f"{name} unpacks to more than {limit >> 20} MiB; not a model for this compiler"
        )
    return content


def _json(content: bytes) -> dict:
    value = json.loads(content)
    if not isinstance(value, dict):
        raise ModelError("its config is no JSON object; not a Keras model")
    return value


def _of_hdf5(file: h5py.File) -> KerasFile:
    if "model_config" not in file.attrs:
        raise ModelError("no model_config: weights alone; save the whole model with model.save()")
    content = file.attrs["model_config"]
    config = _json(content if isinstance(content, bytes) else str(content).encode())
    weights = _inside(file, "model_weights")
    if weights is None:
        raise ModelError("no model_weights: config alone; save the whole model with model.save()")
    version = file.attrs.get("keras_version", weights.attrs.get("keras_version"))
    return KerasFile(config, _major(version), Hdf5Weights(weights))


def _major(version: Any) -> int:
    version = version.decode() if isinstance(version, bytes) else str(version)
    if not re.match(r"\d{1,3}\.", version):
        raise ModelError("the file does not say which Keras version wrote it; save it again")
    return int(version.split(".")[0])


class Weights(ABC):
    """A file's arrays by layer."""

    def __init__(self):
        self.taken: dict[str, list[np.ndarray]] = {}
        """what `arrays` has returned for each layer"""

    def arrays(self, layer: str, names: tuple[str, ...]) -> list[np.ndarray]:
        """A layer's arrays in Keras' order, float32, which must be as many as `names`."""
        found = self._datasets(layer)
        if len(found) != len(names):
            raise refuse(
                layer,
                f"the file has {len(found)} of its arrays, it needs {', '.join(names)}",
                "save the whole model after it is built",
            )
        arrays = [_array(layer, name, d) for name, d in zip(names, found, strict=True)]
        self.taken[layer] = arrays
        return arrays

    @abstractmethod
    def _datasets(self, layer: str) -> list[h5py.Dataset]:
        """Of a layer in Keras' order: empty if it has none."""


class GivenArrays(Weights):
    """Arrays that are read already: a part of another layer's."""

    def __init__(self, arrays: list[np.ndarray]):
        super().__init__()
        self._arrays = arrays

    def arrays(self, layer: str, names: tuple[str, ...]) -> list[np.ndarray]:
        if len(names) != len(self._arrays):
            reason = f"the file has {len(self._arrays)} of its arrays, it needs {', '.join(names)}"
            raise refuse(layer, reason, "save the whole model after it is built")
        return self._arrays

    def _datasets(self, layer: str) -> list[h5py.Dataset]:
        return []


class Hdf5Weights(Weights):
    """Legacy files: a group a layer, its attribute weight_names gives the order."""

    def __init__(self, group: h5py.Group):
        super().__init__()
        self._group = group

    def _datasets(self, layer: str) -> list[h5py.Dataset]:
        group, inner = _inside(self._group, layer), None
        if group is None or "weight_names" not in group.attrs:
            outer, _, inner = layer.partition("/")
            group, inner = _inside(self._group, outer), inner.rpartition("/")[2]
        if group is None or "weight_names" not in group.attrs:
            return []
        names = [
            n.decode() if isinstance(n, bytes) else str(n) for n in group.attrs["weight_names"]
        ]
        if inner:  # a model inside the model has the arrays of all of its layers
            names = [n for n in names if inner in n.split("/")[:-1]]
        found = [_inside(group, n) for n in names]
        return [d for d in found if isinstance(d, h5py.Dataset)]


class ZipWeights(Weights):
    """`.keras` files: a group a layer, named by its class and a counter, not by the layer's name.

    Newer Keras notes the layer's name in the group; for older files the counting is repeated here.
    """

    def __init__(self, file: h5py.File, config: dict):
        super().__init__()
        self._groups: dict[str, Any] = {}
        self._find(_slashed(file), layers_of(config), "")

    def _find(self, model: Any, layers: list[dict], inside: str) -> None:
        """The groups of the layers of a model, and of the models in it."""
        stored = _inside(model, "layers") or _inside(model, "_layer_checkpoint_dependencies") or {}
        groups: dict[str, Any] = {}
        used: dict[str, int] = {}
        for layer in layers:
            key = _snake_case(layer["class_name"])
            count = used[key] = used.get(key, -1) + 1
            group = _inside(stored, f"{key}_{count}" if count else key)
            if group is not None:
                groups[layer_name(layer)] = group
        for key in stored:
            group = _inside(stored, key)
            if group is not None and "vars" in group and "name" in group["vars"].attrs:
                groups[str(group["vars"].attrs["name"])] = group
        self._groups |= {inside + name: group for name, group in groups.items()}
        for layer in layers:
            name = layer_name(layer)
            inner = layer["config"]
            if name in groups and (isinstance(inner, list) or "layers" in inner):
                self._find(groups[name], layers_of(layer), f"{inside}{name}/")

    def _datasets(self, layer: str) -> list[h5py.Dataset]:
        """A layer that several models have in common is stored in one of them."""
        found = self._at(layer)
        if not found and "/" in layer:
            end = "/" + "/".join(layer.split("/")[-2:])
            same = [name for name in self._groups if f"/{name}".endswith(end)]
            others = [datasets for datasets in map(self._at, same) if datasets]
            found = others[0] if len(others) == 1 else []
        return found

    def _at(self, layer: str) -> list[h5py.Dataset]:
        group = self._groups.get(layer)
        # A recurrent layer's arrays belong to its cell, a wrapper's to what it wraps.
        ways = ("forward_layer", "backward_layer")
        places = ("vars", "cell/vars", "layer/vars", *(f"{way}/cell/vars" for way in ways))
        stored = [_inside(group, place) for place in places] if group is not None else []
        return [
            _inside(group, key)
            for group in stored
            if isinstance(group, h5py.Group | _Slashed)
            for key in sorted(group, key=int)
        ]


def _array(layer: str, name: str, dataset: Any) -> np.ndarray:
    kinds = ("f", "i", "u") if name == "count" else ("f",)
    is_read = isinstance(dataset, h5py.Dataset) and dataset.dtype.kind in kinds
    if not is_read or (dataset.dtype.kind == "f" and dataset.dtype != np.float32):
        kind = getattr(dataset, "dtype", "no array")
        raise refuse(layer, f"{name} is {kind}", "save the model in float32")
    if dataset.external or dataset.is_virtual:
        raise refuse(layer, f"{name} lies in another file", "save the model as one file")
    if dataset.size is None or dataset.size > MAX_ELEMENTS:
        raise refuse(
            layer,
            f"{name} has {dataset.size} elements",
            f"at most {MAX_ELEMENTS} fit a microcontroller",
        )
    properties = dataset.id.get_create_plist()
    filters = [properties.get_filter(i)[0] for i in range(properties.get_nfilters())]
    if not set(filters) <= set(FILTERS):
        raise refuse(layer, f"{name} is packed by filter {filters}", "save it with gzip or plain")
    return np.asarray(dataset[()], dtype=np.float32)


def _inside(group: Any, path: str) -> Any:
    """Member of a group, or None; links that leave the file are not followed."""
    for part in path.strip("/").split("/"):
        if part not in group:
            return None
        if isinstance(group.get(part, getlink=True), h5py.ExternalLink):
            raise ModelError(f"'{path}' is a link to another file; save the model as one file")
        group = group[part]
    return group


class _Slashed(dict):
    """A group of a file whose names hold the separator of Windows: `layers\\dense\\vars`."""

    def __init__(self) -> None:
        super().__init__()
        self.attrs: dict[str, Any] = {}

    def get(self, key: str, default: Any = None, getlink: bool = False) -> Any:
        return default if getlink else super().get(key, default)


def _slashed(file: h5py.File) -> Any:
    """The file, or, where its names hold backslashes, groups as they would be without."""
    if not any("\\" in key for key in file):
        return file
    root = _Slashed()
    for key in file:
        group = _inside(file, key)
        at = root
        for part in key.split("\\"):
            at = at.setdefault(part, _Slashed())
        if isinstance(group, h5py.Group):
            at |= {name: _inside(group, name) for name in group}
            at.attrs |= group.attrs
    return root


def _snake_case(name: str) -> str:
    """How Keras names a group after a class: LeakyReLU -> leaky_re_lu, Conv1D -> conv1d."""
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def layers_of(config: dict) -> list[dict]:
    inner = config["config"]
    return inner if isinstance(inner, list) else inner["layers"]  # a list before Keras 2.2.3


def layer_name(layer: dict) -> str:
    return layer["config"].get("name") or layer["name"]
