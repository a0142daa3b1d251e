"""A recorded run in CSV files, read as its robot's description says: columns, joins, time, rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from soft_control.learning.csv_table import CsvTable
from soft_control.learning.csv_times import distinct_times
from soft_control.learning.magnitudes import (
    command_fault,
    command_outside,
    output_fault,
    small_command,
    small_output,
)
from soft_control.learning.recording import Recording, RecordingError, check_names, listed, warn
from soft_control.plain_text import printable
from soft_control.robots.description import Quantity, RobotDescription
from soft_control.robots.recording_format import RecordingFormat
from soft_control.robots.units import UNITS

SIGNAL_SHARE_MIN = 0.5
"""Of the rows: a signal with fewer numbers costs more rows than it is worth and is left out."""
JOINED_SHARE_MIN = 0.5
"""Of the rows of the shortest file: where fewer find each other, the files are not of one run."""


@dataclass(frozen=True)
class _Wanted:
    """A quantity and where it stands."""

    quantity: Quantity
    column: str
    factor: float
    """value inside = factor · number in the file."""


def read_csv(path: Path, robot: RobotDescription) -> Recording:
    """Read the run that the file names, and the files that belong to it.

    Commands, outputs and signals stand in the order of the description, whatever the files'. A
    signal without a column is left out, a reference is read where each output has one. Raises
    RecordingError for what cannot be used; warns with RecordingWarning of what was guessed or left
    out.
    """
    form = robot.recording
    if form is None:
        raise RecordingError(
            f"{path}: the description of the robot {robot.name} does not say how a CSV file is "
            "read: give it a section `recording`, as `softctl describe` writes it"
        )
    commands, outputs, signals = (
        [_Wanted(q, *robot.column_of(q)) for q in quantities]
        for quantities in (robot.commands, robot.outputs, robot.signals)
    )
    references = []
    if all(output.name in form.reference for output in robot.outputs):
        references = [_Wanted(q, *robot.column_of(q, "reference")) for q in robot.outputs]
    files = _Files(path, form, robot, [*commands, *outputs, *signals, *references])

    stamps = files.time_column()
    files.require([*commands, *outputs])
    absent = [wanted.column for wanted in signals if not files.have(wanted.column)]
    if absent:
        warn(path, f"no such column, left out: {listed('signal', absent)}")
    signals = [wanted for wanted in signals if files.have(wanted.column)]
    if not all(files.have(wanted.column) for wanted in references):
        references = []
    columns = [w.column for w in (*commands, *outputs, *signals, *references)]
    known, index, numbers = files.joined([*columns, *([stamps] if stamps else [])])

    needed = [*([stamps] if stamps else []), *(w.column for w in (*outputs, *commands))]
    signals = _measured_signals(path, needed, signals, known)
    needed += [wanted.column for wanted in signals]
    complete = np.all(np.isfinite([known[name] for name in needed]), axis=0)
    if not np.all(complete):
        _warn_of_incomplete(path, needed, known, complete, numbers)
    known = {name: values[complete] for name, values in known.items()}
    numbers, index = numbers[complete], index[complete]

    t_s, keep = distinct_times(path, form, stamps, known, index, numbers)

    def stacked(wanted: Sequence[_Wanted]) -> np.ndarray:
        if not wanted:
            return np.zeros((len(t_s), 0))
        return np.column_stack([w.factor * known[w.column][keep] for w in wanted])

    values, seen = stacked(commands), stacked(outputs)
    _check_units(files, commands, values, outputs, seen)
    reference = stacked(references) if references else None
    if reference is not None and not np.all(np.isfinite(reference)):
        warn(path, "the reference is blank in some rows and is left out as a whole")
        reference = None
    return Recording(
        source=printable(path.stem),
        t_s=t_s,
        commands=values,
        outputs=seen,
        signals=stacked(signals),
        reference=reference,
        command_names=robot.command_names,
        output_names=robot.output_names,
        signal_names=tuple(wanted.quantity.name for wanted in signals),
        robot=robot,
        frame=robot.frame,
    )


# -------------------------------------------------------------------------------------------- files


class _Files:
    """The tables of a run, and which of them has which column."""

    def __init__(
        self, path: Path, form: RecordingFormat, robot: RobotDescription, wanted: Sequence[_Wanted]
    ) -> None:
        self.path, self.form, self.robot = path, form, robot
        self.wanted = {w.column: w.quantity.name for w in wanted}
        names = form.files_of(path.name)
        if names is None:
            raise RecordingError(
                f"{path}: names no run of the robot {robot.name}, whose runs are named by files "
                f"such as {printable(form.run, 80)} (recording.run): name one of these"
            )
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise RecordingError(
                f"{path}: recording.files of the robot {robot.name} makes it {', '.join(names)}: "
                f"{', '.join(twice)} twice: name there the other files of the run"
            )
        paths = [path, *(path.parent / name for name in names[1:])]
        for other in paths[1:]:
            if not other.is_file():
                raise RecordingError(
                    f"{other}: no such file, but recording.files of the robot {robot.name} says "
                    f"that it belongs to {path.name}: put it there or correct the description"
                )
        known = {
            *self.wanted, *form.time.columns, *form.leave_out.where,
            *([form.join] if form.join else []),
        }  # fmt: skip
        self.tables = [CsvTable(p, known.__contains__) for p in paths]
        for table in self.tables:
            needed = [name for name in table.header if name in known]
            twice = sorted({name for name in needed if needed.count(name) > 1})
            if twice:
                raise RecordingError(
                    f"{table.path}: column {', '.join(twice)} is there more than once: rename one "
                    "of them in the header, or delete it"
                )
            check_names(table.path, "column", needed)
            if form.join and form.join not in table.header:
                raise RecordingError(
                    f"{table.path}: missing column {form.join}, by which recording.join joins the "
                    f"files; {table.said}{table.similar([form.join])}; name a column that each "
                    "of them has"
                )
        # Time may stand in all of them, and is that of the file that names the run.
        for name in known - {form.join, *form.time.columns}:
            both = [table.path for table in self.tables if name in table.header]
            if len(both) > 1:
                raise RecordingError(
                    f"{both[0]}: column {name} is in {both[1].name} as well: rename one of them, "
                    "and name it under recording.columns"
                )

    def have(self, column: str) -> bool:
        """Whether one of the files has it."""
        return any(column in table.header for table in self.tables)

    def of(self, column: str) -> Path:
        """The file that has it."""
        return next(table.path for table in self.tables if column in table.header)

    def time_column(self) -> str:
        """Of the stamps; empty where there is a period instead."""
        columns = list(self.form.time.columns)
        found = next((name for name in columns if self.have(name)), None)
        if columns and found is None:
            self._missing(columns[:1], "time", "recording.time")
        return found or ""

    def require(self, wanted: Sequence[_Wanted]) -> None:
        """Raises RecordingError where a column is in no file."""
        absent = [w.column for w in wanted if not self.have(w.column)]
        if absent:
            name = self.wanted[absent[0]]
            self._missing(absent, name, f"recording.columns.{name}")

    def _missing(self, columns: Sequence[str], what: str, where: str) -> None:
        said = "; ".join(
            table.said if len(self.tables) == 1 else f"{table.path.name}, {table.said}"
            for table in self.tables
        )
        similar = next(filter(None, (table.similar(columns) for table in self.tables)), "")
        raise RecordingError(
            f"{self.path}: missing column {', '.join(columns)}; {said}{similar}; "
            f"name the column of {what} in {where} of the robot {self.robot.name}"
        )

    def joined(
        self, columns: Sequence[str]
    ) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
        """Columns by name, the number of each sample, and its row in the file that names the run.

        Rows that are not in every file are left out, and so are those that the description leaves
        out; a warning says so.
        """
        join, where = self.form.join, self.form.leave_out.where
        for name in where:
            if not self.have(name):
                self._missing([name], "leave_out", "recording.leave_out.where")
        parts, indices = [], []
        for table in self.tables:
            texts = [name for name in where if name in table.header]
            asked = dict.fromkeys([*columns, *([join] if join else [])])
            rows = table.read([name for name in asked if name in table.header], texts)
            index = rows.values[join] if join else np.arange(len(rows.numbers), dtype=float)
            self._check_index(table.path, index, rows.numbers)
            parts.append(rows)
            indices.append(index)
        common = self._common(indices)
        known: dict[str, np.ndarray] = {}
        away = np.zeros(len(common), dtype=bool)
        numbers = np.zeros(0)
        for i, (rows, index) in enumerate(zip(parts, indices, strict=True)):
            order = np.argsort(index, kind="stable")
            places = order[np.searchsorted(index[order], common)]
            numbers = rows.numbers[places] if i == 0 else numbers
            known = {name: values[places] for name, values in rows.values.items()} | known
            for name, texts in rows.texts.items():
                found = np.array([_is_one_of(texts[place], where[name]) for place in places])
                if not np.any(found):
                    values = ", ".join(map(str, where[name]))
                    warn(
                        self.tables[i].path,
                        f"recording.leave_out.where.{name}: no row has {values}",
                    )
                away |= found
        first, last = self.form.leave_out.first, self.form.leave_out.last
        away[:first] = True
        away[len(away) - min(last, len(away)) :] = True
        if np.any(away):
            warn(self.path, f"left out by recording.leave_out: {np.count_nonzero(away)} rows")
        kept = ~away
        if not np.any(kept):
            raise RecordingError(
                f"{self.path}: recording.leave_out leaves no row of {len(away)}: leave out fewer"
            )
        return {name: v[kept] for name, v in known.items()}, common[kept], numbers[kept]

    def _check_index(self, path: Path, index: np.ndarray, numbers: np.ndarray) -> None:
        """Numbers of samples are different; a blank one belongs to no sample."""
        known = index[np.isfinite(index)]
        values, first, counts = np.unique(known, return_index=True, return_counts=True)
        if np.any(counts > 1):
            value = values[np.argmax(counts > 1)]
            rows = numbers[np.flatnonzero(index == value)[:2]]
            raise RecordingError(
                f"{path}: column {self.form.join}: {value:g} is there more than once, in rows "
                f"{rows[0]} and {rows[1]}: a join needs numbers that differ"
            )

    def _common(self, indices: Sequence[np.ndarray]) -> np.ndarray:
        """Numbers of the samples that all files have."""
        join = self.form.join
        lengths = [len(index) for index in indices]
        names = [table.path.name for table in self.tables]
        if join is None and len(set(lengths)) > 1:
            listing = ", ".join(f"{n} {rows}" for n, rows in zip(names, lengths, strict=True))
            raise RecordingError(
                f"{self.path}: files of unequal length: {listing} rows: name a column that numbers "
                "the samples in each as recording.join, or cut the files"
            )
        common = indices[0][np.isfinite(indices[0])]
        for index in indices[1:]:
            common = common[np.isin(common, index)]
        common = np.sort(common)
        if len(indices) > 1 and len(common) < JOINED_SHARE_MIN * min(lengths):
            ranges = ", ".join(
                f"{name} {_range(index)}" for name, index in zip(names, indices, strict=True)
            )
            raise RecordingError(
                f"{self.path}: only {len(common)} of {min(lengths)} rows have the same {join}: "
                f"{ranges}: are the files of one run, and does recording.join name the right "
                "column?"
            )
        lost = [
            f"{length - len(common)} of {length} rows of {name}"
            for name, length in zip(names, lengths, strict=True)
            if length > len(common)
        ]
        if lost:
            warn(self.path, f"left out by the join on column {join}: {', '.join(lost)}")
        return common


def _range(index: np.ndarray) -> str:
    known = index[np.isfinite(index)]
    return f"{known.min():g} to {known.max():g}" if len(known) else "none"


def _is_one_of(text: str, values: Sequence[float | str]) -> bool:
    if text in values:
        return True
    try:
        return float(text) in values
    except ValueError:
        return False


# ------------------------------------------------------------------------------------------- values


def _check_units(
    files: _Files,
    commands: Sequence[_Wanted],
    values: np.ndarray,
    outputs: Sequence[_Wanted],
    seen: np.ndarray,
) -> None:
    """Raises RecordingError where numbers are too large for the unit that they are said to have,
    warns where they are too small for it, or beyond the limits."""
    told = list(zip(commands, values.T, strict=True))
    # The output that moves most tells the unit best.
    moved = sorted(zip(outputs, seen.T, strict=True), key=lambda one: -np.ptp(one[1]))

    def said(wanted: _Wanted, fault: str, limits: str = "") -> str:
        name = wanted.quantity.name
        return (
            f"column {wanted.column}: {fault}; say the unit in recording.columns.{name}"
            f"{limits} of the robot {files.robot.name}"
        )

    for wanted, column in told:
        if fault := command_fault(wanted.quantity, column, wanted.factor):
            fault = said(wanted, fault, ", or other limits in commands,")
            raise RecordingError(f"{files.of(wanted.column)}: {fault}")
    for wanted, column in moved:
        if fault := output_fault(wanted.quantity, column, wanted.factor):
            raise RecordingError(f"{files.of(wanted.column)}: {said(wanted, fault)}")
    moving = [wanted for wanted, column in told if np.ptp(column) > 0]
    for doubt, least in ((small_command, len(moving)), (command_outside, 1)):
        doubts = {w: fault for w, c in told if (fault := doubt(w.quantity, c, w.factor))}
        # One command may well hardly move in a run; that none does is strange.
        for wanted, fault in list(doubts.items())[: len(doubts) >= least]:
            others = listed("", [other.column for other in doubts if other is not wanted])
            fault = f"{fault} So it is with {others}" if others else fault
            warn(files.of(wanted.column), said(wanted, fault, ", or other limits in commands,"))
    lengths = [one for one in moved if UNITS[one[0].quantity.unit][0] == "length"]
    if lengths and np.any(np.ptp(values, axis=0) > 0):
        wanted, column = lengths[0]
        if fault := small_output(wanted.quantity, column, wanted.factor):
            warn(files.of(wanted.column), said(wanted, fault))


def _measured_signals(
    path: Path, needed: Sequence[str], signals: Sequence[_Wanted], known: dict[str, np.ndarray]
) -> list[_Wanted]:
    """The signals that have a number in enough of the rows that are good but for signals; warns of
    the others."""
    good = np.all(np.isfinite([known[name] for name in needed]), axis=0)
    if not np.any(good):
        return list(signals)
    share = {w.column: float(np.mean(np.isfinite(known[w.column][good]))) for w in signals}
    sparse = [name for name in share if share[name] < SIGNAL_SHARE_MIN]
    if sparse:
        said = [f"{name} ({100 * share[name]:.0f} % of the rows)" for name in sparse]
        warn(path, f"too few numbers, left out: {listed('signal', said)}")
    return [wanted for wanted in signals if wanted.column not in sparse]


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
