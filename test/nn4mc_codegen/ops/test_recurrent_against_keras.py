"""Recurrent networks: the generated C step by step against what Keras makes of whole sequences.

A network that is saved with return_sequences=False gives its output at the end of a sequence; its
twin with True gives it at every step, and so does the C after each step.
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
from nn4mc_codegen.graph.ir import Graph  # noqa: E402
from nn4mc_codegen.importers import read_model  # noqa: E402
from nn4mc_codegen.trial.host import HostCode, build_library  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # of the libraries about one another

STEPS, RESETS = 200, (0, 77, 78, 140)
# Absolute, outputs of order 1: float32 rounding, which the gates damp from step to step.
OUTPUT_TOLERANCE = 2e-6
# Relative to the largest entry: products of three float32 Jacobians, one a step.
JACOBIAN_TOLERANCE = 1e-5
SECOND_ORDER_TOLERANCE = 1e-4
FEATURES = 4


def stack(*layers: Callable) -> Callable:
    """A maker of a Sequential model. A layer is a function of the library's `layers` and of the
    arguments that the last recurrent layer gets besides its own."""

    def make(K, steps: int | None, **recurrent):
        made = [layer(K.layers, recurrent) for layer in layers]
        return K.Sequential([K.Input((steps, FEATURES)), *made])

    return make


def dense(units: int = 3, activation: str | None = None) -> Callable:
    return lambda L, _: L.Dense(units, activation=activation)


def last(kind: str, units: int = 5, **config) -> Callable:
    return lambda L, recurrent: getattr(L, kind)(units, **(config | recurrent))


def inner(kind: str, units: int = 5, **config) -> Callable:
    def layer(L, recurrent):
        unroll = recurrent.get("unroll", False)
        return getattr(L, kind)(units, return_sequences=True, unroll=unroll, **config)

    return layer


def functional(K, steps: int | None, **recurrent):
    """Two sequences and a residual around the recurrent layer."""
    L = K.layers
    a, b = (L.Input((steps, size), name=name) for name, size in (("a", 3), ("b", 1)))
    x = L.Dense(5, activation="tanh")(L.Concatenate(axis=2)([a, b]))
    h = L.GRU(5, return_sequences=True, unroll=recurrent.get("unroll", False))(x)
    h = L.LSTM(4, **recurrent)(L.Add()([L.Multiply()([h, x]), h]))
    return K.Model([a, b], L.Dense(3)(h))


SMOOTH: dict[str, Callable] = {
    "gru": stack(last("GRU"), dense()),
    "gru_reset_before": stack(last("GRU", reset_after=False), dense(activation="tanh")),
    "gru_without_bias": stack(last("GRU", use_bias=False), dense()),
    "lstm": stack(last("LSTM"), dense()),
    "lstm_swish": stack(last("LSTM", activation="swish", unit_forget_bias=False), dense()),
    "simple_rnn": stack(last("SimpleRNN", activation="sigmoid"), dense()),
    "stacked": stack(inner("LSTM"), inner("GRU", 4, reset_after=False), last("SimpleRNN", 3)),
    "time_distributed": stack(
        lambda L, _: L.TimeDistributed(L.Dense(6, activation="tanh")),
        lambda L, _: L.BatchNormalization(),
        inner("GRU"),
        lambda L, _: L.Dropout(0.5),
        lambda L, _: L.Dense(4, activation="softmax"),
        last("LSTM", 3),
    ),
    "functional": functional,
}
NETWORKS: dict[str, Callable] = SMOOTH | {
    "lstm_softsign": stack(last("LSTM", activation="softsign"), dense()),
    "gru_hard_sigmoid": stack(last("GRU", recurrent_activation="hard_sigmoid"), dense()),
    "gru_before_hard_sigmoid": stack(
        last("GRU", recurrent_activation="hard_sigmoid", reset_after=False), dense()
    ),
    "lstm_hard_sigmoid": stack(last("LSTM", recurrent_activation="hard_sigmoid"), dense()),
    "gru_relu": stack(last("GRU", activation="relu", recurrent_dropout=0.3), dense()),
    "rnn_elu": stack(last("SimpleRNN", activation="elu", use_bias=False), dense()),
}
LIBRARIES = {"keras3": keras, "keras2": tf_keras}
SUFFIXES = {"keras3": ("keras", "h5"), "keras2": ("h5", "keras")}
CASES = [(name, library) for name in NETWORKS for library in LIBRARIES]


@dataclass
class Case:
    weights: list[np.ndarray]
    graphs: list[Graph]  # of each format
    code: HostCode


def in_float64(K, make: Callable, weights: list[np.ndarray], *arguments, **recurrent):
    """The network in float64 with these weights."""
    precision = keras.config if K is keras else tf_keras.backend
    precision.set_floatx("float64")
    if K is keras:
        keras.config.set_dtype_policy("float64")
    try:
        exact = make(K, *arguments, **recurrent)
        exact.set_weights([w.astype(np.float64) for w in weights])
    finally:
        precision.set_floatx("float32")
        if K is keras:
            keras.config.set_dtype_policy("float32")
    return exact


def moved(variable, random: np.random.Generator) -> np.ndarray:
    """A weight near where training starts, biases away from 0; smaller, so that no network blows
    up in 200 steps."""
    return (0.7 * variable.numpy() + np.abs(random.normal(0.0, 0.1, variable.shape))).astype(
        np.float32
    )


@pytest.fixture(scope="module")
def cases(tmp_path_factory) -> dict[str, Case]:
    """All networks; the files in one format are compiled, with one call of the C compiler."""
    folder = tmp_path_factory.mktemp("recurrent")
    random = np.random.default_rng(1)
    found = {}
    for name, library in CASES:
        K = LIBRARIES[library]
        K.utils.set_random_seed(1)
        model = NETWORKS[name](K, None)
        model.set_weights([moved(w, random) for w in model.weights])
        case = f"{name}_{library}"
        paths = [folder / f"{case}.{suffix}" for suffix in SUFFIXES[library]]
        for path in paths:
            model.save(path)
        chosen = dict.fromkeys(("jacobian", "vjp", "jvp", "hvp"), "all,state")
        compile_model(paths[0], folder, case, **chosen)
        found[case] = model.get_weights(), [read_model(path)[0] for path in paths]
    library = folder / "all.so"
    build_library([folder / f"{case}.c" for case in found], library, "-O0")
    return {c: Case(*parts, HostCode(library, folder / f"{c}.h")) for c, parts in found.items()}


def inputs_of(model, x: np.ndarray) -> list:
    """x (batch, steps, features) as the model's inputs."""
    sizes = [t.shape[-1] for t in model.inputs]
    parts = tf.split(tf.constant(x), sizes, axis=2)
    return parts if len(parts) > 1 else parts[0]


