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


def every_kind():
    """Windows, normalisations, activations in each of their forms, layers of training alone."""
    return keras.Sequential(
        [
            L.Input((8, 8, 3)),
            L.Conv2D(4, 3, padding="same", activation="relu"),
            L.BatchNormalization(),
            L.SeparableConv2D(5, 3, strides=2),
            L.MaxPooling2D(2),
            L.ZeroPadding2D(1),
            L.DepthwiseConv2D(2),
            L.Reshape((4, 5)),
            L.Conv1D(3, 2, padding="causal", activation=L.LeakyReLU(negative_slope=0.2)),
            L.AveragePooling1D(2),
            L.Reshape((-1,)),
            *(L.Dense(4), L.ReLU(max_value=1.0, negative_slope=0.1), L.Dense(4), L.ELU(0.5)),
            *(L.Dropout(0.3), L.GaussianNoise(0.1), L.ActivityRegularization(l2=0.1)),
            L.Dense(3, activation="softmax"),
        ]
    )


def sequences():
    """Of any length, with axes that count from the front inside and outside a wrapper."""
    return keras.Sequential(
        [
            L.Input((None, 3)),
            L.TimeDistributed(L.Dense(4, activation="tanh")),
            L.LSTM(3, return_sequences=True),
            L.TimeDistributed(L.BatchNormalization(axis=1)),
            L.BatchNormalization(axis=2),
            L.GRU(3, reset_after=False, return_sequences=True),
            L.TimeDistributed(L.Softmax(axis=1)),
        ]
    )


def seven_steps():
    return keras.Sequential(
        [L.Input((7, 3)), L.LSTM(4, return_sequences=True), L.SimpleRNN(3), L.Dense(2)]
    )


@pytest.mark.parametrize("make", [two_inputs, every_kind, sequences, seven_steps])
def test_same_as_keras(make, tmp_path):
    path = save(make(), tmp_path / "m.keras")
    found = compare_with_source(path, read_model(path)[0], 10, seed=0)
    assert found.error is not None, found.runner
    assert found.passed and 0 < found.error < 2e-6
    assert found.runner == f"Keras {keras.__version__}"


def test_a_file_of_keras_2_means_what_keras_2_meant(tmp_path):
    """Keras 3's hard_sigmoid is another function: 0.02 away from it and more."""
    tf_keras = pytest.importorskip("tf_keras", reason="tf_keras is not installed")
    layers = tf_keras.layers
    gru = layers.GRU(4, recurrent_activation="hard_sigmoid")
    model = [layers.Input((None, 3)), gru, layers.Dense(2, activation="hard_sigmoid")]
    path = save(tf_keras.Sequential(model), tmp_path / "m.h5")
    found = compare_with_source(path, read_model(path)[0], 10, seed=0)
    assert found.passed and found.error is not None, found.runner
    assert found.runner == f"Keras {tf_keras.__version__}"


@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_same_as_the_tflite_interpreter(dtype, tmp_path):
    model = keras.Sequential([L.Input((5,)), L.Dense(4, activation="elu"), L.Dense(2)])
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


def test_8_bit_weights_of_float_arithmetic_are_compared_as_floats(tmp_path):
    """The interpreter's own kernels, which round activations too, are far from them."""
    model = keras.Sequential([L.Input((40,)), L.Dense(40, activation="tanh"), L.Dense(2)])
    converter = tensorflow.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tensorflow.lite.Optimize.DEFAULT]
    path = tmp_path / "m.tflite"
    path.write_bytes(converter.convert())
    found = compare_with_source(path, read_model(path)[0], 10, seed=0)
    assert found.passed and 0 < found.error < 2e-6
    assert found.runner == "TensorFlow Lite interpreter with its 8-bit weights as float32"
    own = float(
        found.remark.removeprefix(
            "on these weights it rounds activations to 8 bits too and differs by "
        )
    )
    assert 1e-4 < own < 0.1


def test_another_model_differs(tmp_path):
    one = save(seven_steps(), tmp_path / "one.keras")
    other = save(seven_steps(), tmp_path / "other.keras")
    found = compare_with_source(one, read_model(other)[0], 10, seed=0)
    assert not found.passed and found.error > 1e-3
