"""The network file of a model directory, written without TensorFlow.

What `training` trains, as Keras 3 saves it. The same layers give the same bytes.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

ZIP_TIME = (1980, 1, 1, 0, 0, 0)
KERAS_VERSION = "3.4.1"
"""Of the format."""


def write_increment_network(
    path: Path, layers: Sequence[tuple[np.ndarray, np.ndarray]], inputs: Mapping[str, int]
) -> None:
    """Dense layers on all named inputs, joined, tanh between them; their last result is added to
    the input `output`. Kernels (inputs, units), biases (units,)."""
    import h5py

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
    stored = io.BytesIO()
    with h5py.File(stored, "w") as file:
        for number, (kernel, bias) in enumerate(layers):
            group = f"layers/dense{f'_{number}' * (number > 0)}/vars"
            file[f"{group}/0"] = np.asarray(kernel, np.float32)
            file[f"{group}/1"] = np.asarray(bias, np.float32)
    entries = {
        "config.json": json.dumps(model, sort_keys=True).encode(),
        "metadata.json": json.dumps({"keras_version": KERAS_VERSION}).encode(),
        "model.weights.h5": stored.getvalue(),
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(zipfile.ZipInfo(name, ZIP_TIME), content)


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
