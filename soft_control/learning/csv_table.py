"""A CSV file as a table: its dialect and encoding, its columns by name, its rows by number.

Only the columns that are asked for are read; whatever else a logger writes may hold anything.
"""

from __future__ import annotations

import csv
import math
import re
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from soft_control.learning.recording import RecordingError, listed, warn
from soft_control.plain_text import printable
from soft_control.robots.units import UNITS

DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
BLANK = {"", "-", "na", "n/a", "nan", "null", "none"}
"""What loggers write where there is no value, in lower case."""
LINE_END = re.compile("\r\n|\r|\n")
"""Not str.splitlines, which also ends a line at what is a letter or a blank in some encodings."""
CONTROL_CHARACTER = re.compile("[\x00-\x08\x0e-\x1f]")
COLUMN_LENGTH_MAX = 255
"""Of a column's name. Patterns look for units and roles in it, in a time that grows with the square
of its length."""


@dataclass(frozen=True)
class _Layout:
    """How the text of a file is to be read."""

    delimiter: str
    header: list[str]
    first_row: int
    """Number in the file, from 1, of the first line below the header."""


@dataclass(frozen=True)
class Rows:
    """Some columns of a table."""

    values: dict[str, np.ndarray]
    """Column to (rows,) numbers, NaN where there is none."""
    texts: dict[str, list[str]]
    """Column to what is written there, one a row."""
    numbers: np.ndarray
    """(rows,) of each row in the file, from 1."""


class CsvTable:
    """A file whose header is known and whose rows are not read yet."""

    def __init__(self, path: Path, known: Callable[[str], bool]) -> None:
        """`known` says which columns are wanted: by them header and delimiter are told.

        Raises RecordingError for what is no text, warns of what is guessed.
        """
        self.path = path
        text = _decoded(path).rstrip("\r\n")
        self._layout, self._lines = _layout(path, LINE_END.split(text), known)
        self.header = self._layout.header

    @property
    def said(self) -> str:
        """What the header has, for a message."""
        names = listed("", [printable(name, 40) for name in self.header])
        delimiter = self._layout.delimiter
        separator = DELIMITERS.get(delimiter, repr(delimiter))
        return f"split at each {separator}, the header has {names or 'no name'}"

    def similar(self, names: Sequence[str]) -> str:
        """What the header has in place of names that it lacks, for a message: `: is it x (mm)?`,
        nothing where nothing is like them."""
        if len(self.header) == 1 and len(self.header[0].split()) > 1:
            return ": separate columns by commas, semicolons, tabs or bars"
        stems = {_stem(name) for name in names}
        alike = [name for name in self.header if _stem(name) in stems]
        return f": is it {printable(alike[0], 40)}?" if alike else ""

    def read(self, columns: Sequence[str], texts: Sequence[str] = ()) -> Rows:
        """Numbers of some columns and the text of others, of all rows.

        Raises RecordingError, naming row and column, for what is no number.
        """
        header = self.header
        places = [header.index(name) for name in columns]
        text_places = [header.index(name) for name in texts]
        values, numbers = array("d"), array("q")
        written: list[list[str]] = [[] for _ in texts]
        number = _Number(self.path)
        for row, fields in _rows(self.path, self._layout, self._lines):
            number.row = row
            values.extend(number(fields[place], header[place]) for place in places)
            numbers.append(row)
            for kept, place in zip(written, text_places, strict=True):
                kept.append(fields[place].strip())
        if number.comma:
            warn(self.path, "numbers are taken to have decimal commas")
        table = np.array(values).reshape(len(numbers), len(columns))
        if not len(table):
            raise RecordingError(f"{self.path}: no rows below the header")
        return Rows(
            dict(zip(columns, table.T, strict=True)),
            dict(zip(texts, written, strict=True)),
            np.array(numbers),
        )

    def fields(self, rows: int) -> Iterator[list[str]]:
        """The first so many rows as they are written."""
        for _, (_, fields) in zip(
            range(rows), _rows(self.path, self._layout, self._lines), strict=False
        ):
            yield [field.strip() for field in fields[: len(self.header)]]


def _stem(name: str) -> str:
    """What `x`, `X (mm)` and `x_mm` have in common."""
    match = re.fullmatch(r"(.*?)[ _(\[]+([a-z%/]+)[)\]]?", name.lower())
    if match and match[2] in {unit.lower() for unit in UNITS}:
        name = match[1]
    return re.sub(r"[^a-z0-9]", "", name.lower())


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


def _layout(
    path: Path, lines: list[str], known: Callable[[str], bool]
) -> tuple[_Layout, list[str]]:
    """The layout and the lines below the header; `known` says which columns are wanted.

    Above the header there may be blank lines, comments and a spreadsheet's `sep=;`. The header is
    the first other line, or the comment before it that names the columns, as NumPy writes it:

        # rig 1               comment
        # t,u,x               header
        0.0,-10.4,0.001       first row
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
        (sum(len(f) <= COLUMN_LENGTH_MAX and known(f) for f in fields), delimiter, fields, i)
        for i, text in enumerate(candidates)
        for delimiter in ([given] if given else DELIMITERS)
        for fields in [_fields(path, text, delimiter)]
    ]
    # max keeps the first of equals: the plain line before a comment, the comma before the others.
    _, delimiter, header, chosen = max(readings, key=lambda reading: reading[0])
    while header and not header[-1]:
        header.pop()
    for name in header:
        if len(name) > COLUMN_LENGTH_MAX:
            raise RecordingError(
                f"{path}: column '{printable(name, 40)}' has a name of {len(name)} characters, at "
                f"most {COLUMN_LENGTH_MAX} may be; the first line must name the columns"
            )
    below = above if chosen and above < len(lines) else above + 1
    if delimiter != "," and not given:
        warn(path, f"columns are taken to be separated by {DELIMITERS[delimiter]}s")
    return _Layout(delimiter, header, below + 1), lines[below:]


def _fields(path: Path, line: str, delimiter: str) -> list[str]:
    try:
        return [field.strip() for field in next(csv.reader([line], delimiter=delimiter), [])]
    except (csv.Error, TypeError, ValueError) as error:
        raise RecordingError(f"{path}: the header cannot be read: {error}") from None


# --------------------------------------------------------------------------------------------- rows


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
                    f"{path}: row {row} has {len(fields)} fields, the header has {width}: "
                    f"{_cure(layout, fields)}"
                )
            else:
                yield row, fields
            row = layout.first_row + reader.line_num
    except csv.Error as error:
        raise RecordingError(f"{path}: row {row}: {error}; is a quote left open?") from None


def _cure(layout: _Layout, fields: Sequence[str]) -> str:
    """What may help a row that has another number of fields than the header."""
    twice = len(fields) >= 1.5 * len(layout.header)
    if twice and layout.delimiter == "," and all(re.fullmatch(r"\s*-?\d+", f) for f in fields):
        return "are there decimal commas? Then separate the columns by semicolons or tabs"
    return "complete the row or delete it"


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
            f"not a number{mixed}: {printable(field, 60)!r}: correct it, or leave the field blank"
        )
