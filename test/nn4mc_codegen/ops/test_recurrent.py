"""SimpleRNN, GRU, LSTM: sequences, states that can be saved, derivatives to inputs and states."""

from __future__ import annotations

import numpy as np
import pytest

from nn4mc_codegen.graph.check import ModelError
from nn4mc_codegen.graph.options import Options
from nn4mc_codegen.ops.activation import Activation
from nn4mc_codegen.ops.recurrent import GRU, LSTM, SimpleRNN
from nn4mc_codegen.printing.emit import emit

# float32 against float64 along 200 steps; gates of order 1 forget what rounding adds.
SEQUENCE_TOLERANCE = 2e-6
# Relative to the largest entry: a few roundings more than the values.
JACOBIAN_TOLERANCE = 1e-5
SECOND_ORDER_TOLERANCE = 1e-4
STEPS = 200
INPUTS = 5

TANH, SIGMOID = Activation("tanh"), Activation("sigmoid")
HARD = Activation("hard_sigmoid", (("a", 0.2),))


class Layers:
    """Recurrent operators with random weights."""

    def __init__(self, seed: int):
        self._random = np.random.default_rng(seed)

    def _arrays(self, inputs: int, units: int, gates: int, biases: int):
        def normal(*shape):
            return self._random.normal(0.0, shape[0] ** -0.5, shape).astype(np.float32)

        bias = self._random.normal(0.0, 0.5, (biases, gates * units)).astype(np.float32)
        kernels = normal(inputs, gates * units), normal(units, gates * units)
        return *kernels, bias if biases == 2 else bias[0]

    def rnn(self, inputs, units, f=TANH):
        return SimpleRNN(*self._arrays(inputs, units, 1, 1), f)

    def gru(self, inputs, units, f=TANH, gate=SIGMOID, reset_after=True, biases=2):
        return GRU(*self._arrays(inputs, units, 3, biases), f, gate, reset_after)

    def lstm(self, inputs, units, f=TANH, gate=SIGMOID, cell_clip=0.0):
        return LSTM(*self._arrays(inputs, units, 4, 1), f, gate, cell_clip)


STACKS = {
    "simple_rnn": lambda a: [a.rnn(INPUTS, 4)],
    "gru": lambda a: [a.gru(INPUTS, 6)],
    "gru_one_bias": lambda a: [a.gru(INPUTS, 3, biases=1)],
    "gru_reset_before": lambda a: [a.gru(INPUTS, 7, reset_after=False, biases=1)],
    "gru_hard": lambda a: [a.gru(INPUTS, 4, gate=HARD, reset_after=False, biases=1)],
    "lstm": lambda a: [a.lstm(INPUTS, 5)],
    "lstm_softsign": lambda a: [a.lstm(INPUTS, 2, f=Activation("softsign"))],
    "lstm_clipped": lambda a: [a.lstm(INPUTS, 3, cell_clip=0.3)],
    "stack": lambda a: [a.gru(INPUTS, 4), a.lstm(4, 3), a.rnn(3, 6)],
}
SMOOTH = [name for name in STACKS if name not in ("gru_hard", "lstm_clipped")]


@pytest.fixture(scope="module")
def graphs(build):
    """Each stack with a Dense layer before it and one after it."""
    found = {}
    for seed, (name, make) in enumerate(STACKS.items()):
        b = build(seed)
        h = b.dense(b.input(4, name="x"), INPUTS)
        for op in make(Layers(seed)):
            h = b.apply(op, h)
        found[name] = b.graph(b.dense(h, 3, TANH))
    return found


@pytest.fixture(scope="module")
def codes(graphs, compile_graphs):
    """Each graph in each mode, with all derivatives to inputs and states."""
    keys = [(name, mode) for name in graphs for mode in ("speed", "balanced", "size")]
    wanted = dict.fromkeys(("jacobian", "vjp", "jvp", "hvp"), ("all", "state"))
    cases = [(graphs[name], {"optimize": mode, **wanted}) for name, mode in keys]
    return dict(zip(keys, compile_graphs(cases), strict=True))


def test_sequences_with_a_reset_midway(graphs, codes):
    x = np.random.default_rng(0).normal(size=(STEPS, 4)).astype(np.float32)
    resets = np.isin(np.arange(STEPS), (0, 77))
    for (name, _), code in codes.items():
        first, second = graphs[name].run(x[:77]), graphs[name].run(x[77:])
        found = code.run(x, resets=resets)
        for key, number in (("y", 0), ("state", 1)):
            expected = np.concatenate([first[number], second[number]])
            np.testing.assert_allclose(found[key], expected, rtol=0, atol=SEQUENCE_TOLERANCE)


def test_run_is_step_after_step(codes):
    x = np.random.default_rng(1).normal(size=(20, 4)).astype(np.float32)
    for code in codes.values():
        stepped = code.run(x)
        y, state = code.sequence(x)
        np.testing.assert_array_equal(y, stepped["y"][-1])
        np.testing.assert_array_equal(state, stepped["state"][-1])


