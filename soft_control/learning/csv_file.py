"""A recorded run in a CSV file: its dialect, its columns by name, and its complete rows.

Only the columns that a recording needs are read; whatever else a logger writes may hold anything.
"""

from __future__ import annotations

import csv
import math
import re
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from soft_control.learning.recording import (
    Recording,
    RecordingError,
    check_names,
    listed,
    natural,
    warn,
)
from soft_control.learning.stamps import TIME_UNITS, check_unit, first_of_each_stamp
from soft_control.plain_text import printable
from soft_control.robots.description import AXES

TIME_COLUMNS = {f"t_{unit}": seconds for unit, seconds in TIME_UNITS.items()}
"""Name to seconds a unit; the first one that a file has is its time."""
POSITION_COLUMNS = tuple(f"{axis}_m" for axis in AXES)
REFERENCE_COLUMNS = tuple(f"ref_{axis}_m" for axis in AXES)
COMMAND_COLUMN = re.compile(r"u(.+)_deg")
SIGNAL_COLUMN = re.compile(r"lace_.+")
DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
BLANK = {"", "-", "na", "n/a", "nan", "null", "none"}
"""What loggers write where there is no value, in lower case."""
SIGNAL_SHARE_MIN = 0.5
"""Of the rows: a signal with fewer numbers costs more rows than it is worth and is left out."""
LINE_END = re.compile("\r\n|\r|\n")
"""Not str.splitlines, which also ends a line at what is a letter or a blank in some encodings."""
CONTROL_CHARACTER = re.compile("[\x00-\x08\x0e-\x1f]")


@dataclass(frozen=True)
class _Layout:
    """How the text of a file is to be read."""

    delimiter: str
    header: list[str]
    first_row: int
    """Number in the file, from 1, of the first line below the header."""


def read_csv(path: Path) -> Recording:
    """Read a file with the columns t_s, u0_deg …, lace_00 …, x_m, y_m, z_m and, where the run had
    one, ref_x_m, ref_y_m, ref_z_m, in any order.

    Commands are put in the order of their names, whatever the file's. Raises RecordingError for
    what cannot be used; warns with RecordingWarning of what was guessed or left out.
    """
    layout, lines = _layout(path, LINE_END.split(_decoded(path).rstrip("\r\n")))
    header = layout.header
    time_column = next((name for name in TIME_COLUMNS if name in header), "t_s")
    commands = sorted((c for c in header if COMMAND_COLUMN.fullmatch(c)), key=natural)
    signals = [c for c in header if SIGNAL_COLUMN.fullmatch(c)]
    has_reference = all(name in header for name in REFERENCE_COLUMNS)
    needed = [time_column, *POSITION_COLUMNS, *(commands or ["u0_deg"])]
    _check_header(path, layout, needed, signals)

    references = list(REFERENCE_COLUMNS) if has_reference else []
    columns = [*needed, *signals, *references]
    table, numbers = _table(path, layout, lines, columns)
    if not len(table):
        raise RecordingError(f"{path}: no rows below the header")
    known = dict(zip(columns, table.T, strict=True))
    signals = _measured_signals(path, needed, signals, known)
    complete = np.all(np.isfinite([known[name] for name in needed + signals]), axis=0)
    if not np.all(complete):
        _warn_of_incomplete(path, needed + signals, known, complete, numbers)
    known = {name: values[complete] for name, values in known.items()}
    numbers = numbers[complete]

    t_s = known[time_column] * TIME_COLUMNS[time_column]
    if time_column != "t_s":
        t_s -= t_s[0]
    keep = first_of_each_stamp(path, t_s, [f"row {number}" for number in numbers])
    t_s = t_s[keep]
    check_unit(path, t_s, f"column {time_column}", ", or name the column t_{unit}")

    def stacked(names: Sequence[str]) -> np.ndarray:
        if not names:
            return np.zeros((len(t_s), 0))
        return np.column_stack([known[name][keep] for name in names])

    reference = stacked(references) if references else None
    if reference is not None and not np.all(np.isfinite(reference)):
        warn(path, "the reference is blank in some rows and is left out as a whole")
        reference = None
    return Recording(
        source=printable(path.stem),
        t_s=t_s,
        commands=np.deg2rad(stacked(commands)),
        position=stacked(POSITION_COLUMNS),
        signals=stacked(signals),
        reference=reference,
        command_names=tuple(_command_name(column) for column in commands),
        signal_names=tuple(signals),
    )


