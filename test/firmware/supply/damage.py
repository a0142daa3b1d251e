"""Images that have been damaged, or made for somebody else, as a test wants them."""

from __future__ import annotations

import shutil
import struct
import zlib
from pathlib import Path

from soft_control.supply.image import LAYOUT, MAGIC, read_image

BOARD_AT = 8
SIZE_AT = LAYOUT.size - 8


def header_at(path: Path) -> int:
    """Where the header stands in the file: the magic number is also in the code that checks it."""
    content, image = path.read_bytes(), read_image(path)
    at = content.find(MAGIC + struct.pack("<I", 1) + image.board.encode())
    assert at > 0
    return at


def damaged(path: Path, folder: Path, at: int | None = None) -> Path:
    """A copy with one bit turned: of the build id in the header, which is no code, or of the byte
    there."""
    return _changed(path, folder, (at or header_at(path) + 56, lambda byte: byte ^ 1))


def renamed(path: Path, folder: Path, board: str) -> Path:
    """A copy that says that it is for another board, and whose checksum is right."""
    image = read_image(path)
    at = header_at(path)
    content = bytearray(path.read_bytes())
    struct.pack_into("16s", content, at + BOARD_AT, board.encode())
    inside = bytearray(image.content)
    place = inside.find(bytes(path.read_bytes()[at : at + LAYOUT.size]))
    struct.pack_into("16s", inside, place + BOARD_AT, board.encode())
    struct.pack_into("<I", inside, place + SIZE_AT + 4, 0)
    struct.pack_into("<I", content, at + SIZE_AT + 4, zlib.crc32(inside))
    copy = folder / path.name
    copy.write_bytes(content)
    assert read_image(copy).board == board
    return copy


def _changed(path: Path, folder: Path, *changes) -> Path:
    copy = folder / path.name
    shutil.copy(path, copy)
    content = bytearray(copy.read_bytes())
    for at, change in changes:
        content[at] = change(content[at])
    copy.write_bytes(content)
    return copy