@pytest.mark.parametrize(("name", "library"), CASES)
def test_sequence_with_resets(cases, name, library):
    case = cases[f"{name}_{library}"]
    K = LIBRARIES[library]
    exact = in_float64(K, NETWORKS[name], case.weights, None, return_sequences=True)
    x = np.random.default_rng(2).normal(0.0, 1.0, (STEPS, FEATURES)).astype(np.float32)
    resets = np.isin(np.arange(STEPS), RESETS)
    found = case.code.run(x, resets=resets)["y"]
    for begin, end in zip(RESETS, (*RESETS[1:], STEPS), strict=True):
        y = exact(inputs_of(exact, x[None, begin:end].astype(np.float64))).numpy()[0]
        np.testing.assert_allclose(found[begin:end], y, rtol=0, atol=OUTPUT_TOLERANCE)
    first, second = (graph.run(x[:10])[0] for graph in case.graphs)
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(("name", "library"), CASES)
def test_jacobians_of_three_steps(cases, name, library):
    """d y(3) / d x(1), x(2), x(3): the Jacobians of the steps, through the states."""
    case = cases[f"{name}_{library}"]
    exact = in_float64(LIBRARIES[library], NETWORKS[name], case.weights, 3, unroll=True)
    x = np.random.default_rng(3).normal(0.0, 1.0, (3, FEATURES)).astype(np.float32)
    variable = tf.constant(x[None].astype(np.float64))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(variable)
        y = exact(inputs_of(exact, variable))
    expected = tape.batch_jacobian(y, variable, experimental_use_pfor=False)[0].numpy()

    outputs = y.shape[1]
    found = case.code.run(x, "jacobian", resets=[True, False, False])
    matrices = found["jacobian"].astype(np.float64)
    matrices = matrices.reshape(3, -1, FEATURES + found["state"].shape[1])
    np.testing.assert_allclose(found["y"][2], y[0], rtol=0, atol=OUTPUT_TOLERANCE)
    through = matrices[2, :outputs]
    slopes = []
    for step in (2, 1, 0):
        slopes.append(through[:, :FEATURES])
        through = through[:, FEATURES:] @ matrices[step - 1, outputs:]
    atol = JACOBIAN_TOLERANCE * np.abs(expected).max()
    np.testing.assert_allclose(np.stack(slopes[::-1], 1), expected, rtol=0, atol=atol)


