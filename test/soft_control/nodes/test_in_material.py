"""The bridge to an MCU that has the instruments: what is published of a run that needs nobody."""

from __future__ import annotations

import time
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed: soft_control[ros]")

import rclpy  # noqa: E402
from diagnostic_msgs.msg import DiagnosticStatus  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.lifecycle import TransitionCallbackReturn  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from sensor_msgs.msg import JointState  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402

from soft_control.control.references import Reference  # noqa: E402
from soft_control.control.sampled_reference import write_reference  # noqa: E402
from soft_control.experiment.rig_device import RigDevice  # noqa: E402
from soft_control.experiment.ros_messages import (  # noqa: E402
    EVERY_SAMPLE,
    from_trajectory,
    joint_state,
    to_ns,
)
from soft_control.experiment.trajectory import tabulate  # noqa: E402
from soft_control.learning.calibration import Calibration  # noqa: E402
from soft_control.link.codes import State  # noqa: E402
from soft_control.link.session import LinkError  # noqa: E402
from soft_control.nodes.mcu import Mcu  # noqa: E402
from soft_control.nodes.rig import PseudoTerminal  # noqa: E402
from soft_control.rigs import make_rig  # noqa: E402
from soft_control.topics import COMMAND_ASKED, FIRST_NS  # noqa: E402

RATE_HZ = 120.0
SERVO_STEP = np.radians(300.0 / 1023.0)
MOVE_MAX = 0.0506
"""Of a sample, rad: config/robots/tendon.yaml."""
PATIENCE_S = 30.0
SHAPE = Reference(
    ("x", "y", "z"), "figure_eight", (0.0, 0.0125, 0.025), (0.0,) * 3, (0, 1, 2), angular_rate=0.8
)
TABLE = tabulate(SHAPE, RATE_HZ, 200, 1200)


def wait_for(happened, *meanwhile) -> None:
    """Calls `meanwhile` until it has happened."""
    deadline = time.monotonic() + PATIENCE_S
    while not happened():
        assert time.monotonic() < deadline
        for act in meanwhile or (lambda: time.sleep(0.002),):
            act()


class World:
    """The tendon rig at the other ends of both lines."""

    def __init__(self, folder) -> None:
        self.device = RigDevice(make_rig("tendon", seed=3))
        self.sensor = PseudoTerminal(folder / "sensor.port")
        self.actuators = PseudoTerminal(folder / "actuator.port")
        self.counts: list[list[int]] = []
        self.told: list[np.ndarray] = []
        """Commands that the actuators have."""

    def feel(self) -> None:
        seen, line = self.device.sample()
        self.counts.append(list(seen.signals))
        self.sensor.write(line)

    def take(self) -> None:
        """What is there for the actuators: two commands where nobody has looked for so long."""
        for byte in self.actuators.read(0.01):
            before = self.device.completed
            if answer := self.device.drive(bytes([byte])):
                self.actuators.write(answer)
            if self.device.completed > before:
                self.told.append(self.device.command)
                self.device.step(1 / RATE_HZ)

    def run(self, samples: int) -> None:
        """In lockstep."""
        for _ in range(samples):
            self.feel()
            wait_for(lambda wanted=len(self.told) + 1: len(self.told) == wanted, self.take)

    def close(self) -> None:
        self.sensor.unlink()
        self.actuators.unlink()


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    yield world
    world.close()


@pytest.fixture
def bridge(make_node, tendon, world, tmp_path):
    """bridge(parameter=value, …): the node, with the firmware in sil."""
    robot = tendon.card.robot
    write_reference(tmp_path / "trajectory.csv", TABLE)

    def make(controller="mpc", **parameters):
        ports = {"sensor_port": str(world.sensor.link), "actuator_port": str(world.actuators.link)}
        return make_node(
            Mcu,
            target="sil",
            wiring="mcu",
            controller=controller,
            firmware=str(tendon.firmware),
            trajectory=str(tmp_path / "trajectory.csv") if controller == "mpc" else "",
            command_names=list(robot.command_names),
            command_neutral=robot.command_neutral.tolist(),
            signal_names=tendon.card.signal_names,
            output_names=list(robot.output_names),
            frame=robot.frame,
            **{"peers": ["mcu", "nobody"]} | ports | parameters,
        )

    return make


def values_of(message) -> dict[str, str]:
    return {pair.key: pair.value for pair in message.status[0].values}


def stamps(messages) -> list[int]:
    return [to_ns(message.header.stamp) for message in messages]


