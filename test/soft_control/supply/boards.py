"""Boards that are not there: a flash by RM0090, and what tells it what to do."""

from __future__ import annotations

import functools
import json
import operator
import os
import struct
import threading
import tty
import zlib
from pathlib import Path

from soft_control.supply.flash import Flash
from soft_control.supply.image import LAYOUT, MAGIC

START = 0x08000000
FLASH = Flash.of("0x08000000", "4*16K 1*64K 7*128K", "0x413")
KEPT_AT = START + 0xC0000
MODEL, BUILD = "0123456789abcdef", "fedcba9876543210"


def image_bytes(
    size: int = 40_000,
    board: str = "stm32f405",
    model_hash: str = MODEL,
    build_id: str = BUILD,
) -> bytes:
    """An image whose header stands behind 400 bytes of vectors."""
    content = bytearray((i * i >> 5) & 0xFF for i in range(size))
    texts = [text.encode() for text in (board, model_hash, "5" * 16, build_id)]
    LAYOUT.pack_into(content, 400, MAGIC, 1, *texts, size, 0)
    struct.pack_into("<I", content, 400 + LAYOUT.size - 4, zlib.crc32(content))
    return bytes(content)


def write_elf(path: Path, content: bytes, start: int = START) -> Path:
    """A 32-bit program for ARM with one segment, which is loaded at `start`."""
    head = struct.pack("<16sHHIIIIIHHHHHH", b"\x7fELF\x01\x01\x01", 2, 40, 1, start, 52, 0, 0,
                       52, 32, 1, 40, 0, 0)  # fmt: skip
    segment = struct.pack("<8I", 1, 84, start, start, len(content), len(content), 5, 4)
    path.write_bytes(head + segment + content)
    return path


def write_build(folder: Path, content: bytes, start: int = START) -> Path:
    """As `softctl build` leaves it."""
    record = {"model_hash": MODEL, "build_id": BUILD, "horizon": 3, "compilers": {}}
    (folder / "firmware.json").write_text(json.dumps(record))
    write_elf(folder / "firmware.elf", content, start)
    return folder


class FlashMemory:
    """Bits go from 1 to 0 until a sector is erased. What stands in it at first is another program,
    and in the last two sectors what a board keeps."""

    def __init__(self) -> None:
        self.bytes = bytearray(b"\x5a" * sum(FLASH.sectors))
        self.erased: list[int] = []
        self.stuck: int | None = None
        """Address of a byte that stays 0."""

    def erase(self, sector: int) -> None:
        self.erased.append(sector)
        at = sum(FLASH.sectors[:sector])
        size = FLASH.sectors[sector]
        self.bytes[at : at + size] = b"\xff" * size

    def write(self, address: int, content: bytes) -> None:
        at = address - START
        assert 0 <= at <= len(self.bytes) - len(content)
        there = self.bytes[at : at + len(content)]
        self.bytes[at : at + len(content)] = bytes(map(operator.and_, there, content))
        if self.stuck is not None:
            self.bytes[self.stuck - START] = 0

    def read(self, address: int, size: int) -> bytes:
        return bytes(self.bytes[address - START : address - START + size])


