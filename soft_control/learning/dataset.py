"""Recordings to learn from: read, put on the control grid, cut into windows.

A recording is one run of a rig. Runs stay whole: training and test never share one, because
neighbouring samples of a run are nearly equal and a split by sample would let a network recite
instead of predict.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from soft_control.learning.bag import read_bag
from soft_control.learning.bag_messages import read_topics
from soft_control.learning.csv_file import read_csv
from soft_control.learning.recording import (
    GRID_TOLERANCE,
    Recording,
    RecordingError,
    RecordingWarning,
    counted,
    listed,
    warn,
)
from soft_control.plain_text import printable
from soft_control.robots.description import AXES, RobotDescription
from soft_control.robots.recording_format import RecordingFormat

__all__ = [
    "AXES", "Recording", "RecordingError", "RecordingWarning",
    "hold_out", "live_signals", "read_recording", "read_recordings", "read_topics", "resample",
    "split_tail", "window_samples", "windows",
]  # fmt: skip

GAP_STEPS = 5.0
"""Times the median step: from there on nobody knows what the rig did, and the recording is cut. The
irregular logs of the real tendon rig have steps of up to 4.6 medians that are no interruption."""
BRIDGE_STEPS = 1.75
"""Times the median step: samples are missing there, and a straight line stands in for them."""
REFINEMENT_MAX = 50
"""Grid samples to a recorded one; at 120 Hz that is a recording of 2.4 Hz. Beyond, the stamps are
in another unit, and the grid would fill the memory."""


def read_recording(path: str | Path, robot: RobotDescription | None = None) -> Recording:
    """Read a rosbag2 directory (`bag.read_bag`), or the CSV files of a run (`csv_file.read_csv`),
    which `robot` must describe.

    Raises RecordingError for what cannot be used, warns with RecordingWarning for what is left out.
    """
    path = Path(path)
    if path.is_dir():
        return read_bag(path, robot)
    if not path.exists():
        raise RecordingError(f"{path}: no such file or directory")
    if path.suffix.lower() != ".csv" or not path.is_file():
        raise RecordingError(f"{path}: neither a .csv file nor a rosbag2 directory")
    if robot is None:
        raise RecordingError(
            f"{path}: a CSV file does not say which robot it is of: name it with --rig NAME or "
            "--robot FILE; `softctl describe` writes such a file"
        )
    return read_csv(path, robot)


def read_recordings(
    given: Iterable[Path], robot: RobotDescription | None = None
) -> list[Recording]:
    """Every recording of `given`: a directory stands for all of the bags below it, or else for all
    CSV files in it that name a run of the robot, and they are of one session.

    Raises RecordingError as `read_recording`, and for a directory without a recording.
    """
    paths: list[Path] = []
    session: dict[Path, str] = {}
    for path in given:
        session[path] = printable(path)
        if not path.is_dir():
            paths.append(path)
            continue
        found = sorted(meta.parent for meta in path.rglob("metadata.yaml"))
        if not found and robot is not None and robot.recording is not None:
            tables = sorted(p for p in path.iterdir() if p.suffix.lower() == ".csv")
            found = [p for p in tables if robot.recording.files_of(p.name)]
        if not found:
            raise RecordingError(f"{path}: no bag in this directory; name CSV files one by one")
        session |= dict.fromkeys(found, printable(path))
        paths += found
    if robot is not None and robot.recording is not None:
        paths = [path for path in paths if not _belongs_to_another(path, paths, robot.recording)]
    return [replace(read_recording(path, robot), session=session[path]) for path in paths]


def hold_out(
    recordings: Sequence[Recording], share: float, of_each: bool = False
) -> tuple[list[Recording], list[Recording]]:
    """What to learn from and what to judge by: the last recording, or the last `share` of the time
    of one that is alone, or `of_each`, none where that is 0. Raises RecordingError as
    `split_tail`."""
    *others, last = recordings
    if others and not of_each:
        return others, [last]
    if not share:
        return [*recordings], []
    heads, tails = zip(*(split_tail(run, share) for run in recordings), strict=True)
    return [*heads], [*tails]


def split_tail(run: Recording, share: float) -> tuple[Recording, Recording]:
    """A recording without the last `share` of its time, and that end, as two recordings whose
    sources say their seconds. Never samples here and there: neighbours are nearly equal.

    Raises RecordingError where one of them would have fewer than two samples.
    """
    since_s = run.t_s - run.t_s[0]
    cut = int(np.searchsorted(since_s, (1.0 - share) * since_s[-1]))
    if not 2 <= cut <= len(run) - 2:
        raise RecordingError(
            f"{run.source}: too short to hold out {100 * share:.3g} % of its {len(run)} rows: "
            "validate by another run, or hold out another share (held_out_share)"
        )
    parts = []
    for first, end in ((0, cut), (cut, len(run))):
        starts = (0, *(start - first for start in run.starts if first < start < end))
        source = f"{run.source}, {since_s[first]:.6g} to {since_s[end - 1]:.6g} s"
        parts.append(replace(run.rows(np.arange(first, end), starts), source=source))
    return parts[0], parts[1]


def _belongs_to_another(path: Path, paths: Sequence[Path], form: RecordingFormat) -> bool:
    """Whether a file is read with another of `paths` and names no run: who gives `*.csv` gives
    both."""
    if form.files_of(path.name) is not None:
        return False
    return any(
        path == other.parent / name for other in paths for name in form.files_of(other.name) or ()
    )


# --------------------------------------------------------------------------------- grid and windows


def resample(recording: Recording, rate_hz: float, shortest: int = 2) -> Recording:
    """Put a recording on the control grid, each of its unbroken segments on its own.

    Commands and signals hold their last value, as actuator and controller saw them; outputs and
    references are interpolated. A step of more than `GAP_STEPS` medians is a gap: nothing is put
    there, and the next segment begins after it. At 10 Hz:

        recorded at   0.0  0.11 0.2          1.03 1.13 s
        on the grid   0.0  0.1  0.2          1.03 1.13 s, starts = (0, 3)

    Segments of fewer than `shortest` samples are left out. A recording that is on the grid already
    comes back unchanged. Warns of all that is not as recorded; raises RecordingError where nothing
    is left, or where the control rate is so much higher that nearly all would be made up.
    """
    if not recording.on_grid(rate_hz):
        recording = _on_grid(recording, rate_hz)
    return _long_enough(recording, rate_hz, shortest)


def _on_grid(recording: Recording, rate_hz: float) -> Recording:
    t_s = recording.t_s
    steps = np.diff(t_s)
    within = np.ones(len(steps), dtype=bool)
    within[np.array(recording.starts[1:], dtype=int) - 1] = False
    if not np.any(within):
        raise RecordingError(f"{recording.source}: no two samples are of one segment")
    step_s = float(np.median(steps[within]))
    period_s = 1 / rate_hz
    gap = ~within | (steps > max(GAP_STEPS * step_s, 1.5 * period_s))
    bridged = ~gap & (steps > max(BRIDGE_STEPS * step_s, 1.5 * period_s))
    edges = [0, *(np.flatnonzero(gap) + 1).tolist(), len(t_s)]
    parts = [slice(start, end) for start, end in zip(edges, edges[1:], strict=False)]
    counts = [
        int(math.floor((t_s[part][-1] - t_s[part][0]) * rate_hz + GRID_TOLERANCE)) + 1
        for part in parts
    ]
    if sum(counts) > REFINEMENT_MAX * len(t_s):
        raise RecordingError(
            f"{recording.source}: recorded at {1 / step_s:.3g} Hz, the control rate is "
            f"{rate_hz:g} Hz: nearly all samples would be made up. Are the stamps in seconds? "
            "If they are, choose a control rate that the recording can tell about"
        )
    if sum(counts) < 2:
        raise RecordingError(
            f"{recording.source}: too short: {t_s[-1] - t_s[0]:.3g} s hold one sample at "
            f"{rate_hz:g} Hz"
        )
    _warn_of_made_up(recording, rate_hz, steps, step_s, gap, bridged)

    grids = [t_s[p][0] + np.arange(count) / rate_hz for p, count in zip(parts, counts, strict=True)]
    held = np.concatenate(
        [
            part.start + np.searchsorted(t_s[part], grid + GRID_TOLERANCE / rate_hz, "right") - 1
            for part, grid in zip(parts, grids, strict=True)
        ]
    )

    def interpolated(values: np.ndarray) -> np.ndarray:
        return np.vstack(
            [
                np.column_stack([np.interp(grid, t_s[part], column) for column in values[part].T])
                for part, grid in zip(parts, grids, strict=True)
            ]
        )

    reference = recording.reference
    return replace(
        recording,
        t_s=np.concatenate(grids),
        commands=recording.commands[held],
        outputs=interpolated(recording.outputs),
        signals=recording.signals[held],
        reference=None if reference is None else interpolated(reference),
        starts=(0, *np.cumsum(counts)[:-1].tolist()),
    )


def _warn_of_made_up(
    recording: Recording,
    rate_hz: float,
    steps: np.ndarray,
    step_s: float,
    gap: np.ndarray,
    bridged: np.ndarray,
) -> None:
    if step_s * rate_hz > 2.0:
        warn(
            recording.source,
            f"recorded at {1 / step_s:.3g} Hz, the control rate is {rate_hz:g} Hz: "
            "outputs between the samples are on straight lines",
        )
    if np.any(bridged):
        warn(
            recording.source,
            f"{counted(np.count_nonzero(bridged), 'step')} of up to "
            f"{np.max(steps[bridged]):.3g} s, where a sample comes every {step_s:.3g} s: "
            "bridged by straight lines",
        )
    if np.any(gap):
        longest = int(np.argmax(np.where(gap, steps, 0.0)))
        warn(
            recording.source,
            f"{counted(np.count_nonzero(gap), 'gap')}, the longest {steps[longest]:.6g} s after "
            f"t = {recording.t_s[longest]:.6g} s: nothing is predicted across them",
        )


def _long_enough(recording: Recording, rate_hz: float, shortest: int) -> Recording:
    """Without segments of fewer than `shortest` samples."""
    kept = [(start, end) for start, end in recording.bounds if end - start >= shortest]
    if len(kept) == len(recording.starts):
        return recording
    lengths = [end - start for start, end in recording.bounds]
    if not kept:
        raise RecordingError(
            f"{recording.source}: too short: {max(lengths)} samples at {rate_hz:g} Hz without a "
            f"gap, {shortest} are needed"
        )
    lost = len(recording) - sum(end - start for start, end in kept)
    warn(
        recording.source,
        f"{counted(len(lengths) - len(kept), 'segment')} of fewer than {shortest} samples left "
        f"out, {counted(lost, 'sample')} in all",
    )
    rows = np.concatenate([np.arange(start, end) for start, end in kept])
    starts = np.cumsum([0, *(end - start for start, end in kept[:-1])])
    return recording.rows(rows, tuple(starts.tolist()))


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
        warn(source, f"{why}, left out: {listed('signal', names)}")
    dead = {name for names in left_out.values() for name in names}
    return [name for name in recordings[0].signal_names if name not in dead]


def window_samples(input_lags: int, output_lags: int, input_delay: int) -> int:
    """Samples that one window takes, its label included."""
    return max(input_delay + input_lags, output_lags) + 1


def windows(
    recording: Recording,
    input_lags: int,
    output_lags: int,
    input_delay: int = 0,
    signal_names: Sequence[str] = (),
    command_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All windows within a segment of a recording on the control grid, in physical units.

    Returns x (S, nd·m + dd·n + p), y (S, n) and the sample k (S,) of each window: its row is
    x = u(k-d) … u(k-d-nd+1), y(k) … y(k-dd+1), s(k), newest first, and y(k+1). Commands and outputs
    are those of the recording in its order, or those named. Raises RecordingError if no segment is
    long enough, or one that is named is missing.
    """
    before = window_samples(input_lags, output_lags, input_delay) - 2
    k = np.concatenate([np.arange(start + before, end - 1) for start, end in recording.bounds])
    if not len(k):
        longest = max(end - start for start, end in recording.bounds)
        raise RecordingError(f"{recording.source}: {longest} samples are too few for one window")

    def lagged(values: np.ndarray, newest: int, lags: int) -> list[np.ndarray]:
        return [values[k - lag] for lag in range(newest, newest + lags)]

    outputs = recording.output(output_names or recording.output_names)
    commands = recording.command(command_names or recording.command_names)
    x = np.hstack(
        lagged(commands, input_delay, input_lags)
        + lagged(outputs, 0, output_lags)
        + lagged(recording.signal(signal_names), 0, 1)
    )
    return x, outputs[k + 1], k
