"""Which shape the kernels take: blocks, turns of their loops, the order of weights.

What is counted here are instructions on a Cortex-M4; the results do not depend on it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nn4mc_codegen.int8.memory import rounded_up
from nn4mc_codegen.int8.operators import Conv, Dense, Depthwise, Linear, Window

# The instructions of four columns in the kernels' loops on a Cortex-M4: of the dense kernel, by the
# number of rows that it sums at a time, and of that of convolutions, two rows of two patches. A
# turn of the loop, which takes several fours, adds those of TURN.
DENSE_BLOCKS = {2: 8, 4: 15}
CONV_FOUR = 13
TURN = 4
# How many fours of columns a turn may take.
TURNS = {"speed": range(1, 9), "balanced": range(1, 9), "size": range(1, 2)}
# Runs of taps for which loops are printed with their lengths known.
SHORT_RUN = 8
# A sum of absolute value below this is narrow: 256 times as much fits 32 bits.
NARROW = 1 << 23


def in_fours(op: Depthwise) -> bool:
    """Whether the kernel takes four channels of a depthwise convolution at a time."""
    return op.per_channel == 1 and len(op.weights) >= 4


def is_narrow(op: Linear) -> bool:
    """Whether every sum of the layer fits 24 bits, whatever x is, and its factor needs no more than
    the 8 bits that are left above."""
    low = np.where(op.weights > 0, -128, 127).astype(np.int64) * op.weights
    high = np.where(op.weights > 0, 127, -128).astype(np.int64) * op.weights
    least, most = op.bias + low.sum(axis=1), op.bias + high.sum(axis=1)
    fits = np.all(least >= -NARROW) and np.all(most < NARROW)
    return bool(fits and op.left <= 8)


def dense_cost(dense: Sequence[Dense], block: int, turn: int) -> float:
    """Instructions of the layers' loops, those on padding included."""
    four = DENSE_BLOCKS[block] + TURN / turn
    return sum(four * _fours(op, block, turn) / block * op.count for op in dense)


def conv_cost(conv: Sequence[Conv], turn: int) -> float:
    four = CONV_FOUR + TURN / turn
    return sum(four * _fours(op, 2, turn) / 4 * op.window.positions for op in conv)


def _fours(op: Linear, block: int, turn: int) -> int:
    rows, columns = op.weights.shape
    return rounded_up(rows, block) * rounded_up(columns, 4 * turn) // 4


def rest_of(window: Window) -> int:
    """Elements of a patch that are in no four of a run."""
    return window.windows.size[0] * (window.windows.size[1] * window.channels % 4)


def order(op: Linear) -> np.ndarray:
    """The order of a layer's columns in C. The kernel of convolutions reads a patch by its runs,
    the taps that lie side by side in x: the fours of all runs first, then what these leave."""
    columns = np.arange(op.weights.shape[1])
    if not isinstance(op, Conv):
        return columns
    runs = columns.reshape(op.window.windows.size[0], -1)
    fours = runs.shape[1] // 4 * 4
    return np.concatenate([runs[:, :fours].ravel(), runs[:, fours:].ravel()])
