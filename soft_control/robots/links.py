"""How the links of a robot's URDF stand where its tip was measured: pure geometry, no ROS.

A camera sees the tip of a soft robot and nothing of what lies before it. So its drawing is the
simplest shape that ends where the tip is: an arc for a block that bends, equal tilts for a stack of
plates. The joints of urdf/<robot>.urdf.xacro say that shape; what they leave to `mimic` is not said
here.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from soft_control.paths import share

Joints = dict[str, float]
"""Joint name -> rad or m."""

THETA_MAX = 2.8
"""Of a tip behind the clamp, where no block ends, rad: the arc of one straight back has no end."""
NEWTON_STEPS = 20
"""Each doubles the digits; a tip that the mast can reach takes four."""


@functools.cache
def dimensions(robot: str) -> dict[str, Any]:
    """Lengths of a robot, m, of urdf/dimensions.yaml, which its URDF reads as well."""
    return yaml.safe_load((share() / "urdf" / "dimensions.yaml").read_text())[robot]


def arc(tip: np.ndarray) -> Joints:
    """Of the tendon rig: `tip` (3,), m, about where it is at rest.

    One circle leaves the clamp along x and passes through the tip. Where the chord from clamp to
    tip makes the angle theta with x, that arc turns by 2 theta. Its s segments are equal chords:
    the first makes an angle theta/s with x, each further one 2 theta/s with the one before, so that
    the tip is at a distance of

        piece · sin(theta) / sin(theta/s)

    from the clamp. As a block does not twist, no segment turns about its own axis.
    """
    size = dimensions("tendon")
    length, segments = size["length"], size["segments"]
    along, aside = length + tip[0], math.hypot(tip[1], tip[2])
    theta = min(math.atan2(aside, along), THETA_MAX)
    bend = theta / segments
    # sin(x)/sin(x/s) goes to s where the arc becomes straight.
    shortening = math.sin(bend) / math.sin(theta) if theta > 1e-9 else 1.0 / segments
    piece = math.hypot(along, aside) * shortening
    return {
        "plane": math.atan2(tip[2], tip[1]),
        "bend": bend,
        "stretch": piece - length / segments,
    }


def plates(tip: np.ndarray) -> Joints:
    """Of the HASEL rig: `tip` (3,), m, about where it is at rest.

    Both layers are lifted by the same height h and tilted by the same angle a, the second on top of
    the first, so that the tip is, with the thickness of a plate t and a mast of length l,

        (t + h) sin(a) + l sin(2a)    aside, and    h + (t + h) cos(a) + l cos(2a)    up.

    Newton's method finds a; each actuator is as high as the plates are apart where it stands.
    """
    size = dimensions("hasel")
    rest, plate, mast, radius = (size[key] for key in ("lift", "plate", "mast", "radius"))
    aside = math.hypot(tip[0], tip[1])
    up = tip[2] + 2 * rest + plate + mast

    def lift(a: float) -> float:
        return (up - plate * math.cos(a) - mast * math.cos(2 * a)) / (1 + math.cos(a))

    def missed(a: float) -> float:
        return (plate + lift(a)) * math.sin(a) + mast * math.sin(2 * a) - aside

    a, tiny = aside / (plate + rest + 2 * mast), 1e-6
    for _ in range(NEWTON_STEPS):
        slope = (missed(a + tiny) - missed(a - tiny)) / (2 * tiny)
        a = min(max(a - missed(a) / slope, 0.0), math.pi / 4)  # a lone outlier must not diverge
    plane = math.atan2(tip[1], tip[0])
    joints = {"lift": lift(a) - rest, "plane": plane, "tilt": a}
    for i in range(6):
        turn = math.radians(120 * (i % 3) + 60 * (i // 3))
        joints[f"hasel_{i}"] = joints["lift"] - radius * math.tan(a) * math.cos(turn - plane)
    return joints


def slide(tip: np.ndarray) -> Joints:
    """Of the mass-spring-damper: the mass is where it was measured, `tip` (3,), m."""
    return {"force": float(tip[0])}


@dataclass(frozen=True)
class Links:
    """What is drawn of a robot."""

    of_tip: Callable[[np.ndarray], Joints]
    """Its joints for a tip (3,), m, about where it is at rest."""
    commanded: tuple[str, ...] = ()
    """Commands that are joints themselves, which stand where they are told to, rad or m."""


LINKS = {
    "tendon": Links(arc, commanded=("servo_0", "servo_1")),
    "hasel": Links(plates),
    "mass_spring_damper": Links(slide),
    # Second opinions: other physics, the same shape.
    "mujoco_tendon": Links(arc, commanded=("servo_0", "servo_1")),
    "mujoco_hasel": Links(plates),
}
"""By the name in a robot's description. A robot that is not here has points and no links."""


def urdf_file(robot: str) -> Path:
    """The xacro file of a robot, which need not be there."""
    return share() / "urdf" / f"{robot}.urdf.xacro"
