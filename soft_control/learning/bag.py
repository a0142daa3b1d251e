"""A recorded run in a rosbag2 directory: its topics by type, joined by their stamps and names."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from soft_control.learning.fields import NAME_LENGTH_MAX
from soft_control.learning.recording import (
    GRID_TOLERANCE,
    Recording,
    RecordingError,
    check_names,
    listed,
    warn,
)
from soft_control.learning.stamps import check_unit, nearest
from soft_control.plain_text import printable
from soft_control.robots.description import AXES, RobotDescription, described
from soft_control.topics import COMMAND, MCU, OUTPUTS, PREDICTED_OUTPUTS, REFERENCE, SIGNALS, SOLVER

RECORD_FILE = "experiment.json"
"""Beside the bag of a run; describes its robot."""
SLOWER = 1.5
"""A topic whose period is so many times that of the commands gives the rows, not the commands:
a camera's positions at 30 Hz would else be repeated for four commands each."""
SET_BACK_S = 0.1
"""Messages may overtake one another by less; a stamp that goes back further is a clock set back."""


TIP_POSITION = "/tip_position"
"""Of bags that hold one point and no /outputs."""


def _as_it_is(message: Any) -> Any:
    return message


def _point_of_pose(message: Any) -> Any:
    return SimpleNamespace(header=message.header, point=message.pose.position)


def _of_path(message: Any) -> Any:
    points = [SimpleNamespace(positions=_xyz(p.pose.position)) for p in message.poses[:1]]
    return SimpleNamespace(header=message.header, joint_names=AXES, points=points)


POINT_TYPES: dict[str, Callable[[Any], Any]] = {
    "geometry_msgs/msg/PointStamped": _as_it_is,
    "geometry_msgs/msg/PoseStamped": _point_of_pose,
}
TYPES: dict[str, dict[str, Callable[[Any], Any]]] = {
    TIP_POSITION: POINT_TYPES,
    OUTPUTS: {"sensor_msgs/msg/JointState": _as_it_is},
    PREDICTED_OUTPUTS: {"sensor_msgs/msg/JointState": _as_it_is},
    COMMAND: {"sensor_msgs/msg/JointState": _as_it_is},
    SIGNALS: {"sensor_msgs/msg/JointState": _as_it_is},
    REFERENCE: {
        "trajectory_msgs/msg/JointTrajectory": _as_it_is,
        "nav_msgs/msg/Path": _of_path,
    },
    SOLVER: {"diagnostic_msgs/msg/DiagnosticArray": _as_it_is},
    MCU: {"diagnostic_msgs/msg/DiagnosticArray": _as_it_is},
}
"""Topic to the types it may have, each with what makes of its message one of the first type."""


def read_bag(path: Path, robot: RobotDescription | None = None) -> Recording:
    """Join a bag's topics by stamp: a command belongs to the sample nearest in time, within half a
    period. In lockstep the stamps are equal; in realtime each instrument has a clock of its own.

    `robot` is what was recorded; by default what the run beside the bag says, else one whose
    outputs are x, y and z of its tip. Raises RecordingError for what cannot be used; warns with
    RecordingWarning of what was guessed or left out.
    """
    told = robot_of_run(path)
    robot = _same(path, told, robot)
    sources = _Sources.of(robot)
    topics, _ = read_topics(path, (*sources.topics, TIP_POSITION), sources.types)
    if sources.outputs == OUTPUTS and topics.get(TIP_POSITION) and not topics.get(OUTPUTS):
        point = robot.outputs[0].point if robot else "tip"
        sources = replace(sources, outputs=None, points={TIP_POSITION: point})
    for name in sources.needed:
        if not topics.get(name):
            raise RecordingError(f"{path}: no message on {name}")
    joined = [name for name in (*sources.needed, sources.signals) if topics.get(name)]
    stamps, messages = _joined(path, {name: topics[name] for name in joined}, sources.commands)
    command, command_names = by_name(path, sources.commands, messages[sources.commands])
    command, command_names = sources.commands_in_order(command, command_names)
    signal, signal_names = np.zeros((len(stamps), 0)), ()
    if sources.signals in messages:
        signal, signal_names = by_name(path, sources.signals, messages[sources.signals])
    outputs, output_names = _outputs(path, sources, messages)
    reference = _reference(path, sources, topics.get(REFERENCE, {}), stamps, output_names)

    finite = np.all(np.isfinite(np.hstack([outputs, command, signal])), axis=1)
    if not np.all(finite):
        warn(path, f"not finite, left out: {listed('sample', np.flatnonzero(~finite).tolist())}")
    t_s = np.array([(stamp - stamps[0]) * 1e-9 for stamp in stamps])
    check_unit(path, t_s, "header.stamp", " into sec and the rest into nanosec")
    resolved = path.resolve()
    return Recording(
        source=printable(f"{resolved.parent.name}/{resolved.name}"),
        t_s=t_s[finite],
        commands=command[finite],
        outputs=outputs[finite],
        signals=signal[finite],
        reference=None if reference is None else reference[finite],
        command_names=command_names,
        output_names=output_names,
        signal_names=signal_names,
        robot=robot,
        frame=_frame(path, {name: topics[name].values() for name in sources.seen}),
    )


