"""A network at rest: the signals that go with commands, and the lags that share one set of
weights."""

from __future__ import annotations

import json

import numpy as np
import pytest

from soft_control.learning.card import ModelCard, ModelError
from soft_control.learning.model import IncrementNetwork, Model
from soft_control.learning.recording import Recording
from soft_control.learning.rest import (
    REST_BYTES_MAX,
    RestingNetwork,
    fit_rest_signals,
    read_rest,
    resting_network,
)
from soft_control.learning.surface import terms
from soft_control.robots.description import Command, Output, RobotDescription, Signal

ROBOT = RobotDescription(
    name="arm",
    commands=(
        Command(name="left", unit="Pa", min=0.0, max=4.0),
        Command(name="right", unit="Pa", min=-1.0, max=1.0),
    ),
    outputs=(
        Output(name="x", unit="m", display_unit="mm", axis="x", point="tip"),
        Output(name="z", unit="m", display_unit="mm", axis="z", point="tip"),
        Output(name="push", unit="N"),
    ),
    signals=(Signal(name="bend", unit="rad"), Signal(name="stretch")),
    rate_hz=100.0,
)
LAGS, DELAY = 2, 3


def card(**changes: object) -> ModelCard:
    values = dict(
        robot=ROBOT,
        rate_hz=100.0,
        input_lags=LAGS,
        output_lags=3,
        input_delay=DELAY,
        command_names=["left", "right"],
        command_offset=[2.0, 0.0],
        command_scale=[2.0, 1.0],
        output_offset=[0.01, 0.0, 1.0],
        output_scale=[0.02, 0.02, 3.0],
        output_names=["x", "z", "push"],
        signal_names=["bend", "stretch"],
        signal_offset=[0.5, 0.0],
        signal_scale=[0.1, 2.0],
        surface=None,
        metrics=[],
        evaluated_on=[],
        recordings=[],
        model_hash="0123456789abcdef",
    )
    return ModelCard(**(values | changes))


def recording(seed: int, samples: int = 800) -> Recording:
    """Signals are a polynomial of the normalised commands of DELAY + LAGS samples ago."""
    rng = np.random.default_rng(seed)
    commands = np.column_stack([rng.uniform(0, 4, samples), rng.uniform(-1, 1, samples)])
    before = np.vstack([commands[:1].repeat(DELAY + LAGS, axis=0), commands[: -DELAY - LAGS]])
    a, b = before[:, 0] / 2 - 1, before[:, 1]
    signals = np.column_stack([0.5 + 0.1 * (a - 2 * a * b**3), 2.0 * (0.25 + b**2)])
    return Recording(
        source=f"run {seed}",
        t_s=np.arange(samples) / 100.0,
        commands=commands,
        outputs=np.zeros((samples, 3)),
        signals=signals,
        reference=None,
        command_names=("left", "right"),
        output_names=("x", "z", "push"),
        signal_names=("bend", "stretch"),
    )


def network(seed: int, signals: int = 2) -> IncrementNetwork:
    rng = np.random.default_rng(seed)
    sizes = (2 * LAGS + 3 * 3 + signals, 7, 5, 3)
    layers = [
        (rng.normal(0, 0.4, (before, after)), rng.normal(0, 0.2, after))
        for before, after in zip(sizes, sizes[1:], strict=False)
    ]
    return IncrementNetwork(layers, 2 * LAGS)


def test_signals_at_rest_are_found_where_commands_say_them():
    found = fit_rest_signals(card(), [recording(1), recording(2)], [recording(3)])
    assert found.degree == 4 and found.residual == pytest.approx([0.0, 0.0], abs=1e-9)
    a, b = 0.3, -0.6
    shown = terms(np.array([[a, b]]), found.degree) @ np.array(found.coefficients).T
    assert shown[0] == pytest.approx([a - 2 * a * b**3, 0.25 + b**2], abs=1e-9)
    no_signals = card(signal_names=[], signal_offset=[], signal_scale=[])
    assert fit_rest_signals(no_signals, [recording(1)], [recording(3)]) is None


def test_what_commands_do_not_say_is_the_residual():
    """Noise of a tenth of the spread on the first signal, none on the second."""
    noisy = recording(3)
    noisy.signals[:, 0] += 0.01 * np.random.default_rng(0).standard_normal(len(noisy))
    found = fit_rest_signals(card(), [recording(1)], [noisy])
    assert found.residual[0] == pytest.approx(0.1, rel=0.15)
    assert found.residual[1] == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("signals", [True, False])
