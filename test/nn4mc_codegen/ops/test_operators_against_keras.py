"""Every operator and its options: the generated C against the network that Keras saved.

Each network is built by Keras 3 or by Keras 2 (tf_keras), saved in the formats that the library
writes, and compiled. What it should do comes from the same library with the same weights in
float64, its Jacobian from tf.GradientTape.
"""

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
tf_keras = pytest.importorskip("tf_keras", reason="Keras 2 files are written by tf_keras")

from nn4mc_codegen import compile_model  # noqa: E402
from nn4mc_codegen.importers import read_model  # noqa: E402
from nn4mc_codegen.trial.host import HostCode, build_library  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # of the libraries about one another

# Absolute, for inputs and outputs of order 1: float32 sums of some hundred products.
OUTPUT_TOLERANCE = 2e-6
# Relative to the largest entry of the same Jacobian.
JACOBIAN_TOLERANCE = 1e-5
# Between a file's meaning in float64 and its library: constants such as SELU's have nine digits,
# folded batch normalisations are rounded once more.
MEANING_TOLERANCE = 5e-7
SAMPLES = 4

Make = Callable


def sequential(shape, *layers: Callable) -> Make:
    """A maker of a Sequential model; a layer is a function of the library's `layers`."""

    def make(K):
        return K.Sequential([K.Input(shape), *(layer(K.layers) for layer in layers)])

    return make


def last(units: int = 3) -> Callable:
    return lambda L: L.Dense(units)


def flat(L):
    return L.Flatten()


def two_paths(K):
    """Residual convolutions, joined in every way, one layer called twice."""
    L = K.layers
    x = L.Input((8, 3), name="x")
    conv = L.Conv1D(3, 3, padding="same", activation="tanh")
    a = L.Add()([x, conv(x)])
    b = L.Multiply()([a, conv(a)])
    joined = L.Concatenate(axis=1)([L.MaxPooling1D(2)(a), L.AveragePooling1D(2)(b)])
    return K.Model(x, L.Dense(3)(L.Flatten()(joined)))


def three_inputs(K):
    L = K.layers
    inputs = [L.Input((size,), name=name) for name, size in (("u", 3), ("y", 4), ("s", 5))]
    h = L.Dense(6, activation="tanh")(L.Concatenate()(inputs))
    gate = L.Dense(4, activation="sigmoid")(L.Concatenate()([h, inputs[2]]))
    return K.Model(inputs, L.Add()([inputs[1], L.Multiply()([gate, L.Dense(4)(h)])]))


def operators_of_tensors(K):
    """+ and * instead of layers, as Keras 3 saves them."""
    L = K.layers
    x = L.Input((5,), name="x")
    h = L.Dense(5, activation="tanh")(x)
    return K.Model(x, L.Dense(2)(h * x + h))


def normalised_where_it_cannot_be_folded(K):
    """What is normalised has an activation, or another reader, or is the input."""
    L = K.layers
    x = L.Input((5,), name="x")
    a = L.Dense(6, activation="elu")(L.BatchNormalization()(x))
    b = L.Dense(6)(L.BatchNormalization(scale=False)(a))
    return K.Model(x, L.Dense(3)(L.Concatenate()([b, L.BatchNormalization(center=False)(b)])))


def convolution_of_an_image(K):
    L = K.layers
    x = L.Input((8, 6, 2), name="image")
    h = L.ZeroPadding2D(((1, 0), (0, 1)))(x)
    h = L.Conv2D(4, 3, strides=2, use_bias=False)(h)
    h = L.ReLU(max_value=6.0)(L.BatchNormalization()(h))
    h = L.DepthwiseConv2D(3, padding="same", activation="relu6" if K is keras else "relu")(h)
    h = L.Conv2D(5, 1)(h)
    return K.Model(x, L.Dense(3, activation="softmax")(L.GlobalAveragePooling2D()(h)))


def differences(K):
    L = K.layers
    a, b = L.Input((4,), name="a"), L.Input((4,), name="b")
    larger = L.Maximum()([a, L.Minimum()([a, b])])
    return K.Model([a, b], L.Dense(2)(L.Subtract()([larger, b])))


