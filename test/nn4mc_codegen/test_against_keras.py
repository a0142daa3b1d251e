"""The generated C against Keras and TensorFlow: outputs, and Jacobians from tf.GradientTape."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
tf = pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")

from nn4mc_codegen import compile_model  # noqa: E402
from nn4mc_codegen.trial.host import HostCode, build_library  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

L = keras.layers
# Absolute, for outputs of order 1: both sides sum in float32, in different orders.
OUTPUT_TOLERANCE = 1e-6
# Relative to the largest entry of the same Jacobian.
JACOBIAN_TOLERANCE = 1e-5
SAMPLES = 16


def increment():
    """The form of a trained rig model: y(k+1) = y(k) + net(u, y, past y, signals)."""
    sizes = {"commands": 6, "output": 3, "past_outputs": 6, "signals": 11}
    inputs = [L.Input((size,), name=name) for name, size in sizes.items()]
    h = L.Concatenate()(inputs)
    h = L.Dense(32, activation="tanh")(h)
    h = L.Dense(32, activation="tanh")(h)
    return keras.Model(inputs, L.Add()([inputs[1], L.Dense(3)(h)]))


def increment_without_signals():
    """One output lag and no signals: `+` instead of an Add layer."""
    inputs = [L.Input((4,), name="commands"), L.Input((3,), name="output")]
    h = L.Dense(8, activation="elu")(L.Concatenate()(inputs))
    return keras.Model(inputs, inputs[1] + L.Dense(3)(h))


def sequential_with_dropout():
    return keras.Sequential(
        [
            L.Input((2, 6)),
            L.Flatten(),
            L.Dense(10, activation="relu"),
            L.Dropout(0.2),
            L.GaussianNoise(0.1),
            L.Dense(5, activation=L.LeakyReLU(negative_slope=0.1)),
            L.Dense(3, activation="tanh"),
        ]
    )


def branches():
    """Two branches, one layer called twice, inputs in a dict, many outputs of few inputs."""
    a, b = L.Input((2,), name="b_first"), L.Input((2,), name="a_second")
    shared = L.Dense(9, activation="sigmoid")
    joined = L.Concatenate()([shared(a), b, shared(b)])
    return keras.Model({"b_first": a, "a_second": b}, L.Dense(12, activation="tanh")(joined))


def activation_layers():
    x = L.Input((5,), name="x")
    h = L.Dense(7)(x)
    h = L.Activation("tanh")(h)
    h = L.Dense(7)(h)
    h = L.ReLU()(h)
    h = L.Dense(7)(h)
    h = L.ELU(alpha=0.7)(h)
    h = L.Activation("linear")(h)
    return keras.Model(x, L.LeakyReLU()(L.Dense(7)(h)))


def one_activation(name):
    def make():
        return keras.Sequential([L.Input((4,)), L.Dense(6, activation=name), L.Dense(2)])

    make.__name__ = name
    return make


ACTIVATIONS = "linear relu leaky_relu elu selu tanh sigmoid softplus softsign hard_sigmoid".split()
MODELS = [
    increment,
    increment_without_signals,
    sequential_with_dropout,
    branches,
    activation_layers,
    *map(one_activation, ACTIVATIONS),
]
JACOBIANS = {"increment": "commands,output,past_outputs", "branches": "b_first"}


@dataclass
class Case:
    code: HostCode
    function: Callable  # TensorFlow's, from the flat inputs (batch, inputs) to the outputs
    input_size: int
    chosen: tuple[int, ...]


@pytest.fixture(scope="module")
def cases(tmp_path_factory) -> dict[str, Case]:
    """Each model in both file formats, compiled with one call of the C compiler."""
    folder = tmp_path_factory.mktemp("keras")
    keras.utils.set_random_seed(3)
    random = np.random.default_rng(3)  # biases, which Keras starts at zero
    results, functions = {}, {}
    for make in MODELS:
        model = make()
        model.set_weights([w + random.normal(0.0, 0.1, w.shape) for w in model.get_weights()])
        for suffix in ("keras", "h5"):
            name = f"{make.__name__}_{suffix}"
            path = folder / f"{make.__name__}.{suffix}"
            model.save(path)
            jacobian = JACOBIANS.get(make.__name__, "all")
            results[name] = compile_model(path, folder, name, jacobian)
            functions[name] = flat_function(model, results[name].inputs)
    library = folder / "all.so"
    build_library([r.files[1] for r in results.values()], library)
    return {
        name: Case(
            HostCode(library, r.files[0]),
            functions[name],
            sum(r.inputs.values()),
            r.jacobian_columns,
        )
        for name, r in results.items()
    }


def flat_function(model, inputs: dict[str, int]) -> Callable:
    """The model as a function of one flat input, its parts given by name."""
    shapes = {t.name: t.shape[1:] for t in model.inputs}

    def function(x):
        if len(inputs) == 1:
            return model(tf.reshape(x, (-1, *model.inputs[0].shape[1:])))
        parts = tf.split(x, list(inputs.values()), axis=1)
        named = {
            name: tf.reshape(part, (-1, *shapes[name]))
            for name, part in zip(inputs, parts, strict=True)
        }
        given = model.input if isinstance(model.input, dict) else [t.name for t in model.inputs]
        return model(named if isinstance(given, dict) else [named[name] for name in given])

    return function


NAMES = [f"{make.__name__}_{suffix}" for make in MODELS for suffix in ("keras", "h5")]


def compare(case: Case) -> None:
    x = np.random.default_rng(0).normal(0.0, 0.7, (SAMPLES, case.input_size)).astype(np.float32)
    variable = tf.constant(x)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(variable)
        y = case.function(variable)
    slopes = tape.batch_jacobian(y, variable, experimental_use_pfor=False)
    expected = slopes.numpy()[:, :, list(case.chosen)]
    for i in range(SAMPLES):
        output, jacobian = case.code.jacobian(x[i])
        np.testing.assert_allclose(output, y[i], rtol=0, atol=OUTPUT_TOLERANCE)
        atol = JACOBIAN_TOLERANCE * np.abs(slopes[i]).max()
        np.testing.assert_allclose(jacobian, expected[i], rtol=0, atol=atol)


@pytest.mark.parametrize("name", NAMES)
def test_outputs_and_jacobian(cases, name):
    compare(cases[name])


def test_order_of_named_inputs(cases, tmp_path):
    model = increment()
    model.save(tmp_path / "m.keras")
    result = compile_model(tmp_path / "m.keras", tmp_path)
    assert result.inputs == {"commands": 6, "output": 3, "past_outputs": 6, "signals": 11}


def test_published_hasel_network(shared_data: Path, tmp_path):
    """Keras 3 does not load this file of Keras 2.2.4; its layers are spelled out here."""
    import h5py

    path = shared_data / "published_models" / "hasel_dense_2022-06-06.hdf5"
    with h5py.File(path) as file:
        w = {
            (i, kind): file[f"model_weights/dense_{i}/dense_{i}/{kind}:0"][()]
            for i in (1, 2, 3)
            for kind in ("kernel", "bias")
        }

    def function(x):
        h = tf.nn.relu(x @ w[1, "kernel"] + w[1, "bias"])
        h = tf.nn.relu(h @ w[2, "kernel"] + w[2, "bias"])
        return tf.tanh(h @ w[3, "kernel"] + w[3, "bias"])

    result = compile_model(path, tmp_path, jacobian=18)
    assert result.jacobian_columns == tuple(range(18))
    build_library([result.files[1]], tmp_path / "fk.so")
    compare(Case(HostCode(tmp_path / "fk.so", result.files[0]), function, 36, tuple(range(18))))


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "elu", "selu", "hard_sigmoid"])
def test_derivative_at_kinks_is_tensorflows(name, tmp_path):
    """Also of the C, which has only the output to go by: the kinks are exact there."""
    x = np.array([[0.0, -3.0, 3.0]] if name == "hard_sigmoid" else [[0.0, 0.0, 0.0]], np.float32)
    model = keras.Sequential([L.Input((3,)), L.Activation(name)])
    model.save(tmp_path / "m.keras")
    result = compile_model(tmp_path / "m.keras", tmp_path, jacobian="all")
    build_library([result.files[1]], tmp_path / "m.so")
    variable = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(variable)
        y = model(variable)
    slopes = tape.gradient(y, variable)[0]
    _, jacobian = HostCode(tmp_path / "m.so", result.files[0]).jacobian(x[0])
    np.testing.assert_allclose(np.diag(jacobian), slopes, rtol=1e-6)  # two roundings


def test_lambda_layer_is_refused(tmp_path):
    model = keras.Sequential([L.Input((3,)), L.Lambda(lambda x: x * 2, name="twice")])
    model.save(tmp_path / "m.keras")
    with pytest.raises(ValueError, match=r"^m\.keras: layer 'twice': Lambda is not supported"):
        compile_model(tmp_path / "m.keras", tmp_path / "out")
    assert not (tmp_path / "out").exists()