def test_what_the_firmware_reports_is_published_with_the_stamps_of_its_samples(
    bridge, world, published, tendon
):
    node = bridge()
    publishers = (node.material.signals, node.command, node.predicted, node.wanted, node.solver)
    signals, commands, predicted, wanted, diagnoses = map(published, publishers)
    counted = published(node.material.counted)
    world.run(30)
    wait_for(lambda: len(diagnoses) == 30)
    at = [FIRST_NS + k * node.period_ns for k in range(30)]
    assert stamps(signals) == stamps(commands) == stamps(wanted) == stamps(diagnoses) == at
    assert stamps(predicted) == [ns + node.period_ns for ns in at]

    robot, card = tendon.card.robot, tendon.card
    calibrated = Calibration(robot.full_scale_counts).apply(np.array(world.counts))
    columns = [robot.signal_names.index(name) for name in card.signal_names]
    assert list(signals[0].name) == card.signal_names
    np.testing.assert_allclose([m.position for m in signals], calibrated[:, columns], rtol=1e-6)
    told = np.array([message.position for message in commands])
    assert list(commands[0].name) == list(robot.command_names)
    np.testing.assert_allclose(world.told, told, atol=SERVO_STEP)
    assert np.ptp(told, axis=0).min() > 10 * SERVO_STEP
    assert list(predicted[0].name) == ["x", "y", "z"]
    assert {m.header.frame_id for m in (*predicted, *wanted)} == {"rig_base"}
    followed = np.array([from_trajectory(m, ("x", "y", "z"))[0] for m in wanted])
    np.testing.assert_allclose(followed, TABLE.values(np.arange(30) / RATE_HZ), atol=1e-8)
    said = values_of(diagnoses[-1])
    assert (said["state"], said["cause"], said["supervisor"]) == ("running", "none", "0")

    node.close()
    (message,) = counted
    assert stamps(counted) == [at[-1]] and message.status[0].level == DiagnosticStatus.OK
    found = values_of(message)
    assert (found["state"], found["cause"]) == ("running", "none")
    counts = {"sensor_samples": 30, "telemetry_sent": 30, "telemetry_lost": 0, "missed_samples": 0}
    assert {key: int(found[key]) for key in counts} == counts


def test_a_cut_loses_what_was_said_meanwhile_and_nothing_else(bridge, world, published):
    node = bridge(cut_from_s=20 / RATE_HZ, cut_for_s=15 / RATE_HZ)
    commands, diagnoses = published(node.command), published(node.solver)
    counted = published(node.material.counted)
    world.run(60)
    wait_for(lambda: len(diagnoses) == 45)
    kept = [*range(20), *range(35, 60)]
    assert stamps(commands) == [FIRST_NS + k * node.period_ns for k in kept]
    # The actuators have been driven all the time.
    told = np.array([message.position for message in commands])
    np.testing.assert_allclose(np.array(world.told)[kept], told, atol=SERVO_STEP)
    assert np.ptp(world.told[20:35], axis=0).max() > 3 * SERVO_STEP
    node.close()
    found = values_of(counted[0])
    assert (int(found["telemetry_sent"]), int(found["telemetry_lost"])) == (60, 15)
    assert int(found["telemetry_missing"]) == 15  # by the host's own count
    assert int(found["missed_samples"]) == 0


def test_a_run_faster_than_real_time_has_a_host_all_the_same(bridge, world, published):
    """The firmware counts the host's silence in samples; a heartbeat came by the wall's time."""
    node = bridge(host_lost="stop", host_timeout_ms=200)
    diagnoses = published(node.solver)
    world.run(150)
    wait_for(lambda: len(diagnoses) == 150)
    states = {(found["state"], found["supervisor"]) for found in map(values_of, diagnoses)}
    assert states == {("running", "0")}


def test_commands_of_the_host_pass_the_gate(bridge, world, published):
    """As a PID asks for them, on its topic: a jump goes at the speed that the robot bears."""
    node = bridge(controller="pid", wait_for=["asker"])
    commands, solver, predicted = map(published, (node.command, node.solver, node.predicted))
    asker = rclpy.create_node("asker")
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        ask = asker.create_publisher(JointState, COMMAND_ASKED, EVERY_SAMPLE)
        wait_for(lambda: ask.get_subscription_count() == 1)
        neutral = np.array(node.parameters.command_neutral)
        there = neutral + [0.4, -0.3]
        for k in range(15):
            world.feel()
            world.take()
            assert len(world.told) == k  # the sample waits for its command
            now_ns = FIRST_NS + k * node.period_ns
            ask.publish(joint_state(now_ns, ["servo_1", "servo_0"], there[::-1]))
            wait_for(
                lambda wanted=k + 1: len(world.told) == wanted,
                lambda: executor.spin_once(timeout_sec=0.01),
                world.take,
            )
        wait_for(lambda: len(commands) == 15)
    finally:
        executor.shutdown()
        asker.destroy_node()
    told = np.array([message.position for message in commands])
    assert stamps(commands) == [FIRST_NS + k * node.period_ns for k in range(15)]
    moves = np.abs(np.diff(told, axis=0, prepend=[neutral]))
    np.testing.assert_allclose(moves[:5], MOVE_MAX, atol=1e-6)
    np.testing.assert_allclose(told[-1], there, atol=1e-6)
    assert (moves <= MOVE_MAX + 1e-6).all()
    np.testing.assert_allclose(world.told, told, atol=SERVO_STEP)
    assert not solver and not predicted


