"""Parameters as forms show them, and what a page may put into them."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace

import pytest

from soft_control.monitor.choices import choices, fitting, labels, told, type_of


def descriptor(name: str, **fields: object) -> SimpleNamespace:
    default = dict(
        description="", additional_constraints="", floating_point_range=[], integer_range=[]
    )
    return SimpleNamespace(name=name, **default | fields)


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("one of mpc, pid, open_loop, hold", ["mpc", "pid", "open_loop", "hold"]),
        ("at least 0, one of 1, 2", ["1", "2"]),
        ("one of: 'a' or 'b'.", ["a", "b"]),
        ("at least 0", []),
        ("", []),
    ],
)
def test_choices_stand_in_the_constraints(said, found):
    assert choices(said) == found


def test_elements_are_called_as_the_sibling_of_the_same_length_says():
    siblings = {"output_names": ["x", "y"], "command_names": ["a", "b"], "signal_names": ["s"]}
    assert labels("output_weight", [1.0, 1.0], siblings) == ["x", "y"]
    assert labels("command_min", [1.0, 1.0], siblings) == ["a", "b"]
    assert labels("kp", [1.0, 1.0], siblings) == ["0", "1"]  # either could be meant
    assert labels("kp", [1.0, 1.0], siblings, "Of each command, 1.") == ["a", "b"]
    pairs = labels("decoupling", [1.0] * 4, siblings)
    assert pairs == ["a/x", "a/y", "b/x", "b/y"]
    assert labels("kp", [1.0, 1.0], {"command_names": ["a", "b"]}) == ["a", "b"]
    assert labels("gain", [1.0], siblings) == ["s"]
    assert labels("rate", 1.0, siblings) == []
    # An empty array may be filled with as many.
    assert labels("output_weight", [], siblings) == ["x", "y"]
    assert labels("bound", [], siblings, "Of each signal.") == ["s"]
    assert labels("bound", [], siblings) == labels("bound", [], {"a_names": ["a"]}) == []


def test_an_open_range_is_no_limit_and_all_of_it_is_json():
    shown = told(
        descriptor(
            "weight",
            floating_point_range=[SimpleNamespace(from_value=0.0, to_value=math.inf)],
        ),
        [1.0, math.nan],
        {},
    )
    assert (shown["minimum"], shown["maximum"]) == (0.0, None)
    assert shown["value"] == [1.0, None] and shown["type"] == "double_array"
    json.dumps(shown, allow_nan=False)
    whole = SimpleNamespace(from_value=0, to_value=2**63 - 1)
    assert told(descriptor("n", integer_range=[whole]), 3, {})["maximum"] is None


def test_a_value_takes_the_type_that_the_parameter_has():
    assert fitting(1, 0.5) == 1.0 and isinstance(fitting(1, 0.5), float)
    assert fitting([1, 2.5], [0.0, 0.0]) == [1.0, 2.5]
    assert fitting(3.0, 7) == 3 and isinstance(fitting(3.0, 7), int)
    assert fitting([1, 2], []) == [1.0, 2.0] and fitting([], [1.0]) == []
    assert fitting("pid", "mpc") == "pid"
    assert fitting(True, False) is True
    assert type_of(True) == "bool" and type_of([1]) == "integer_array"


@pytest.mark.parametrize(
    ("value", "current"),
    [
        ("1", 0.5), (True, 0.5), (None, 0.5), (math.inf, 0.5), (1.5, 3), (1, False), (1, "mpc"),
        (1.0, [1.0]), ([[1.0]], [1.0]), ([None], [1.0]), ([1.0] * 65, [1.0]), ({}, 1.0),
        ({}, None), ([1.0], 1.0), (["a"], []),
    ],
)  # fmt: skip
def test_any_other_value_is_refused_in_one_line(value, current):
    with pytest.raises(ValueError, match="wanted"):
        fitting(value, current)