def models_in_models(K):
    """One is called twice, the other makes two tensors, of which one is what it was given."""
    L = K.layers
    layers = [L.Dense(5, activation="tanh"), L.BatchNormalization(), L.Dense(4)]
    inner = K.Sequential([K.Input((4,)), *layers], name="inner")
    x, y = L.Input((4,)), L.Input((4,))
    two = K.Model([x, y], [L.Add()([L.Dense(4)(x), L.Dense(4)(y)]), x], name="two")
    a, b = L.Input((4,)), L.Input((4,))
    made = [inner(a), inner(b), *two([b, a]), *two([a, b])]
    return K.Model([a, b], L.Dense(2)(L.Concatenate()(made)))


def two_outputs(K):
    L = K.layers
    x = L.Input((4, 2))
    h = L.Dense(3, activation="tanh")(x)
    return K.Model(x, [h, L.Dense(2)(L.Flatten()(h))])


def states_in_and_out(K):
    """What a step makes of a state, as a filter has it that keeps its states itself."""
    L = K.layers
    x, h, c = L.Input((2, 3)), L.Input((4,)), L.Input((4,))
    return K.Model([x, h, c], L.LSTM(4, return_state=True)(x, initial_state=[h, c]))


def both_ways_from_states(K):
    """In the middle of a sequence that is read at once, another one's rows and mean."""
    L = K.layers
    x, h, g = L.Input((3, 2)), L.Input((2,)), L.Input((2,))
    ahead, back = (
        L.GRU(2, return_sequences=True),
        L.GRU(2, return_sequences=True, go_backwards=True),
    )
    both = L.Bidirectional(ahead, merge_mode="ave", backward_layer=back)
    y = both(x, initial_state=[h, g])
    return K.Model([x, h, g], L.Concatenate()([L.Flatten()(y), L.GlobalAveragePooling1D()(y)]))


