"""Flash and RAM of an ELF file, by its sections."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile


class SizeError(ValueError):
    """Not a readable ELF file; the message is one line that names it."""


@dataclass(frozen=True)
class Size:
    flash_bytes: int
    """what is loaded: code, constants and the initial values of variables"""
    ram_bytes: int
    """static variables; a stack only where the linker script reserves it as a section"""


def elf_size(path: Path | str) -> Size:
    """Size of an executable or object file. Raises `SizeError`, OSError."""
    flash = ram = 0
    try:
        with Path(path).open("rb") as file:
            for section in ELFFile(file).iter_sections():
                if not section["sh_flags"] & SH_FLAGS.SHF_ALLOC:
                    continue
                if section["sh_type"] != "SHT_NOBITS":
                    flash += section["sh_size"]
                if section["sh_flags"] & SH_FLAGS.SHF_WRITE:
                    ram += section["sh_size"]
    except ELFError as error:
        raise SizeError(f"{path}: not an ELF file ({error})") from None
    return Size(flash, ram)
