"""A reference from a recorded run: what the robot did once, to be done again."""

from __future__ import annotations

from pathlib import Path

from soft_control.control.sampled_reference import TIME_COLUMN, SampledReference
from soft_control.learning.csv_table import CsvTable
from soft_control.learning.dataset import read_recording
from soft_control.plain_text import printable
from soft_control.robots.description import RobotDescription


def is_recorded(path: Path, robot: RobotDescription) -> bool:
    """Whether a CSV file is a recorded run of the robot, and no table of a reference: it has the
    robot's commands, or no column `t_s`.

    Raises RecordingError for what is no text.
    """
    if robot.recording is None or not path.is_file():
        return False
    commands = {robot.column_of(command)[0] for command in robot.commands}
    header = CsvTable(path, {TIME_COLUMN, *commands}.__contains__).header
    return TIME_COLUMN not in header or not commands.isdisjoint(header)


def read_recorded(path: Path, robot: RobotDescription) -> SampledReference:
    """The outputs of a recorded run, read as the robot's description says, from its first sample.

    Between the samples, and across a gap, it goes in straight lines. Raises ValueError, which a
    RecordingError is, in one line naming the file.
    """
    run = read_recording(path, robot)
    outputs = run.output(robot.output_names)
    rows = tuple(map(tuple, outputs.tolist()))
    try:
        return SampledReference(robot.output_names, tuple((run.t_s - run.t_s[0]).tolist()), rows)
    except ValueError as error:
        raise ValueError(f"{printable(path)}: {error}") from None
