"""What a description takes, refuses and says of a robot."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from pydantic import ValidationError

from soft_control.rigs import RIGS, describe, make_rig
from soft_control.robots.config_files import read_section, read_yaml
from soft_control.robots.description import (
    Command,
    Output,
    Quantity,
    RobotDescription,
    Signal,
    described,
    tip,
)


def description(**changes: object) -> RobotDescription:
    values = dict(
        name="arm",
        commands=(Command(name="bend", unit="rad", display_unit="deg", min=-1.0, max=2.0),),
        outputs=tip(axes="yz"),
        signals=(Signal(name="s", full_scale_counts=0.0),),
        rate_hz=50.0,
    )
    return RobotDescription(**values | changes)


def test_units_on_paper_come_with_their_factor():
    assert Quantity(name="a", unit="rad", display_unit="deg").factor == math.degrees(1.0)
    assert Quantity(name="a", unit="m", display_unit="mm").factor == 1e3
    plain = Quantity(name="a", unit="N")
    assert (plain.factor, plain.shown_in, plain.title) == (1.0, "N", "a, N")
    assert Quantity(name="a").title == "a"  # without unit
    with pytest.raises(ValidationError, match="N cannot be shown as mm"):
        Quantity(name="a", unit="N", display_unit="mm")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "../arm"}, "name = "),
        ({"rate_hz": 0.0}, "rate_hz = "),
        ({"rate_hz": math.inf}, "rate_hz = "),
        ({"commands": []}, "commands = "),
        ({"outputs": []}, "outputs = "),
        ({"commands": [{"name": "a", "min": 1.0, "max": 1.0}]}, "min 1 is not below max 1"),
        ({"commands": [{"name": "a", "min": math.nan, "max": 1.0}]}, "commands.0.min = "),
        ({"commands": [{"name": "a", "min": 0, "max": 1}] * 2}, "commands a: twice"),
        ({"signals": [{"name": "s", "full_scale_counts": -1.0}]}, "signals.0.full_scale_counts = "),
        ({"outputs": [{"name": "a", "axis": "w"}]}, "outputs.0.axis = "),
        (
            {"outputs": [{"name": n, "axis": "x"} for n in "ab"]},
            "outputs' axes x: twice",
        ),
        (
            {
                "outputs": [
                    {"name": "a", "unit": "m", "axis": "x", "point": "tip"},
                    {"name": "b", "unit": "rad", "axis": "y", "point": "tip"},
                ]
            },
            "the coordinates of point tip have different units",
        ),
        ({"speed": 1.0}, "speed = "),
        ({"rig\n": 1.0}, "rig"),
    ],
)
def test_what_no_robot_can_be_is_refused_in_one_line(changes: dict, said: str):
    values = json.loads(json.dumps(description().model_dump(mode="json"))) | changes
    with pytest.raises(ValueError, match="^arm.yaml: ") as refused:
        described(values, "arm.yaml")
    assert said in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize("values", [None, [], "robot", 3, {}, {"name": {"a": 1}}])
def test_what_is_no_description_at_all_is_refused(values: object):
    with pytest.raises(ValueError, match="^here: "):
        described(values, "here")


def test_points_and_other_outputs_are_told_apart():
    robot = description(
        outputs=(
            Output(name="z", unit="m", display_unit="mm", axis="z", point="tip"),
            Output(name="tip", unit="N"),  # of the same name as the point
            Output(name="x", unit="m", display_unit="mm", axis="x", point="tip"),
        )
    )
    point, force = robot.groups
    assert (point.name, point.columns, point.unit, point.factor) == ("tip", (0, 2), "mm", 1e3)
    assert (force.name, force.columns, force.unit, force.is_point) == ("tip", (1,), "N", False)
    outputs = np.array([[3.0, 2.0, 4.0]])
    np.testing.assert_array_equal(point.place(outputs), [[4.0, 0.0, 3.0]])
    assert point.distance(outputs) == pytest.approx([5e3]) and force.distance(outputs) == [2.0]


def test_weights_count_degrees_only_where_every_command_is_shown_in_them():
    degrees = Command(name="a", unit="rad", display_unit="deg", min=0.0, max=1.0)
    radians = Command(name="b", unit="rad", min=0.0, max=1.0)
    assert description(commands=(degrees,)).move_unit == "deg"
    assert description(commands=(degrees, radians)).move_unit == "unit"


@pytest.mark.parametrize("rig_name", sorted(RIGS))
def test_every_rig_describes_what_it_is(rig_name: str):
    """The description survives the file of a run, and the rig moves and measures as it says."""
    robot = describe(rig_name)
    assert robot.name == rig_name
    again = RobotDescription.model_validate_json(robot.model_dump_json())
    assert again == robot
    rig = make_rig(rig_name, seed=1)
    np.testing.assert_array_equal(rig.command_min, robot.command_min)
    rig.step(robot.command_max, 0.5)
    seen = rig.measure()
    assert seen.signals.shape == (len(robot.signals),)
    assert seen.outputs.shape == (len(robot.outputs),)
    assert np.abs(seen.outputs).max() > 1e-4


def test_a_robot_without_a_simulation_is_a_section_of_its_file(tmp_path, monkeypatch):
    from soft_control import paths

    (tmp_path / "config").mkdir()
    file = tmp_path / "config" / "arm.yaml"
    monkeypatch.setattr(paths, "share", lambda: tmp_path)
    with pytest.raises(ValueError, match="unknown robot 'arm': .* section `robot` of config/arm"):
        describe("arm")
    file.write_text(
        "robot:\n  rate_hz: 50\n"
        "  commands: [{name: a, unit: N, min: 0, max: 1}]\n"
        "  outputs: [{name: x, unit: m, axis: x, point: tip}]\n"
    )
    assert describe("arm").command_names == ("a",)
    file.write_text("robot: {rate_hz: .inf}\n")
    with pytest.raises(ValueError, match=r"arm\.yaml: robot: "):
        describe("arm")
    with pytest.raises(ValueError, match="is no name"):
        describe("../../etc/passwd")


@pytest.mark.parametrize(
    "text",
    ["[", "- 1", "3", "'x'", "1: 2", "a: !!python/object/apply:os.system [ls]", "a: &a [*a", "\0"],
)
def test_a_hostile_yaml_file_is_one_line(tmp_path, text: str):
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match="a.yaml: ") as refused:
        read_yaml(path)
    assert "\n" not in str(refused.value)


def test_files_that_are_not_there_hold_nothing(tmp_path):
    assert read_yaml(tmp_path / "none.yaml") == {}
    assert read_section("none", "robot") == {}
