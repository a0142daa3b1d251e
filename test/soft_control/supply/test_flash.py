"""softctl flash: by serial boot loader, debug probe and DFU, against boards that are not there."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from soft_control.firmware_build import board_table
from soft_control.supply import an3155, dfu, stm32f4
from soft_control.supply.an3155 import SerialBoot
from soft_control.supply.dfu import layouts, write_by_dfu
from soft_control.supply.flash import Flash, FlashError, write_image
from soft_control.supply.image import ImageError, image_of, read_image
from soft_control.supply.swd import SwdWay

from .boards import (
    FLASH,
    KEPT_AT,
    START,
    BootLoader,
    Registers,
    image_bytes,
    write_elf,
)


@pytest.fixture
def image(tmp_path):
    return read_image(write_elf(tmp_path / "firmware.elf", image_bytes()))


@pytest.fixture(autouse=True)
def in_no_time(monkeypatch):
    monkeypatch.setattr(an3155, "ANSWER_S", 0.4)
    monkeypatch.setattr(stm32f4, "ERASE_S", 0.2)


def is_written(memory, image) -> None:
    """And nothing else: the rest is as it was, or erased with it."""
    assert memory.read(START, len(image.content)) == image.content
    assert memory.erased == FLASH.touched(image) == [0, 1, 2]
    assert memory.bytes[KEPT_AT - START :] == b"\x5a" * 0x40000


# ------------------------------------------------------------------ what is common


def test_a_board_file_says_how_its_flash_is_cut():
    board = board_table()["stm32f405"]
    assert Flash.of(board.flash_start, board.flash_sectors, board.chip) == FLASH
    assert FLASH.sectors == (0x4000,) * 4 + (0x10000,) + (0x20000,) * 7
    assert sum(FLASH.sectors) == board.flash_bytes
    with pytest.raises(ValueError, match=r"'4x16K' is no number of sectors and their size"):
        Flash.of("0", "4x16K", "0")


@pytest.mark.parametrize("size, sectors", [(500, 1), (0x4000, 1), (0x4001, 2), (0x20001, 6)])
def test_only_the_sectors_that_it_needs_are_erased(tmp_path, size, sectors):
    image = read_image(write_elf(tmp_path / "f.elf", image_bytes(size)))
    assert FLASH.touched(image) == list(range(sectors))


def test_what_does_not_fit_is_refused(tmp_path):
    image = read_image(write_elf(tmp_path / "f.elf", image_bytes(), start=0))
    with pytest.raises(FlashError, match="it is for address 0x00000000, the flash begins at 0x08"):
        FLASH.touched(image)
    small = Flash(START, (0x4000,), 0x413)
    with pytest.raises(FlashError, match="40000 bytes; the flash has 16384"):
        small.touched(read_image(write_elf(tmp_path / "g.elf", image_bytes())))


# ------------------------------------------------------------------ serial


def test_the_serial_boot_loader_gets_the_image_and_starts_it(image):
    board, said = BootLoader(), []
    with SerialBoot(board.port) as way:
        write_image(way, image, FLASH, said.append)
    is_written(board.memory, image)
    board.join(2.0)
    assert board.begun == START
    assert said == ["erasing 3 of 12 sectors", "writing 40000 bytes", "reading back"]


def test_one_that_is_awake_already_is_taken(image):
    board = BootLoader()
    with SerialBoot(board.port) as way:
        assert way.chip() == 0x413
    with SerialBoot(board.port) as way:
        write_image(way, image, FLASH)
    is_written(board.memory, image)


def test_another_chip_is_not_erased(image):
    board = BootLoader(chip=0x431)
    with (
        SerialBoot(board.port) as way,
        pytest.raises(FlashError, match="0x431, .*nothing was"),
    ):
        write_image(way, image, FLASH)
    assert board.memory.erased == []


def test_a_byte_that_does_not_stick_is_found(image):
    board = BootLoader()
    at = next(i for i in range(20_000, 30_000) if image.content[i] != 0)
    board.memory.stuck = START + at
    with SerialBoot(board.port) as way, pytest.raises(FlashError, match=f"from byte {at} on"):
        write_image(way, image, FLASH)
    assert board.begun is None


@pytest.mark.parametrize(
    "command, what",
    [(0x31, "WRITE MEMORY; is its flash read-protected"), (0x11, "READ MEMORY; is its flash"),
     (0x44, "EXTENDED ERASE"), (0x02, "GET ID")],
)  # fmt: skip
def test_what_it_refuses_is_named(image, command, what):
    board = BootLoader()
    board.refuses = {command}
    with SerialBoot(board.port) as way, pytest.raises(FlashError, match=f"refuses {what}"):
        write_image(way, image, FLASH)


def test_one_that_falls_silent_is_named(image):
    board = BootLoader()
    board.silent_at = 0x31
    with SerialBoot(board.port) as way, pytest.raises(FlashError, match="is silent, WRITE MEMORY"):
        write_image(way, image, FLASH)


def test_a_board_that_is_no_boot_loader_and_one_that_is_too_old(tmp_path):
    ours, theirs = os.openpty()
    with pytest.raises(FlashError, match="no boot loader answers: start the board with BOOT0 high"):
        SerialBoot(os.ttyname(theirs))
    os.close(ours), os.close(theirs)
    board = BootLoader(commands=BootLoader.COMMANDS.replace(b"\x44", b"\x43"))
    with pytest.raises(FlashError, match="has no command 0x44"):
        SerialBoot(board.port)
    with pytest.raises(FlashError, match="nothing/here: "):
        SerialBoot(str(tmp_path / "nothing/here"))


# ------------------------------------------------------------------ SWD


def test_a_debug_port_writes_by_the_flashs_registers(image):
    board = Registers()
    write_image(SwdWay(board), image, FLASH)
    is_written(board.memory, image)
    assert board.control & board.LOCK and board.resets == 1


def test_a_flash_that_fails_or_stays_busy_is_named(image):
    board = Registers()
    board.fails = True
    with pytest.raises(FlashError, match="erasing sector 0 has failed: .* 0x00000010"):
        write_image(SwdWay(board), image, FLASH)
    assert board.control & board.LOCK
    board = Registers()
    board.busy = 10**9
    with pytest.raises(FlashError, match="unlocking takes longer"):
        write_image(SwdWay(board), image, FLASH)
    board = Registers(chip=0x419)
    with pytest.raises(FlashError, match="0x419"):
        write_image(SwdWay(board), image, FLASH)
    assert board.memory.erased == []


# ------------------------------------------------------------------ DFU

DFU_UTIL = '''#!{python}
"""A dfu-util with one board, whose flash is a file; it checks its words as dfu-util 0.11 does."""
import re, sys
from pathlib import Path
words = sys.argv[1:]
state = Path({state!r})
layout = {layout!r}
def value(flag):
    return words[words.index(flag) + 1] if flag in words else None
assert value("-d") == "0483:df11"
if value("-S") not in (None, "375A"):
    sys.exit("No DFU capable USB device available")
if "-l" in words:
    print("dfu-util 0.11\\n")
    for alt, name in enumerate([layout, "@Option Bytes  /0x1FFFC000/01*016 e"]):
        print(f'Found DFU: [0483:df11] ver=2200, devnum=5, cfg=1, intf=0, path="1-2", '
              f'alt={{alt}}, name="{{name}}", serial="375A"')
    sys.exit(0)
assert value("-a") == "0"
address, *modifiers = value("-s").split(":")
at = int(address, 16) - 0x08000000
content = bytearray(state.read_bytes())
if "-D" in words:
    sent = Path(value("-D")).read_bytes()
    for i in range(at, at + len(sent), {page}):
        content[i : i + {page}] = bytes([255]) * {page}
    content[at : at + len(sent)] = sent
    if {broken}:
        content[at + 1000] ^= 255
    state.write_bytes(content)
elif "-U" in words:
    path = Path(value("-U"))
    if path.exists():
        sys.exit(f"dfu-util: Cannot open file {{path}} for writing: File exists")
    path.write_bytes(content[at : at + int(modifiers[0])])
    if "leave" in modifiers:
        Path({state!r} + ".left").touch()
else:
    sys.exit("dfu-util: You need to specify one of -D or -U")
'''
LAYOUT = "@Internal Flash  /0x08000000/04*016Kg,01*064Kg,07*128Kg"


@pytest.fixture
def dfu_util(tmp_path, monkeypatch):
    """Makes the program and returns the file that is the board's flash."""

    def make(layout: str = LAYOUT, broken: bool = False) -> Path:
        folder = tmp_path / "programs"
        folder.mkdir(exist_ok=True)
        state = tmp_path / "flash"
        state.write_bytes(b"\x5a" * 0x100000)
        program = folder / "dfu-util"
        program.write_text(
            DFU_UTIL.format(
                python=sys.executable, state=str(state), layout=layout, page=0x4000, broken=broken
            )
        )
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
        return state

    return make


