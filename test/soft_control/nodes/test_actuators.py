"""Nodes of actuators against the devices that they drive, over a pseudo-terminal."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed: soft_control[ros]")

import tty  # noqa: E402

import rclpy  # noqa: E402
from sensor_msgs.msg import JointState  # noqa: E402

from soft_control.experiment.bringup import NodeSpec  # noqa: E402
from soft_control.experiment.ros_messages import EVERY_SAMPLE, joint_state, to_ns  # noqa: E402
from soft_control.experiment.runner import parameter_file, ros_domain  # noqa: E402
from soft_control.firmware_instruments import actuator_config  # noqa: E402
from soft_control.link import dynamixel as servos  # noqa: E402
from soft_control.link.instruments import ACTUATORS  # noqa: E402
from soft_control.nodes import _port  # noqa: E402
from soft_control.nodes._node import checked  # noqa: E402
from soft_control.nodes.analogue import AnalogueNode, AnalogueParameters  # noqa: E402
from soft_control.nodes.dynamixel import DynamixelParameters, DynamixelServos  # noqa: E402
from soft_control.nodes.hasel_driver import HaselDriverNode, HaselDriverParameters  # noqa: E402
from soft_control.robots.description import Command, Output, RobotDescription  # noqa: E402
from soft_control.robots.instruments import Actuators, Instruments  # noqa: E402
from soft_control.topics import (
    COMMAND_ASKED,  # noqa: E402
    FIRST_NS,  # noqa: E402
)

NODES = {"dynamixel": DynamixelServos, "hasel_driver": HaselDriverNode, "analogue": AnalogueNode}
PERIOD_NS = 10_000_000
STEP = {"dynamixel": 300.0 / 1023.0, "hasel_driver": 0.5 * 100 / 1000, "analogue": 1e-6}
"""What a command may change by on its way: a count, for limits are rounded inwards; half a step of
duty; a float32."""


def robot(kind: str) -> RobotDescription:
    """Two commands from -40 to 60 deg, about 10."""
    unit = "deg" if kind == "dynamixel" else "1"
    commands = [Command(name=name, unit=unit, min=-40, max=60) for name in ("left", "right")]
    return RobotDescription(
        name="any",
        commands=tuple(commands),
        outputs=(Output(name="y"),),
        rate_hz=100.0,
        instruments=Instruments(actuators=Actuators(kind=kind)),
    )


def parameters(kind: str, **changes) -> dict:
    """Of the node of these actuators, as a run has them from the description."""
    described = robot(kind)
    return {
        **actuator_config(described),
        "rate_hz": described.rate_hz,
        "command_names": list(described.command_names),
        "command_min": described.command_min.tolist(),
        "command_max": described.command_max.tolist(),
        "command_neutral": described.command_neutral.tolist(),
        "peers": [kind, "nobody"],
        **changes,
    }


class Line:
    """The actuators' end of a pseudo-terminal, with the device of their kind."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.controller, self.port = os.openpty()
        tty.setraw(self.port)
        self.path = os.ttyname(self.port)
        self.device = ACTUATORS[kind].device(actuator_config(robot(kind)), 2)
        self.node = None
        self.sent = self.taken = 0

    def attach(self, node) -> None:
        """Counts what the node sends: a terminal's bytes are there when the kernel finds time."""
        self.node, write = node, node.port.serial.write

        def counting(data: bytes) -> int:
            size = write(data)
            self.sent += size
            return size

        node.port.serial.write = counting

    def take(self) -> int:
        """The device takes what is there, and answers so many bytes."""
        if not select.select([self.controller], [], [], 0)[0]:
            return 0
        data = os.read(self.controller, 4096)
        self.taken += len(data)
        answer = self.device.feed(data, 0.0)
        return os.write(self.controller, answer) if answer else 0

    def serve(self) -> None:
        """The device has taken all that its node has sent, which has the answer."""
        size, deadline = 0, time.perf_counter() + 20.0
        while self.taken < self.sent or self.node.port.serial.in_waiting < size:
            assert time.perf_counter() < deadline
            size += self.take()

    def close(self) -> None:
        for end in (self.controller, self.port):
            if end is not None:
                os.close(end)


@pytest.fixture
def line(request):
    """The line of the kind that the test is parametrised with, or that of the converter."""
    line = Line(getattr(request, "param", "analogue"))
    yield line
    line.close()


