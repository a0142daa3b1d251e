"""Topics of a stranger's bag: which have commands, outputs and signals, by types and names."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import yaml

from soft_control.learning.bag import by_name, namespace_of_run, robot_of_run
from soft_control.learning.bag_messages import (
    POINT_TYPES,
    TYPES,
    bag_topics,
    namespace_of,
    read_topics,
)
from soft_control.learning.described_column import (
    COMMANDS,
    OUTPUTS,
    SIGNALS,
    Column,
    find_units,
)
from soft_control.learning.described_files import PERIOD_S, Found, quoted
from soft_control.learning.recording import RecordingError, listed, warn
from soft_control.robots.description import AXES

JOINTS = "sensor_msgs/msg/JointState"
COMMANDS_TOPIC = re.compile(r"(cmd|command|setpoint|desired|target|goal|input|control)", re.I)
SIGNALS_TOPIC = re.compile(r"(signal|sensor|strain|lace|raw|calibrated|imu|mag)", re.I)
NO_NAME = re.compile(r"(position|pose|point|pos|state|stamped|measured|vrpn|mocap)s?", re.I)
"""Words of a topic that do not say which point it has."""


def told_by_its_run(path: Path) -> str | None:
    """YAML of the description that the run beside a bag has; None where there is none."""
    robot = robot_of_run(path)
    if robot is None:
        return None
    values = robot.model_dump(mode="json", exclude_defaults=True)
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, default_flow_style=None)
    return f"# As the run of this bag says it.\n{text}"


def look_at_bag(path: Path) -> Found:
    """Columns with their roles, of a bag whose robot nothing describes. Raises RecordingError where
    no topic has commands or none has outputs."""
    types = bag_topics(path)
    # One topic called as one of ours is no robot's namespace, but what a stranger calls it.
    space = namespace_of(path, types, TYPES, namespace_of_run(path), least=2)
    types = {
        topic.removeprefix(space): kind
        for topic, kind in types.items()
        if topic.startswith(f"{space}/")
    }
    joints = [topic for topic, kind in types.items() if kind == JOINTS]
    points = {topic: _point(topic) for topic, kind in types.items() if kind in POINT_TYPES}
    told = [topic for topic in joints if COMMANDS_TOPIC.search(topic)]
    others = [topic for topic in joints if topic not in told[:1]]
    felt = [topic for topic in others if SIGNALS_TOPIC.search(topic)]
    if points and not felt:
        felt = others
    seen = [topic for topic in others if topic not in felt]
    if not told or not (points or seen):
        what = "commands (such as /command)" if not told else "outputs"
        here = listed("", [f"{topic} ({kind})" for topic, kind in types.items()])
        raise RecordingError(
            f"{path}: no topic looks like a robot's {what}: it has {here or 'none'}; commands and "
            f"signals must be {JOINTS} with names, points {' or '.join(POINT_TYPES)}: record or "
            "convert them so"
        )
    if len(set(points.values())) < len(points):
        points = {topic: topic.strip("/").replace("/", "_") for topic in points}
    roles = {told[0]: COMMANDS} | dict.fromkeys(felt[:1], SIGNALS)
    roles |= {} if points and not seen else dict.fromkeys(seen[:1], OUTPUTS)
    unused = sorted(set(types) - set(roles) - set(points))
    if unused:
        warn(path, f"not looked at: {listed('topic', unused)}")
    readers = dict.fromkeys(roles, {JOINTS: lambda message: message})
    readers |= dict.fromkeys(points, POINT_TYPES)
    messages, _ = read_topics(path, tuple(readers), readers, space)
    columns = [
        column
        for topic, role in roles.items()
        for column in _of_joints(path, topic, role, messages[topic])
    ]
    for topic, point in points.items():
        columns += _of_point(topic, point, len(points) == 1, messages[topic])
    columns = [column for column in columns if len(column.values)]
    find_units(columns)
    steps_ns = np.diff(sorted(messages[told[0]]))
    period_s = float(np.median(steps_ns)) * 1e-9 if len(steps_ns) else PERIOD_S
    period_s = float(f"{period_s:.4g}")
    topics = {role: topic for topic, role in roles.items()}
    said = [f"{field}: {quoted(topics[role])}" for field, role in (
        ("commands", COMMANDS), ("signals", SIGNALS), ("outputs", OUTPUTS),
    ) if role in topics]  # fmt: skip
    if points:
        inner = ", ".join(f"{quoted(point)}: {quoted(topic)}" for topic, point in points.items())
        said.append(f"points: {{{inner}}}")
    lines = [
        f"  time: {{period_s: {period_s}}}  # of CSV files; the messages of a bag have stamps",
        f"  topics: {{{', '.join(said)}}}  # by their types and names",
    ]
    return Found(
        [path.name], columns, period_s, f"by the stamps of {told[0]}", lines, [path], is_bag=True
    )


def _point(topic: str) -> str:
    """tip of /tip_position and of /vrpn/tip/pose."""
    words = [word for word in re.split(r"[/_]", topic) if word and not NO_NAME.fullmatch(word)]
    return "_".join(words[-2:]) or "tip"


def _of_joints(path: Path, topic: str, role: str, messages: dict) -> list[Column]:
    values, names = by_name(path, topic, list(messages.values()))
    return [
        Column(name, topic, [column], role, name, why=f"of {topic}", converted=False)
        for name, column in zip(names, values.T, strict=True)
    ]


def _of_point(topic: str, point: str, alone: bool, messages: dict) -> list[Column]:
    values = np.array([[m.point.x, m.point.y, m.point.z] for m in messages.values()], dtype=float)
    names = AXES if alone else [f"{point}_{axis}" for axis in AXES]
    return [
        Column(
            name, topic, [column], OUTPUTS, name, why=f"of {topic}", point=point, axis=axis,
            converted=False,
        )
        for name, axis, column in zip(names, AXES, values.reshape(-1, 3).T, strict=True)
    ]  # fmt: skip
