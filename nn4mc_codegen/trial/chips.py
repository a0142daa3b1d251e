"""The emulated chips on which generated C is tried: of one kind of core, with the same results."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Chip:
    """A machine of qemu-system-arm with a Cortex-M4F, and what a program for it is built with.

    Instructions are counted by time: with `-icount shift=S` each takes 2^S ns, whatever it does.
    """

    name: str
    machine: str
    script: str
    """linker script in the templates"""
    flags: tuple[str, ...]
    """of the C compiler"""
    code: tuple[int, int]
    """first and last address of what it executes"""
    shift: int
    ticks: float
    """of the timer that the program reads, in the time of an instruction"""
    stack_kib: int


STM32F405 = Chip(
    name="STM32F405",
    machine="netduinoplus2",
    script="cortex_m4f.ld",
    flags=(),
    code=(0x08000000, 0x080FFFFF),
    shift=0,
    ticks=1.0,
    stack_kib=48,
)
# Its timer ticks every 40 ns. Two readings are off by a tick each at most: with 6.4 ticks an
# instruction the difference of two differences rounds to whole instructions, with 3.2 it need not.
MPS2 = Chip(
    name="MPS2 with AN386",
    machine="mps2-an386",
    script="mps2_an386.ld",
    flags=("-DMPS2_AN386",),
    code=(0x00000000, 0x003FFFFF),
    shift=8,
    ticks=256 / 40,
    stack_kib=1024,
)
CHIPS = (STM32F405, MPS2)
"""The smallest first."""