NETWORKS: dict[str, Make] = {
    "conv1d": sequential(
        (12, 3),
        lambda L: L.Conv1D(5, 3, activation="tanh"),
        lambda L: L.Conv1D(4, 3, strides=2, padding="same"),
        flat,
        last(),
    ),
    "conv1d_causal": sequential(
        (9, 2),
        lambda L: L.Conv1D(4, 3, dilation_rate=2, padding="causal", activation="relu"),
        flat,
        last(),
    ),
    "conv1d_dilated": sequential(
        (9, 2),
        lambda L: L.Conv1D(4, 2, dilation_rate=3, padding="same", use_bias=False),
        lambda L: L.GlobalAveragePooling1D(),
    ),
    "conv1d_groups": sequential((7, 4), lambda L: L.Conv1D(6, 3, groups=2), flat, last()),
    "conv1d_wide": sequential((30, 1), lambda L: L.Conv1D(8, 9, activation="tanh"), flat, last(2)),
    "conv2d": sequential(
        (7, 6, 3),
        lambda L: L.Conv2D(4, (3, 2), strides=(2, 1), padding="same", activation="elu"),
        lambda L: L.Conv2D(6, 2, groups=2),
        flat,
        last(),
    ),
    "conv2d_dilated": sequential(
        (8, 7, 2), lambda L: L.Conv2D(3, 2, dilation_rate=(3, 2), activation="swish"), flat, last()
    ),
    "conv2d_image": convolution_of_an_image,
    "depthwise1d": sequential(
        (8, 3),
        lambda L: L.DepthwiseConv1D(3, depth_multiplier=2, padding="same", activation="tanh"),
        lambda L: L.DepthwiseConv1D(2, strides=2, use_bias=False),
        flat,
        last(),
    ),
    "depthwise2d": sequential(
        (6, 6, 3),
        lambda L: L.DepthwiseConv2D((3, 2), depth_multiplier=2, padding="same"),
        lambda L: L.DepthwiseConv2D(3, strides=2, activation="sigmoid"),
        flat,
        last(),
    ),
    "depthwise2d_wide": sequential((7, 7, 2), lambda L: L.DepthwiseConv2D(5), flat, last()),
    "separable1d": sequential(
        (6, 3), lambda L: L.SeparableConv1D(4, 3, padding="same", activation="elu"), flat, last()
    ),
    "separable2d": sequential(
        (6, 6, 2),
        lambda L: L.SeparableConv2D(4, 3, depth_multiplier=2),
        lambda L: L.GlobalMaxPooling2D(),
        last(),
    ),
    "max_pooling1d": sequential(
        (9, 3), lambda L: L.MaxPooling1D(3, strides=2, padding="same"), flat, last()
    ),
    "max_pooling2d": sequential(
        (7, 5, 2),
        lambda L: L.MaxPooling2D(2, padding="same"),
        lambda L: L.MaxPooling2D((2, 1), strides=1),
        flat,
        last(),
    ),
    "average_pooling1d": sequential(
        (9, 3), lambda L: L.AveragePooling1D(4, strides=3, padding="same"), flat, last()
    ),
    "average_pooling2d": sequential(
        (7, 5, 2),
        lambda L: L.AveragePooling2D(3, strides=2, padding="same"),
        lambda L: L.AveragePooling2D((2, 1)),
        flat,
        last(),
    ),
    "average_pooling_wide": sequential((16, 2), lambda L: L.AveragePooling1D(14), flat),
    "global_average1d": sequential((19, 3), lambda L: L.GlobalAveragePooling1D(), last()),
    "global_average2d": sequential(
        (3, 4, 2), lambda L: L.GlobalAveragePooling2D(keepdims=True), flat, last()
    ),
    "global_max1d": sequential((19, 3), lambda L: L.GlobalMaxPooling1D(keepdims=True), flat),
    "global_max2d": sequential((3, 4, 2), lambda L: L.GlobalMaxPooling2D(), last()),
    "zero_padding1d": sequential(
        (4, 3), lambda L: L.ZeroPadding1D((1, 2)), lambda L: L.Conv1D(3, 2), flat, last()
    ),
    "zero_padding2d": sequential(
        (4, 3, 2),
        lambda L: L.ZeroPadding2D(((1, 0), (2, 1))),
        lambda L: L.Conv2D(3, 2),
        lambda L: L.ZeroPadding2D(1),
        flat,
        last(),
    ),
    "zeros_in_the_output": sequential((3, 2), lambda L: L.ZeroPadding1D(1)),
    "batch_normalization": normalised_where_it_cannot_be_folded,
    "batch_normalization_folded": sequential(
        (6, 2),
        lambda L: L.Conv1D(4, 3),
        lambda L: L.BatchNormalization(),
        lambda L: L.BatchNormalization(),
        lambda L: L.ReLU(max_value=1.0),
        flat,
        lambda L: L.Dense(3, use_bias=False),
        lambda L: L.BatchNormalization(epsilon=0.01),
    ),
    "softmax": sequential(
        (6,),
        lambda L: L.Dense(5, activation="softmax"),
        lambda L: L.Dense(4),
        lambda L: L.Softmax(),
        last(),
        lambda L: L.Activation("softmax"),
    ),
    "softmax_of_rows": sequential(
        (3, 6), lambda L: L.Softmax(), lambda L: L.Conv1D(4, 1, activation="softmax"), flat
    ),
    "softmax_long": sequential((90,), lambda L: L.Softmax()),
    "dense_of_rows": sequential(
        (4, 3), lambda L: L.Dense(5, activation="tanh"), lambda L: L.Dense(2), flat
    ),
    "time_distributed": sequential(
        (4, 3),
        lambda L: L.TimeDistributed(L.Dense(5, activation="tanh")),
        lambda L: L.TimeDistributed(L.BatchNormalization()),
        lambda L: L.TimeDistributed(L.Activation("elu")),
        flat,
        last(),
    ),
    "reshaped": sequential(
        (12,),
        lambda L: L.Reshape((4, -1)),
        lambda L: L.Conv1D(2, 2),
        lambda L: L.Reshape((6,)),
        last(),
    ),
    "noise_dropped": sequential(
        (6, 3),
        lambda L: L.GaussianNoise(0.3),
        lambda L: L.SpatialDropout1D(0.5),
        lambda L: L.Conv1D(4, 3),
        lambda L: L.Dropout(0.5),
        lambda L: L.GaussianDropout(0.5),
        flat,
        last(),
    ),
    "differences": differences,
    "layer_normalization": sequential(
        (3, 4),
        lambda L: L.LayerNormalization(epsilon=0.01),
        lambda L: L.Dense(15, activation="tanh"),
        lambda L: L.LayerNormalization(scale=False),
        flat,
        last(2),
    ),
    "layer_normalization_of_two_axes": sequential(
        (4, 3), lambda L: L.LayerNormalization(axis=[1, 2], center=False), flat
    ),
    "normalization": sequential(
        (3,),
        lambda L: L.Normalization(mean=[1.0, -2.0, 0.5], variance=[4.0, 0.25, 1.0]),
        last(),
        lambda L: L.Normalization(axis=None, mean=0.5, variance=2.0),
        lambda L: L.Normalization(mean=[1.0, 0.0, 0.0], variance=[4.0, 1.0, 0.5], invert=True),
    ),
    "rescaling": sequential(
        (3, 2),
        lambda L: L.Rescaling(1 / 4.0, offset=-0.5),
        lambda L: L.Rescaling([2.0, 0.5], offset=[0.0, 1.0]),
        flat,
    ),
    "repeat_vector": sequential(
        (3,), lambda L: L.RepeatVector(4), lambda L: L.Conv1D(2, 2, activation="tanh"), flat
    ),
    "bidirectional": sequential(
        (4, 3),
        lambda L: L.Bidirectional(L.LSTM(2, return_sequences=True)),
        lambda L: L.Bidirectional(L.SimpleRNN(3), merge_mode="mul"),
        last(),
    ),
    "backwards": sequential(
        (4, 3), lambda L: L.GRU(3, return_sequences=True, go_backwards=True), flat
    ),
    "encoder_decoder": sequential(
        (4, 2),
        lambda L: L.LSTM(3),
        lambda L: L.RepeatVector(2),
        lambda L: L.GRU(3, return_sequences=True),
        lambda L: L.TimeDistributed(L.Dense(2)),
    ),
    "models_in_models": models_in_models,
    "two_outputs": two_outputs,
    "states_in_and_out": states_in_and_out,
    "both_ways_from_states": both_ways_from_states,
    "two_paths": two_paths,
    "three_inputs": three_inputs,
    "relu_max_value": sequential((6,), last(9), lambda L: L.ReLU(max_value=0.5), last()),
    "relu_threshold": sequential((6,), last(9), lambda L: L.ReLU(threshold=0.5), last()),
    "relu_of_all_kinds": sequential(
        (6,),
        last(9),
        lambda L: L.ReLU(max_value=0.9, negative_slope=0.125, threshold=0.25),
        last(),
    ),
    "leaky_relu": sequential((6,), last(9), lambda L: L.LeakyReLU(), last()),
    "elu_layer": sequential((6,), last(9), lambda L: L.ELU(0.5), last()),
}
ONLY_KERAS_3 = {"operators_of_tensors": operators_of_tensors}
ACTIVATIONS = (
    "linear relu elu selu sigmoid hard_sigmoid tanh softplus softsign swish gelu exponential"
).split()
for _name in ACTIVATIONS:
    NETWORKS[_name] = sequential(
        (5,), lambda L, name=_name: L.Dense(8, activation=name), lambda L: L.Dense(3)
    )
