"""NAME_push and NAME_push_last: many directions at once, against the graph's Jacobian and
TensorFlow's forward mode."""

from __future__ import annotations

import os

import numpy as np
import pytest

from nn4mc_codegen.graph.check import ModelError
from nn4mc_codegen.graph.options import MAX_PUSH, Options
from nn4mc_codegen.ops.activation import Activation
from nn4mc_codegen.ops.add import Add
from nn4mc_codegen.ops.concatenate import Concatenate
from nn4mc_codegen.ops.dense import Dense
from nn4mc_codegen.ops.multiply import Multiply
from nn4mc_codegen.ops.recurrent import GRU, LSTM, SimpleRNN
from nn4mc_codegen.trial.host import HostCode, build_library

# Relative to the largest entry, of float32 against float64: sums of some hundred products.
TOLERANCE = 2e-6
DIRECTIONS = 10
STRIDE = 12
TANH, SIGMOID = Activation("tanh"), Activation("sigmoid")
RNG = np.random.default_rng(0)


def arrays(inputs: int, units: int, gates: int, biases: int = 1):
    def normal(*shape):
        return RNG.normal(0.0, shape[0] ** -0.5, shape).astype(np.float32)

    bias = RNG.normal(0.0, 0.5, (biases, gates * units)).astype(np.float32)
    kernels = normal(inputs, gates * units), normal(units, gates * units)
    return *kernels, bias if biases == 2 else bias[0]


def gru(inputs: int, units: int, reset_after: bool = True) -> GRU:
    return GRU(*arrays(inputs, units, 3, 1 + reset_after), TANH, SIGMOID, reset_after)


def residual(b):
    """Increments of an input that is fed back, beside a product of two layers."""
    commands, output = b.input(3, name="commands"), b.input(2, name="output")
    h = b.apply(gru(5, 7), b.apply(Concatenate(0), commands, output))
    g = b.dense(h, 7, Activation("relu"))
    h = b.apply(SimpleRNN(*arrays(7, 2, 1), TANH), b.apply(Multiply(), h, g))
    return b.graph(b.apply(Add(), output, h))


def beside(b):
    """An input that is fed back past the layer, which does not read it."""
    h = b.apply(gru(3, 4), b.input(3, name="commands"))
    return b.graph(b.apply(Add(), b.input(2, name="output"), b.dense(h, 2)))


def stack(*ops):
    def make(b):
        h = b.input(4, name="x")
        for op in ops:
            h = b.apply(op, h)
        return b.graph(b.dense(h, 3) if not isinstance(ops[-1], Dense) else h)

    return make


NETWORKS = {
    "gru": stack(gru(4, 6)),
    "gru_reset_before": stack(gru(4, 9, reset_after=False)),
    "lstm": stack(LSTM(*arrays(4, 5, 4), TANH, SIGMOID)),
    "deep": stack(gru(4, 5), LSTM(*arrays(5, 3, 4), TANH, SIGMOID), gru(3, 6, False)),
    "residual": residual,
    "beside": beside,
    "state_is_output": lambda b: b.graph(b.apply(gru(2, 3), b.input(2, name="x"))),
    "dense": lambda b: b.graph(b.dense(b.dense(b.input(5, name="x"), 9, TANH), 2)),
}


@pytest.fixture(scope="module")
def graphs(build):
    return {name: make(build(seed)) for seed, (name, make) in enumerate(NETWORKS.items())}


@pytest.fixture(scope="module")
def codes(graphs, compile_graphs):
    keys = [(name, "balanced") for name in graphs]
    keys += [
        (name, mode) for name in ("gru_reset_before", "residual") for mode in ("speed", "size")
    ]
    cases = [(graphs[name], {"optimize": mode, "push": DIRECTIONS}) for name, mode in keys]
    return dict(zip(keys, compile_graphs(cases), strict=True))


def tangents(graph, directions: int, carried: int):
    """Rows of x and of the state (…, STRIDE): commands that move one at a time, and others."""
    dx = np.zeros((graph.input_size, STRIDE), np.float32)
    ds = np.zeros((graph.state_size, STRIDE), np.float32)
    dx[:, :carried] = RNG.normal(size=(graph.input_size, carried))
    ds[:, :carried] = RNG.normal(size=(graph.state_size, carried))
    for d in range(carried, directions):
        dx[d % graph.input_size, d] = 1.0
    return dx, ds


