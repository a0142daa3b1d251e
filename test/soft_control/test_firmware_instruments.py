"""firmware_instruments: what drivers are told of a robot, against its description."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from soft_control.firmware_instruments import DYNAMIXEL_SERVOS_MAX, actuator_config, sensor_config
from soft_control.link.instruments import ACTUATORS, SENSORS
from soft_control.robots.description import Command, Output, RobotDescription, Signal
from soft_control.robots.instruments import Actuators, Instruments, Sensor


def robot(commands: list[Command], signals: int = 3, **instruments) -> RobotDescription:
    return RobotDescription(
        name="any",
        commands=tuple(commands),
        outputs=(Output(name="y"),),
        signals=tuple(Signal(name=f"s{i}") for i in range(signals)),
        rate_hz=100.0,
        instruments=Instruments(**instruments),
    )


def servo(low_deg: float, high_deg: float, name: str = "servo") -> Command:
    return Command(name=name, unit="rad", min=math.radians(low_deg), max=math.radians(high_deg))


def dynamixels(*commands: Command, **settings) -> RobotDescription:
    return robot(list(commands), actuators=Actuators(kind="dynamixel", **settings))


@given(st.floats(-150, 149), st.floats(0.5, 299), st.floats(-4, 4))
def test_no_servo_is_told_a_place_beyond_its_command_s_limits(low_deg, span_deg, command):
    """By the counts that go out; what a count is follows from Robotis' manual: 300 deg / 1023."""
    high_deg = min(low_deg + span_deg, 149.7)
    described = dynamixels(servo(low_deg, high_deg))
    config = actuator_config(described)
    told = ACTUATORS["dynamixel"].master(config, 1).drive([command])
    goal = told.index(bytes((0x83, 30, 4, 1))) + 4  # SYNC_WRITE, from register 30, 4 bytes, servo 1
    place_deg = (int.from_bytes(told[goal : goal + 2], "little") - 512) * 300.0 / 1023.0
    assert low_deg - 1e-6 <= place_deg <= high_deg + 1e-6
    nearest = min(max(math.degrees(command), low_deg), high_deg)
    assert abs(place_deg - nearest) <= 300.0 / 1023.0 + 1e-6


def test_servos_are_told_degrees_from_whatever_unit_of_angle():
    in_rad, in_deg = servo(-100, 80), Command(name="servo", unit="deg", min=-100, max=80)
    for key, value in actuator_config(dynamixels(in_deg)).items():
        other = np.asarray(actuator_config(dynamixels(in_rad))[key], dtype=float)
        unit = math.degrees(1.0) if key == "counts_per_unit" else 1.0
        assert np.asarray(value, dtype=float) * unit == pytest.approx(other)
    assert actuator_config(dynamixels(in_deg))["count_min"] == [171]
    assert actuator_config(dynamixels(in_deg))["count_max"] == [784]


@pytest.mark.parametrize(
    ("commands", "settings", "said"),
    [
        ([Command(name="push", unit="N", min=-1, max=1)], {}, "push: .* angles, not N"),
        ([servo(-151, 0)], {}, "turns from -150 deg"),
        ([servo(0, 151)], {}, "turns from -150 deg"),
        ([servo(0, 1), servo(0, 1, "b")], {"ids": (3, 3)}, "one for each of servo, b, all diff"),
        ([servo(0, 1), servo(0, 1, "b")], {"ids": (3,)}, "one for each"),
        (
            [servo(0, 1, f"s{i}") for i in range(DYNAMIXEL_SERVOS_MAX + 1)],
            {},
            "49 Dynamixels are more than the 48",
        ),
    ],
    ids=["force", "low", "high", "twice", "few", "many"],
)
def test_what_servos_cannot_be_is_named(commands, settings, said):
    with pytest.raises(ValueError, match=said):
        actuator_config(dynamixels(*commands, **settings))


def test_the_most_servos_are_told_in_one_packet():
    many = [servo(0, 1, f"s{i}") for i in range(DYNAMIXEL_SERVOS_MAX)]
    config = actuator_config(dynamixels(*many))
    master, device = (end(config, len(many)) for end in ACTUATORS["dynamixel"])
    device.feed(master.drive([0.01 * i for i in range(len(many))]))
    assert device.completed == 1 and device.bad == 0 and device.armed


def test_duty_is_the_share_of_the_way_between_a_hasel_s_limits():
    commands = [Command(name=name, min=-0.5, max=0.5) for name in "ab"]
    described = robot(commands, actuators=Actuators(kind="hasel_driver", full_steps=2000))
    config = actuator_config(described)
    sent = ACTUATORS["hasel_driver"].master(config, 2).drive([-0.5, 0.25])
    device = ACTUATORS["hasel_driver"].device(config, 2)
    device.feed(sent, 0.0)
    assert device.command == pytest.approx([-0.5, 0.25], abs=0.5 / 2000)
    assert config["zero_steps"] == pytest.approx(1000.0)
    uneven = robot(
        [commands[0], Command(name="b", min=0, max=1)], actuators=Actuators(kind="hasel_driver")
    )
    with pytest.raises(ValueError, match="one range"):
        actuator_config(uneven)


def test_sensors_read_as_the_description_says():
    lace = robot([servo(0, 1)], sensor=Sensor(kind="lightlace", signed=False))
    assert sensor_config(lace) == {"is_signed": False, "torn_start": True}
    magnets = robot([servo(0, 1)], sensor=Sensor(kind="magnetic", median=5, start_samples=64))
    SENSORS["magnetic"](3, 1.0, 0.0, **sensor_config(magnets))  # the twin takes the same


@pytest.mark.parametrize("kind", ["analogue", "hasel_driver"])
def test_frames_of_many_actuators_are_longer_than_those_of_few(kind):
    many = [Command(name=f"c{i}", min=-1, max=1) for i in range(150)]
    config = actuator_config(robot(many, actuators=Actuators(kind=kind)))
    master, device = (end(config, len(many)) for end in ACTUATORS[kind])
    device.feed(master.drive([0.5] * len(many)), 0.0)
    assert device.completed == 1 and device.command == pytest.approx([0.5] * 150, abs=1e-3)
