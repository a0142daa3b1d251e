"""The node that says what viewers draw."""

from __future__ import annotations

import numpy as np
import pytest
from visualization_msgs.msg import Marker

from soft_control import robots
from soft_control.control.references import Reference
from soft_control.control.sampled_reference import write_reference
from soft_control.experiment.ros_messages import joint_state, to_ns, trajectory
from soft_control.experiment.trajectory import tabulate
from soft_control.nodes._markers import transforms
from soft_control.nodes.visual import Visual
from soft_control.robots.links import LINKS

NOW_NS = 1_500_000_000
TIP = [-0.003, 0.004, 0.012]
CURVE = Reference(
    outputs=("x", "y", "z"),
    shape="pringle",
    amplitude=(0.0, 0.0125, 0.025),
    centre=(0.0, 0.0, 0.0),
    component=(0, 0, 1),
    angular_rate=0.8,
)


def say(node, outputs=TIP, ns=NOW_NS, robot="tendon"):
    names = robots.load(robot).output_names
    node.on_outputs(joint_state(ns, names, outputs, robots.load(robot).frame))


def by_namespace(message):
    return {(marker.ns, marker.id): marker for marker in message.markers}


def places(marker):
    return np.array([[p.x, p.y, p.z] for p in marker.points])


def test_links_follow_the_tip_and_servos_their_commands(make_node, published):
    node = make_node(Visual, robot="tendon")
    joints = published(node.joints)
    node.on_command(joint_state(NOW_NS, ["servo_1", "servo_0"], [0.2, -0.1]))
    say(node)
    node.draw()
    (message,) = joints
    said = dict(zip(message.name, message.position, strict=True))
    assert said == LINKS["tendon"].of_tip(np.array(TIP)) | {"servo_0": -0.1, "servo_1": 0.2}
    assert to_ns(message.header.stamp) == NOW_NS


def test_what_is_not_new_is_not_drawn_again(make_node, published):
    node = make_node(Visual, robot="tendon")
    drawn = published(node.markers)
    node.draw()
    assert not drawn
    say(node)
    node.draw()
    node.draw()
    assert len(drawn) == 1


def test_markers_are_reference_horizon_tip_and_trail(make_node, published, tmp_path):
    file = tmp_path / "trajectory.csv"
    table = tabulate(CURVE, 120.0, 2400, 1200)
    write_reference(file, table)
    node = make_node(Visual, robot="tendon", trajectory=str(file), horizon=14)
    drawn = published(node.markers)
    names, frame = robots.load("tendon").output_names, "rig_base"
    for k in range(60):
        now_ns = NOW_NS + round(k * 1e9 / 120)
        say(node, [0.0, 1e-4 * k, 0.0], now_ns)
        here = table.values(k / 120)
        node.on_reference(trajectory(now_ns, 8_333_333, names, here, frame))
        node.on_predicted(joint_state(now_ns + 8_333_333, names, [0.0, 1e-4 * (k + 1), 0.0], frame))
    node.draw()
    found = by_namespace(drawn[-1])
    assert {ns for ns, _ in found} == {
        "reference",
        "horizon",
        "tip",
        "trail",
        "wanted",
        "predicted",
    }
    for marker in found.values():
        assert marker.header.frame_id == frame and to_ns(marker.header.stamp) == now_ns
        assert marker.scale.x > 0 and marker.color.a > 0 and marker.pose.orientation.w == 1
    assert places(found["tip", 0]) == pytest.approx(np.array([[0.0, 5.9e-3, 0.0]]))
    assert places(found["predicted", 0]) == pytest.approx(np.array([[0.0, 6e-3, 0.0]]))
    assert len(found["horizon", 0].points) == 15
    assert found["trail", 0].type == Marker.LINE_STRIP
    assert places(found["trail", 0])[:, 1] == pytest.approx(2e-4 * np.arange(30), abs=1e-4)
    curve = places(found["reference", 0])
    assert np.ptp(curve, axis=0) == pytest.approx([0, 0.025, 0.05], abs=1e-5)


def test_each_point_of_a_robot_has_its_markers_and_one_without_links_no_joints(
    make_node, published
):
    node = make_node(Visual, robot="trunk")
    joints, drawn = published(node.joints), published(node.markers)
    say(node, np.arange(9.0), robot="trunk")
    say(node, np.arange(9.0) + 0.01, ns=NOW_NS + 10**8, robot="trunk")
    node.draw()
    assert not joints
    found = by_namespace(drawn[0])
    assert {("tip", i) for i in range(3)} | {("trail", i) for i in range(3)} == set(found)
    assert drawn[0].markers[0].header.frame_id == "trunk_base"


def test_a_second_robot_has_frames_of_its_own(make_node, published):
    node = make_node(Visual, robot="tendon", frame_prefix="left/")
    drawn = published(node.markers)
    say(node)
    node.draw()
    assert {marker.header.frame_id for marker in drawn[0].markers} == {"left/rig_base"}
    names = robots.load("tendon").output_names
    node.on_reference(trajectory(NOW_NS, 1, names, np.zeros((1, 3)), "rig_base"))
    measured, wanted = transforms(node.scene.points(), NOW_NS, node.frame, "left/")
    assert (measured.header.frame_id, measured.child_frame_id) == (
        "left/rig_base",
        "left/points/tip",
    )
    assert wanted.child_frame_id == "left/reference/tip"
    where = measured.transform.translation
    assert [where.x, where.y, where.z] == TIP
    assert measured.transform.rotation.w == 1.0


def test_transforms_are_published_where_their_message_is_installed(make_node, published):
    pytest.importorskip("tf2_msgs", reason="tf2_msgs has no wheel")
    node = make_node(Visual, robot="tendon")
    said = published(node.frames)
    say(node)
    node.draw()
    assert [t.child_frame_id for t in said[0].transforms] == ["points/tip"]


def test_nonsense_is_left_out_and_said(make_node, published, capfd):
    node = make_node(Visual, robot="tendon")
    drawn = published(node.markers)
    node.glanced(node.on_outputs)(joint_state(NOW_NS, ["x", "y"], [0.0, 0.0]))
    node.draw()
    assert not drawn
    assert "not drawn: /outputs lacks z" in capfd.readouterr().err


def test_nobody_waits_for_it(make_node):
    """The roll call of others counts the subscribers that were told there."""
    node = make_node(Visual, robot="tendon")
    called = [s.topic_name for s in node.subscriptions]
    assert "/outputs" in called and "/reference" in called
    assert not {"/outputs", "/reference"} & set(node.roll_call._listens)
