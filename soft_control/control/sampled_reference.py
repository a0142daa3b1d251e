"""A reference from a CSV file: a column t_s, and one a name of an output, in that output's unit.

t_s,bend,twist        It starts at its first row. Between rows it goes in straight lines. Where
0.0,0.0,0.1           the last row repeats the first one it is a lap and goes round; otherwise
0.5,0.2,0.1           it stays at the last row.
1.0,0.0,0.1
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from soft_control.control.references import check_surface
from soft_control.learning.surface import Surface
from soft_control.plain_text import printable

TIME_COLUMN = "t_s"
ROWS_MAX = 100_000
"""So many rows are a quarter of an hour at 120 Hz; the run's description keeps them all."""


@dataclass(frozen=True)
class SampledReference:
    """Outputs at some times. Raises ValueError for what is no table of finite, ordered rows."""

    outputs: tuple[str, ...]
    """n names."""
    t_s: tuple[float, ...]
    """(K,) increasing from 0, at least two."""
    rows: tuple[tuple[float, ...], ...]
    """(K, n) in the outputs' units."""

    def __post_init__(self) -> None:
        if len(self.t_s) < 2:
            raise ValueError("a reference needs at least two rows")
        if len(self.rows) != len(self.t_s) or {len(r) for r in self.rows} != {len(self.outputs)}:
            raise ValueError(f"rows must be {len(self.t_s)} x {len(self.outputs)} values")
        if len(self.t_s) > ROWS_MAX:
            raise ValueError(f"more than {ROWS_MAX:,} rows")
        if not (np.isfinite(self.t_s).all() and np.isfinite(self.rows).all()):
            raise ValueError("the reference has a value that is not finite")
        if not (self.t_s[0] == 0.0 and np.all(np.diff(self.t_s) > 0)):
            raise ValueError("the times of a reference start at 0 and increase")

    @property
    def periodic(self) -> bool:
        """Whether it is a lap that goes round: the last row is the first one again."""
        return self.rows[0] == self.rows[-1]

    def values(self, t_s: np.ndarray | float) -> np.ndarray:
        """Outputs (T, n) at the times `t_s` (T,) in s."""
        at = np.atleast_1d(np.asarray(t_s, dtype=float))
        if self.periodic:
            at = np.mod(at, self.t_s[-1])
        columns = np.array(self.rows).T
        return np.column_stack([np.interp(at, self.t_s, column) for column in columns])

    def curve(self, points: int = 4000) -> np.ndarray:
        """All of it as (points, n), for the path error."""
        return self.values(np.linspace(0.0, self.t_s[-1], points, endpoint=not self.periodic))


def read_reference(
    path: Path, outputs: Sequence[str], surface: Surface | None = None
) -> SampledReference:
    """The reference in a CSV file for the `outputs`, in their order.

    Outputs that follow others on the `surface` may be left out of the file. Raises ValueError in
    one line naming file and row or column.
    """
    check_surface(surface, outputs)
    names, table = _table(path)
    t_s = table[:, names.index(TIME_COLUMN)]
    found = {name: table[:, names.index(name)] for name in outputs if name in names}
    if surface is not None and all(name in found for name in surface.leading):
        led = np.column_stack([found[name] for name in surface.leading])
        found = surface.follow(led) | found
    missing = [name for name in outputs if name not in found]
    if missing:
        raise ValueError(
            f"{printable(path)}: no column {', '.join(missing)}: wanted {TIME_COLUMN} and "
            f"{', '.join(outputs)}"
        )
    ordered = np.column_stack([found[name] for name in outputs])
    late = np.flatnonzero(np.diff(t_s) <= 0)
    if late.size:
        raise ValueError(
            f"{printable(path)}, row {late[0] + 3}: {TIME_COLUMN} does not increase there"
        )
    rows = tuple(map(tuple, ordered.tolist()))
    try:
        return SampledReference(tuple(outputs), tuple((t_s - t_s[0]).tolist()), rows)
    except ValueError as error:
        raise ValueError(f"{printable(path)}: {error}") from None


def write_reference(path: Path, reference: SampledReference) -> None:
    """Writes the table that `read_reference` reads the same numbers from."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([TIME_COLUMN, *reference.outputs])
        writer.writerows((t, *row) for t, row in zip(reference.t_s, reference.rows, strict=True))


def _table(path: Path) -> tuple[list[str], np.ndarray]:
    """Names of the columns, and (K, columns) numbers."""
    where = printable(path)
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            names = [name.strip() for name in next(reader, [])]
            if TIME_COLUMN not in names:
                raise ValueError(f"{where}: no column {TIME_COLUMN} in its first row")
            if len(set(names)) < len(names):
                raise ValueError(f"{where}: a column is there twice")
            table: list[list[float]] = []
            for row in reader:
                if row:
                    table.append(_numbers(row, len(names), f"{where}, row {reader.line_num}"))
                if len(table) > ROWS_MAX:
                    raise ValueError(f"{where}: more than {ROWS_MAX:,} rows")
    except OSError as error:
        raise ValueError(f"{where}: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{where}: not CSV: {printable(error)}") from None
    if len(table) < 2:
        raise ValueError(f"{where}: a reference needs at least two rows")
    return names, np.array(table)


def _numbers(row: list[str], wanted: int, where: str) -> list[float]:
    if len(row) != wanted:
        raise ValueError(f"{where}: {len(row)} values, but the first row names {wanted} columns")
    values = []
    for text in row:
        try:
            values.append(float(text))
        except ValueError:
            raise ValueError(f"{where}: '{printable(text, 40)}' is no number") from None
        if not math.isfinite(values[-1]):
            raise ValueError(f"{where}: '{printable(text, 40)}' is not finite")
    return values
