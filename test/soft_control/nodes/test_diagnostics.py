"""What nodes say of themselves once a second, in realtime, over real DDS."""

from __future__ import annotations

import os

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="ROS 2 is not installed: soft_control[ros]")

from diagnostic_msgs.msg import DiagnosticStatus  # noqa: E402

from soft_control.experiment.ros_messages import joint_state, point, to_ns  # noqa: E402
from soft_control.nodes import _mcu, mcu  # noqa: E402
from soft_control.nodes.analogue import AnalogueNode  # noqa: E402
from soft_control.nodes.lightlace import LightLace  # noqa: E402
from soft_control.nodes.tracker import MotionTracker  # noqa: E402

from .test_actuators import parameters  # noqa: E402
from .test_mcu import Session  # noqa: E402


@pytest.fixture
def said(published):
    """said(node): what the node says when it is asked now, (status, numbers by name)."""

    def ask(node):
        statuses = published(node.diagnostics.diagnostics)
        statistics = published(node.diagnostics.statistics)
        node.diagnostics.say()
        (message,), (numbers,) = statuses, statistics
        assert message.header == numbers.header and to_ns(message.header.stamp) > 0
        by_name = dict(zip(numbers.name, numbers.position, strict=True))
        values = {pair.key: float(pair.value) for pair in message.status[0].values}
        assert values == pytest.approx(by_name)
        return message.status[0], by_name

    return ask


def test_a_sensor_says_its_rate(make_node, board, said):
    node = make_node(LightLace, port=board[1], full_scale_counts=[10.0], peers=["lightlace", "x"])
    os.write(board[0], b"\n1\r\n2\r\nx\r\n3\r\n")
    while node.reader.samples < 3:
        pass
    status, numbers = said(node)
    assert status.name == "lightlace" and status.hardware_id == board[1]
    assert numbers["samples"] == 3 and numbers["dropped"] == 1
    assert status.level == DiagnosticStatus.WARN
    assert status.message == "dropped 1 damaged samples (1 so far)"


def test_the_topics_are_the_standard_one_and_one_of_the_node(make_node, board):
    node = make_node(LightLace, port=board[1], full_scale_counts=[10.0], peers=["lightlace", "x"])
    assert node.diagnostics.diagnostics.topic_name == "/diagnostics"
    assert node.diagnostics.statistics.topic_name == "/lightlace/statistics"


def test_in_lockstep_nobody_says_anything(make_node, board):
    node = make_node(
        LightLace,
        port=board[1],
        full_scale_counts=[1.0],
        clock="lockstep",
        peers=["lightlace", "x"],
    )
    topics = {publisher.topic_name for publisher in node.publishers}
    assert not any("diagnostics" in topic or "statistics" in topic for topic in topics)


def test_actuators_say_that_a_command_was_too_old_and_that_the_controller_is_silent(
    make_node, board, said, monkeypatch
):
    node = make_node(AnalogueNode, **parameters("analogue", port=board[1], timeout_s=0.05))
    now_ns = node.get_clock().now().nanoseconds
    node.on_command(joint_state(now_ns, ["left", "right"], [10.0, 10.0]))
    node.on_command(joint_state(now_ns - 3_000_000_000, ["left", "right"], [10.0, 10.0]))
    status, numbers = said(node)
    assert status.level == DiagnosticStatus.WARN
    assert "refused 1 commands, the oldest for a sample " in status.message
    assert numbers["commands"] == 1 and numbers["refused"] == 1
    assert numbers["command_age_ms"] >= 3000


def test_a_silent_controller_is_said(make_node, board, said, monkeypatch):
    node = make_node(AnalogueNode, **parameters("analogue", port=board[1], timeout_s=0.05))
    now_ns = node.get_clock().now().nanoseconds
    node.on_command(joint_state(now_ns, ["left", "right"], [10.0, 10.0]))
    monkeypatch.setattr(node.state, "heard_s", node.state.heard_s - 1.0)
    node.on_tick()
    status, numbers = said(node)
    assert status.level == DiagnosticStatus.WARN and numbers["silent"] == 1
    assert status.message == "the controller is silent: safe output 'hold'"


def test_a_tracker_is_a_sensor(make_node, said):
    node = make_node(
        MotionTracker,
        points=["tip"],
        topics=["/seen geometry_msgs/msg/PointStamped"],
        output_names=["x", "y"],
        output_points=["tip", "tip"],
        output_axes=["x", "y"],
    )
    for k, place in enumerate(([0.1, 0.2, 0.3], [np.nan, 0.0, 0.0], [0.1, 0.2, 0.3])):
        node.on_message("tip", "/seen", point(1_000_000_000 + k, place, ""))
    status, numbers = said(node)
    assert status.name == "tracker" and status.level == DiagnosticStatus.WARN
    assert numbers["samples"] == 2 and numbers["dropped"] == 1


def test_the_microcontrollers_counters_reach_a_topic_while_the_run_goes_on(
    make_node, monkeypatch, said
):
    session = Session()
    monkeypatch.setattr(_mcu, "read_build", lambda folder: folder)
    monkeypatch.setattr(_mcu, "returning_session", lambda node: session)
    node = make_node(
        mcu.Mcu,
        firmware="build",
        target="sil",
        clock="realtime",
        command_names=["a", "b"],
        command_neutral=[0.0, 0.5],
        signal_names=["left"],
        output_names=["y"],
        peers=["mcu", "nobody"],
    )
    told = session.sample(0, [1.0], [0.0])
    now_ns = node.get_clock().now().nanoseconds
    node.publish(now_ns, told)
    node.publish(now_ns - 20_000_000, told)
    node.health.on_too_late()
    session.info.bad_frames, session.info.lost_points, session.info.missed_samples = 3, 2, 1
    node.diagnostics = node.health.diagnostics
    status, numbers = said(node)
    assert {"bad_frames": 3.0, "lost_points": 2.0, "missed_samples": 1.0}.items() <= numbers.items()
    assert numbers["samples"] == 2 and numbers["deadline_misses"] == 2
    assert numbers["latency_ms_max"] >= 20.0 and numbers["step_cost"] == 100
    assert status.level == DiagnosticStatus.WARN and status.hardware_id == "sil, none"
    assert "2 missed deadlines" in status.message and "3 damaged frames" in status.message
    assert ("ask_info",) in session.asked