@dataclass(frozen=True)
class _Sources:
    """Which topics of a bag have what."""

    robot: RobotDescription | None
    commands: str
    signals: str
    outputs: str | None
    """Of outputs by name."""
    points: dict[str, str]
    """Topic to its point."""

    @classmethod
    def of(cls, robot: RobotDescription | None) -> _Sources:
        """As the description says; else as in a run of this project."""
        said = robot.recording.topics if robot and robot.recording else None
        if said is None:
            return cls(robot, COMMAND, SIGNALS, OUTPUTS, {})
        points = {topic: point for point, topic in said.points.items()}
        return cls(robot, said.commands, said.signals, said.outputs, points)

    @property
    def seen(self) -> tuple[str, ...]:
        """All that have outputs."""
        return (*self.points, *([self.outputs] if self.outputs else []))

    @property
    def needed(self) -> tuple[str, ...]:
        return (self.commands, *self.seen)

    @property
    def topics(self) -> tuple[str, ...]:
        return (*self.needed, self.signals, REFERENCE)

    @property
    def types(self) -> dict[str, dict[str, Callable[[Any], Any]]]:
        joints = (self.commands, self.signals, *([self.outputs] if self.outputs else []))
        return (
            TYPES | dict.fromkeys(self.points, TYPES[TIP_POSITION])
            | dict.fromkeys(joints, TYPES[COMMAND])
        )  # fmt: skip

    def commands_in_order(
        self, command: np.ndarray, names: tuple[str, ...]
    ) -> tuple[np.ndarray, tuple[str, ...]]:
        """In the robot's own order, where it is known and has these commands."""
        known = self.robot.command_names if self.robot else names
        if set(known) != set(names):
            return command, names
        return command[:, [names.index(name) for name in known]], known


def _outputs(
    path: Path, sources: _Sources, messages: Mapping[str, Sequence[Any]]
) -> tuple[np.ndarray, tuple[str, ...]]:
    """(T, n) and their names, by the robot's description."""
    xyz = {
        point: np.array([_xyz(message.point) for message in messages[topic]], dtype=float)
        for topic, point in sources.points.items()
    }
    robot = sources.robot
    if robot is None and not sources.outputs:
        return xyz["tip"], AXES
    named: dict[str, np.ndarray] = {}
    if sources.outputs:
        values, names = by_name(path, sources.outputs, messages[sources.outputs])
        if robot is None:
            return values, names
        named = dict(zip(names, values.T, strict=True))
    columns = []
    for output in robot.outputs:
        if output.name in named:
            columns.append(named[output.name])
        elif output.axis and output.point in xyz:
            columns.append(xyz[output.point][:, AXES.index(output.axis)])
        else:
            raise RecordingError(
                f"{path}: no topic has the output {output.name} of the robot {robot.name}: say "
                "which one in recording.topics of its description"
            )
    return np.column_stack(columns), robot.output_names


def bag_topics(path: Path) -> dict[str, str]:
    """Topic to type, of those that have messages. Raises RecordingError for what is no bag."""
    from rosbags.rosbag2 import Reader

    if not (path / "metadata.yaml").is_file():
        raise RecordingError(f"{path}: no metadata.yaml: not a finished rosbag2 directory")
    try:
        with Reader(path) as reader:
            return {c.topic: c.msgtype for c in reader.connections if c.msgcount}
    except Exception as error:  # noqa: BLE001
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> RecordingError:
    """A reader of somebody else's formats meets broken bytes with whatever exception its parsers
    of YAML, MCAP, SQLite and CDR have."""
    said = printable(f"{type(error).__name__}: {error}", 200)
    return RecordingError(f"{path}: unreadable bag: {said}")


