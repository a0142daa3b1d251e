"""The static inverse against scipy: its rests are those of the Keras model, its minima those of
other solvers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.optimize import lsq_linear, minimize, root

from soft_control.control import static_inverse as law
from soft_control.learning.card import ModelCard, RestSignals
from soft_control.learning.model import file_hash, load_model
from soft_control.learning.rest import Layer, RestingNetwork, resting_network
from soft_control.learning.surface import terms
from soft_control.rigs import describe

LAGS, OUTPUT_LAGS, DT = 2, 2, 1 / 120
LIVE = ["lace_00", "lace_05"]


@pytest.fixture(scope="module")
def keras_model(tmp_path_factory) -> SimpleNamespace:
    """A network of the tendon rig's sizes with weights drawn at random, but for what makes it come
    to rest, as a model directory; and the same as Keras has it."""
    keras = pytest.importorskip("keras", reason="the test network is made with Keras")
    folder: Path = tmp_path_factory.mktemp("model")
    sizes = {
        "commands": 2 * LAGS,
        "output": 3,
        "past_outputs": 3 * (OUTPUT_LAGS - 1),
        "signals": len(LIVE),
    }
    inputs = {name: keras.Input((size,), name=name) for name, size in sizes.items()}
    hidden = keras.layers.Dense(12, activation="tanh")
    last = keras.layers.Dense(3)
    increment = last(hidden(keras.layers.Concatenate()(list(inputs.values()))))
    made = keras.Model(list(inputs.values()), keras.layers.Add()([inputs["output"], increment]))
    rng = np.random.default_rng(8)
    kernel = rng.normal(0, 0.15, (sum(sizes.values()), 12))
    kernel[:4, :2] += 0.4 * np.tile(np.eye(2), (2, 1))  # units of the commands' own
    kernel[4:7, 3:6] += 0.5 * np.eye(3)  # and of the outputs'
    out = rng.normal(0, 0.01, (12, 3))
    out[:2] += 0.1 * np.array([[1.0, 0.2, -0.5], [-0.3, 1.0, 0.6]])
    out[3:6] -= 0.15 * np.eye(3)
    hidden.set_weights([kernel, rng.normal(0, 0.05, 12)])
    last.set_weights([out, rng.normal(0, 0.002, 3)])
    made.save(folder / "fk.keras")
    robot = describe("tendon")
    coefficients = rng.normal(0, 0.2, (2, 6))
    card = ModelCard(
        robot=robot,
        rate_hz=120.0,
        input_lags=LAGS,
        output_lags=OUTPUT_LAGS,
        input_delay=5,
        command_names=list(robot.command_names),
        command_offset=robot.command_neutral.tolist(),
        command_scale=((robot.command_max - robot.command_min) / 2).tolist(),
        output_names=list(robot.output_names),
        output_offset=[0.001, -0.002, 0.003],
        output_scale=[0.014] * 3,
        signal_names=LIVE,
        signal_offset=[0.9, 0.8],
        signal_scale=[0.1, 0.2],
        rest_signals=RestSignals(degree=2, coefficients=coefficients.tolist(), residual=[0.1, 0.1]),
        surface=None,
        metrics=[],
        evaluated_on=[],
        recordings=[],
        model_hash=file_hash(folder / "fk.keras"),
    )
    (folder / "fk.json").write_text(card.model_dump_json())

    def rest(command: np.ndarray) -> np.ndarray:
        """The outputs (n,) at which Keras' network rests, by scipy; physical."""
        u = (command - card.command_offset) / np.array(card.command_scale)
        signals = coefficients @ terms(u[None], 2)[0]

        def moves(y: np.ndarray) -> np.ndarray:
            parts = (np.tile(u, LAGS), y, np.tile(y, OUTPUT_LAGS - 1), signals)
            x = [np.asarray(part, dtype="float32")[None] for part in parts]
            return np.asarray(made(x), dtype=float)[0] - y

        # The network computes in float32: finer steps of the differences than 1e-3 see its digits.
        found = root(moves, np.zeros(3), tol=1e-7, options={"eps": 1e-6})
        assert np.abs(moves(found.x)).max() < 1e-6
        return found.x * np.array(card.output_scale) + card.output_offset

    return SimpleNamespace(folder=folder, card=card, rest=rest)


@pytest.fixture(scope="module")
def inverse(keras_model) -> law.StaticInverseConfig:
    robot = keras_model.card.robot
    network = resting_network(load_model(keras_model.folder))
    return law.StaticInverseConfig(network, robot.command_min, robot.command_max)


