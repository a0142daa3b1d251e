"""PID with feed-forward and static inverse: each answers a sample with what its laws say."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed: soft_control[ros]")

from rclpy.parameter import Parameter  # noqa: E402

from soft_control.control import pid, static_inverse  # noqa: E402
from soft_control.experiment.ros_messages import joint_state, named_header, trajectory  # noqa: E402
from soft_control.learning.rest import Layer, RestingNetwork, read_rest  # noqa: E402
from soft_control.nodes._node import checked  # noqa: E402
from soft_control.nodes._rest import RestParameters  # noqa: E402
from soft_control.nodes.pid_feedforward import PidFeedforward  # noqa: E402
from soft_control.nodes.static_inverse import StaticInverse  # noqa: E402
from soft_control.topics import FIRST_NS, OUTPUTS, REFERENCE  # noqa: E402

PERIOD_NS = 10_000_000
AHEAD = np.array([[0.1], [0.2], [0.4], [0.1]])


@pytest.fixture
def rest(tmp_path) -> str:
    """One command, one output: it rests where y = u / 2."""
    path = tmp_path / "rest.json"
    of = RestingNetwork(
        command_offset=[0.0],
        command_scale=[1.0],
        output_offset=[0.0],
        output_scale=[1.0],
        output_weight=[1.0],
        degree=0,
        signals=[],
        layers=[Layer(kernel=[[0.05], [-0.1]], bias=[0.0])],
    )
    path.write_text(of.model_dump_json())
    return str(path)


@pytest.fixture
def given(rest) -> dict:
    return dict(
        peers=["nobody"],
        rate_hz=100,
        command_names=["a"],
        output_names=["x"],
        command_min=[-1.0],
        command_max=[1.0],
        rest=rest,
        lead_s=0.015,
        preview=3,
    )


GAINS = dict(decoupling=[2.0], kp=[0.5], ki=[3.0], kd=[0.01], command_neutral=[0.0])


def wanted(k: int, ahead: np.ndarray = AHEAD):
    return trajectory(FIRST_NS + k * PERIOD_NS, PERIOD_NS, ["x"], ahead)


def seen(k: int, x: float):
    return joint_state(FIRST_NS + k * PERIOD_NS, ["x"], [x])


def test_the_static_inverse_answers_the_reference_of_its_lead(make_node, published, given):
    """By hand: 0.3 half-way between the samples 1 and 2, so a command of 0.6."""
    node = make_node(StaticInverse, **given)
    commands = published(node.command)
    node.turns.sample(FIRST_NS, wanted(0))
    assert list(commands[0].name) == ["a"]
    assert commands[0].position[0] == pytest.approx(0.6, abs=1e-5)


def test_another_lead_of_the_static_inverse_counts_without_a_step(make_node, published, given):
    node = make_node(StaticInverse, **given)
    commands = published(node.command)
    assert node.set_parameters([Parameter("lead_s", value=0.0)])[0].successful
    for k in range(300):
        node.turns.sample(FIRST_NS + k * PERIOD_NS, wanted(k))
    told = np.array([message.position[0] for message in commands])
    assert told[0] == pytest.approx(0.6, abs=1e-5) and told[-1] == pytest.approx(0.2, abs=1e-3)
    assert np.abs(np.diff(told)).max() < 0.4 * 0.01 / 0.3 * 1.01


def test_a_lead_that_is_not_told_is_refused_with_the_reason(make_node, given):
    node = make_node(StaticInverse, **given)
    (refused,) = node.set_parameters([Parameter("lead_s", value=0.05)])
    assert not refused.successful
    assert "the reference is told 3 samples ahead, 0.03 s: choose a shorter lead" in refused.reason
    with pytest.raises(ValueError, match="told 2 samples ahead, 0.02 s"):
        checked(RestParameters, given | {"lead_s": 0.03, "preview": 2})


def test_it_takes_over_from_the_command_of_another_controller(make_node, published, given):
    node = make_node(StaticInverse, **given | {"standby": True})
    commands = published(node.command)
    node.turns.sample(FIRST_NS, wanted(0))
    node._on_command(joint_state(FIRST_NS, ["a"], [-0.4]))
    assert not commands
    node._on_controller(named_header(FIRST_NS + PERIOD_NS, "static_inverse"))
    node.turns.sample(FIRST_NS + PERIOD_NS, wanted(1))
    off = -1.0 * np.exp(-0.01 / 0.3)
    assert commands[0].position[0] == pytest.approx(0.6 + off, abs=1e-5)


def test_the_pid_adds_to_the_static_inverse(make_node, published, given):
    node = make_node(PidFeedforward, **given | GAINS)
    commands = published(node.command)
    law = static_inverse.StaticInverseConfig(
        read_rest(given["rest"]), -np.ones(1), np.ones(1), lead_s=0.015
    )
    rest, state = static_inverse.reset(law), pid.reset(node.config)
    for k, x in enumerate((0.0, 0.02, 0.05)):
        node.join.put(OUTPUTS, seen(k, x))
        node.join.put(REFERENCE, wanted(k))
        forward = static_inverse.forward(law, rest, AHEAD, 0.01)
        expected = pid.step(node.config, state, AHEAD[0], np.array([x]), 0.01, forward)
        assert list(commands[k].position) == expected.tolist()
    assert commands[0].position[0] == pytest.approx(0.6 + (0.5 + 3.0 * 0.01) * 0.2, abs=1e-5)


def test_other_gains_and_another_lead_of_the_pid_count_without_a_step(make_node, published, given):
    """At a constant error of 0.1 the command moves by ki error dt alone, whatever was set; without
    what the limits take."""
    node = make_node(PidFeedforward, **given | GAINS)
    commands = published(node.command)
    ahead = np.array([[0.1], [0.1], [0.12], [0.12]])

    def sample(k: int) -> float:
        node.join.put(OUTPUTS, seen(k, 0.0))
        node.join.put(REFERENCE, wanted(k, ahead))
        return commands[-1].position[0]

    before = [sample(k) for k in range(4)]
    changed = {"kp": [1.5], "ki": [6.0], "lead_s": 0.03}
    asked = [Parameter(name, value=value) for name, value in changed.items()]
    assert all(result.successful for result in node.set_parameters(asked))
    told = np.array(before + [sample(k) for k in range(4, 9)])
    slow, fast = 3.0 * 0.2 * 0.01, 6.0 * 0.2 * 0.01
    np.testing.assert_allclose(np.diff(told), [slow] * 4 + [fast] * 4, atol=1e-6)


def test_a_network_of_another_robot_is_refused(make_node, given):
    two = given | {"output_names": ["x", "y"]}
    with pytest.raises(ValueError, match="rest.json: of a robot of 1 commands and 1 outputs, not"):
        make_node(StaticInverse, **two)