@pytest.fixture
def actuators(make_node, line):
    """actuators(parameter=value, …): the node at that line."""

    def make(**changes):
        node = make_node(NODES[line.kind], **parameters(line.kind, port=line.path, **changes))
        line.attach(node)
        return node

    return make


@pytest.fixture
def clock(monkeypatch):
    """The time of a node, s: clock.at(node, now_s)."""

    def at(node, now_s: float) -> None:
        now = SimpleNamespace(nanoseconds=round(now_s * 1e9))
        monkeypatch.setattr(node.get_clock(), "now", lambda: now)
        monkeypatch.setattr(time, "monotonic", lambda: now_s)

    return SimpleNamespace(at=at)


def command(now_s: float, values, names=("left", "right")) -> JointState:
    return joint_state(round(now_s * 1e9), names, values)


every_kind = pytest.mark.parametrize("line", NODES, indirect=True)


@every_kind
def test_commands_by_name_reach_the_actuators(actuators, line):
    node = actuators(clock="lockstep")
    for k, values in enumerate([[25.0, 5.0], [27.5, -39.0]], 1):
        node.on_command(command(k, values[::-1], ("right", "left")))
        line.serve()
        np.testing.assert_allclose(line.device.command, values, atol=STEP[line.kind])
        assert line.device.armed and line.device.completed == k and line.device.bad == 0


@every_kind
def test_no_command_is_farther_from_the_last_than_time_allows(actuators, line, published):
    """100 a second: 1 in a period; and never beyond the limits. What goes out on /command is what
    was told, not what was asked for."""
    node = actuators(clock="lockstep", speed_max=[100.0, 0.0])
    told = published(node.told_commands)
    for k, wanted in enumerate([[11.0, 60.0], [12.0, -40.0]], 1):
        node.on_command(command(0.01 * k, [1e30, 1e30 if k == 1 else -1e30]))
        line.serve()
        np.testing.assert_allclose(line.device.command, wanted, atol=STEP[line.kind])
    assert node.state.limited == 2
    assert [list(message.position) for message in told] == [[11.0, 60.0], [12.0, -40.0]]
    assert [to_ns(message.header.stamp) for message in told] == [10_000_000, 20_000_000]


def test_a_date_in_the_stamps_is_no_other_speed(actuators, line, published):
    """A float64 of seconds since 1970 would be off by 0.1 us: 1e-5 of what a move may be."""
    node = actuators(clock="lockstep", speed_max=[100.0, 0.0])
    told = published(node.told_commands)
    for k in range(20):
        node.on_command(joint_state(FIRST_NS + k * 10_000_000, ["left", "right"], [1e30, 0.0]))
        line.serve()
    moved = np.diff([message.position[0] for message in told])
    np.testing.assert_allclose(moved, 1.0, rtol=0, atol=1e-12)  # rounding of numbers up to 30


def test_in_lockstep_a_sample_is_answered_once(actuators, line):
    node = actuators(clock="lockstep")
    node.on_command(command(1.0, [0.0, 0.0]))
    with pytest.raises(ValueError, match="/command/asked came twice for the sample at 1.000000 s"):
        node.on_command(command(1.0, [0.0, 0.0]))


@pytest.mark.parametrize(
    ("names", "values", "said"),
    [
        (["left"], [0.1], "/command/asked lacks right"),
        (["left", "up"], [0.1, 0.2], "lacks right and has the unknown up"),
        ([], [0.1, 0.2], "0 names for 2 values"),
        (["left", "left"], [0.1, 0.2], "a name twice"),
        (["left", "right"], [0.1, float("nan")], "says nan for right"),
    ],
)
def test_a_command_that_does_not_name_its_values_is_refused(actuators, line, names, values, said):
    node = actuators()
    with pytest.raises(ValueError, match=said):
        node.on_command(joint_state(0, names, values))
    line.serve()
    assert line.device.completed == 0


def test_a_controller_that_was_stopped_does_not_make_up_for_it(actuators, line, clock):
    """It goes on with the commands of the three seconds that it has missed: only the last two are
    young enough, and all of them come at once."""
    node = actuators(speed_max=[100.0] * 2)
    clock.at(node, 7.0)
    node.on_command(command(7.0, [10.0, 10.0]))
    clock.at(node, 10.0)
    acted = []
    for k in range(-300, 1):
        node.on_command(command(10.0 + 0.01 * k, [60.0, -40.0]))
        line.serve()
        acted.append(line.device.command.tolist())
    assert acted[:298] == [[10.0, 10.0]] * 298 and node.state.refused == 298
    # The silence counts as two periods, and the others came in no time.
    assert acted[298:] == [[12.0, 8.0]] * 3


