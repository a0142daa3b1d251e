"""A first description of a robot, guessed from its recordings, with the reason for each guess."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import yaml

from soft_control.learning.dataset import read_recording
from soft_control.learning.described_bag import look_at_bag, told_by_its_run
from soft_control.learning.described_column import COMMANDS, OTHERS, OUTPUTS
from soft_control.learning.described_files import Found, look_at_files
from soft_control.learning.description_text import written
from soft_control.learning.recording import Recording, RecordingError, RecordingWarning
from soft_control.plain_text import printable
from soft_control.robots.description import RobotDescription, described

NEAR_MIDDLE, NEAR_ROWS = 0.1, 100
"""Of a command's range: rows whose commands are all so near to the middle show the robot near its
rest, the first row best, for there it did not move yet; of others at most so many, the nearest. In
run 1 of the trunk their median is 16 mm away from where its tip hung at first."""
DIGITS = 4
"""Of a value at rest."""


def first_description(
    paths: Sequence[Path], name: str, told: Mapping[str, str] | None = None
) -> str:
    """YAML text that `robots.load` reads, guessed from CSV files of one or of many runs, or from a
    bag; a bag of this project says itself what its robot is. `told` are roles by column of a file.

    Raises RecordingError for files that cannot be read, or hold no command or no output; warns of
    files that nothing is guessed from.
    """
    bags = [path for path in paths if path.is_dir()]
    if bags and (told := told_by_its_run(bags[0])):
        return told
    if bags and len(paths) > 1:
        raise RecordingError(f"{bags[0]}: is a folder: name one bag alone, or CSV files")
    found = look_at_bag(bags[0]) if bags else look_at_files(paths, told)
    _leave_out_still_ones(found)
    _check_complete(found, paths[0])
    robot = described(yaml.safe_load(written(found, name)), str(paths[0]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RecordingWarning)  # they were said when it was looked at
        run = read_recording(found.runs[0], robot)
    return written(found, name, _at_rest(found, robot, run))


def _leave_out_still_ones(found: Found) -> None:
    """Points, and outputs that are no coordinates, that never move: nothing could be learned."""
    outputs = found.of(OUTPUTS)
    for column in outputs:
        group = [c for c in outputs if c is column or (c.axis and c.point == column.point)]
        if not any(c.moves for c in group):
            column.role, column.why = OTHERS, f"an output that stands still at {column.low:g}"


def _check_complete(found: Found, path: Path) -> None:
    for role, remedy in (
        (
            COMMANDS,
            "name the columns of what the robot is told with --command, or add their file",
        ),
        (OUTPUTS, "name the columns of what it does with --output, or add their file"),
    ):
        if not any(column.moves for column in found.of(role)):
            names = ", ".join(printable(column.name, 40) for column in found.columns)
            raise RecordingError(
                f"{path}: no column that moves looks like a robot's {role}; there are "
                f"{names or 'no columns'} of numbers: {remedy}"
            )


def _at_rest(found: Found, robot: RobotDescription, run: Recording) -> dict[str, str]:
    """The outputs' values at rest in a run, as text with units; says in `found` why."""
    ranges = robot.command_max - robot.command_min
    away = np.max(np.abs(run.commands - robot.command_neutral) / ranges, axis=1)
    near = np.argsort(away, kind="stable")[:NEAR_ROWS]
    near = near[away[near] <= NEAR_MIDDLE]
    if away[0] <= NEAR_MIDDLE:
        rest = run.outputs[0]
        why = "the first row, whose commands are near mid-range,"
    elif len(near):
        rest = np.median(run.outputs[near], axis=0)
        why = f"the median of the {len(near)} rows with all commands nearest to mid-range"
    else:
        rest = run.outputs[0]
        why = "the first row, for in none all commands are near mid-range,"
    found.rest_why = f"rest is {why} in {printable(found.runs[0].name, 60)}"
    return {
        column.base: f"{output.factor * value:.{DIGITS}g}"
        + (f" {output.shown_in}" if output.shown_in != output.unit else "")
        for column, output, value in zip(found.of(OUTPUTS), robot.outputs, rest, strict=True)
    }
