"""Units, limits and points, from a description and without one."""

from __future__ import annotations

import math

import pytest

from soft_control import robots
from soft_control.monitor.quantities import Quantities, Shown


def test_a_description_says_units_limits_and_points():
    known = Quantities(robots.load("trunk"))
    u1 = known.shown("commands", "u1")
    assert (u1.unit, u1.factor) == ("deg", pytest.approx(180 / math.pi))
    assert (u1.minimum, u1.maximum) == (pytest.approx(-50), pytest.approx(50))
    assert known.shown("outputs", "x1") == Shown("mm", pytest.approx(1000))
    names = robots.load("trunk").output_names
    groups = known.groups(names)
    assert [group.name for group in groups] == ["body_1", "body_2", "body_3"]
    assert groups[1].outputs == ("x2", "y2", "z2") and groups[1].axes == ("x", "y", "z")
    assert groups[1].unit == "mm"


def test_what_has_no_unit_has_none_on_paper():
    assert Quantities(robots.load("hasel")).shown("commands", "hasel_0").unit == ""


def test_without_a_description_names_say_what_belongs_together():
    known = Quantities()
    groups = known.groups(["tip_x", "tip_z", "x1", "y1", "push"])
    assert [(g.name, g.outputs, g.axes) for g in groups] == [
        ("tip", ("tip_x", "tip_z"), ("x", "z")),
        ("1", ("x1", "y1"), ("x", "y")),
        ("push", ("push",), ()),
    ]
    assert known.groups(["x", "y"])[0].name == "position"


def test_without_a_description_a_points_topic_says_its_name_and_its_unit():
    known = Quantities()
    assert known.shown("outputs", "x") == Shown()
    known.points.add("tip")
    (group,) = known.groups(["x", "y", "z"])
    assert (group.name, group.unit) == ("tip", "mm")
    assert known.shown("outputs", "push") == Shown()


def test_without_a_description_parameters_say_limits():
    known = Quantities()
    told = {"command_names": ["a", "b"], "command_min": [-1.0, 0.0], "command_max": [1.0, 2.0]}
    assert known.learn(told)
    assert not known.learn(told)
    assert known.shown("commands", "b") == Shown("", 1.0, 0.0, 2.0)
    assert known.shown("outputs", "b") == Shown()
    assert not known.learn({"command_names": ["a"], "command_min": [], "command_max": [1.0]})
    assert not known.learn(
        {"command_names": ["c"], "command_min": [-math.inf], "command_max": [math.inf]}
    )
