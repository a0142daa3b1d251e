"""What a column of a stranger's recording may be: its role, its unit, and why that is guessed."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from soft_control.robots.units import UNITS, of_one_kind

SUFFIX = re.compile(r"(.*?)([ _]*[\[(]|[ _]+)([A-Za-z%]+(?:/s)?)[\])]?")
"""`x_mm`, `x (mm)`, `u[deg]`: a name, what parts it, and a unit."""
COMMAND = re.compile(
    r"(u|cmd|command|input|motor|servo|act|actuator|pwm|duty|p_?set|setpoint|valve)s?[_ ]?\d*"
    r"|(.*[_ /.])?(u|cmd|command|input|setpoint|pwm|duty)s?([_ /.].*)?",
    re.I,
)
POSITION = re.compile(
    r"(?:(?P<point>.+)[_ /.]|(?P<short>tip|pos|body|ee|marker|point|))(?P<axis>[xyz])"
    r"[_ ]?(?P<number>\d*)"
    r"|(?P<axis_first>[xyz])[_ ](?P<point_last>[a-z]\w*)",
    re.I,
)
NO_POSITION = re.compile(r"(mag|acc|gyr|imu|vel|field|force|torque|moment|quat|rot|ang)", re.I)
"""What else has components along x, y and z."""
TIME = re.compile(r"(t|time|stamp|timestamp|sec|seconds|.*[_ ](time|stamp))", re.I)
INDEX = re.compile(r"(id|index|idx|sample|step|k|n|row|frame)", re.I)
REFERENCE = re.compile(
    r"(ref|reference|des|desired|target|goal)[_ ](.+)|(.+)[_ ](ref|des|target)", re.I
)
PREDICTION = re.compile(r"(pred|predicted|est|estimated|sim|model)[_ ].*", re.I)

PRESSURE = re.compile(r"(.*[_ ])?(pressure|press|p)[_ ]?\d*([_ ].*)?", re.I)

COMMANDS, OUTPUTS, SIGNALS, REFERENCES = "command", "output", "signal", "reference"
TIMES, INDICES, OTHERS = "time", "index", "other"
"""Roles."""

METRES_SPAN, METRES_AWAY = 2.0, 10.0
"""Coordinates that span less, and are no farther from the origin, are taken to be in metres: the
trunk spans 0.36 m, and a soft robot of 2 mm that is written in mm is rarer than one of 2 m."""

COUNTS_A_SPAN = 1e5
"""That a sensor tells apart, at most: numbers of a program have digits that no converter has."""

FULL_SCALE = 0.1, 3.0
"""Of a signal's largest number: others are too far from 1, on the way to the controller, see
soft_control/link/messages.py."""


@dataclass
class Column:
    """One column of the files of one kind, or one name of a topic."""

    name: str
    source: str
    """The first file, or the topic, that has it."""
    runs: list[np.ndarray] = field(default_factory=list)
    """(rows,) numbers of each file, NaN where there is none."""
    role: str = ""
    base: str = ""
    """The name without its unit, as the description calls the quantity."""
    unit: str = "1"
    """Of the numbers."""
    why: str = ""
    point: str = ""
    axis: str = ""
    of: str = ""
    """Of a reference, the `base` of its output."""
    full_scale: str = ""
    """Of a signal that is far from 1, the largest number."""
    converted: bool = True
    """Whether its numbers are brought to SI units when they are read: not those of a bag."""

    @property
    def values(self) -> np.ndarray:
        """All that are numbers."""
        together = np.concatenate(self.runs)
        return together[np.isfinite(together)]

    @property
    def low(self) -> float:
        return float(self.values.min())

    @property
    def high(self) -> float:
        return float(self.values.max())

    @property
    def moves(self) -> bool:
        return self.high > self.low

    def speed(self, periods_s: Sequence[float], period_s: float) -> float:
        """The largest change a second from one row to the next; each run has its period, or all
        have one."""
        if len(periods_s) != len(self.runs):
            periods_s = [period_s] * len(self.runs)
        speeds = [np.abs(np.diff(run)) / p for run, p in zip(self.runs, periods_s, strict=True)]
        together = np.concatenate(speeds)
        return float(np.nanmax(together)) if np.any(np.isfinite(together)) else 0.0

    @property
    def reach(self) -> str:
        return f"{self.low:.4g} to {self.high:.4g}"

    @property
    def counts(self) -> float:
        """Of its sensor, so many read 1 if the last recorded digit is a count; 0 of a dead one."""
        if not self.moves:
            return float(self.low != 0.0)
        a_unit = 1.0
        while a_unit * (self.high - self.low) < COUNTS_A_SPAN:
            off = self.values * a_unit - np.round(self.values * a_unit)
            if np.max(np.abs(off)) < 1e-6:
                break
            a_unit *= 10.0
        one = UNITS[self.inside][1] / UNITS[self.unit][1]
        return a_unit * (float(self.full_scale) if self.full_scale else one)

    @property
    def inside(self) -> str:
        """The unit inside the project, which is the SI one where it may be."""
        return of_one_kind(self.unit)[0] if self.converted else self.unit

    @property
    def shown(self) -> str:
        """The unit on paper: millimetres of a length, else the recorded one."""
        return "mm" if UNITS[self.unit][0] == "length" else self.unit


def split_unit(name: str) -> tuple[str, str]:
    """A column's name without its unit, and the unit; the name and nothing where it has none."""
    match = SUFFIX.fullmatch(name)
    if match and match[1] and match[3] in UNITS and match[3] != "1":
        return match[1], match[3]
    return name, ""


