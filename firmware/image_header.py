"""Writes size and checksum into the header of an image that has been linked (src/supply/image.h).

    image_header.py firmware.elf | libfirmware.so

The image of a program for a board is what objcopy -O binary makes of it: all that is loaded, by the
addresses that it is loaded to, gaps filled with zeros. That of a library is the file. A program
without a header, as tests have, stays as it is.
"""

from __future__ import annotations

import struct
import sys
import zlib
from pathlib import Path

SECTION = b".image_header"
MAGIC = 0x4D495343
SIZE_AT, CRC_AT = 72, 76
"""In the header."""
LIBRARY = 3
"""e_type of what is no program."""


class Elf:
    """As much of a little-endian ELF file of either width as this needs."""

    def __init__(self, content: bytes) -> None:
        if content[:4] != b"\x7fELF" or content[5:6] != b"\x01":
            raise SystemExit("image_header.py: no little-endian ELF file")
        wide = content[4] == 2
        self.content, self.wide = content, wide
        self.type = self._word(16, "H")
        segments = self._word(32 if wide else 28, "Q" if wide else "I")
        self.sections_at = self._word(40 if wide else 32, "Q" if wide else "I")
        sizes = 54 if wide else 42
        entry, count, self._entry, self._count, self._names = struct.unpack_from(
            "<5H", content, sizes
        )
        self.segments = [segments + i * entry for i in range(count)]

    def _word(self, at: int, kind: str) -> int:
        return struct.unpack_from("<" + kind, self.content, at)[0]

    def section(self, wanted: bytes) -> tuple[int, int] | None:
        """Place in the file and address of a section."""
        names = self._section(self._names)[1]
        for number in range(self._count):
            name, at, address = self._section(number)
            text = self.content[names + name :].partition(b"\0")[0]
            if text == wanted:
                return at, address
        return None

    def _section(self, number: int) -> tuple[int, int, int]:
        at = self.sections_at + number * self._entry
        if self.wide:
            return self._word(at, "I"), self._word(at + 24, "Q"), self._word(at + 16, "Q")
        return self._word(at, "I"), self._word(at + 16, "I"), self._word(at + 12, "I")

    def loaded(self) -> list[tuple[int, bytes]]:
        """Load address and content of what is loaded, by address; 32-bit files only."""
        found = []
        for at in self.segments:
            kind, offset, _, address, size = struct.unpack_from("<5I", self.content, at)
            if kind == 1 and size > 0:
                found.append((address, self.content[offset : offset + size]))
        return sorted(found)

    def binary(self) -> tuple[int, bytearray]:
        """First address and the bytes from there on."""
        pieces = self.loaded()
        start = pieces[0][0]
        last, content = pieces[-1]
        image = bytearray(last + len(content) - start)
        for address, content in pieces:
            image[address - start : address - start + len(content)] = content
        return start, image


def seal(path: Path) -> None:
    """Raises SystemExit for what is no ELF file, or has another header."""
    elf = Elf(path.read_bytes())
    section = elf.section(SECTION)
    if section is None:
        return
    at, address = section
    content = bytearray(elf.content)
    if struct.unpack_from("<I", content, at)[0] != MAGIC:
        raise SystemExit(f"image_header.py: {path}: its header has another magic number")
    if elf.type == LIBRARY:
        image, place = content, at
    else:
        start, image = elf.binary()
        place = address - start
    struct.pack_into("<II", image, place + SIZE_AT, len(image), 0)
    struct.pack_into("<II", content, at + SIZE_AT, len(image), zlib.crc32(image))
    path.write_bytes(content)


if __name__ == "__main__":
    seal(Path(sys.argv[1]))