def test_it_finds_the_command_at_which_the_keras_model_rests(keras_model, inverse):
    """scipy finds where the model rests under a command; from there the command is found back.
    RESERVE moves it by some 1e-4 of its range, float32 and an increment of 1e-6 by as much."""
    rng = np.random.default_rng(2)
    state = law.reset(inverse)
    low, high = inverse.command_min, inverse.command_max
    for _ in range(6):
        command = rng.uniform(0.8 * low, 0.8 * high)
        wanted = keras_model.rest(command)
        found = law.step(inverse, state, wanted[None], DT)
        assert found == pytest.approx(command, abs=1e-3)
        np.testing.assert_allclose(keras_model.rest(found), wanted, atol=2e-6)  # 2 µm


def test_beyond_reach_it_rests_as_near_as_any_solver_finds(keras_model, inverse):
    """Outputs far away put commands at their limits; scipy minimises over the commands alone, with
    the rest found for each of them."""
    network = inverse.network
    scale, offset = np.array(network.output_scale), np.array(network.output_offset)
    low, high = law.limits(inverse)

    def rest(u: np.ndarray) -> np.ndarray:
        return root(lambda y: network.increment(u, y), np.zeros(3), tol=1e-12).x

    at_limits = 0
    for seed in range(8):
        wanted = np.random.default_rng(seed).normal(0, 2.5, 3)
        found = law.step(inverse, law.reset(inverse), (wanted * scale + offset)[None], DT)
        u = (found - network.command_offset) / np.array(network.command_scale)

        def cost(u: np.ndarray, wanted=wanted) -> float:
            missed = np.array(network.output_weight) * (rest(u) - wanted)
            return missed @ missed + law.RESERVE * u @ u

        starts = [np.zeros(2), 0.5 * low, 0.5 * high]
        box = list(zip(low, high, strict=True))
        best = min(minimize(cost, at, bounds=box, method="L-BFGS-B").fun for at in starts)
        assert cost(u) <= best * (1 + 1e-5)
        at_limits += bool(np.any(np.isclose(u, low) | np.isclose(u, high)))
    assert at_limits >= 3


def test_commands_are_as_continuous_as_their_reference(inverse):
    """Sampled twice as often, their largest move is half as large; rests by scipy."""
    network = inverse.network
    low, high = law.limits(inverse)
    scale, offset = np.array(network.output_scale), np.array(network.output_offset)

    def largest(samples: int) -> float:
        phase = np.linspace(0, 2 * np.pi, samples)[:, None]
        around = (low + high) / 2 + 0.35 * (high - low) * np.hstack(
            [np.sin(phase), np.sin(2 * phase)]
        )
        state, y, found = law.reset(inverse), np.zeros(3), []
        for u in around:
            y = root(lambda y, u=u: network.increment(u, y), y, tol=1e-12).x
            found.append(law.step(inverse, state, (y * scale + offset)[None], DT))
        found = (np.array(found) - network.command_offset) / np.array(network.command_scale)
        np.testing.assert_allclose(found, around, atol=1e-3)
        return np.abs(np.diff(found, axis=0)).max()

    assert largest(161) == pytest.approx(2 * largest(321), rel=0.05)


# ------------------------------------------------------------------ more commands than outputs


def redundant() -> RestingNetwork:
    """Three commands push one output: it rests where 2 y = tanh(u0 + 2 u1 - u2)."""
    first = np.array([[1.0, 0], [2.0, 0], [-1.0, 0], [0, 0.1]])
    last = np.array([[0.1], [-2.0]])
    return RestingNetwork(
        command_offset=[0.0] * 3,
        command_scale=[1.0] * 3,
        output_offset=[0.0],
        output_scale=[1.0],
        output_weight=[1.0],
        degree=0,
        signals=[],
        layers=[
            Layer(kernel=first.tolist(), bias=[0.0, 0.0]),
            Layer(kernel=last.tolist(), bias=[0.0]),
        ],
    )


def test_of_many_commands_the_smallest_are_taken():
    """By hand: the shortest u with u0 + 2 u1 - u2 = s is s / 6 (1, 2, -1); at y with
    2 tanh(0.1 y) = 0.1 tanh(s). RESERVE bends it by less than 1e-3."""
    config = law.StaticInverseConfig(redundant(), -np.ones(3), np.ones(3))
    state = law.reset(config)
    for s in (0.0, 0.4, -0.8):
        y = 10 * np.arctanh(0.05 * np.tanh(s))
        found = law.step(config, state, np.array([[y]]), DT)
        assert found == pytest.approx(s / 6 * np.array([1, 2, -1]), abs=1.5e-3)


