"""What the int8 templates print: constants, structs of layers, one call of a kernel a node.

The kernels (templates/int8_kernels.j2) are C functions that know no network, but for those of small
ones (see `unpacked`). A dense layer h of 5 units on 6 inputs, with rows of weights in blocks of 4
and columns in fours, is

    static const int16_t fk_w_h[32] = …               8 rows × 8 columns of int8, two in a number
    static const int32_t fk_r_h[16] = …               two numbers a row: how a sum becomes int8
    static const fk_linear fk_l_h = { fk_w_h, … };    its struct: these and sizes
    fk_dense(&fk_l_h, x, h);                          its call, in fk_step_q
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from nn4mc_codegen.graph.lower import unique
from nn4mc_codegen.graph.options import Options
from nn4mc_codegen.int8.constants import Constants, factor_of, limits_of, wrapped
from nn4mc_codegen.int8.line import KINDS, LINE, PLAIN, Form, forms_of
from nn4mc_codegen.int8.lstm import LSTM
from nn4mc_codegen.int8.lstm_code import LSTMCode
from nn4mc_codegen.int8.memory import Place, copies_of, places_of, rounded_up
from nn4mc_codegen.int8.operators import (
    Add,
    AveragePool,
    Conv,
    Dense,
    Depthwise,
    Linear,
    Lut,
    Mean,
    Multiply,
    Pool,
    Rewire,
    Softmax,
    Window,
)
from nn4mc_codegen.int8.quantize import QNode, QOp, QuantGraph
from nn4mc_codegen.int8.recurrent_code import RecurrentCode
from nn4mc_codegen.int8.shapes import (
    DENSE_BLOCKS,
    SHORT_RUN,
    TURNS,
    clips,
    conv_cost,
    dense_cost,
    order,
    rest_of,
    ring_size,
    route,
    vectors,
)
from nn4mc_codegen.int8.simplify import PooledConv, simplified
from nn4mc_codegen.int8.unpacked import ROWS, dense_blocks, is_small, words


class Int8Code:
    """What the templates print: constants, kernels in use, calls, sizes of arrays.

    `block` is how many rows the dense kernel sums at a time, `dense_turn` and `conv_turn` are how
    many fours of columns a turn of the kernels' loops takes. `places` says where each tensor lies,
    `buffer` how many bytes the tensors inside the network share.

    Every C name that has a layer's name in it begins with the network's, a kind of one letter and
    an underscore, fk_w_dense for weights: no helper of the templates is called so, and no two
    layers have one name, whatever the model calls them.
    """

    def __init__(self, graph: QuantGraph, options: Options):
        graph = simplified(graph)
        self.graph, self.name = graph, options.name
        self.optimize, self.in_ram = options.optimize, options.weights == "ram"
        self.is_static = options.stack_bytes == 0
        """whether the buffer is a static array"""
        self.constants = Constants(self.name, self.in_ram)
        self.layers: list[str] = []
        self.calls: list[str] = []
        ops = [node.op for node in graph.nodes]
        self.kinds = {op.kind for op in ops}
        products = [op for op in ops if isinstance(op, Dense | Conv)]
        depthwise = [op for op in ops if isinstance(op, Depthwise)]
        self.bits, forms = forms_of(
            products,
            [
                129 * op.weights.astype(np.int64)[:, order(op)][:, 0::2].sum(axis=1)
                for op in products
            ],
        )
        self.depthwise_bits, more = forms_of(depthwise, [np.zeros(1, np.int64)] * len(depthwise))
        self.forms: dict[Linear, Form] = dict(zip(products + depthwise, forms + more, strict=True))
        self.unpacked = is_small(graph, options) and all(f.kind == LINE for f in forms)
        """whether weights have 16 bits each; all layers' or none's"""
        self.lengths = sorted({op.weights.shape[1] for op in products if self.unpacked})
        """of vectors that such dense layers read"""
        packed = [] if self.unpacked else products
        self.route = {op: route(op, self.forms[op].kind == PLAIN) for op in packed}
        by_route: dict[str, list[Linear]] = {}
        for op in packed:
            by_route.setdefault(self.route[op], []).append(op)
        dense = by_route.pop("dense", [])
        self.routes = set(by_route)
        """of what the kernel of four patches multiplies"""
        fours = [op for ops in by_route.values() for op in ops]
        patches = by_route.get("windows", []) + by_route.get("pooled", [])
        points, pooled = by_route.get("points", []), by_route.get("pooled", [])
        # Forms that each kernel is printed for, and the kinds of pairs that they multiply
        self.dense_forms, self.conv_forms = self._kinds(dense), self._kinds(fours)
        self.pooled_forms, self.depthwise_forms = self._kinds(pooled), self._kinds(depthwise)
        self.four_forms = self._kinds([op for op in fours if op not in pooled])
        self.conv_kernels = [False] * bool(self.four_forms) + [True] * bool(pooled)
        self.dense_kinds, self.points_kinds = self._pairs(dense), self._pairs(points)
        self.patch_kinds, self.pair_kinds = self._pairs(patches), self._pairs(packed)
        turns = TURNS[options.optimize]
        shapes = itertools.product(DENSE_BLOCKS, turns)
        self.block, self.dense_turn = min(shapes, key=lambda shape: dense_cost(dense, *shape))
        self.conv_turn = min(turns, key=lambda turn: conv_cost(fours, turn))
        self.recurrent = RecurrentCode(graph, self.constants, turns, self.unpacked)
        self.lstm = LSTMCode(graph, self.constants, turns, options.optimize)
        # Recurrent layers read pairs of a whole vector, as dense layers do.
        more = ["pairs"] * bool(self.recurrent.forms and not self.unpacked) + self.lstm.kinds
        self.spread_kinds = more + [kind for kind in self.dense_kinds if kind not in more]
        self.pair_kinds = more + [kind for kind in self.pair_kinds if kind not in more]
        # Lengths of the longest vectors that the kernels multiply, filled up; of the longest patch,
        # the elements of x under a convolution's window
        self.dense_columns = max([self._padded(op)[1] for op in dense], default=0)
        self.conv_columns = max([self._padded(op)[1] for op in patches], default=0)
        self.points_columns = max([self._padded(op)[1] for op in points], default=0)
        windows = [op.window for op in patches]
        self.dilated = any(1 < w.windows.dilation[1] and 1 < w.windows.size[1] for w in windows)
        """whether the taps of any convolution's rows do not lie side by side in x"""
        self.border = self.dilated or any(w.leaves_the_image for w in windows)
        """whether any convolution's patches must be put together, for they have taps outside"""
        self.patch = max([op.weights.shape[1] for op in patches], default=0)
        self.rest = rounded_up(max(map(rest_of, windows), default=0), 4)
        """most elements of a patch that are in no four of a row of taps"""
        runs = {w.windows.size[1] * w.channels for w in windows if w.windows.size[0] > 1}
        self.short_runs = sorted(run for run in runs if run < SHORT_RUN)
        self.pooled_rows = max([len(op.weights) for op in pooled], default=0)
        # Of depthwise convolutions: widths, strides and dilations; elements of the rows of four
        # channels that their windows need; most rows of a window
        windows = [op.window for op in depthwise]
        self.depthwise_shapes = sorted(
            {(w.windows.size[1], w.windows.strides[1], w.windows.dilation[1]) for w in windows}
        )
        self.ring = max(map(ring_size, windows), default=0)
        self.deepest_window = max([w.windows.size[0] for w in windows], default=0)
        self.gathers = any(op.per_channel > 1 or len(op.weights) < 4 for op in depthwise)
        """whether the channels of x for four of y do not lie side by side in any"""
        self.clips = any(clips(op) for op in ops)
        """whether any results have narrower limits than int8"""
        self.halves_up = any(isinstance(op, AveragePool) and op.halves_up for op in ops)
        """whether any mean is that of numbers of uint8, which stand here 128 lower"""
        kinds = {form.kind for form in self.forms.values()}
        self.line, self.plain = LINE in kinds, PLAIN in kinds
        self.once = PLAIN in self.dense_forms
        self.twice = PLAIN in self.conv_forms + self.depthwise_forms or bool(
            self.sums or self.kinds & {"mean", "multiply"}
        )
        lined = [(products, self.bits), (depthwise, self.depthwise_bits)]
        self.lines = sorted(
            {bits for ops, bits in lined if any(self.forms[op].kind != PLAIN for op in ops)}
        )
        self.symbols = dict(zip(graph.nodes, unique([n.name for n in graph.nodes]), strict=True))
        self.places, self.buffer = places_of(graph, self._surplus)
        for node in graph.nodes:
            self._call(node)
        result = self.places[graph.output]
        if result.array != "y":
            self.calls.append(f"memcpy(y, {result}, {graph.output.size});")

    def _surplus(self, op: QOp) -> int:
        """Elements that a kernel writes beyond a result: the last block writes all its rows."""
        if self.unpacked and isinstance(op, Dense):
            return -len(op.weights) % ROWS
        return -len(op.weights) % self.block if self.route.get(op) == "dense" else 0

    def _kinds(self, ops: Sequence[Linear]) -> list[str]:
        kinds = {self.forms[op].kind for op in ops}
        return [kind for kind in KINDS if kind in kinds]

    def _pairs(self, ops: Sequence[Linear]) -> list[str]:
        kinds = {self.forms[op].kind for op in ops}
        return ["pairs"] * bool(kinds - {PLAIN}) + ["wide_pairs"] * (PLAIN in kinds)

    # Which helpers are used: `products` are the structs of what multiplies matrices, `multiplies`
    # the pairs of that and of recurrent layers, `sliding` and `loads` load fours of elements.

    @property
    def products(self) -> bool:
        return bool(self.route)

    @property
    def multiplies(self) -> bool:
        return bool(self.pair_kinds)

    @property
    def pools(self) -> bool:
        return bool(self.kinds & {"max_pool", "average_pool"})

    @property
    def sliding(self) -> bool:
        return self.pools or "depthwise" in self.kinds

    @property
    def sums(self) -> list[str]:
        return [kind for kind in ("add", "squared_difference") if kind in self.kinds]

    @property
    def loads(self) -> bool:
        return self.sliding or "mean" in self.kinds or "points" in self.routes

    @property
    def windows(self) -> bool:
        return self.sliding or bool(self.patch_kinds)

    @property
    def memory_bytes(self) -> int:
        """The buffer, what the largest kernel adds, and the int8 input and output of a step."""
        kernel = max(
            self.patch + 8 * self.conv_columns,
            8 * self.points_columns,
            2 * self.dense_columns,
            4 * words(max(self.lengths, default=0)),
            8 * self.ring + 4 * self.deepest_window,
            self.recurrent.bytes,
            self.lstm.bytes,
        )
        return self.buffer + kernel + self.graph.input_size + self.graph.output.size

    def _call(self, node: QNode) -> None:
        places = [self.places[t] for t in node.inputs]
        result = self.places[node.output]
        call = getattr(self, f"_{node.op.kind}")
        self.calls.extend(call(node.op, self.symbols[node], node, places, result))

    def _padded(self, op: Dense | Conv) -> tuple[int, int]:
        """Rows and columns of a layer with those of weight zero that fill up the kernel's blocks
        and turns."""
        dense = self.route[op] == "dense"
        block, turn = (self.block, self.dense_turn) if dense else (2, self.conv_turn)
        rows, columns = op.weights.shape
        return rounded_up(rows, block), rounded_up(columns, 4 * turn)

    def _numbers(self, symbol: str, op: Linear, rows: np.ndarray) -> str:
        """Name of the array of what the C reads a row: of these rows, and zeros from -1 on."""
        numbers = wrapped(self.forms[op].numbers[rows])
        numbers[rows < 0] = 0
        return self.constants.add("int32_t", f"r_{symbol}", numbers)

    def _form(self, op: Linear) -> tuple[int, list[str]]:
        """Number of the form, and fields of the structs that end with what only some layers have:
        the offset of a plain layer, twice the zero point and 1 for rounding; lowest and highest."""
        r = op.rescaling
        kind = KINDS.index(self.forms[op].kind)
        limits = [str(r.low), str(r.high)] if self.clips else []
        return kind, [str(1 + 2 * r.zero)] * self.plain + limits

    def _linear(self, symbol: str, op: Dense | Conv) -> str:
        """Name of the struct of a dense layer or convolution, which is appended to `layers`.

        Two weights p and q stand in one number, 256·q - p, of which a core with DSP instructions
        computes 256·(p·a + q·b) + 129·p, as int8_linear.j2 derives. The numbers of a plain layer
        are two bytes, p and q.
        """
        rows, columns = op.weights.shape
        full = np.zeros(self._padded(op), np.int64)
        full[:rows, :columns] = op.weights[:, order(op)]
        plain = self.forms[op].kind == PLAIN
        first, second = full[:, 0::2], full[:, 1::2]
        pairs = 256 * second + (first & 255) if plain else 256 * second - first
        # A number holds two weights of a row. A block's rows come in turn, four columns of each:
        # with rows a and b in a block the numbers are a01 a23 b01 b23 a45 a67 b45 b67 …
        block = self.block if self.route[op] == "dense" else 2
        blocks = pairs.reshape(-1, block, full.shape[1] // 4, 2).transpose(0, 2, 1, 3)
        filled = np.append(np.arange(rows), np.full(len(full) - rows, -1))
        kind, more = self._form(op)
        # A plain dense layer's sums are multiplied by 2^left, after which every row's factor is a
        # shift to the right.
        factor = [str(1 << op.left if isinstance(op, Dense) else 1)] * self.plain
        fields = [
            self.constants.add("int16_t", f"w_{symbol}", blocks),
            self._numbers(symbol, op, filled),
            str(columns),
            str(full.shape[1]),
            str(len(full) if self.route[op] == "dense" else rows),
            str(kind),
            *([str(self.forms[op].c)] * self.line),
            *factor,
            *more,
        ]
        return self._struct("linear", f"l_{symbol}", fields)

    def _struct(self, kind: str, symbol: str, fields: Sequence[str]) -> str:
        name = f"{self.name}_{symbol}"
        self.layers.append(f"static const {self.name}_{kind} {name} = {{ {', '.join(fields)} }};")
        return name

    def _dense(self, op: Dense, symbol, node, places, result) -> Iterator[str]:
        rows, columns = op.weights.shape
        if not self.unpacked:
            yield from self._vectors(op, symbol, places[0], columns, result)
            return
        blocks = dense_blocks(op, self.forms[op].numbers, self.forms[op].c)
        w, rows = self.constants.add("int32_t", f"w_{symbol}", blocks), rounded_up(rows, ROWS)
        yield f"{self.name}_dense_{columns}({w}, {places[0]}, {rows}, {result});"

    def _vectors(
        self, op: Dense | Conv, symbol: str, x: Place, step: int, y: Place
    ) -> Iterator[str]:
        """Calls for vectors that lie a step after each other."""
        layer, count, rows = self._linear(symbol, op), vectors(op), len(op.weights)
        if self.route[op] == "points":
            yield f"{self.name}_points(&{layer}, {x}, {step}, {count}, {y});"
        elif count == 1:
            yield f"{self.name}_dense(&{layer}, {x}, {y});"
        else:
            yield f"for (int i = 0; i < {count}; i++) {{"
            yield f"    {self.name}_dense(&{layer}, {x} + i * {step}, {y} + i * {rows});"
            yield "}"

    def _conv(self, op: Conv, symbol, node, places, result) -> Iterator[str]:
        if self.route[op] != "windows":
            step = op.window.windows.strides[1] * op.window.channels
            yield from self._vectors(op, symbol, places[0], step, result)
            return
        layer, window = self._linear(symbol, op), self._window(symbol, op.window)
        yield f"{self.name}_conv(&{layer}, &{window}, {op.input_zero}, {places[0]}, {result});"

    def _pooled_conv(self, op: PooledConv, symbol, node, places, result) -> Iterator[str]:
        layer, window = self._linear(symbol, op), self._window(symbol, op.window)
        numbers = f"{op.input_zero}, {op.pool[0]}, {op.pool[1]}"
        yield (f"{self.name}_pooled_conv(&{layer}, &{window}, {numbers}, {places[0]}, {result});")

    def _depthwise(self, op: Depthwise, symbol, node, places, result) -> Iterator[str]:
        rows, window = len(op.weights), self._window(symbol, op.window)
        lanes = np.arange(rounded_up(rows, 4))
        # Of 6 channels the groups are 0 1 2 3 and 2 3 4 5, of two 0 1 1 1.
        lanes[-4:] = np.minimum(np.arange(4) + max(rows - 4, 0), rows - 1)
        plain = self.forms[op].kind == PLAIN
        weights = op.weights[lanes].astype(np.int64) * (1 if plain else 256)
        groups = weights.reshape(-1, 4, weights.shape[1]).transpose(0, 2, 1)[:, :, [0, 2, 1, 3]]
        kind, more = self._form(op)
        fields = [
            self.constants.add("int16_t", f"w_{symbol}", groups),
            self._numbers(symbol, op, lanes),
            str(rows),
            str(op.per_channel),
            str(op.input_zero),
            str(kind),
            *more,
        ]
        layer = self._struct("depthwise_layer", f"l_{symbol}", fields)
        yield f"{self.name}_depthwise(&{layer}, &{window}, {places[0]}, {result});"

    def _window(self, symbol: str, window: Window) -> str:
        (top, _), (left, _) = window.windows.pads((window.height, window.width))
        numbers = (
            window.height,
            window.width,
            window.channels,
            *window.windows.size,
            *window.windows.strides,
            *window.windows.dilation,
            top,
            left,
            *window.output,
            window.windows.size[1] * window.channels,
            window.windows.dilation[0] * window.width * window.channels,
            max(rest_of(window) - 1, 0) // 4,
        )
        return self._struct("window", f"g_{symbol}", [str(n) for n in numbers])

    def _pool(self, op: Pool, symbol, node, places, result) -> Iterator[str]:
        window = self._window(symbol, op.window)
        limits = f"{op.low}, {op.high}, " if self.clips else ""
        if self.halves_up and isinstance(op, AveragePool):
            limits += "128, " if op.halves_up else "0, "
        yield f"{self.name}_{op.kind}(&{window}, {limits}{places[0]}, {result});"

    _max_pool = _average_pool = _pool

    def _mean(self, op: Mean, symbol, node, places, result) -> Iterator[str]:
        zeros, r = op.positions * op.input_zero, op.rescaling
        numbers = op.positions, node.output.size, zeros, *factor_of(r), 1 + 2 * r.zero
        words = ", ".join(map(str, numbers))
        yield f"{self.name}_mean({places[0]}, {words}, {result});"

    def _lut(self, op: Lut, symbol, node, places, result) -> Iterator[str]:
        table = self.constants.add("int8_t", f"t_{symbol}", op.table)
        yield f"{self.name}_lut({table}, {places[0]}, {node.output.size}, {result});"

    def _operands(self, op: Add | Multiply, symbol, node, places) -> Iterator[str]:
        """Array and size of either operand; constants lie in flash."""
        given = iter(zip(places, node.inputs, strict=True))
        for letter, fixed in zip("ab", op.fixed, strict=True):
            if fixed is None:
                place, tensor = next(given)
                yield f"{place}, {tensor.size}"
            else:
                yield f"{self.constants.add('int8_t', f'{letter}_{symbol}', fixed)}, {fixed.size}"

    def _add(self, op: Add, symbol, node, places, result) -> Iterator[str]:
        (a_factor, b_factor), r = op.factors, op.rescaling
        numbers = [
            *(op.zeros[0], a_factor[0], -1 - a_factor[1]),
            *(op.zeros[1], b_factor[0], -1 - b_factor[1], op.sign),
            *factor_of(r),
            *limits_of(r),
        ]
        layer = self._struct("sum", f"l_{symbol}", list(map(str, numbers)))
        a, b = self._operands(op, symbol, node, places)
        yield f"{self.name}_{op.kind}(&{layer}, {a}, {b}, {node.output.size}, {result});"

    _squared_difference = _add

    def _multiply(self, op: Multiply, symbol, node, places, result) -> Iterator[str]:
        numbers = [*op.zeros, *factor_of(op.rescaling), *limits_of(op.rescaling)]
        layer = self._struct("product", f"l_{symbol}", list(map(str, numbers)))
        a, b = self._operands(op, symbol, node, places)
        yield f"{self.name}_multiply(&{layer}, {a}, {b}, {node.output.size}, {result});"

    def _recurrent(self, op: QOp, symbol, node, places, result) -> Iterator[str]:
        code = self.lstm if isinstance(op, LSTM) else self.recurrent
        yield code.call(self.name, self._struct, symbol, node, places[0], result)

    _simple_rnn = _gru = _gru_reset_after = _lstm = _tflite_lstm = _recurrent

    def _softmax(self, op: Softmax, symbol, node, places, result) -> Iterator[str]:
        table = self.constants.add("int32_t", f"e_{symbol}", op.exponentials)
        words = f"{table}, {len(op.exponentials)}, {op.depth}"
        for start in range(0, node.output.size, op.depth):
            x, y = (Place(p.array, p.start + start) for p in (places[0], result))
            yield f"{self.name}_softmax({words}, {x}, {y});"

    def _rewire(self, op: Rewire, symbol, node, places, result) -> Iterator[str]:
        if result == places[0] and len(places) == 1:
            return
        if np.any(op.source < 0):
            yield f"memset({result}, {op.fill}, {node.output.size});"
        ends = np.cumsum([t.size for t in node.inputs])
        for copy in copies_of(op.source, ends):
            yield from copy.lines(places[copy.operand], result)
