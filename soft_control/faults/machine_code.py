"""A firmware with one function that is a fault of the processor: in the ELF, not in the sources.

The function is one that only CONFIGURE comes to, so that a host chooses the moment.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from elftools.elf.elffile import ELFFile

from soft_control.firmware_crash import CrashCause
from soft_control.paths import share

FUNCTION = "settings_valid"

# Thumb-2 as `arm-none-eabi-as -mcpu=cortex-m4` makes it, halfword by halfword.
UNDEFINED = (0xDE00,)  # udf #0
DIVIDE_BY_ZERO = (0x2000, 0xFBB0, 0xF0F0)  # movs r0, #0; udiv r0, r0, r0
READ_NOWHERE = (0x2060, 0x0600, 0x6800)  # ldr from 0x60000000, where there is no memory
MASKED = (0xB672, *READ_NOWHERE)  # cpsid i first: what is masked becomes a hard fault
BREAKPOINT = (0xBE00,)  # bkpt: nobody debugs
STACK = (0xB4FF, 0xE7FD)  # push {r0-r7}, for ever
NULL = (0x2000, 0x4700)  # movs r0, #0; bx r0
HANG = (0xE7FE,)  # b .
DEAF = (0xB672, 0xE7FE)  # cpsid i; b .
INTERRUPT = (
    0xF24E, 0x1000, 0xF2CE, 0x0000, 0xF44F, 0x1180,  # r0 = NVIC_ISER, r1 = interrupt 20
    0x6001, 0xF8C0, 0x1100, 0xE7FE,                  # enabled and pending
)  # fmt: skip
RESET = (
    0xF64E, 0x500C, 0xF2CE, 0x0000, 0xF240, 0x0104, 0xF2C0, 0x51FA,  # SCB_AIRCR, SYSRESETREQ
    0x6001, 0xE7FE,
)  # fmt: skip

CODES: dict[str, tuple[tuple[int, ...], CrashCause]] = {
    "undefined_instruction": (UNDEFINED, CrashCause.USAGE_FAULT),
    "divide_by_zero": (DIVIDE_BY_ZERO, CrashCause.USAGE_FAULT),
    "jump_to_null": (NULL, CrashCause.USAGE_FAULT),
    "read_nowhere": (READ_NOWHERE, CrashCause.BUS_FAULT),
    "read_nowhere_masked": (MASKED, CrashCause.BUS_FAULT),
    "breakpoint": (BREAKPOINT, CrashCause.HARD_FAULT),
    "stack_overflow": (STACK, CrashCause.MEMORY_FAULT),
    "stray_interrupt": (INTERRUPT, CrashCause.INTERRUPT),
    "hang": (HANG, CrashCause.WATCHDOG),
    "hang_deaf": (DEAF, CrashCause.WATCHDOG),
    "reset": (RESET, CrashCause.NONE),
}
"""Name -> instructions, and the cause that the firmware must keep."""


def with_code(elf: Path, name: str, patched: Path, function: str = FUNCTION) -> Path:
    """Writes the same program, but that function begins with CODES[name]. Raises ValueError where
    the ELF has no such function, or too short a one."""
    code = b"".join(half.to_bytes(2, "little") for half in CODES[name][0])
    data = bytearray(elf.read_bytes())
    with open(elf, "rb") as file:
        image = ELFFile(file)
        symbols = image.get_section_by_name(".symtab")
        found = symbols.get_symbol_by_name(function) if symbols else None
        if not found:
            raise ValueError(f"{elf} has no function {function}: build it again")
        address, size = found[0]["st_value"] & ~1, found[0]["st_size"]
        if size < len(code):
            raise ValueError(f"{function} of {elf} has {size} bytes, fewer than {len(code)}")
        for segment in image.iter_segments("PT_LOAD"):
            at = address - segment["p_vaddr"]
            if 0 <= at < segment["p_filesz"]:
                start = segment["p_offset"] + at
                data[start : start + len(code)] = code
    patched.write_bytes(data)
    # The firmware starts no image that is not sealed as it is.
    seal = [sys.executable, str(share() / "firmware" / "image_header.py"), str(patched)]
    subprocess.run(seal, check=True, capture_output=True)
    return patched
