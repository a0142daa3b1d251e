"""A robot as its topics tell it: takes decoded messages, keeps what the page shows of them.

Each robot is a namespace in which the topics of `soft_control.topics` are found. Messages come from
the thread of ROS, the page's frames are made in that of the server: all goes through one lock.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from soft_control.experiment.tracking_error import TrackingError
from soft_control.monitor.history import ROW_NS, Column, History
from soft_control.monitor.quantities import Group, Quantities, Shown
from soft_control.plain_text import printable
from soft_control.robots.description import RobotDescription
from soft_control.topics import (
    COMMAND,
    COMMAND_ASKED,
    OUTPUTS,
    PREDICTED_OUTPUTS,
    REFERENCE,
    SIGNALS,
    SOLVER,
)

JOINT_STATE = "sensor_msgs/msg/JointState"
JOINT_TRAJECTORY = "trajectory_msgs/msg/JointTrajectory"
DIAGNOSTICS = "diagnostic_msgs/msg/DiagnosticArray"


@dataclass(frozen=True)
class Stream:
    """A topic whose samples are curves."""

    name: str
    topic: str
    """Below the namespace of the robot."""
    type: str
    kind: str
    """Of its quantities: outputs, commands, signals."""


STREAMS = (
    Stream("outputs", OUTPUTS, JOINT_STATE, "outputs"),
    Stream("signals", SIGNALS, JOINT_STATE, "signals"),
    Stream("commands", COMMAND, JOINT_STATE, "commands"),
    Stream("asked", COMMAND_ASKED, JOINT_STATE, "commands"),
    Stream("reference", REFERENCE, JOINT_TRAJECTORY, "outputs"),
    Stream("predicted", PREDICTED_OUTPUTS, JOINT_STATE, "outputs"),
)
"""Those that say what the time of the robot is come first."""
KINDS = {stream.name: stream.kind for stream in STREAMS}
ERROR, SOLVER_STREAM = "error", SOLVER.strip("/")

NAMES_MAX = 128
"""Of a message; more are left out."""
STATUSES_MAX = 200
NUMBERS_MAX = 40
"""Nodes whose statistics are kept."""
SILENT_S = 2.0
"""A robot of which nothing came for so long is called silent, and its open rows are closed."""
REFERENCE_HZ = 30.0
"""No reference comes less often: across three periods of it an error is still made out."""
LEADER_GONE_S = 3.0
"""After so long without the stream whose stamps count another one's do."""
LARGEST = {"step_cost", "latency_us"}
UNITS = {"us": "µs", "ms": "ms", "s": "s", "mm": "mm", "hz": "Hz", "percent": "%", "bytes": "B"}
"""Of numbers by the ending of their names, where a name says it: latency_us."""
TEXT_MAX = 120


def unit_of(name: str) -> str:
    """The unit that a name ends in; empty: none."""
    return UNITS.get(name.rpartition("_")[2], "") if "_" in name else ""


def number(text: Any) -> float | None:
    """A finite number, or None."""
    try:
        value = float(text)
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None