def _same(
    path: Path, told: RobotDescription | None, robot: RobotDescription | None
) -> RobotDescription | None:
    """What was recorded. Raises RecordingError where the run beside the bag has another robot than
    the one that is asked for."""
    if told and robot and told.name != robot.name:
        raise RecordingError(
            f"{path}: recorded of the robot {told.name}, not of {robot.name}: not of one robot"
        )
    return robot or told


def read_topics(
    path: Path,
    wanted: Sequence[str],
    types: Mapping[str, Mapping[str, Callable[[Any], Any]]] = TYPES,
) -> tuple[dict[str, dict[int, Any]], dict[str, dict[int, int]]]:
    """Messages of the wanted topics, and when each was logged, ns; both by header stamp, ns.

    Raises RecordingError for what is no finished bag, and for a topic of another type than
    `types` allows it.
    """
    from rosbags.rosbag2 import Reader
    from rosbags.typesys import Stores, get_typestore

    if not (path / "metadata.yaml").is_file():
        raise RecordingError(f"{path}: no metadata.yaml: not a finished rosbag2 directory")
    topics: dict[str, dict[int, Any]] = {}
    logged_ns: dict[str, dict[int, int]] = {}
    typestore = get_typestore(Stores.ROS2_KILTED)
    repeated: dict[str, int] = {}
    latest: dict[str, int] = {}
    try:
        with Reader(path) as reader:
            connections = [c for c in reader.connections if c.topic in wanted]
            for connection in connections:
                _check_type(path, connection.topic, connection.msgtype, types)
            for connection, when_ns, raw in reader.messages(connections=connections):
                name = connection.topic
                message = typestore.deserialize_cdr(raw, connection.msgtype)
                message = types[name][connection.msgtype](message)
                stamp = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
                topic = topics.setdefault(name, {})
                _check_order(path, name, len(topic), latest.get(name, stamp), stamp)
                latest[name] = stamp
                if stamp in topic:
                    repeated[name] = repeated.get(name, 0) + 1
                    continue
                topic[stamp] = message
                logged_ns.setdefault(name, {})[stamp] = when_ns
    except RecordingError:
        raise
    except Exception as error:  # noqa: BLE001
        raise _unreadable(path, error) from error
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


def _check_type(path: Path, topic: str, found: str, types: Mapping[str, Mapping[str, Any]]) -> None:
    if found not in types[topic]:
        raise RecordingError(
            f"{path}: {topic} is of type {printable(found, 80)}, but must be "
            f"{' or '.join(types[topic])}: record it as such, or convert the bag"
        )


def _check_order(path: Path, topic: str, count: int, before: int, stamp: int) -> None:
    if stamp < before - SET_BACK_S * 1e9:
        raise RecordingError(
            f"{path}: {topic}: the stamp goes back from {before * 1e-9:.3f} to "
            f"{stamp * 1e-9:.3f} s after {count} messages: was the clock set? "
            "Cut the bag in two there"
        )


# ------------------------------------------------------------------------------------------ joining


def _joined(
    path: Path, topics: Mapping[str, Mapping[int, Any]], commands: str
) -> tuple[list[int], dict[str, list[Any]]]:
    """Stamps of the rows, ns, and of each topic the message of each row."""
    for name, messages in topics.items():
        if len(messages) < 2:
            raise RecordingError(f"{path}: one message on {name}; a recording needs at least 2")
    stamps = {name: np.array(sorted(messages)) for name, messages in topics.items()}
    period = {name: float(np.median(np.diff(times))) for name, times in stamps.items()}
    slowest = max(period, key=period.get)
    base = slowest if period[slowest] > SLOWER * period[commands] else commands
    rows = stamps[base]
    places, far = {}, {}
    together = np.ones(len(rows), dtype=bool)
    for name, times in stamps.items():
        places[name], far[name] = nearest(times, rows)
        together &= far[name] <= (0.5 + GRID_TOLERANCE) * period[name]
    if not np.any(together):
        ranges = ", ".join(
            f"{name} {times[0] * 1e-9:.3f} to {times[-1] * 1e-9:.3f} s"
            for name, times in stamps.items()
        )
        raise RecordingError(
            f"{path}: no stamp is shared by all topics, and none is near: {ranges}; "
            "are they of one run and by one clock?"
        )
    joined = np.count_nonzero(together)
    lost = len(set().union(*topics.values())) - joined
    away = {name: float(np.max(distance[together])) for name, distance in far.items()}
    off = [f"{name} up to {1e-6 * ns:.3g} ms" for name, ns in away.items() if ns > 0]
    if off:
        warn(path, f"topics joined by the nearest stamp: {', '.join(off)} from {base}")
        lost = (max(map(len, topics.values())) if base == commands else len(rows)) - joined
    if lost:
        warn(path, f"{lost} samples lack a message on some topic, left out")
    found = {
        name: [topics[name][stamp] for stamp in times[places[name][together]].tolist()]
        for name, times in stamps.items()
    }
    return rows[together].tolist(), found


