"""The study file: what a search is, and line by line what it found.

    {"study": {…}}                               what it is: the same, or it is not gone on with
    {"number": 3, "values": {…}, "design": {…}, "screened": {…}}
    {"number": 4, …, "failed": "the training diverged; choose a smaller learning_rate"}
    {"number": 3, "final": {…}}

A line is written when it is known and never changed. Of a process that was killed the last one may
be half a line: it is as if it had not been begun.
"""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from soft_control.design.measure import Final, Screened
from soft_control.design.settings import Design
from soft_control.plain_text import first_fault, printable

STUDY_FILE = "study.jsonl"


class Trial(BaseModel):
    """A design that the search has tried."""

    model_config = ConfigDict(use_attribute_docstrings=True, extra="forbid")

    number: int
    """0 is the robot's present design."""
    values: dict[str, Any] = {}
    """The point of the search's space; empty for number 0, which nobody proposed."""
    design: Design
    screened: Screened | None = None
    failed: str = ""
    """Why it was not screened, in one line."""

    @model_validator(mode="after")
    def _one_of_both(self) -> Trial:
        if (self.screened is None) == (not self.failed):
            raise ValueError("either screened or failed")
        return self

    @property
    def name(self) -> str:
        """Of its folder and in tables."""
        return f"d{self.number:03d}"


class Finalist(BaseModel):
    """A design that was trained in full."""

    model_config = ConfigDict(use_attribute_docstrings=True, extra="forbid")

    number: int
    final: Final | None = None
    failed: str = ""
    """Why it was not measured, in one line."""

    @model_validator(mode="after")
    def _one_of_both(self) -> Finalist:
        if (self.final is None) == (not self.failed):
            raise ValueError("either final or failed")
        return self


class Study:
    """A study file, and what is in it."""

    def __init__(self, folder: Path, about: dict[str, Any]) -> None:
        """Begins FOLDER/study.jsonl, or goes on with it. Raises ValueError in one line where that
        is the study of something else, or none."""
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / STUDY_FILE
        self.trials: dict[int, Trial] = {}
        self.finalists: dict[int, Finalist] = {}
        self._lock = _alone(folder)
        try:
            self._open(about)
        except BaseException:
            self.close()
            raise

    def _open(self, about: dict[str, Any]) -> None:
        about = json.loads(json.dumps(about))
        if self.path.exists():
            self._read(about)
        else:
            self._write({"study": about})

    def close(self) -> None:
        """Another search may go on with it."""
        os.close(self._lock)

    def __enter__(self) -> Study:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add(self, found: Trial | Finalist) -> None:
        """Keeps what was found; on disk when this returns."""
        self._take(found)
        self._write(found.model_dump(mode="json", exclude_defaults=True) | {"number": found.number})

    def _take(self, found: Trial | Finalist) -> None:
        kept = self.trials if isinstance(found, Trial) else self.finalists
        kept[found.number] = found

    def _write(self, line: dict[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def _read(self, about: dict[str, Any]) -> None:
        try:
            content = self.path.read_bytes()
        except OSError as error:
            raise ValueError(f"{self.path}: {error.strerror}") from None
        whole = content.rfind(b"\n") + 1
        lines = content[:whole].splitlines()
        for number, line in enumerate(lines, 1):
            where = f"{printable(self.path)}, line {number}"
            try:
                said = json.loads(line)
                if number == 1:
                    self._compare(said["study"], about)
                else:
                    self._take((Trial if "design" in said else Finalist).model_validate(said))
            except ValidationError as error:
                raise ValueError(f"{where}: {first_fault(error)}") from None
            except (KeyError, TypeError, RecursionError, json.JSONDecodeError, UnicodeDecodeError):
                raise ValueError(f"{where}: no line of a study: choose another --out") from None
        if not lines:
            self.path.unlink()
            self._write({"study": about})
        elif whole < len(content):
            os.truncate(self.path, whole)

    def _compare(self, before: dict[str, Any], now: dict[str, Any]) -> None:
        for name, value in now.items():
            if before.get(name) != value:
                raise ValueError(
                    f"{printable(self.path)} is of another search: its {name} was "
                    f"{printable(before.get(name), 80)}, now it is {printable(value, 80)}; "
                    "choose another --out"
                )


def _alone(folder: Path) -> int:
    """A lock on the folder, which goes with this process. Raises ValueError where one is there."""
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise ValueError(
            f"another search is at work in {printable(folder)}: wait for it or choose another --out"
        ) from None
    return lock
