"""The logger: what it can log, and at what time."""

from __future__ import annotations

import math
import shutil
import threading
import time

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed: soft_control[ros]")

import rclpy  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.serialization import serialize_message  # noqa: E402
from rosbags.rosbag2 import Reader  # noqa: E402
from sensor_msgs.msg import JointState  # noqa: E402
from trajectory_msgs.msg import JointTrajectory  # noqa: E402

from soft_control.experiment.bag_recovery import recover  # noqa: E402
from soft_control.experiment.ros_messages import (  # noqa: E402
    EVERY_SAMPLE,
    joint_state,
    to_ns,
    trajectory,
)
from soft_control.experiment.summary import finish  # noqa: E402
from soft_control.learning.cdr import NamedVectorWriter, stamp_ns  # noqa: E402
from soft_control.learning.dataset import RecordingWarning, read_topics  # noqa: E402
from soft_control.nodes.logger import QUIET_S, Logger, message_type  # noqa: E402
from soft_control.topics import FIRST_NS  # noqa: E402

MS = 1_000_000


def test_a_topic_and_its_type():
    assert message_type("/command sensor_msgs/msg/JointState") is JointState


@pytest.mark.parametrize(
    "entry",
    ["/command", "/command JointState", "/x nowhere_msgs/msg/X", "/x sensor_msgs/msg/No", "a b c"],
)
def test_what_cannot_be_logged_is_named(entry):
    with pytest.raises(ValueError, match=f"parameter topics has '{entry}': wanted a topic and a"):
        message_type(entry)


def test_the_stamp_is_read_from_the_bytes():
    ns = 1_700_000_000_123_456_789
    assert stamp_ns(serialize_message(joint_state(ns, ["a"], [1.0]))) == ns


def test_a_run_that_ends_before_its_first_sample_leaves_a_bag(make_node, tmp_path):
    topics = ["/command sensor_msgs/msg/JointState"]
    node = make_node(Logger, run_dir=str(tmp_path), topics=topics, peers=["nobody"])
    node.write(node.writer.connections[0], NamedVectorWriter(["a"])(5, [1.0]), 5)
    node.close()
    node.close = lambda: None
    assert list(read_topics(tmp_path / "bag", ["/command"])[0]["/command"]) == [5]
    with pytest.warns(RecordingWarning, match="no summary.json"):
        assert finish(tmp_path) is None


