from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from soft_control.learning.dataset import (
    RecordingError,
    RecordingWarning,
    read_recording,
    read_topics,
    resample,
)
from soft_control.rigs import describe

PERIOD_NS = round(1e9 / 120)
START_NS = 5 * 10**9
NAMES = ["servo_0", "servo_1"]


def stamp(k: int, offset_ns: int = 0) -> int:
    return START_NS + k * PERIOD_NS + offset_ns


def topics(messages, samples: int = 10, offset_ns: int = 0, period_ns: int = PERIOD_NS) -> dict:
    """A run as the logger writes it; positions and signals by clocks that are `offset_ns` late."""
    times = [START_NS + k * period_ns for k in range(samples)]
    late = [t + offset_ns for t in times]
    return {
        "/tip_position": [messages.point(t, (0.001 * k, 0, 1)) for k, t in enumerate(late)],
        "/command": [messages.joints(t, NAMES, (k, -k)) for k, t in enumerate(times)],
        "/signals/calibrated": [
            messages.joints(t, ["lace_00", "lace_01"], (0.1 * k, 0.5)) for k, t in enumerate(late)
        ],
        "/reference": [messages.path(t, (7, 8, k)) for k, t in enumerate(times)],
    }


def is_the_plain_run(run) -> bool:
    """Whether nothing of `topics` is lost or changed."""
    k = np.arange(10)
    np.testing.assert_allclose(run.commands, np.column_stack([k, -k]))
    np.testing.assert_allclose(run.outputs[:, 0], 0.001 * k)
    np.testing.assert_allclose(run.signals[:, 0], 0.1 * k)
    return run.command_names == tuple(NAMES) and run.signal_names == ("lace_00", "lace_01")


# ---------------------------------------------------------------------------------- joined by stamp


def test_topics_are_joined_by_stamp_without_a_warning(messages, tmp_path):
    path = messages.write(tmp_path / "bag", topics(messages))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run = read_recording(path)
    assert is_the_plain_run(run) and run.on_grid(120.0)
    assert run.source == f"{tmp_path.name}/bag" and run.frame == "rig_base" and run.robot is None
    np.testing.assert_allclose(run.reference[:, 2], np.arange(10))


def test_samples_that_lack_a_topic_are_left_out(messages, tmp_path):
    made = topics(messages)
    del made["/command"][4], made["/tip_position"][6]
    made["/tip_position"][7] = messages.point(stamp(8), (np.nan, 0, 1))
    path = messages.write(tmp_path / "bag", made)
    with pytest.warns(RecordingWarning) as caught:
        run = read_recording(path)
    np.testing.assert_allclose(run.commands[:, 0], [0, 1, 2, 3, 5, 7, 9])
    text = "\n".join(str(warning.message) for warning in caught)
    assert "2 samples lack a message" in text
    assert "not finite" in text


@pytest.mark.parametrize("offset_ns", [1_300_000, -2_900_000])
def test_clocks_of_their_own_are_joined_by_the_nearest_stamp_and_said(
    messages, tmp_path, offset_ns
):
    """Realtime: no two topics share a stamp."""
    path = messages.write(tmp_path / "bag", topics(messages, offset_ns=offset_ns))
    said = f"nearest stamp: /tip_position up to {abs(offset_ns) / 1e6} ms"
    with pytest.warns(RecordingWarning, match=said):
        assert is_the_plain_run(read_recording(path))


def test_a_lost_message_is_never_replaced_by_its_neighbour(messages, tmp_path):
    made = topics(messages, offset_ns=1_000_000)
    del made["/tip_position"][4]
    with pytest.warns(RecordingWarning, match="1 samples lack a message"):
        run = read_recording(messages.write(tmp_path / "bag", made))
    np.testing.assert_allclose(run.commands[:, 0], [0, 1, 2, 3, 5, 6, 7, 8, 9])
    np.testing.assert_allclose(run.outputs[:, 0], 0.001 * run.commands[:, 0])


def test_a_slow_camera_gives_the_rows(messages, tmp_path):
    """Its positions at 30 Hz are not repeated for each of the commands at 120 Hz."""
    made = topics(messages, samples=40, offset_ns=1_000_000)
    made["/tip_position"] = made["/tip_position"][::4]
    with pytest.warns(RecordingWarning, match="from /tip_position") as caught:
        run = read_recording(messages.write(tmp_path / "bag", made))
    assert len(caught) == 1
    np.testing.assert_allclose(run.outputs[:, 0], 0.004 * np.arange(10))
    np.testing.assert_allclose(run.commands[:, 0], 4 * np.arange(10))


