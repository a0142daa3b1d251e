"""Source models are run by Keras or TensorFlow Lite, and compared along whole sequences."""

from __future__ import annotations

import numpy as np
import pytest

tensorflow = pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
import keras  # noqa: E402

from nn4mc_codegen.importers import read_model  # noqa: E402
from nn4mc_codegen.trial.reference import compare_with_source  # noqa: E402

L = keras.layers


def save(model, path):
    random = np.random.default_rng(1)
    model.set_weights([w + random.normal(0, 0.1, w.shape) for w in model.get_weights()])
    model.save(path)
    return path


def two_inputs():
    a, b = L.Input((3,)), L.Input((2, 2))
    y = L.Concatenate()([L.Dense(4, activation="tanh")(a), L.Flatten()(b)])
    return keras.Model([a, b], L.Dense(2)(y))


MODELS = {
    "dense": lambda: keras.Sequential([L.Input((5,)), L.Dense(4, activation="elu"), L.Dense(2)]),
    "two_inputs": two_inputs,
    "any_length": lambda: keras.Sequential([L.Input((None, 3)), L.GRU(4), L.Dense(2)]),
    "seven_steps": lambda: keras.Sequential(
        [L.Input((7, 3)), L.LSTM(4, return_sequences=True), L.SimpleRNN(3)]
    ),
    "sequence_out": lambda: keras.Sequential([L.Input((None, 3)), L.GRU(4, return_sequences=True)]),
}


@pytest.mark.parametrize("name", MODELS)
def test_same_as_keras(name, tmp_path):
    path = save(MODELS[name](), tmp_path / "m.keras")
    found = compare_with_source(path, read_model(path)[0], 10, seed=0)
    assert found.passed and 0 < found.error < 2e-6
    assert found.runner == f"Keras {keras.__version__}"


@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_same_as_the_tflite_interpreter(dtype, tmp_path):
    model = MODELS["dense"]()
    converter = tensorflow.lite.TFLiteConverter.from_keras_model(model)
    random = np.random.default_rng(2)
    if dtype == "int8":
        converter.optimizations = [tensorflow.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: (
            [random.normal(size=(1, 5)).astype(np.float32)] for _ in range(50)
        )
        converter.target_spec.supported_ops = [tensorflow.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tensorflow.int8
    path = tmp_path / "m.tflite"
    path.write_bytes(converter.convert())
    found = compare_with_source(path, read_model(path)[0], 10, seed=0)
    assert found.runner == "TensorFlow Lite interpreter" and found.passed
    assert found.error <= (1 if dtype == "int8" else 2e-6)


def test_another_model_differs(tmp_path):
    one = save(MODELS["any_length"](), tmp_path / "one.keras")
    other = save(MODELS["any_length"](), tmp_path / "other.keras")
    found = compare_with_source(one, read_model(other)[0], 10, seed=0)
    assert not found.passed and found.error > 1e-3
