"""What the int8 templates print: constants, structs of layers, one call of a kernel a node.

The kernels (templates/int8_kernels.j2) are C functions that know no network. A dense layer h of 5
units on 6 inputs, with rows of weights in blocks of 4 and columns in fours, is

    static const int16_t fk_w_h[32] = …               8 rows × 8 columns of int8, two in a number
    static const fk_linear fk_l_h = { fk_w_h, … };    its struct: weights, biases, factors, sizes
    fk_dense(&fk_l_h, x, h);                          its call, in fk_step_q
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from nn4mc_codegen.graph.lower import unique
from nn4mc_codegen.graph.options import Options
from nn4mc_codegen.int8.constants import Constants
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
from nn4mc_codegen.int8.quantize import HIGH, LOW, QNode, QOp, QuantGraph, Rescaling
from nn4mc_codegen.int8.shapes import (
    DENSE_BLOCKS,
    SHORT_RUN,
    TURNS,
    conv_cost,
    dense_cost,
    in_fours,
    is_narrow,
    order,
    rest_of,
)
from nn4mc_codegen.int8.simplify import PooledConv, simplified


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
        self.in_ram = options.weights == "ram"
        self.is_static = options.stack_bytes == 0
        """whether the buffer is a static array"""
        self.constants = Constants(self.name, self.in_ram)
        self.record_sizes: list[int] = []
        """of the blocks of rows that the layers have"""
        self.layers: list[str] = []
        self.calls: list[str] = []
        ops = [node.op for node in graph.nodes]
        self.kinds = {op.kind for op in ops} | (
            {"conv"} if any(isinstance(op, Conv) for op in ops) else set()
        )
        dense = [op for op in ops if isinstance(op, Dense)]
        conv = [op for op in ops if isinstance(op, Conv)]
        turns = TURNS[options.optimize]
        shapes = itertools.product(DENSE_BLOCKS, turns)
        self.block, self.dense_turn = min(shapes, key=lambda shape: dense_cost(dense, *shape))
        self.conv_turn = min(turns, key=lambda turn: conv_cost(conv, turn))
        # Lengths of the longest vectors that the kernels multiply, filled up; of the longest patch,
        # the elements of x under a convolution's window; and of a depthwise one's taps and channels
        self.dense_columns = max([self._padded(op)[1] for op in dense], default=0)
        self.conv_columns = max([self._padded(op)[1] for op in conv], default=0)
        windows = [op.window for op in conv]
        self.dilated = any(1 < w.windows.dilation[1] and 1 < w.windows.size[1] for w in windows)
        """whether the taps of any convolution's rows do not lie side by side in x"""
        self.border = self.dilated or any(w.leaves_the_image for w in windows)
        """whether any convolution's patches must be put together, for they have taps outside"""
        self.patch = max([op.weights.shape[1] for op in conv], default=0)
        self.rest = rounded_up(max(map(rest_of, windows), default=0), 4)
        """most elements of a patch that are in no four of a row of taps"""
        runs = {w.windows.size[1] * w.channels for w in windows if w.windows.size[0] > 1}
        self.short_runs = sorted(run for run in runs if run < SHORT_RUN)
        pooled = [op for op in conv if isinstance(op, PooledConv)]
        self.conv_forms = [False] * (len(pooled) < len(conv)) + [True] * bool(pooled)
        self.pooled_columns = max([2 * self._padded(op)[1] for op in pooled], default=0)
        self.pooled_rows = max([len(op.weights) for op in pooled], default=0)
        depthwise = [op for op in ops if isinstance(op, Depthwise)]
        self.channel_by_channel = any(not in_fours(op) for op in depthwise)
        self.in_fours = any(in_fours(op) for op in depthwise)
        counts = [op.weights.shape[1] for op in depthwise if in_fours(op)]
        self.tap_unroll = max(u for u in range(1, 6) if all(n % u == 0 for n in counts))
        self.taps = max([op.weights.shape[1] for op in depthwise], default=0)
        self.deepest = max([op.window.channels for op in depthwise], default=0)
        self.narrow = any(is_narrow(op) for op in (*dense, *conv))
        """whether any layer's sums take at most 24 bits"""
        self.wide = any(not is_narrow(op) for op in (*dense, *conv))
        """whether any layer's sums may take more"""
        self.clips = any(_clips(op) for op in ops)
        """whether any results have narrower limits than int8"""
        layers = [*conv, *depthwise]
        self.halves_up = any(isinstance(op, AveragePool) and op.halves_up for op in ops)
        """whether any mean is that of numbers of uint8, which stand here 128 lower"""
        # A factor below 1/2 shifts to the right only, which takes a shorter function; the factors
        # of convolutions nearly always are.
        any_factor = any(np.any(op.rescaling.shift >= 0) for op in layers)
        self.of_layers = "_twice_any" if any_factor else "_twice"
        self.twice = {any_factor} if layers else set()
        """which forms of the function that rounds twice are used: True is the one for any factor,
        False the shorter one"""
        self.twice |= {True} if self.kinds & {"mean", "add", "multiply"} else set()
        self.doubled = bool(layers) and not any_factor
        self.symbols = dict(zip(graph.nodes, unique([n.name for n in graph.nodes]), strict=True))
        self.places, self.buffer = places_of(graph, self.block)
        for node in graph.nodes:
            self._call(node)
        result = self.places[graph.output]
        if result.array != "y":
            self.calls.append(f"memcpy(y, {result}, {graph.output.size});")

    # Which helpers of the templates are used: `once` rounds a dense layer's sums, `products` are
    # the structs and pairs of what multiplies matrices, `sliding` loads fours of channels,
    # `windows` is the struct of a window.

    @property
    def once(self) -> bool:
        return "dense" in self.kinds

    @property
    def products(self) -> bool:
        return bool(self.kinds & {"dense", "conv"})

    @property
    def pair_kinds(self) -> list[str]:
        return ["pairs"] * self.narrow + ["wide_pairs"] * self.wide

    @property
    def pools(self) -> bool:
        return bool(self.kinds & {"max_pool", "average_pool"})

    @property
    def sliding(self) -> bool:
        return self.pools or "depthwise" in self.kinds

    @property
    def windows(self) -> bool:
        return self.sliding or "conv" in self.kinds

    @property
    def memory_bytes(self) -> int:
        """The buffer, what the largest kernel adds, and the int8 input and output of a step."""
        kernel = max(
            self.patch + 4 * max(self.conv_columns, self.pooled_columns),
            2 * self.dense_columns,
            4 * self.taps + self.deepest,
        )
        return self.buffer + kernel + self.graph.input_size + self.graph.output.size

    def _call(self, node: QNode) -> None:
        places = [self.places[t] for t in node.inputs]
        result = self.places[node.output]
        call = getattr(self, f"_{node.op.kind}")
        self.calls.extend(call(node.op, self.symbols[node], node, places, result))

    def _block(self, op: Linear) -> int:
        """How many rows the kernel of a layer sums at a time."""
        return self.block if isinstance(op, Dense) else 1 if isinstance(op, PooledConv) else 2

    def _padded(self, op: Linear) -> tuple[int, int]:
        """Rows and columns of a layer with those of weight zero that fill up the kernel's blocks
        and turns."""
        dense = isinstance(op, Dense)
        block, turn = self._block(op), self.dense_turn if dense else self.conv_turn
        rows, columns = op.weights.shape
        return rounded_up(rows, block), rounded_up(columns, 4 * turn)

    def _rows(
        self,
        symbol: str,
        block: int,
        rescaling: Rescaling,
        bias: np.ndarray,
        narrow_bias: np.ndarray | None = None,
        more: int = 0,
    ) -> str:
        """Name of an array of blocks of rows, which `bias` fills: what to add to each row's sum,
        multiply by, and shift to the right by.

        A row's factor is multiplier·2^(shift - 31). The kernel makes twice the result, and rounds
        by halving it in the end. Convolutions take product·2^-31, so that -1 - shift bits remain to
        be shifted. Dense layers shift `more` bits: see `_linear`.
        """
        # A shift by 31 bits leaves nothing but the sign; C does not define a longer one.
        shift = np.minimum(_filled(more - 1 - rescaling.shift, len(bias)), 31)
        multiplier = _filled(rescaling.multiplier, len(bias))
        self.record_sizes = sorted({*self.record_sizes, block})
        parts = [bias, multiplier, shift]
        other = [narrow_bias, multiplier, shift] if narrow_bias is not None else None
        return self.constants.add_records(f"rows_{block}", f"r_{symbol}", block, parts, other)

    def _linear(self, symbol: str, op: Dense | Conv) -> str:
        """Name of the struct of a dense layer or convolution, which is appended to `layers`.

        A narrow layer has other biases on a core with DSP instructions. Of two weights p and q that
        stand in one number, 256·q - p, that core computes 256·(p·a + q·b) + 129·p, as
        int8_linear.j2 derives: so a bias is 256 times as large, less the sum of 129·p. The numbers
        of a wide layer are two bytes, p and q.
        """
        rows, columns = op.weights.shape
        full = np.zeros(self._padded(op), np.int64)
        full[:rows, :columns] = op.weights[:, order(op)]
        dense, narrow = isinstance(op, Dense), is_narrow(op)
        first, second = full[:, 0::2], full[:, 1::2]
        pairs = 256 * second - first if narrow else 256 * second + (first & 255)
        # A number holds two weights of a row. A block's rows come in turn, four columns of each:
        # with rows a and b in a block the numbers are a01 a23 b01 b23 a45 a67 b45 b67 …
        block = self._block(op)
        blocks = pairs.reshape(-1, block, full.shape[1] // 4, 2).transpose(0, 2, 1, 3)
        bias = _padded(op.bias, len(full))
        narrow_bias = _wrapped(256 * bias - 129 * first.sum(axis=1)) if narrow else None
        left = 8 if narrow else op.left
        fields = [
            self.constants.add("int16_t", f"w_{symbol}", blocks),
            # The sums of a dense layer are multiplied by 2^left, after which every row's factor is
            # a shift to the right; and the kernel takes product·2^-32, the upper 32 bits.
            self._rows(symbol, block, op.rescaling, bias, narrow_bias, left - 1 if dense else 0),
            str(columns),
            str(full.shape[1]),
            str(len(full) if dense else rows),
            str(block),
            str(int(narrow)),
            str(1 << left if dense else 1),
            *_limits(op.rescaling),
        ]
        return self._struct("linear", f"l_{symbol}", fields)

    def _struct(self, kind: str, symbol: str, fields: Sequence[str]) -> str:
        name = f"{self.name}_{symbol}"
        self.layers.append(f"static const {self.name}_{kind} {name} = {{ {', '.join(fields)} }};")
        return name

    def _dense(self, op: Dense, symbol, node, places, result) -> Iterator[str]:
        layer = self._linear(symbol, op)
        rows, columns = op.weights.shape
        if op.count == 1:
            yield f"{self.name}_dense(&{layer}, {places[0]}, {result});"
            return
        yield f"for (int i = 0; i < {op.count}; i++) {{"
        yield (
            f"    {self.name}_dense(&{layer}, {places[0]} + i * {columns}, {result} + i * {rows});"
        )
        yield "}"

    def _conv(self, op: Conv, symbol, node, places, result) -> Iterator[str]:
        layer, window = self._linear(symbol, op), self._window(symbol, op.window)
        yield f"{self.name}_conv(&{layer}, &{window}, {op.input_zero}, {places[0]}, {result});"

    def _pooled_conv(self, op: PooledConv, symbol, node, places, result) -> Iterator[str]:
        layer, window = self._linear(symbol, op), self._window(symbol, op.window)
        numbers = f"{op.input_zero}, {op.pool[0]}, {op.pool[1]}"
        yield (f"{self.name}_pooled_conv(&{layer}, &{window}, {numbers}, {places[0]}, {result});")

    def _depthwise(self, op: Depthwise, symbol, node, places, result) -> Iterator[str]:
        rows, window = len(op.weights), self._window(symbol, op.window)
        order, weights = np.arange(rounded_up(rows, 4)), op.weights.T
        if in_fours(op):
            # Of 6 channels the blocks are 0 1 2 3 and 2 3 4 5.
            order[-4:] = np.arange(rows - 4, rows)
            weights = op.weights[order].reshape(-1, 4, op.weights.shape[1]).transpose(0, 2, 1)
        order = np.minimum(order, rows - 1)
        r = op.rescaling
        rescaling = replace(
            r, multiplier=_filled(r.multiplier, rows)[order], shift=_filled(r.shift, rows)[order]
        )
        fields = [
            self.constants.add("int8_t", f"w_{symbol}", weights),
            self._rows(symbol, 4, rescaling, op.bias[order]),
            str(rows),
            str(op.per_channel),
            str(int(in_fours(op))),
            str(op.input_zero),
            *_limits(op.rescaling),
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
        numbers = (
            op.positions,
            node.output.size,
            op.positions * op.input_zero,
            *_factor(op.rescaling),
            1 + 2 * op.rescaling.zero,
        )
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
            *_factor(r),
            *_limits(r),
        ]
        layer = self._struct("sum", f"l_{symbol}", list(map(str, numbers)))
        a, b = self._operands(op, symbol, node, places)
        yield f"{self.name}_add(&{layer}, {a}, {b}, {node.output.size}, {result});"

    def _multiply(self, op: Multiply, symbol, node, places, result) -> Iterator[str]:
        numbers = [*op.zeros, *_factor(op.rescaling), *_limits(op.rescaling)]
        layer = self._struct("product", f"l_{symbol}", list(map(str, numbers)))
        a, b = self._operands(op, symbol, node, places)
        yield f"{self.name}_multiply(&{layer}, {a}, {b}, {node.output.size}, {result});"

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
            place = places[copy.operand]
            source = Place(place.array, place.start + copy.source)
            target = Place(result.array, result.start + copy.target)
            if copy.count == 1:
                yield f"memcpy({target}, {source}, {copy.length});"
                continue
            yield f"for (int i = 0; i < {copy.count}; i++) {{"
            yield (
                f"    memcpy({target} + i * {copy.target_step}, {source} + i * {copy.source_step}, "
                f"{copy.length});"
            )
            yield "}"


def _limits(rescaling: Rescaling) -> list[str]:
    """The offset, twice the zero point and 1 for rounding; the lowest and the highest result."""
    return [str(1 + 2 * rescaling.zero), str(rescaling.low), str(rescaling.high)]


def _factor(rescaling: Rescaling) -> tuple[int, int]:
    """Multiplier and bits to shift to the right of a single factor, as in `_rescaling`."""
    return int(rescaling.multiplier[0]), -1 - int(rescaling.shift[0])


def _padded(values: np.ndarray, size: int) -> np.ndarray:
    return np.append(values, np.zeros(size - len(values), np.int64))


def _filled(values: np.ndarray, size: int) -> np.ndarray:
    """A number a row, or one for all, filled up to a size with zeros."""
    return _padded(values, size) if len(values) > 1 else np.full(size, values)


def _wrapped(values: np.ndarray) -> np.ndarray:
    """Values as int32, modulo 2^32 as the C computes."""
    return ((values + (1 << 31)) & ((1 << 32) - 1)) - (1 << 31)


def _clips(op: QOp) -> bool:
    """Whether an operator's results have narrower limits than int8."""
    limits = op if isinstance(op, Pool) else getattr(op, "rescaling", None)
    return limits is not None and (limits.low, limits.high) != (LOW, HIGH)
