"""Serialized messages, read without making messages, against what rosbags reads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rosbags.typesys import Stores, get_typestore

from soft_control.learning.cdr import (
    DIAGNOSTIC_ARRAY,
    JOINT_STATE,
    JOINT_TRAJECTORY,
    NamedVectorReader,
    NamedVectorWriter,
    diagnosis,
    stamp_ns,
)

STORE = get_typestore(Stores.ROS2_KILTED)
NS = 1_653_004_800_123_456_789
texts = st.text(max_size=6)
vectors = st.lists(st.tuples(texts, st.floats()), max_size=4)


def make(kind: str, **fields: Any) -> Any:
    return STORE.types[kind](**fields)


def header(frame: str, ns: int = NS) -> Any:
    time = make("builtin_interfaces/msg/Time", sec=ns // 10**9, nanosec=ns % 10**9)
    return make("std_msgs/msg/Header", stamp=time, frame_id=frame)


def joints(frame: str, names: list[str], values: list[float], ns: int = NS, big: bool = False):
    none = np.zeros(0)
    message = make(
        JOINT_STATE, header=header(frame, ns), name=names,
        position=np.array(values, dtype=float), velocity=none, effort=none,
    )  # fmt: skip
    return bytes(STORE.serialize_cdr(message, JOINT_STATE, little_endian=not big))


def trajectory(frame: str, names: list[str], rows: list[list[float]]) -> bytes:
    none = np.zeros(0)
    points = [
        make(
            "trajectory_msgs/msg/JointTrajectoryPoint", positions=np.array(row, dtype=float),
            velocities=none, accelerations=none, effort=none,
            time_from_start=make("builtin_interfaces/msg/Duration", sec=0, nanosec=0),
        )
        for row in rows
    ]  # fmt: skip
    message = make(JOINT_TRAJECTORY, header=header(frame), joint_names=names, points=points)
    return bytes(STORE.serialize_cdr(message, JOINT_TRAJECTORY))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(texts, vectors, st.booleans()), min_size=1, max_size=4))
def test_named_vectors_are_read_as_rosbags_reads_them(messages):
    """One reader for all, whatever the message before was like; 0.1 stays 0.1, NaN stays NaN."""
    read = NamedVectorReader(JOINT_STATE)
    for frame, pairs, big in messages:
        names, values = [name for name, _ in pairs], [value for _, value in pairs]
        for ns in (NS, NS + 7):
            found = read(joints(frame, names, values, ns, big))
            assert (found.stamp_ns, found.frame, found.names) == (ns, frame, tuple(names))
            np.testing.assert_array_equal(found.values, values)


@settings(max_examples=100, deadline=None)
@given(texts, vectors, st.integers(1, 3))
def test_a_trajectory_is_its_first_point(frame, pairs, points):
    names, values = [name for name, _ in pairs], [value for _, value in pairs]
    found = NamedVectorReader(JOINT_TRAJECTORY)(trajectory(frame, names, [values] * points))
    assert (found.stamp_ns, found.frame, found.names) == (NS, frame, tuple(names))
    np.testing.assert_array_equal(found.values, values)


@settings(max_examples=100, deadline=None)
@given(texts, vectors)
def test_what_is_written_is_what_rosbags_writes(frame, pairs):
    names, values = [name for name, _ in pairs], [value for _, value in pairs]
    assert NamedVectorWriter(names, frame)(NS, values) == joints(frame, names, values)


def test_a_trajectory_without_a_point_is_refused():
    with pytest.raises(ValueError, match="no point in it"):
        NamedVectorReader(JOINT_TRAJECTORY)(trajectory("", ["x"], []))
    with pytest.raises(ValueError, match="no sensor_msgs/msg/JointState"):
        NamedVectorReader(DIAGNOSTIC_ARRAY)


def diagnoses(statuses: list[tuple[str, dict[str, str]]]) -> bytes:
    pair = "diagnostic_msgs/msg/KeyValue"
    made = [
        make(
            "diagnostic_msgs/msg/DiagnosticStatus", level=1, name="mpc", hardware_id="µC",
            message=said,
            values=[make(pair, key=k, value=v) for k, v in values.items()],
        )
        for said, values in statuses
    ]  # fmt: skip
    message = make(DIAGNOSTIC_ARRAY, header=header(""), status=made)
    return bytes(STORE.serialize_cdr(message, DIAGNOSTIC_ARRAY))


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(texts, st.dictionaries(texts, texts, max_size=4)), min_size=1, max_size=2)
)
def test_a_diagnosis_is_its_first_status(statuses):
    said, values = statuses[0]
    assert diagnosis(diagnoses(statuses)) == {"status": said} | values
    assert stamp_ns(diagnoses(statuses)) == NS


def test_a_diagnosis_without_a_status_is_refused():
    with pytest.raises(ValueError, match="no status in it"):
        diagnosis(diagnoses([]))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_hostile_bytes_are_refused_or_read_but_never_crash(data):
    """Cut off, or with bytes changed, also after a message that was whole."""
    whole = {
        JOINT_STATE: joints("rig_base", ["x", "yy"], [1.0, 2.0]),
        JOINT_TRAJECTORY: trajectory("rig_base", ["x", "yy"], [[1.0, 2.0]]),
        DIAGNOSTIC_ARRAY: diagnoses([("ok", {"a": "b"})]),
    }
    kind = data.draw(st.sampled_from(sorted(whole)))
    raw = bytearray(whole[kind][: data.draw(st.integers(0, len(whole[kind])))])
    for _ in range(data.draw(st.integers(0, 3)) if raw else 0):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    read = diagnosis if kind == DIAGNOSTIC_ARRAY else NamedVectorReader(kind)
    if data.draw(st.booleans()):
        read(whole[kind])
    for one in (read, stamp_ns):
        try:
            one(bytes(raw))
        except ValueError:
            pass
