"""A firmware's ELF: its functions, their instructions, what stands in flash, and source lines."""

from __future__ import annotations

import subprocess
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from elftools.common.exceptions import DWARFError, ELFError
from elftools.dwarf.lineprogram import LineProgram
from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile

from nn4mc_codegen.trial.cycles import Instruction, disassembly

OBJDUMP = "arm-none-eabi-objdump"


class ProofError(ValueError):
    """Nothing can be said about this file; the message is one line."""


@dataclass(frozen=True)
class Function:
    """Code from `start` to before `end`."""

    name: str
    start: int
    end: int


@dataclass
class Image:
    """What is in an ELF for an Armv7E-M core."""

    path: Path
    functions: list[Function]
    """By address."""
    symbols: dict[str, tuple[int, int]]
    """Name -> address and size of what is no function; of equal names any."""
    code: dict[int, Instruction]
    sections: list[tuple[int, bytes]]
    """What is loaded into flash and never written: address and content."""
    notes: bytes
    """Of section .loop_bounds; see annotations.py."""
    members: dict[tuple[str, str], int] = field(default_factory=dict)
    """(type, member) -> offset, of the structures that have a typedef."""
    lines: list[tuple[int, str, int]] = field(default_factory=list)
    """Address, file, line: from there to the next one. Line 0: unknown."""

    @cached_property
    def _starts(self) -> list[int]:
        return [f.start for f in self.functions]

    @cached_property
    def _line_starts(self) -> list[int]:
        return [start for start, _, _ in self.lines]

    @cached_property
    def named(self) -> dict[str, Function]:
        return {f.name: f for f in self.functions}

    def function(self, name: str) -> Function:
        if name not in self.named:
            raise ProofError(f"{self.path}: it has no function {name}; is it this firmware's ELF?")
        return self.named[name]

    def function_at(self, address: int) -> Function | None:
        """The one that this address is in."""
        number = bisect_right(self._starts, address) - 1
        if number < 0 or address >= self.functions[number].end:
            return None
        return self.functions[number]

    def line(self, address: int) -> tuple[str, int]:
        """File and line; line 0 where the ELF does not say."""
        number = bisect_right(self._line_starts, address) - 1
        return self.lines[number][1:] if number >= 0 else ("", 0)

    def place(self, address: int) -> str:
        """file.c:12, or an empty text."""
        file, line = self.line(address)
        return f"{file}:{line}" if line else ""

    def constant(self, address: int, size: int) -> int | None:
        """What stands in flash there."""
        for start, content in self.sections:
            if start <= address and address + size <= start + len(content):
                offset = address - start
                return int.from_bytes(content[offset : offset + size], "little")
        return None


def read_image(path: Path) -> Image:
    """Raises ProofError for what is no ELF of a Cortex-M with symbols, or where objdump is
    missing."""
    try:
        with path.open("rb") as file:
            elf = ELFFile(file)
            if elf["e_machine"] != "EM_ARM":
                raise ProofError(f"{path}: an ELF for {elf['e_machine']}, not for a Cortex-M4F")
            table = elf.get_section_by_name(".symtab")
            if table is None:
                raise ProofError(f"{path}: it has no symbols; link it without -s")
            functions, symbols = _symbols(table.iter_symbols())
            writable = SH_FLAGS.SHF_WRITE
            sections = [
                (s["sh_addr"], s.data())
                for s in elf.iter_sections()
                if s["sh_type"] == "SHT_PROGBITS"
                and s["sh_flags"] & SH_FLAGS.SHF_ALLOC
                and not s["sh_flags"] & writable
            ]
            notes = elf.get_section_by_name(".loop_bounds")
            content = notes.data() if notes is not None else b""
            starts = {f.start for f in functions}
            members = dict(_members(elf)) if elf.has_dwarf_info() else {}
            lines = sorted(_lines(elf, starts), key=_in_order) if elf.has_dwarf_info() else []
    except OSError as error:
        raise ProofError(f"{path}: {error.strerror}") from None
    except (ELFError, DWARFError) as error:
        raise ProofError(f"{path}: no ELF file: {error}") from None
    code = disassembly(_dump(path))
    return Image(path, functions, symbols, code, sections, content, members, lines)


def _dump(path: Path) -> str:
    try:
        done = subprocess.run(
            [OBJDUMP, "-d", str(path)], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        raise ProofError(
            f"{OBJDUMP} not found; on Debian: apt install binutils-arm-none-eabi"
        ) from None
    if done.returncode:
        raise ProofError(f"{OBJDUMP}: {(done.stderr.splitlines() or ['no message'])[0]}")
    return done.stdout


def _symbols(symbols: Iterator) -> tuple[list[Function], dict[str, tuple[int, int]]]:
    functions: dict[int, Function] = {}
    others: dict[str, tuple[int, int]] = {}
    for symbol in symbols:
        kind, value, size = symbol["st_info"]["type"], symbol["st_value"], symbol["st_size"]
        if kind == "STT_FUNC":
            start = value & ~1
            functions.setdefault(start, Function(symbol.name, start, start + size))
        elif kind in ("STT_OBJECT", "STT_NOTYPE") and not symbol.name.startswith("$"):
            others[symbol.name] = value, size
    found = sorted(functions.values(), key=lambda f: f.start)
    # A label of assembler has no size: it ends where the next function begins.
    ends = [f.start for f in found[1:]] + [found[-1].end] if found else []
    found = [
        f if f.end > f.start else Function(f.name, f.start, end)
        for f, end in zip(found, ends, strict=True)
    ]
    return found, others


def _lines(elf: ELFFile, starts: set[int]) -> Iterator[tuple[int, str, int]]:
    """Each function is a sequence; those that the linker has dropped are there as well, from
    address 0 on."""
    dwarf = elf.get_dwarf_info()
    for unit in dwarf.iter_CUs():
        program = dwarf.line_program_for_CU(unit)
        if program is None:
            continue
        sequence: list[tuple[int, str, int]] = []
        for entry in program.get_entries():
            state = entry.state
            if state is None:
                continue
            if state.end_sequence:
                sequence.append((state.address, "", 0))
                if sequence[0][0] in starts:
                    yield from sequence
                sequence = []
            else:
                sequence.append((state.address, _file(program, state.file), state.line))


def _members(elf: ELFFile) -> Iterator[tuple[tuple[str, str], int]]:
    for unit in elf.get_dwarf_info().iter_CUs():
        for typedef in unit.get_top_DIE().iter_children():
            if typedef.tag != "DW_TAG_typedef" or "DW_AT_type" not in typedef.attributes:
                continue
            structure = typedef.get_DIE_from_attribute("DW_AT_type")
            if structure.tag != "DW_TAG_structure_type":
                continue
            name = typedef.attributes["DW_AT_name"].value.decode(errors="replace")
            for member in structure.iter_children():
                offset = member.attributes.get("DW_AT_data_member_location")
                if offset is not None and isinstance(offset.value, int):
                    yield (name, member.attributes["DW_AT_name"].value.decode()), offset.value


def _in_order(row: tuple[int, str, int]) -> tuple[int, bool]:
    """Of several rows of an address the last one counts, but none that ends what was before it."""
    return row[0], row[2] > 0


def _file(program: LineProgram, number: int) -> str:
    """Name of a file of a line program, without its folder."""
    header = program.header
    index = number if header["version"] >= 5 else number - 1
    return header["file_entry"][index].name.decode(errors="replace").rpartition("/")[2]