for _name in ("leaky_relu", "relu6", "hard_silu"):
    ONLY_KERAS_3[f"activation_{_name}"] = sequential(
        (5,), lambda L, name=_name: L.Dense(8, activation=name), lambda L: L.Dense(3)
    )
LIBRARIES = {"keras3": keras, "keras2": tf_keras}
# (network, library): the first of the formats is compiled, the others must mean the same.
CASES = [
    *((name, "keras3") for name in (*NETWORKS, *ONLY_KERAS_3)),
    *((name, "keras2") for name in NETWORKS),
]
FORMATS = {"keras3": ("keras", "h5"), "keras2": ("h5", "keras")}


@dataclass
class Case:
    x: np.ndarray
    y: np.ndarray
    jacobian: np.ndarray
    meanings: dict[str, np.ndarray]  # by the file's suffix
    code: HostCode


def set_precision(K, precision: str) -> None:
    if K is keras:
        keras.config.set_floatx(precision)
        keras.config.set_dtype_policy(precision)
    else:
        tf_keras.backend.set_floatx(precision)


def random_weights(model, random: np.random.Generator) -> list[np.ndarray]:
    """Near where training starts; biases and moving averages, which start at 0 and 1, moved."""
    weights = []
    for variable in model.weights:
        moved = random.normal(0.0, 0.1, variable.shape)
        variance = "variance" in getattr(variable, "path", variable.name)
        value = variable.numpy() + (np.abs(moved) if variance else moved)
        weights.append(value.astype(np.float32))
    return weights


