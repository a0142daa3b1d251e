"""Recorded runs: read, put on the control grid, cut into windows.

A recording is one run of a rig. Runs stay whole: training and test never share one, because
neighbouring samples of a run are nearly equal and a split by sample would let a network recite
instead of predict.
"""

from __future__ import annotations

import csv
import math
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

AXES = ("x", "y", "z")
POSITION_COLUMNS = ("x_m", "y_m", "z_m")
REFERENCE_COLUMNS = ("ref_x_m", "ref_y_m", "ref_z_m")
GRID_TOLERANCE = 0.01  # of a sample: stamps this close to the control grid are on it


class RecordingError(ValueError):
    """A recording that cannot be used; the message names file and row."""


class RecordingWarning(UserWarning):
    """Something of a recording was left out; the message names file and row."""


@dataclass(frozen=True)
class Recording:
    """One run. Row k holds what was sampled at t_s[k] and the command applied from then on."""

    source: str
    t_s: np.ndarray
    """(T,) time, s, strictly increasing."""
    commands: np.ndarray
    """(T, m), rad."""
    position: np.ndarray
    """(T, 3) measured tip position, m."""
    signals: np.ndarray
    """(T, p), calibrated: channel / its calibration maximum."""
    reference: np.ndarray | None
    """(T, 3), m, where the run had one."""
    command_names: tuple[str, ...]
    signal_names: tuple[str, ...]

    def __post_init__(self) -> None:
        rows = len(self.t_s)
        lengths = {
            "t_s": rows,
            "commands": len(self.commands),
            "position": len(self.position),
            "signals": len(self.signals),
            "reference": rows if self.reference is None else len(self.reference),
        }
        if len(set(lengths.values())) > 1:
            listed = ", ".join(f"{name} {length}" for name, length in lengths.items())
            raise RecordingError(f"{self.source}: unequal lengths: {listed}")
        if rows < 2:
            raise RecordingError(f"{self.source}: {rows} usable rows; a recording needs at least 2")

    def __len__(self) -> int:
        return len(self.t_s)

    def on_grid(self, rate_hz: float) -> bool:
        """Whether every stamp lies on the control grid that starts at the first one."""
        grid = (self.t_s - self.t_s[0]) * rate_hz - np.arange(len(self))
        return bool(np.max(np.abs(grid)) < GRID_TOLERANCE)

    def signal(self, names: Sequence[str]) -> np.ndarray:
        """The named signals, (T, len(names)). Raises RecordingError if one is missing."""
        missing = [name for name in names if name not in self.signal_names]
        if missing:
            raise RecordingError(f"{self.source}: no signal {', '.join(missing)}")
        return self.signals[:, [self.signal_names.index(name) for name in names]]


def read_recording(path: str | Path) -> Recording:
    """Read a CSV file (columns as in the recorded data of the tendon rig) or a rosbag2 directory.

    Raises RecordingError for what cannot be used, warns with RecordingWarning for what is left out.
    """
    path = Path(path)
    if path.is_dir():
        return _read_bag(path)
    if not path.exists():
        raise RecordingError(f"{path}: no such file or directory")
    if path.suffix.lower() != ".csv":
        raise RecordingError(f"{path}: neither a .csv file nor a rosbag2 directory")
    return _read_csv(path)


def read_recordings(given: Iterable[Path]) -> list[Recording]:
    """Every recording of `given`: a directory of runs stands for all of the bags below it."""
    paths: list[Path] = []
    for path in given:
        bags = sorted(meta.parent for meta in path.rglob("metadata.yaml")) if path.is_dir() else []
        paths += bags or [path]
    return [read_recording(path) for path in paths]


# ---------------------------------------------------------------------------------------------- CSV


def _read_csv(path: Path) -> Recording:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise RecordingError(f"{path}: not a text file") from error
    lines = csv.reader(text.splitlines())
    header = [name.strip() for name in next(lines, [])]
    if not header:
        raise RecordingError(f"{path}: empty file")
    rows, numbers = _numbers(path, header, lines)
    command_columns = [name for name in header if name.startswith("u") and name.endswith("_deg")]
    signal_columns = [name for name in header if name.startswith("lace_")]
    missing = [name for name in ("t_s", *POSITION_COLUMNS) if name not in header]
    if not command_columns:
        missing.append("u0_deg")
    if missing:
        raise RecordingError(f"{path}: missing column {', '.join(missing)}")
    if not rows:
        raise RecordingError(f"{path}: no rows below the header")
    table = np.array(rows)

    def columns(names: Sequence[str]) -> np.ndarray:
        return table[:, [header.index(name) for name in names]]

    t_s = columns(["t_s"])[:, 0]
    keep = _increasing(path, t_s, [f"row {number}" for number in numbers])
    has_reference = all(name in header for name in REFERENCE_COLUMNS)
    return Recording(
        source=path.stem,
        t_s=t_s[keep],
        commands=np.deg2rad(columns(command_columns))[keep],
        position=columns(POSITION_COLUMNS)[keep],
        signals=columns(signal_columns)[keep],
        reference=columns(REFERENCE_COLUMNS)[keep] if has_reference else None,
        command_names=tuple(f"servo_{name[1:-4]}" for name in command_columns),
        signal_names=tuple(signal_columns),
    )


