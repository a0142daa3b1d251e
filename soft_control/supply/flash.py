"""An image into the flash of a board: erased, written, read back, whatever the way there is."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from soft_control.supply.image import Image

UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20}


class FlashError(RuntimeError):
    """The board cannot be reached, or has not taken the image; the message is one line."""


@dataclass(frozen=True)
class Flash:
    """Of a chip."""

    start: int
    """Address of its first byte."""
    sectors: tuple[int, ...]
    """Bytes of each, in their order."""
    chip: int
    """DEV_ID of DBGMCU_IDCODE, which also the boot loaders tell."""

    @classmethod
    def of(cls, start: str, sectors: str, chip: str) -> Flash:
        """As a board.mk says it: 0x08000000, `4*16K 1*64K 7*128K`, 0x413. Raises ValueError."""
        sizes: list[int] = []
        for piece in sectors.split():
            found = re.fullmatch(r"(\d+)\*(\d+)([KM]?)", piece)
            if not found:
                raise ValueError(f"{piece!r} is no number of sectors and their size, such as 4*16K")
            sizes += int(found[1]) * [int(found[2]) * UNITS[found[3]]]
        return cls(int(start, 0), tuple(sizes), int(chip, 0))

    def touched(self, image: Image) -> list[int]:
        """Numbers of the sectors that it stands in. Raises FlashError where it does not fit."""
        if image.start != self.start:
            raise FlashError(
                f"{image.path}: it is for address 0x{image.start:08x}, the flash begins at "
                f"0x{self.start:08x}"
            )
        numbers, end = [], 0
        for number, size in enumerate(self.sectors):
            if end < len(image.content):
                numbers.append(number)
            end += size
        if end < len(image.content):
            raise FlashError(f"{image.path}: {len(image.content)} bytes; the flash has {end}")
        return numbers


class Way(Protocol):
    """To the flash of a board. Every method raises FlashError."""

    def chip(self) -> int:
        """Which it is, as Flash.chip."""

    def erase(self, sectors: Sequence[int]) -> None:
        """These, and no other."""

    def write(self, address: int, content: bytes) -> None:
        """Into what has been erased."""

    def read(self, address: int, size: int) -> bytes:
        """What is there."""

    def start(self, address: int) -> None:
        """The program whose vectors stand there begins."""


def write_image(
    way: Way, image: Image, flash: Flash, tell: Callable[[str], None] = lambda _: None
) -> None:
    """Erases the sectors that the image needs, writes it, reads it back and starts it. What a board
    keeps over the power is in other sectors, and stays.

    tell: is told of each step. Raises FlashError; before anything is erased where it is another
    chip.
    """
    sectors = flash.touched(image)
    chip = way.chip()
    if chip != flash.chip:
        raise FlashError(
            f"the chip there is 0x{chip:03x}, {image.path} is for the board {image.board} with "
            f"0x{flash.chip:03x}: nothing was written"
        )
    tell(f"erasing {len(sectors)} of {len(flash.sectors)} sectors")
    way.erase(sectors)
    tell(f"writing {len(image.content)} bytes")
    way.write(image.start, image.content)
    tell("reading back")
    verify(way.read(image.start, len(image.content)), image)
    way.start(image.start)


def verify(there: bytes, image: Image) -> None:
    """Raises FlashError where what was read back is not the image."""
    if there != image.content:
        pairs = enumerate(zip(there, image.content, strict=False))
        at = next((i for i, (a, b) in pairs if a != b), min(len(there), len(image.content)))
        raise FlashError(
            f"what was read back differs from the image from byte {at} on: the board will not run "
            "it; write it again"
        )
