"""What the int8 templates print: constants, structs of layers, one call of a kernel a node.

The kernels (templates/int8_kernels.j2) are C functions that know no network. A dense layer h of 5
units on 6 inputs, with rows of weights in blocks of 4 and columns in fours, is

    static const int16_t fk_h_w[32] = …              8 rows × 8 columns of int8, two in a number
    static const fk_linear fk_h = { fk_h_w, … };     its struct: weights, biases, factors, sizes
    fk_dense(&fk_h, x, 6, h);                        its call, in fk_step_q
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from nn4mc_codegen.graph.lower import unique
from nn4mc_codegen.graph.options import Options
from nn4mc_codegen.int8.constants import Constants
from nn4mc_codegen.int8.memory import Place, copies_of, places_of, rounded_up
from nn4mc_codegen.int8.operators import (
    Add,
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

# How many rows the dense kernel sums at a time, and how many fours of columns a turn of its loop
# takes; and the instructions that a multiply-accumulate costs in that loop on a Cortex-M4. Counted
# under QEMU, a step of dense 64-64-64 takes 17,438, 13,536, 12,324 and 11,050 instructions with
# these, one of dense 36-10-5-3 takes 1534, 1512, 1418 and 1451: of so small layers the costs, which
# choose (2, 2) there, leave out what a block costs beside the loop.
KERNEL_SHAPES = {(2, 1): 1.5, (2, 2): 1.25, (4, 1): 1.25, (4, 2): 1.1}
# A sum of absolute value below this is narrow: 256 times as much fits 32 bits.
NARROW = 1 << 23


class Int8Code:
    """What the templates print: constants, kernels in use, calls, sizes of arrays.

    `block` and `unroll` are the shape of the dense kernel, see `KERNEL_SHAPES`. `block` rows of
    weights stand side by side; `places` says where each tensor lies, `buffer` how many bytes the
    tensors inside the network share.
    """

    def __init__(self, graph: QuantGraph, options: Options):
        self.graph, self.name = graph, options.name
        self.in_ram = options.weights == "ram"
        self.constants = Constants(self.name, self.in_ram)
        self.layers: list[str] = []
        self.calls: list[str] = []
        self.kinds = {node.op.kind for node in graph.nodes}
        linear = [node.op for node in graph.nodes if isinstance(node.op, Dense | Conv)]
        self.block, self.unroll = _kernel_shape(linear)
        self.columns = max([self._padded_columns(op) for op in linear], default=0)
        """length of the longest vector that a dense kernel multiplies, filled up"""
        self.patch = max([op.weights.shape[1] for op in linear if isinstance(op, Conv)], default=0)
        """length of the longest patch, the elements of x under a convolution's window"""
        self.wide = any(not _is_narrow(op) for op in linear)
        """whether a sum may take more than 24 bits, for which DSP cores need the plain loop too"""
        self.clips = any(_clips(node.op) for node in graph.nodes)
        """whether any results have narrower limits than int8"""
        layers = [node.op for node in graph.nodes if isinstance(node.op, Conv | Depthwise)]
        # A factor below 1/2 shifts to the right only, which takes a shorter function; the factors
        # of convolutions nearly always are.
        any_factor = any(np.any(op.rescaling.shift >= 0) for op in layers)
        self.of_layers = "_twice_any" if any_factor else "_twice"
        self.twice = {any_factor} if layers else set()
        """which forms of the function that rounds twice are used: True is the one for any factor,
        False the shorter one"""
        self.twice |= {True} if self.kinds & {"mean", "add", "multiply"} else set()
        self.symbols = dict(zip(graph.nodes, unique([n.name for n in graph.nodes]), strict=True))
        self.places, self.buffer = places_of(graph, self.block)
        for node in graph.nodes:
            self._call(node)
        result = self.places[graph.output]
        if result.array != "y":
            self.calls.append(f"memcpy(y, {result}, {graph.output.size});")

    # Which helpers of the templates are used: `once` rounds a dense layer's sums, `block_kernel`
    # multiplies blocks of rows, `windows` is the struct of a window, `sliding` finds its taps.

    @property
    def once(self) -> bool:
        return "dense" in self.kinds

    @property
    def block_kernel(self) -> bool:
        return bool(self.kinds & {"dense", "conv"})

    @property
    def sliding(self) -> bool:
        return bool(self.kinds & {"depthwise", "max_pool", "average_pool"})

    @property
    def windows(self) -> bool:
        return self.sliding or "conv" in self.kinds

    @property
    def memory_bytes(self) -> int:
        """The buffer, what the largest kernel adds, and the int8 input and output of a step."""
        kernel = self.patch + 2 * self.columns
        return self.buffer + kernel + self.graph.input_size + self.graph.output.size

    def _call(self, node: QNode) -> None:
        places = [self.places[t] for t in node.inputs]
        result = self.places[node.output]
        call = getattr(self, f"_{node.op.kind}")
        self.calls.extend(call(node.op, self.symbols[node], node, places, result))

    def _padded_columns(self, op: Linear) -> int:
        """Columns of a layer with those of weight zero that fill up the kernel's last turn."""
        return rounded_up(op.weights.shape[1], 4 * self.unroll)

    def _rescaling(self, symbol: str, rescaling: Rescaling, rows: int, more: int = 0) -> list[str]:
        """Names of two arrays, filled up to whole blocks: the rows' multipliers, and the bits by
        which the kernel shifts to the right.

        A row's factor is multiplier·2^(shift - 31). The kernel makes twice the result, and rounds
        by halving it in the end. Convolutions take product·2^-31, so that -1 - shift bits remain to
        be shifted. Dense layers shift `more` bits: see `_linear`.
        """
        padded = rounded_up(rows, self.block)
        multiplier = _padded(np.broadcast_to(rescaling.multiplier, rows), padded)
        shift = _padded(np.broadcast_to(more - 1 - rescaling.shift, rows), padded)
        return [
            self.constants.add("int32_t", f"{symbol}_m", multiplier),
            # A shift by 31 bits leaves nothing but the sign; C does not define a longer one.
            self.constants.add("int8_t", f"{symbol}_s", np.minimum(shift, 31)),
        ]

    def _linear(self, symbol: str, op: Dense | Conv) -> str:
        """Name of the struct of a dense layer or convolution, which is appended to `layers`.

        A narrow layer has other biases on a core with DSP instructions. Of two weights p and q that
        stand in one number, 256·q + p, that core computes 256·(p·a + q·b) + 127·p, as
        int8_kernels.j2 derives: so a bias is 256 times as large, less the sum of 127·p.
        """
        rows, columns = op.weights.shape
        full = np.zeros((rounded_up(rows, self.block), self._padded_columns(op)), np.int64)
        full[:rows, :columns] = op.weights
        # A number holds two weights of a row. A block's rows come in turn, four columns of each:
        # with rows a and b in a block the numbers are a01 a23 b01 b23 a45 a67 b45 b67 …
        pairs = full[:, 0::2] + 256 * full[:, 1::2]
        blocks = pairs.reshape(-1, self.block, full.shape[1] // 4, 2).transpose(0, 2, 1, 3)
        bias = _padded(op.bias, len(full))
        dense, narrow = isinstance(op, Dense), _is_narrow(op)
        narrow_bias = _wrapped(256 * bias - 127 * full[:, 0::2].sum(axis=1)) if narrow else None
        left = 8 if narrow else op.left
        fields = [
            self.constants.add("int16_t", f"{symbol}_w", blocks),
            self.constants.add("int32_t", f"{symbol}_b", bias, narrow_bias),
            # The sums of a dense layer are multiplied by 2^left, after which every row's factor is
            # a shift to the right; and the kernel takes product·2^-32, the upper 32 bits.
            *self._rescaling(symbol, op.rescaling, rows, left - 1 if dense else 0),
            str(full.shape[1]),
            str(len(full)),
            str(int(narrow)),
            str(1 << left if dense else 1),
            *_limits(op.rescaling),
        ]
        return self._struct("linear", symbol, fields)

    def _struct(self, kind: str, symbol: str, fields: Sequence[str]) -> str:
        name = f"{self.name}_{symbol}"
        self.layers.append(f"static const {self.name}_{kind} {name} = {{ {', '.join(fields)} }};")
        return name

    def _dense(self, op: Dense, symbol, node, places, result) -> Iterator[str]:
        layer = self._linear(symbol, op)
        rows, columns = op.weights.shape
        if op.count == 1:
            yield f"{self.name}_dense(&{layer}, {places[0]}, {columns}, {result});"
            return
        yield f"for (int i = 0; i < {op.count}; i++) {{"
        yield (
            f"    {self.name}_dense(&{layer}, {places[0]} + i * {columns}, {columns}, "
            f"{result} + i * {rows});"
        )
        yield "}"

    def _conv(self, op: Conv, symbol, node, places, result) -> Iterator[str]:
        layer, window = self._linear(symbol, op), self._window(symbol, op.window)
        numbers = f"{op.input_zero}, {op.weights.shape[0]}"
        yield f"{self.name}_conv(&{layer}, &{window}, {numbers}, {places[0]}, {result});"

    def _depthwise(self, op: Depthwise, symbol, node, places, result) -> Iterator[str]:
        rows, sums = len(op.weights), op.weights.sum(axis=1, dtype=np.int64)
        window = self._window(symbol, op.window)
        fields = [
            self.constants.add("int8_t", f"{symbol}_w", op.weights.T),
            # The kernel skips taps outside of x, and subtracts the zero point from each of the
            # others: the zero point's share, which the bias holds, is taken out again.
            self.constants.add("int32_t", f"{symbol}_b", op.bias + op.input_zero * sums),
            *self._rescaling(symbol, op.rescaling, rows),
            str(rows),
            str(op.per_channel),
            str(op.input_zero),
            *_limits(op.rescaling),
        ]
        layer = self._struct("depthwise_layer", symbol, fields)
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
        )
        return self._struct("window", f"{symbol}_window", [str(n) for n in numbers])

    def _pool(self, op: Pool, symbol, node, places, result) -> Iterator[str]:
        window = self._window(symbol, op.window)
        limits = f"{op.low}, {op.high}, " if self.clips else ""
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
        table = self.constants.add("int8_t", f"{symbol}_table", op.table)
        yield f"{self.name}_lut({table}, {places[0]}, {node.output.size}, {result});"

    def _operands(self, op: Add | Multiply, symbol, node, places) -> Iterator[str]:
        """Array and size of either operand; constants lie in flash."""
        given = iter(zip(places, node.inputs, strict=True))
        for letter, fixed in zip("ab", op.fixed, strict=True):
            if fixed is None:
                place, tensor = next(given)
                yield f"{place}, {tensor.size}"
            else:
                yield f"{self.constants.add('int8_t', f'{symbol}_{letter}', fixed)}, {fixed.size}"

    def _add(self, op: Add, symbol, node, places, result) -> Iterator[str]:
        (a_factor, b_factor), r = op.factors, op.rescaling
        numbers = [
            *(op.zeros[0], a_factor[0], -1 - a_factor[1]),
            *(op.zeros[1], b_factor[0], -1 - b_factor[1], op.sign),
            *_factor(r),
            *_limits(r),
        ]
        layer = self._struct("sum", symbol, list(map(str, numbers)))
        a, b = self._operands(op, symbol, node, places)
        yield f"{self.name}_add(&{layer}, {a}, {b}, {node.output.size}, {result});"

    def _multiply(self, op: Multiply, symbol, node, places, result) -> Iterator[str]:
        numbers = [*op.zeros, *_factor(op.rescaling), *_limits(op.rescaling)]
        layer = self._struct("product", symbol, list(map(str, numbers)))
        a, b = self._operands(op, symbol, node, places)
        yield f"{self.name}_multiply(&{layer}, {a}, {b}, {node.output.size}, {result});"

    def _softmax(self, op: Softmax, symbol, node, places, result) -> Iterator[str]:
        table = self.constants.add("int32_t", f"{symbol}_exp", op.exponentials)
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


