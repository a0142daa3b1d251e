"""Which shape the kernels take: blocks, turns of their loops, the order of weights.

What is counted here are instructions on a Cortex-M4; the results do not depend on it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nn4mc_codegen.int8.memory import rounded_up
from nn4mc_codegen.int8.operators import Conv, Dense, Linear, Pool, Window
from nn4mc_codegen.int8.quantize import HIGH, LOW, QOp
from nn4mc_codegen.int8.simplify import PooledConv

# The instructions of four columns in the kernels' loops on a Cortex-M4: of the dense kernel, by the
# number of rows that it sums at a time, and of that of convolutions, two rows of four patches. A
# turn of the loop, which takes several fours, adds those of TURN.
DENSE_BLOCKS = {2: 8, 4: 15}
CONV_FOUR = 23
TURN = 4
# How many fours of columns a turn may take.
TURNS = {"speed": range(1, 9), "balanced": range(1, 9), "size": range(1, 2)}
# Runs of taps for which loops are printed with their lengths known.
SHORT_RUN = 8


def dense_cost(dense: Sequence[Dense | Conv], block: int, turn: int) -> float:
    """Instructions of the layers' loops, those on padding included."""
    four = DENSE_BLOCKS[block] + TURN / turn
    return sum(four * _fours(op, block, turn) / block * vectors(op) for op in dense)


def conv_cost(layers: Sequence[Dense | Conv], turn: int) -> float:
    four = CONV_FOUR + TURN / turn
    return sum(four * _fours(op, 2, turn) / 8 * vectors(op) for op in layers)


def vectors(op: Dense | Conv) -> int:
    """How many vectors the weights are multiplied by."""
    return op.count if isinstance(op, Dense) else op.window.positions


def route(op: Dense | Conv, plain: bool) -> str:
    """Which kernel takes a layer: "dense" takes one vector, "points" four of vectors at equal
    distances, "windows" four patches of an image, "pooled" keeps their largest. Where sums are
    rounded as TensorFlow Lite has it, dense layers are rounded once and convolutions twice."""
    if isinstance(op, PooledConv):
        return "pooled"
    if isinstance(op, Dense):
        return "dense" if plain or op.count < 3 else "points"
    if not at_equal_distances(op.window):
        return "windows"
    return "dense" if not plain and op.window.positions < 3 else "points"


def at_equal_distances(window: Window) -> bool:
    """Whether every window is a vector in x, and they lie at equal distances."""
    (rows, columns), (down, right) = window.output, window.windows.strides
    in_step = rows == 1 or columns * right == window.width * down
    return window.in_one_piece and in_step and not window.leaves_the_image


def _fours(op: Linear, block: int, turn: int) -> int:
    rows, columns = op.weights.shape
    return rounded_up(rows, block) * rounded_up(columns, 4 * turn) // 4


def clips(op: QOp) -> bool:
    """Whether an operator's results have narrower limits than int8."""
    limits = op if isinstance(op, Pool) else getattr(op, "rescaling", None)
    return limits is not None and (limits.low, limits.high) != (LOW, HIGH)


def rest_of(window: Window) -> int:
    """Elements of a patch that are in no four of a run."""
    return window.windows.size[0] * (window.windows.size[1] * window.channels % 4)


def ring_size(window: Window) -> int:
    """Elements of the rows of four channels that a depthwise kernel keeps: those under a row of
    windows, and under one window more where their number is odd."""
    (rows, columns), (_, right) = window.windows.size, window.windows.strides
    deep, wide = (
        (n - 1) * step + 1 for n, step in zip((rows, columns), window.windows.dilation, strict=True)
    )
    across = rounded_up(window.output[1], 2) - 1
    return deep * (across * right + wide)


def order(op: Linear) -> np.ndarray:
    """The order of a layer's columns in C. The kernel of convolutions reads a patch by its runs,
    the taps that lie side by side in x: the fours of all runs first, then what these leave."""
    columns = np.arange(op.weights.shape[1])
    if not isinstance(op, Conv):
        return columns
    runs = columns.reshape(op.window.windows.size[0], -1)
    fours = runs.shape[1] // 4 * 4
    return np.concatenate([runs[:, :fours].ravel(), runs[:, fours:].ravel()])