@every_kind
@pytest.mark.parametrize("safe_output", ["hold", "neutral", "disarm"])
def test_where_commands_stop_coming_the_safe_output_is_told(actuators, line, clock, safe_output):
    node = actuators(speed_max=[100.0] * 2, safe_output=safe_output, timeout_s=0.1)
    clock.at(node, 5.0)
    node.on_command(command(5.0, [60.0, 10.0]))
    clock.at(node, 5.1)
    node.on_tick()
    line.serve()
    np.testing.assert_allclose(line.device.command, [11.0, 10.0], atol=STEP[line.kind])
    assert line.device.completed == 1
    for k in range(1, 4):  # from here on each period
        clock.at(node, 5.1 + 0.01 * k)
        node.on_tick()
        line.serve()
        assert line.device.completed == 1 + k
        assert line.device.armed == (safe_output != "disarm")
    if safe_output != "disarm":
        wanted = [10.0 if safe_output == "neutral" else 11.0, 10.0]
        np.testing.assert_allclose(line.device.command, wanted, atol=STEP[line.kind])

    clock.at(node, 6.0)
    node.on_command(command(5.9, [20.0, 10.0]))  # too old: nobody is back
    node.on_tick()
    line.serve()
    assert line.device.armed == (safe_output != "disarm")
    clock.at(node, 6.01)
    node.on_command(command(6.01, [10.5, 10.0]))
    node.on_tick()
    line.serve()
    assert line.device.armed and not node.was_silent
    np.testing.assert_allclose(line.device.command, [10.5, 10.0], atol=STEP[line.kind])


def test_before_the_first_command_nothing_is_told(actuators, line, clock):
    node = actuators(safe_output="disarm")
    for now_s in (1.0, 100.0):
        clock.at(node, now_s)
        node.on_tick()
    node.end()
    line.serve()
    assert line.device.completed == 0


def watched(line: Line) -> list:
    """What the device was told in each sample, as it comes."""
    seen, feed = [], line.device.feed

    def feed_and_see(data: bytes, now_s: float) -> bytes:
        for byte in data:
            before = line.device.completed
            feed(bytes((byte,)), now_s)
            if line.device.completed > before:
                seen.append(line.device.command.tolist() if line.device.armed else None)
        return b""

    line.device.feed = feed_and_see
    return seen


def test_at_the_end_the_neutral_command_is_reached_at_bounded_speed(actuators, line):
    node = actuators(speed_max=[500.0] * 2, safe_output="neutral")
    node.state.command[:] = [40.0, 10.0]
    now_ns = node.get_clock().now().nanoseconds
    node.on_command(joint_state(now_ns, ["left", "right"], [40.0, 10.0]))
    seen = watched(line)
    node.end()
    line.serve()
    path = np.array([40.0, *(left for left, _ in seen)])
    assert path[-1] == 10.0 and np.all(np.diff(path) <= 0)
    assert np.min(np.diff(path)) >= -10.00001  # a command goes as float32
    assert len(seen) >= 3  # 30 at 500 a second, of which a message never moves more than 10


@every_kind
@pytest.mark.parametrize("mode", ["lockstep", "realtime"])
def test_at_the_end_actuators_are_let_go_where_that_is_safe(actuators, line, mode):
    node = actuators(clock=mode, safe_output="disarm")
    now_ns = node.get_clock().now().nanoseconds
    node.on_command(joint_state(now_ns, ["left", "right"], [5.0, 5.0]))
    line.serve()
    assert line.device.armed
    node.end()
    line.serve()
    assert not line.device.armed and line.device.completed == 2


@pytest.mark.parametrize("mode", ["lockstep", "realtime"])
def test_at_the_end_what_holds_is_told_nothing(actuators, line, mode):
    node = actuators(clock=mode)
    now_ns = node.get_clock().now().nanoseconds
    node.on_command(joint_state(now_ns, ["left", "right"], [5.0, 5.0]))
    node.end()
    line.serve()
    assert line.device.completed == 1 and line.device.armed


