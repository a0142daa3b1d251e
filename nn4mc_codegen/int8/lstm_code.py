"""What the templates print of TensorFlow Lite's LSTM: weights in the order of the kernel, structs.

An LSTM h of 5 units on 6 inputs, 8 + 8 columns with those of weight 0 that fill up, is

    static const int16_t fk_wx_h[80] = …                20 rows × 8 columns, two in a number
    static const int32_t fk_bx_h[20] = …                where their sums begin
    static const fk_lstm fk_l_h = { { { fk_wx_h, … }, … }, … };
    fk_lstm_sequence(&fk_l_h, x, 7, h);                 its call, in fk_step_q, for 7 steps

or, where speed counts, with two weights of 16 bits in a number and where sums begin among them,

    static const int32_t fk_wx_h[80] = …                5 blocks of 4 rows × (1 + 3 pairs)

The kernels are those of templates/int8_lstm.j2; rows are those of i, f, k and o, one after the
other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from nn4mc_codegen.int8 import curves
from nn4mc_codegen.int8.constants import Constants
from nn4mc_codegen.int8.lstm import LSTM, MAX_SHIFT, Products
from nn4mc_codegen.int8.memory import Place, rounded_up
from nn4mc_codegen.int8.quantize import QNode, QuantGraph
from nn4mc_codegen.int8.recurrent_code import BLOCK, FOUR, TURN
from nn4mc_codegen.int8.unpacked import sum_blocks, words

# Weights of a network's LSTM layers from which on it is given some 20 to 40 kB of flash for speed:
# with fewer, float32 is small too, and int8 is chosen for its size.
FAST = {"speed": 1, "balanced": 1024, "size": 1 << 62}
# A factor so small that every sum becomes 0 has more bits to shift than that.
MOST_BITS = 24
# Words of two elements to which a kernel is printed as a whole, and those of a turn of its loop
# where there are more.
LONGEST, LONG_TURN = 32, 8


class LSTMCode:
    """Of all such layers of a network.

    Where it is `fast`, weights have 16 bits, and the logistic function and tanh are looked up: two
    of three instructions would else be theirs. `words` are how many pairs of elements the kernels
    of such weights multiply. For those of 8 bits `turn` is how many fours of columns a turn of the
    loop takes. `columns` and `units` are what the largest layer has.
    """

    factors = curves.FACTORS
    longest, long_turn = LONGEST, LONG_TURN

    def __init__(
        self, graph: QuantGraph, constants: Constants, turns: Sequence[int], optimize: str
    ):
        self._constants = constants
        ops: list[LSTM] = [n.op for n in graph.nodes if isinstance(n.op, LSTM)]
        operands = [p for op in ops for p in (op.by_x, op.by_h)]
        self.fast = fast = sum(p.weights.size for p in operands) >= FAST[optimize]
        self.layers = len(ops)
        self.sequences = not all(op.carries for op in ops)
        self.kinds = ["pairs"] * bool(ops and not fast)
        """of pairs that the products read"""
        self.turn = min(turns, key=lambda turn: sum(self._cost(p, turn) for p in operands))
        self.words = sorted({_words(p) for p in operands if fast})
        self.columns = max([self._padded(p) for p in operands], default=0)
        self.units = max([op.units for op in ops], default=0)
        if fast and ops:
            fine = {op.whole + 1 for op in ops if op.whole + 1 < curves.WHOLE}
            self._table = curves.table([curves.WHOLE, *sorted(fine)])
            self.end, self.tail = int(curves.curve(curves.WHOLE)[-1]), curves.tail()
            """of the curve: its value at 8, and where it takes others beyond that"""
        self._offsets: dict[QNode, int] = {}
        for state in graph.states:
            self._offsets.setdefault(state.node, state.offset)

    @property
    def bytes(self) -> int:
        """Of a kernel's arrays on the stack: what products read and make, h, and a state."""
        return 2 * self.columns + (4 * 8 + 1 + 2 * 2) * self.units

    def call(
        self, name: str, struct: Callable, symbol: str, node: QNode, x: Place, y: Place
    ) -> str:
        """The call of a layer's kernel; `struct` declares what it is told, as `Int8Code` does."""
        op: LSTM = node.op
        operand = self._pairs if self.fast else self._packed
        operands = operand("x", symbol, op.by_x, 0), operand("h", symbol, op.by_h, op.zero)
        gates = [
            _braced(self._factor(*by_x), self._factor(*by_h))
            for by_x, by_h in zip(op.by_x.factors, op.by_h.factors, strict=True)
        ]
        fields = [
            _braced(*operands),
            _braced(*gates),
            *map(str, (op.units, op.cell, -op.clip, min(op.clip, (1 << 15) - 1))),
            *map(str, (op.multiplier, -op.shift, op.zero)),
        ]
        if self.fast:
            entries = self._table.entries
            whole = min(op.whole + 1, curves.WHOLE)
            fields += [
                self._constants.add("int32_t", f"t_{symbol}", entries[curves.WHOLE]),
                self._constants.add("int32_t", f"c_{symbol}", entries[whole]),
                self._constants.add("int8_t", f"p_{symbol}", self._table.rests),
                str(1 << (op.whole + 1 - whole)),
            ]
        layer = struct("lstm", f"l_{symbol}", fields)
        if op.carries:
            state = Place("state->value", self._offsets[node])
            return f"{name}_tflite_lstm(&{layer}, {x}, {state}, {y});"
        return f"{name}_lstm_sequence(&{layer}, {x}, {op.steps}, {y});"

    def _pairs(self, letter: str, symbol: str, products: Products, zero: int) -> str:
        """Initialiser of what multiplies x or h, with two columns of 16 bits in a word.

        Weights of a gate are multiplied by the power of two that its factor wants of sums. h comes
        as it lies in the state, which has it less its zero point.
        """
        rows, length = products.weights.shape
        lift = 2 << np.repeat(np.maximum(products.shift, 0), rows // 4)
        start = products.bias + zero * products.weights.sum(axis=1, dtype=np.int64)
        weights = products.weights.astype(np.int64) * lift[:, None]
        count = _words(products)
        blocks = sum_blocks(start * lift, weights, letter == "x", count)
        w = self._constants.add("int32_t", f"w{letter}_{symbol}", blocks)
        return _braced(f"{self._constants.prefix}_sums_{count}", w, length)

    def _packed(self, letter: str, symbol: str, products: Products, zero: int) -> str:
        """The same with two weights p and q in one number of 16 bits, 256·q - p, of which the
        kernel makes 256·(p·a + q·b) + 129·p, as int8_linear.j2 derives."""
        rows, length = products.weights.shape
        full = np.zeros((rows, self._padded(products)), np.int64)
        full[:, :length] = products.weights
        first, second = full[:, 0::2], full[:, 1::2]
        blocks = (256 * second - first).reshape(-1, BLOCK, full.shape[1] // 4, 2)
        start = 256 * products.bias - 129 * first.sum(axis=1)
        w = self._constants.add("int16_t", f"w{letter}_{symbol}", blocks.transpose(0, 2, 1, 3))
        q = self._constants.add("int32_t", f"b{letter}_{symbol}", start)
        return _braced(w, q, length, full.shape[1])

    def _factor(self, multiplier: int, shift: int) -> str:
        """Initialiser of a gate's factor."""
        if -shift > MOST_BITS:
            multiplier, shift = 0, 0
        more = [] if self.fast else [MAX_SHIFT - max(shift, 0)]
        return _braced(multiplier, max(-shift, 0), *more)

    def _padded(self, products: Products) -> int:
        return 2 * _words(products) if self.fast else self._filled(products, self.turn)

    @staticmethod
    def _filled(products: Products, turn: int) -> int:
        return rounded_up(products.weights.shape[1], 4 * turn)

    def _cost(self, products: Products, turn: int) -> float:
        """Instructions of the loop over an operand's packed weights, those on padding included."""
        blocks = len(products.weights) // BLOCK
        return blocks * self._filled(products, turn) // 4 * (FOUR + TURN / turn)


def _words(products: Products) -> int:
    """Pairs of elements that the kernel multiplies."""
    count = words(products.weights.shape[1])
    return count if count <= LONGEST else rounded_up(count, LONG_TURN)


def _braced(*items: object) -> str:
    """An initialiser."""
    return f"{{ {', '.join(map(str, items))} }}"
