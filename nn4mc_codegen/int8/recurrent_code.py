"""What the templates print of recurrent layers: weights in the order of the kernel, structs, calls.

An LSTM h of 5 units on 6 inputs, 8 + 8 columns with those of weight 0 that fill up, is

    static const int16_t fk_w_h[160] = …                20 rows × 16 columns, two in a number
    static const int32_t fk_b_h[60] = …                 of each 4 rows biases and multipliers
    static const fk_recurrent fk_l_h = { …, { { fk_w_h, fk_b_h, 8, 8, 2, 20 } } };
    fk_lstm_sigmoid(&fk_l_h, x, state->value, h);       its call, in fk_step_q

The kernels are those of templates/int8_recurrent.j2. In small networks weights and the products'
kernels have another form, see `unpacked`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from nn4mc_codegen.int8.constants import Constants
from nn4mc_codegen.int8.memory import Place, rounded_up
from nn4mc_codegen.int8.quantize import QNode, QuantGraph
from nn4mc_codegen.int8.recurrent import LSTM, TANH, GRUResetAfter, Recurrent, Sums
from nn4mc_codegen.int8.unpacked import gate_blocks, words

BLOCK = 4
"""Rows that the kernel sums at a time."""
# The instructions of four columns of a block on a Cortex-M4, and of a turn of the loop.
FOUR, TURN = 15, 2


class RecurrentCode:
    """Of all recurrent layers of a network.

    `forms` are the kernels in use, (kind, gate); `turn` is how many fours of columns a turn of the
    loop takes; `columns`, `units`, `arguments` and `products` are what the largest layer has:
    columns of x and h, filled up, units, sums, and products that make them.
    """

    def __init__(
        self, graph: QuantGraph, constants: Constants, turns: Sequence[int], unpacked: bool
    ):
        self._constants = constants
        ops: list[Recurrent] = [n.op for n in graph.nodes if isinstance(n.op, Recurrent)]
        self.forms = list(dict.fromkeys((op.kind, op.gate.name if op.gate else "") for op in ops))
        kinds = {kind for kind, _ in self.forms}
        self.gates = {gate for _, gate in self.forms}
        self.parts = [1] * ("gru_reset_after" in kinds) + [2]
        """of the forms of the kernel: the operands that a product has, x and h or one of them"""
        self.turn = min(turns, key=lambda turn: sum(_cost(op, turn) for op in ops))
        self.unpacked = unpacked
        self.words = sorted({w for op in ops for w in map(_words, op.sums) if unpacked})
        """pairs of columns of products of unpacked weights"""
        self.columns = max([self._padded(op.inputs) + self._padded(op.units) for op in ops] or [0])
        self.units = max([op.units for op in ops], default=0)
        self.arguments = max([sum(map(_rows, op.sums)) for op in ops], default=0)
        self.products = max([len(op.sums) for op in ops], default=0)
        self._offsets: dict[QNode, int] = {}
        for state in graph.states:
            self._offsets.setdefault(state.node, state.offset)

    @property
    def bytes(self) -> int:
        """Of a kernel's arrays on the stack: what products read and make, h as int8 and, in a GRU,
        reset."""
        return 2 * (self.columns + self.arguments) + 3 * self.units

    def call(
        self, name: str, struct: Callable, symbol: str, node: QNode, x: Place, y: Place
    ) -> str:
        """The call of a layer's kernel; `struct` declares what it is told, as `Int8Code` does."""
        op: Recurrent = node.op
        pairs = zip(op.gates, op.sums, strict=True)
        product = self._unpacked_product if self.unpacked else self._product
        products = [product(letter, symbol, op, sums) for letter, sums in pairs]
        wide = op.cell if isinstance(op, LSTM) else op.wide if isinstance(op, GRUResetAfter) else 0
        fields = [
            self._constants.add("int32_t", f"t_{symbol}", TANH),
            str(op.inputs),
            str(op.units),
            *([] if self.unpacked else map(str, map(self._padded, (op.inputs, op.units)))),
            str(wide),
            str(op.output.multiplier),
            str(op.output.shift),
            str(1 + 2 * op.output.zero),
            f"{{ {', '.join(products)} }}",
        ]
        layer = struct("recurrent", f"l_{symbol}", fields)
        kernel = "_".join(filter(None, [name, op.kind, op.gate.name if op.gate else ""]))
        state = Place("state->value", self._offsets[node])
        return f"{kernel}(&{layer}, {x}, {state}, {y});"

    def _product(self, letter: str, symbol: str, op: Recurrent, sums: Sums) -> str:
        """Initialiser of a `Sums`: arrays, columns of x and of h, their shift, rows.

        Rows are in the order of units, with their gates side by side. Two weights p and q stand in
        one number, 256·q - p, of which the kernel makes 256·(p·a + q·b) + 129·p, as
        int8_linear.j2 derives. It begins with -129 times the p that meet x, so that their products
        can be shifted; what is added then has the bias in it, and takes off the others' 129·p.
        """
        inputs, units = sums.inputs, sums.weights.shape[1] - sums.inputs
        before, after = self._padded(inputs), self._padded(units)
        rows = _rows(sums)
        order = _order(op, sums)
        full = np.zeros((rows, before + after), np.int64)
        full[: len(order), :inputs] = sums.weights[order, :inputs]
        full[: len(order), before : before + units] = sums.weights[order, inputs:]
        first, second = full[:, 0::2], full[:, 1::2]
        pairs = (256 * second - first).reshape(-1, BLOCK, (before + after) // 4, 2)
        by_x, by_h = (129 * part.sum(axis=1) for part in np.split(first, [before // 2], axis=1))
        bias, multiplier = (_filled(values[order], rows) for values in (sums.bias, sums.multiplier))
        if before and after:
            added = -by_x, bias - by_h, multiplier
        else:
            added = bias - by_x - by_h, multiplier
            before, after = 0, before + after
        blocks = np.stack(added).reshape(len(added), -1, BLOCK).transpose(1, 0, 2)
        fields = [
            self._constants.add("int16_t", f"w{letter}_{symbol}", pairs.transpose(0, 2, 1, 3)),
            self._constants.add("int32_t", f"b{letter}_{symbol}", blocks),
            str(before),
            str(after),
            str(sums.shift),
            str(rows),
        ]
        return f"{{ {', '.join(fields)} }}"

    def _unpacked_product(self, letter: str, symbol: str, op: Recurrent, sums: Sums) -> str:
        """The same where weights are unpacked: kernel, array, rows."""
        blocks = gate_blocks(sums, _order(op, sums))
        kernel = f"{self._constants.prefix}_gates_{_words(sums)}"
        w = self._constants.add("int32_t", f"w{letter}_{symbol}", blocks)
        return f"{{ {kernel}, {w}, {_rows(sums)} }}"

    def _padded(self, size: int) -> int:
        return 2 * words(size) if self.unpacked else rounded_up(size, 4 * self.turn)


def _order(op: Recurrent, sums: Sums) -> np.ndarray:
    """Rows in the order of units, with their gates side by side."""
    return np.arange(len(sums.bias)).reshape(-1, op.units).T.ravel()


def _words(sums: Sums) -> int:
    return words(sums.inputs) + words(sums.weights.shape[1] - sums.inputs)


def _filled(values: np.ndarray, size: int) -> np.ndarray:
    return np.pad(values, (0, size - len(values)))


def _rows(sums: Sums) -> int:
    return rounded_up(len(sums.bias), BLOCK)


def _cost(op: Recurrent, turn: int) -> float:
    """Instructions of the loops over a layer's weights, those on padding included."""
    fours = 0
    for sums in op.sums:
        sizes = sums.inputs, sums.weights.shape[1] - sums.inputs
        columns = sum(rounded_up(size, 4 * turn) for size in sizes)
        fours += _rows(sums) // BLOCK * columns // 4
    return fours * (FOUR + TURN / turn)
