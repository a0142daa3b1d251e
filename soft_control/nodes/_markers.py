"""A scene as messages for viewers: markers, and where each point is as a transform."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point, TransformStamped
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker, MarkerArray

from soft_control.experiment.ros_messages import to_stamp
from soft_control.experiment.scene import PointScene, line_width_m

Colour = tuple[float, float, float, float]
REFERENCE: Colour = (0.10, 0.45, 0.85, 0.8)
HORIZON: Colour = (0.10, 0.75, 0.75, 1.0)
PREDICTED: Colour = (0.60, 0.30, 0.80, 1.0)
TRAIL: Colour = (0.95, 0.55, 0.10, 0.9)
TIP: Colour = (0.85, 0.15, 0.10, 1.0)

LIFETIME_S = 2
"""What nobody draws any more goes: the node has ended, or another run has begun."""


def markers(points: Sequence[PointScene], now_ns: int, frame: str) -> MarkerArray:
    """All of a scene; the ids of a namespace are the numbers of the points."""
    width = line_width_m(list(points))
    found = []
    for number, point in enumerate(points):
        parts = (
            ("reference", Marker.LINE_STRIP, point.reference, REFERENCE, width),
            ("horizon", Marker.SPHERE_LIST, point.horizon, HORIZON, 1.6 * width),
            ("trail", Marker.LINE_STRIP, point.trail, TRAIL, width),
            ("wanted", Marker.SPHERE_LIST, _one(point.wanted), REFERENCE, 3 * width),
            ("predicted", Marker.SPHERE_LIST, _one(point.predicted), PREDICTED, 2.2 * width),
            ("tip", Marker.SPHERE_LIST, _one(point.tip), TIP, 3 * width),
        )
        for namespace, kind, rows, colour, size in parts:
            least = 2 if kind == Marker.LINE_STRIP else 1
            if len(rows) >= least:
                found.append(_marker(namespace, number, kind, rows, colour, size))
    for marker in found:
        marker.header.stamp, marker.header.frame_id = to_stamp(now_ns), frame
    return MarkerArray(markers=found)


def _one(place: np.ndarray | None) -> np.ndarray:
    return np.zeros((0, 3)) if place is None else place[None]


def _marker(
    namespace: str, number: int, kind: int, rows: np.ndarray, colour: Colour, size: float
) -> Marker:
    marker = Marker(ns=namespace, id=number, type=kind, action=Marker.ADD)
    marker.pose.orientation.w = 1.0
    marker.scale.x = size
    if kind == Marker.SPHERE_LIST:
        marker.scale.y = marker.scale.z = size
    red, green, blue, alpha = colour
    marker.color = ColorRGBA(r=red, g=green, b=blue, a=alpha)
    marker.lifetime = Duration(sec=LIFETIME_S)
    marker.points = [Point(x=x, y=y, z=z) for x, y, z in rows.tolist()]
    return marker


def transforms(
    points: Sequence[PointScene], now_ns: int, frame: str, prefix: str
) -> list[TransformStamped]:
    """Of each point that was measured, points/<name>, and of its reference, reference/<name>. The
    link `tip` of a URDF is another frame: that is where the drawing ends."""
    found = []
    for point in points:
        for name, place in (("points", point.tip), ("reference", point.wanted)):
            if place is not None:
                found.append(_transform(place, now_ns, frame, f"{prefix}{name}/{point.name}"))
    return found


def _transform(place: np.ndarray, now_ns: int, frame: str, child: str) -> TransformStamped:
    message = TransformStamped(child_frame_id=child)
    message.header.stamp, message.header.frame_id = to_stamp(now_ns), frame
    translation = message.transform.translation
    translation.x, translation.y, translation.z = place.tolist()
    message.transform.rotation.w = 1.0
    return message
