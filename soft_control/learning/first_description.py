"""A first description of a robot, guessed from its recordings, with the reason for each guess."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from soft_control.learning.csv_table import BLANK, CsvTable
from soft_control.learning.recording import RecordingError, natural
from soft_control.learning.stamps import EPOCH_S, STEP_MAX_S, STEP_MIN_S
from soft_control.plain_text import printable
from soft_control.robots.units import UNITS, of_one_kind

ROWS = 200_000
"""That are looked at of each file."""
PERIOD_S = 0.01
"""Written where nothing tells."""
SUFFIX = re.compile(r"^(.*?)[ _]*[\[(]?([A-Za-z%]+(?:/s)?)[\])]?$")
"""`x_m`, `x (mm)`, `u0_deg`: a name and a unit."""
COMMAND = re.compile(
    r"(u|cmd|command|input|motor|servo|act|pwm|duty|p_?set|setpoint)s?[_ ]?\d*", re.I
)
POSITION = re.compile(r"(.*?)[_ ]?([xyz])[_ ]?(\d*)", re.I)
TIME = re.compile(r"(t|time|stamp|timestamp|sec|seconds)", re.I)
INDEX = re.compile(r"(id|index|idx|sample|step|k|n|row|frame)", re.I)
REFERENCE = re.compile(r"(ref|des|desired|target|goal)[_ ].*", re.I)


@dataclass
class _Column:
    """One column of the files."""

    name: str
    file: str
    values: np.ndarray
    unit: str = "1"
    why: str = ""
    role: str = ""
    base: str = ""
    """The name without its unit."""
    point: str = ""
    axis: str = ""


@dataclass
class _Seen:
    """What the files have."""

    paths: list[Path]
    columns: list[_Column] = field(default_factory=list)
    join: str = ""
    time: str = ""
    lengths: dict[str, int] = field(default_factory=dict)

    def of(self, role: str) -> list[_Column]:
        return [column for column in self.columns if column.role == role]


def first_description(paths: Sequence[Path], name: str) -> str:
    """YAML text that `robots.load` reads, guessed from the CSV files of one run, or from a bag.

    Raises RecordingError for files that cannot be read, or hold no command or no output.
    """
    if len(paths) == 1 and paths[0].is_dir():
        raise RecordingError(
            f"{paths[0]}: a bag of this project describes its robot itself; of another one, name "
            "the CSV files"
        )
    seen = _Seen(list(paths))
    for path in paths:
        _look(path, seen)
    _find_join(seen)
    _find_roles(seen)
    for role in ("command", "output"):
        if not seen.of(role):
            names = ", ".join(printable(column.name, 40) for column in seen.columns)
            raise RecordingError(
                f"{paths[0]}: no column looks like a robot's {role}: the files have {names or 'no'}"
                " columns of numbers; name the files of commands and of what was observed together"
            )
    return _written(seen, name)


def _look(path: Path, seen: _Seen) -> None:
    """Columns of numbers, with their values."""
    if not path.is_file():
        raise RecordingError(f"{path}: no such file")
    table = CsvTable(path, lambda field: bool(field) and not _is_number(field))
    rows = list(table.fields(ROWS))
    seen.lengths[path.name] = len(rows)
    known = {column.name for column in seen.columns}
    for i, name in enumerate(table.header):
        values = np.array([_number(row[i]) if i < len(row) else math.nan for row in rows])
        if not name or np.mean(np.isfinite(values)) < 0.5:
            continue
        if name in known:
            if INDEX.fullmatch(name):
                seen.join = name
            continue
        seen.columns.append(_Column(name, path.name, values[np.isfinite(values)]))


def _is_number(text: str) -> bool:
    return math.isfinite(_number(text))


def _number(text: str) -> float:
    try:
        return math.nan if text.lower() in BLANK else float(text.replace(",", "."))
    except ValueError:
        return math.nan


def _find_join(seen: _Seen) -> None:
    for column in seen.columns:
        steps = np.diff(column.values)
        if not len(steps):
            continue
        if INDEX.fullmatch(column.name) and np.all(steps == 1):
            column.role = "index"
            column.why = "counts the rows"
            seen.join = column.name
        elif np.all(steps >= 0) and np.any(steps > 0) and not seen.time:
            stem, unit = _split(column.name)
            if TIME.fullmatch(stem) or TIME.fullmatch(column.name):
                column.role, seen.time = "time", column.name
                column.unit, column.why = _time_unit(column, unit)


def _time_unit(column: _Column, named: str) -> tuple[str, str]:
    step = float(np.median(np.diff(column.values)))
    if named in of_one_kind("s"):
        return named, f"by its name; a row every {step:g} {named}"
    for unit in ("s", "ms", "us", "ns"):
        size = UNITS[unit][1]
        fits = STEP_MIN_S <= step * size <= STEP_MAX_S
        if fits and (column.values[-1] < 1e8 or EPOCH_S[0] < column.values[-1] * size < EPOCH_S[1]):
            return unit, f"guessed: a row every {step:g}, which makes {1 / (step * size):.4g} Hz"
    return "s", "guessed: nothing tells"


def _split(name: str) -> tuple[str, str]:
    """A column's name without its unit, and the unit; the name and nothing where it has none."""
    match = SUFFIX.match(name)
    if match and match[1] and match[2] in UNITS and match[2] not in ("in",):
        rest = name[: len(name) - len(name[len(match[1]) :])]
        separated = name[len(rest) : len(rest) + 1] in " _[("
        if separated or len(match[2]) > 2:
            return match[1], match[2]
    return name, ""