def find_roles(columns: Sequence[Column], told: Mapping[str, str] | None = None) -> None:
    """Sets role, names and unit of all columns that have no role yet, and says why.

    `told` are roles by column; where it has commands, or outputs, there are no others."""
    told = told or {}
    for column in columns:
        if not column.role:
            _find_role(column)
        role = told.get(column.name, SIGNALS if column.role in told.values() else column.role)
        if role != column.role or column.name in told:
            column.role, column.why = role, "as asked for" if column.name in told else "no other"
    outputs = [column for column in columns if column.role == OUTPUTS]
    if not any(column.role == COMMANDS for column in columns):
        _commands_by_file(columns, {column.source for column in outputs})
    if outputs and not any(column.role == COMMANDS for column in columns):
        _commands_by_pressure(columns)
    if not outputs:
        sensed = [column for column in columns if column.role == SIGNALS]
        for column in [c for c in sensed if _has_unit(c)] or sensed:
            column.role, column.why = OUTPUTS, "no coordinate is there, so what is measured"
    outputs = {column.base: column for column in columns if column.role == OUTPUTS}
    for column in columns:
        if column.role == REFERENCES and column.of not in outputs:
            column.role, column.why = OTHERS, "a reference of no output, by its name"
    find_units(columns)
    for column in columns:
        if column.role == REFERENCES:
            column.unit = column.unit or outputs[column.of].unit


def find_units(columns: Sequence[Column]) -> None:
    """Sets the unit of all columns by name, or else by size, and makes their names differ."""
    places = [c for c in columns if c.axis and not split_unit(c.name)[1]]
    in_metres = all(
        np.ptp(c.values) < METRES_SPAN and np.max(np.abs(c.values)) < METRES_AWAY for c in places
    )
    taken: set[str] = set()
    for column in columns:
        if column.role in (COMMANDS, OUTPUTS, SIGNALS):
            _find_unit(column, "m" if in_metres else "mm")
            _find_full_scale(column)
            column.base = column.name if column.base in taken else column.base
            taken.add(column.base)


def _find_role(column: Column) -> None:
    column.base, unit = split_unit(column.name)
    place = POSITION.fullmatch(column.base)
    reference = REFERENCE.fullmatch(column.base)
    is_length = not unit or UNITS[unit][0] == "length"
    if PREDICTION.fullmatch(column.base):
        column.role, column.why = OTHERS, "what a model predicted, by its name"
    elif reference:
        column.role, column.of = REFERENCES, reference[2] or reference[3]
        column.unit = unit
    elif COMMAND.fullmatch(column.base):
        column.role, column.why = COMMANDS, "called as a command is"
    elif place and is_length and not NO_POSITION.match(column.base):
        number = place["number"] or ""
        stem = (place["point"] or place["short"] or place["point_last"] or "").strip("_ /.")
        column.role = OUTPUTS
        column.axis = (place["axis"] or place["axis_first"]).lower()
        column.point = f"{stem or 'body'}_{number}" if number else stem or "tip"
        column.why = f"coordinate {column.axis} of a point, by its name"
    else:
        column.role, column.why = SIGNALS, "neither command nor coordinate by its name"


