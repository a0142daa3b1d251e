"""A rig on two wires is the rig itself: its actuators and its sensor add their steps, no more."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from soft_control.experiment.rig_device import RigDevice
from soft_control.firmware_instruments import actuator_config, sensor_config
from soft_control.link.instruments import ACTUATORS, SENSORS
from soft_control.rigs import RIGS, Rig, make_rig
from soft_control.robots.description import Command, Output, RobotDescription, Signal
from soft_control.robots.instruments import Actuators, Instruments, Sensor

SERVO_STEP = np.radians(300.0 / 1023.0)
"""Robotis' manual of the AX-12A: 1023 steps from -150 to 150 degrees, 512 in the middle."""
STEPS = {"tendon": SERVO_STEP, "hasel": 1.0 / 1023.0, "mass_spring_damper": 6.0 * 2.0**-24}
STEPS |= {f"mujoco_{name}": STEPS[name] for name in ("tendon", "hasel")}
"""Between two neighbouring commands; of a force of up to 6 N a float32's."""


def quantised(rig: Rig, command: np.ndarray) -> np.ndarray:
    """What the actuators make of a command, by their data sheets."""
    kind = rig.description.instruments.actuators.kind
    if kind == "dynamixel":
        return (np.floor(512.5 + command / SERVO_STEP) - 512.0) * SERVO_STEP
    if kind == "hasel_driver":
        return np.floor(0.5 + 1023.0 * (command + 0.5)) / 1023.0 - 0.5
    return command.astype(np.float32).astype(float)


def master(rig: Rig):
    robot = rig.description
    kind = ACTUATORS[robot.instruments.actuators.kind].master
    return kind(actuator_config(robot), len(robot.commands))


def reader(rig: Rig):
    robot = rig.description
    settings = sensor_config(robot)
    if robot.instruments.sensor.kind == "lightlace":
        settings["signed"] = settings.pop("is_signed")
    return SENSORS[robot.instruments.sensor.kind](len(robot.signals), 1.0, 0.0, **settings)


def commands(rig: Rig, count: int, seed: int = 1) -> np.ndarray:
    """(count, m) all over the range."""
    rng = np.random.default_rng(seed)
    return rng.uniform(rig.command_min, rig.command_max, (count, rig.command_min.size))


def pieces(data: bytes, rng: np.random.Generator) -> list[bytes]:
    """Of any lengths."""
    ends = np.cumsum(rng.integers(1, 12, len(data)))
    edges = [0, *(int(end) for end in ends if end < len(data)), len(data)]
    return [data[low:high] for low, high in zip(edges, edges[1:], strict=False)]


@pytest.mark.parametrize("name", RIGS)
def test_commands_come_in_whatever_pieces(name):
    rig = make_rig(name)
    device, tells, rng = RigDevice(rig), master(rig), np.random.default_rng(2)
    np.testing.assert_array_equal(device.command, rig.description.command_neutral)
    for k, asked in enumerate(commands(rig, 200)):
        for piece in pieces(tells.drive(asked), rng):
            assert device.completed in (k, k + 1)
            tells.feed(device.drive(piece))
        assert device.completed == k + 1
        # Counts at the limits are rounded inwards: by a whole step.
        assert np.abs(device.command - asked).max() <= STEPS[name]
    assert device.actuators.armed and device.actuators.bad == 0
    assert tells.status.bad == 0
    assert tells.status.answers == (0 if name == "mass_spring_damper" else 200)


@pytest.mark.parametrize("name", RIGS)
def test_a_sample_is_over_with_its_last_byte_and_not_before(name):
    rig = make_rig(name)
    device, tells = RigDevice(rig), master(rig)
    device.drive(tells.drive(rig.description.command_neutral))
    (asked,) = commands(rig, 1)
    data = tells.drive(asked)
    if name.endswith("tendon"):
        data = data[:-8]  # the question for a servo's state; the goals are told without it
    device.drive(data[:-1])
    assert device.completed == 1
    np.testing.assert_allclose(device.command, rig.description.command_neutral, atol=STEPS[name])
    device.drive(data[-1:])
    assert device.completed == 2
    np.testing.assert_allclose(device.command, quantised(rig, asked), atol=STEPS[name])