def _find_roles(seen: _Seen) -> None:
    for column in seen.columns:
        if column.role:
            continue
        column.base, unit = _split(column.name)
        place = POSITION.fullmatch(column.base)
        if REFERENCE.fullmatch(column.base):
            column.role = "reference"
        elif COMMAND.fullmatch(column.base):
            column.role, column.why = "command", "called as a command is"
        elif place and (not place[1] or not place[1][-1].isalpha() or len(place[1]) > 2):
            column.role, column.axis = "output", place[2].lower()
            stem = place[1].strip("_ ")
            column.point = f"{stem or 'body'}_{place[3]}" if place[3] else stem or "tip"
            column.why = f"coordinate {column.axis} of a point, by its name"
        else:
            column.role, column.why = "signal", "neither command nor coordinate by its name"
        _guess_unit(column, unit)
    if not seen.of("command") and len(seen.paths) > 1:
        # A file of its own without coordinates is what the robot was told.
        seen_in = {column.file for column in seen.of("output")}
        for column in seen.of("signal"):
            if column.file not in seen_in:
                column.role, column.why = "command", "in a file without coordinates"


def _guess_unit(column: _Column, named: str) -> None:
    largest = float(np.max(np.abs(column.values))) if len(column.values) else 0.0
    span = float(np.ptp(column.values)) if len(column.values) else 0.0
    reach = f"{column.values.min():.4g} to {column.values.max():.4g}" if len(column.values) else ""
    if named:
        column.unit = named
        column.why += f"; {named} by its name, {reach}"
        return
    if column.role == "output" and column.axis:
        column.unit = "m" if span < 2.0 else "mm"
        column.why += f"; {column.unit} guessed: {reach}"
    elif column.role == "signal" and re.match(r"(phi|theta|angle|q)", column.name, re.I):
        column.unit = "rad" if largest < 2 * math.pi else "deg"
        column.why += f"; {column.unit} guessed: an angle of {reach}"
    elif column.role == "command" and largest > 2 * math.pi:
        column.unit = "deg"
        column.why += f"; deg guessed: {reach}"
    elif column.role == "command" and largest > 1.0:
        column.unit = "rad"
        column.why += f"; rad guessed: {reach}"
    else:
        column.why += f"; no unit known: {reach}"


# -------------------------------------------------------------------------------------------- words


def _inside(unit: str) -> str:
    return of_one_kind(unit)[0]


def _shown(column: _Column) -> str:
    """The unit on paper: millimetres of a coordinate, else the recorded one."""
    return "mm" if UNITS[column.unit][0] == "length" else column.unit


def _quoted(text: str) -> str:
    plain = re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", text)
    reserved = text.lower() in {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}
    return text if plain and not reserved else json.dumps(text)