def _wrapped(values: np.ndarray) -> np.ndarray:
    """Values as int32, modulo 2^32 as the C computes."""
    return ((values + (1 << 31)) & ((1 << 32) - 1)) - (1 << 31)


def _is_narrow(op: Linear) -> bool:
    """Whether every sum of the layer fits 24 bits, whatever x is, and its factor needs no more than
    the 8 bits that are left above."""
    low = np.where(op.weights > 0, -128, 127).astype(np.int64) * op.weights
    high = np.where(op.weights > 0, 127, -128).astype(np.int64) * op.weights
    least, most = op.bias + low.sum(axis=1), op.bias + high.sum(axis=1)
    fits = np.all(least >= -NARROW) and np.all(most < NARROW)
    return bool(fits and op.left <= 8)


def _clips(op: QOp) -> bool:
    """Whether an operator's results have narrower limits than int8."""
    limits = op if isinstance(op, Pool) else getattr(op, "rescaling", None)
    return limits is not None and (limits.low, limits.high) != (LOW, HIGH)


def _kernel_shape(linear: Sequence[Linear]) -> tuple[int, int]:
    """The shape with which the layers take the fewest instructions, those on padding included."""

    def cost(shape: tuple[int, int]) -> float:
        rows, columns = shape[0], 4 * shape[1]
        macs = 0
        for op in linear:
            size = rounded_up(len(op.weights), rows) * rounded_up(op.weights.shape[1], columns)
            macs += size * op.macs // op.weights.size
        return KERNEL_SHAPES[shape] * macs

    return min(KERNEL_SHAPES, key=cost)
