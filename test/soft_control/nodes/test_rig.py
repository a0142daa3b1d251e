"""The simulated rig's node: bytes for its actuators, its shortest run, its ports."""

from __future__ import annotations

import os
import time

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed: soft_control[ros]")

from soft_control.experiment.ros_messages import to_ns  # noqa: E402
from soft_control.firmware_instruments import actuator_config  # noqa: E402
from soft_control.link.instruments import ACTUATORS  # noqa: E402
from soft_control.link.lace_line import parse_line  # noqa: E402
from soft_control.nodes.rig import PseudoTerminal, RigSimulation  # noqa: E402
from soft_control.topics import FIRST_NS  # noqa: E402


@pytest.fixture
def rig(make_node, tmp_path):
    def make(**parameters):
        ports = {name: str(tmp_path / name) for name in ("sensor_port", "actuator_port")}
        return make_node(RigSimulation, peers=["rig", "nobody"], **ports, **parameters)

    return make


@pytest.fixture
def bytes_for():
    """bytes_for(node, command): what its robot's servos are told."""

    def drive(node, command) -> bytes:
        kind = node.robot.instruments.actuators.kind
        config = actuator_config(node.robot)
        return ACTUATORS[kind].master(config, len(node.robot.commands)).drive(command)

    return drive


def test_in_lockstep_the_actuators_bytes_bring_the_next_sample(rig, published, bytes_for):
    node = rig(duration_s=1.0)
    seen, ticks = published(node.outputs), published(node.clock)
    ((group, publisher),) = node.points
    points = published(publisher)
    node.on_everyone_matched()
    sent = bytes_for(node, [0.1, 0.2])
    node.on_bytes(sent[:20])
    assert len(seen) == 1
    node.on_bytes(sent[20:])
    np.testing.assert_allclose(node.device.command, [0.1, 0.2], atol=np.radians(300 / 1023 / 2))
    assert [to_ns(message.header.stamp) for message in seen] == [
        FIRST_NS,
        FIRST_NS + node.period_ns,
    ]
    assert [to_ns(tick.clock) for tick in ticks] == [FIRST_NS, FIRST_NS + node.period_ns]
    with open(node.sensor.port, "rb", closefd=False) as port:
        assert port.readline() == b"\n"  # the end of a line that nobody has seen begin
        assert [len(parse_line(port.readline(), 11)) for _ in seen] == [11, 11]
    assert publisher.topic_name == "/points/tip" and list(seen[1].name) == ["x", "y", "z"]
    at = points[1].point
    assert [at.x, at.y, at.z] == list(seen[1].position)
    assert points[1].header.frame_id == seen[1].header.frame_id == "rig_base"


def test_what_comes_at_its_port_reaches_the_actuators_which_answer(rig, bytes_for):
    node = rig(clock="realtime")
    port = os.open(node.parameters.actuator_port, os.O_RDWR | os.O_NOCTTY)
    try:
        os.write(port, bytes_for(node, [0.1, 0.2]))
        node.on_everyone_matched()
        answer, deadline = b"", time.monotonic() + 20.0
        while len(answer) < 14:  # of the one servo that was asked: eight registers
            answer += os.read(port, 14)
            assert time.monotonic() < deadline
    finally:
        os.close(port)
    assert answer[:2] == b"\xff\xff" and node.device.actuators.armed


def test_a_run_in_lockstep_goes_over_the_wires_to_its_end(rig, published, bytes_for):
    """As fast as somebody drives it, whatever he does; and what he says afterwards is nothing."""
    node = rig(duration_s=0.5)
    seen, ticks = published(node.outputs), published(node.clock)
    lines = os.open(node.parameters.sensor_port, os.O_RDWR | os.O_NOCTTY)
    servos = os.open(node.parameters.actuator_port, os.O_RDWR | os.O_NOCTTY)
    try:
        node.on_everyone_matched()
        heard = b""
        for k in range(60):
            while heard.count(b"\r\n") <= k:
                heard += os.read(lines, 4096)
            os.write(servos, bytes_for(node, [0.01 * k, 0.0]))
        node.thread.join(20.0)
        with pytest.raises(SystemExit):
            node.check()
    finally:
        os.close(lines)
        os.close(servos)
    counts = [parse_line(line, 11) for line in heard[1:].splitlines(keepends=True)]
    assert len(counts) == len(seen) == len(ticks) == 60 and node.k == 60
    at = [FIRST_NS + k * node.period_ns for k in range(60)]
    assert [to_ns(message.header.stamp) for message in seen] == at
    assert np.linalg.norm(np.subtract(seen[-1].position, seen[0].position)) > 1e-3
    node.close()
    assert not os.path.lexists(node.parameters.sensor_port)
    assert not os.path.lexists(node.parameters.actuator_port)


def test_the_shortest_run_is_one_sample(rig, published, bytes_for):
    """It ended only at a number of samples that it had passed already."""
    node = rig(duration_s=0.0084)
    seen = published(node.outputs)
    node.on_everyone_matched()
    with pytest.raises(SystemExit):
        node.on_bytes(bytes_for(node, [0.1, 0.2]))
    assert len(seen) == 1


def test_in_realtime_the_rig_moves_for_as_long_as_it_took(rig, monkeypatch):
    node = rig(clock="realtime")
    durations = []
    monkeypatch.setattr(node.device, "step", durations.append)
    node.on_tick()
    first_ns = node.now_ns
    node.on_tick()
    assert durations == [(node.now_ns - first_ns) / 1e9] and durations[0] > 0


def test_actuators_that_nobody_drives_are_told(rig, monkeypatch):
    node = rig(command_timeout_s=7.0)
    now_s = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now_s + 100.0)
    node.check()  # no sample yet: nobody could have answered
    monkeypatch.setattr(time, "monotonic", lambda: now_s)
    node.on_everyone_matched()
    node.check()
    monkeypatch.setattr(time, "monotonic", lambda: now_s + 7.1)
    with pytest.raises(RuntimeError, match="no command for sample 0 within 7 s"):
        node.check()


def test_what_ends_the_thread_ends_the_node(rig, monkeypatch):
    node = rig()
    monkeypatch.setattr(node.device, "drive", lambda data: 1 // 0)
    node.on_everyone_matched()
    os.write(node.actuators.port, b"\0")
    deadline = time.monotonic() + 20.0
    with pytest.raises(ZeroDivisionError):
        while time.monotonic() < deadline:
            node.check()
            time.sleep(0.01)


def test_the_port_replaces_its_own_link_and_nothing_else(tmp_path):
    link = tmp_path / "port"
    link.symlink_to("/dev/null")
    PseudoTerminal(link).unlink()
    assert not link.is_symlink()
    link.write_text("a user's")
    with pytest.raises(FileExistsError):
        PseudoTerminal(link)
    assert link.read_text() == "a user's"