def _units_of(column: _Column) -> str:
    inside, shown = _inside(column.unit), _shown(column)
    text = f"unit: {_quoted(inside)}"
    return text if shown == inside else f"{text}, display_unit: {_quoted(shown)}"


def _written(seen: _Seen, name: str) -> str:
    commands = sorted(seen.of("command"), key=lambda column: natural(column.name))
    outputs, signals = seen.of("output"), seen.of("signal")
    rate, time_lines = _time_lines(seen)
    lines = [
        f"# A first description of {printable(name)}, guessed from "
        f"{', '.join(printable(path.name, 60) for path in seen.paths)}.",
        "# Correct it: what stands behind a # says why each guess was made. Units are those of",
        "# soft_control/robots/units.py; `softctl train RUNS --robot FILE` reads it.",
        f"name: {_quoted(name)}",
        f"rate_hz: {rate}",
        "commands:  # limits are what was recorded: put in those of the actuators",
    ]
    for column in commands:
        low, high = _limits(column)
        lines.append(
            f"  - {{name: {_quoted(column.base)}, {_units_of(column)}, "
            f"min: {low} {column.unit}, max: {high} {column.unit}}}  # {column.why}"
        )
    lines.append("outputs:")
    for column in outputs:
        lines.append(
            f"  - {{name: {_quoted(column.base)}, {_units_of(column)}, "
            f"point: {_quoted(column.point)}, axis: {_quoted(column.axis)}}}  # {column.why}"
        )
    if signals:
        lines.append("signals:  # what a sensor tells; delete what is none")
    for column in signals:
        lines.append(f"  - {{name: {_quoted(column.base)}, {_units_of(column)}}}  # {column.why}")
    lines += ["recording:", *_file_lines(seen), *time_lines]
    found = [column for column in (*commands, *outputs, *signals)]
    differ = [c for c in found if c.name != c.base or c.unit != _shown(c)]
    if differ:
        lines.append("  columns:  # where it is not the name and the unit on paper above")
    for column in differ:
        lines.append(
            f"    {_quoted(column.base)}: {{column: {_quoted(column.name)}, "
            f"unit: {_quoted(column.unit)}}}"
        )
    return "\n".join(lines) + "\n"


def _limits(column: _Column) -> tuple[str, str]:
    low, high = float(column.values.min()), float(column.values.max())
    if low == high:
        low, high = low - 1.0, high + 1.0
    return f"{low:.6g}", f"{high:.6g}"


def _time_lines(seen: _Seen) -> tuple[str, list[str]]:
    stamps = next((column for column in seen.columns if column.role == "time"), None)
    if stamps is None:
        rate = f"{1 / PERIOD_S:.6g}  # guessed: no column tells the time; put in the robot's own"
        return rate, [
            f"  time: {{period_s: {PERIOD_S}}}  # guessed: no column tells the time; put in the "
            "time from one row to the next"
        ]
    step_s = float(np.median(np.diff(stamps.values))) * UNITS[stamps.unit][1]
    rate = f"{1 / step_s:.4g}  # by column {printable(stamps.name, 40)}"
    return rate, [
        f"  time: {{column: {_quoted(stamps.name)}, unit: {stamps.unit}}}  # {stamps.why}"
    ]


def _file_lines(seen: _Seen) -> list[str]:
    if len(seen.paths) == 1:
        return []
    outputs = [column.file for column in seen.of("output")]
    run = max(set(outputs), key=outputs.count)
    others = [path.name for path in seen.paths if path.name != run]
    numbers = re.findall(r"\d+", run)
    pattern, put = re.escape(run).replace("\\_", "_"), others
    if numbers and all(numbers[0] in other for other in others):
        head, tail = run.split(numbers[0], 1)
        stem, dot, end = tail.rpartition(".")
        pattern = f"{re.escape(head)}(\\d+){re.escape(stem)}(_.*)?{re.escape(dot + end)}"
        put = [other.replace(numbers[0], "\\1", 1) for other in others]
    lines = [
        f"  run: '{pattern}'  # the file that has the outputs names a run",
        f"  files: [{', '.join(json.dumps(other) for other in put)}]  # belong to it: \\1 is its "
        "number",
    ]
    if seen.join:
        lines.append(f"  join: {_quoted(seen.join)}  # is in all files and counts the rows")
    return lines