@pytest.mark.parametrize(("name", "library"), [c for c in CASES if c[0] in SMOOTH])
def test_second_order_products_of_two_steps(cases, name, library):
    """d/dx (v'·y(2)) along t, x = (x(1), x(2)): jvp, vjp and hvp of the steps, put together."""
    case = cases[f"{name}_{library}"]
    exact = in_float64(LIBRARIES[library], NETWORKS[name], case.weights, 2, unroll=True)
    random = np.random.default_rng(4)
    x, t = random.normal(0.0, 1.0, (2, 2, FEATURES)).astype(np.float32)
    variable = tf.constant(x[None].astype(np.float64))
    with tf.GradientTape() as outer:
        outer.watch(variable)
        with tf.GradientTape() as tape:
            tape.watch(variable)
            y = exact(inputs_of(exact, variable))
            v = random.normal(0.0, 1.0, y.shape[1]).astype(np.float32)
            loss = tf.reduce_sum(y * v)
        along = tf.reduce_sum(tape.gradient(loss, variable) * t)
    expected = outer.gradient(along, variable)[0].numpy()

    run = case.code.run
    middle = run(x[0])["state"]
    start = np.zeros_like(middle)
    nothing, no_rows = np.zeros(middle.shape[1]), np.zeros(len(v))
    only_x = np.concatenate([t[0], nothing])
    moved = run(x[0], "jvp", state=start, t=only_x)["dy"][0, len(v) :]
    only_y = np.concatenate([v, nothing])
    second = run(x[1], "hvp", state=middle, v=only_y, t=np.concatenate([t[1], moved]))["h"][0]
    pull = run(x[1], "vjp", state=middle, v=only_y)["g"][0, FEATURES:]
    bend = run(x[0], "hvp", state=start, v=np.concatenate([no_rows, pull]), t=only_x)["h"][0]
    back = np.concatenate([no_rows, second[FEATURES:]])
    first = run(x[0], "vjp", state=start, v=back)["g"][0] + bend
    found = np.stack([first[:FEATURES], second[:FEATURES]])
    atol = SECOND_ORDER_TOLERANCE * np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=atol)


def single_model(K, *layers):
    return K.Sequential([K.Input((FEATURES,)), *layers])


def test_one_step_by_reshape_and_flatten(tmp_path):
    """One sample made a sequence of one step: the network then carries its state all the same."""
    L = keras.layers
    model = single_model(
        keras,
        L.Reshape((1, FEATURES)),
        L.GRU(5, return_sequences=True),
        L.Flatten(),
        L.Dense(3),
    )
    twin = keras.Sequential([keras.Input((None, FEATURES)), *model.layers[1:2], model.layers[3]])
    model.save(tmp_path / "m.keras")
    code = built(tmp_path / "m.keras")
    x = np.random.default_rng(0).normal(size=(20, FEATURES)).astype(np.float32)
    np.testing.assert_allclose(code.run(x)["y"], twin(x[None])[0], atol=OUTPUT_TOLERANCE)


