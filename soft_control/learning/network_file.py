"""The network file of a model directory, written without TensorFlow.

What `training` trains, and recurrent networks, as Keras 3 saves them. The same layers give the same
bytes.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from nn4mc_codegen.ops.activation import Activation
from nn4mc_codegen.ops.recurrent import GRU, LSTM, Recurrent, SimpleRNN
from soft_control.learning.card import ModelError
from soft_control.learning.foreign_layers import Chain, Hidden

ZIP_TIME = (1980, 1, 1, 0, 0, 0)
KERAS_VERSION = "3.4.1"
"""Of the format."""
NAMED = ("linear", "tanh", "sigmoid", "relu", "softplus", "softsign")
"""Activations that Keras and the compiler call the same, without a number in them."""


def write_increment_network(
    path: Path, layers: Sequence[tuple[np.ndarray, np.ndarray]], inputs: Mapping[str, int]
) -> None:
    """Dense layers on all named inputs, joined, tanh between them; their last result is added to
    the input `output`. Kernels (inputs, units), biases (units,)."""
    nodes = [_layer("InputLayer", name, batch_shape=[None, n]) for name, n in inputs.items()]
    nodes.append(_layer("Concatenate", "x", [list(inputs)], axis=-1))
    names = [*(f"hidden_{k}" for k in range(len(layers) - 1)), "increment"]
    before = "x"
    for name, (kernel, _) in zip(names, layers, strict=True):
        activation = "linear" if name == "increment" else "tanh"
        config = {"units": kernel.shape[1], "activation": activation, "use_bias": True}
        nodes.append(_layer("Dense", name, [before], **config))
        before = name
    nodes.append(_layer("Add", "next_output", [["output", before]]))
    _write(path, nodes, inputs, {"dense": layers})


def write_recurrent_network(path: Path, chain: Chain, inputs: Mapping[str, int]) -> None:
    """The chain's layers on all named inputs of one time step after the other, joined; where it is
    of increments, the last result is added to the input `output`. Raises ModelError for an
    activation that is not in Keras by its name alone, and for a cell state that is held."""
    nodes = [_layer("InputLayer", name, batch_shape=[None, None, n]) for name, n in inputs.items()]
    nodes.append(_layer("Concatenate", "x", [list(inputs)], axis=-1))
    before, stored = "x", {}
    for number, op in enumerate(chain.hidden):
        name = f"hidden_{number}"
        nodes.append(_layer(type(op).__name__, name, [before], **_config(op)))
        stored.setdefault(op.kind, []).append(_arrays(op))
        before = name
    end = "increment" if chain.increments else "next_output"
    config = {"units": chain.kernel.shape[1], "activation": "linear", "use_bias": True}
    nodes.append(_layer("Dense", end, [before], **config))
    stored.setdefault("dense", []).append((chain.kernel, chain.bias))
    if chain.increments:
        nodes.append(_layer("Add", "next_output", [["output", end]]))
    _write(path, nodes, inputs, stored)


def _config(op: Hidden) -> dict:
    config = {"units": op.kernel.shape[1], "activation": _named(op.activation), "use_bias": True}
    if isinstance(op, Recurrent):
        config |= {"units": op.units, "return_sequences": True}
        if not isinstance(op, SimpleRNN):
            config["recurrent_activation"] = _named(op.recurrent_activation)
        if isinstance(op, GRU):
            config["reset_after"] = op.reset_after
        if isinstance(op, LSTM) and op.cell_clip:
            raise ModelError(
                f"its LSTM holds its cell state within {op.cell_clip:g}, as TensorFlow Lite's do: "
                "take the network as Keras or ONNX have it"
            )
    return config


def _arrays(op: Hidden) -> list[np.ndarray]:
    """As Keras stores them: a GRU with `reset_after` has two biases, of which ONNX may have one."""
    *kernels, bias = op.constants.values()
    if isinstance(op, GRU) and op.reset_after and bias.ndim == 1:
        bias = np.stack([bias, np.zeros_like(bias)])
    return [*kernels, bias]


def _named(activation: Activation) -> str:
    if activation.name not in NAMED:
        raise ModelError(
            f"the activation {activation.term}: a recurrent network here has {', '.join(NAMED)}"
        )
    return activation.name


def _write(
    path: Path,
    nodes: list[dict],
    inputs: Mapping[str, int],
    stored: Mapping[str, Sequence[Sequence[np.ndarray]]],
) -> None:
    """`stored` has the arrays of each layer by the kind of layer, in the order of `nodes`."""
    import h5py

    config = {
        "name": "fk",
        "trainable": True,
        "layers": nodes,
        "input_layers": [[name, 0, 0] for name in inputs],
        "output_layers": [["next_output", 0, 0]],
    }
    model = {
        "module": "keras.src.models.functional",
        "class_name": "Functional",
        "registered_name": "Functional",
        "config": config,
    }
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        for kind, layers in stored.items():
            cell = "" if kind == "dense" else "/cell"
            for number, arrays in enumerate(layers):
                group = f"layers/{kind}{f'_{number}' * (number > 0)}{cell}/vars"
                for place, array in enumerate(arrays):
                    file[f"{group}/{place}"] = np.asarray(array, np.float32)
    entries = {
        "config.json": json.dumps(model, sort_keys=True).encode(),
        "metadata.json": json.dumps({"keras_version": KERAS_VERSION}).encode(),
        "model.weights.h5": content.getvalue(),
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries.items():
            archive.writestr(zipfile.ZipInfo(name, ZIP_TIME), data)


def _layer(kind: str, name: str, sources: Sequence = (), **config) -> dict:
    """A source is a layer's name, or a list of names for a layer that joins."""

    def tensor(of: str | list[str]) -> dict | list:
        if isinstance(of, list):
            return [tensor(one) for one in of]
        history = {"dtype": "float32", "keras_history": [of, 0, 0], "shape": [None, None]}
        return {"class_name": "__keras_tensor__", "config": history}

    called = [{"args": [tensor(s) for s in sources], "kwargs": {}}] if sources else []
    return {
        "module": "keras.layers",
        "class_name": kind,
        "name": name,
        "registered_name": None,
        "config": {"name": name, "dtype": "float32", **config},
        "inbound_nodes": called,
    }
