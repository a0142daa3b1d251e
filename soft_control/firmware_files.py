"""What a build of a firmware leaves in its folder: its files, and the record firmware.json.

Whoever runs a firmware reads this; the compiler that made it is not imported.
"""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from soft_control.plain_text import first_fault

BUILD_FILE = "firmware.json"


class BuildError(RuntimeError):
    """The firmware cannot be built from what was given, or there is none where one was expected."""


class FirmwareBuild(BaseModel):
    """What `build` wrote; firmware.json holds all but the directory."""

    model_config = ConfigDict(use_attribute_docstrings=True, extra="forbid")

    directory: Path = Field(exclude=True)
    model_hash: str
    """First 16 hex digits of the SHA-256 of the network file."""
    build_id: str
    """First 16 hex digits of the SHA-256 of all sources and settings."""
    horizon: int
    """N: a sample brings the reference of N samples ahead."""
    trajectory_points: int = 1200
    """For which it has room."""
    compilers: dict[str, str]
    """Board -> first line of its compiler's --version."""
    flash_bytes: int | None = None
    """All that is loaded into flash: code, constants, initial values. None without an ELF."""
    flash_percent: float | None = None
    """Of the board's."""
    ram_bytes: int | None = None
    """Static variables and the stack reserve."""
    machine: str | None = None
    """QEMU's name of what models the board of the ELF."""

    @property
    def elf(self) -> Path:
        return self.directory / "firmware.elf"

    @property
    def library(self) -> Path:
        return self.directory / "libfirmware.so"


def read_build(out_dir: str | Path) -> FirmwareBuild:
    """The build in OUT_DIR. Raises BuildError if there is none, or what is there is none."""
    out_dir = Path(out_dir)
    fields = record_of(out_dir)
    if not fields:
        raise BuildError(f"no {BUILD_FILE} in {out_dir}: build the firmware first")
    try:
        return FirmwareBuild.model_validate(fields | {"directory": out_dir})
    except ValidationError as error:
        said = first_fault(error)
        raise BuildError(f"{out_dir / BUILD_FILE}: {said}; build the firmware again") from None


def record_of(out_dir: Path) -> dict:
    """The object in firmware.json; an empty one where there is none."""
    try:
        values = json.loads((out_dir / BUILD_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}
