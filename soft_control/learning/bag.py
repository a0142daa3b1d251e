"""A recorded run in a rosbag2 directory: its topics by type, joined by their stamps and names."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from soft_control.learning.bag_messages import TIP_POSITION, TYPES, read_topics, xyz
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
from soft_control.small_files import read_small
from soft_control.topics import COMMAND, OUTPUTS, REFERENCE, SIGNALS

RECORD_FILE = "experiment.json"
"""Beside the bag of a run; describes its robot."""
SLOWER = 1.5
"""A topic whose period is so many times that of the commands gives the rows, not the commands:
a camera's positions at 30 Hz would else be repeated for four commands each."""


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
    wanted = (*sources.topics, TIP_POSITION)
    topics, _ = read_topics(path, wanted, sources.types, namespace_of_run(path))
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
    placed = {
        point: np.array([xyz(message.point) for message in messages[topic]], dtype=float)
        for topic, point in sources.points.items()
    }
    robot = sources.robot
    if robot is None and not sources.outputs:
        return placed["tip"], AXES
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
        elif output.axis and output.point in placed:
            columns.append(placed[output.point][:, AXES.index(output.axis)])
        else:
            raise RecordingError(
                f"{path}: no topic has the output {output.name} of the robot {robot.name}: say "
                "which one in recording.topics of its description"
            )
    return np.column_stack(columns), robot.output_names


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
        return described(json.loads(read_small(file))["robot"], "robot")
    except (ValueError, TypeError, KeyError, RecursionError, OSError) as error:
        said = printable(f"{type(error).__name__}: {error}", 120)
        warn(path, f"{RECORD_FILE} beside it does not describe its robot: {said}")
        return None


def namespace_of_run(path: Path) -> str:
    """What the run beside a bag says of the namespace of its topics; empty where it says none."""
    try:
        said = json.loads(read_small(path.resolve().parent / RECORD_FILE))["namespace"]
    except (ValueError, TypeError, KeyError, RecursionError, OSError):
        return ""
    return said if isinstance(said, str) else ""
