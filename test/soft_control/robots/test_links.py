"""The links of each robot as xacro and kinpy, which this project did not write, understand its
URDF: the tip that they draw is the tip that was measured."""

from __future__ import annotations

import io
from contextlib import redirect_stderr
from xml.etree import ElementTree

import numpy as np
import pytest

from soft_control.paths import share
from soft_control.rigs import RIGS, make_rig
from soft_control.robots.links import LINKS, dimensions, urdf_file

xacro = pytest.importorskip("xacro", reason="xacro is not installed: soft_control[test]")
kinpy = pytest.importorskip("kinpy", reason="kinpy is not installed: soft_control[test]")

TOLERANCE_M = 1e-9
"""The chain is exact: what is left is rounding, of xacro's printed numbers above all."""


def expanded(robot: str) -> ElementTree.Element:
    said = io.StringIO()
    with redirect_stderr(said):
        text = xacro.process_file(str(urdf_file(robot))).toxml()
    assert not said.getvalue(), "xacro warns of what it cannot mean"
    return ElementTree.fromstring(text)


def all_joints(urdf: ElementTree.Element, said: dict[str, float]) -> dict[str, float]:
    """With those that follow another joint, as robot_state_publisher moves them."""
    values = dict(said)
    for joint in urdf.iter("joint"):
        mimic = joint.find("mimic")
        if mimic is not None:
            values[joint.get("name")] = float(mimic.get("multiplier", "1")) * said.get(
                mimic.get("joint"), 0.0
            )
    return values


def places(robot: str, joints: dict[str, float]) -> dict[str, kinpy.Transform]:
    urdf = expanded(robot)
    chain = kinpy.build_chain_from_urdf(ElementTree.tostring(urdf, encoding="unicode"))
    moving = all_joints(urdf, joints)
    names = chain.get_joint_parameter_names()
    return chain.forward_kinematics({name: moving.get(name, 0.0) for name in names})


@pytest.mark.parametrize("robot", LINKS)
def test_the_tip_that_is_drawn_is_the_tip_that_was_measured(robot):
    """At rest and wherever random commands take the rig, as far as they reach."""
    rig = make_rig(robot, output_noise=())
    rng = np.random.default_rng(1)
    tips = [np.zeros(3)]
    for command in rng.uniform(rig.command_min, rig.command_max, (20, len(rig.command_min))):
        rig.step(command, 0.4)
        tips.append(rig.description.groups[0].place(rig.outputs()))
    assert np.ptp(tips, axis=0).max() > 5e-3, "the rig has moved"
    for tip in tips:
        drawn = places(robot, LINKS[robot].of_tip(tip))["tip"].pos
        assert drawn == pytest.approx(tip, abs=TOLERANCE_M)


@pytest.mark.parametrize("robot", LINKS)
def test_links_hang_together_and_joints_are_within_their_limits(robot):
    rig = make_rig(robot)
    urdf = expanded(robot)
    limits = {joint.get("name"): joint.find("limit") for joint in urdf.iter("joint")}
    rng = np.random.default_rng(2)
    for command in rng.uniform(rig.command_min, rig.command_max, (20, len(rig.command_min))):
        rig.step(command, 0.4)
        tip = rig.description.groups[0].place(rig.outputs())
        for name, value in all_joints(urdf, LINKS[robot].of_tip(tip)).items():
            if limits[name] is not None:
                assert float(limits[name].get("lower")) <= value <= float(limits[name].get("upper"))
    links = {link.get("name") for link in urdf.iter("link")}
    children = [joint.find("child").get("link") for joint in urdf.iter("joint")]
    assert links - set(children) == {rig.description.frame}
    assert len(children) == len(set(children))


def test_the_block_ends_along_the_arc_and_does_not_twist():
    """The tip points along the circle's tangent: twice the angle of the chord; and what was up at
    the clamp lies in the plane that bending about one axis leaves it in."""
    tip = np.array([-0.006, 0.02, -0.015])
    seen = places("tendon", LINKS["tendon"].of_tip(tip))
    turn = seen["tip"].rot_mat
    chord = tip + [dimensions("tendon")["length"], 0.0, 0.0]
    aside = np.array([0.0, *chord[1:]]) / np.hypot(*chord[1:])
    theta = np.arctan2(np.hypot(*chord[1:]), chord[0])
    along = np.cos(2 * theta) * np.array([1.0, 0.0, 0.0]) + np.sin(2 * theta) * aside
    assert turn @ [1.0, 0.0, 0.0] == pytest.approx(along, abs=1e-6)
    normal = np.cross([1.0, 0.0, 0.0], aside)
    assert turn @ normal == pytest.approx(normal, abs=1e-6)


