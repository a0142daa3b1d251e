"""The messages of a rosbag2 directory: topics by type, below the namespace of one robot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from soft_control.learning.bounded_bag import bound_decompression
from soft_control.learning.recording import RecordingError, warn
from soft_control.plain_text import printable
from soft_control.robots.description import AXES
from soft_control.topics import (
    COMMAND,
    CONTROLLER,
    FIRMWARE,
    MCU,
    OUTPUTS,
    PREDICTED_OUTPUTS,
    REFERENCE,
    SIGNALS,
    SOLVER,
    TRACKING_ERROR,
)

SET_BACK_S = 0.1
"""Messages may overtake one another by less; a stamp that goes back further is a clock set back."""
TIP_POSITION = "/tip_position"
"""Of bags that hold one point and no /outputs."""


def _as_it_is(message: Any) -> Any:
    return message


def _point_of_pose(message: Any) -> Any:
    return SimpleNamespace(header=message.header, point=message.pose.position)


def _of_path(message: Any) -> Any:
    points = [SimpleNamespace(positions=xyz(p.pose.position)) for p in message.poses[:1]]
    return SimpleNamespace(header=message.header, joint_names=AXES, points=points)


def _of_header(message: Any) -> Any:
    return SimpleNamespace(header=message, name=message.frame_id)


def xyz(point: Any) -> tuple[float, float, float]:
    """Coordinates of a geometry_msgs Point."""
    return point.x, point.y, point.z


POINT_TYPES: dict[str, Callable[[Any], Any]] = {
    "geometry_msgs/msg/PointStamped": _as_it_is,
    "geometry_msgs/msg/PoseStamped": _point_of_pose,
}
TYPES: dict[str, dict[str, Callable[[Any], Any]]] = {
    TIP_POSITION: POINT_TYPES,
    OUTPUTS: {"sensor_msgs/msg/JointState": _as_it_is},
    PREDICTED_OUTPUTS: {"sensor_msgs/msg/JointState": _as_it_is},
    TRACKING_ERROR: {"sensor_msgs/msg/JointState": _as_it_is},
    COMMAND: {"sensor_msgs/msg/JointState": _as_it_is},
    SIGNALS: {"sensor_msgs/msg/JointState": _as_it_is},
    CONTROLLER: {"std_msgs/msg/Header": _of_header},
    FIRMWARE: {"std_msgs/msg/Header": _of_header},
    REFERENCE: {
        "trajectory_msgs/msg/JointTrajectory": _as_it_is,
        "nav_msgs/msg/Path": _of_path,
    },
    SOLVER: {"diagnostic_msgs/msg/DiagnosticArray": _as_it_is},
    MCU: {"diagnostic_msgs/msg/DiagnosticArray": _as_it_is},
}
"""Topic to the types it may have, each with what makes of its message one of the first type."""


def _opened(path: Path) -> Any:
    """A reader of a bag. Raises RecordingError for what is none, or is not finished."""
    from rosbags.rosbag2 import Reader

    bound_decompression()
    if not (path / "metadata.yaml").is_file():
        advice = ""
        if path.is_dir() and any(path.glob("*.mcap")):
            advice = f"; `softctl bag recover {printable(path)}` saves what is in it"
        raise RecordingError(f"{path}: no metadata.yaml: not a finished rosbag2 directory{advice}")
    return Reader(path)


def bag_topics(path: Path) -> dict[str, str]:
    """Topic to type, of those that have messages. Raises RecordingError for what is no bag."""
    try:
        with _opened(path) as reader:
            return {c.topic: c.msgtype for c in reader.connections if c.msgcount}
    except RecordingError:
        raise
    except Exception as error:  # noqa: BLE001
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> RecordingError:
    """A reader of somebody else's formats meets broken bytes with whatever exception its parsers
    of YAML, MCAP, SQLite and CDR have."""
    said = printable(f"{type(error).__name__}: {error}", 200)
    return RecordingError(f"{path}: unreadable bag: {said}")


def namespace_of(
    path: Path, topics: Collection[str], wanted: Collection[str], told: str = "", least: int = 1
) -> str:
    """The namespace below which the `wanted` topics stand among the `topics` of a bag, such as
    /left where /outputs is /left/outputs; empty where they are there by their own names.

    `told` is what is known of it; fewer than `least` topics tell nothing. Raises RecordingError
    where two robots have as many, and nothing says which is meant.
    """
    if told.strip("/"):
        return "/" + told.strip("/")
    found = Counter(
        topic.removesuffix(name) for name in wanted for topic in topics if topic.endswith(name)
    )
    # A robot has several topics: one such as /gripper/command alone is of something else.
    several = [space for space, count in found.items() if count > 1]
    spaces = several or [space for space, count in found.items() if count >= least]
    if len(spaces) > 1:
        below = [printable(space, 80) or "/" for space in sorted(spaces)]
        raise RecordingError(
            f"{path}: topics of two robots, below {' and '.join(below[:3])}: say whose are meant "
            "in recording.topics of the robot's description, each by its whole name; or keep one "
            "robot a bag"
        )
    return spaces[0] if spaces else ""


def messages(
    path: Path,
    wanted: Collection[str],
    types: Mapping[str, Mapping[str, Callable[[Any], Any]]] = TYPES,
    namespace: str = "",
) -> Iterator[tuple[str, str, int, bytes]]:
    """Of each message of the wanted topics, in the order of when they were logged: topic, without
    its namespace; type; when it was logged, ns; and its bytes.

    Raises RecordingError for what is no finished bag, for a topic of another type than `types`
    allows it, and for two robots in one bag unless `namespace` says which.
    """
    try:
        with _opened(path) as reader:
            there = [c.topic for c in reader.connections if c.msgcount]
            space = namespace_of(path, there, wanted, namespace)
            names = {space + name: name for name in wanted}
            connections = [c for c in reader.connections if c.topic in names]
            for connection in connections:
                allowed = types[names[connection.topic]]
                _check_type(path, connection.topic, connection.msgtype, allowed)
            if not connections:
                return
            for connection, when_ns, raw in reader.messages(connections=connections):
                yield names[connection.topic], connection.msgtype, when_ns, raw
    except RecordingError:
        raise
    except Exception as error:  # noqa: BLE001
        raise _unreadable(path, error) from error


def read_topics(
    path: Path,
    wanted: Sequence[str],
    types: Mapping[str, Mapping[str, Callable[[Any], Any]]] = TYPES,
    namespace: str = "",
) -> tuple[dict[str, dict[int, Any]], dict[str, dict[int, int]]]:
    """Messages of the wanted topics, and when each was logged, ns; both by header stamp, ns.

    Raises RecordingError as `messages` does, and where the clock was set back.
    """
    from rosbags.typesys import Stores, get_typestore

    topics: dict[str, dict[int, Any]] = {}
    logged_ns: dict[str, dict[int, int]] = {}
    typestore = get_typestore(Stores.ROS2_KILTED)
    repeated: dict[str, int] = {}
    latest: dict[str, int] = {}
    for name, kind, when_ns, raw in messages(path, wanted, types, namespace):
        try:
            message = types[name][kind](typestore.deserialize_cdr(raw, kind))
        except Exception as error:  # noqa: BLE001
            raise _unreadable(path, error) from error
        stamp = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
        topic = topics.setdefault(name, {})
        check_order(path, name, len(topic), latest.get(name, stamp), stamp)
        latest[name] = stamp
        if stamp in topic:
            repeated[name] = repeated.get(name, 0) + 1
            continue
        topic[stamp] = message
        logged_ns.setdefault(name, {})[stamp] = when_ns
    for name, count in repeated.items():
        if len(topics[name]) == 1:
            stamp = next(iter(topics[name]))
            raise RecordingError(
                f"{path}: all {count + 1} messages on {name} have the stamp {stamp * 1e-9:g} s: "
                "whoever publishes them must fill header.stamp"
            )
    if repeated:
        warn(path, f"{sum(repeated.values())} messages repeat a stamp of their topic, left out")
    return topics, logged_ns


def _check_type(path: Path, topic: str, found: str, allowed: Mapping[str, Any]) -> None:
    if found not in allowed:
        raise RecordingError(
            f"{path}: {topic} is of type {printable(found, 80)}, but must be "
            f"{' or '.join(allowed)}: record it as such, or convert the bag"
        )


def check_order(path: Path, topic: str, count: int, before: int, stamp: int) -> None:
    """Raises RecordingError where a stamp, ns, goes back behind the one before it, as after a clock
    was set, after `count` messages of the topic."""
    if stamp < before - SET_BACK_S * 1e9:
        raise RecordingError(
            f"{path}: {topic}: the stamp goes back from {before * 1e-9:.3f} to "
            f"{stamp * 1e-9:.3f} s after {count} messages: was the clock set? "
            "Cut the bag in two there"
        )
