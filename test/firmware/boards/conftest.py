"""The boards with a program that does what it is asked for, under QEMU."""

from __future__ import annotations

import os
import select
import shutil
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from soft_control.faults.emulated import terminal
from soft_control.firmware_build import board_table
from soft_control.firmware_crash import CrashRecord
from soft_control.link.transport import PilTransport
from soft_control.paths import share

HERE = Path(__file__).parent
PATIENCE_S = 30.0
"""For what comes in milliseconds: only a failing test waits as long."""


def make(folder: Path, board: str, define: str = "") -> Path:
    """The ELF of program.c for the board, built in folder as `softctl build` does: with make, by
    paths that say nothing of where it is. `define` goes before the settings."""
    (folder / "build").mkdir(parents=True)
    shutil.copytree(share() / "firmware", folder / "firmware")
    shutil.copy(HERE / "program.c", folder / "build")
    config = (HERE / "controller_config.h").read_text()
    (folder / "build" / "controller_config.h").write_text(define + config)
    done = subprocess.run(
        [
            "make", "-C", "firmware", f"BOARD={board}", "BUILD=../build", "STACK=2048",
            "SOURCES=$(filter-out src/loop/main.c,$(ENTRANCE)) ../build/program.c",
        ],
        cwd=folder, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder / "build" / "firmware.elf"


@dataclass(frozen=True)
class Program:
    board: str
    elf: Path

    @property
    def machine(self) -> str:
        return board_table()[self.board].machine


@pytest.fixture(scope="session", params=["stm32f405", "mps2-an386"])
def program(request, tmp_path_factory) -> Program:
    for tool in ("arm-none-eabi-gcc", "qemu-system-arm"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    return Program(request.param, make(tmp_path_factory.mktemp("program"), request.param))


@dataclass(frozen=True)
class Boot:
    """What program.c says at its start."""

    reset_cause: int
    crash: CrashRecord
    stack_free: int
    name: str


class Machine:
    """An emulated board: the host's line, and the other ends of the terminals of the other two."""

    def __init__(self, program: Program, stack: ExitStack) -> None:
        self.board = program.board
        (self.sensor, sensor), (self.actuator, actuator) = terminal(stack), terminal(stack)
        self.host = PilTransport(
            program.elf, machine=program.machine, sensor=sensor, actuator=actuator
        )
        stack.callback(self.host.close)
        self._come = b""

    def read(self, size: int) -> bytes:
        """From the host's line."""
        deadline = time.monotonic() + PATIENCE_S
        while len(self._come) < size:
            assert time.monotonic() < deadline, f"only {self._come!r} has come"
            self._come += self.host.read(1.0)
        taken, self._come = self._come[:size], self._come[size:]
        return taken

    def words(self, count: int) -> tuple[int, ...]:
        return struct.unpack(f"<{count}I", self.read(4 * count))

    def boot(self) -> Boot:
        assert self.read(1) == b"B"
        (cause,) = self.read(1)
        *crash, stack_free = self.words(8)
        name = b""
        while not name.endswith(b"\0"):
            name += self.read(1)
        return Boot(cause, CrashRecord(*crash), stack_free, name[:-1].decode())

    def ask(self, letters: bytes) -> None:
        self.host.write(letters)


def read_terminal(end: int, size: int, patience_s: float = PATIENCE_S) -> bytes:
    """Up to size bytes; fewer if no more come for patience_s."""
    come = b""
    while len(come) < size and select.select([end], [], [], patience_s)[0]:
        come += os.read(end, size - len(come))
    return come


@pytest.fixture
def start(program) -> Iterator[Callable[[], Machine]]:
    with ExitStack() as stack:
        yield lambda: Machine(program, stack)


@pytest.fixture
def machine(start) -> Machine:
    """That has booted for the first time."""
    machine = start()
    boot = machine.boot()
    assert boot.crash.cause == 0
    return machine
