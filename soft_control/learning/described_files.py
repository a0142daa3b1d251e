"""Files of a stranger's runs: which are of one run, what joins them, and when rows were sampled."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from soft_control.learning.csv_table import BLANK, CsvTable
from soft_control.learning.described_column import (
    INDEX,
    INDICES,
    OUTPUTS,
    TIME,
    TIMES,
    Column,
    find_roles,
    split_unit,
)
from soft_control.learning.recording import RecordingError, listed, warn
from soft_control.learning.stamps import EPOCH_S, STEP_MAX_S, STEP_MIN_S
from soft_control.plain_text import printable
from soft_control.robots.units import UNITS, of_one_kind

ROWS = 200_000
"""That are looked at of each file."""
PERIOD_S = 0.01
"""Written where nothing tells."""
NUMBERS_SHARE = 0.5
"""Of the rows of a column of numbers."""
ALIKE = 0.5
"""Of the columns of a file's kind: one with fewer of them is another sort of file."""


@dataclass
class Kind:
    """Files with the same columns: one a run."""

    paths: list[Path] = field(default_factory=list)
    tables: list[dict[str, np.ndarray]] = field(default_factory=list)
    """Of each file its columns of numbers."""

    def columns(self) -> list[Column]:
        """Those that all of its files have."""
        names = [name for name in self.tables[0] if all(name in table for table in self.tables)]
        source = self.paths[0].name
        return [Column(name, source, [table[name] for table in self.tables]) for name in names]


@dataclass
class Found:
    """What was found in the files, or in a bag."""

    sources: list[str]
    columns: list[Column]
    period_s: float
    rate_why: str
    recording: list[str]
    """Lines of YAML below `recording:`, without those of the columns."""
    runs: list[Path]
    """What names a run, to be read by the description."""
    is_bag: bool = False
    rest_why: str = ""
    periods_s: list[float] = field(default_factory=list)
    """Of each run its own, where the rows have stamps."""

    def of(self, role: str) -> list[Column]:
        return [column for column in self.columns if column.role == role]


def look_at_files(paths: Sequence[Path], told: Mapping[str, str] | None = None) -> Found:
    """Columns and their roles, of all files; `told` are roles by column. Raises RecordingError for
    what cannot be read, warns of files that are of another sort than the others, or of no run."""
    kinds = _kinds(paths)
    columns = [column for kind in kinds for column in kind.columns()]
    _find_times(columns)
    shared = {c.name for c in columns if [d.name for d in columns].count(c.name) > 1}
    joins = [c.name for c in columns if c.name in shared and c.role == INDICES] or [
        c.name for c in columns if c.name in shared and c.role == TIMES and _same(columns, c.name)
    ]
    known: dict[str, Column] = {}
    for column in columns:
        known.setdefault(column.name, column)
    columns = list(known.values())
    absent = [name for name in told or {} if name not in known]
    if absent:
        here = listed("", [printable(name, 40) for name in known])
        raise RecordingError(f"{paths[0]}: no column {', '.join(absent)} of numbers: it has {here}")
    find_roles(columns, told)
    seen = [column.source for column in columns if column.role == OUTPUTS]
    kinds.sort(key=lambda kind: -seen.count(kind.paths[0].name))
    runs, lines = _file_lines(kinds)
    if len(kinds) > 1 and joins:
        lines.append(f"  join: {quoted(joins[0])}  # all files have it")
    stamps = next((column for column in columns if column.role == TIMES), None)
    if stamps is None:
        period_s, why = PERIOD_S, "guessed: no column tells the time; put in the robot's own"
        lines.append(f"  time: {{period_s: {PERIOD_S}}}  # guessed: from one row to the next")
    else:
        period_s = _step_s(np.concatenate(stamps.runs), stamps.unit)
        why = f"by column {printable(stamps.name, 40)}{_spread(stamps)}"
        time = f"column: {quoted(stamps.name)}, unit: {stamps.unit}"
        lines.append(f"  time: {{{time}}}  # {stamps.why}")
    names = [path.name for kind in kinds for path in kind.paths]
    found = Found(names, columns, period_s, why, lines, runs)
    if stamps is not None:
        found.periods_s = [_step_s(run, stamps.unit) for run in stamps.runs]
    return found


