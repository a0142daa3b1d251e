"""The networks of the solver's benchmark, which no tool of Keras need write: legacy Keras files.

Their weights are random, but always the same: counts of instructions depend on sizes and
activations, and on values only as far as they decide which units of ReLU are active.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np

from nn4mc_codegen.importers import read_model
from soft_control.benchmarks.ipopt import graph_network
from soft_control.benchmarks.solver_comparison import Subject, subjects
from soft_control.learning.model import CARD_FILE, NETWORK_FILE, ModelCard, file_hash
from soft_control.rigs import make_rig

KERAS_VERSION = "2.15.0"


def hasel(published: Path) -> Subject:
    """The authors' HASEL network in the folder `published`."""
    return subjects(published, [])[0]


def hasel_twin(published: Path, folder: Path) -> Subject:
    """The same weights, tanh for each relu; its file goes into `folder`."""
    model = hasel(published)
    path = folder / "hasel_tanh.hdf5"
    shutil.copyfile(model.model, path)
    with h5py.File(path, "r+") as file:
        config = file.attrs["model_config"]
        text = config.decode() if isinstance(config, bytes) else config
        file.attrs["model_config"] = text.replace('"relu"', '"tanh"')
    return Subject("hasel_tanh", path, _expressions(path), 6, 3, 18, 2, 2, smooth=True)


def tendon(folder: Path) -> Subject:
    """A tendon network 26-8-3, relu and linear, two commands and eleven signals; its file goes into
    `folder`."""
    path = folder / "tendon.h5"
    rng = np.random.default_rng(1)
    layers = [
        _Layer("InputLayer", "x", {"batch_input_shape": [None, 26]}),
        _dense(rng, "hidden", 26, 8, "relu", "x"),
        _dense(rng, "y", 8, 3, "linear", "hidden"),
    ]
    write_network(path, layers)
    return Subject("tendon", path, _expressions(path), 2, 3, 11, 3, 3, smooth=False)


def write_model(
    folder: Path, rig_name: str, lags: int, signals: int, hidden: Sequence[int]
) -> ModelCard:
    """A model directory for `softctl build`, its network in the shape of `softctl train`: named
    inputs, layers of tanh, and the increment added to the newest output."""
    rig = make_rig(rig_name)
    outputs = len(rig.description.outputs)
    card = ModelCard(
        robot=rig.description,
        rate_hz=120.0,
        input_lags=lags,
        output_lags=lags,
        input_delay=0,
        command_names=list(rig.command_names),
        command_offset=((rig.command_max + rig.command_min) / 2).tolist(),
        command_scale=((rig.command_max - rig.command_min) / 2).tolist(),
        output_offset=[0.0] * outputs,
        output_names=list(rig.description.output_names),
        output_scale=[0.01] * outputs,
        signal_names=list(rig.signal_names[:signals]),
        signal_offset=[0.0] * signals,
        signal_scale=[1.0] * signals,
        surface=None,
        metrics=[],
        evaluated_on=[],
        recordings=[],
        model_hash="",
    )
    rng = np.random.default_rng(1)
    sizes = card.input_sizes()
    layers = [
        _Layer("InputLayer", name, {"batch_input_shape": [None, size]})
        for name, size in sizes.items()
    ]
    layers.append(_Layer("Concatenate", "x", {"axis": -1}, tuple(sizes)))
    width, before = sum(sizes.values()), "x"
    for i, units in enumerate(hidden):
        layers.append(_dense(rng, f"hidden_{i}", width, units, "tanh", before))
        width, before = units, f"hidden_{i}"
    layers.append(_dense(rng, "increment", width, outputs, "linear", before))
    layers.append(_Layer("Add", "next_output", {}, ("output", "increment")))
    folder.mkdir(parents=True)
    write_network(folder / NETWORK_FILE, layers)
    card = card.model_copy(update={"model_hash": file_hash(folder / NETWORK_FILE)})
    (folder / CARD_FILE).write_text(card.model_dump_json(), encoding="utf-8")
    return card


@dataclass(frozen=True)
class _Layer:
    kind: str
    name: str
    config: dict
    inputs: tuple[str, ...] = ()
    """Names of layers."""
    weights: dict[str, np.ndarray] = field(default_factory=dict)


def _dense(rng, name: str, inputs: int, units: int, activation: str, before: str) -> _Layer:
    """Of the spread that Glorot and Bengio give to weights (2010)."""
    limit = (6 / (inputs + units)) ** 0.5
    weights = {
        "kernel": rng.uniform(-limit, limit, (inputs, units)).astype(np.float32),
        "bias": rng.normal(0, 0.1, units).astype(np.float32),
    }
    config = {"units": units, "activation": activation, "use_bias": True}
    return _Layer("Dense", name, config, (before,), weights)


def write_network(path: Path, layers: Sequence[_Layer]) -> None:
    """A network as Keras 2 saves it in HDF5; the last layer is its output."""
    described = [
        {
            "class_name": layer.kind,
            "name": layer.name,
            "config": {"name": layer.name, "dtype": "float32", **layer.config},
            "inbound_nodes": [[[name, 0, 0, {}] for name in layer.inputs]] if layer.inputs else [],
        }
        for layer in layers
    ]
    config = {
        "name": "fk",
        "layers": described,
        "input_layers": [[layer.name, 0, 0] for layer in layers if not layer.inputs],
        "output_layers": [[layers[-1].name, 0, 0]],
    }
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = KERAS_VERSION
        file.attrs["backend"] = "tensorflow"
        file.attrs["model_config"] = json.dumps({"class_name": "Functional", "config": config})
        weights = file.create_group("model_weights")
        weights.attrs["layer_names"] = [layer.name for layer in layers]
        for layer in layers:
            group = weights.create_group(layer.name)
            names = [f"{layer.name}/{name}:0" for name in layer.weights]
            group.attrs["weight_names"] = names
            for name, values in zip(names, layer.weights.values(), strict=True):
                group[name] = values


def _expressions(path: Path):
    return graph_network(read_model(path)[0])
