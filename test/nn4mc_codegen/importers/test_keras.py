"""Keras files without Keras: both layouts, both versions, and everything that must be refused."""

from __future__ import annotations

import io
import json
import pickle
import zipfile

import h5py
import numpy as np
import pytest

from nn4mc_codegen.graph.check import ModelError
from nn4mc_codegen.importers import read_model

RANDOM = np.random.default_rng(0)
KERNEL = RANDOM.normal(size=(3, 2)).astype(np.float32)
BIAS = RANDOM.normal(size=2).astype(np.float32)
X = np.array([0.3, -0.2, 0.5])


def dense(name: str = "dense", units: int = 2, **config) -> dict:
    config = {"name": name, "units": units, "activation": "linear", "use_bias": True} | config
    return {"class_name": "Dense", "config": config}


def sequential(*layers: dict, shape=(None, 3)) -> dict:
    if layers:
        layers[0]["config"]["batch_input_shape"] = shape
    return {"class_name": "Sequential", "config": {"name": "s", "layers": list(layers)}}


def hdf5_weights(**arrays) -> dict:
    return {layer: [("kernel", k), ("bias", b)] for layer, (k, b) in arrays.items()}


def test_keras_2_sequential(files):
    path = files.hdf5(sequential(dense()), hdf5_weights(dense=(KERNEL, BIAS)))
    graph, model_hash = read_model(path)
    assert [t.name for t in graph.inputs] == ["dense"]
    assert len(model_hash) == 16 and int(model_hash, 16) >= 0
    # float64 arithmetic on float32 weights, here and there.
    np.testing.assert_allclose(graph.evaluate(X), X @ KERNEL.astype(float) + BIAS, rtol=1e-12)


def test_keras_2_layers_as_a_plain_list(files):
    config = sequential(dense())
    config["config"] = config["config"]["layers"]
    graph, _ = read_model(files.hdf5(config, hdf5_weights(dense=(KERNEL, BIAS))))
    np.testing.assert_allclose(graph.evaluate(X), X @ KERNEL.astype(float) + BIAS, rtol=1e-12)


def keras_2_functional() -> dict:
    """y + dense([u, y]), with inbound nodes as Keras 2 lists them and layers out of order."""

    def layer(class_name, name, *inbound, **config):
        nodes = [[[n, 0, 0, {}] for n in inbound]] if inbound else []
        config = {"name": name} | config
        return {
            "class_name": class_name,
            "name": name,
            "config": config,
            "inbound_nodes": nodes,
        }

    return {
        "class_name": "Model",
        "config": {
            "layers": [
                layer("Add", "add", "y", "dense"),
                layer("Dense", "dense", "drop", units=2, activation="tanh", use_bias=False),
                layer("Dropout", "drop", "join", rate=0.1),
                layer("Concatenate", "join", "u", "y", axis=-1),
                layer("InputLayer", "u", batch_input_shape=[None, 1], dtype="float32"),
                layer("InputLayer", "y", batch_input_shape=[None, 2], dtype="float32"),
            ],
            "input_layers": [["u", 0, 0], ["y", 0, 0]],
            "output_layers": [["add", 0, 0]],
        },
    }


def test_keras_2_functional(files):
    path = files.hdf5(keras_2_functional(), {"dense": [("kernel", KERNEL)]})
    graph, _ = read_model(path)
    assert {t.name: t.size for t in graph.inputs} == {"u": 1, "y": 2}
    expected = X[1:] + np.tanh(X @ KERNEL.astype(float))
    np.testing.assert_allclose(graph.evaluate(X), expected, rtol=1e-12)


def keras_tensor(name: str, call: int = 0) -> dict:
    return {"class_name": "__keras_tensor__", "config": {"keras_history": [name, call, 0]}}


def keras_3_twice() -> dict:
    """One Dense called on both inputs, added: weights are there once."""

    def node(*args):
        return {"args": list(args), "kwargs": {}}

    inputs = [
        {
            "class_name": "InputLayer",
            "name": name,
            "config": {"name": name, "batch_shape": [None, 3], "dtype": "float32"},
            "inbound_nodes": [],
        }
        for name in "ab"
    ]
    policy = {"class_name": "DTypePolicy", "config": {"name": "float32"}}
    shared = dense("my_layer", dtype=policy) | {
        "inbound_nodes": [node(keras_tensor("a")), node(keras_tensor("b"))]
    }
    add = {
        "class_name": "Add",
        "config": {"name": "sum"},
        "inbound_nodes": [node([keras_tensor("my_layer", 0), keras_tensor("my_layer", 1)])],
    }
    return {
        "class_name": "Functional",
        "config": {
            "layers": [*inputs, shared, add],
            "input_layers": [["a", 0, 0], ["b", 0, 0]],
            "output_layers": ["sum", 0, 0],
        },
    }


