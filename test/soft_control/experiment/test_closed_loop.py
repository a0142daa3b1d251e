from __future__ import annotations

import numpy as np
import pytest

from soft_control.control.observer import observer_config
from soft_control.control.pid import PidConfig
from soft_control.control.references import Reference
from soft_control.experiment.checks import load_options
from soft_control.experiment.closed_loop import PidController, record, run
from soft_control.learning.card import ModelCard, SignalModel
from soft_control.learning.model import Model
from soft_control.rigs import RIGS, describe, make_rig


@pytest.mark.parametrize("rig_name", sorted(RIGS))
def test_every_rig_is_recorded_within_its_bounds_and_the_same_each_time(rig_name: str):
    first, again = (record(rig_name, seed=3, duration_s=4.0, rate_hz=60.0) for _ in range(2))
    rig = make_rig(rig_name)
    assert len(first) == 240
    assert (first.commands >= rig.command_min).all() and (first.commands <= rig.command_max).all()
    assert np.isfinite(first.signals).all() and np.ptp(first.outputs, axis=0).max() > 1e-3
    assert np.abs(first.signals).max() < 3.2  # what the wire carries
    np.testing.assert_array_equal(first.outputs, again.outputs)
    np.testing.assert_array_equal(first.signals, again.signals)


def test_a_pid_follows_a_step_from_rest():
    rig = make_rig("mass_spring_damper", output_noise=())
    config = PidConfig(
        decoupling=np.array([[50.0]]),
        kp=np.array([0.1]),
        ki=np.array([8.0]),
        kd=np.array([0.03]),
        command_neutral=np.zeros(1),
        command_min=rig.command_min,
        command_max=rig.command_max,
    )
    curve = Reference(("x",), "step", (0.02,), (0.0,), (0,), 2 * np.pi / 16).values
    seen = []
    trace = run(rig, PidController(config, 50.0), curve, 50.0, 6.0, seen.append)
    assert seen == list(range(1, 301))
    assert trace.outputs[:50] == pytest.approx(0.0, abs=1e-12)
    assert trace.outputs[-1, 0] == pytest.approx(0.02, abs=1e-4)


class Perfect:
    """A network that knows its plant: y(k+1) = 0.9 y(k) + 0.1 u(k-d)."""

    def step(self, x: np.ndarray) -> np.ndarray:
        return 0.9 * x[1:2] + 0.1 * x[:1]


def card(**changes: object) -> ModelCard:
    values = dict(
        robot=describe("mass_spring_damper"),
        rate_hz=50.0,
        input_lags=1,
        output_lags=1,
        input_delay=1,
        command_names=["force"],
        command_offset=[0.0],
        command_scale=[1.0],
        output_offset=[0.0],
        output_names=["x"],
        output_scale=[1.0],
        signal_names=[],
        signal_offset=[],
        signal_scale=[],
        surface=None,
        metrics=[],
        evaluated_on=[],
        recordings=[],
        model_hash="",
    )
    return ModelCard(**(values | changes))


def test_the_model_controller_takes_offsets_away_and_predicts_with_commands_in_flight():
    """The plant is the network with a constant on its output; the solver aims one step ahead."""
    from soft_control.control.problem import Sizes, Weights
    from soft_control.experiment.closed_loop import ModelController
    from soft_control.rigs import Sample

    model = Model(card(), Perfect())
    sizes = Sizes(1, 1, 0, 1, 1, 1, 2, 1, 2)
    one = np.ones(1)
    weights = Weights(*[one] * 11)

    def solve(weights, start, plan):
        """The command with which y_2 meets its reference: y_1 follows from what is in flight."""
        y1 = 0.9 * start.outputs[0] + 0.1 * start.commands[0]
        return ((start.reference[1] - 0.9 * y1) / 0.1)[None]

    def errors_of(controller: ModelController, sees_position: bool) -> list[float]:
        y, in_flight, errors = 0.0, 0.0, []
        for k in range(60):
            position = np.array([y + 0.2])
            errors.append(0.5 - position[0])
            ahead = np.full((3, 1), 0.5)
            broken = np.nan if k % 20 == 10 else 0.0
            signals = np.array([4.0, 3.0 - 2.0 * position[0] + broken])
            seen = position + broken if sees_position else np.full(1, np.nan)
            command = controller.step(Sample(seen, np.zeros(0)), signals, ahead)
            y, in_flight = 0.9 * y + 0.1 * in_flight, command[0]
        return errors

    parts = (model, solve, sizes, weights, np.zeros(1))
    errors = errors_of(ModelController(*parts, offset_gain=0.3), sees_position=True)
    # Without the offset's share it would be met after two samples, the delay and the step.
    assert abs(errors[-1]) < 1e-6 and abs(errors[3]) > 0.05

    # From a signal of the position, -2 x + 3, beside one that says nothing; the network does not
    # look at it. What the observer forgets in a sample is a hundredth, of which it leaves a tenth.
    sensing = card(
        signal_names=["strain"],
        signal_offset=[3.0],
        signal_scale=[4.0],
        signal_model=SignalModel(
            hidden=[[0.0, 0.0, 0.0]], weights=[[0.0, -0.5, 0.0, 0.0]], noise=[0.02],
            error=[[1.0]], error_s=1.0,
        ),
    )  # fmt: skip
    parts = (Model(sensing, Perfect()), solve, sizes, weights, np.zeros(1), [1])
    observing = ModelController(*parts, observer=observer_config(sensing))
    assert abs(errors_of(observing, sees_position=False)[-1]) < 2e-3


def test_the_model_controller_starts_where_the_robot_rests():
    from soft_control.control.problem import Sizes, Weights
    from soft_control.experiment.closed_loop import ModelController
    from soft_control.rigs import Sample

    robot = describe("mass_spring_damper")
    (x,) = robot.outputs
    raised = robot.model_copy(update={"outputs": (x.model_copy(update={"rest": 1.5}),)})
    model = Model(card(robot=raised, output_offset=[0.5], output_scale=[2.0]), Perfect())
    starts = []

    def solve(weights, start, plan):
        starts.append(start.outputs.copy())
        return plan

    sizes, weights = Sizes(1, 1, 0, 1, 1, 1, 2, 1, 2), Weights(*[np.ones(1)] * 11)
    controller = ModelController(model, solve, sizes, weights, np.zeros(1))
    controller.step(Sample(np.full(1, np.nan), np.zeros(0)), np.zeros(2), np.zeros((3, 1)))
    np.testing.assert_array_equal(starts, [[[0.5]]])


def test_loads_are_told_as_text():
    tendon, mass = describe("tendon"), describe("mass_spring_damper")
    assert load_options("", tendon) == {}
    told = load_options("0,0.5,-2@10", tendon)
    assert told == {"load_offset": [0.0, 5e-4, -2e-3], "load_after_s": 10.0}
    assert load_options("3@1", mass)["load_offset"] == [3e-3]
    for text in ("1,2@3", "a,b,c@1", "0,0,0"):
        with pytest.raises(ValueError, match="x,y,z@t with finite numbers in mm"):
            load_options(text, tendon)