def saved(name: str, make: Make, library: str, folder: Path) -> tuple[list[Path], object]:
    """The files of a network, and the network in float64."""
    K = LIBRARIES[library]
    random = np.random.default_rng(1)
    K.utils.set_random_seed(1)
    model = make(K)
    weights = random_weights(model, random)
    model.set_weights(weights)
    paths = [folder / f"{name}_{library}.{suffix}" for suffix in FORMATS[library]]
    for path in paths:
        model.save(path)
    set_precision(K, "float64")
    try:
        exact = make(K)
        exact.set_weights([w.astype(np.float64) for w in weights])
    finally:
        set_precision(K, "float32")
    return paths, exact


def flat_function(model) -> Callable:
    """The model as a function of its inputs side by side."""
    shapes = [tuple(t.shape[1:]) for t in model.inputs]
    sizes = [int(np.prod(shape)) for shape in shapes]

    def function(x):
        parts = [
            tf.reshape(part, (-1, *shape))
            for part, shape in zip(tf.split(x, sizes, axis=1), shapes, strict=True)
        ]
        y = model(parts if len(parts) > 1 else parts[0])
        several = y if isinstance(y, list | tuple) else [y]
        return tf.concat([tf.reshape(part, (len(x), -1)) for part in several], axis=1)

    return function


def taped(function: Callable, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values and Jacobians at the rows of x."""
    variable = tf.constant(x)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(variable)
        y = function(variable)
    slopes = tape.batch_jacobian(y, variable, experimental_use_pfor=False)
    return y.numpy(), slopes.numpy()


@pytest.fixture(scope="module")
def cases(tmp_path_factory) -> dict[str, Case]:
    """All networks, compiled with one call of the C compiler."""
    folder = tmp_path_factory.mktemp("networks")
    found = {}
    for name, library in CASES:
        make = {**NETWORKS, **ONLY_KERAS_3}[name]
        paths, exact = saved(name, make, library, folder)
        function = flat_function(exact)
        size = sum(int(np.prod(t.shape[1:])) for t in exact.inputs)
        x = np.random.default_rng(2).normal(0.0, 1.0, (SAMPLES, size)).astype(np.float32)
        y, jacobian = taped(function, x.astype(np.float64))
        meanings = {}
        for path in paths:
            graph, _ = read_model(path)
            meanings[path.suffix] = np.array([graph.evaluate(row) for row in x])
        compile_model(paths[0], folder, f"{name}_{library}", "all")
        found[f"{name}_{library}"] = x, y, jacobian, meanings
    library = folder / "all.so"
    build_library([folder / f"{case}.c" for case in found], library, "-O0")
    return {
        case: Case(*parts, HostCode(library, folder / f"{case}.h")) for case, parts in found.items()
    }


@pytest.mark.parametrize("case", ["_".join(case) for case in CASES])
def test_network(cases, case):
    found = cases[case]
    for meaning in found.meanings.values():
        np.testing.assert_allclose(meaning, found.y, rtol=0, atol=MEANING_TOLERANCE)
    for x, y, slopes in zip(found.x, found.y, found.jacobian, strict=True):
        output, jacobian = found.code.jacobian(x)
        np.testing.assert_allclose(output, y, rtol=0, atol=OUTPUT_TOLERANCE)
        np.testing.assert_array_equal(found.code.step(x), output)
        atol = JACOBIAN_TOLERANCE * np.abs(slopes).max()
        np.testing.assert_allclose(jacobian, slopes, rtol=0, atol=atol)