def quoted(text: str) -> str:
    """As YAML reads it as this text."""
    if not text.isprintable():
        return json.dumps(text)
    plain = re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", text)
    reserved = text.lower() in {"yes", "no", "on", "off", "true", "false", "null"}
    return text if plain and not reserved else "'" + text.replace("'", "''") + "'"


# ------------------------------------------------------------------------------------------ reading


def _kinds(paths: Sequence[Path]) -> list[Kind]:
    kinds: list[Kind] = []
    for path in sorted(dict.fromkeys(paths)):
        table = _numbers(path)
        own = {name for name in table if not INDEX.fullmatch(name) and not _is_time(name)}
        kind = next((k for k in kinds if own & set(k.tables[0])), None)
        if kind is None:
            kind = Kind()
            kinds.append(kind)
        kind.paths.append(path)
        kind.tables.append(table)
    for kind in kinds:
        _leave_out_others(kind)
    return kinds


def _leave_out_others(kind: Kind) -> None:
    most = max(kind.tables, key=len)
    for i in reversed(range(len(kind.paths))):
        lacks = [name for name in most if name not in kind.tables[i]]
        if len(lacks) > (1 - ALIKE) * len(most):
            warn(kind.paths[i], f"not looked at: unlike the others it has no {listed('', lacks)}")
            del kind.paths[i], kind.tables[i]


def _numbers(path: Path) -> dict[str, np.ndarray]:
    """Columns of numbers, NaN where there is none."""
    if not path.is_file():
        raise RecordingError(f"{path}: no such file")
    table = CsvTable(path, lambda text: bool(text) and not math.isfinite(_number(text)))
    rows = list(table.fields(ROWS))
    if not rows:
        raise RecordingError(f"{path}: no rows below the header")
    found = {}
    for i, name in enumerate(table.header):
        values = np.array([_number(row[i]) if i < len(row) else math.nan for row in rows])
        if name and name not in found and np.mean(np.isfinite(values)) >= NUMBERS_SHARE:
            found[name] = values
    return found


def _number(text: str) -> float:
    try:
        value = math.nan if text.lower() in BLANK else float(text.replace(",", "."))
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan


# --------------------------------------------------------------------------------------------- time


def _is_time(name: str) -> bool:
    return bool(TIME.fullmatch(split_unit(name)[0]) or TIME.fullmatch(name))


def _find_times(columns: Sequence[Column]) -> None:
    """The first column of stamps, and all that count rows."""
    time = ""
    for column in columns:
        steps = np.concatenate([np.diff(run) for run in column.runs])
        if not len(steps):
            continue
        whole = np.all(column.values == np.round(column.values))
        if INDEX.fullmatch(column.name) and np.all(steps > 0) and whole:
            column.role = INDICES
        elif (not time or column.name == time) and _is_time(column.name):
            if np.all(steps >= 0) and np.any(steps > 0):
                column.role, time = TIMES, column.name
                column.unit, column.why = _time_unit(column)


def _step_s(stamps: np.ndarray, unit: str) -> float:
    """From one row to the next. A mean over what is no gap: of stamps that are rounded to 1 ms, at
    120 Hz, the median is 8 ms."""
    steps = np.diff(stamps)
    steps = steps[steps > 0]
    return float(np.mean(steps[steps <= 1.5 * np.median(steps)])) * UNITS[unit][1]


def _spread(stamps: Column) -> str:
    """How much the runs' rates differ, where they do."""
    rates = [1 / _step_s(run, stamps.unit) for run in stamps.runs]
    differ = max(rates) > 1.1 * min(rates)
    return f"; at the median of each run {min(rates):.3g} to {max(rates):.3g} Hz" if differ else ""


