"""ROS messages of the graph: from and to NumPy, joined by stamp, and how they are queued."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from builtin_interfaces.msg import Duration, Time
from geometry_msgs.msg import PointStamped
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import JointState
from std_msgs.msg import Header
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from soft_control.topics import REFERENCE


def _reliable(depth: int) -> QoSProfile:
    return QoSProfile(
        reliability=ReliabilityPolicy.RELIABLE, history=HistoryPolicy.KEEP_LAST, depth=depth
    )


EVERY_SAMPLE = _reliable(100_000)
"""Of the logger and of all who publish: no sample may be missing from the bag. In lockstep nobody
waits for the logger, which on a loaded machine falls more than a thousand samples behind."""

LATEST_SAMPLE = _reliable(1)
"""Of those who act on a sample: after a pause they go on with the newest one, where a long queue
would make them answer samples that are seconds old. In lockstep nothing is lost by it, because the
sample that would push another out is taken only after that other one has been answered."""

RECENT = _reliable(10)
"""Of what is said once a second."""

GLANCE = QoSProfile(
    reliability=ReliabilityPolicy.BEST_EFFORT, history=HistoryPolicy.KEEP_LAST, depth=3
)
"""Of those who only look on: nobody waits for them."""

LATCHED = QoSProfile(
    reliability=ReliabilityPolicy.RELIABLE,
    history=HistoryPolicy.KEEP_ALL,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
"""Whoever subscribes late is told everything that was said before."""

LAST_SAID = QoSProfile(
    reliability=ReliabilityPolicy.RELIABLE,
    history=HistoryPolicy.KEEP_LAST,
    depth=1,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
"""Whoever subscribes late is told what was said last."""


WAITING_MAX = 64
"""Stamps that a Join remembers; where a topic never comes it would remember a whole run."""


class Join:
    """Pairs messages of several topics by their stamp and hands complete sets on, in order."""

    def __init__(self, topics: Sequence[str], on_complete: Callable[..., None]) -> None:
        self.topics = tuple(topics)
        self._on_complete = on_complete
        self._waiting: dict[int, dict[str, Any]] = {}

    def put(self, topic: str, message: Any) -> None:
        """Takes a message of one of the topics; calls on_complete(stamp_ns, one message a topic, in
        the order of `topics`) where it was the last one missing."""
        stamp_ns = to_ns(message.header.stamp)
        parts = self._waiting.setdefault(stamp_ns, {})
        parts[topic] = message
        if len(parts) == len(self.topics):
            # What is older can no longer become complete: topics arrive in order.
            self._waiting = {s: p for s, p in self._waiting.items() if s > stamp_ns}
            self._on_complete(stamp_ns, *(parts[name] for name in self.topics))
        elif len(self._waiting) > WAITING_MAX:
            del self._waiting[min(self._waiting)]


def to_ns(stamp: Time) -> int:
    """A stamp in ns."""
    return stamp.sec * 1_000_000_000 + stamp.nanosec


def to_stamp(ns: int) -> Time:
    """ns as a stamp."""
    return Time(sec=ns // 1_000_000_000, nanosec=ns % 1_000_000_000)


def header_ns(header: Header) -> int:
    """Its stamp in ns."""
    return to_ns(header.stamp)


def named_header(ns: int, name: str) -> Header:
    """A name and an instant, which is all of a message where a controller is chosen."""
    return Header(stamp=to_stamp(ns), frame_id=name)


def joint_state(
    ns: int, names: Sequence[str], values: Sequence[float], frame: str = ""
) -> JointState:
    """A named vector; of outputs, with the frame in which points are among them."""
    message = JointState(name=list(names), position=[float(v) for v in values])
    message.header.stamp, message.header.frame_id = to_stamp(ns), frame
    return message


def by_name(
    message: JointState,
    names: Sequence[str],
    topic: str,
    others: bool = False,
    frame: str = "",
) -> np.ndarray:
    """The values (len(names),) of a named vector in the order of `names`, whatever its own order.

    Raises ValueError, naming the topic, where a name is missing or stands twice, has no value, or
    one that is not finite; unless `others` are welcome, for any other name; and for another frame
    than `frame`, where the message says one.
    """
    found = list(message.name)
    if len(found) != len(message.position):
        raise ValueError(f"{topic} has {len(found)} names for {len(message.position)} values")
    values = np.array(message.position, dtype=float)[_places(found, names, topic, others)]
    for name, value in zip(names, values, strict=True):
        if not np.isfinite(value):
            raise ValueError(f"{topic} says {value} for {name}: wanted a finite number")
    _check_frame(message, topic, frame)
    return values


def _places(found: Sequence[str], names: Sequence[str], topic: str, others: bool) -> list[int]:
    """For each of `names` its place among the names that a message has."""
    if len(set(found)) != len(found):
        raise ValueError(f"{topic} has a name twice: {', '.join(found)}")
    missing = [name for name in names if name not in found]
    unknown = [] if others else [name for name in found if name not in names]
    if missing or unknown:
        lacks = f" lacks {', '.join(missing)}" if missing else ""
        has = f" has the unknown {', '.join(unknown)}" if unknown else ""
        raise ValueError(f"{topic}{lacks}{' and' * bool(lacks and has)}{has}")
    return [found.index(name) for name in names]


def point(ns: int, position: Sequence[float], frame: str) -> PointStamped:
    """A position (3,) in m."""
    message = PointStamped()
    message.header.stamp, message.header.frame_id = to_stamp(ns), frame
    message.point.x, message.point.y, message.point.z = map(float, position)
    return message


def trajectory(
    ns: int, period_ns: int, names: Sequence[str], values: np.ndarray, frame: str = ""
) -> JointTrajectory:
    """Outputs (T, n) by name, a period apart, the first ones at `ns`."""
    message = JointTrajectory(joint_names=list(names))
    message.header.stamp, message.header.frame_id = to_stamp(ns), frame
    message.points = [
        JointTrajectoryPoint(positions=row, time_from_start=_duration(j * period_ns))
        for j, row in enumerate(np.asarray(values, dtype=float).tolist())
    ]
    return message


def _duration(ns: int) -> Duration:
    return Duration(sec=ns // 1_000_000_000, nanosec=ns % 1_000_000_000)


def from_trajectory(
    message: JointTrajectory, names: Sequence[str], topic: str = REFERENCE, frame: str = ""
) -> np.ndarray:
    """Outputs (T, len(names)) in the order of `names`.

    Raises ValueError where there is no point, one of another length, a name that is missing or
    stands twice, or another frame than `frame`.
    """
    found = list(message.joint_names)
    if not message.points:
        raise ValueError(f"{topic} has no point in it")
    if any(len(p.positions) != len(found) for p in message.points):
        raise ValueError(f"{topic} has points that are not of its {len(found)} names")
    _check_frame(message, topic, frame)
    places = _places(found, names, topic, others=True)
    return np.array([p.positions for p in message.points])[:, places]


def _check_frame(message: Any, topic: str, frame: str) -> None:
    said = message.header.frame_id
    if frame and said and said != frame:
        raise ValueError(f"{topic} is in frame '{said}': wanted '{frame}'")