def test_what_is_sent_again_after_a_cut_stays_in_order(make_node, tmp_path):
    """What came first may have waited for what came again: it is read behind it, and a bag whose
    stamps went back was refused. A message counts when it was sent, for this node lets others have
    the processor first; one that was lost meanwhile counts when it came."""
    topics = ["/command sensor_msgs/msg/JointState"]
    node = make_node(
        Logger, run_dir=str(tmp_path), topics=topics, peers=["nobody"], clock="realtime"
    )
    take, serialized = node.writes(node.writer.connections[0], None), NamedVectorWriter(["a"])
    for stamp, sent_ms, came_ms in (
        (1, 9, 10), (2, 17, 5000), (3, 25, 5001), (600, 3999, 4000), (601, 5002, 5003),
        (602, 5010, 5040), (603, 5099, 5098),
    ):  # fmt: skip
        info = {"source_timestamp": sent_ms * MS, "received_timestamp": came_ms * MS}
        take(serialized(stamp, [0.0]), info)
    node.close()
    node.close = lambda: None
    told, logged_ns = read_topics(tmp_path / "bag", ["/command"])
    assert list(told["/command"]) == [1, 2, 3, 600, 601, 602, 603]
    logged_ms = [ns // MS for ns in logged_ns["/command"].values()]
    assert logged_ms == [9, 5000, 5001, 5001, 5002, 5010, 5098]


def test_what_came_is_in_the_file_soon_whatever_happens_next(make_node, tmp_path):
    """Without an end, as after kill -9."""
    topics = ["/command sensor_msgs/msg/JointState"]
    node = make_node(Logger, run_dir=str(tmp_path), topics=topics, peers=["nobody"])
    serialized = NamedVectorWriter(["a"])
    for k in range(20):
        node.write(node.writer.connections[0], serialized(FIRST_NS + k, [k]), 5)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    file, deadline = tmp_path / "bag" / "bag.mcap", time.monotonic() + 30
    while file.stat().st_size < 1000 and time.monotonic() < deadline:
        executor.spin_once(timeout_sec=0.1)
    copy = tmp_path / "copy" / "bag.mcap"
    copy.parent.mkdir()
    shutil.copy(file, copy)
    assert recover(copy.parent).messages == 20


class Graph:
    """Others than the logger: they publish outputs and a reference, and hear of the error."""

    def __init__(self, logger) -> None:
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(logger)
        self.node = rclpy.create_node("others")
        self.executor.add_node(self.node)
        self.outputs = self.node.create_publisher(JointState, "/outputs", EVERY_SAMPLE)
        self.reference = self.node.create_publisher(JointTrajectory, "/reference", EVERY_SAMPLE)
        self.heard: list[JointState] = []
        self.node.create_subscription(
            JointState, "/tracking_error", self.heard.append, EVERY_SAMPLE
        )
        self.until(lambda: self.outputs.get_subscription_count() == 1)
        self.until(lambda: self.reference.get_subscription_count() == 1)
        if logger.tracked:
            self.until(lambda: logger.tracked.publisher.get_subscription_count() == 1)

    def until(self, reached) -> None:
        deadline = time.monotonic() + 30
        while not reached():
            assert time.monotonic() < deadline
            self.executor.spin_once(timeout_sec=0.05)

    def close(self) -> None:
        self.executor.remove_node(self.node)
        self.node.destroy_node()


@pytest.fixture
def tracked(make_node, tmp_path):
    """tracked(parameter=value, …): a logger that computes an error, and the graph around it."""
    graphs = []

    def make(**changes):
        topics = [
            "/outputs sensor_msgs/msg/JointState",
            "/reference trajectory_msgs/msg/JointTrajectory",
        ]
        told = dict(
            output_names=["x", "z", "push"], output_points=["tip", "tip", ""], frame="rig_base",
            rate_hz=100.0, clock="realtime",
        )  # fmt: skip
        node = make_node(Logger, run_dir=str(tmp_path), topics=topics, **told | changes)
        graphs.append(Graph(node))
        return node, graphs[-1]

    yield make
    for graph in graphs:
        graph.close()


def test_the_tracking_error_is_published_and_recorded(tracked, tmp_path):
    """Names in any order, others among them; the reference between its neighbours in time."""
    node, graph = tracked()
    names = ["push", "more", "z", "x"]
    for k in range(3):
        now = FIRST_NS + k * 10_000_000
        rows = np.array([[k, 9.0, 0.2 * k, 0.1 * k], [0.0] * 4])
        graph.reference.publish(trajectory(now, 10_000_000, names, rows, "rig_base"))
    for offset_ns in (-1, 2_500_000, 15_000_000, 20_000_001):
        seen = joint_state(FIRST_NS + offset_ns, ["z", "push", "x"], [4.0, 2.0, 3.0], "rig_base")
        graph.outputs.publish(seen)
    graph.until(lambda: len(graph.heard) == 2)
    node.close()
    node.close = lambda: None
    recorded, _ = read_topics(tmp_path / "bag", ["/tracking_error", "/outputs"])
    assert len(recorded["/outputs"]) == 4
    for (stamp, message), heard, k in zip(
        recorded["/tracking_error"].items(), graph.heard, (0.25, 1.5), strict=True
    ):
        assert stamp == to_ns(heard.header.stamp) == FIRST_NS + round(k * 10_000_000)
        assert list(message.name) == list(heard.name) == ["x", "z", "push", "tip"]
        assert message.header.frame_id == heard.header.frame_id == "rig_base"
        x, z = 3.0 - 0.1 * k, 4.0 - 0.2 * k
        wanted = [x, z, 2.0 - k, math.hypot(x, z)]
        assert list(message.position) == list(heard.position) == pytest.approx(wanted, rel=1e-12)


def test_what_waits_when_a_logger_is_stopped_is_recorded(tracked, tmp_path):
    """It had no processor for the whole of a short run: long before it stops, nothing came."""
    node, graph = tracked()
    graph.executor.remove_node(node)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    for k in range(20):
        graph.outputs.publish(joint_state(FIRST_NS + k, ["x", "z", "push"], [1.0, 0.0, 0.0]))
    time.sleep(3 * QUIET_S)
    node.close()
    node.close = lambda: None
    recorded, _ = read_topics(tmp_path / "bag", ["/outputs"])
    assert len(recorded["/outputs"]) == 20


def test_outputs_that_lack_a_name_are_recorded_and_end_nothing(tracked, tmp_path):
    node, graph = tracked()
    graph.reference.publish(trajectory(FIRST_NS, 1, ["x", "z"], np.zeros((1, 2))))
    graph.reference.publish(trajectory(FIRST_NS, 1, ["x", "z", "push"], np.zeros((0, 3))))
    graph.reference.publish(trajectory(FIRST_NS, 1, ["x", "z", "push"], np.zeros((1, 3))))
    graph.outputs.publish(joint_state(FIRST_NS, ["x"], [1.0]))
    graph.outputs.publish(joint_state(FIRST_NS, ["x", "z", "push"], [1.0, 0.0, 0.0]))
    graph.until(lambda: graph.heard)
    node.close()
    node.close = lambda: None
    assert graph.heard[0].position[3] == 1.0
    with Reader(tmp_path / "bag") as reader:
        counts = {c.topic: c.msgcount for c in reader.connections}
    assert counts == {"/tracking_error": 1, "/outputs": 2, "/reference": 3}


def test_a_logger_that_is_stopped_alone_does_not_wait_for_the_others_to_end(tracked, monkeypatch):
    """They go on for ever; what comes long after it was told to stop is of another run."""
    node, graph = tracked()
    monkeypatch.setattr("soft_control.nodes.logger.LAST_WORDS_S", 0.5)
    others = threading.Event()

    def go_on() -> None:
        k = 0
        while not others.wait(0.01):
            k += 1
            graph.outputs.publish(joint_state(FIRST_NS + k, ["x", "z", "push"], [0.0] * 3))

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        graph.until(lambda: node.writer.counts[2] > 5)
        node.close()
        node.close = lambda: None
    finally:
        others.set()
        thread.join()


def test_an_output_without_its_point_is_refused(make_node, tmp_path):
    with pytest.raises(ValueError, match="output_points = .*: wanted 2 values, one for each of"):
        make_node(
            Logger, run_dir=str(tmp_path), topics=["/outputs sensor_msgs/msg/JointState"],
            output_names=["x", "z"], output_points=["tip"],
        )  # fmt: skip


def test_a_bag_is_never_written_over(make_node, tmp_path):
    (tmp_path / "bag").mkdir()
    topics = ["/command sensor_msgs/msg/JointState"]
    with pytest.raises(RuntimeError, match="cannot write a bag: .*bag exists already"):
        make_node(Logger, run_dir=str(tmp_path), topics=topics)
