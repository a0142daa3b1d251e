"""How a robot's recordings are read: which files or topics, columns, units, time, joins, rows.

recording:
  run: observations_(\\d+)(_\\d+g)?\\.csv    a run is named by the file of such a name ...
  files: [control_inputs_\\1.csv]          ... and these belong to it, \\1 as in brackets there
  join: ID                                rows with the same ID are one sample
  time: {period_s: 0.01}                  or {column: t, unit: ms}
  columns:
    x1: {column: "x1 (mm)", unit: mm}     where it is not the quantity's own name and unit
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from soft_control.robots.units import check_unit, factor

UNIT_IN_NAME = "{unit}"
"""In the name of a time column: t_{unit} is t_s, t_ms, t_us or t_ns, whichever the file has."""
TIME_UNITS = ("s", "ms", "us", "ns")


class Strict(BaseModel):
    """Of a file that people write: an unknown name is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"no regular expression: {error}") from None
    return text


def _time_unit(unit: str) -> str:
    factor(check_unit(unit), "s")
    return unit


Header = Annotated[str, Field(min_length=1, max_length=200)]
Pattern = Annotated[str, Field(min_length=1, max_length=500), AfterValidator(_pattern)]


Topic = Annotated[str, Field(pattern=r"^/?[A-Za-z_~{][A-Za-z0-9_/~{}]*$", max_length=200)]


class Column(Strict):
    """Where a quantity is found in a recording, and what its numbers mean."""

    column: Header | None = None
    """The name in the header; by default the quantity's own."""
    unit: Annotated[str, AfterValidator(check_unit)] | None = None
    """Of the numbers there; by default the quantity's unit on paper."""
    full_scale: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] | None = None
    """Of a signal, the number there that becomes 1, whatever its unit, as a sensor's driver
    calibrates it."""


class Time(Strict):
    """When the rows were sampled: a column of stamps, or a period where nothing tells."""

    column: Header | None = None
    """Of stamps; `t_{unit}` stands for t_s, t_ms, t_us and t_ns, whichever the file has."""
    unit: Annotated[str, AfterValidator(_time_unit)] = "s"
    """Of the stamps, where the column's name does not say it."""
    period_s: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] | None = None
    """From one row to the next, of the join column where there is one."""

    @model_validator(mode="after")
    def _one_of_both(self) -> Time:
        if (self.column is None) == (self.period_s is None):
            raise ValueError("needs either column, the name of the stamps', or period_s")
        return self

    @property
    def columns(self) -> dict[str, str]:
        """Name to unit of the columns that may hold the stamps, the first that is there does."""
        if self.column is None:
            return {}
        if UNIT_IN_NAME not in self.column:
            return {self.column: self.unit}
        return {self.column.replace(UNIT_IN_NAME, unit): unit for unit in TIME_UNITS}


class Rows(Strict):
    """Rows to leave out."""

    first: Annotated[int, Field(ge=0)] = 0
    """So many at the start of a run, such as those before the robot was let go."""
    last: Annotated[int, Field(ge=0)] = 0
    """So many at its end."""
    where: dict[Header, tuple[float | str, ...]] = {}
    """Column to the values whose rows are left out: {state: [idle, homing]}."""


class Topics(Strict):
    """Where a bag has the quantities. Numbers there are in the quantities' own units."""

    commands: Topic = "/command"
    """A JointState."""
    signals: Topic = "/signals/calibrated"
    """A JointState; a bag may lack it."""
    outputs: Topic | None = None
    """A JointState with the outputs that are in no point of `points`."""
    points: dict[str, Topic] = {}
    """Point to the PointStamped or PoseStamped that has its coordinates."""


class RecordingFormat(Strict):
    """How a recording of a robot is read."""

    run: Pattern | None = None
    """What the whole name of a run's file matches; by default any name."""
    files: tuple[Header, ...] = ()
    """Names of the files that belong to it, in the same folder; \\1, \\2 … are what the brackets of
    `run` held."""
    join: Header | None = None
    """The column that each of the files has, with the number of the sample; by default row after
    row."""
    time: Time
    """When each row was sampled."""
    columns: dict[str, Column] = {}
    """For a command, output or signal its column, where that is not called as the quantity with
    numbers in the quantity's unit on paper."""
    reference: dict[str, Column] = {}
    """For an output the column of its reference, where a run has one; used where all are there."""
    leave_out: Rows = Rows()
    """What is no part of the run."""
    topics: Topics | None = None
    """Of bags; by default those that a run of this project has."""

    @model_validator(mode="after")
    def _files_follow(self) -> RecordingFormat:
        if self.files and self.run is None:
            raise ValueError("files: needs run, which says which files are named for a run")
        if self.run is not None:
            brackets = re.compile(self.run).groups
            for name in self.files:
                used = [int(number) for number in re.findall(r"\\(\d)", name)]
                if any(number > brackets or number == 0 for number in used):
                    raise ValueError(f"files: {name}: run has {brackets} brackets")
        return self

    def files_of(self, name: str) -> tuple[str, ...] | None:
        """Names of all files of the run that the file `name` names; None where it names no run."""
        if self.run is None:
            return (name,)
        match = re.fullmatch(self.run, name)
        if match is None:
            return None
        return (name, *(re.sub(r"\\(\d)", lambda g: match[int(g[1])] or "", w) for w in self.files))
