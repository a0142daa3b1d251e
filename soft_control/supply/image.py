"""The header of a firmware's image: board, model, settings, build, size, checksum.

The layout is that of firmware/src/supply/image.h; firmware/image_header.py fills it in.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

MAGIC = struct.pack("<I", 0x4D495343)
LAYOUT = struct.Struct("<4sI16s16s16s16sII")
VERSION = 1
IMAGE_MAX = 1 << 24
"""Bytes: more than any microcontroller that this is for has flash."""
LOADED = 1
"""p_type of a segment that is loaded."""
LIBRARY = 3
"""e_type of what is no program."""


class ImageError(ValueError):
    """Nothing that may run: the message is one line that names the file."""


@dataclass(frozen=True)
class Image:
    """A whole one, whose checksum is right."""

    path: Path
    board: str
    model_hash: str
    settings_hash: str
    build_id: str
    start: int
    """Address of the first byte; 0 in a library, which has none."""
    content: bytes
    """What stands in flash; of a library the file."""

    def check(self, model_hash: str, build_id: str, boards: tuple[str, ...] = ()) -> None:
        """Raises ImageError where it is not of that model and build, or for none of the boards that
        are named."""
        for what, found, wanted in (
            ("model", self.model_hash, model_hash),
            ("build", self.build_id, build_id),
        ):
            if found != wanted:
                raise ImageError(
                    f"{self.path}: its image is of {what} {found}, the record beside it of "
                    f"{wanted}: build it again"
                )
        if boards and self.board not in boards:
            raise ImageError(
                f"{self.path}: its image is for the board {self.board}, not for "
                f"{' or '.join(boards)}: build for that board"
            )


def read_image(path: Path) -> Image:
    """The image in an ELF of a board, or in the host's library. Raises ImageError."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ImageError(f"{path}: {error.strerror}; build it again") from None
    if content[:4] != b"\x7fELF":
        raise ImageError(f"{path}: no ELF file: build it again")
    try:
        (kind,) = struct.unpack_from("<H", content, 16)
        start, image = (0, content) if kind == LIBRARY else _loaded(content)
    except (struct.error, ValueError):
        raise ImageError(f"{path}: the ELF file is damaged: build it again") from None
    return image_of(path, start, image)


def image_of(path: Path, start: int, content: bytes) -> Image:
    """The image in what a flash holds. Raises ImageError where it has no header whose checksum is
    right."""
    at = content.find(MAGIC)
    found = at >= 0
    while at >= 0:
        if at + LAYOUT.size <= len(content):
            _, version, *texts, size, crc = LAYOUT.unpack_from(content, at)
            if version == VERSION and size == len(content) and _sum(content, at) == crc:
                names = [text.rstrip(b"\0").decode("ascii", "replace") for text in texts]
                return Image(path, *names, start, content)
        at = content.find(MAGIC, at + 1)
    what = "is damaged" if found else "has no header, which firmware has had since protocol 9"
    raise ImageError(f"{path}: its image {what}: build it again")


def _sum(content: bytes, at: int) -> int:
    """CRC-32 with zeros in place of the header's own."""
    before = at + LAYOUT.size - 4
    crc = zlib.crc32(content[:before])
    return zlib.crc32(content[before + 4 :], zlib.crc32(bytes(4), crc))


def _loaded(content: bytes) -> tuple[int, bytes]:
    """First address and the bytes from there on of a 32-bit ELF: what `objcopy -O binary` makes."""
    (table,) = struct.unpack_from("<I", content, 28)
    entry, count = struct.unpack_from("<HH", content, 42)
    pieces = []
    for number in range(count):
        kind, offset, _, address, size = struct.unpack_from("<5I", content, table + number * entry)
        if kind == LOADED and size > 0:
            pieces.append((address, content[offset : offset + size]))
    if not pieces:
        raise ValueError("nothing is loaded")
    start = min(address for address, _ in pieces)
    size = max(address + len(piece) for address, piece in pieces) - start
    if size > IMAGE_MAX:
        raise ValueError("too large")
    image = bytearray(size)
    for address, piece in pieces:
        image[address - start : address - start + len(piece)] = piece
    return start, bytes(image)