def test_a_copied_state_goes_on_where_it_was_saved(codes):
    x = np.random.default_rng(2).normal(size=(20, 4)).astype(np.float32)
    for code in codes.values():
        whole = code.run(x)
        saved = whole["state"][9]
        again = code.run(x[10], state=saved)
        np.testing.assert_array_equal(again["y"][0], whole["y"][10])
        np.testing.assert_array_equal(again["state"][0], whole["state"][10])


def test_jacobian_also_steps(graphs, codes):
    x = np.random.default_rng(3).normal(size=(12, 4)).astype(np.float32)
    for (name, _), code in codes.items():
        stepped, found = code.run(x), code.run(x, "jacobian")
        for key in ("y", "state"):
            np.testing.assert_array_equal(found[key], stepped[key])
        state = np.zeros(graphs[name].state_size)
        for row, jacobian, after in zip(x, found["jacobian"], found["state"], strict=True):
            expected = graphs[name].full_jacobian(row, state)
            atol = JACOBIAN_TOLERANCE * np.abs(expected).max()
            np.testing.assert_allclose(
                jacobian.reshape(expected.shape), expected, rtol=0, atol=atol, err_msg=name
            )
            state = after


def test_products_leave_the_state_alone(graphs, codes):
    random = np.random.default_rng(4)
    for (name, _), code in codes.items():
        graph = graphs[name]
        rows, columns = 3 + graph.state_size, 4 + graph.state_size
        x, state = (random.normal(size=n).astype(np.float32) for n in (4, graph.state_size))
        v, t = (random.normal(size=n).astype(np.float32) for n in (rows, columns))
        jacobian = graph.full_jacobian(x, state)
        pulled = code.run(x, "vjp", state=state, v=v)
        pushed = code.run(x, "jvp", state=state, t=t)
        for found, key, expected in ((pulled, "g", v @ jacobian), (pushed, "dy", jacobian @ t)):
            atol = JACOBIAN_TOLERANCE * np.abs(expected).max()
            np.testing.assert_allclose(found[key][0], expected, rtol=0, atol=atol)
            np.testing.assert_array_equal(found["state"][0], state)


def test_second_order_products(graphs, codes):
    random = np.random.default_rng(5)
    step = 1e-5  # central differences in float64: an error of order 1e-10
    for (name, _), code in codes.items():
        if name not in SMOOTH:
            continue
        graph = graphs[name]
        x, state = (random.normal(size=n).astype(np.float32) for n in (4, graph.state_size))
        v = random.normal(size=3 + graph.state_size).astype(np.float32)
        t = random.normal(size=4 + graph.state_size).astype(np.float32)
        z, along = np.concatenate([x, state]).astype(np.float64), t.astype(np.float64)
        ahead, behind = (
            v @ graph.full_jacobian(*np.split(z + s * along, [4])) for s in (step, -step)
        )
        expected = (ahead - behind) / (2 * step)
        found = code.run(x, "hvp", state=state, v=v, t=t)["h"][0]
        atol = SECOND_ORDER_TOLERANCE * np.abs(expected).max()
        np.testing.assert_allclose(found, expected, rtol=0, atol=atol, err_msg=name)


def test_meaning_of_the_jacobian_is_a_difference(graphs):
    random = np.random.default_rng(6)
    step = 1e-6
    for graph in graphs.values():
        z = random.normal(size=4 + graph.state_size)

        def value(z, graph=graph):
            return np.concatenate(graph.step(z[:4], z[4:]))

        columns = [(value(z + step * e) - value(z - step * e)) / (2 * step) for e in np.eye(z.size)]
        jacobian = graph.full_jacobian(z[:4], z[4:])
        # The difference's own error is of order 1e-10.
        np.testing.assert_allclose(jacobian, np.transpose(columns), rtol=0, atol=1e-8)


def test_states_in_the_header(graphs, origin):
    header = emit(graphs["stack"], Options(jacobian="x,state:layer_2_c"), origin).texts["fk.h"]
    for line in (
        "#define FK_STATES 16",
        "#define FK_LAYER_1_OFFSET 0",
        "#define FK_LAYER_2_H_OFFSET 4",
        "#define FK_LAYER_2_C_OFFSET 7",
        "#define FK_LAYER_2_C_SIZE 3",
        "#define FK_JACOBIAN_COLUMNS 7",
        "#define FK_JACOBIAN_ROWS 19",
        "void fk_reset(fk_state *state);",
    ):
        assert line in header.splitlines()
    assert "x[0..3], state[7..9]" in header


def test_unknown_state_is_refused(graphs, origin):
    with pytest.raises(ModelError, match="no input 'state:x'; .* the states state, state:layer_1"):
        emit(graphs["gru"], Options(jacobian="state:x"), origin)


def test_wrong_number_of_inputs_is_refused():
    with pytest.raises(ValueError, match="takes 5 inputs a step"):
        Layers(0).gru(5, 3).output_shape([(4,)])