def _numbers(
    path: Path, header: list[str], lines: Iterable[list[str]]
) -> tuple[list[list[float]], list[int]]:
    """Values and file row numbers (the header is row 1) of all complete rows."""
    rows: list[list[float]] = []
    numbers: list[int] = []
    left_out: list[int] = []
    for number, fields in enumerate(lines, start=2):
        if fields and len(fields) != len(header):
            raise RecordingError(
                f"{path}: row {number} has {len(fields)} fields, the header has {len(header)}"
            )
        values = []
        for name, field in zip(header, fields, strict=False):
            try:
                values.append(float(field) if field.strip() else math.nan)
            except ValueError:
                raise RecordingError(
                    f"{path}: row {number}, column {name}: not a number: {field!r}"
                ) from None
        if values and all(math.isfinite(value) for value in values):
            rows.append(values)
            numbers.append(number)
        else:
            left_out.append(number)
    if left_out:
        _warn(path, f"NaN or blank, left out: {_listed('row', left_out)}")
    return rows, numbers


# ------------------------------------------------------------------------------------------ rosbag2


def _read_bag(path: Path) -> Recording:
    """Join a bag's topics by their exact stamps: the command stamped t_k belongs to sample k."""
    topics, _ = read_topics(
        path, ("/tip_position", "/command", "/signals/calibrated", "/reference")
    )
    for name in ("/tip_position", "/command"):
        if not topics.get(name):
            raise RecordingError(f"{path}: no message on {name}")
    commands, signals = topics["/command"], topics.get("/signals/calibrated", {})
    needed = [topics["/tip_position"], commands] + ([signals] if signals else [])
    stamps = sorted(set.intersection(*(set(topic) for topic in needed)))
    if not stamps:
        raise RecordingError(f"{path}: no stamp is shared by all topics; are they of one run?")
    incomplete = len(set.union(*(set(topic) for topic in needed))) - len(stamps)
    if incomplete:
        _warn(path, f"{incomplete} samples lack a message on some topic, left out")

    def table(topic: dict, values) -> np.ndarray:
        rows = [values(topic[stamp]) for stamp in stamps]
        if len({len(row) for row in rows}) > 1:
            raise RecordingError(f"{path}: a topic changes its number of values in mid-run")
        return np.array(rows, dtype=float).reshape(len(stamps), -1)

    first = stamps[0]
    t_s = np.array([(stamp - first) * 1e-9 for stamp in stamps])
    position = table(topics["/tip_position"], lambda message: _xyz(message.point))
    command = table(commands, lambda message: message.position)
    signal = np.zeros((len(stamps), 0))
    if signals:
        signal = table(signals, lambda message: message.position)
    finite = np.all(np.isfinite(np.hstack([position, command, signal])), axis=1)
    if not np.all(finite):
        _warn(path, f"not finite, left out: {_listed('sample', np.flatnonzero(~finite))}")
    references = topics.get("/reference", {})
    reference = None
    if all(stamp in references and references[stamp].poses for stamp in stamps):
        reference = table(references, lambda message: _xyz(message.poses[0].pose.position))[finite]
    return Recording(
        source=f"{path.resolve().parent.name}/{path.name}",
        t_s=t_s[finite],
        commands=command[finite],
        position=position[finite],
        signals=signal[finite],
        reference=reference,
        command_names=tuple(commands[first].name),
        signal_names=tuple(signals[first].name) if signals else (),
    )


def read_topics(
    path: Path, wanted: Sequence[str]
) -> tuple[dict[str, dict[int, Any]], dict[str, dict[int, int]]]:
    """Messages of the wanted topics, and when each was logged, ns; both by header stamp, ns.

    Raises RecordingError for what is no finished bag.
    """
    from rosbags.rosbag2 import Reader, ReaderError
    from rosbags.typesys import Stores, get_typestore

    if not (path / "metadata.yaml").exists():
        raise RecordingError(f"{path}: no metadata.yaml: not a finished rosbag2 directory")
    topics: dict[str, dict[int, Any]] = {}
    logged_ns: dict[str, dict[int, int]] = {}
    typestore = get_typestore(Stores.ROS2_KILTED)
    duplicates = 0
    try:
        with Reader(path) as reader:
            connections = [c for c in reader.connections if c.topic in wanted]
            for connection, when_ns, raw in reader.messages(connections=connections):
                message = typestore.deserialize_cdr(raw, connection.msgtype)
                stamp = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
                topic = topics.setdefault(connection.topic, {})
                duplicates += stamp in topic
                topic.setdefault(stamp, message)
                logged_ns.setdefault(connection.topic, {}).setdefault(stamp, when_ns)
    except ReaderError as error:
        raise RecordingError(f"{path}: unreadable bag: {error}") from error
    if duplicates:
        _warn(path, f"{duplicates} messages repeat a stamp of their topic, left out")
    return topics, logged_ns


