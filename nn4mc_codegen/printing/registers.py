"""Registers of a Cortex-M4F: how much of a kernel they hold, each limit with what was measured."""

from __future__ import annotations

REGISTERS = 32
"""Registers of the FPU, a float each."""
CALLER_SAVED = 16
"""The first of them, which a function may overwrite without saving them."""

BLOCK_SUMS = 20
BLOCK_ROWS = 4
GATED_BLOCK_SUMS = 28
READ_AT_ONCE_MIN = 3
READ_AT_ONCE_MAX = 16
HELD_OPERANDS = 20
DOT_OUTPUTS = 3
BODY_MACS = {"speed": 128, "balanced": 40, "size": 8}


def share(width: int, free: int) -> int:
    """How many of `width` weights that stand side by side are read by one instruction, with `free`
    registers: as many as fit, but in even shares. 20 weights with 12 registers free are two loads
    of 10."""
    free = min(free, READ_AT_ONCE_MAX)
    return -(-width // -(-width // free)) if free > 0 else 0