def test_clocks_that_do_not_meet_are_refused_with_their_times(messages, tmp_path):
    path = messages.write(tmp_path / "bag", topics(messages, offset_ns=1700 * 10**15 // 10**6))
    with pytest.raises(RecordingError, match=r"/command 5.000 to 5.075 s, .* by one clock\?"):
        read_recording(path)


# --------------------------------------------------------------------------------------------- time


@pytest.mark.parametrize(("period_s", "unit"), [(8, "ms"), (8333, "us")])
def test_stamps_in_another_unit_are_refused(messages, tmp_path, period_s, unit):
    path = messages.write(tmp_path / "bag", topics(messages, period_ns=period_s * 10**9))
    with pytest.raises(RecordingError, match=f"header.stamp: .* look like {unit}"):
        read_recording(path)


def test_a_first_stamp_of_0_is_a_segment_of_its_own(messages, tmp_path):
    made = topics(messages)
    for sent in made.values():
        sent[0].header.stamp.sec = sent[0].header.stamp.nanosec = 0
        for message in sent[1:]:
            message.header.stamp.sec += 1_700_000_000
    with pytest.warns(RecordingWarning, match=r"time leaps by 1.7e\+09 s"):
        run = read_recording(messages.write(tmp_path / "bag", made))
    with pytest.warns(RecordingWarning, match="1 segment of fewer than 2 samples left out"):
        assert len(resample(run, 120.0)) == 9


def test_messages_that_are_never_stamped_are_refused(messages, tmp_path):
    made = topics(messages)
    made["/tip_position"] = [messages.point(0, (k, 0, 0)) for k in range(10)]
    with pytest.raises(RecordingError, match="all 10 messages on /tip_position have the stamp 0 s"):
        read_recording(messages.write(tmp_path / "bag", made))


def test_a_clock_set_back_is_refused(messages, tmp_path):
    made = topics(messages, samples=40)
    made["/command"][20:] = [messages.joints(stamp(k), NAMES, (0, 0)) for k in range(2, 22)]
    with pytest.raises(RecordingError, match="/command: the stamp goes back .* after 20 messages"):
        read_recording(messages.write(tmp_path / "bag", made))


# -------------------------------------------------------------------------------------------- names


@pytest.mark.parametrize("topic", ["/command", "/signals/calibrated"])
def test_values_go_by_their_names_in_whatever_order(messages, tmp_path, topic):
    made = topics(messages)
    for message in made[topic][1::2]:
        message.name = message.name[::-1]
        message.position = message.position[::-1].copy()
    assert is_the_plain_run(read_recording(messages.write(tmp_path / "bag", made)))


@pytest.mark.parametrize("topic", ["/command", "/signals/calibrated"])
@pytest.mark.parametrize(
    ("names", "values", "said"),
    [
        ([], [1, 2], "the messages have values but no names"),
        (["a"], [1, 2], "message 0: 1 names, but 2 values"),
        (["a", "b"], [1], "message 0: 2 names, but 1 values"),
        (["a", "a"], [1, 2], "a is there more than once"),
        (["a", "b\n"], [1, 2], "printable characters"),
        (["a", "b" * 65], [1, 2], "1 to 64 printable"),
        (["", "b"], [1, 2], "1 to 64 printable"),
    ],
)
def test_names_that_tell_nothing_are_refused_by_topic(
    messages, tmp_path, topic, names, values, said
):
    made = topics(messages)
    made[topic] = [messages.joints(stamp(k), names, values) for k in range(10)]
    with pytest.raises(RecordingError, match=f"{topic}.*{said}"):
        read_recording(messages.write(tmp_path / "bag", made))


@pytest.mark.parametrize(
    ("names", "values", "said"),
    [
        (["servo_0", "servo_2"], [1, 2], "message 3: its names are servo_0, servo_2, before"),
        ([], [], "message 3: its names are absent"),
        (["servo_0", "servo_1"], [1], "message 3: 2 names, but 1 values"),
    ],
)
def test_names_that_change_are_refused_by_message(messages, tmp_path, names, values, said):
    made = topics(messages)
    made["/command"][3] = messages.joints(stamp(3), names, values)
    with pytest.raises(RecordingError, match=f"/command, {said}"):
        read_recording(messages.write(tmp_path / "bag", made))


def test_a_frame_that_changes_is_refused(messages, tmp_path):
    made = topics(messages)
    made["/tip_position"][5] = messages.point(stamp(5), (0, 0, 0), frame="world")
    with pytest.raises(RecordingError, match="changes its frame in mid-run: 'rig_base', 'world'"):
        read_recording(messages.write(tmp_path / "bag", made))


def test_the_run_beside_the_bag_names_rig_and_order_of_commands(messages, tmp_path):
    made = topics(messages)
    for message in made["/command"]:
        message.name, message.position = message.name[::-1], message.position[::-1].copy()
    path = messages.write(tmp_path / "bag", made)
    assert read_recording(path).command_names == ("servo_1", "servo_0")
    robot = describe("tendon").model_dump(mode="json")
    (tmp_path / "experiment.json").write_text(json.dumps({"robot": robot}))
    run = read_recording(path)
    assert run.robot.name == "tendon" and is_the_plain_run(run)


@pytest.mark.parametrize("text", ["", "[1]", "{}", '{"robot": 3}', "[" * 10**5, "\xff"])
def test_a_run_that_does_not_describe_its_robot_is_said(messages, tmp_path, text):
    path = messages.write(tmp_path / "bag", topics(messages))
    (tmp_path / "experiment.json").write_text(text, encoding="latin-1")
    with pytest.warns(RecordingWarning, match="experiment.json beside it does not describe"):
        assert read_recording(path).robot is None


def test_outputs_are_taken_by_name(messages, tmp_path):
    """As a run of today has them, and before the point of a bag that holds both."""
    made = topics(messages)
    made["/reference"] = [
        messages.trajectory(stamp(k), ["z", "y", "x"], (k, 8, 7)) for k in range(10)
    ]
    made["/outputs"] = [
        messages.joints(stamp(k), ["z", "x", "y"], (1, 0.001 * k, 0)) for k in range(10)
    ]
    made["/tip_position"] = [messages.point(stamp(k), (9, 9, 9)) for k in range(10)]
    run = read_recording(messages.write(tmp_path / "bag", made))
    k = np.arange(10)
    wanted = np.column_stack([0.001 * k, 0 * k, 0 * k + 1])
    np.testing.assert_allclose(run.output(("x", "y", "z")), wanted)
    assert run.output_names == ("z", "x", "y")
    np.testing.assert_array_equal(run.reference[3], [3, 7, 8])


# -------------------------------------------------------------------------------------------- types


def test_a_stamped_pose_has_a_position(messages, tmp_path):
    made = topics(messages)
    made["/tip_position"] = [messages.pose(stamp(k), (0.001 * k, 0, 1)) for k in range(10)]
    assert is_the_plain_run(read_recording(messages.write(tmp_path / "bag", made)))


@pytest.mark.parametrize("topic", ["/tip_position", "/command", "/signals/calibrated"])
def test_another_type_is_refused_by_topic_with_both_types(messages, tmp_path, topic):
    made = topics(messages)
    made[topic] = [messages.array([1, 2, 3])] * 10
    wanted = "PointStamped or .*PoseStamped" if topic == "/tip_position" else "JointState"
    said = f"bag: {topic} is of type std_msgs/msg/Float64MultiArray, but must be .*{wanted}"
    with pytest.raises(RecordingError, match=said):
        read_recording(messages.write(tmp_path / "bag", made))


def test_a_stamped_vector_is_no_position(messages, tmp_path):
    made = topics(messages)
    made["/tip_position"] = [messages.vector(stamp(k), (k, 0, 0)) for k in range(10)]
    with pytest.raises(RecordingError, match="Vector3Stamped, but must be"):
        read_recording(messages.write(tmp_path / "bag", made))


def test_topics_of_any_type_that_nobody_wants_cost_nothing(messages, tmp_path):
    made = topics(messages) | {"/battery": [messages.array([3.7])] * 10}
    path = messages.write(tmp_path / "bag", made)
    assert is_the_plain_run(read_recording(path))
    assert set(read_topics(path, ("/command",))[0]) == {"/command"}


@pytest.mark.parametrize(("topic", "said"), [("/tip_position", "/outputs"), ("/command",) * 2])
def test_a_bag_without_a_needed_topic_is_an_error(messages, tmp_path, topic, said):
    made = topics(messages)
    del made[topic]
    with pytest.raises(RecordingError, match=f"no message on {said}"):
        read_recording(messages.write(tmp_path / "bag", made))


def test_one_message_makes_no_recording(messages, tmp_path):
    made = topics(messages)
    del made["/command"][1:]
    with pytest.raises(RecordingError, match="one message on /command"):
        read_recording(messages.write(tmp_path / "bag", made))


# ------------------------------------------------------------------------------------- broken files


@pytest.mark.parametrize(
    "content",
    [b"", b"\x00\x93NUMPY\xff", b"[", b"a: 1", b"rosbag2_bagfile_information: {}", b"\xff"],
)
def test_broken_metadata_is_an_error_of_one_line(messages, tmp_path, content):
    path = messages.write(tmp_path / "bag", topics(messages))
    (path / "metadata.yaml").write_bytes(content)
    with pytest.raises(RecordingError, match="bag: unreadable bag: ") as caught:
        read_recording(path)
    assert "\n" not in str(caught.value)


def test_a_torn_bag_is_an_error(messages, tmp_path):
    path = messages.write(tmp_path / "bag", topics(messages))
    storage = next(path.glob("*.mcap"))
    storage.write_bytes(storage.read_bytes()[:100])
    with pytest.raises(RecordingError, match="bag: unreadable bag"):
        read_recording(path)


@pytest.fixture(scope="module")
def whole(messages, tmp_path_factory) -> tuple[Path, dict[str, bytes]]:
    """A folder for a bag, and the files of a whole one."""
    path = messages.write(tmp_path_factory.mktemp("fuzz") / "bag", topics(messages))
    return path, {file.name: file.read_bytes() for file in path.iterdir()}


@settings(
    max_examples=100, deadline=10_000, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_broken_byte_is_read_or_refused_in_one_line(whole, data):
    path, files = whole
    name = data.draw(st.sampled_from(sorted(files)))
    broken = bytearray(files[name])
    at = data.draw(st.integers(0, len(broken) - 1))
    broken[at : at + data.draw(st.integers(0, 8))] = data.draw(st.binary(max_size=8))
    for file, content in files.items():
        (path / file).write_bytes(broken if file == name else content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            assert len(resample(read_recording(path), 120.0)) <= 500
        except RecordingError as error:
            assert "\n" not in str(error)


# --------------------------------------------------------------------------------------- namespaces


def below(space: str, topics: dict) -> dict:
    return {space + topic: messages for topic, messages in topics.items()}


def test_topics_may_stand_below_a_namespace(messages, tmp_path):
    for k, space in enumerate(("/left", "/cell_3/arm", "/command")):
        path = messages.write(tmp_path / str(k), below(space, topics(messages)))
        assert is_the_plain_run(read_recording(path)), space


def test_a_topic_of_the_same_name_elsewhere_is_something_else(messages, tmp_path):
    """As /gripper/command, of a device that has no outputs."""
    other = {"/gripper/command": [messages.joints(stamp(0), ["jaw"], (1,))]}
    for space in ("", "/left"):
        path = messages.write(tmp_path / f"bag{space[1:]}", below(space, topics(messages)) | other)
        assert is_the_plain_run(read_recording(path))


def test_two_robots_in_one_bag_are_refused_until_one_is_named(messages, tmp_path):
    both = below("/left", topics(messages)) | below("/right", topics(messages, samples=7))
    path = messages.write(tmp_path / "bag", both)
    with pytest.raises(RecordingError, match="below /left and /right: say whose are meant") as told:
        read_recording(path)
    assert "\n" not in str(told.value) and "recording.topics" in str(told.value)
    (tmp_path / "experiment.json").write_text(json.dumps({"namespace": "left"}))
    with pytest.warns(RecordingWarning, match="does not describe its robot"):
        assert is_the_plain_run(read_recording(path))


def test_whole_names_in_a_description_say_which_robot_is_meant(messages, tmp_path):
    def outputs(samples: int, scale: float) -> dict:
        found = topics(messages, samples)
        found.pop("/tip_position")
        rows = [messages.joints(stamp(k), "xyz", (scale * k, 0, 1)) for k in range(samples)]
        return found | {"/outputs": rows}

    both = below("/left", outputs(10, 1.0)) | below("/right", outputs(10, 2.0))
    path = messages.write(tmp_path / "bag", both)
    tendon = describe("tendon").model_dump(mode="json")
    names = {"commands": "/right/command", "outputs": "/right/outputs", "signals": "/right/signals"}
    robot = type(describe("tendon")).model_validate(
        tendon | {"recording": {"time": {"period_s": 0.01}, "topics": names}}
    )
    run = read_recording(path, robot)
    np.testing.assert_allclose(run.outputs[:, 0], 2.0 * np.arange(10))
