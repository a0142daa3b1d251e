"""A build's firmware as a library once more, with an entrance of its own instead of sil.c."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from soft_control.firmware_files import FirmwareBuild
from soft_control.paths import share

SOURCES = ("fk.c", "fk.h", "controller_config.c", "controller_config.h")


def library(build: FirmwareBuild, folder: Path, entrance: Path, flags: str = "") -> Path:
    """Made in an empty folder. entrance: a C file, in place of boards/host/sil.c. flags: for
    gcc."""
    shutil.copytree(share() / "firmware", folder / "firmware")
    shutil.copy(entrance, folder / "firmware" / "boards" / "host")
    (folder / "build").mkdir()
    for name in SOURCES:
        shutil.copy(build.directory / name, folder / "build")
    command = ["make", "-C", "firmware", "BUILD=../build", "BOARD=host", f"COMPILER=gcc {flags}"]
    command += [f"ENTRANCE=boards/host/{entrance.name}"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder / "build" / "libfirmware.so"
