"""A motion tracker of others becomes the outputs of the robot."""

from __future__ import annotations

import math
import time

import pytest

rclpy = pytest.importorskip("rclpy", reason="ROS 2 is not installed: soft_control[ros]")

from geometry_msgs.msg import PointStamped, PoseStamped, TransformStamped  # noqa: E402

from soft_control.experiment.ros_messages import to_ns, to_stamp  # noqa: E402
from soft_control.nodes._node import checked  # noqa: E402
from soft_control.nodes.tracker import MotionTracker, TrackerParameters  # noqa: E402

POSE = "geometry_msgs/msg/PoseStamped"
GIVEN = {
    "points": ["tip"],
    "topics": [f"/vicon/tip {POSE}"],
    "output_names": ["z", "x"],
    "output_points": ["tip", "tip"],
    "output_axes": ["z", "x"],
    "peers": ["tracker", "nobody"],
}


def pose(ns: int, xyz, quaternion=(0.0, 0.0, 0.0, 1.0), frame="vicon") -> PoseStamped:
    message = PoseStamped()
    message.header.stamp, message.header.frame_id = to_stamp(ns), frame
    at, turned = message.pose.position, message.pose.orientation
    at.x, at.y, at.z = map(float, xyz)
    turned.x, turned.y, turned.z, turned.w = map(float, quaternion)
    return message


def test_poses_become_outputs_by_name_in_the_frame_of_the_robot(make_node, published):
    """A tracker in mm, turned by a quarter about z, that sees a body 10 mm beside its point."""
    half = math.sqrt(0.5)
    node = make_node(
        MotionTracker,
        **GIVEN,
        scale=0.001,
        rotation=[0.0, 0.0, half, half],
        translation=[0.1, 0.0, 0.02],
        body_offset=[10.0, 0.0, 0.0],
        tracker_frame="vicon",
    )
    outputs, tip = published(node.outputs), published(node.placed["tip"])
    node.on_message("tip", "/vicon/tip", pose(4_000_000, (0, 0, 100)))
    assert not outputs, "not all who are to hear it are there"
    node.on_everyone_matched()
    node.on_message("tip", "/vicon/tip", pose(5_000_000, (0, 0, 100)))
    node.on_message("tip", "/vicon/tip", pose(6_000_000, (0, 0, 100), (0, 0, half, half)))
    first, second = outputs
    assert (list(first.name), first.header.frame_id) == (["z", "x"], "rig_base")
    assert to_ns(first.header.stamp) == 5_000_000
    assert first.position == pytest.approx([0.12, 0.1])  # the offset points along y there
    assert second.position == pytest.approx([0.12, 0.09])  # and now along -x
    assert (tip[0].point.x, tip[0].point.y) == pytest.approx((0.1, 0.01))
    node.on_message("tip", "/vicon/tip", pose(7_000_000, (0, 0, math.nan)))
    assert len(outputs) == 2
    with pytest.raises(ValueError, match="/vicon/tip is in frame 'map': wanted 'vicon'"):
        node.on_message("tip", "/vicon/tip", pose(8_000_000, (0, 0, 1), frame="map"))


def test_points_and_transforms_do_as_well(make_node, published):
    types = ("geometry_msgs/msg/PointStamped", "geometry_msgs/msg/TransformStamped")
    node = make_node(
        MotionTracker,
        **GIVEN
        | {
            "points": ["tip", "base"],
            "topics": [f"/a {types[0]}", f"/b {types[1]}"],
            "output_points": ["tip", "base"],
        },
    )
    node.on_everyone_matched()
    outputs = published(node.outputs)
    a, b = PointStamped(), TransformStamped()
    a.header.stamp = b.header.stamp = to_stamp(9)
    a.point.z, b.transform.translation.x = 0.3, 0.4
    node.on_message("tip", "/a", a)
    assert not outputs
    node.on_message("base", "/b", b)
    assert list(outputs[0].position) == [0.3, 0.4]


def test_a_tracker_that_falls_silent_is_said_and_comes_back(make_node, capfd):
    """Over the graph: the tracker is nobody's peer, and a second one beside it is refused."""
    node = make_node(MotionTracker, **GIVEN, timeout_s=0.1)
    others = [rclpy.create_node(name) for name in ("vicon", "intruder")]
    says = [other.create_publisher(PoseStamped, "/vicon/tip", 10) for other in others]
    executor = rclpy.executors.SingleThreadedExecutor()
    executor.add_node(node)
    deadline = time.monotonic() + 60.0

    def until(said: str, speakers=()) -> str:
        text = ""
        while said not in text:
            assert time.monotonic() < deadline, text
            for speaker in speakers:
                speaker.publish(pose(node.get_clock().now().nanoseconds, (0, 0, 1)))
            executor.spin_once(timeout_sec=0.02)
            text += capfd.readouterr().err
        return text

    until("sees tip", says[:1])
    until("refused what /intruder says on /vicon/tip, which has one that came first", says)
    until("has not seen all of tip for 0.1 s: no outputs until it does")
    until("sees tip", says[:1])
    executor.shutdown()
    for other in others:
        other.destroy_node()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"topics": ["/vicon/tip"]}, "topics has '/vicon/tip': wanted a topic, a blank and one of"),
        ({"topics": ["/t sensor_msgs/msg/Imu"]}, "topics has .*Imu': wanted"),
        ({"output_points": ["tip", "base"]}, "output_points has base: no point of points"),
        ({"output_axes": ["z"]}, "output_axes = .*wanted 2 values"),
        ({"rotation": [0.0] * 4}, "rotation = .*wanted a quaternion"),
        ({"rotation": [1.0]}, "rotation = "),
        ({"scale": 0}, "scale = 0"),
    ],
)
def test_a_malformed_parameter_is_told(changes, said):
    with pytest.raises(ValueError, match=said):
        checked(TrackerParameters, GIVEN | changes)
