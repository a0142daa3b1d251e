"""The flash of an STM32F4, driven over a debug port word by word: reference manual RM0090, 3.6.

The registers and their order are those of firmware/boards/stm32f405/flash.c, which does the same
from within.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Sequence
from typing import Protocol

from soft_control.supply.flash import FlashError

KEYR, SR, CR = 0x40023C04, 0x40023C0C, 0x40023C10
KEYS = (0x45670123, 0xCDEF89AB)
SR_BSY, SR_ERRORS = 1 << 16, 0xF2
CR_PG, CR_SER, CR_WORD, CR_STRT, CR_LOCK = 1, 2, 2 << 8, 1 << 16, 1 << 31
IDCODE = 0xE0042000
SECTOR_AT = 3
ERASE_S, WRITE_S = 10.0, 1.0
PIECE = 1024
"""Bytes that are written between two looks at the status."""


class Target(Protocol):
    """What this needs of a debugger: pyocd.core.target has it."""

    def read32(self, address: int) -> int: ...
    def write32(self, address: int, value: int) -> None: ...
    def read_memory_block8(self, address: int, size: int) -> Sequence[int]: ...
    def write_memory_block32(self, address: int, words: Sequence[int]) -> None: ...


class Stm32F4:
    """A way to its flash while its core is halted. Every method raises FlashError."""

    def __init__(self, target: Target) -> None:
        self._target = target

    def chip(self) -> int:
        return self._target.read32(IDCODE) & 0xFFF

    def erase(self, sectors: Sequence[int]) -> None:
        self._unlock()
        try:
            for sector in sectors:
                self._target.write32(CR, CR_WORD | CR_SER | sector << SECTOR_AT)
                self._target.write32(CR, CR_WORD | CR_SER | sector << SECTOR_AT | CR_STRT)
                self._wait(f"erasing sector {sector}", ERASE_S)
        finally:
            self._target.write32(CR, CR_LOCK)

    def write(self, address: int, content: bytes) -> None:
        self._unlock()
        try:
            self._target.write32(CR, CR_WORD | CR_PG)
            for at in range(0, len(content), PIECE):
                piece = content[at : at + PIECE]
                piece += b"\xff" * (-len(piece) % 4)
                words = struct.unpack(f"<{len(piece) // 4}I", piece)
                self._target.write_memory_block32(address + at, words)
                self._wait(f"writing at 0x{address + at:08x}", WRITE_S)
        finally:
            self._target.write32(CR, CR_LOCK)

    def read(self, address: int, size: int) -> bytes:
        return bytes(self._target.read_memory_block8(address, size))

    def _unlock(self) -> None:
        self._wait("unlocking", ERASE_S)
        if self._target.read32(CR) & CR_LOCK:
            for key in KEYS:
                self._target.write32(KEYR, key)
        if self._target.read32(CR) & CR_LOCK:
            raise FlashError("the flash does not unlock: reset the board and try again")
        self._target.write32(SR, SR_ERRORS)

    def _wait(self, what: str, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while (status := self._target.read32(SR)) & SR_BSY:
            if time.monotonic() > deadline:
                raise FlashError(f"{what} takes longer than {timeout_s:g} s")
        if what != "unlocking" and status & SR_ERRORS:
            raise FlashError(f"{what} has failed: the status of the flash is 0x{status:08x}")