def test_keras_3_zip_with_a_shared_layer(files):
    graph, _ = read_model(files.zip(keras_3_twice(), {"dense": [KERNEL, BIAS]}))
    x = np.concatenate([X, -2 * X])
    expected = -X @ KERNEL.astype(float) + 2 * BIAS
    np.testing.assert_allclose(graph.evaluate(x), expected, rtol=1e-12)


@pytest.mark.parametrize(("version", "at_2"), [("2.15.0", 0.9), ("3.4.1", 5 / 6)])
def test_hard_sigmoid_means_what_the_version_means(files, version, at_2):
    config = sequential(dense(activation="hard_sigmoid", units=1), shape=(None, 1))
    weights = hdf5_weights(dense=(np.ones((1, 1), np.float32), np.zeros(1, np.float32)))
    graph, _ = read_model(files.hdf5(config, weights, version))
    np.testing.assert_allclose(graph.evaluate([2.0]), at_2, rtol=1e-7)  # float32 slope


@pytest.mark.parametrize(
    ("activation", "value_at_minus_1"),
    [
        ("relu", 0.0),
        (None, -1.0),
        ({"class_name": "LeakyReLU", "config": {"alpha": 0.25}}, -0.25),
        ({"class_name": "LeakyReLU", "config": {"negative_slope": 0.5}}, -0.5),
        ({"class_name": "LeakyReLU", "config": {}}, -0.3),
        ("leaky_relu", -0.2),
        ({"module": "builtins", "class_name": "function", "config": "relu"}, 0.0),
        ({"class_name": "ReLU", "config": {"negative_slope": 0.5, "max_value": None}}, -0.5),
        ({"class_name": "ELU", "config": {"alpha": 0.5}}, 0.5 * np.expm1(-1.0)),
    ],
)
def test_forms_of_activations(files, activation, value_at_minus_1):
    config = sequential(dense(activation=activation, units=1), shape=(None, 1))
    weights = hdf5_weights(dense=(np.ones((1, 1), np.float32), np.zeros(1, np.float32)))
    graph, _ = read_model(files.hdf5(config, weights))
    np.testing.assert_allclose(graph.evaluate([-1.0]), value_at_minus_1, rtol=1e-7)


def layer(class_name: str, **config) -> dict:
    return {"class_name": class_name, "config": {"name": "odd", **config}}


REFUSED_LAYERS = [
    (layer("Attention"), r"layer 'odd': Attention is not supported; build the model from"),
    (layer("Lambda", function="gAAB"), r"layer 'odd': Lambda is not supported"),
    (layer("Functional", layers=[]), r"the model 'odd' has no layer"),
    (layer("Dense", units=2, activation="mish"), r"'odd': activation 'mish' is not supported"),
    (
        layer("Dense", units=2, activation={"class_name": "function", "config": "mine"}),
        r"'odd': activation 'mine'",
    ),
    (layer("Dense", units=2, dtype="float16"), r"'odd': computes in float16"),
    (
        layer("Dense", units=2, dtype={"class_name": "P", "config": {"name": "mixed_bfloat16"}}),
        r"'odd': computes in mixed_bfloat16",
    ),
    (layer("Dense", units=2, quantization_config={"bits": 8}), r"'odd': its weights are quantised"),
    (layer("Dense", units=5), r"'odd': kernel has shape \(3, 2\) but the layer has 5 units"),
    (layer("ReLU", max_value=-1.0), r"'odd': ReLU with .* maximum -1; use none below 0"),
    (layer("LeakyReLU", negative_slope=-0.1), r"'odd': ReLU with slope -0.1"),
    (layer("ELU", alpha="x"), r"'odd': alpha is 'x'"),
    (layer("Concatenate", axis=0), r"'odd': concatenates along axis 0"),
    (layer("Flatten", data_format="channels_first"), r"'odd': data_format channels_first"),
]


@pytest.mark.parametrize(("odd", "message"), REFUSED_LAYERS)
def test_unknown_layers_are_refused_by_name(files, odd, message):
    weights = hdf5_weights(odd=(KERNEL, BIAS))
    path = files.hdf5(sequential(odd), weights)
    with pytest.raises(ModelError, match=message) as refusal:
        read_model(path)
    assert str(refusal.value).startswith("model.h5: ")
    assert "\n" not in str(refusal.value)


def broken_weights() -> dict:
    kernel = KERNEL.copy()
    kernel[1, 1] = np.nan
    return {
        "NaN": (hdf5_weights(dense=(kernel, BIAS)), r"'dense': 1 of 6 weights W are NaN"),
        "infinite": (hdf5_weights(dense=(KERNEL, BIAS / 0)), r"'dense': 2 of 2 weights b are NaN"),
        "missing": ({"dense": [("kernel", KERNEL)]}, r"'dense': the file has 1 of its arrays"),
        "none": ({}, r"'dense': the file has 0 of its arrays"),
        "double": (hdf5_weights(dense=(KERNEL.astype(float), BIAS)), r"'dense': kernel is float64"),
        "bias": (hdf5_weights(dense=(KERNEL, BIAS[:1])), r"'dense': bias has shape \(1,\)"),
        "inputs": (hdf5_weights(dense=(KERNEL[:2], BIAS)), r"'dense' \(Dense\) takes 2 inputs"),
    }


