"""Registers of a Cortex-M4F: how much of a kernel they hold, each limit with what was measured."""

from __future__ import annotations

REGISTERS = 32
"""Registers of the FPU, a float each."""
CALLER_SAVED = 16
"""The first of them, which a function may overwrite without saving them."""

# How the limits below were measured: instructions of a call under QEMU, compiled by GCC 12.2, with
# --optimize balanced where nothing else is said. The networks are the project's benchmark (dense
# 36-10-5-3 with tanh, HASEL's of the same size with relu, a GRU of 10 units, an LSTM of 5, dense
# 64-64-64, the tendon network 26-8-3) and others that a limit makes a difference for. "Folded
# Jacobian" is that of HASEL's network by 18 inputs while the 18 others are folded.

BLOCK_SUMS = 20
"""Most sums of a block; weights, operands and addresses of the FPU take the other 12 registers.

With 16 the step of the GRU takes 2172 instructions instead of 2041, and that of 10-20-5 560 instead
of 517. With 24 that of 24-24-24 takes 1610 instead of 1777, in 232 bytes more of flash, but LeNet
408,651 instead of 340,916.
"""

BLOCK_ROWS = 4
"""Most rows of a block.

With 3, or 2, the benchmark's Conv1D, LeNet and DS-CNN take 102,705, 327,286 and 181,049
instructions instead of 110,327, 340,916 and 186,644, but weights are read more often: by the model
they take 263,639, 855,727 and 365,285 cycles instead of 255,447, 823,833 and 357,856. With 5
nothing changes. The Jacobians of the benchmark have 3 rows, and do not depend on it.
"""

GATED_BLOCK_SUMS = 28
"""Most sums of a block whose weights are read one by one, behind a gate: 3 rows of 9 outputs take
27 registers for sums, 3 for operands and 1 for a weight, which GCC does without spilling.

With 24 the Jacobian of 8-9-16-3 with relu takes 1894 instructions instead of 1822; with 32 that of
26-16-12-9 with relu takes 6186 instead of 6188, in 320 bytes more of flash.
"""

READ_AT_ONCE_MIN = 3
"""Fewest floats that are read by one instruction, VLDM.

With 4 the folded Jacobian took 1597 instructions instead of 1549; the step of dense takes 1021
instead of 1015, that of LeNet 357,036 instead of 340,916; with 2 nothing changes in these.
"""

READ_AT_ONCE_MAX = 16
"""Most floats that are read by one instruction, half of the registers.

With 12 or 20 nothing changes in the steps of the benchmark.
"""

HELD_OPERANDS = 20
"""Most operands that stay in registers while outputs are summed one by one.

With 16 the folded Jacobian takes 1591 instructions instead of 1549, the folded step 575 instead of
529; with 18 nothing changes. With 22 and 24 the way back (vjp) through 64-64-64 takes 18,906
instead of 21,030, as its 64 operands are 3 ranges and not 4; nothing else changes.
"""

DOT_OUTPUTS = 3
"""Fewest outputs for which the operands are held in registers.

With 4 the Jacobian of 8-3-5-2 with tanh takes 563 instructions instead of 514. With 2 that of
8-2-5-2 takes 430 instead of 474.
"""

BODY_MACS = {"speed": 128, "balanced": 40, "size": 8}
"""Most multiply-accumulates that are written out in the body of a loop, by --optimize.

balanced: with 24 the step of dense takes 1044 instructions instead of 1015, that of tendon 382
instead of 360; with 64 they take 998 and 353, in 232 and 160 bytes more of flash.
speed: with 64 the step of dense takes 874 instead of 868, that of 10-20-5 513 instead of 466. With
256 they take 865, in 288 bytes more, and 478, in 528 bytes more.
"""


def share(width: int, free: int) -> int:
    """How many of `width` weights that stand side by side are read by one instruction, with `free`
    registers: as many as fit, but in even shares. 20 weights with 12 registers free are two loads
    of 10."""
    free = min(free, READ_AT_ONCE_MAX)
    return -(-width // -(-width // free)) if free > 0 else 0