def _time_unit(column: Column) -> tuple[str, str]:
    step, last = _step_s(np.concatenate(column.runs), "s"), column.high
    _, named = split_unit(column.name)
    is_unit = named in of_one_kind("s")
    if is_unit and STEP_MIN_S <= step * UNITS[named][1] <= STEP_MAX_S:
        return named, f"by its name; a row every {step:g} {named}"
    doubt = f"guessed, for {named} it cannot be" if is_unit else "guessed"
    for unit in ("s", "ms", "us", "ns"):
        size = UNITS[unit][1]
        fits = STEP_MIN_S <= step * size <= STEP_MAX_S
        if fits and (last < 1e8 or EPOCH_S[0] < last * size < EPOCH_S[1]):
            return unit, f"{doubt}: a row every {step:g}, which makes {1 / (step * size):.4g} Hz"
    return "s", "guessed: nothing tells"


def _same(columns: Sequence[Column], name: str) -> bool:
    """Whether the stamps of that name in two kinds of files are mostly equal."""
    one, other = [column.runs[0] for column in columns if column.name == name][:2]
    return np.mean(np.isin(one, other)) > 0.5


# -------------------------------------------------------------------------------------------- files


def _file_lines(kinds: Sequence[Kind]) -> tuple[list[Path], list[str]]:
    """Which files name a run, and how YAML says which others belong to it; the first kind has the
    outputs."""
    runs, others = kinds[0].paths, kinds[1:]
    if not others:
        return runs, []
    together = {run: [_partner(run, kind.paths) for kind in others] for run in runs}
    whole = [run for run, partners in together.items() if all(partners)]
    for run in runs:
        if run not in whole:
            warn(
                run, "not looked at: no other file has its number or name, so nothing belongs to it"
            )
    if not whole:
        raise RecordingError(
            f"{runs[0]}: none of the other files belongs to it by its name: name the files of one "
            "run alike, such as seen_1.csv and told_1.csv"
        )
    lost = {path for kind in others for path in kind.paths} - {
        partner for run in whole for partner in together[run]
    }
    for path in sorted(lost):
        warn(path, "not looked at: it belongs to none of the other files by its name")
    pattern, files = _pattern([run.name for run in whole], [p.name for p in together[whole[0]]])
    return whole, [
        f"  run: {quoted(pattern)}  # a run is named by the file that has its outputs",
        f"  files: [{', '.join(map(quoted, files))}]  # belong to it; \\1: as in the brackets",
    ]


def _words(name: str) -> list[str]:
    """Of a file's name: observations, 1 and 100g of observations_1_100g.csv."""
    return [word for word in re.split(r"[_\-. ]", name.rpartition(".")[0] or name) if word]


def _partner(run: Path, paths: Sequence[Path]) -> Path | None:
    """The file whose name has most words of the run's; the only one that there is in any case."""
    shared = {path: len(set(_words(path.name)) & set(_words(run.name))) for path in paths}
    best = max(paths, key=lambda path: (shared[path], path.parent == run.parent))
    return best if shared[best] or len(paths) == 1 else None


def _pattern(runs: Sequence[str], partners: Sequence[str]) -> tuple[str, list[str]]:
    """A regular expression for the runs' names, and the names of what belongs to each, by the word
    that the first run shares with its partners: a number rather than another one."""
    common = [w for w in _words(runs[0]) if all(w in _words(partner) for partner in partners)]
    for word in sorted(common, key=lambda word: not word.isdigit()):
        whole_word = re.compile(rf"(?<![A-Za-z0-9]){re.escape(word)}(?![A-Za-z0-9])")
        # Of `observations_1_100g.csv` and the word 1: `observations_`, `_100g` and `.csv`.
        head, tail = whole_word.split(runs[0], maxsplit=1)
        stem, dot, end = tail.rpartition(".")
        rest = _escaped(stem) if len(runs) == 1 else ""
        rest += r"(_.*)?" if word.isdigit() else ""
        key = r"(\d+)" if word.isdigit() else r"([^_]+)"
        for pattern in (
            f"{_escaped(head)}{key}{_escaped(tail)}",
            f"{_escaped(head)}{key}{rest}{_escaped(dot + end)}",
        )[word.isdigit() :]:
            if all(re.fullmatch(pattern, run) for run in runs):
                return pattern, [whole_word.sub(r"\\1", p, count=1) for p in partners]
    return "|".join(map(_escaped, runs)), list(partners)


def _escaped(text: str) -> str:
    return re.sub(r"([^A-Za-z0-9_])", r"\\\1", text)