def _commands_by_file(columns: Sequence[Column], seen_in: set[str]) -> None:
    """A file of its own without coordinates is what the robot was told."""
    for column in columns:
        if seen_in and column.role == SIGNALS and column.source not in seen_in:
            column.role, column.why = COMMANDS, "in a file without coordinates"


def _commands_by_pressure(columns: Sequence[Column]) -> None:
    """Of a robot that is moved by air, where nothing is called a command."""
    for column in columns:
        unit = split_unit(column.name)[1]
        is_pressure = UNITS[unit][0] == "pressure" if unit else PRESSURE.fullmatch(column.base)
        if column.role == SIGNALS and column.moves and is_pressure:
            column.role = COMMANDS
            column.why = "a pressure, and nothing is called a command: is it told or measured?"


def _by_size(limit: float, below: str, above: str) -> Callable[[float], str]:
    return lambda largest: below if largest < limit else above


BY_NAME: tuple[tuple[re.Pattern, Callable[[float], str], str], ...] = (
    (
        re.compile(r"(.*[_ ])?(phi|theta|alpha|beta|angle|roll|pitch|yaw|bend|twist|q)[_ ]?\d*"
                   r"([_ ].*)?", re.I),
        _by_size(2 * math.pi, "rad", "deg"),
        "an angle",
    ),
    (
        PRESSURE,
        _by_size(2e3, "kPa", "Pa"),
        "a pressure; psi, bar and mbar are possible",
    ),
    (re.compile(r"(.*[_ ])?(force|load)[_ ]?\d*([_ ].*)?", re.I), _by_size(0, "", "N"), "a force"),
    (re.compile(r"(pwm|duty).*", re.I), _by_size(1.01, "1", "%"), "a share of full duty"),
    (re.compile(r"(voltage|volt|v)[_ ]?\d*", re.I), _by_size(0, "", "V"), "a voltage"),
    (re.compile(r"(current|amp|i)[_ ]?\d*", re.I), _by_size(0, "", "A"), "a current"),
)  # fmt: skip
"""What is called so, the unit for its largest number, and what it then is."""


def _find_full_scale(column: Column) -> None:
    largest = float(np.max(np.abs(column.values)))
    inside = largest * UNITS[column.unit][1] / UNITS[column.inside][1]
    if column.role != SIGNALS or not column.converted or not column.moves:
        return
    if not FULL_SCALE[0] <= inside <= FULL_SCALE[1]:
        column.unit, column.full_scale = "1", f"{largest:.3g}"
        column.why += "; brought to 1 by its full_scale below"


def _has_unit(column: Column) -> bool:
    named = any(pattern.fullmatch(column.base) for pattern, _, _ in BY_NAME)
    return named or bool(split_unit(column.name)[1])


def _find_unit(column: Column, of_places: str) -> None:
    _, named = split_unit(column.name)
    largest = float(np.max(np.abs(column.values)))
    if named:
        column.unit = named
        column.why += f"; {named} by its name, {column.reach}"
        return
    if column.axis:
        column.unit = of_places
        column.why += f"; {of_places} guessed: {column.reach}"
        return
    for pattern, unit, what in BY_NAME:
        if pattern.fullmatch(column.base):
            column.unit = unit(largest)
            column.why += f"; {column.unit} guessed: {what}, {column.reach}"
            return
    if column.role == COMMANDS and largest > 1.0:
        column.unit = "deg" if largest > 2 * math.pi else "rad"
        column.why += f"; {column.unit} guessed: {column.reach}"
    else:
        column.why += f"; no unit known: {column.reach}"
