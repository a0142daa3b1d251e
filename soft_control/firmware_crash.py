"""What a crash record of the firmware means: cause, function and line, by the ELF that was run.

The record is `crash_t` of firmware/boards/board.h. The bits of the fault status are those of the
ARMv7-M Architecture Reference Manual, B3.2.15.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from enum import IntEnum
from functools import cached_property
from pathlib import Path
from typing import Protocol

from elftools.common.exceptions import DWARFError, ELFError
from elftools.dwarf.lineprogram import LineProgram
from elftools.elf.elffile import ELFFile

RECORD = struct.Struct("<B6I")
"""A record as a message holds it: crash_t without the bytes between its members."""


class CrashError(ValueError):
    """Not a crash record, or not an ELF file; the message is one line."""


class CrashCause(IntEnum):
    """crash_cause_t of firmware/boards/board.h."""

    NONE = 0
    HARD_FAULT = 1
    MEMORY_FAULT = 2
    BUS_FAULT = 3
    USAGE_FAULT = 4
    ASSERTION = 5
    INTERRUPT = 6
    WATCHDOG = 7


class Crash(Protocol):
    """A crash record, wherever it comes from."""

    cause: int
    pc: int
    lr: int
    psr: int
    status: int
    address: int
    stack_free: int


@dataclass(frozen=True)
class CrashRecord:
    """crash_t of firmware/boards/board.h."""

    cause: int
    pc: int
    lr: int
    psr: int
    status: int
    address: int
    stack_free: int
    """Bytes."""

    @classmethod
    def from_hex(cls, text: str) -> CrashRecord:
        """25 bytes in hexadecimal, blanks between them or not. Raises CrashError."""
        try:
            return cls(*RECORD.unpack(bytes.fromhex(text)))
        except (ValueError, struct.error):
            raise CrashError(
                f"{text!r} is no crash record: that is {2 * RECORD.size} hexadecimal digits"
            ) from None

    def hex(self) -> str:
        """What `from_hex` reads."""
        return RECORD.pack(*astuple(self)).hex()


CAUSES = {
    CrashCause.NONE: "no crash",
    CrashCause.HARD_FAULT: "a hard fault",
    CrashCause.MEMORY_FAULT: "a memory fault",
    CrashCause.BUS_FAULT: "a bus fault",
    CrashCause.USAGE_FAULT: "a usage fault",
    CrashCause.ASSERTION: "a check of the program's own failed",
    CrashCause.INTERRUPT: "an interrupt that nobody asked for",
    CrashCause.WATCHDOG: "the watchdog: a cycle took too long",
}

STACKING = 1 << 4 | 1 << 12
"""MSTKERR and STKERR: there was no room for the frame of the exception."""

STATUS_BITS = {
    0: ("IACCVIOL", "an instruction was fetched from where none may be"),
    1: ("DACCVIOL", "data were asked for where none may be"),
    3: ("MUNSTKERR", "the stack could not be read on the way back from an exception"),
    4: ("MSTKERR", "the stack has run over: no room for the frame of the exception"),
    5: ("MLSPERR", "the stack has no room for floating-point registers"),
    8: ("IBUSERR", "an instruction was fetched from where nothing answers"),
    9: ("PRECISERR", "nothing answers at the address"),
    10: ("IMPRECISERR", "nothing answered a write, some instructions before"),
    11: ("UNSTKERR", "the stack could not be read on the way back from an exception"),
    12: ("STKERR", "the stack has run over: no room for the frame of the exception"),
    13: ("LSPERR", "the stack has no room for floating-point registers"),
    16: ("UNDEFINSTR", "an undefined instruction"),
    17: ("INVSTATE", "a jump to what is no Thumb code, as through a null pointer"),
    18: ("INVPC", "a return from an exception that was none"),
    19: ("NOCP", "a coprocessor that is off or not there"),
    24: ("UNALIGNED", "an address that is not aligned"),
    25: ("DIVBYZERO", "a division by zero"),
}


def decode(crash: Crash, elf: str | Path) -> list[str]:
    """Lines of text for people. `elf` is the one that was running when it crashed: of another one,
    functions and lines are wrong.

    Raises CrashError, OSError.
    """
    try:
        cause = CrashCause(crash.cause)
    except ValueError:
        raise CrashError(f"crash cause {crash.cause} is unknown") from None
    with Path(elf).open("rb") as file:
        try:
            code = _Code(ELFFile(file))
            return list(_lines(cause, crash, code))
        except (ELFError, DWARFError) as error:
            raise CrashError(f"{elf}: not a readable ELF file ({error})") from None


def _lines(cause: CrashCause, crash: Crash, code: _Code) -> Iterator[str]:
    yield f"ended by {CAUSES[cause]}"
    if cause == CrashCause.NONE:
        return
    if cause == CrashCause.ASSERTION:
        yield f"in {code.place(_before(crash.pc))}: the check of line {crash.status}"
    elif cause == CrashCause.INTERRUPT:
        yield f"in {code.place(crash.pc)}"
        yield f"exception {crash.status}: interrupt {crash.status - 16} of the chip"
    else:
        yield from _fault(cause, crash, code)
    yield f"stack: {crash.stack_free} bytes were never used"


def _fault(cause: CrashCause, crash: Crash, code: _Code) -> Iterator[str]:
    faulted = cause != CrashCause.WATCHDOG
    if faulted and crash.status & STACKING:
        if crash.lr:
            yield f"the last call on the full stack was in {code.place(_before(crash.lr))}"
    elif crash.pc or crash.lr:
        yield f"in {code.place(crash.pc)}"
        if crash.lr:
            yield f"its caller, or its last call, in {code.place(_before(crash.lr))}"
    if faulted:
        for bit, (name, meaning) in STATUS_BITS.items():
            if crash.status >> bit & 1:
                yield f"{name}: {meaning}"
        if crash.address:
            yield f"address 0x{crash.address:08x}"


def _before(return_address: int) -> int:
    """Within the call that goes on at return_address, whose lowest bit says Thumb."""
    return max((return_address & ~1) - 1, 0)


class _Code:
    """Which function and line an address belongs to."""

    def __init__(self, elf: ELFFile) -> None:
        self._elf = elf

    def place(self, address: int) -> str:
        """As in `solve, mpc.c:17 (0x08000123)`."""
        function = self._function(address)
        if function is None:
            return f"no function (0x{address:08x})"
        line = self._line(address)
        return f"{function}{', ' + line if line else ''} (0x{address:08x})"

    def _function(self, address: int) -> str | None:
        for start, (size, name) in self._functions.items():
            if start <= address < start + size:
                return name
        return None

    @cached_property
    def _functions(self) -> dict[int, tuple[int, str]]:
        """First address -> size, name."""
        table = self._elf.get_section_by_name(".symtab")
        return {
            symbol["st_value"] & ~1: (symbol["st_size"], symbol.name)
            for symbol in (table.iter_symbols() if table else ())
            if symbol["st_info"]["type"] == "STT_FUNC"
        }

    def _line(self, address: int) -> str | None:
        index = bisect_right(self._rows, (address, "\uffff")) - 1
        return self._rows[index][1] if index >= 0 else None

    @cached_property
    def _rows(self) -> list[tuple[int, str]]:
        """(address, "file:line"). Each function is a sequence; those that the linker has dropped
        are there as well, from address 0 on, and would hide the lines of others."""
        rows = []
        for program in self._programs():
            sequence: list[tuple[int, str]] = []
            for entry in program.get_entries():
                state = entry.state
                if state is None:
                    continue
                if state.end_sequence:
                    if sequence and sequence[0][0] in self._functions:
                        rows += sequence
                    sequence = []
                else:
                    sequence.append((state.address, f"{_file(program, state.file)}:{state.line}"))
        return sorted(rows)

    def _programs(self) -> Iterator[LineProgram]:
        if not self._elf.has_dwarf_info():
            return
        dwarf = self._elf.get_dwarf_info()
        for unit in dwarf.iter_CUs():
            program = dwarf.line_program_for_CU(unit)
            if program is not None:
                yield program


def _file(program: LineProgram, index: int) -> str:
    """The source's name, with the folder that the compiler was given. From DWARF 5 on files and
    folders are counted from 0, the first of which are the unit's own."""
    header = program.header
    files, folders = header["file_entry"], header["include_directory"]
    entry = files[index if header["version"] >= 5 else index - 1]
    folder = entry.dir_index if header["version"] >= 5 else entry.dir_index - 1
    names = [folders[folder], entry.name] if folder > 0 else [entry.name]
    return "/".join(n.decode(errors="replace") for n in names).removeprefix("./")
