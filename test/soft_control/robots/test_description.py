"""What a description takes, refuses and says of a robot."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import yaml
from pydantic import ValidationError

from soft_control import paths, robots
from soft_control.rigs import RIGS, describe, make_rig
from soft_control.robots.config_files import read_yaml
from soft_control.robots.description import (
    Command,
    Output,
    Quantity,
    RobotDescription,
    Signal,
    described,
    tip,
)
from soft_control.robots.recording_format import RecordingFormat


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
    with pytest.raises(ValidationError, match="a: N is of force, mm of length"):
        Quantity(name="a", unit="N", display_unit="mm")
    with pytest.raises(ValidationError, match="unknown unit 'km': known are 1, %, m,"):
        Quantity(name="a", unit="km")


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
        ({"outputs": [{"name": "a", "point": "tip"}]}, "a coordinate of point tip needs its axis"),
        (
            {"outputs": [{"name": n, "axis": "x", "point": "tip"} for n in "ab"]},
            "axes of point tip x: twice",
        ),
        ({"speed": 1.0}, "speed = 1.0: no such setting"),
        ({"commands": None}, "commands: missing"),
        ({"commands": "a"}, "commands = 'a': must be a list"),
        (
            {"commands": [{"name": True, "min": 0, "max": 1}]},
            "commands.0.name = True: must be text",
        ),
        ({"commands": [{"name": "a\n", "min": 0, "max": 1}]}, "holds a control character"),
        ({"commands": [{"name": 65 * "a", "min": 0, "max": 1}]}, "at most 64 characters"),
        ({"rate_hz": "fast"}, "rate_hz = 'fast': must be a number"),
        ({"recording": {"time": 0.01}}, "recording.time = 0.01: must be `name: value` lines"),
        (
            {"signals": [{"name": "bend"}], "recording": {"time": {"period_s": 0.01}}},
            "recording: bend is the name of two of commands, outputs and signals: rename one",
        ),
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


def test_a_robot_without_a_simulation_is_a_file(tmp_path, monkeypatch):
    from soft_control import paths

    (tmp_path / "config" / "robots").mkdir(parents=True)
    file = tmp_path / "config" / "robots" / "arm.yaml"
    monkeypatch.setattr(paths, "share", lambda: tmp_path)
    with pytest.raises(ValueError, match="unknown robot 'arm': .* ./arm.yaml"):
        describe("arm")
    text = (
        "rate_hz: 50\n"
        "commands: [{name: a, unit: N, min: 0, max: 1}]\n"
        "outputs: [{name: x, unit: m, axis: x, point: tip}]\n"
    )
    file.write_text(text)
    assert describe("arm").command_names == ("a",) and robots.names() == ["arm"]
    elsewhere = tmp_path / "other.yml"
    elsewhere.write_text(text)
    assert robots.load(elsewhere).name == "other" and robots.load(str(file)).name == "arm"
    file.write_text("rate_hz: .inf\n")
    with pytest.raises(ValueError, match=r"arm\.yaml: "):
        describe("arm")
    for path in ("none.yaml", tmp_path / "none.yaml", tmp_path):
        with pytest.raises(ValueError, match="no such file"):
            robots.load(path)
    with pytest.raises(ValueError, match="is no name"):
        describe("a b")
    with pytest.raises(ValueError, match="no such file"):
        describe("../../etc/passwd")


@pytest.mark.parametrize("name", robots.names())
def test_every_shipped_description_is_its_files_name_and_survives_json(name: str):
    robot = robots.load(name)
    assert robot.name == name
    assert RobotDescription.model_validate_json(robot.model_dump_json()) == robot


@pytest.mark.parametrize("name", sorted(RIGS))
def test_a_rig_moves_within_the_limits_of_its_description(name: str):
    """Stops and calibration are physics as well; both files say the same."""
    written, rig = robots.load(name), make_rig(name).description
    np.testing.assert_allclose(written.command_min, rig.command_min, rtol=1e-12)
    np.testing.assert_allclose(written.command_max, rig.command_max, rtol=1e-12)
    assert written.full_scale_counts == rig.full_scale_counts


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"min": "-1 mm", "max": 1}, "min '-1 mm': mm is of length, rad of angle"),
        ({"min": "-1 turn", "max": 1}, "unknown unit 'turn'"),
        ({"min": "little", "max": 1}, "min 'little': must be a number and a unit, such as -5 rad"),
        ({"min": "90 deg", "max": "-9e1deg"}, "a: min 1.5708 rad is not below max -1.5708 rad"),
        ({"min": 0, "max": 1, "speed_max": "90 deg"}, "speed_max '90 deg': must end in /s"),
        ({"min": 0, "max": 1, "speed_max": 0}, "speed_max = 0"),
    ],
)
def test_a_limit_of_another_kind_is_refused(limits: dict, said: str):
    values = description().model_dump(mode="json") | {
        "commands": [{"name": "a", "unit": "rad"} | limits]
    }
    with pytest.raises(ValueError, match="^arm.yaml: ") as refused:
        described(values, "arm.yaml")
    assert said in str(refused.value)


def test_a_name_without_a_value_is_as_if_it_were_not_there():
    values = description().model_dump(mode="json") | {"signals": None, "recording": None}
    assert described(values, "arm.yaml").signals == ()
    with pytest.raises(ValueError, match="arm.yaml: outputs: missing"):
        described(values | {"outputs": None}, "arm.yaml")
    values["recording"] = {"time": {"period_s": 0.01}, "columns": {"bend": None}, "topics": None}
    assert described(values, "arm.yaml").recording.columns == {}
    values["recording"]["columns"]["bend"] = values["recording"]
    with pytest.raises(ValueError, match="arm.yaml: recording.columns.bend.time = "):
        described(values, "arm.yaml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "rate_hz: 50\nrate_hz: 100\n",
            "a.yaml: line 2, column 1: not YAML: rate_hz is there twice",
        ),
        ("commands:\n\t- a\n", "a.yaml: line 2, column 1: .*; indent by blanks"),
        ("2020-01-01: 1\n", "a.yaml: the name 2020-01-01 must be text: in quotes"),
        ("a: 1\n---\na: 2\n", "line 2, column 1: .* another document"),
        ("a: \xe9", "a.yaml: not YAML in UTF-8, byte 3"),
    ],
)
def test_what_yaml_takes_otherwise_than_meant_is_said_with_its_line(tmp_path, text, said):
    (tmp_path / "a.yaml").write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=said):
        read_yaml(tmp_path / "a.yaml")


def test_limits_are_read_in_the_unit_that_they_name():
    assert Command(name="a", unit="Pa", min="9e4", max="1e2kPa").min == 9e4  # text to YAML 1.1
    command = Command(name="a", unit="rad", min="-90 deg", max=1, speed_max="180 deg/s")
    assert command.min == -math.pi / 2 and command.speed_max == math.pi
    assert Output(name="y", unit="m", rest="-312 mm").rest == -0.312
    with pytest.raises(ValueError, match="rest '1 deg': deg is of angle, m of length"):
        Output(name="y", unit="m", rest="1 deg")


@pytest.mark.parametrize(
    ("recording", "said"),
    [
        ({}, "recording.time: missing"),
        ({"time": {}}, "needs either column"),
        ({"time": {"column": "t", "period_s": 0.01}}, "needs either column"),
        ({"time": {"column": "t", "unit": "mm"}}, "mm is of length, s of time"),
        ({"time": {"period_s": 0.0}}, "recording.time.period_s = 0"),
        ({"time": {"period_s": 1}, "columns": {"q": {}}}, "recording.columns: q is none of bend"),
        ({"time": {"period_s": 1}, "reference": {"bend": {}}}, "recording.reference: bend is none"),
        ({"time": {"period_s": 1}, "columns": {"y": {"unit": "deg"}}}, "recording.columns.y: deg"),
        ({"time": {"period_s": 1}, "columns": {"y": {"unit": "km"}}}, "unknown unit 'km'"),
        ({"time": {"period_s": 1}, "run": "("}, "no regular expression"),
        ({"time": {"period_s": 1}, "files": ["a"]}, "files: needs run"),
        ({"time": {"period_s": 1}, "run": "a", "files": ["\\1"]}, "run has 0 brackets"),
        ({"time": {"period_s": 1}, "topics": {"points": {"q": "/q"}}}, "no output is of q"),
    ],
)
def test_a_recording_that_cannot_be_read_is_refused(recording: dict, said: str):
    values = description().model_dump(mode="json") | {"recording": recording}
    with pytest.raises(ValueError, match="^arm.yaml: ") as refused:
        described(values, "arm.yaml")
    assert said in str(refused.value) and "\n" not in str(refused.value)


def test_files_of_a_run_are_named_by_one():
    form = RecordingFormat(
        run=r"seen_(\d+)(_\d+g)?\.csv", files=(r"told_\1.csv",), time={"period_s": 1.0}
    )
    assert form.files_of("seen_12_100g.csv") == ("seen_12_100g.csv", "told_12.csv")
    assert form.files_of("told_12.csv") is None
    assert RecordingFormat(time={"period_s": 1.0}).files_of("any") == ("any",)


def test_outputs_that_no_point_message_carries_have_no_components():
    angles = tuple(Output(name=f"q{i}", unit="rad", display_unit="deg") for i in range(4))
    robot = description(outputs=angles)
    assert [group.unit for group in robot.groups] == ["deg"] * 4
    with pytest.raises(ValueError, match="more than the coordinates of one point"):
        _ = robot.axes


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


@pytest.mark.parametrize("section", ["training", "nodes"])
@pytest.mark.parametrize(
    "text", ["3", "{1: {a: 2}}", "{mcu: {a: 2020-01-01}}", "&a {mcu: {b: *a}}"]
)
def test_sections_are_names_and_values(tmp_path, section: str, text: str):
    path = tmp_path / "arm.yaml"
    values = description().model_dump(mode="json", exclude={"training", "nodes"})
    path.write_text(f"{yaml.safe_dump(values)}{section}: {text}\n")
    with pytest.raises(ValueError, match=f"arm.yaml: {section}") as refused:
        robots.load(path)
    assert "\n" not in str(refused.value)


def test_a_description_is_found_where_it_says_the_same():
    tendon = robots.load("tendon")
    assert robots.said_in(tendon) == str(paths.robot("tendon"))
    assert robots.said_in(tendon.bare()) == "the description of tendon"
    assert robots.said_in(description()) == "the description of arm"
