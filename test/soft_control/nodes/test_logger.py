"""The logger: what it can log, and at what time."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed: soft_control[ros]")

from rclpy.serialization import serialize_message  # noqa: E402
from rosbags.typesys import Stores, get_typestore  # noqa: E402
from sensor_msgs.msg import JointState  # noqa: E402

from soft_control.experiment.ros_messages import joint_state  # noqa: E402
from soft_control.learning.dataset import read_topics  # noqa: E402
from soft_control.nodes.logger import Logger, message_type, stamp_ns  # noqa: E402


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


def test_a_run_that_ends_before_its_first_sample_leaves_a_bag_and_no_summary(make_node, tmp_path):
    (tmp_path / "experiment.json").write_text('{"curve": null}')
    topics = ["/command sensor_msgs/msg/JointState"]
    node = make_node(Logger, run_dir=str(tmp_path), topics=topics, peers=["nobody"])
    store = get_typestore(Stores.ROS2_KILTED)
    kind = {name.rpartition("/")[2]: kind for name, kind in store.types.items()}
    header = kind["Header"](stamp=kind["Time"](sec=0, nanosec=5), frame_id="")
    one, none = np.ones(1), np.zeros(0)
    message = kind["JointState"](header, name=["a"], position=one, velocity=none, effort=none)
    data = store.serialize_cdr(message, "sensor_msgs/msg/JointState")
    node.write(node.writer.connections[0], data)
    node.close()
    node.close = lambda: None
    assert list(read_topics(tmp_path / "bag", ["/command"])[0]["/command"]) == [5]
    assert not (tmp_path / "summary.json").exists()


def test_a_bag_is_never_written_over(make_node, tmp_path):
    (tmp_path / "bag").mkdir()
    topics = ["/command sensor_msgs/msg/JointState"]
    with pytest.raises(RuntimeError, match="cannot write a bag: .*bag exists already"):
        make_node(Logger, run_dir=str(tmp_path), topics=topics)