@pytest.mark.parametrize("line", ["dynamixel"], indirect=True)
def test_what_servos_say_of_themselves_is_published(actuators, line, published):
    node = actuators(clock="lockstep")
    said = published(node.status)
    first, second = line.device.registers.values()
    first[42:44] = bytes((111, 30))
    second[40:44] = bytes((0xFF, 0x07, 99, 80))
    line.device.errors[2] = servos.OVERLOAD_ERROR
    for k in range(1, 31):
        node.on_command(command(0.01 * k, [10.0, 10.0]))
        line.serve()
    stamps = [to_ns(message.header.stamp) for message in said]
    assert stamps == [20_000_000, 120_000_000, 220_000_000]  # the first answer was read at 20 ms
    left, right = said[-1].status
    values = {pair.key: pair.value for pair in right.values}
    assert (left.name, right.name) == ("dynamixel: left", "dynamixel: right")
    assert {pair.key: pair.value for pair in left.values}["voltage"] == "11.1"
    assert values["voltage"] == "9.9" and values["temperature"] == "80" and values["load"] == "-1"
    assert float(values["position"]) == pytest.approx(0.0, abs=0.15)  # as they leave the factory
    assert values["errors"] == "32" and right.message == "error bits 0x20"
    assert right.level == right.ERROR and left.level == left.OK


@pytest.mark.parametrize("line", ["hasel_driver"], indirect=True)
def test_what_the_driver_says_of_itself_is_published(actuators, line, published):
    node = actuators()
    said = published(node.status)
    line.device.supply_v, line.device.temperature_c = 6000.0, 31.5
    node.on_command(joint_state(node.get_clock().now().nanoseconds, ["left", "right"], [5.0, 5.0]))
    line.serve()
    node.on_tick()
    (status,) = said[0].status
    values = {pair.key: pair.value for pair in status.values}
    assert status.name == "hasel_driver" and status.hardware_id == line.path
    assert values == {
        "errors": "0", "voltage": "6000", "temperature": "31.5", "answers": "1", "bad": "0"
    }  # fmt: skip


def test_a_port_that_nobody_reads_loses_samples_and_never_waits(actuators, line, monkeypatch):
    monkeypatch.setattr(_port, "WRITE_S", 0.001)
    node = actuators(clock="lockstep")
    for k in range(1, 3000):
        node.on_command(command(0.01 * k, [10.0, 10.0]))
        if node.lost:
            break
    assert node.lost == 1 and not node.port.failed
    deadline = time.monotonic() + 20.0
    while line.device.command is None or line.device.command.tolist() != [20.0, 10.0]:
        assert time.monotonic() < deadline
        line.take()
        k += 1
        node.on_command(command(0.01 * k, [20.0, 10.0]))


@pytest.mark.parametrize("line", ["hasel_driver"], indirect=True)
def test_a_node_that_is_deactivated_goes_to_the_safe_output_and_hears_nothing(actuators, line):
    node = actuators(safe_output="disarm")

    def ask() -> None:
        now_ns = node.get_clock().now().nanoseconds
        node.on_command(joint_state(now_ns, ["left", "right"], [5.0, 5.0]))
        line.serve()

    ask()
    assert line.device.armed
    node.trigger_deactivate()
    line.serve()
    assert not line.device.armed
    ask()
    assert not line.device.armed and node.told == 2
    node.trigger_activate()
    ask()
    assert line.device.armed


def test_a_port_that_is_not_there_is_named(make_node):
    with pytest.raises(
        RuntimeError, match="the line of the actuators on '/dev/none' cannot be reached: "
    ):
        make_node(AnalogueNode, **parameters("analogue", port="/dev/none", port_timeout_s=0.0))


def test_a_port_that_disappears_is_named(actuators, line, monkeypatch):
    monkeypatch.setattr(_port, "GRACE_S", 0.0)
    node = actuators(safe_output="disarm", reconnect_s=0.0)
    now_ns = node.get_clock().now().nanoseconds
    node.on_command(joint_state(now_ns, ["left", "right"], [5.0, 5.0]))
    node.check()
    line.close()
    line.controller = line.port = None
    with pytest.raises(RuntimeError, match=f"'{line.path}' is gone after 1 samples: "):
        node.check()
    node.end()  # nothing is left to make safe


