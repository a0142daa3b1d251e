"""When the rows of a CSV file were sampled: by a column of stamps, or by a period and a count."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from soft_control.learning.recording import RecordingError
from soft_control.learning.stamps import STEP_MAX_S, STEP_MIN_S, check_unit, first_of_each_stamp
from soft_control.robots.recording_format import UNIT_IN_NAME, RecordingFormat
from soft_control.robots.units import factor

COUNT_MAX = 1000
"""Numbers of the join column from one row to the next: a logger may keep every tenth sample, but
not every ten millionth, as stamps in ns look."""


def distinct_times(
    path: Path,
    form: RecordingFormat,
    stamps: str,
    known: dict[str, np.ndarray],
    index: np.ndarray,
    numbers: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Times (T,) of the rows, s, and which of all rows (R,) these are: the first of each stamp.

    `stamps` names the column of stamps in `known`, empty where there is a period; `index` (R,) are
    the numbers of the samples, `numbers` (R,) those of the rows in the file. Raises RecordingError
    for what makes no soft robot's sampling rate.
    """
    t_s = _times(form, stamps, known, index)
    if stamps:
        _check_moves(path, stamps, t_s)
    told = f"{path}: column {stamps}" if stamps else path
    keep = first_of_each_stamp(told, t_s, [f"row {number}" for number in numbers])
    t_s = t_s[keep]
    if stamps:
        check_unit(path, t_s, f"column {stamps}", _advice(form))
    else:
        _check_period(path, form, t_s, index)
    return t_s, keep


def _times(
    form: RecordingFormat, stamps: str, known: dict[str, np.ndarray], index: np.ndarray
) -> np.ndarray:
    """(T,) s; stamps that are not in seconds, and counted periods, start at 0."""
    if not stamps:
        return (index - index[0]) * form.time.period_s
    unit = form.time.columns[stamps]
    t_s = known[stamps] * factor(unit, "s")
    return t_s if unit == "s" else t_s - t_s[0]


def _check_moves(path: Path, stamps: str, t_s: np.ndarray) -> None:
    if len(t_s) > 1 and not np.any(np.diff(t_s)):
        raise RecordingError(
            f"{path}: column {stamps}: the time is {t_s[0]:g} s in all rows: name another column "
            "in recording.time of the robot's description, or a period_s"
        )


def _check_period(path: Path, form: RecordingFormat, t_s: np.ndarray, index: np.ndarray) -> None:
    """Raises RecordingError where the period makes no soft robot's sampling rate, or the join
    column counts no samples."""
    if len(t_s) < 2:
        return
    count, step_s = float(np.median(np.diff(index))), float(np.median(np.diff(t_s)))
    if form.join and not (count >= 1 and count == round(count) and count <= COUNT_MAX):
        raise RecordingError(
            f"{path}: column {form.join} grows by {count:.6g} from row to row: it does not count "
            "samples; where it is a time, say recording.time: {column: "
            f"{form.join}, unit: …}} in the robot's description"
        )
    if not STEP_MIN_S <= step_s <= STEP_MAX_S:
        raise RecordingError(
            f"{path}: recording.time.period_s = {form.time.period_s:g} makes a sample every "
            f"{step_s:.4g} s ({1 / step_s:.3g} Hz): it is the time in seconds from one row to the "
            "next, 0.01 at 100 Hz"
        )


def _advice(form: RecordingFormat) -> str:
    """How the stamps' unit is given, with a place for the {unit}."""
    if UNIT_IN_NAME in (form.time.column or ""):
        named = form.time.column.replace(UNIT_IN_NAME, "{unit}")
        return f", or name the column {named}"
    if form.time.unit == "s":
        return ", or say unit: {unit} in recording.time of the robot's description"
    return f" as recording.time says {form.time.unit}"