def test_it_is_the_network_with_equal_lags(signals):
    none = {} if signals else dict(signal_names=[], signal_offset=[], signal_scale=[])
    of = card(**none)
    rest_signals = fit_rest_signals(of, [recording(1)], [recording(2)])
    model = Model(of.model_copy(update={"rest_signals": rest_signals}), network(5, 2 * signals))
    resting = resting_network(model)
    rng = np.random.default_rng(1)
    u, y = rng.uniform(-1, 1, (20, 2)), rng.normal(size=(20, 3))
    x = np.hstack([np.tile(u, LAGS), np.tile(y, 3)])
    if signals:
        x = np.hstack([x, terms(u, 4) @ np.array(rest_signals.coefficients).T])
    np.testing.assert_allclose(resting.increment(u, y), model.step(x) - y, atol=1e-12)
    again = RestingNetwork.model_validate_json(resting.model_dump_json(), strict=True)
    np.testing.assert_array_equal(again.increment(u, y), resting.increment(u, y))


def test_its_derivatives_are_the_differences():
    """Central differences of 1e-5: their own error is some 1e-10."""
    rest_signals = fit_rest_signals(card(), [recording(1)], [recording(2)])
    model = Model(card().model_copy(update={"rest_signals": rest_signals}), network(6))
    resting = resting_network(model)
    u, y, h = np.array([0.0, -0.7]), np.array([0.2, -0.4, 0.9]), 1e-5
    increment, by_command, by_output = resting.jacobian(u, y)
    np.testing.assert_allclose(increment, resting.increment(u, y), atol=1e-14)
    for i, e in enumerate(h * np.eye(2)):
        slope = (resting.increment(u + e, y) - resting.increment(u - e, y)) / (2 * h)
        np.testing.assert_allclose(by_command[:, i], slope, atol=1e-8)
    for i, e in enumerate(h * np.eye(3)):
        slope = (resting.increment(u, y + e) - resting.increment(u, y - e)) / (2 * h)
        np.testing.assert_allclose(by_output[:, i], slope, atol=1e-8)


def test_a_model_that_does_not_say_its_signals_at_rest_is_refused():
    with pytest.raises(ModelError, match="what its signals are where the robot rests: train it"):
        resting_network(Model(card(), network(5)))


WRONG = [
    ({"command_scale": [1.0]}, "command_scale: not one value a command"),
    ({"command_scale": [1.0, 0.0]}, "not above 0"),
    ({"output_weight": [1.0]}, "output_scale, output_weight: not one value an output"),
    ({"signals": [[1.0, 2.0]]}, "signals: not 15 values in each row"),
    ({"degree": 13}, "degree = 13"),
    ({"layers": []}, "layers"),
    ({"layers": [{"kernel": [[1.0, 1.0, 1.0]], "bias": [0.0, 0.0, 0.0]}]}, "its kernel is not"),
    ({"layers": [{"kernel": [[1.0]] * 7, "bias": [0.0]}]}, "gives 1 values for 3 outputs"),
    ({"surplus": 1}, "surplus"),
]


@pytest.mark.parametrize(("changes", "said"), WRONG)
def test_a_file_that_cannot_be_used_is_one_line_with_its_name(tmp_path, changes, said):
    rest_signals = fit_rest_signals(card(), [recording(1)], [recording(2)])
    model = Model(card().model_copy(update={"rest_signals": rest_signals}), network(5))
    good = json.loads(resting_network(model).model_dump_json())
    path = tmp_path / "rest.json"
    path.write_text(json.dumps(good))
    assert read_rest(path) == resting_network(model)
    path.write_text(json.dumps(good | changes))
    with pytest.raises(ModelError, match=said) as caught:
        read_rest(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_no_file_and_one_that_is_too_large_are_refused(tmp_path):
    with pytest.raises(ModelError, match="rest.json: No such file"):
        read_rest(tmp_path / "rest.json")
    with open(tmp_path / "rest.json", "wb") as file:
        file.truncate(REST_BYTES_MAX + 1)
    with pytest.raises(ModelError, match="too large for a network at rest"):
        read_rest(tmp_path / "rest.json")
