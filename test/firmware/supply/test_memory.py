"""pages.c on a memory that says that it has failed, image.c on an image that lies in memory."""

from __future__ import annotations

import ctypes
import random
import subprocess
import zlib
from ctypes import c_int, c_size_t, c_uint8, c_uint32
from pathlib import Path
from types import SimpleNamespace

import pytest

from soft_control.supply.image import LAYOUT, MAGIC

FIRMWARE = Path(__file__).parents[3] / "firmware"
WORDS, PAGE = 20, 256
CALLS = 4
"""Of a copy: the page is erased; header, content and checksum are written."""
HEADER_AT, SIZE, ROOM = 64, 500, 1024
BOARD = "stm32f405"
GOOD, OTHER_BOARD, DAMAGED = range(3)
"""image_fault_t"""


@pytest.fixture(scope="module")
def lib(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    path = tmp_path_factory.mktemp("memory") / "memory.so"
    sources = [FIRMWARE / "src" / "supply" / f"{name}.c" for name in ("pages", "image", "crc32")]
    sources.append(Path(__file__).with_name("memory.c"))
    subprocess.run(
        ["gcc", "-std=c99", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC",
         f"-I{FIRMWARE}", f"-I{FIRMWARE}/src", *map(str, sources), "-o", str(path)],
        check=True,
    )  # fmt: skip
    return ctypes.CDLL(str(path))


# ---------------------------------------------------------------------------------- pages.c


@pytest.fixture
def pages(lib) -> SimpleNamespace:
    """write(content) and forget() of a memory that is new, whose call of that number fails after so
    many bytes; read()."""
    lib.pages_write.restype = lib.pages_read.restype = c_uint32
    lib.pages_forget.restype = ctypes.c_bool
    memory = (c_uint8 * (2 * PAGE)).in_dll(lib, "memory")
    memory[:] = b"\xff" * (2 * PAGE)

    def failing(call: int, bytes_done: int) -> None:
        c_int.in_dll(lib, "calls").value = 0
        c_int.in_dll(lib, "fails_at").value = call
        c_uint32.in_dll(lib, "done_before").value = bytes_done

    def write(content: bytes, call: int = -1, bytes_done: int = 0) -> int:
        failing(call, bytes_done)
        return lib.pages_write(None, content, c_size_t(WORDS))

    def forget(call: int = -1, bytes_done: int = 0) -> bool:
        failing(call, bytes_done)
        return lib.pages_forget(None)

    def read() -> tuple[int, bytes]:
        content = ctypes.create_string_buffer(4 * WORDS)
        return lib.pages_read(None, content, c_size_t(WORDS)), content.raw

    return SimpleNamespace(write=write, forget=forget, read=read)


@pytest.mark.parametrize("bytes_done", [0, 1, 7, PAGE])
@pytest.mark.parametrize("call", range(CALLS))
def test_a_copy_that_fails_is_said_and_the_one_before_stays(pages, call, bytes_done):
    """Also where the memory has done all of it and fails nevertheless: the copy may then be there,
    but nobody was told so."""
    first, second, third = (random.Random(seed).randbytes(4 * WORDS) for seed in range(3))
    assert pages.write(first) == 1
    assert pages.write(second, call, bytes_done) == 0
    whole = call == CALLS - 1 and bytes_done >= 4
    assert pages.read() == ((2, second) if whole else (1, first))
    assert pages.write(third) == 2 + whole  # the next one is kept
    assert pages.read() == (2 + whole, third)


def test_all_calls_of_a_copy_were_tried(pages):
    assert pages.write(bytes(4 * WORDS), CALLS) == 1
    assert pages.write(b"\1" * 4 * WORDS, CALLS) == 2


@pytest.mark.parametrize("call", [0, 1])
def test_a_page_that_cannot_be_erased_is_not_forgotten(pages, call):
    """The older copy goes first: it must not come back in the newer one's place."""
    first, second = b"\1" * 4 * WORDS, b"\2" * 4 * WORDS
    pages.write(first), pages.write(second)
    assert pages.forget(call) is False
    assert pages.read() == (2, second)
    assert pages.forget() is True
    assert pages.read()[0] == 0


# ---------------------------------------------------------------------------------- image.c


def put(lib, board: str = BOARD, size: int = SIZE, magic: bytes = MAGIC) -> ctypes.Array:
    """An image of random bytes with a header that is right but for what is asked."""
    flash = (c_uint8 * ROOM).in_dll(lib, "flash")
    flash[:] = random.Random(1).randbytes(ROOM)
    texts = [text.encode() for text in (board, "m" * 16, "s" * 16, "b" * 16)]
    header = LAYOUT.pack(magic, 1, *texts, size, 0)
    flash[HEADER_AT : HEADER_AT + len(header)] = header
    crc = zlib.crc32(bytes(flash[:size])).to_bytes(4, "little")
    flash[HEADER_AT + len(header) - 4 : HEADER_AT + len(header)] = crc
    return flash


def check(lib, flash, board: str = BOARD, room: int = ROOM) -> int:
    return lib.image_check(flash, c_size_t(room), board.encode())


def test_an_image_is_good_and_no_bit_of_it_may_turn(lib):
    flash = put(lib)
    assert check(lib, flash) == GOOD
    for at in range(SIZE):
        flash[at] ^= 1 << at % 8
        assert check(lib, flash) == DAMAGED, at
        flash[at] ^= 1 << at % 8
    flash[SIZE] ^= 1  # behind its end
    assert check(lib, flash) == GOOD


def test_an_image_lies_within_what_can_be_read_and_holds_its_header(lib):
    assert check(lib, put(lib), room=SIZE) == GOOD
    assert check(lib, put(lib), room=SIZE - 1) == DAMAGED
    end = HEADER_AT + LAYOUT.size
    assert check(lib, put(lib, size=end)) == GOOD
    for size in (0, HEADER_AT, end - 1, ROOM + 1, 2**32 - 1):
        assert check(lib, put(lib, size=size)) == DAMAGED, size


def test_an_image_without_the_magic_number_is_none(lib):
    """Also where nobody knows where it lies, and its bytes cannot be looked at."""
    flash = put(lib, magic=b"CSIN")
    assert check(lib, flash) == check(lib, None) == DAMAGED
    assert check(lib, put(lib)) == check(lib, None) == GOOD


@pytest.mark.parametrize("board", ["a", "stm32f405", "a" * 15, "a" * 16])
def test_an_image_is_for_the_board_of_this_name_alone(lib, board):
    """A name of sixteen letters has no zero behind it."""
    flash = put(lib, board)
    assert check(lib, flash, board) == GOOD
    for other in ("", board[:-1], board[:-1] + "b", board + "a", "b" + board[1:]):
        assert check(lib, flash, other) == OTHER_BOARD, other
