"""Layers of small networks: weights of 16 bits, which the DSP instructions multiply as they stand.

Two weights in a number (`Int8Code`) take three instructions for four products, in loops that a
small layer hardly gets into. Here four products take two instructions, another one reads two
weights of each of four rows, and there is no loop over columns; a weight takes a byte more.

A dense layer of 5 units on 6 elements a b c d e f is two blocks of four rows, with three rows of
zeros at the end, whose numbers of 32 bits the C reads from the first to the last:

    starts of four sums | weights of (a, c), four rows; of (b, d); of (e, f) | four m | c

A block of gates begins with weights; behind them stand biases and multipliers. The order of
elements is that in which two instructions make 16 bits of each byte of a word.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nn4mc_codegen.graph.options import Options
from nn4mc_codegen.int8.lstm import LSTM
from nn4mc_codegen.int8.memory import rounded_up
from nn4mc_codegen.int8.operators import Dense, Linear
from nn4mc_codegen.int8.quantize import QuantGraph
from nn4mc_codegen.int8.recurrent import Recurrent, Sums
from nn4mc_codegen.int8.shapes import clips

ROWS = 4
"""Rows of a block."""
WEIGHTS = {"speed": range(1, 2049), "balanced": range(512, 2049), "size": range(0)}
"""Weights of a network that has this form: as many bytes of flash are given for its speed. Of fewer
float32 takes fewer instructions however they are stored, and int8 is chosen for its size."""
MAX_COLUMNS = 64
"""Most elements that a row meets: so many take 0.7 kB of code."""


def is_small(graph: QuantGraph, options: Options) -> bool:
    """Whether all weights of a network are few, and in layers that have this form."""
    ops = [node.op for node in graph.nodes]
    layers = [op for op in ops if isinstance(op, Linear | Recurrent)]
    if any(isinstance(op, LSTM) for op in ops):
        return False
    sizes = [row.shape for op in layers for row in _weights(op)]
    return (
        all(isinstance(op, Recurrent) or _is_vector(op) for op in layers)
        and sum(rows * columns for rows, columns in sizes) in WEIGHTS[options.optimize]
        and max(columns for _, columns in sizes) <= MAX_COLUMNS
    )


def _is_vector(op: Linear) -> bool:
    return isinstance(op, Dense) and op.count == 1 and not clips(op)


def _weights(op: Linear | Recurrent) -> Sequence[np.ndarray]:
    return [s.weights for s in op.sums] if isinstance(op, Recurrent) else [op.weights]


def words(elements: int) -> int:
    """How many pairs the products have of so many elements of int8: the last of an odd number is
    beside a zero."""
    return -(-elements // 2)


def dense_blocks(op: Dense, numbers: np.ndarray, c: int) -> np.ndarray:
    """What the C reads of a layer, by the `numbers` of its line (rows, 2), of which the second is
    m, and its c. Weights are 256 times theirs, so that sums are what the line wants."""
    rows = rounded_up(len(op.bias), ROWS)
    blocks = (
        _blocks(256 * op.bias[:, None], rows),
        _blocks(_pairs(256 * _of_bytes(op.weights.astype(np.int64))), rows),
        _blocks(numbers[:, 1:2], rows),
        np.full((rows // ROWS, 1), c),
    )
    return np.hstack(blocks)


def gate_blocks(sums: Sums, order: np.ndarray) -> np.ndarray:
    """What it reads of some gates, whose rows it has in this order."""
    weights = sums.weights[order].astype(np.int64)
    by_x, by_h = np.split(weights, [sums.inputs], axis=1)
    both = [_pairs(_of_bytes(by_x << sums.shift)), _pairs(by_h)]
    columns = np.hstack(both), sums.bias[order, None], sums.multiplier[order, None]
    return np.hstack([_blocks(c, rounded_up(len(order), ROWS)) for c in columns])


def sum_blocks(start: np.ndarray, weights: np.ndarray, of_bytes: bool, count: int) -> np.ndarray:
    """What it reads of rows of sums that become no results at once: start (rows,) and `count` pairs
    of weights (rows, columns) of x, which is one `of_bytes`, or of elements that have 16 bits."""
    pairs = _pairs(_of_bytes(weights) if of_bytes else weights)
    pairs = np.pad(pairs, ((0, 0), (0, count - pairs.shape[1])))
    return np.hstack([_blocks(c, len(start)) for c in (start[:, None], pairs)])


def _of_bytes(weights: np.ndarray) -> np.ndarray:
    """Columns in the order in which the C has the elements of int8: a c b d of each four."""
    columns = np.arange(weights.shape[1])
    fours = columns[: len(columns) // 4 * 4].reshape(-1, 4)[:, [0, 2, 1, 3]].ravel()
    return weights[:, [*fours, *columns[len(fours) :]]]


def _pairs(weights: np.ndarray) -> np.ndarray:
    """Two columns in a number of 32 bits, the first in its lower half."""
    weights = np.pad(weights, ((0, 0), (0, weights.shape[1] % 2)))
    return weights[:, 1::2] * (1 << 16) + (weights[:, 0::2] & 0xFFFF)


def _blocks(values: np.ndarray, rows: int) -> np.ndarray:
    """(rows, columns), filled up with zeros, as (blocks, numbers): columns of four rows in turn."""
    values = np.pad(values, ((0, rows - len(values)), (0, 0)))
    return values.reshape(rows // ROWS, ROWS, -1).transpose(0, 2, 1).reshape(rows // ROWS, -1)
