"""A firmware whose network is a GRU with states of its own: model directory, build, runs."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from soft_control.control.mpc_settings import MpcSettings
from soft_control.experiment.verification import verify
from soft_control.firmware_build import build, network_options
from soft_control.firmware_files import BuildError
from soft_control.learning.card import CARD_FILE, NETWORK_FILE, load_card
from soft_control.learning.model import (
    ModelError,
    RecurrentModel,
    load_model,
    normalised_windows,
)
from soft_control.proof.adversary import Adversary
from soft_control.proof.prove import prove
from soft_control.proof.report import Seen

UNITS, HORIZON = 6, 5
M, N = 2, 3


@pytest.fixture(scope="module")
def folder(model_dir, tmp_path_factory):
    """A model directory: increments of the outputs by a GRU on the newest commands and outputs."""
    import keras

    keras.utils.set_random_seed(5)
    made = tmp_path_factory.mktemp("recurrent")
    inputs = {
        name: keras.Input((None, size), name=name)
        for name, size in (("commands", M), ("output", N))
    }
    x = keras.layers.Concatenate()(list(inputs.values()))
    h = keras.layers.GRU(UNITS, return_sequences=True)(x)
    small = keras.initializers.RandomNormal(stddev=0.05)
    increment = keras.layers.Dense(N, kernel_initializer=small)(h)
    output = keras.layers.Add()([inputs["output"], increment])
    keras.Model(list(inputs.values()), output).save(made / NETWORK_FILE)
    changes = {
        "input_lags": 1,
        "output_lags": 1,
        "input_delay": 1,
        "signal_names": [],
        "signal_offset": [],
        "signal_scale": [],
        "signal_model": None,
        "memory_s": [],
        "states": UNITS,
        "model_hash": hashlib.sha256((made / NETWORK_FILE).read_bytes()).hexdigest()[:16],
    }
    card = load_card(model_dir).model_copy(update=changes)
    (made / CARD_FILE).write_text(card.model_dump_json())
    return made


@pytest.fixture(scope="module")
def own_settings(settings) -> MpcSettings:
    changes = {"horizon": HORIZON, "control_horizon": 3, "tail_continues": False}
    return settings.model_copy(update=changes)


@pytest.fixture(scope="module")
def recurrent(folder, own_settings, boards):
    return build(folder, own_settings, folder / "build", boards)


def test_the_build_pushes_directions_and_makes_no_jacobian(recurrent):
    text = (recurrent.directory / "fk.h").read_text()
    assert "#define FK_PUSH_DIRECTIONS 6\n" in text and f"#define FK_STATES {UNITS}\n" in text
    assert "fk_jacobian" not in text


def test_it_predicts_as_its_model(recurrent, folder, own_settings, boards):
    """C against the network and free runs against those in float64, from rest on."""
    targets = ["sil", "pil"] if len(boards) > 1 else ["sil"]
    options = network_options(own_settings, load_card(folder))
    found = verify(recurrent, folder, options, targets)
    assert found.wrong == [] and found.same_bits
    assert found.difference < 2e-5


def test_it_steers(recurrent, folder, open_target):
    """The controller's own prediction comes nearer to a reference that other commands reach."""
    model = load_model(folder)
    card = model.card
    x = np.concatenate([np.array([0.4, -0.5]), np.zeros(N)])
    model.start(np.concatenate([np.zeros(M), np.zeros(N)]))
    wanted = []
    for _ in range(60):
        y = model.step(x)
        x[M:] = y
        wanted.append(card.outputs(y))
    rest = card.outputs(np.zeros(N))
    session = open_target("sil", recurrent)
    session.arm(np.array(card.command_offset), rest, wanted[:HORIZON])
    answers = [session.sample(k, (), wanted[k + HORIZON]) for k in range(50)]
    assert {answer.status for answer in answers} <= {0, 1}  # converged, or out of iterations
    away = [np.linalg.norm(answer.predicted - wanted[k]) for k, answer in enumerate(answers)]
    still = [np.linalg.norm(rest - wanted[k]) for k in range(50)]
    assert np.mean(away[20:]) < 0.2 * np.mean(still[20:])


def test_its_longest_step_is_bounded_and_not_far_above_the_worst_seen(recurrent, open_target):
    """Also the loops over the inputs that move, whose number is data: fk.c says the most."""
    session = open_target("pil", recurrent)
    # With this seed a line search goes all the way within the first 200 samples.
    answers = list(Adversary(session, recurrent, seed=4).steps(200))
    proof = prove(recurrent)
    seen = Seen(
        samples=len(answers),
        step_instructions=max(answer.step_cost for answer in answers),
        stack_bytes=proof.stack_reserved - session.hello().stack_free,
    )
    assert proof.model_copy(update={"seen": seen}).failures() == []
    said = {loop.function.split(".")[0]: loop.turns for loop in proof.loops if loop.said}
    assert said["fk_push_add_moving_3"] == M + N


def test_what_a_recurrent_network_cannot(folder, own_settings, tmp_path):
    with pytest.raises(BuildError, match="newton takes second derivatives.*use gauss_newton"):
        build(folder, own_settings.model_copy(update={"method": "newton"}), tmp_path, ("host",))
    model = load_model(folder)
    assert isinstance(model, RecurrentModel)
    with pytest.raises(ModelError, match="is recurrent: it predicts whole runs"):
        model.step(normalised_windows(model.card, np.zeros((2, M + N))))
    with pytest.raises(ModelError, match="made for networks that see lags alone"):
        model.network.step(np.zeros(M + N))
    card = load_card(folder).model_copy(update={"states": UNITS + 1})
    (tmp_path / CARD_FILE).write_text(card.model_dump_json())
    (tmp_path / NETWORK_FILE).write_bytes((folder / NETWORK_FILE).read_bytes())
    with pytest.raises(ModelError, match="a network with 6 states, but its card says 7"):
        load_model(tmp_path)
