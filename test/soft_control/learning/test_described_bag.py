"""What is guessed of a bag is a description that reads it; a bag of this project says its own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from soft_control import robots
from soft_control.learning.dataset import RecordingError, RecordingWarning, read_recording
from soft_control.learning.first_description import first_description
from soft_control.robots.description import RobotDescription, described

K = np.arange(40)
STAMPS = (10**9 + K * 10**7).tolist()


def guessed(bag: Path) -> RobotDescription:
    return described(yaml.safe_load(first_description([bag], "arm")), "arm.yaml")


def joints(messages, names: list[str], values: np.ndarray) -> list:
    return [messages.joints(t, names, row) for t, row in zip(STAMPS, values, strict=True)]


def poses(messages, make: str, xyz: np.ndarray) -> list:
    return [getattr(messages, make)(t, row) for t, row in zip(STAMPS, xyz, strict=True)]


def test_topics_of_another_laboratory_are_guessed_by_types_and_names(messages, tmp_path):
    told = np.column_stack([np.sin(K), 0.5 * np.cos(K)])
    tip = np.column_stack([0.01 * np.sin(K), 0.02 * np.cos(K), 0.3 + 0.001 * K])
    bag = messages.write(tmp_path / "bag", {
        "/motors/command": joints(messages, ["left", "right"], told),
        "/strain/raw": joints(messages, ["s0"], 100.0 + K[:, None]),
        "/vrpn/tip/pose": poses(messages, "pose", tip),
        "/vrpn/middle/pose": poses(messages, "point", tip / 2),
        "/valves": [messages.array((1, 2)) for _ in K],
    })  # fmt: skip
    with pytest.warns(RecordingWarning, match="not looked at: topic /valves"):
        robot = guessed(bag)
    run = read_recording(bag, robot)
    assert robot.command_names == ("left", "right") and robot.signal_names == ("s0",)
    assert [group.name for group in robot.groups] == ["tip", "middle"]
    assert robot.commands[0].unit == "1" and robot.outputs[0].shown_in == "mm"
    assert robot.rate_hz == pytest.approx(100.0)
    np.testing.assert_allclose(run.commands, told)
    np.testing.assert_allclose(run.outputs, np.hstack([tip, tip / 2]))
    np.testing.assert_allclose(run.signals[:, 0], 100.0 + K)


def test_outputs_by_name_may_be_no_positions(messages, tmp_path):
    """Angles of a JointState: what is told in degrees stays in degrees, for so the bag has it."""
    told, seen = 40.0 * np.sin(K)[:, None], np.column_stack([np.sin(K), 90e3 + 1e3 * K])
    bag = messages.write(tmp_path / "bag", {
        "/desired": joints(messages, ["u"], told),
        "/arm/state": joints(messages, ["bend_angle", "pressure"], seen),
    })  # fmt: skip
    robot = guessed(bag)
    assert [(o.name, o.unit) for o in robot.outputs] == [("bend_angle", "rad"), ("pressure", "Pa")]
    assert (robot.commands[0].unit, robot.commands[0].shown_in) == ("deg", "deg")
    run = read_recording(bag, robot)
    np.testing.assert_allclose(run.commands, told)
    np.testing.assert_allclose(run.outputs, seen)


def test_a_bag_of_this_project_says_itself_what_its_robot_is(messages, tmp_path):
    known = robots.load("tendon")
    bag = messages.write(
        tmp_path / "bag", {"/command": joints(messages, ["servo_0"], K[:, None] / 10.0)}
    )
    record = {"robot": known.model_dump(mode="json")}
    (tmp_path / "experiment.json").write_text(json.dumps(record))
    assert guessed(bag) == known


def test_a_bag_without_commands_or_outputs_is_refused_with_its_topics(messages, tmp_path):
    bag = messages.write(tmp_path / "bag", {"/command": [messages.array((1, 2)) for _ in K]})
    said = r"commands .*: it has /command \(std_msgs/msg/Float64MultiArray\).*/JointState"
    with pytest.raises(RecordingError, match=said):
        guessed(bag)
    bag = messages.write(
        tmp_path / "other", {"/command": joints(messages, ["u"], K[:, None] / 10.0)}
    )
    with pytest.raises(RecordingError, match="no topic looks like a robot's outputs"):
        guessed(bag)
    with pytest.raises(RecordingError, match="not a finished rosbag2 directory"):
        first_description([tmp_path], "arm")
    with pytest.raises(RecordingError, match="name one bag alone"):
        first_description([bag, tmp_path / "run.csv"], "arm")


def test_a_namespace_is_no_part_of_what_topics_and_points_are_called(messages, tmp_path):
    """Below /control every topic would look like one of commands."""
    told = np.sin(K)[:, None]
    tip = np.column_stack([0.01 * np.sin(K), 0.02 * np.cos(K), 0.3 + 0.001 * K])
    mine = {
        "/command": joints(messages, ["left"], told),
        "/signals/calibrated": joints(messages, ["s0"], K[:, None]),
        "/tip_position": poses(messages, "point", tip),
    }
    bag = messages.write(tmp_path / "bag", {f"/control{name}": m for name, m in mine.items()})
    robot = guessed(bag)
    assert robot.command_names == ("left",) and robot.signal_names == ("s0",)
    assert [group.name for group in robot.groups] == ["tip"]
    np.testing.assert_allclose(read_recording(bag, robot).outputs, tip)
    both = {f"{space}{name}": m for name, m in mine.items() for space in ("/left", "/right")}
    two = messages.write(tmp_path / "two", both)
    with pytest.raises(RecordingError, match="topics of two robots, below /left and /right"):
        first_description([two], "arm")