def test_a_command_at_its_limit_leaves_the_rest_to_others():
    """u1 may not help: u0 - u2 = s, so s / 2 each."""
    limits = np.array([1.0, 0.0, 1.0])
    config = law.StaticInverseConfig(redundant(), -limits, limits)
    y = 10 * np.arctanh(0.05 * np.tanh(0.6))
    found = law.step(config, law.reset(config), np.array([[y]]), DT)
    assert found == pytest.approx([0.3, 0.0, -0.3], abs=1.5e-3)


def test_the_minimum_within_bounds_is_that_of_scipy():
    """lsq_linear's bounded-variable least squares is an active-set method of its own."""
    rng = np.random.default_rng(0)
    for _ in range(300):
        m = rng.integers(1, 7)
        slopes, missed = rng.normal(size=(m + 1, m)), 3 * rng.normal(size=m + 1)
        low, high = -rng.uniform(0.01, 1, m), rng.uniform(0.01, 1, m)
        found = law.bounded_minimum(slopes.T @ slopes, slopes.T @ missed, low, high)
        assert (low <= found).all() and (found <= high).all()
        best = lsq_linear(slopes, -missed, (low, high), method="bvls").x
        np.testing.assert_allclose(found, best, atol=1e-7)


# ------------------------------------------------------------------ lead, turns, what cannot be


def test_the_lead_is_between_two_samples_and_never_beyond_the_last():
    ahead = np.array([[0.0, 1.0], [1.0, 3.0], [4.0, -1.0]])
    for lead_s in (0.0, 0.1, 0.25, 0.37, 0.5, 2.0):
        place = [np.interp(lead_s, [0.0, 0.25, 0.5], column) for column in ahead.T]
        assert law.at_lead(ahead, lead_s, 0.25) == pytest.approx(place)
    assert law.at_lead(ahead[:1], 0.3, 0.25) == pytest.approx([0.0, 1.0])


def test_it_goes_on_from_the_command_of_another_controller():
    """What that one was off goes away with the time constant, 0.3 s."""
    config = law.StaticInverseConfig(redundant(), -np.ones(3), np.ones(3))
    state, wanted = law.reset(config), np.array([[0.1]])
    own = law.step(config, state, wanted, DT)
    other = own + [0.3, -0.3, 0.2]
    law.track(config, state, other, wanted, DT)
    told = [law.step(config, state, wanted, DT) for _ in range(36)]
    shares = np.exp(-np.arange(1, 37) * DT / 0.3)
    np.testing.assert_allclose(told, own + shares[:, None] * (other - own), atol=1e-6)


def test_a_reference_that_is_no_number_leaves_the_command():
    config = law.StaticInverseConfig(redundant(), -np.ones(3), np.ones(3))
    state = law.reset(config)
    before = law.step(config, state, np.array([[0.2]]), DT)
    np.testing.assert_array_equal(law.step(config, state, np.array([[np.nan]]), DT), before)
    again = law.step(config, state, np.array([[0.2]]), DT)
    assert again == pytest.approx(before, abs=1e-6)


def test_a_network_that_never_rests_is_refused():
    drifting = redundant().model_copy(update={"layers": [Layer(kernel=[[0.0]] * 4, bias=[0.01])]})
    config = law.StaticInverseConfig(drifting, -np.ones(3), np.ones(3))
    with pytest.raises(law.NeverRests, match="settles under no command: train it again"):
        law.reset(config)


def test_the_table_covers_the_commands_of_any_robot():
    for commands, rows in ((1, 100), (2, 32**2), (6, 3**6), (9, law.TABLED)):
        low, high = -np.arange(1.0, commands + 1), np.full(commands, 0.5)
        found = law.grid(low, high)
        assert found.shape == (rows, commands)
        assert (found >= low).all() and (found <= high).all()
        assert (np.ptp(found, axis=0) > 0.9 * (high - low)).all()


def test_two_runs_of_one_law_do_not_share_their_state():
    config = law.StaticInverseConfig(redundant(), -np.ones(3), np.ones(3))
    first, second = law.reset(config), law.reset(config)
    law.step(config, first, np.array([[0.2]]), DT)
    at_rest = law.step(replace(config, lead_s=0.1), second, np.array([[0.0], [0.0]]), DT)
    assert at_rest == pytest.approx([0.0, 0.0, 0.0], abs=1e-6)