@pytest.mark.parametrize(("directions", "carried"), [(10, 10), (10, 4), (7, 5), (3, 0)])
def test_all_directions_are_those_of_the_jacobian(graphs, codes, directions, carried):
    for (name, mode), code in codes.items():
        graph = graphs[name]
        x = RNG.normal(size=graph.input_size).astype(np.float32)
        state = (0.5 * RNG.normal(size=graph.state_size)).astype(np.float32)
        dx, ds = tangents(graph, directions, carried)
        given = {"dx": dx.ravel(), "directions": directions}
        if graph.states:
            given |= {"dstate": ds.ravel(), "carried": carried, "state": state}
        found = code.run(x, "push", **given)
        stepped = code.run(x, **({"state": state} if graph.states else {}))
        expected = graph.full_jacobian(x, state) @ np.vstack([dx, ds])
        both = np.concatenate([found["dy"][0], found.get("dnext", np.zeros((1, 0)))[0]])
        both = both.reshape(-1, STRIDE)
        filled = -(-directions // 4) * 4
        atol = TOLERANCE * np.abs(expected).max()
        np.testing.assert_allclose(
            both[:, :filled], expected[:, :filled], rtol=0, atol=atol, err_msg=f"{name} {mode}"
        )
        assert np.isnan(both[:, filled:]).all()  # nothing is written there
        for key in stepped:
            np.testing.assert_allclose(found[key], stepped[key], rtol=0, atol=TOLERANCE)
        if graph.states:
            last = code.run(x, "push_last", **given)
            dy = last["dy"].reshape(-1, STRIDE)[:, :filled]
            np.testing.assert_allclose(dy, expected[: len(dy), :filled], rtol=0, atol=atol)
            np.testing.assert_array_equal(last["state"], found["state"])


def test_no_way_back_for_as_many_outputs_as_directions(build, compile_graphs):
    graph = NETWORKS["gru"](build())
    (code,) = compile_graphs([(graph, {"push": 3})])
    with pytest.raises(ValueError, match="declares no n0_push_last"):
        code.run(np.zeros(4), "push_last")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"push": MAX_PUSH + 1}, f"push {MAX_PUSH + 1} is not within 0 and {MAX_PUSH}"),
        ({"push": 4, "dtype": "int8"}, "push is of networks of floats"),
    ],
)
def test_options_that_are_refused(options, message):
    with pytest.raises(ModelError, match=message):
        Options(**options)


@pytest.mark.filterwarnings("ignore")  # of the libraries about one another
def test_forward_mode_of_tensorflow(tmp_path):
    """A GRU of 59 units and 15 inputs, two layers of them, as in docs/recurrent_mpc.md."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    tf = pytest.importorskip("tensorflow")
    keras = pytest.importorskip("keras")
    from nn4mc_codegen import compile_model

    keras.utils.set_random_seed(3)
    units, inputs, outputs, directions = 59, 15, 5, 8
    x = keras.Input((None, inputs))
    h = keras.layers.GRU(units, return_sequences=True)(x)
    model = keras.Model(x, keras.layers.Dense(outputs)(keras.layers.GRU(units)(h)))
    model.save(tmp_path / "m.keras")
    compile_model(tmp_path / "m.keras", tmp_path, push=directions)
    build_library([tmp_path / "fk.c"], tmp_path / "fk.so", "-O1")
    code = HostCode(tmp_path / "fk.so", tmp_path / "fk.h")

    cells = [keras.layers.GRUCell(units, dtype="float64") for _ in range(2)]
    for cell, layer, size in zip(cells, model.layers[1:3], (inputs, units), strict=True):
        cell.build((1, size))
        cell.set_weights([w.astype(np.float64) for w in layer.get_weights()])
    kernel, bias = (w.astype(np.float64) for w in model.layers[3].get_weights())

    def network(x, first, second):
        _, (first,) = cells[0](x, [first])
        _, (second,) = cells[1](first, [second])
        return second @ kernel + bias, first, second

    rng = np.random.default_rng(4)
    row = rng.normal(size=inputs).astype(np.float32)
    state = (0.5 * rng.normal(size=2 * units)).astype(np.float32)
    dx, ds = (rng.normal(size=(n, directions)).astype(np.float32) for n in (inputs, 2 * units))
    values = [tf.constant(v[None].astype(np.float64)) for v in (row, *np.split(state, 2))]
    expected = []
    for d in range(directions):
        along = (dx[:, d], ds[:units, d], ds[units:, d])
        along = [tf.constant(t[None].astype(np.float64)) for t in along]
        with tf.autodiff.ForwardAccumulator(values, along) as forward:
            results = network(*values)
        expected.append(np.concatenate([forward.jvp(r).numpy().ravel() for r in results]))
    expected = np.array(expected).T
    found = code.run(row, "push", state=state, dx=dx.ravel(), dstate=ds.ravel())
    last = code.run(row, "push_last", state=state, dx=dx.ravel(), dstate=ds.ravel())
    both = np.concatenate([found["dy"][0], found["dnext"][0]]).reshape(-1, directions)
    atol = TOLERANCE * np.abs(expected).max()
    np.testing.assert_allclose(both, expected, rtol=0, atol=atol)
    dy = last["dy"].reshape(-1, directions)
    np.testing.assert_allclose(dy, expected[:outputs], rtol=0, atol=atol)
