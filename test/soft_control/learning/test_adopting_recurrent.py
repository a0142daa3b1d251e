"""Recurrent networks trained elsewhere: taken over exactly, judged along whole runs, or refused."""

from __future__ import annotations

import numpy as np
import pytest

from nn4mc_codegen.ops.activation import Activation
from nn4mc_codegen.ops.recurrent import LSTM
from soft_control.learning.adopting import adopt
from soft_control.learning.foreign_layers import Chain
from soft_control.learning.model import (
    ModelError,
    RecurrentModel,
    card_windows,
    free_run,
    load_model,
    normalised_windows,
    rollouts,
)
from soft_control.learning.network_file import write_recurrent_network

from .test_adopting import JUDGED, POLE, RUNS, SETTINGS, SMALL, B

keras = pytest.importorskip("keras", reason="TensorFlow is not installed")

ONE_LAG = SETTINGS.model_copy(update={"input_lags": 1, "output_lags": 1})
M, N = 2, 3
UNITS = 2 * M + N  # u(k), u(k-1), y(k), each times SMALL
ALWAYS = 20.0  # of a gate's bias: its sigmoid is 1, with the other sign 0


def cell() -> tuple[np.ndarray, np.ndarray]:
    """Kernels by which a simple cell's state is what the rig's next outputs follow from."""
    given, own = np.zeros((M + N, UNITS)), np.zeros((UNITS, UNITS))
    given[:M, :M] = SMALL * np.eye(M)
    own[:M, M : 2 * M] = np.eye(M)
    given[M:, 2 * M :] = SMALL * np.eye(N)
    return given, own


def gated(gates: list[float | None]) -> list[np.ndarray]:
    """Arrays of a layer whose gates are always open (1.0) or shut (0.0); None is the cell."""
    given, own = cell()
    nothing = np.zeros_like(given), np.zeros_like(own)
    parts = [(given, own) if gate is None else nothing for gate in gates]
    bias = [np.full(UNITS, 0.0 if g is None else ALWAYS * (2 * g - 1)) for g in gates]
    return [*map(np.hstack, zip(*parts, strict=True)), np.hstack(bias)]


ARRAYS = {
    "SimpleRNN": gated([None]),
    "GRU": gated([0.0, 1.0, None]),  # update, reset, candidate
    "LSTM": gated([1.0, 0.0, None, 1.0]),  # input, forget, candidate, output
}


def network(path, kind: str, increments: bool = True, layers: int = 1, activation: str = "linear"):
    """The rig of test_adopting.py, y(k+1) = y(k) + B u(k-1) - 0.2 y(k), as `kind` of Keras on one
    input [u, y], in rad and m."""
    keras.utils.set_random_seed(1)
    x = keras.Input((None, M + N), name="x")
    scaled = keras.layers.Rescaling(0.5, 0.25)(x)
    arrays = [a.copy() for a in ARRAYS[kind]]
    arrays[-1] = arrays[-1] - 0.25 / 0.5 * arrays[0].sum(axis=0)
    arrays[0] = arrays[0] / 0.5
    more = {"reset_after": False} if kind == "GRU" else {}
    layer = getattr(keras.layers, kind)(UNITS, return_sequences=True, **more)
    h = layer(scaled)
    for _ in range(layers - 1):
        h = keras.layers.Dense(UNITS, activation=activation, name="after")(h)
    out = keras.layers.Dense(N, name="out")
    y = out(h)
    if increments:
        newest = keras.layers.Dense(N, use_bias=False, name="newest")
        y = keras.layers.Add()([newest(x), y])
        newest.set_weights([np.vstack([np.zeros((M, N)), np.eye(N)])])
    model = keras.Model(x, y)
    layer.set_weights(arrays)
    back = np.vstack([np.zeros((M, N)), B.T, ((0.0 if increments else 1.0) - POLE) * np.eye(N)])
    out.set_weights([back / SMALL, np.full(N, 0.0)])
    model.save(path / "arm.keras")
    return path / "arm.keras"