class BootLoader(threading.Thread):
    """AN3155 on a pseudo-terminal. `refuses` are commands that it answers by NACK."""

    ACK, NACK = b"\x79", b"\x1f"
    COMMANDS = bytes([0x00, 0x01, 0x02, 0x11, 0x21, 0x31, 0x44, 0x63, 0x73, 0x82, 0x92])

    def __init__(self, chip: int = 0x413, commands: bytes = COMMANDS) -> None:
        super().__init__(daemon=True)
        self.memory = FlashMemory()
        self.chip, self.commands = chip, commands
        self.refuses: set[int] = set()
        self.silent_at: int | None = None
        self.begun: int | None = None
        """Address of the program that GO has started."""
        self.log: list[int] = []
        self._ours, self._theirs = os.openpty()
        tty.setraw(self._theirs)
        self.port = os.ttyname(self._theirs)
        self._ended = threading.Event()
        self.start()

    def close(self) -> None:
        self._ended.set()
        os.write(self._theirs, b"")
        self.join(0.0)

    def run(self) -> None:
        try:
            self._synchronise()
            while self.begun is None:
                self._command()
        except OSError:
            pass

    def _synchronise(self) -> None:
        while self._take(1) != b"\x7f":
            pass
        self._say(self.ACK)

    def _command(self) -> None:
        command, check = self._take(2)
        if command ^ check != 0xFF or command not in self.commands or command in self.refuses:
            self._say(self.NACK)
            return
        self.log.append(command)
        if self.silent_at == command:
            threading.Event().wait()
        self._say(self.ACK)
        {0x00: self._get, 0x02: self._id, 0x11: self._read, 0x21: self._go, 0x31: self._write,
         0x44: self._erase}[command]()  # fmt: skip

    def _get(self) -> None:
        self._say(bytes([len(self.commands), 0x31]) + self.commands + self.ACK)

    def _id(self) -> None:
        self._say(b"\x01" + self.chip.to_bytes(2, "big") + self.ACK)

    def _address(self) -> int | None:
        content = self._checked(4)
        self._say(self.NACK if content is None else self.ACK)
        return None if content is None else int.from_bytes(content, "big")

    def _checked(self, size: int, before: bytes = b"") -> bytes | None:
        content = self._take(size)
        (check,) = self._take(1)
        good = functools.reduce(operator.xor, before + content) == check
        return content if good else None

    def _read(self) -> None:
        address = self._address()
        if address is None:
            return
        size, check = self._take(2)
        if size ^ check != 0xFF:
            self._say(self.NACK)
            return
        self._say(self.ACK + self.memory.read(address, size + 1))

    def _write(self) -> None:
        address = self._address()
        if address is None:
            return
        size = self._take(1)
        content = self._checked(size[0] + 1, size)
        if content is None or address % 4 or len(content) % 4:
            self._say(self.NACK)
            return
        self.memory.write(address, content)
        self._say(self.ACK)

    def _erase(self) -> None:
        count = self._take(2)
        pages = self._take(2 * (int.from_bytes(count, "big") + 1))
        (check,) = self._take(1)
        if functools.reduce(operator.xor, count + pages) != check:
            self._say(self.NACK)
            return
        for at in range(0, len(pages), 2):
            self.memory.erase(int.from_bytes(pages[at : at + 2], "big"))
        self._say(self.ACK)

    def _go(self) -> None:
        self.begun = self._address()

    def _take(self, size: int) -> bytes:
        content = b""
        while len(content) < size:
            content += os.read(self._ours, size - len(content))
        return content

    def _say(self, content: bytes) -> None:
        os.write(self._ours, content)


class Registers:
    """The same flash behind its registers, as a debug port reaches them."""

    KEYR, SR, CR, IDCODE = 0x40023C04, 0x40023C0C, 0x40023C10, 0xE0042000
    LOCK, STRT, PG, SER, BSY = 1 << 31, 1 << 16, 1, 2, 1 << 16

    def __init__(self, chip: int = 0x413) -> None:
        self.memory = FlashMemory()
        self.chip = chip
        self.status, self.control, self.keys = 0xF0, self.LOCK, 0
        self.busy = 0
        self.fails = False
        self.resets = 0

    def read32(self, address: int) -> int:
        if address == self.SR:
            self.busy = max(0, self.busy - 1)
            return self.status | (self.BSY if self.busy else 0)
        if address == self.CR:
            return self.control
        if address == self.IDCODE:
            return 0x10070000 | self.chip
        return int.from_bytes(self.memory.read(address, 4), "little")

    def write32(self, address: int, value: int) -> None:
        assert not self.busy, "written while busy"
        if address == self.KEYR:
            assert value == (0x45670123, 0xCDEF89AB)[self.keys]
            self.keys = (self.keys + 1) % 2
            self.control &= ~self.LOCK if self.keys == 0 else ~0
        elif address == self.SR:
            self.status &= ~value
        elif address == self.CR:
            self._control(value)
        else:
            self._word(address, value)

    def _control(self, value: int) -> None:
        if self.control & self.LOCK:
            assert value & self.LOCK, "CR written while locked"
            return
        self.control = value & ~self.STRT
        if value & self.STRT:
            assert value & self.SER and not value & self.PG
            self.memory.erase(value >> 3 & 15)
            self.busy = 3
            self.status |= 1 << 4 if self.fails else 0

    def _word(self, address: int, value: int) -> None:
        assert self.control & self.PG and self.control >> 8 & 3 == 2 and address % 4 == 0
        self.memory.write(address, value.to_bytes(4, "little"))

    # As pyocd.core.target has it.

    def read_memory_block8(self, address: int, size: int) -> list[int]:
        return list(self.memory.read(address, size))

    def write_memory_block32(self, address: int, words) -> None:
        for i, word in enumerate(words):
            self.write32(address + 4 * i, word)

    def reset(self) -> None:
        self.resets += 1