class RobotView:
    """`version` counts up with every change that is no row."""

    def __init__(self, namespace: str, description: RobotDescription | None = None) -> None:
        self.namespace = namespace
        self.lock = threading.RLock()
        self.history = History()
        self.quantities = Quantities(description)
        self.version = 0
        self.heard_s = -math.inf
        """When a sample came last, on the clock of whoever gives the time."""
        self._tracking: TrackingError | None = None
        self._groups: list[Group] = []
        """Of the outputs, as `_tracking` knows them."""
        self._names: dict[str, tuple[str, ...]] = {}
        self._shown: dict[str, dict[str, Shown]] = {}
        self._leader: tuple[str, float] = ("", -math.inf)
        self._ended = False
        self._statuses: OrderedDict[tuple[str, str], dict[str, Any]] = OrderedDict()
        self._statistics: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._controller: str | None = None
        self._horizon: dict[str, list[float]] | None = None
        self._solver_unit = ""

    # ------------------------------------------------------------------------ what is known of it

    def describe(self, description: RobotDescription) -> None:
        """Takes the robot's description; that of another robot ends what was seen until then."""
        with self.lock:
            known = self.quantities.description
            self.quantities.describe(description)
            if known is None or known.bare() != description.bare():
                self._know_anew()

    def learn(self, parameters: Mapping[str, Any]) -> None:
        """Takes what a node's parameters say of commands."""
        with self.lock:
            if self.quantities.learn(parameters):
                self.history.generation += 1

    def add_point(self, name: str) -> None:
        """Takes the name of a point that has a topic."""
        with self.lock:
            if name not in self.quantities.points:
                self.quantities.points.add(name)
                if self.quantities.description is None:
                    self._know_anew()

    def end(self) -> None:
        """Nobody publishes what it does any more: whatever comes next is another run, though its
        stamps may go on from where this one was."""
        with self.lock:
            self._ended = True

    def _know_anew(self) -> None:
        """Units may have changed: values that were scaled by others do not go on."""
        self._leader = ("", -math.inf)
        self.history = _after(self.history)
        self._forget_names()

    def _forget_names(self) -> None:
        self._tracking, self._groups = None, []
        self._names.clear()
        self._shown.clear()
        self._horizon = None

    # ------------------------------------------------------------------------------------ samples

    def sample(
        self,
        stream: str,
        stamp_ns: int,
        names: Sequence[str],
        points: Sequence[Sequence[float]],
        now_s: float,
    ) -> None:
        """Takes a message of a stream: `points` are rows of values, one a name, the first of which
        is of the stamp and the others lie ahead. What is malformed is left out."""
        if not points or len(names) != len(points[0]) or len(set(names)) != len(names):
            return
        with self.lock:
            self.heard_s = now_s
            if not self._in_time(stream, stamp_ns, now_s):
                return
            self._name(stream, tuple(names[:NAMES_MAX]))
            shown = self._shown[stream]
            values = {
                name: shown[name].factor * v for name, v in zip(shown, points[0], strict=False)
            }
            self.history.put(stamp_ns, stream, values, now_s)
            if stream == "reference":
                ahead = [row for row in points if all(map(math.isfinite, row))]
                ahead = [row for row in ahead if len(row) == len(names)]
                self._horizon = None
                if len(ahead) > 1:
                    self._horizon = {
                        name: [shown[name].factor * row[i] for row in ahead]
                        for i, name in enumerate(shown)
                    }
            if stream in ("outputs", "reference"):
                self._track(stream, stamp_ns, values, now_s)

    def _track(self, stream: str, stamp_ns: int, values: Mapping[str, float], now_s: float) -> None:
        """The errors that this sample makes known."""
        tracking = self._tracking
        if tracking is None or not all(name in values for name in tracking.outputs):
            return
        put = tracking.put_outputs if stream == "outputs" else tracking.put_reference
        for at_ns, found in put(stamp_ns, [values[name] for name in tracking.outputs]):
            error = dict(zip(tracking.names, found, strict=True))
            distances = {}
            for group in self._groups:
                alike = bool(group.axes) and group.name in tracking.outputs
                distances[group.name] = abs(error[group.name + "_norm" * alike])
            self.history.require(Column(ERROR, name, largest=True) for name in distances)
            self.history.put(at_ns, ERROR, distances, now_s)

    def _in_time(self, stream: str, stamp_ns: int, now_s: float) -> bool:
        """Whether the stamp belongs to the history; one stream, the leader, may begin it anew."""
        leader, led_s = self._leader
        follows = self.history.follows(stamp_ns) and not self._ended
        if stream == leader or self._ended or now_s - led_s > LEADER_GONE_S:
            self._leader, self._ended = (stream, now_s), False
            if not follows:
                self.history.restart(stamp_ns)
                self._forget_names()
            return True
        return follows

    def _name(self, stream: str, names: tuple[str, ...]) -> None:
        if self._names.get(stream) == names:
            return
        self._names[stream] = names
        self._shown[stream] = {name: self.quantities.shown(KINDS[stream], name) for name in names}
        self.history.require(Column(stream, name) for name in names)
        if stream == "outputs":
            self._groups = self.quantities.groups(names)
            points = {n: group.name for group in self._groups if group.axes for n in group.outputs}
            self._tracking = TrackingError(names, [points.get(n, "") for n in names], REFERENCE_HZ)

    # --------------------------------------------------------------------------- all other things

    def solver(self, stamp_ns: int, values: Mapping[str, str], now_s: float) -> None:
        """Takes the numbers of a solver's answer as curves."""
        with self.lock:
            if not self._names or not self._in_time(SOLVER_STREAM, stamp_ns, now_s):
                return
            numbers = {key: found for key in values if (found := number(values[key])) is not None}
            self._solver_unit = printable(values.get("step_cost_unit", ""), TEXT_MAX)
            if self._solver_unit == "none":
                numbers.pop("step_cost", None)
            self.history.require(Column(SOLVER_STREAM, key, key in LARGEST) for key in numbers)
            self.history.put(stamp_ns, SOLVER_STREAM, numbers, now_s)

    def status(
        self,
        topic: str,
        name: str,
        level: int,
        message: str,
        values: Sequence[tuple[str, str]],
        now_s: float,
    ) -> None:
        """Takes one status of diagnostics; the newest of each name is kept."""
        with self.lock:
            self.version += 1
            key = (topic, name)
            self._statuses[key] = {
                "topic": printable(topic, TEXT_MAX),
                "name": printable(name, TEXT_MAX),
                "level": level,
                "message": printable(message),
                "values": [
                    [printable(k, TEXT_MAX), printable(v, TEXT_MAX)] for k, v in values[:NAMES_MAX]
                ],
                "heard_s": now_s,
            }
            self._statuses.move_to_end(key)
            while len(self._statuses) > STATUSES_MAX:
                self._statuses.popitem(last=False)

    def statistics(
        self, source: str, names: Sequence[str], values: Sequence[float], now_s: float
    ) -> None:
        """Takes numbers that a node counts, by name."""
        with self.lock:
            self.version += 1
            self._statistics[source] = {
                "source": printable(source, TEXT_MAX),
                "values": [
                    [printable(name, TEXT_MAX), number(value), unit_of(name)]
                    for name, value in zip(names[:NAMES_MAX], values, strict=False)
                ],
                "heard_s": now_s,
            }
            self._statistics.move_to_end(source)
            while len(self._statistics) > NUMBERS_MAX:
                self._statistics.popitem(last=False)

    def controller(self, name: str) -> None:
        """Takes the name of the controller that is active."""
        with self.lock:
            self.version += 1
            self._controller = printable(name, TEXT_MAX)

    # -------------------------------------------------------------------------- what is shown of it

    def is_live(self, now_s: float) -> bool:
        """Whether samples come; rows of a silent robot are closed."""
        with self.lock:
            if now_s - self.heard_s <= SILENT_S:
                return True
            self.history.flush()
            return False

    def layout(self) -> dict[str, Any]:
        """What the columns of the rows are: JSON, as `wire` says it."""
        with self.lock:
            description = self.quantities.description
            groups = self.quantities.groups(self._names.get("outputs", ()))
            return {
                "robot": printable(description.name if description else "", TEXT_MAX),
                "frame": printable(description.frame if description else "", TEXT_MAX),
                "start_s": self.history.start_s,
                "row_s": ROW_NS / 1e9,
                "rows_max": self.history.rows_max,
                "left_out": self.history.left_out,
                "columns": [self._column(column, groups) for column in self.history.columns],
                "points": [
                    {
                        "name": printable(group.name, TEXT_MAX),
                        "unit": group.unit,
                        "axes": list(group.axes),
                        "outputs": [printable(name, TEXT_MAX) for name in group.outputs],
                    }
                    for group in groups
                ],
            }

    def _column(self, column: Column, groups: Sequence[Any]) -> dict[str, Any]:
        told: dict[str, Any] = {"stream": column.stream, "name": printable(column.name, TEXT_MAX)}
        if column.stream == ERROR:
            unit = next((group.unit for group in groups if group.name == column.name), "")
            return told | {"unit": unit}
        if column.stream == SOLVER_STREAM:
            unit = unit_of(column.name)
            return told | {"unit": self._solver_unit if column.name == "step_cost" else unit}
        shown = self.quantities.shown(KINDS[column.stream], column.name)
        told["unit"] = shown.unit
        if shown.minimum is not None and shown.maximum is not None:
            told |= {"min": shown.minimum, "max": shown.maximum}
        return told

    def told(self, now_s: float) -> dict[str, Any]:
        """Controller, diagnostics, statistics, horizon: JSON, as `wire` says it."""

        def aged(entry: dict[str, Any]) -> dict[str, Any]:
            age_s = round(max(0.0, now_s - entry["heard_s"]), 1)
            return {key: value for key, value in entry.items() if key != "heard_s"} | {
                "age_s": age_s
            }

        with self.lock:
            return {
                "controller": self._controller,
                "statuses": [aged(entry) for entry in sorted(self._statuses.values(), key=_order)],
                "statistics": [aged(self._statistics[key]) for key in sorted(self._statistics)],
            }

    def horizon(self) -> dict[str, list[float]] | None:
        """What the outputs shall be from now on, by name, on paper; None where nobody says it."""
        with self.lock:
            return self._horizon


def _order(entry: dict[str, Any]) -> tuple[str, str]:
    return entry["topic"], entry["name"]


def _after(history: History) -> History:
    """An empty history that everyone sees is another one."""
    fresh = History(history.rows_max)
    fresh.generation = history.generation + 1
    return fresh
