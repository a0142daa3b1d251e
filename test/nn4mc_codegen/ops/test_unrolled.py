"""A recurrent step along a whole sequence: the step itself, again and again."""

from __future__ import annotations

import numpy as np
import pytest

from nn4mc_codegen.ops.activation import Activation
from nn4mc_codegen.ops.recurrent import GRU, LSTM, SimpleRNN
from nn4mc_codegen.ops.unrolled import Unrolled

INPUTS, UNITS, STEPS = 2, 3, 4
TANH, SIGMOID = Activation("tanh"), Activation("sigmoid")


def cell(kind: type):
    random = np.random.default_rng(0)
    gates = kind.gates * UNITS
    arrays = [random.normal(size=s).astype(np.float32) for s in ((INPUTS, gates), (UNITS, gates))]
    bias = random.normal(size=gates).astype(np.float32)
    more = {SimpleRNN: (TANH,), GRU: (TANH, SIGMOID, False), LSTM: (TANH, SIGMOID)}[kind]
    return kind(*arrays, bias, *more)


CELLS = [cell(kind) for kind in (SimpleRNN, GRU, LSTM)]
CASES = [(c, starts, back) for c in CELLS for starts in (False, True) for back in (False, True)]


def values(op: Unrolled) -> list[np.ndarray]:
    random = np.random.default_rng(1)
    states = [random.normal(size=n) for n in op.cell.states.values()] if op.starts else []
    return [random.normal(size=(STEPS, INPUTS)), *states]


@pytest.mark.parametrize("cell, starts, back", CASES)
def test_step_by_step(cell, starts, back):
    op = Unrolled(cell, starts, back)
    x, *states = values(op)
    states = states or [np.zeros(n) for n in cell.states.values()]
    found = op.evaluate(*values(op))
    assert found.shape == op.output_shape([v.shape for v in values(op)])
    for step in range(STEPS)[:: -1 if back else 1]:
        row = cell.evaluate(x[step], *states)
        np.testing.assert_array_equal(found[step], row)
        states = np.split(row, len(states))


@pytest.mark.parametrize("cell, starts, back", CASES)
def test_derivatives(cell, starts, back):
    op = Unrolled(cell, starts, back)
    given = values(op)
    sizes = np.cumsum([v.size for v in given])[:-1]

    def at(z: np.ndarray) -> np.ndarray:
        parts = [p.reshape(v.shape) for p, v in zip(np.split(z, sizes), given, strict=True)]
        return op.evaluate(*parts).ravel()

    z = np.concatenate([v.ravel() for v in given])
    steps = 1e-6 * np.eye(z.size)
    expected = np.stack([(at(z + s) - at(z - s)) / 2e-6 for s in steps], axis=1)
    np.testing.assert_allclose(np.hstack(op.jacobians(*given)), expected, atol=1e-8)


def test_c_is_what_is_meant(build, same_as_meaning):
    b = build()
    x, h, c = b.input(STEPS, INPUTS), b.input(UNITS), b.input(UNITS)
    outputs = []
    for cell, starts, back in CASES:
        states = [h, c][: len(cell.states)] if starts else []
        outputs.append(b.apply(Unrolled(cell, starts, back), x, *states))
    same_as_meaning([(b.all_of(*outputs), [0, STEPS * INPUTS])], 5e-6)


def test_states_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="takes states of shapes"):
        Unrolled(CELLS[1], True).output_shape([(STEPS, INPUTS)])