with np.errstate(divide="ignore"):
    BROKEN_WEIGHTS = broken_weights()


@pytest.mark.parametrize("case", BROKEN_WEIGHTS)
def test_broken_weights_are_refused(files, case):
    weights, message = BROKEN_WEIGHTS[case]
    with pytest.raises(ModelError, match=message):
        read_model(files.hdf5(sequential(dense()), weights))


def test_weights_in_another_file_are_refused(files):
    path = files.hdf5(sequential(dense()), hdf5_weights(dense=(KERNEL, BIAS)))
    with h5py.File(path, "a") as file:
        del file["model_weights/dense/dense/bias:0"]
        file["model_weights/dense/dense/bias:0"] = h5py.ExternalLink("other.h5", "bias")
    with pytest.raises(ModelError, match="link to another file"):
        read_model(path)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((None, None), "input shape .* is not fixed"),
        ((None, 10**12), "too large"),
        (None, "input shape is not in the file"),
        ((None, -3), "not fixed"),
    ],
)
def test_absurd_input_shapes_are_refused(files, shape, message):
    path = files.hdf5(sequential(dense(), shape=shape), hdf5_weights(dense=(KERNEL, BIAS)))
    with pytest.raises(ModelError, match=message):
        read_model(path)


def test_numbers_among_the_inputs_of_a_layer_are_refused(files):
    config = keras_3_twice()
    config["config"]["layers"][-1]["inbound_nodes"][0]["args"] = [keras_tensor("my_layer"), 1.0]
    with pytest.raises(ModelError, match="'sum': is called with something that is no tensor"):
        read_model(files.zip(config, {"dense": [KERNEL, BIAS]}))


def test_circle_is_refused(files):
    config = keras_2_functional()
    config["config"]["layers"][2]["inbound_nodes"] = [[["dense", 0, 0, {}]]]
    with pytest.raises(ModelError, match="its inputs are made by no layer"):
        read_model(files.hdf5(config, {"dense": [("kernel", KERNEL)]}))


def test_names_cannot_break_the_line_or_the_terminal(files):
    odd = layer("Lambda")
    odd["config"]["name"] = "a\nb\x1b[2J"
    with pytest.raises(ModelError, match="Lambda") as refusal:
        read_model(files.hdf5(sequential(odd), {}))
    assert str(refusal.value).isprintable()


def zip_of(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("_", "."), content)
    return buffer.getvalue()


CONTENTS = {
    "empty": b"",
    "text": b"not a model",
    "pickle": pickle.dumps({"a": 1}),
    "zip magic": b"PK\x03\x04 and no more",
    "zip of nothing": zip_of(),
    "zip of garbage": zip_of(config_json=b"{", metadata_json=b"{}", **{"model.weights.h5": b"x"}),
    "zip of lists": zip_of(
        config_json=b"[[[]]]", metadata_json=b"[]", **{"model.weights.h5": b"\x89HDF\r\n\x1a\n"}
    ),
    "deep json": zip_of(
        config_json=b"[" * 10**5, metadata_json=b"{}", **{"model.weights.h5": b"x"}
    ),
    "bomb": zip_of(config_json=bytes(1 << 25), metadata_json=b"{}", **{"model.weights.h5": b""}),
    "hdf5 magic": b"\x89HDF\r\n\x1a\n" + bytes(600),
}


@pytest.mark.parametrize("content", CONTENTS)
def test_garbage_is_refused_in_one_line(tmp_path, content):
    path = tmp_path / "some.keras"
    path.write_bytes(CONTENTS[content])
    with pytest.raises(ModelError, match=r"^some\.keras: ") as refusal:
        read_model(path)
    assert str(refusal.value).isprintable()


def test_weights_alone_are_refused(tmp_path):
    path = tmp_path / "w.h5"
    with h5py.File(path, "w") as file:
        file["dense/kernel:0"] = KERNEL
    with pytest.raises(ModelError, match=r"no model_config: weights alone; save the whole model"):
        read_model(path)


def test_file_that_is_not_there(tmp_path):
    with pytest.raises(ModelError, match="No such file"):
        read_model(tmp_path / "none.keras")


def test_config_is_read_and_not_run(files, tmp_path):
    """A Lambda layer carries code; it is refused by its class and its code is never looked at."""
    trap = tmp_path / "trap"
    code = f"open({str(trap)!r}, 'w')"
    odd = layer("Lambda", function={"class_name": "__lambda__", "config": {"code": code}})
    with pytest.raises(ModelError, match="Lambda is not supported"):
        read_model(files.hdf5(json.loads(json.dumps(sequential(odd))), {}))
    assert not trap.exists()
