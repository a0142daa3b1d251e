"""Files of faults: what stands in config/faults/, or in a file of a robot of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from soft_control.faults.fault import Fault, FaultFile, Supervised
from soft_control.faults.stands import check
from soft_control.paths import share
from soft_control.plain_text import first_fault
from soft_control.robots.config_files import read_yaml


def fault_files() -> list[Path]:
    """Those of the project, in the order of their names."""
    return sorted((share() / "config" / "faults").glob("*.yaml"))


def read_faults(files: Sequence[Path]) -> list[tuple[Fault, Supervised]]:
    """All faults of these files, each with what its file changes in the robot.

    Raises ValueError in one line naming the file and the first setting that is wrong.
    """
    found: list[tuple[Fault, Supervised]] = []
    for path in files:
        if not path.is_file():
            raise ValueError(f"{path}: no such file of faults")
        try:
            read = FaultFile.model_validate(read_yaml(path))
        except ValidationError as error:
            raise ValueError(f"{path}: {first_fault(error)}") from None
        for fault in read.faults:
            if any(fault.name == other.name for other, _ in found):
                raise ValueError(f"{path}: the fault {fault.name} is in another file as well")
            try:
                check(fault)
            except ValidationError as error:
                raise ValueError(f"{path}: {fault.name}: {first_fault(error)}") from None
            except ValueError as error:
                raise ValueError(f"{path}: {fault.name}: {error}") from None
            found.append((fault, read.robot))
    return found
