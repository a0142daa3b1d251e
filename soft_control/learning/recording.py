"""One recorded run in memory: samples, the names of their columns, and unbroken segments."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from soft_control.learning.fields import NAME_LENGTH_MAX
from soft_control.plain_text import printable
from soft_control.robots.description import RobotDescription

GRID_TOLERANCE = 0.01  # of a sample: stamps this close to the control grid are on it


class RecordingError(ValueError):
    """A recording that cannot be used; the message names file and row."""


class RecordingWarning(UserWarning):
    """Something of a recording was guessed or left out; the message names file and row."""


@dataclass(frozen=True)
class Recording:
    """One run. Row k holds what was sampled at t_s[k] and the command applied from then on.

    Raises RecordingError for columns that do not fit one another.
    """

    source: str
    t_s: np.ndarray
    """(T,) time, s, strictly increasing."""
    commands: np.ndarray
    """(T, m), in the units of the robot's description, as all values here."""
    outputs: np.ndarray
    """(T, n), measured."""
    signals: np.ndarray
    """(T, p), calibrated."""
    reference: np.ndarray | None
    """(T, n), where the run had one."""
    command_names: tuple[str, ...]
    output_names: tuple[str, ...]
    signal_names: tuple[str, ...]
    robot: RobotDescription | None = None
    """What was recorded, where the recording says it."""
    frame: str | None = None
    """Of the points, where the recording says it."""
    starts: tuple[int, ...] = (0,)
    """First sample of each segment. Between two segments lies a gap, across which nothing is
    predicted or interpolated; `dataset.resample` finds them."""
    session: str = ""
    """Recordings of one session show the robot as it was mounted on one day. By default each is one
    of its own, by its source."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "session", self.session or self.source)
        rows = len(self.t_s)
        lengths = {
            "t_s": rows,
            "commands": len(self.commands),
            "outputs": len(self.outputs),
            "signals": len(self.signals),
            "reference": rows if self.reference is None else len(self.reference),
        }
        if len(set(lengths.values())) > 1:
            listed = ", ".join(f"{name} {length}" for name, length in lengths.items())
            raise RecordingError(f"{self.source}: unequal lengths: {listed}")
        if rows < 2:
            raise RecordingError(f"{self.source}: {rows} usable rows; a recording needs at least 2")
        for what, names, values in (
            ("command", self.command_names, self.commands),
            ("output", self.output_names, self.outputs),
            ("signal", self.signal_names, self.signals),
        ):
            if values.ndim != 2 or values.shape[1] != len(names):
                raise RecordingError(
                    f"{self.source}: {what}s of shape {values.shape}, but {len(names)} names"
                )
            check_names(self.source, what, names)
        if not np.all(np.diff(self.t_s) > 0):
            raise RecordingError(f"{self.source}: the stamps do not increase")
        if self.starts[:1] != (0,) or not np.all(np.diff([*self.starts, rows]) > 0):
            raise RecordingError(f"{self.source}: segments start at {self.starts} of {rows} rows")

    def __len__(self) -> int:
        return len(self.t_s)

    @property
    def bounds(self) -> list[tuple[int, int]]:
        """First sample and end (exclusive) of each segment."""
        return list(zip(self.starts, (*self.starts[1:], len(self)), strict=True))

    def segments(self) -> Iterator[Recording]:
        """Each unbroken part as a recording of its own."""
        if len(self.starts) == 1:
            yield self
            return
        for start, end in self.bounds:
            yield self.rows(np.arange(start, end))

    def rows(self, rows: np.ndarray, starts: tuple[int, ...] = (0,)) -> Recording:
        """The chosen rows; `starts` as in the result."""
        return replace(
            self,
            t_s=self.t_s[rows],
            commands=self.commands[rows],
            outputs=self.outputs[rows],
            signals=self.signals[rows],
            reference=None if self.reference is None else self.reference[rows],
            starts=starts,
        )

    def on_grid(self, rate_hz: float) -> bool:
        """Whether every stamp lies on the control grid that starts at its segment's first one."""
        return all(
            np.max(np.abs((t_s - t_s[0]) * rate_hz - np.arange(len(t_s)))) < GRID_TOLERANCE
            for t_s in (self.t_s[start:end] for start, end in self.bounds)
        )

    def command(self, names: Sequence[str]) -> np.ndarray:
        """The named commands, (T, len(names)). Raises RecordingError if one is missing."""
        return self._named("command", names, self.command_names, self.commands)

    def output(self, names: Sequence[str]) -> np.ndarray:
        """The named outputs, (T, len(names)). Raises RecordingError if one is missing."""
        return self._named("output", names, self.output_names, self.outputs)

    def signal(self, names: Sequence[str]) -> np.ndarray:
        """The named signals, (T, len(names)). Raises RecordingError if one is missing."""
        return self._named("signal", names, self.signal_names, self.signals)

    def _named(
        self, what: str, names: Sequence[str], known: Sequence[str], values: np.ndarray
    ) -> np.ndarray:
        missing = [name for name in names if name not in known]
        if missing:
            raise RecordingError(
                f"{self.source}: no {what} {', '.join(missing)}; "
                f"it has {', '.join(known) or f'no {what}s'}"
            )
        return values[:, [list(known).index(name) for name in names]]


def check_names(source: object, what: str, names: Sequence[str]) -> None:
    """Raises RecordingError for names that tell nothing or cannot be told apart."""
    for name in names:
        if not name or len(name) > NAME_LENGTH_MAX or not name.isprintable():
            raise RecordingError(
                f"{source}: {what} name '{printable(name, 80)}': a name has 1 to "
                f"{NAME_LENGTH_MAX} printable characters"
            )
    twice = sorted({name for name in names if list(names).count(name) > 1})
    if twice:
        raise RecordingError(f"{source}: {what} {', '.join(twice)} is there more than once")


def natural(name: str) -> list[tuple[int, str]]:
    """Sorting key by which servo_2 comes before servo_10."""
    parts = re.split(r"([0-9]{1,18})", name)
    return [(int(part), "") if i % 2 else (0, part) for i, part in enumerate(parts)]


def counted(count: int, noun: str) -> str:
    """1 gap, 2 gaps."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def listed(noun: str, items: Sequence[object]) -> str:
    """The first five items, each after its noun, and how many more."""
    shown = ", ".join(f"{noun} {item}".strip() for item in items[:5])
    return shown if len(items) <= 5 else f"{shown} and {len(items) - 5} more"


def warn(source: str | Path, message: str) -> None:
    """A RecordingWarning about a recording, by its name."""
    warnings.warn(f"{source}: {message}", RecordingWarning, stacklevel=3)