def test_a_tethered_sample_is_told_its_position_by_its_stamp(bridge, world, published):
    node = bridge(tethered=True)
    commands, diagnoses = published(node.command), published(node.solver)
    for k in range(3):
        world.feel()
        world.take()
        assert len(world.told) == k
        now_ns = FIRST_NS + k * node.period_ns
        node.material.on_measured(joint_state(now_ns, "zyx", [0.001, 0.0, 0.0], "rig_base"))
        wait_for(lambda wanted=k + 1: len(world.told) == wanted, world.take)
    wait_for(lambda: len(diagnoses) == 3)
    assert len(commands) == 3
    with pytest.raises(ValueError, match="/outputs lacks x"):
        node.material.on_measured(joint_state(FIRST_NS, "zy", [0.0, 0.0]))


def test_a_robot_that_is_stopped_says_so_and_the_run_has_an_end(bridge, world, published):
    """The firmware goes on telling its safe output by its own timer, with nobody to end it."""
    node = bridge()
    diagnoses, counted = published(node.solver), published(node.material.counted)
    said = []
    node.get_logger = lambda: SimpleNamespace(
        info=lambda words: said.append(("info", words)),
        warning=lambda words: said.append(("warning", words)),
    )
    world.run(5)
    world.sensor.write(b"1,2,3\n" * 2)
    wait_for(lambda: len(diagnoses) > 12, world.take)
    node.close()
    assert said == [
        ("info", "the microcontroller is running from sample 0 on"),
        ("warning", "the microcontroller is stopped from sample 6 on: sensor damaged"),
    ]
    states = [values_of(message)["state"] for message in diagnoses]
    assert states[:6] == ["running"] * 6 and set(states[6:]) == {"stopped"}
    (message,) = counted
    assert message.status[0].level == DiagnosticStatus.ERROR
    assert message.status[0].message == "stopped"
    found = values_of(message)
    assert (found["state"], found["cause"]) == ("stopped", "sensor_damaged")
    assert int(found["sensor_dropped"]) == 2
    np.testing.assert_array_equal(world.told[-1], world.told[5])  # the robot holds its place


def test_in_realtime_it_is_armed_once_everyone_is_there(bridge, world, published):
    node = bridge(clock="realtime", sensor_timeout_ms=0, peers=["mcu"])
    commands = published(node.command)
    assert node.session.hello().state == State.IDLE and not node.material.thread.is_alive()
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        wait_for(node.material.thread.is_alive, lambda: executor.spin_once(timeout_sec=0.01))
    finally:
        executor.shutdown()
    world.feel()
    wait_for(lambda: len(commands) >= 5, world.take)
    node.close()
    at = stamps(commands)
    assert at == sorted(set(at)) and at[-1] <= node.get_clock().now().nanoseconds
    assert node.material.k >= 4


def test_a_manager_takes_the_node_through_its_states(bridge, world, published, capfd):
    node = bridge(autostart=False, clock="realtime", sensor_timeout_ms=0, peers=["mcu"])
    commands = published(node.command)
    done = TransitionCallbackReturn.SUCCESS

    def asked(name: str, value: object) -> str:
        return node.set_parameters([Parameter(name, value=value)])[0].reason

    assert not node.restart.on_restart(Trigger.Request(), Trigger.Response()).success
    assert asked("move_weight", [0.2, 0.2]) == ""  # of the firmware that is to come
    assert node.trigger_configure() == done
    assert node.session.hello().state == State.IDLE
    assert "controller hold: the node is not active" in asked("controller", "hold")
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        for _ in range(2):
            before = len(commands)
            assert node.trigger_activate() == done
            wait_for(node.material.thread.is_alive, lambda: executor.spin_once(timeout_sec=0.01))
            world.feel()
            wait_for(lambda wanted=before + 5: len(commands) >= wanted, world.take)
            assert node.trigger_deactivate() == done
            assert not node.material.thread.is_alive()
            assert node.session.hello().state == State.STOPPED
    finally:
        executor.shutdown()
    at = stamps(commands)
    assert at == sorted(set(at))
    assert node.trigger_cleanup() == done
    assert not node.is_open