def test_time_major_and_stateful(tmp_path):
    """The batch axis is second, and its size is in the file: Keras 3 reads no such file."""
    L = tf_keras.layers
    model = tf_keras.Sequential(
        [
            L.LSTM(5, time_major=True, stateful=False, return_sequences=True,
                   batch_input_shape=(None, 1, FEATURES)),
            L.GRU(4, time_major=True),
        ]
    )  # fmt: skip
    model.save(tmp_path / "m.h5")
    code = built(tmp_path / "m.h5")
    x = np.random.default_rng(0).normal(size=(20, FEATURES)).astype(np.float32)
    expected = model(x[:, None]).numpy()[0]
    np.testing.assert_allclose(code.run(x)["y"][-1], expected, atol=OUTPUT_TOLERANCE)

    stateful = tf_keras.Sequential(
        [L.SimpleRNN(3, stateful=True, batch_input_shape=(1, 2, FEATURES)), L.Dense(2)]
    )
    stateful.save(tmp_path / "s.h5")
    code = built(tmp_path / "s.h5")
    expected = [stateful(pair[None]).numpy()[0] for pair in x.reshape(10, 2, FEATURES)]
    np.testing.assert_allclose(code.run(x)["y"][1::2], expected, atol=OUTPUT_TOLERANCE)


def test_published_gru(shared_data: Path, tmp_path):
    """A file of Keras 2.2.4, which Keras 3 does not load; tf_keras does."""
    path = shared_data / "published_models" / "tendon_gru.hdf5"
    model = tf_keras.models.load_model(path, compile=False)
    compile_model(path, tmp_path)
    build_library([tmp_path / "fk.c"], tmp_path / "fk.so")
    code = HostCode(tmp_path / "fk.so", tmp_path / "fk.h")
    x = np.random.default_rng(0).normal(0.0, 0.5, (STEPS, 21)).astype(np.float32)
    gru, dense_layer = model.layers
    state, expected = tf.zeros((1, 10)), []
    for row in x:
        h, (state,) = gru.cell(tf.constant(row[None]), [state])
        expected.append(dense_layer(h).numpy()[0])
    np.testing.assert_allclose(code.run(x)["y"], expected, atol=OUTPUT_TOLERANCE)


def smooth(seed: int) -> np.ndarray:
    """Eight sequences of 50 steps, each step 0.8 times the one before plus noise."""
    x = np.random.default_rng(seed).normal(0.0, 0.6, (8, 50, FEATURES))
    for k in range(1, x.shape[1]):
        x[:, k] += 0.8 * x[:, k - 1]
    return x.astype(np.float32)


def rounded(variable) -> np.ndarray:
    """A kernel with a step a column, 127 of them up to its largest weight."""
    w = variable.numpy()
    step = np.abs(w).max(axis=0) / 127
    return np.rint(w / step) * step


def in_int8(x: np.ndarray, typical: np.ndarray) -> np.ndarray:
    """x in 255 steps of the range of what is typical."""
    low, high = typical.min(), typical.max()
    step = (high - low) / np.float32(255)
    return np.rint(np.clip(x, low, high) / step) * step


