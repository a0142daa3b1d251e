"""Messages of the graph: values by name, positions in one frame, topics joined by stamp."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed: soft_control[ros]")

from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from soft_control.experiment.ros_messages import (  # noqa: E402
    WAITING_MAX,
    Join,
    by_name,
    from_trajectory,
    joint_state,
    point,
    to_ns,
    to_stamp,
    trajectory,
)

NAMES = ("a", "b", "c")
VALUES = {"a": 1.0, "b": 2.0, "c": 3.0}


@given(st.permutations(NAMES))
def test_values_are_found_by_name_in_any_order(order):
    message = joint_state(0, order, [VALUES[name] for name in order])
    np.testing.assert_array_equal(by_name(message, NAMES, "/x"), [1.0, 2.0, 3.0])


def test_other_names_are_refused_unless_welcome():
    message = joint_state(0, NAMES, [1, 2, 3])
    with pytest.raises(ValueError, match="^/x has the unknown b$"):
        by_name(message, ["a", "c"], "/x")
    assert by_name(message, ["c", "a"], "/x", others=True).tolist() == [3.0, 1.0]
    with pytest.raises(ValueError, match="^/x lacks d$"):
        by_name(message, ["a", "d"], "/x", others=True)


def test_values_are_finite_and_in_the_frame_that_is_wanted():
    message = joint_state(0, NAMES, [0.1, -0.2, 0.3], "rig_base")
    assert by_name(message, NAMES, "/x", frame="rig_base").tolist() == [0.1, -0.2, 0.3]
    with pytest.raises(ValueError, match="^/x is in frame 'rig_base': wanted 'map'$"):
        by_name(message, NAMES, "/x", frame="map")
    with pytest.raises(ValueError, match="^/x says nan for b"):
        by_name(joint_state(0, NAMES, [1, np.nan, 3]), NAMES, "/x")


def test_a_trajectory_has_its_outputs_by_name_a_period_apart():
    values = np.arange(6.0).reshape(2, 3)
    message = trajectory(5, 1_500_000_000, NAMES, values, "rig_base")
    assert to_ns(message.header.stamp) == 5
    assert [(p.time_from_start.sec, p.time_from_start.nanosec) for p in message.points] == [
        (0, 0),
        (1, 500_000_000),
    ]
    np.testing.assert_array_equal(from_trajectory(message, ["c", "a"]), values[:, [2, 0]])
    with pytest.raises(ValueError, match="/reference lacks d"):
        from_trajectory(message, ["d"])
    with pytest.raises(ValueError, match="/reference is in frame 'rig_base': wanted 'map'"):
        from_trajectory(message, NAMES, frame="map")
    message.points[1].positions = [1.0]
    with pytest.raises(ValueError, match="/reference has points that are not of its 3 names"):
        from_trajectory(message, NAMES)
    with pytest.raises(ValueError, match="/reference has no point"):
        from_trajectory(trajectory(0, 1, NAMES, np.zeros((0, 3))), NAMES)


def test_a_point_is_in_its_frame():
    message = point(7, [0.1, 0.2, 0.3], "map")
    assert (message.header.frame_id, message.point.z) == ("map", 0.3)


@given(st.integers(0, 2**31 * 10**9 - 1))
def test_stamps_keep_every_nanosecond(ns):
    assert to_ns(to_stamp(ns)) == ns


def test_sets_are_complete_by_stamp_and_in_order():
    complete = []
    join = Join(("/a", "/b"), lambda ns, a, b: complete.append((ns, *a.name, *b.name)))
    for topic, ns in (("/a", 1), ("/a", 2), ("/b", 2), ("/b", 1), ("/b", 3), ("/a", 3)):
        join.put(topic, joint_state(ns, [topic], [0.0]))
    assert complete == [(2, "/a", "/b"), (3, "/a", "/b")]  # 1 came after 2 and is over


def test_a_topic_that_never_comes_costs_no_memory():
    join = Join(("/a", "/b"), lambda *_: None)
    for ns in range(1000):
        join.put("/a", joint_state(ns, ["a"], [0.0]))
    assert sorted(join._waiting) == list(range(1000 - WAITING_MAX, 1000))