@pytest.mark.parametrize("increments", [True, False])
@pytest.mark.parametrize("kind", ARRAYS)
def test_it_predicts_what_the_network_predicts(tmp_path, kind, increments):
    card, report = adopt(network(tmp_path, kind, increments), RUNS, JUDGED, ONE_LAG, tmp_path / "m")
    assert report.fit and report.c_agrees, report.unfit
    assert card.states == UNITS * (2 if kind == "LSTM" else 1)
    model = load_model(tmp_path / "m")
    assert isinstance(model, RecurrentModel) and model.card == card
    x, y, k = card_windows(card, JUDGED[0])
    x = normalised_windows(card, x)
    before = model.states_before(x, k)
    found = card.outputs(model.graph.run(x, before[0])[0])
    # float32 weights of a network whose cell gets numbers of a thousandth.
    np.testing.assert_allclose(found, y, atol=2e-5 * np.max(card.output_scale))
    away = free_run(model, JUDGED[0]) - JUDGED[0].outputs
    assert np.max(np.abs(away)) < 2e-4 * np.max(card.output_scale)
    (errors,) = card.metrics
    scale_mm = 1e3 * np.max(card.output_scale)
    assert errors.unit == "mm" and errors.ten_step_live < 1e-3 * scale_mm


def test_keras_reads_what_was_written_and_means_the_same(tmp_path):
    card, _ = adopt(network(tmp_path, "GRU"), RUNS, JUDGED, ONE_LAG, tmp_path / "m")
    read = keras.models.load_model(tmp_path / "m" / "fk.keras")
    x = normalised_windows(card, card_windows(card, JUDGED[0])[0])[:50]
    sizes = np.cumsum(list(card.input_sizes().values()))[:-1]
    meant = read([part[None].astype(np.float32) for part in np.split(x, sizes, axis=1)])
    found = load_model(tmp_path / "m").run(x)
    np.testing.assert_allclose(found, np.asarray(meant)[0], atol=2e-5)  # float32 through 50 steps


def test_a_rollout_goes_on_from_what_the_samples_before_have_made_of_the_state(tmp_path):
    """Every third window begins a rollout here; number 106 is that of 318."""
    card, _ = adopt(network(tmp_path, "GRU"), RUNS, JUDGED, ONE_LAG, tmp_path / "m")
    model, run = load_model(tmp_path / "m"), JUDGED[0]
    x, _, k = card_windows(card, run)
    x = normalised_windows(card, x)
    state = model.states_before(x, k)[318]
    row = x[318].copy()
    for j in range(10):
        row[:M] = x[318 + j, :M]
        row[M:], state = model.graph.step(row, state)
    found = rollouts(model, run, 10, held=False)
    assert len(found) == 297
    meant = card.outputs(row[M:]) - run.outputs[k[318] + 10]
    np.testing.assert_allclose(found[106], meant, atol=1e-12)


def test_an_unfit_network_is_not_written(tmp_path):
    """Random layers behind the cell."""
    path = network(tmp_path, "GRU", layers=2, activation="tanh")
    _, report = adopt(path, RUNS, JUDGED, ONE_LAG, tmp_path / "m")
    assert report.unfit and not (tmp_path / "m").exists()


def test_a_cell_state_that_is_held_is_not_let_go(tmp_path):
    tanh, sigmoid = Activation("tanh"), Activation("sigmoid")
    cell = LSTM(*ARRAYS["LSTM"], tanh, sigmoid, cell_clip=10.0)
    chain = Chain([cell], np.zeros((UNITS, N)), np.zeros(N))
    with pytest.raises(ModelError, match="holds its cell state within 10, as TensorFlow Lite's"):
        write_recurrent_network(tmp_path / "fk.keras", chain, {"commands": M, "output": N})
    assert not list(tmp_path.iterdir())


def test_what_it_cannot_be_is_said(tmp_path):
    path = network(tmp_path, "SimpleRNN", layers=2, activation="elu")
    with pytest.raises(ModelError, match=r"arm.keras: the activation .* a recurrent network here"):
        adopt(path, RUNS, JUDGED, ONE_LAG, tmp_path / "m")
    with pytest.raises(ModelError, match=r"arm.keras: its inputs are x \(5\); it takes commands"):
        adopt(path, RUNS, JUDGED, SETTINGS, tmp_path / "m")