@pytest.mark.parametrize(
    "layers",
    [
        [last("GRU", 16)],
        pytest.param([last("GRU", 16, reset_after=False)], marks=pytest.mark.long),
        [last("LSTM", 32)],
        pytest.param(
            [last("LSTM", 16, recurrent_activation="hard_sigmoid")], marks=pytest.mark.long
        ),
        [inner("GRU", 16), last("LSTM", 16)],
    ],
    ids=["gru", "gru_reset_before", "lstm", "hard_sigmoid", "stacked"],
)
def test_int8_along_sequences(tmp_path, layers):
    """The C in int8 against Keras in float32, on sequences that it was not calibrated by.

    What int8 costs anybody is what Keras itself makes of kernels, inputs and results of layers that
    are rounded to it. Beyond that the C rounds h on its way into the products, and the weights of x
    and h share a scale. Measured, RMS: 0.24 to 0.35 % of the output's range, 1.09 to 1.42 times
    what Keras makes of rounded numbers; at most 0.8 to 3.3 %, where inputs leave their range.
    """
    keras.utils.set_random_seed(1)
    network = stack(*layers, dense())
    model = network(keras, None)
    model.save(tmp_path / "m.keras")
    np.save(tmp_path / "typical.npy", smooth(1))
    compile_model(
        tmp_path / "m.keras", tmp_path, dtype="int8", representative=tmp_path / "typical.npy"
    )
    build_library([tmp_path / "fk.c"], tmp_path / "fk.so")
    code = HostCode(tmp_path / "fk.so", tmp_path / "fk.h")
    x = smooth(2)
    exact = network(keras, None, return_sequences=True)
    exact.set_weights(model.get_weights())
    y = exact(x).numpy()
    found = code.run(x.reshape(-1, FEATURES), resets=np.arange(x[..., 0].size) % 50 == 0)["y"]

    weights = [rounded(w) if "kernel" in w.name else w.numpy() for w in model.weights]
    exact.set_weights(weights)
    coarse = in_int8(x, smooth(1))
    for part in exact.layers:
        z = part(coarse).numpy()
        coarse = in_int8(z, z)

    def rms(z: np.ndarray) -> float:
        return float(np.sqrt(np.mean((z.reshape(y.shape) - y) ** 2)))

    assert rms(found) < 1.5 * rms(coarse)
    assert rms(found) < 0.005 * np.ptp(y)


def built(path: Path) -> HostCode:
    compile_model(path, path.parent)
    library = path.with_suffix(".so")
    build_library([path.parent / "fk.c"], library)
    return HostCode(library, path.parent / "fk.h")


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (
            lambda L: [L.Conv1D(3, 2), L.GRU(3)],
            r"layer 'input\w*': input shape .* is not fixed",
        ),
        (
            lambda L: [L.GRU(3, return_sequences=True), L.GlobalAveragePooling1D()],
            r"layer 'global_average_pooling1d\w*': GlobalAveragePooling1D needs several time steps",
        ),
        (
            lambda L: [L.GRU(3, return_sequences=True), L.Flatten()],
            r"layer 'flatten\w*': Flatten needs several time steps at once",
        ),
        (
            lambda L: [L.GRU(3, return_sequences=True), L.Softmax(axis=1)],
            r"layer 'softmax\w*': Softmax along the time axis",
        ),
        (lambda L: [L.GRU(3, go_backwards=True)], r"layer 'gru\w*': .*backwards"),
        (lambda L: [L.Bidirectional(L.GRU(3))], r"'bidirectional\w*': Bidirectional .* whole seq"),
        (lambda L: [L.Masking(), L.GRU(3)], r"'masking\w*': Masking .* cannot be left out"),
        (lambda L: [L.RNN(L.GRUCell(3))], r"layer 'rnn\w*': RNN is not supported"),
        (
            lambda L: [L.GRU(2), L.RepeatVector(3), L.GRU(3)],
            r"layer 'repeat_vector\w*': RepeatVector needs several time steps at once",
        ),
        (
            lambda L: [L.GRU(4), L.Reshape((2, 2)), L.GRU(3)],
            r"layer 'reshape\w*': Reshape makes several time steps of one",
        ),
    ],
)
@pytest.mark.parametrize("library", LIBRARIES)
def test_what_has_no_single_step_is_refused_where_the_sequence_is_open(
    tmp_path, layers, message, library
):
    """Of a fixed length it is read at once: see test_operators_against_keras.py."""
    K = LIBRARIES[library]
    model = K.Sequential([K.Input((None, FEATURES)), *layers(K.layers)])
    path = tmp_path / f"m.{SUFFIXES[library][0]}"
    model.save(path)
    with pytest.raises(ValueError, match=message):
        compile_model(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