def _command_name(column: str) -> str:
    return f"servo_{COMMAND_COLUMN.fullmatch(column)[1]}"


# ------------------------------------------------------------------------------------------ dialect


def _decoded(path: Path) -> str:
    """The text. UTF-8, UTF-16 with its byte-order mark, or else Latin-1, which is said."""
    data = path.read_bytes()
    if not data.strip():
        raise RecordingError(f"{path}: empty file")
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    guessed = False
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        text, guessed = data.decode("latin-1"), True
    if CONTROL_CHARACTER.search(text):
        raise RecordingError(f"{path}: not a text file; save the table as CSV in UTF-8")
    if guessed:
        warn(path, "not in UTF-8: read as Latin-1")
    return text


def _layout(path: Path, lines: list[str]) -> tuple[_Layout, list[str]]:
    """The layout and the lines below the header.

    Above the header there may be blank lines, comments and a spreadsheet's `sep=;`. The header is
    the first other line, or the comment before it that names the columns, as NumPy writes it:

        # rig 1               comment
        # t_s,u0_deg,x_m,...  header
        0.0,-10.4,0.001,...   first row
    """
    given = None
    comments: list[str] = []
    above = 0
    for line in lines:
        stripped = line.strip()
        if stripped.lower().startswith("sep=") and len(stripped) <= 5:
            given = stripped[4:] or "\t"  # a tab has gone with the blanks
        elif stripped.startswith("#"):
            comments.append(stripped.lstrip("# "))
        elif stripped:
            break
        above += 1
    candidates = [*lines[above : above + 1], *reversed(comments)]
    if not candidates:
        raise RecordingError(f"{path}: empty file")
    readings = [
        (_known(fields), delimiter, fields, i)
        for i, text in enumerate(candidates)
        for delimiter in ([given] if given else DELIMITERS)
        for fields in [_fields(path, text, delimiter)]
    ]
    # max keeps the first of equals: the plain line before a comment, the comma before the others.
    _, delimiter, header, chosen = max(readings, key=lambda reading: reading[0])
    while header and not header[-1]:
        header.pop()
    below = above if chosen and above < len(lines) else above + 1
    if delimiter != "," and not given:
        warn(path, f"columns are taken to be separated by {DELIMITERS[delimiter]}s")
    return _Layout(delimiter, header, below + 1), lines[below:]


def _fields(path: Path, line: str, delimiter: str) -> list[str]:
    try:
        return [field.strip() for field in next(csv.reader([line], delimiter=delimiter), [])]
    except (csv.Error, TypeError, ValueError) as error:
        raise RecordingError(f"{path}: the header cannot be read: {error}") from None


def _known(fields: Sequence[str]) -> int:
    """How many of the fields are names that a recording can use."""
    names = {*TIME_COLUMNS, *POSITION_COLUMNS, *REFERENCE_COLUMNS}
    patterns = (COMMAND_COLUMN, SIGNAL_COLUMN)
    return sum(f in names or any(p.fullmatch(f) for p in patterns) for f in fields)


def _check_header(
    path: Path, layout: _Layout, needed: Sequence[str], signals: Sequence[str]
) -> None:
    missing = [name for name in needed if name not in layout.header]
    if missing:
        names = listed("", [printable(name, 40) for name in layout.header])
        separator = DELIMITERS.get(layout.delimiter, repr(layout.delimiter))
        raise RecordingError(
            f"{path}: missing column {', '.join(missing)}; "
            f"split at each {separator}, the header has {names or 'no name'}"
        )
    wanted = [*needed, *signals, *REFERENCE_COLUMNS]
    check_names(path, "column", [name for name in layout.header if name in wanted])


# --------------------------------------------------------------------------------------------- rows


