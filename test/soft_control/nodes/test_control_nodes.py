"""PID, reference and excitation: each answers a sample with what its pure module says."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed: soft_control[ros]")

from rclpy.parameter import Parameter  # noqa: E402

from soft_control.control import pid as law  # noqa: E402
from soft_control.experiment.ros_messages import (  # noqa: E402
    from_trajectory,
    joint_state,
    named_header,
    to_ns,
    trajectory,
)
from soft_control.nodes.excitation import Excitation  # noqa: E402
from soft_control.nodes.pid import Pid  # noqa: E402
from soft_control.nodes.reference import ReferenceGenerator  # noqa: E402
from soft_control.topics import FIRST_NS, OUTPUTS, REFERENCE  # noqa: E402

NOBODY = ["nobody"]


def test_pid_answers_a_position_once_its_reference_has_come(make_node, published):
    node = make_node(
        Pid,
        peers=NOBODY,
        rate_hz=50,
        command_names=["a"],
        output_names=["x", "bend", "z"],
        decoupling=[1.0, 2.0, 3.0],
        kp=[0.5],
        ki=[0.1],
        kd=[0.0],
        command_neutral=[0.2],
        command_min=[-9.0],
        command_max=[9.0],
    )
    commands = published(node.command)
    seen, wanted = np.array([0.1, 0.0, 0.0]), np.array([0.0, 0.2, 0.3])
    node.join.put(OUTPUTS, joint_state(7, ["x", "bend", "z"], seen))
    assert not commands
    node.join.put(REFERENCE, trajectory(7, 1, ["z", "x", "bend"], wanted[None, [2, 0, 1]]))
    expected = law.step(node.config, law.reset(node.config), wanted, seen, 1 / 50)
    assert to_ns(commands[0].header.stamp) == 7
    assert (list(commands[0].name), list(commands[0].position)) == (["a"], expected.tolist())


def test_pid_refuses_outputs_in_another_frame(make_node):
    vectors = ("kp", "ki", "kd", "command_neutral", "command_min", "command_max")
    gains = dict.fromkeys(vectors, [0.0]) | {"decoupling": [0.0], "frame": "base"}
    node = make_node(Pid, peers=NOBODY, command_names=["a"], output_names=["x"], **gains)
    node.join.put(REFERENCE, trajectory(7, 1, ["x"], np.zeros((1, 1)), "base"))
    with pytest.raises(ValueError, match="/outputs is in frame 'world': wanted 'base'"):
        node.join.put(OUTPUTS, joint_state(7, ["x"], [0.0], "world"))


def test_the_reference_starts_with_the_first_sample_and_looks_ahead(make_node, published):
    node = make_node(
        ReferenceGenerator,
        peers=NOBODY,
        rate_hz=100,
        preview=2,
        output_names=["bend", "z"],
        amplitude=[0.0, 0.01],
        centre=[0.1, 0.0],
        component=[0, 2],
        angular_rate=1.0,
        leading=["z"],
        factors=[10.0],
        degree=1,
        following=["bend"],
        coefficients=[1.0, 2.0],
        trigger=OUTPUTS,
    )
    wanted = published(node.wanted)
    for ns in (5_000_000_000, 5_010_000_000):
        node.on_sample(joint_state(ns, ["z"], [0.0]))
    expected = 0.01 * np.sin(np.arange(4) / 100)
    first, second = (from_trajectory(each, ["z", "bend"]) for each in wanted)
    np.testing.assert_allclose(first[:, 0], expected[:3], atol=1e-15)
    np.testing.assert_allclose(second[:, 0], expected[1:], atol=1e-15)
    np.testing.assert_allclose(first[:, 1], 1.1 + 20.0 * expected[:3])
    assert to_ns(wanted[1].header.stamp) == 5_010_000_000


def test_an_unknown_reference_is_refused(make_node):
    with pytest.raises(ValueError, match="shape = 'figure_8': Input should be 'figure_eight'"):
        make_node(ReferenceGenerator, peers=NOBODY, output_names=["x"], shape="figure_8")


def test_excitation_answers_each_sample_with_the_next_command(make_node, published):
    node = make_node(
        Excitation,
        peers=NOBODY,
        rate_hz=100,
        duration_s=0.02,
        command_names=["a", "b"],
        command_min=[-1.0, 0.0],
        command_max=[1.0, 2.0],
        move_max=[0.1, 0.1],
    )
    commands = published(node.command)
    for k in range(3):
        node.turns.sample(k)
    assert [list(message.position) for message in commands[:2]] == node.commands.tolist()
    assert commands[2].position == commands[1].position  # after the last one it holds
    assert [to_ns(message.header.stamp) for message in commands] == [0, 1, 2]


def test_excitation_goes_to_its_own_commands_from_those_that_it_followed(make_node, published):
    """At its `move_max`, 0.1 a sample, and is silent before its turn."""
    node = make_node(
        Excitation,
        peers=NOBODY,
        standby=True,
        rate_hz=100,
        duration_s=10.0,
        command_names=["a"],
        command_min=[-1.0],
        command_max=[1.0],
        move_max=[0.1],
    )
    commands = published(node.command)
    first_ns = FIRST_NS + 10_000_000
    node.turns.sample(FIRST_NS)
    node._on_command(joint_state(FIRST_NS, ["a"], [5.0]))
    node.turns.sample(first_ns)
    assert not commands
    node._on_controller(named_header(first_ns, "open_loop"))
    for k in range(2, 60):
        node.turns.sample(FIRST_NS + k * 10_000_000)
    told = [message.position[0] for message in commands]
    np.testing.assert_allclose(told[:30], 5.0 - 0.1 * np.arange(1, 31))
    assert told[-1] == pytest.approx(node.commands[58, 0])
    released = published(node.released)
    node._on_asked(named_header(first_ns, "hold"))
    assert to_ns(released[0].stamp) == FIRST_NS + 60 * 10_000_000
    node.turns.sample(FIRST_NS + 60 * 10_000_000)
    assert len(commands) == len(told)


def test_other_gains_of_a_pid_count_from_the_next_command_without_a_step(make_node, published):
    """At an error that stands still: by hand, 2 * 0.1 / 100 a sample, then 10 * 0.1 / 100."""
    node = make_node(
        Pid,
        peers=NOBODY,
        rate_hz=100,
        command_names=["u"],
        output_names=["y"],
        decoupling=[1.0],
        kp=[1.0],
        ki=[2.0],
        kd=[0.0],
        command_neutral=[0.0],
        command_min=[-9.0],
        command_max=[9.0],
    )
    commands = published(node.command)

    def sample(k: int) -> float:
        node.join.put(OUTPUTS, joint_state(k, ["y"], [0.0]))
        node.join.put(REFERENCE, trajectory(k, 1, ["y"], np.array([[0.1]])))
        return commands[-1].position[0]

    assert [sample(k) for k in range(2)] == pytest.approx([0.102, 0.104])
    asked = [Parameter("kp", value=[50.0]), Parameter("ki", value=[10.0])]
    assert node.set_parameters_atomically(asked).successful
    assert [sample(k) for k in range(2, 5)] == pytest.approx([0.106, 0.116, 0.126])
    refused = node.set_parameters_atomically([Parameter("kp", value=[1.0, 2.0])])
    assert "kp = [1.0, 2.0]: wanted 1 values" in refused.reason


def test_in_realtime_a_pid_passes_over_what_is_long_ago(make_node, published, capfd):
    """After a pause, or a cut, old samples come in a row: none is answered."""
    vectors = ("kp", "ki", "kd", "command_neutral", "command_min")
    gains = dict.fromkeys(vectors, [0.0]) | {"decoupling": [0.0], "command_max": [1.0]}
    node = make_node(
        Pid,
        **{"peers": NOBODY, "rate_hz": 0.1, "clock": "realtime"},
        **{"command_names": ["a"], "output_names": ["x"]},
        **gains,
    )
    commands = published(node.command)

    def sample(ago_s: int) -> None:
        ns = node.get_clock().now().nanoseconds - ago_s * 10**9
        node.join.put(REFERENCE, trajectory(ns, 1, ["x"], np.zeros((1, 1))))
        node.join.put(OUTPUTS, joint_state(ns, ["x"], [0.0]))

    sample(3600)
    sample(60)
    assert not commands and "passed over a sample of 3600.0" in capfd.readouterr().err
    sample(0)
    assert len(commands) == 1
