"""The simulated rig's node: commands by name, its shortest run, its port."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed: soft_control[ros]")

from soft_control.experiment.ros_messages import joint_state, to_ns  # noqa: E402
from soft_control.link.lace_line import parse_line  # noqa: E402
from soft_control.nodes.rig import PseudoTerminal, RigSimulation  # noqa: E402

FIRST_NS = 1_000_000_000


@pytest.fixture
def rig(make_node, tmp_path):
    def make(**parameters):
        port = str(tmp_path / "lightlace.port")
        return make_node(RigSimulation, lace_port=port, peers=["rig", "nobody"], **parameters)

    return make


def test_commands_are_taken_by_name(rig):
    node = rig(clock="realtime")
    assert node.rig.command_names == ("servo_0", "servo_1")
    now_ns = node.get_clock().now().nanoseconds
    node.on_command(joint_state(now_ns, ["servo_1", "servo_0"], [0.2, 0.1]))
    np.testing.assert_array_equal(node.command, [0.1, 0.2])


def test_a_controller_that_was_stopped_does_not_make_up_for_it(rig, monkeypatch):
    """It goes on with the commands of the three seconds that it has missed; only the last two are
    young enough."""
    node = rig(clock="realtime", rate_hz=100.0)
    now_ns = 10_000_000_000
    monkeypatch.setattr(node.get_clock(), "now", lambda: SimpleNamespace(nanoseconds=now_ns))
    acted = []
    for k in range(-300, 1):
        node.on_command(joint_state(now_ns + 10_000_000 * k, ["servo_0", "servo_1"], [k, k]))
        acted.append(float(node.command[0]))
    assert acted[:298] == [acted[0]] * 298 and acted[0] != -300 and acted[298:] == [-2, -1, 0]
    assert node.refused == 298


@pytest.mark.parametrize(
    ("names", "values", "said"),
    [
        (["servo_0"], [0.1], "/command lacks servo_1"),
        (["servo_0", "servo_2"], [0.1, 0.2], "lacks servo_1 and has the unknown servo_2"),
        ([], [0.1, 0.2], "0 names for 2 values"),
        (["servo_0", "servo_1"], [0.1], "2 names for 1 values"),
        (["servo_0", "servo_0"], [0.1, 0.2], "a name twice"),
        (["servo_0", "servo_1"], [0.1, float("nan")], "says nan for servo_1"),
    ],
)
def test_a_command_that_does_not_name_its_values_is_refused(rig, names, values, said):
    node = rig(clock="realtime")
    with pytest.raises(ValueError, match=said):
        node.on_command(joint_state(0, names, values))


def test_in_lockstep_a_command_brings_the_next_sample(rig, published):
    node = rig(duration_s=1.0)
    seen, ticks = published(node.outputs), published(node.clock)
    ((group, publisher),) = node.points
    points = published(publisher)
    node.on_everyone_matched()
    node.on_command(joint_state(FIRST_NS, node.rig.command_names, [0.1, 0.2]))
    assert [to_ns(message.header.stamp) for message in seen] == [
        FIRST_NS,
        FIRST_NS + node.period_ns,
    ]
    assert [to_ns(tick.clock) for tick in ticks] == [FIRST_NS, FIRST_NS + node.period_ns]
    with open(node.lace.port, "rb", closefd=False) as port:
        assert [len(parse_line(port.readline(), 11)) for _ in seen] == [11, 11]
    assert publisher.topic_name == "/points/tip" and list(seen[1].name) == ["x", "y", "z"]
    at = points[1].point
    assert [at.x, at.y, at.z] == list(seen[1].position)
    assert points[1].header.frame_id == seen[1].header.frame_id == "rig_base"
    with pytest.raises(ValueError, match="does not answer sample 1"):
        node.on_command(joint_state(FIRST_NS, node.rig.command_names, [0.1, 0.2]))


def test_the_shortest_run_is_one_sample(rig, published):
    """It ended only at a number of samples that it had passed already."""
    node = rig(duration_s=0.0084)
    seen = published(node.outputs)
    node.on_everyone_matched()
    with pytest.raises(SystemExit):
        node.on_command(joint_state(FIRST_NS, node.rig.command_names, [0.1, 0.2]))
    assert len(seen) == 1


def test_in_realtime_the_rig_moves_for_as_long_as_it_took(rig, monkeypatch):
    node = rig(clock="realtime")
    durations = []
    monkeypatch.setattr(node.rig, "step", lambda command, duration_s: durations.append(duration_s))
    node.on_tick()
    first_ns = node.now_ns
    node.on_tick()
    assert durations == [(node.now_ns - first_ns) / 1e9] and durations[0] > 0


def test_a_controller_that_falls_silent_is_told(rig):
    node = rig(command_timeout_s=7.0)
    node.on_silence()  # no sample yet: nobody could have answered
    node.on_everyone_matched()
    with pytest.raises(RuntimeError, match="no command for sample 0 within 7 s"):
        node.on_silence()


def test_the_port_replaces_its_own_link_and_nothing_else(tmp_path):
    link = tmp_path / "port"
    link.symlink_to("/dev/null")
    PseudoTerminal(link).unlink()
    assert not link.is_symlink()
    link.write_text("a user's")
    with pytest.raises(FileExistsError):
        PseudoTerminal(link)
    assert link.read_text() == "a user's"