# ------------------------------------------------------------------------------------------- values


def by_name(path: Path, topic: str, messages: Sequence[Any]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Values (T, …) in the order of the first message's names, whatever the order of the others;
    none where it has neither, as the signals of a robot without any."""
    names = tuple(messages[0].name)
    if not names and len(messages[0].position):
        raise RecordingError(
            f"{path}: {topic}: the messages have values but no names; "
            f"whoever publishes them must fill `name`, one for each value"
        )
    check_names(path, topic, names)
    order = {names: list(range(len(names)))}
    values = np.empty((len(messages), len(names)))
    for k, message in enumerate(messages):
        here = tuple(message.name)
        if len(here) != len(message.position):
            raise RecordingError(
                f"{path}: {topic}, message {k}: {len(here)} names, "
                f"but {len(message.position)} values in `position`"
            )
        if here not in order:
            if sorted(here) != sorted(names):
                other = [printable(name, NAME_LENGTH_MAX) for name in here]
                raise RecordingError(
                    f"{path}: {topic}, message {k}: its names are {listed('', other) or 'absent'}, "
                    f"before they were {listed('', names)}"
                )
            order[here] = [here.index(name) for name in names]
        values[k] = message.position[order[here]]
    return values, names


def _reference(
    path: Path,
    sources: _Sources,
    messages: Mapping[int, Any],
    stamps: Sequence[int],
    output_names: tuple[str, ...],
) -> np.ndarray | None:
    """(T, n), where every row has one of all outputs."""
    if not all(stamp in messages and len(messages[stamp].points) for stamp in stamps):
        return None
    firsts = [messages[stamp] for stamp in stamps]
    now = [
        SimpleNamespace(name=m.joint_names, position=np.array(m.points[0].positions))
        for m in firsts
    ]
    values, names = by_name(path, REFERENCE, now)
    if names == AXES and set(output_names) != set(AXES) and sources.robot:
        # Of a bag with one point, whose outputs need not be called as its axes.
        return sources.robot.outputs_of(values)
    if not set(output_names) <= set(names):
        return None
    return values[:, [names.index(name) for name in output_names]]


def _frame(path: Path, positions: Mapping[str, Iterable[Any]]) -> str | None:
    """The one frame of all positions; None where none is said."""
    frames: set[str] = set()
    for topic, messages in positions.items():
        here = sorted({message.header.frame_id for message in messages})
        if len(here) > 1:
            said = ", ".join(repr(printable(frame, NAME_LENGTH_MAX)) for frame in here[:3])
            raise RecordingError(f"{path}: {topic} changes its frame in mid-run: {said}")
        frames |= set(here)
    if len(frames) > 1:
        said = ", ".join(repr(printable(frame, NAME_LENGTH_MAX)) for frame in sorted(frames)[:3])
        raise RecordingError(f"{path}: points in different frames: {said}: bring them into one")
    return printable(frames.pop(), NAME_LENGTH_MAX) or None if frames else None


def robot_of_run(path: Path) -> RobotDescription | None:
    """The robot of the run whose bag this is; None where the run does not describe it."""
    file = path.resolve().parent / RECORD_FILE
    if not file.is_file():
        return None
    try:
        return described(json.loads(file.read_bytes())["robot"], "robot")
    except (ValueError, TypeError, KeyError, RecursionError, OSError) as error:
        said = printable(f"{type(error).__name__}: {error}", 120)
        warn(path, f"{RECORD_FILE} beside it does not describe its robot: {said}")
        return None


def _xyz(point: Any) -> tuple[float, float, float]:
    return point.x, point.y, point.z