def test_every_segment_of_the_block_lies_on_the_circle():
    tip = np.array([-0.01, 0.0, 0.03])
    seen = places("tendon", LINKS["tendon"].of_tip(tip))
    size = dimensions("tendon")
    knots = [seen[f"knot_{i}"].pos for i in range(size["segments"])]
    clamp = np.array([-size["length"], 0.0, 0.0])
    along, up = size["length"] + tip[0], tip[2]
    centre = clamp + [0.0, 0.0, (along**2 + up**2) / (2 * up)]
    radii = [np.linalg.norm(knot - centre) for knot in [clamp, *knots]]
    assert radii == pytest.approx([radii[0]] * len(radii), abs=TOLERANCE_M)


def test_heights_of_the_actuators_are_those_that_tilt_the_plates():
    """The simulated rig knows the way from heights to the tip, and this is the way back."""
    rig = make_rig("hasel")
    tip = np.array([0.004, -0.006, 0.003])
    joints = LINKS["hasel"].of_tip(tip)
    heights_m = dimensions("hasel")["lift"] + np.array([joints[f"hasel_{i}"] for i in range(6)])
    reached = rig._tip_mm(1e3 * heights_m.reshape(2, 3)) - rig._neutral_mm
    assert 1e-3 * reached == pytest.approx(tip, abs=TOLERANCE_M)


def test_lengths_are_those_of_the_rig():
    parameters, size = make_rig("hasel").parameters, dimensions("hasel")
    middle = parameters.height_min_mm + parameters.stroke_mm * (0.5 + 0.25 * parameters.bow)
    assert 1e3 * size["lift"] == pytest.approx(middle)
    assert 1e3 * size["plate"] == pytest.approx(parameters.plate_mm)
    assert 1e3 * size["mast"] == pytest.approx(parameters.mast_mm)
    assert 1e3 * size["radius"] == pytest.approx(parameters.actuator_radius_mm)


def test_a_tip_that_no_robot_reaches_is_drawn_somewhere():
    """A tracker that slips must not end the node."""
    for links in LINKS.values():
        for tip in ([0.0, 0.0, 0.0], [-0.066, 0.0, 0.0], [1.0, -1.0, 1.0], [-0.2, 0.0, 0.0]):
            assert all(np.isfinite(value) for value in links.of_tip(np.array(tip)).values())


def test_every_file_is_of_a_robot_with_links():
    files = {path.name.split(".")[0] for path in (share() / "urdf").glob("*.urdf.xacro")}
    assert set(LINKS) == files <= set(RIGS)


@pytest.mark.parametrize("robot", LINKS)
def test_joints_that_are_said_are_joints_that_do_not_follow(robot):
    """robot_state_publisher moves what is mimic, and nobody else says what is not."""
    free = {
        joint.get("name")
        for joint in expanded(robot).iter("joint")
        if joint.get("type") != "fixed" and joint.find("mimic") is None
    }
    links = LINKS[robot]
    assert set(links.of_tip(np.zeros(3))) | set(links.commanded) == free


@pytest.mark.parametrize("robot", LINKS)
def test_limits_are_those_of_the_robots(robot):
    joints = {joint.get("name"): joint.find("limit") for joint in expanded(robot).iter("joint")}
    rig = make_rig(robot)
    for name, low, high in zip(rig.command_names, rig.command_min, rig.command_max, strict=True):
        limit = joints[name]
        if robot.endswith("tendon"):
            assert float(limit.get("lower")) == pytest.approx(low, abs=1e-6)
            assert float(limit.get("upper")) == pytest.approx(high, abs=1e-6)
        elif robot.endswith("hasel"):
            stroke_mm = 1e3 * (float(limit.get("upper")) - float(limit.get("lower")))
            if robot == "hasel":
                assert stroke_mm == pytest.approx(rig.parameters.stroke_mm)
            else:
                assert stroke_mm > rig.parameters.closed_mm
        else:
            assert float(limit.get("effort")) == high