ANALOGUE = {k: v for k, v in parameters("analogue", port="p").items() if k != "unused"}
SERVOS = parameters("dynamixel", port="p")
HASEL = parameters("hasel_driver", port="p")


@pytest.mark.parametrize(
    ("model", "given", "said"),
    [
        (AnalogueParameters, ANALOGUE | {"port": ""}, "port = ''"),
        (AnalogueParameters, ANALOGUE | {"command_min": [0.0]}, "command_min = .*wanted 2 values"),
        (AnalogueParameters, ANALOGUE | {"speed_max": [1.0]}, "speed_max = .*wanted 2 values"),
        (AnalogueParameters, ANALOGUE | {"speed_max": [1, -1]}, "speed_max = .*below 0"),
        (AnalogueParameters, ANALOGUE | {"command_min": [60.0, 0]}, "left: 60 to 60 about 10 is"),
        (AnalogueParameters, ANALOGUE | {"command_neutral": [0, 61]}, "right: .* about 61 is no"),
        (AnalogueParameters, ANALOGUE | {"safe_output": "off"}, "safe_output = 'off'"),
        (AnalogueParameters, ANALOGUE | {"timeout_s": 0}, "timeout_s = 0"),
        (DynamixelParameters, SERVOS | {"id": [1, 1]}, r"id = \[1, 1\]: .*all different"),
        (DynamixelParameters, SERVOS | {"id": [1, 254]}, r"id = \[1, 254\]: wanted numbers"),
        (DynamixelParameters, SERVOS | {"speed": [0]}, "speed = .*wanted 2 values"),
        (DynamixelParameters, SERVOS | {"count_max": [1024, 512]}, "wanted ranges of 0 to 1023"),
        (DynamixelParameters, SERVOS | {"counts_per_unit": [1.0, 0.0]}, "counts_per_unit has a 0"),
        (HaselDriverParameters, HASEL | {"steps_per_unit": 0.0}, "steps_per_unit = 0.0"),
        (HaselDriverParameters, HASEL | {"full_steps": 65_536}, "full_steps = 65536"),
    ],
)
def test_a_malformed_parameter_is_told(model, given, said):
    with pytest.raises(ValueError, match=said) as caught:
        checked(model, given)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("line", ["hasel_driver"], indirect=True)
def test_a_graph_drives_falls_silent_goes_on_and_ends_in_safety(tmp_path, line):
    """The whole process, told over ROS: what is on the wire while there are commands, when they
    stop, when they come again, and when the node is told to stop."""
    given = parameters(line.kind, port=line.path, safe_output="disarm", timeout_s=0.3)
    file = tmp_path / "hasel_driver.yaml"
    given |= {"peers": ["hasel_driver"], "wait_for": ["controller"], "wait_for_s": 60.0}
    file.write_text(parameter_file(NodeSpec("hasel_driver", given)))
    module = [sys.executable, "-m", "soft_control.nodes.hasel_driver"]
    with ros_domain():
        node = subprocess.Popen(
            [*module, "--ros-args", "--params-file", str(file)], stderr=subprocess.PIPE, text=True
        )
        rclpy.init(signal_handler_options=rclpy.SignalHandlerOptions.NO)
        controller = rclpy.create_node("controller")
        commands = controller.create_publisher(JointState, COMMAND_ASKED, EVERY_SAMPLE)

        def until(condition, driving: bool) -> None:
            """Condition holds, with or without commands."""
            deadline = time.monotonic() + 60.0
            while not condition():
                assert time.monotonic() < deadline
                if driving:
                    now_ns = controller.get_clock().now().nanoseconds
                    commands.publish(joint_state(now_ns, ["left", "right"], [20.0, 0.0]))
                time.sleep(0.01)
                line.take()

        try:
            for _ in range(2):
                until(lambda: line.device.armed, driving=True)
                np.testing.assert_allclose(line.device.command, [20.0, 0.0], atol=0.05)
                until(lambda: not line.device.armed, driving=False)
            until(lambda: line.device.armed, driving=True)
            node.send_signal(signal.SIGINT)
            until(lambda: not line.device.armed, driving=False)
            _, said = node.communicate(timeout=30)
        finally:
            node.kill()
            controller.destroy_node()
            rclpy.try_shutdown()
    assert node.returncode == 0 and not line.device.armed
    assert "no command for 0.3 s: safe output 'disarm' until a fresh one comes" in said
    assert "error" not in said