def _table(
    path: Path, layout: _Layout, lines: list[str], columns: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """The columns (rows, columns) with NaN where there is no number, and the rows' file numbers."""
    places = [layout.header.index(name) for name in columns]
    values, numbers = array("d"), array("q")
    number = _Number(path)
    for row, fields in _rows(path, layout, lines):
        number.row = row
        values.extend(number(fields[place], layout.header[place]) for place in places)
        numbers.append(row)
    if number.comma:
        warn(path, "numbers are taken to have decimal commas")
    return np.array(values).reshape(-1, len(columns)), np.array(numbers)


def _rows(path: Path, layout: _Layout, lines: list[str]) -> Iterator[tuple[int, list[str]]]:
    """File row number and fields, as many as the header has; a blank row has blank fields."""
    width = len(layout.header)
    reader = csv.reader(lines, delimiter=layout.delimiter)
    row = layout.first_row
    try:
        for fields in reader:
            beyond = "".join(fields[width:]).strip()
            if len(fields) < width and fields and fields[0].lstrip().startswith("#"):
                pass  # a comment
            elif not fields or not "".join(fields).strip():
                yield row, [""] * width
            elif len(fields) < width or beyond:
                raise RecordingError(
                    f"{path}: row {row} has {len(fields)} fields, the header has {width}"
                )
            else:
                yield row, fields
            row = layout.first_row + reader.line_num
    except csv.Error as error:
        raise RecordingError(f"{path}: row {row}: {error}; is a quote left open?") from None


class _Number:
    """Fields to numbers; keeps in mind which decimal mark the file has."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.row = 0
        self.comma = False
        self.point = False

    def __call__(self, field: str, column: str) -> float:
        try:
            value = float(field)
        except ValueError:
            return self._other(field.strip(), column)
        self.point = self.point or "." in field
        if "_" in field or (self.comma and "." in field):
            raise self._wrong(field, column)
        return value

    def _other(self, field: str, column: str) -> float:
        if field.lower() in BLANK:
            return math.nan
        self.comma = self.comma or field.count(",") == 1
        try:
            if self.point and self.comma:
                raise ValueError
            return float(field.replace(",", "."))
        except ValueError:
            raise self._wrong(field, column) from None

    def _wrong(self, field: str, column: str) -> RecordingError:
        mixed = " beside decimal points" if self.point and self.comma else ""
        return RecordingError(
            f"{self.path}: row {self.row}, column {column}: "
            f"not a number{mixed}: {printable(field, 60)!r}"
        )


def _measured_signals(
    path: Path, needed: Sequence[str], signals: Sequence[str], known: dict[str, np.ndarray]
) -> list[str]:
    """The signals that have a number in enough of the rows that are good but for signals; warns of
    the others."""
    good = np.all(np.isfinite([known[name] for name in needed]), axis=0)
    if not np.any(good):
        return list(signals)
    share = {name: float(np.mean(np.isfinite(known[name][good]))) for name in signals}
    sparse = [name for name in signals if share[name] < SIGNAL_SHARE_MIN]
    if sparse:
        said = [f"{name} ({100 * share[name]:.0f} % of the rows)" for name in sparse]
        warn(path, f"too few numbers, left out: {listed('signal', said)}")
    return [name for name in signals if name not in sparse]


def _warn_of_incomplete(
    path: Path,
    columns: Sequence[str],
    known: dict[str, np.ndarray],
    complete: np.ndarray,
    numbers: np.ndarray,
) -> None:
    """Raises RecordingError where no row is complete, and says by which columns."""
    rows = len(complete)
    counts = {name: int(np.count_nonzero(~np.isfinite(known[name]))) for name in columns}
    worst = sorted((name for name in columns if counts[name]), key=lambda name: -counts[name])
    said = listed("", [f"{name} ({counts[name]} of {rows} rows)" for name in worst])
    if not np.any(complete):
        raise RecordingError(f"{path}: no row is complete: blank or NaN in {said}")
    left_out = listed("row", numbers[~complete].tolist())
    warn(path, f"NaN or blank in {said}, left out: {left_out}")