def _xyz(point) -> tuple[float, float, float]:
    return point.x, point.y, point.z


# --------------------------------------------------------------------------------- grid and windows


def resample(recording: Recording, rate_hz: float) -> Recording:
    """Put a recording on the control grid.

    Commands and signals hold their last value, as actuator and controller saw them; positions and
    references are interpolated. A recording that is on the grid already comes back unchanged.
    """
    if recording.on_grid(rate_hz):
        return recording
    t_s = recording.t_s
    samples = int(math.floor((t_s[-1] - t_s[0]) * rate_hz + GRID_TOLERANCE)) + 1
    grid = t_s[0] + np.arange(samples) / rate_hz
    held = np.searchsorted(t_s, grid + GRID_TOLERANCE / rate_hz, side="right") - 1

    def interpolated(values: np.ndarray) -> np.ndarray:
        return np.column_stack([np.interp(grid, t_s, column) for column in values.T])

    reference = recording.reference
    return replace(
        recording,
        t_s=grid,
        commands=recording.commands[held],
        position=interpolated(recording.position),
        signals=recording.signals[held],
        reference=None if reference is None else interpolated(reference),
    )


def live_signals(recordings: Sequence[Recording]) -> list[str]:
    """Names of the signals that vary in every recording; warns about the others."""
    left_out: dict[tuple[str, str], list[str]] = {}
    for name in dict.fromkeys(name for run in recordings for name in run.signal_names):
        for run in recordings:
            if name not in run.signal_names:
                left_out.setdefault((run.source, "missing"), []).append(name)
                break
            if np.ptp(run.signal([name])) == 0.0:
                left_out.setdefault((run.source, "constant"), []).append(name)
                break
    for (source, why), names in left_out.items():
        _warn(source, f"{why}, left out: {_listed('signal', names)}")
    dead = {name for names in left_out.values() for name in names}
    return [name for name in recordings[0].signal_names if name not in dead]


def windows(
    recording: Recording,
    input_lags: int,
    output_lags: int,
    input_delay: int = 0,
    signal_names: Sequence[str] = (),
    axes: Sequence[str] = AXES,
) -> tuple[np.ndarray, np.ndarray, int]:
    """All complete windows of a recording that is on the control grid, in physical units.

    Returns x (S, nd·m + dd·n + p), y (S, n) and the sample k of the first window. Row i, with
    k = first + i, is x = u(k-d) … u(k-d-nd+1), y(k) … y(k-dd+1), s(k), newest first, and y(k+1).
    Raises RecordingError if the recording is too short or lacks a signal.
    """
    first = max(input_delay + input_lags, output_lags) - 1
    last = len(recording) - 1  # exclusive: the last sample is only ever a label
    if last <= first:
        raise RecordingError(
            f"{recording.source}: {len(recording)} samples are too few for one window"
        )

    def lagged(values: np.ndarray, newest: int, lags: int) -> list[np.ndarray]:
        return [values[first - lag : last - lag] for lag in range(newest, newest + lags)]

    position = recording.position[:, [AXES.index(axis) for axis in axes]]
    x = np.hstack(
        lagged(recording.commands, input_delay, input_lags)
        + lagged(position, 0, output_lags)
        + lagged(recording.signal(signal_names), 0, 1)
    )
    return x, position[first + 1 : last + 1], first


# ------------------------------------------------------------------------------------------- checks


def _increasing(path: Path, t_s: np.ndarray, rows: Sequence[str]) -> np.ndarray:
    """Which rows to keep: the first of each stamp. Raises RecordingError where time goes back."""
    steps = np.diff(t_s)
    backwards = np.flatnonzero(steps < 0)
    if len(backwards):
        k = backwards[0] + 1
        raise RecordingError(f"{path}: {rows[k]}: time goes back from {t_s[k - 1]} to {t_s[k]} s")
    keep = np.concatenate([[True], steps > 0])
    if not np.all(keep):
        repeated = [rows[k] for k in np.flatnonzero(~keep)]
        _warn(path, f"repeats the stamp of the row before, left out: {_listed('', repeated)}")
    return keep


def _listed(noun: str, items: Sequence[object]) -> str:
    shown = ", ".join(f"{noun} {item}".strip() for item in items[:5])
    return shown if len(items) <= 5 else f"{shown} and {len(items) - 5} more"


def _warn(path: str | Path, message: str) -> None:
    warnings.warn(f"{path}: {message}", RecordingWarning, stacklevel=3)