@pytest.mark.parametrize("name", RIGS)
def test_a_damaged_command_is_none(name):
    rig = make_rig(name)
    device, tells = RigDevice(rig), master(rig)
    first, second, third = commands(rig, 3)
    device.drive(tells.drive(first))
    kept = device.command.copy()
    damaged = bytearray(tells.drive(second))
    damaged[8] ^= 0x10
    device.drive(bytes(damaged))
    assert device.completed == 1 and device.actuators.bad == 1
    np.testing.assert_array_equal(device.command, kept)
    device.drive(tells.drive(third))
    assert device.completed == 2
    np.testing.assert_allclose(device.command, third, atol=STEPS[name])


@pytest.mark.parametrize("name", RIGS)
def test_a_run_over_the_wires_is_the_run_of_the_rig(name):
    """In lockstep, noise included: outputs to rounding, counts to the last one."""
    wired, plain = make_rig(name, seed=5), make_rig(name, seed=5)
    device, tells, hears = RigDevice(wired), master(wired), reader(wired)
    rng, period_s = np.random.default_rng(3), 1.0 / wired.description.rate_hz
    moving = commands(wired, 60).cumsum(axis=0) / np.arange(1, 61)[:, None]
    for k, asked in enumerate(moving):
        seen, data = device.sample()
        wanted = plain.measure()
        heard = [counts for piece in pieces(data, rng) for counts in hears.feed(piece, 0.0)]
        assert heard == [wanted.signals.tolist()] == [list(seen.signals)]
        np.testing.assert_allclose(seen.outputs, wanted.outputs, atol=1e-12)
        device.drive(tells.drive(asked))
        device.step(period_s)
        plain.step(quantised(plain, asked), period_s)
        assert device.completed == k + 1
    assert np.abs(wired.outputs()).max() > 1e-4  # it has gone somewhere
    assert hears.samples == 60 and hears.dropped == 0


@pytest.mark.parametrize(
    ("line_format", "wanted"),
    [("plain", b"\n1,-2\r\n3,4\r\n"), ("bracketed", b"\n<1, -2>\n<3, 4>\n")],
)
def test_lines_of_both_formats_begin_with_the_end_of_one(line_format, wanted):
    """As of a board that was running before anybody listened."""
    robot = any_robot(Instruments(sensor=Sensor(format=line_format)))
    felt = iter([SimpleNamespace(signals=[1, -2]), SimpleNamespace(signals=[3, 4])])
    device = RigDevice(SimpleNamespace(description=robot, measure=lambda: next(felt)))
    assert device.sample()[1] + device.sample()[1] == wanted


def test_a_driver_that_hears_nothing_lets_go():
    """The high-voltage driver does after 50 ms, and takes the next command as ever."""
    rig = make_rig("hasel")
    device, tells = RigDevice(rig), master(rig)
    full = np.full(6, 0.5)
    device.drive(tells.drive(full))
    for _ in range(5):
        device.step(0.01)
        np.testing.assert_allclose(device.command, full)
    device.step(0.01)
    np.testing.assert_allclose(device.command, np.full(6, -0.5))
    assert not device.actuators.armed
    device.drive(tells.drive(full))
    np.testing.assert_allclose(device.command, full)
    device.step(0.2)  # nobody could have told it anything meanwhile
    assert device.actuators.armed
    np.testing.assert_allclose(device.command, full)


def any_robot(instruments: Instruments) -> RobotDescription:
    return RobotDescription(
        name="any",
        rate_hz=100.0,
        commands=(Command(name="push", unit="N", min=0.0, max=1.0),),
        outputs=(Output(name="y"),),
        signals=(Signal(name="a", full_scale_counts=1.0), Signal(name="b", full_scale_counts=1.0)),
        instruments=instruments,
    )


def test_commands_that_the_actuators_cannot_be_told_are_refused():
    robot = any_robot(Instruments(actuators=Actuators(kind="dynamixel")))
    with pytest.raises(ValueError, match="push: a Dynamixel is told angles, not N"):
        RigDevice(SimpleNamespace(description=robot))
