"""Time stamps of a recording: their order, their unit, and which of two topics belong together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from soft_control.learning.recording import RecordingError, listed, warn

TIME_UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
"""Seconds to a unit; the column t_<unit> of a CSV file has that unit."""

STEP_MIN_S, STEP_MAX_S = 5e-5, 0.5
"""Of a soft robot's recording, at the median: 20 kHz to 2 Hz. The slowest recording of the tendon
rig has 0.165 s; milliseconds read as seconds make 8.3 s of a sample at 120 Hz."""

EPOCH_S = (9.5e8, 4.2e9)
"""Seconds since 1970 in the years 2000 to 2100: a stamp in there after scaling tells its unit."""

LEAP_S = 60.0
"""A step this long is a clock that was set, or a stamp that was never filled in."""


def first_of_each_stamp(path: str | Path, t_s: np.ndarray, rows: Sequence[str]) -> np.ndarray:
    """Which rows to keep (T,). Raises RecordingError where time goes back, warns where it leaps."""
    steps = np.diff(t_s)
    backwards = np.flatnonzero(steps < 0)
    if len(backwards):
        k = backwards[0] + 1
        raise RecordingError(
            f"{path}: {rows[k]}: time goes back from {t_s[k - 1]} to {t_s[k]} s; "
            "if the clock was set there, cut the recording in two"
        )
    keep = np.concatenate([[True], steps > 0])
    if not np.all(keep):
        repeated = [rows[k] for k in np.flatnonzero(~keep)]
        warn(path, f"repeats the stamp of the row before, left out: {listed('', repeated)}")
    return keep


def check_unit(path: Path, t_s: np.ndarray, what: str, advice: str = "") -> None:
    """Raises RecordingError where the stamps (T,) cannot be seconds, with a guess at their unit.

    `what` names the stamps; `advice` says how to give them in the guessed {unit}. Warns of leaps.
    """
    if len(t_s) < 2:
        return
    steps = np.diff(t_s)
    step = float(np.median(steps))
    if not STEP_MIN_S <= step <= STEP_MAX_S:
        guess = _guessed_unit(float(t_s[-1]), step)
        looks = f"{path}: {what}: a sample comes every {step:.4g} s ({1 / step:.3g} Hz)"
        if guess is None:
            raise RecordingError(f"{looks}: the stamps must be in seconds")
        rate_hz = 1 / (step * TIME_UNITS[guess])
        raise RecordingError(
            f"{looks}; the stamps look like {guess} ({rate_hz:.4g} Hz): write seconds"
            + advice.format(unit=guess)
        )
    leaps = np.flatnonzero(steps > LEAP_S)
    if len(leaps):
        said = [f"{steps[k]:.6g} s after t = {t_s[k]:.6g} s" for k in leaps]
        warn(
            path,
            f"{what}: time leaps by {listed('', said)}: was the clock set? "
            "What lies before and after is read as separate segments",
        )


def _guessed_unit(stamp: float, step: float) -> str | None:
    """The unit that makes a stamp of our days, or else a sampling rate of a soft robot."""
    for unit, seconds in TIME_UNITS.items():
        if EPOCH_S[0] < stamp * seconds < EPOCH_S[1]:
            return None if unit == "s" else unit
    for unit, seconds in TIME_UNITS.items():
        if STEP_MIN_S <= step * seconds <= STEP_MAX_S:
            return unit
    return None


def nearest(stamps: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each of `wanted` (K,) the place of the nearest of `stamps` (T,), sorted; and how far."""
    after = np.clip(np.searchsorted(stamps, wanted), 1, len(stamps) - 1)
    place = after - (wanted - stamps[after - 1] <= stamps[after] - wanted)
    return place, np.abs(stamps[place] - wanted)
