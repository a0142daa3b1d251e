"""A build that several of these tests want."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from soft_control.control.mpc_settings import MpcSettings
from soft_control.firmware_build import build
from soft_control.firmware_files import FirmwareBuild


@pytest.fixture(scope="session")
def with_ram(
    has_board_compiler: bool,
    model_dir: Path,
    settings: MpcSettings,
    tmp_path_factory: pytest.TempPathFactory,
) -> FirmwareBuild:
    """For the emulated board whose flash is a RAM."""
    if not has_board_compiler or shutil.which("qemu-system-arm") is None:
        pytest.skip("needs arm-none-eabi-gcc and qemu-system-arm")
    return build(model_dir, settings, tmp_path_factory.mktemp("mps2"), ("mps2-an386",))
