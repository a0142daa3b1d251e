"""soft_control.control.mpc_settings: weights from the units on paper to those inside."""

from __future__ import annotations

import math

import pytest

from soft_control.control.mpc_settings import MpcSettings, physical_settings
from soft_control.robots.description import Command, Output, RobotDescription

ROBOT = RobotDescription(
    name="mixed",
    rate_hz=100.0,
    commands=(
        Command(name="servo", unit="rad", display_unit="deg", min=-1.0, max=1.0),
        Command(name="valve", unit="Pa", display_unit="kPa", min=0.0, max=80e3),
    ),
    outputs=(
        Output(name="tip_x", unit="m", display_unit="mm", axis="x", point="tip"),
        Output(name="bend", unit="rad", display_unit="deg", axis="y"),
        Output(name="force", unit="N", axis="z"),
    ),
)
ASKED = {
    "output_weight": [1.0, 4.0, 2.0],
    "move_weight": [0.5, 0.25],
    "command_min": [-1.0, 0.0],
    "command_max": [1.0, 80e3],
    "move_max": [0.1, 8e3],
}


def physical(**changes: object) -> dict:
    return physical_settings(MpcSettings(**ASKED | changes), ROBOT)


def test_each_weight_counts_in_the_unit_that_its_quantity_is_shown_in():
    """1/mm² is 1e6/m², 1/deg² is (180/π)²/rad², 1/kPa² is 1e-6/Pa²; a newton stays one."""
    degrees = (180.0 / math.pi) ** 2
    found = physical(terminal_weight=[3.0, 0.0, 1.0], command_weight=[1.0, 2.0])
    assert found["output_weight"] == pytest.approx([1e6, 4.0 * degrees, 2.0])
    assert found["terminal_weight"] == pytest.approx([3e6, 0.0, 1.0])
    assert found["bound_weight"] == pytest.approx([1e8, 400.0 * degrees, 200.0])
    assert found["move_weight"] == pytest.approx([0.5 * degrees, 0.25e-6])
    assert found["command_weight"] == pytest.approx([degrees, 2e-6])
    assert physical(bound_weight=[1.0] * 3)["bound_weight"] == pytest.approx([1e6, degrees, 1.0])


def test_bounds_are_in_the_units_inside():
    found = physical(output_min=[-0.01, -0.5, -math.inf])
    assert found["output_min"] == [-0.01, -0.5, -math.inf]
    assert found["output_max"] == [math.inf] * 3
    assert found["command_reference"] == [0.0, 40e3]


def test_a_weight_that_is_too_large_inside_is_named():
    """The firmware takes no more than 1e16, so that costs stay finite in float32."""
    assert physical(bound_weight=[1e10, 1.0, 1.0])["bound_weight"][0] == 1e16
    gap = Output(name="gap", unit="m", display_unit="um", axis="x")
    micrometres = ROBOT.model_copy(update={"outputs": (gap, *ROBOT.outputs[1:])})
    asked = MpcSettings(**ASKED | {"terminal_weight": [1e5, 1.0, 1.0]})
    with pytest.raises(
        ValueError, match=r"terminal_weight of 'gap': 100000 per um² is 1e\+17 per m²"
    ):
        physical_settings(asked, micrometres)


@pytest.mark.parametrize("name", ["output_weight", "terminal_weight", "move_weight"])
def test_a_setting_of_another_robot_is_named(name):
    with pytest.raises(ValueError, match=f"{name} has 4 values, mixed needs [23]"):
        physical(**{name: [1.0] * 4})
