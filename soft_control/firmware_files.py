"""What a build of a firmware leaves in its folder: its files, and the record firmware.json.

Whoever runs a firmware reads this; the compiler that made it is not imported.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from soft_control.control.mpc_settings import MpcSettings
from soft_control.plain_text import first_fault, printable
from soft_control.robots.description import RobotDescription
from soft_control.small_files import read_small_text

BUILD_FILE = "firmware.json"


class BuildError(RuntimeError):
    """The firmware cannot be built from what was given, or there is none where one was expected."""


class FirmwareBuild(BaseModel):
    """What `build` wrote; firmware.json holds all but the directory."""

    model_config = ConfigDict(
        use_attribute_docstrings=True, extra="forbid", ser_json_inf_nan="constants"
    )

    directory: Path = Field(exclude=True)
    model_hash: str
    """First 16 hex digits of the SHA-256 of the network file."""
    build_id: str
    """First 16 hex digits of the SHA-256 of all sources and settings."""
    signal_names: list[str] = []
    """That the model sees."""
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
    mpc: MpcSettings | None = None
    """What its MPC is asked to do until CONFIGURE says other things."""
    robot: RobotDescription | None = None
    """Whose commands and outputs these are; None, as `mpc`: of a build that does not say."""
    machine: str | None = None
    """QEMU's name of what models the board of the ELF."""

    @property
    def elf(self) -> Path:
        return self.directory / "firmware.elf"

    @property
    def library(self) -> Path:
        return self.directory / "libfirmware.so"


class KeptBuild:
    """A build whose file for one target stays, whatever takes the place of its folder."""

    def __init__(self, build: FirmwareBuild, target: Literal["sil", "pil", "hil"]) -> None:
        """Raises BuildError where that file is missing; a board has its own."""
        self.build = build
        files = {"sil": [build.library], "pil": [build.elf], "hil": []}[target]
        try:
            self._files = {path.name: path.read_bytes() for path in files}
        except OSError as error:
            raise BuildError(f"{error.filename}: {error.strerror}; build it again") from None

    @contextlib.contextmanager
    def again(self) -> Iterator[FirmwareBuild]:
        """The same build in a folder of its own, for as long as something reads it."""
        with tempfile.TemporaryDirectory(prefix="firmware-") as folder:
            for name, content in self._files.items():
                (Path(folder) / name).write_bytes(content)
            yield self.build.model_copy(update={"directory": Path(folder)})


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


def check_names(
    build: FirmwareBuild,
    commands: Sequence[str],
    outputs: Sequence[str],
    signals: Sequence[str],
) -> None:
    """A firmware takes the same commands, outputs and signals by name as the run that it joins. A
    build that is so old that it names none is taken."""
    if build.robot is None:
        return
    pairs = {
        "commands": (build.robot.command_names, commands),
        "outputs": (build.robot.output_names, outputs),
        "signals": (build.signal_names, signals),
    }
    for what, (given, wanted) in pairs.items():
        if list(given) != list(wanted):
            names = (printable(", ".join(names) or "none") for names in (given, wanted))
            raise ValueError("it has the {} {}; the run has {}".format(what, *names))


def record_of(out_dir: Path) -> dict:
    """The object in firmware.json; an empty one where there is none."""
    try:
        values = json.loads(read_small_text(out_dir / BUILD_FILE))
    except (OSError, ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}