def test_in_lockstep_a_run_does_not_go_on_where_it_was_broken_off(bridge, world, capfd):
    node = bridge()
    world.run(3)
    node.trigger_deactivate()
    node.trigger_activate()
    assert not node.is_active
    assert "does not go on where it was broken off" in str(node._failure)


def test_weights_that_it_starts_with_count_from_the_first_sample_on(bridge, world, published):
    node = bridge(move_weight=[200.0, 200.0])
    commands = published(node.command)

    def moved(samples: int) -> float:
        before = len(commands)
        world.run(samples)
        wait_for(lambda: len(commands) == before + samples)
        positions = [message.position for message in commands[before:]]
        return float(np.abs(np.diff(positions, axis=0)).mean())

    heavy = moved(30)
    assert node.set_parameters([Parameter("move_weight", value=[0.0, 0.0])])[0].successful
    assert heavy < 0.3 * moved(30)


def test_a_controller_takes_over_where_that_is_safe_and_else_the_reason_is_said(
    bridge, world, published
):
    node = bridge(peers=["mcu", "pid", "nobody"])
    told, solver = published(node.swap._told), published(node.solver)

    def choose(name: str) -> str:
        """The reason against it; empty: it is done."""
        (result,) = node.set_parameters([Parameter("controller", value=name)])
        assert result.successful == (node.parameters.controller == name)
        return result.reason

    assert "the run has not begun" in choose("hold")
    world.run(5)
    wait_for(lambda: node.material.k == 4)
    assert "its node 'pid' is not in the graph" in choose("pid")
    other = rclpy.create_node("pid")
    other.create_publisher(JointState, COMMAND_ASKED, EVERY_SAMPLE)
    wait_for(lambda: "is not in the graph" not in choose("pid"))
    assert "no measured outputs have come on /outputs" in choose("pid")
    node.swap.saw(joint_state(node.material.last_ns, ["x"], [0.0]))
    assert choose("pid") == "" and told[-1].frame_id == "pid"
    first_ns = FIRST_NS + 5 * node.period_ns
    assert to_ns(told[-1].stamp) == first_ns
    world.feel()
    world.take()
    assert len(world.told) == 5  # the sample waits for the PID
    node.material.on_asked(joint_state(first_ns, ["servo_0", "servo_1"], world.told[-1]))
    wait_for(lambda: len(world.told) == 6, world.take)
    wait_for(lambda: node.material.k == 5)
    assert len(solver) == 5
    assert choose("mpc") == "" and to_ns(told[-1].stamp) == first_ns + node.period_ns
    world.run(2)
    wait_for(lambda: len(solver) == 7)
    world.sensor.write(b"1,2,3\n" * 2)
    wait_for(lambda: node.material.newest.state == State.STOPPED, world.take)
    assert "the microcontroller is stopped (sensor damaged)" in choose("hold")
    other.destroy_node()


def test_weights_and_bounds_of_the_mpc_change_in_a_run(bridge, world, published):
    """Moves that cost a thousand times as much make it keep still; bounds are met."""
    node = bridge()
    commands = published(node.command)

    def moved(samples: int) -> np.ndarray:
        before = len(commands)
        world.run(samples)
        wait_for(lambda: len(commands) == before + samples)
        return np.array([message.position for message in commands[before:]])

    def asked(**values) -> str:
        listed = [Parameter(name, value=of) for name, of in values.items()]
        result = node.set_parameters_atomically(listed)
        return result.reason

    usual = np.abs(np.diff(moved(30), axis=0)).mean()
    assert asked(move_weight=[200.0, 200.0]) == ""
    assert np.abs(np.diff(moved(30)[5:], axis=0)).mean() < 0.3 * usual
    last = np.array(commands[-1].position)
    assert asked(move_weight=[], command_max=(last - 0.1).tolist()) == ""
    assert (moved(30)[10:] <= last - 0.1 + 1e-6).all()
    wrong = asked(output_weight=[1.0, 1.0, 1.0], move_max=[1.0, 1.0])
    assert "move_max = 1: above the 0.0506 that the firmware has" in wrong
    assert node.parameters.output_weight == []


def test_what_ends_the_thread_ends_the_node(bridge, monkeypatch):
    node = bridge()

    def gone(timeout_s):
        raise LinkError("sil: gone")

    monkeypatch.setattr(node.session, "telemetry", gone)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        with pytest.raises(LinkError, match="sil: gone"):
            wait_for(lambda: False, lambda: executor.spin_once(timeout_sec=0.01))
    finally:
        executor.shutdown()


def test_ports_that_never_appear_are_named(bridge, world, tmp_path):
    with pytest.raises(LinkError, match="none.port: No such file"):
        bridge(port_timeout_s=0.0, actuator_port=str(tmp_path / "none.port"))