def test_dfu_util_writes_reads_back_and_leaves(image, dfu_util):
    state, said = dfu_util(), []
    write_by_dfu(image, FLASH, tell=said.append)
    content = state.read_bytes()
    assert content[: len(image.content)] == image.content
    assert content[0xC0000:] == b"\x5a" * 0x40000
    assert Path(f"{state}.left").exists()
    assert said == ["erasing and writing 40000 bytes", "reading back"]


def test_dfu_refuses_another_chip_and_finds_what_did_not_stick(image, dfu_util):
    state = dfu_util(layout="@Internal Flash  /0x08000000/04*016Kg,01*064Kg,03*128Kg")
    with pytest.raises(FlashError, match="cut otherwise .*: nothing was written"):
        write_by_dfu(image, FLASH)
    assert state.read_bytes() == b"\x5a" * 0x100000
    dfu_util(broken=True)
    with pytest.raises(FlashError, match="differs from the image from byte 1000 on"):
        write_by_dfu(image, FLASH)
    assert not Path(f"{state}.left").exists()


def test_dfu_without_a_board_or_its_program(image, dfu_util, monkeypatch):
    dfu_util()
    with pytest.raises(FlashError, match="^dfu-util: No DFU capable USB device available$"):
        write_by_dfu(image, FLASH, serial="1234")
    dfu_util(layout="@Other")
    with pytest.raises(FlashError, match="boards in their USB boot loader: none; start one with"):
        write_by_dfu(image, FLASH)
    monkeypatch.setattr(dfu, "PROGRAM", "dfu-util-that-nobody-has")
    with pytest.raises(FlashError, match="is not installed: apt install"):
        write_by_dfu(image, FLASH)


def test_a_listing_is_read_once_a_board():
    """Alternate settings of one board, and two boards."""
    lines = [
        f'Found DFU: [0483:df11] ver=2200, alt={alt}, name="{name}", serial="{serial}"'
        for serial in ("A", "B")
        for alt, name in enumerate((LAYOUT, "@OTP Memory /0x1FFF7800/01*512 e,01*016 e"))
    ]
    assert layouts("\n".join(lines)) == [(s, START, FLASH.sectors) for s in ("A", "B")]


def test_an_image_is_not_taken_from_bytes_that_only_look_like_one():
    whole = image_bytes()
    assert image_of(Path("x"), START, whole).board == "stm32f405"
    for content in (b"", whole[:-1], whole + b"\0", whole.replace(b"CSIM", b"CSIN")):
        with pytest.raises(ImageError, match="^x: its image "):
            image_of(Path("x"), START, content)
