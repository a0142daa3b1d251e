"""From a `QuantGraph` to fk.h and fk.c: integer arithmetic, bit for bit that of `quantize`.

Calls of a few kernels (templates/int8_kernels.j2), one a node, on arrays that share one buffer by
liveness. What only gives elements another shape costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from nn4mc_codegen.graph.check import ModelError
from nn4mc_codegen.graph.lower import unique
from nn4mc_codegen.graph.options import Options
from nn4mc_codegen.int8.memory import Place, copies_of, places_of, rounded_up
from nn4mc_codegen.int8.quantize import (
    HIGH,
    LOW,
    Add,
    Conv,
    Dense,
    Depthwise,
    Linear,
    Lut,
    Mean,
    Multiply,
    Pool,
    QNode,
    QOp,
    QuantGraph,
    Rescaling,
    Rewire,
    Softmax,
    Window,
)
from nn4mc_codegen.printing.c import template_environment
from nn4mc_codegen.printing.emit import Origin, input_macros, layer_table

# Rows that the dense kernel sums at a time and quadruples of columns that a turn of its loop takes;
# and what a multiply-accumulate then costs: instructions of the loop on a Cortex-M4.
SHAPES = {(2, 1): 1.5, (2, 2): 1.25, (4, 1): 1.25, (4, 2): 1.1}
# A sum below this may stand in the upper 24 bits of a register.
NARROW = 1 << 23


@dataclass(frozen=True)
class EmittedInt8:
    """As `emit.Emitted`, without derivatives."""

    texts: dict[str, str]
    macs: int
    memory_bytes: int
    """most that one call keeps in its own arrays, on the stack"""
    jacobian_mode: None = None

    @property
    def columns(self) -> dict[str, tuple[int, ...]]:
        return dict.fromkeys(("jacobian", "vjp", "jvp", "hvp"), ())

    def macs_beyond_step(self, name: str) -> int:
        return 0


def emit_int8(graph: QuantGraph, options: Options, origin: Origin) -> EmittedInt8:
    """C files of an int8 graph. Raises `ModelError` for options that need float32."""
    for kind in ("jacobian", "vjp", "jvp", "hvp", "fold"):
        if getattr(options, kind) is not None:
            raise ModelError(
                f"{kind}: an int8 network is a staircase and has no useful derivative; "
                "compile the float32 model for it"
            )
    code = Code(graph, options)
    inputs = [
        {**macros, "tensor": tensor}
        for macros, tensor in zip(input_macros(graph), graph.inputs, strict=True)
    ]
    environment = template_environment()
    fill = {
        "name": options.name,
        "macro": options.name.upper(),
        "options": options,
        "graph": graph,
        "origin": origin,
        "table": layer_table(graph),
        "inputs": inputs,
        "code": code,
    }
    texts = {
        f"{options.name}.h": environment.get_template("int8.h.j2").render(fill),
        f"{options.name}.c": environment.get_template("int8.c.j2").render(fill),
    }
    return EmittedInt8(texts, graph.macs, code.memory_bytes)


@dataclass(frozen=True)
class Constant:
    """An array in flash, or in RAM if it holds weights and they shall be there.

    `narrow` has what a core with DSP instructions reads in its place.
    """

    type: str
    name: str
    values: np.ndarray
    narrow: np.ndarray | None
    storage: str
    place: str

    @property
    def text(self) -> str:
        return self._declared(self.values)

    @property
    def narrow_text(self) -> str:
        return self._declared(self.narrow)

    def _declared(self, values: np.ndarray) -> str:
        numbers = [_integer(v) for v in values.ravel().tolist()]
        lines, line = [], ""
        for number in numbers:
            if len(line) + len(number) > 108:
                lines.append(line.rstrip())
                line = ""
            line += number + ", "
        lines.append(line.rstrip(", "))
        body = "\n    ".join(lines)
        array = f"{self.type} {self.name}[{values.size}]{self.place}"
        return f"{self.storage} {array} = {{\n    {body}}};"


def _integer(value: int) -> str:
    """-2^31 as a literal would be the negative of what does not fit an int."""
    return str(value) if value != -(1 << 31) else "(-2147483647 - 1)"


class Code:
    """What the templates print: constants, kernels in use, calls, sizes of arrays."""

    def __init__(self, graph: QuantGraph, options: Options):
        self.graph, self.name = graph, options.name
        self.in_ram = options.weights == "ram"
        self.constants: list[Constant] = []
        self.layers: list[str] = []
        self.calls: list[str] = []
        self.kinds = {node.op.kind for node in graph.nodes}
        self._tables: dict[bytes, str] = {}
        linear = [node.op for node in graph.nodes if isinstance(node.op, Dense | Conv)]
        self.block, self.unroll = _kernel_shape(linear)
        self.columns = max([self._whole(op) for op in linear], default=0)
        """of the longest vector that a dense kernel multiplies"""
        self.patch = max([op.weights.shape[1] for op in linear if isinstance(op, Conv)], default=0)
        self.wide = any(not _is_narrow(op) for op in linear)
        self.clips = any(_clips(node.op) for node in graph.nodes)
        layers = [node.op for node in graph.nodes if isinstance(node.op, Conv | Depthwise)]
        # Factors below 1/2, which these nearly always have, take a shorter way.
        any_factor = any(np.any(op.rescaling.shift >= 0) for op in layers)
        self.of_layers = "_twice_any" if any_factor else "_twice"
        self.twice = {any_factor} if layers else set()
        """forms of the kernel that rounds twice, for any factor or not"""
        self.twice |= {True} if self.kinds & {"mean", "add", "multiply"} else set()
        self.symbols = dict(zip(graph.nodes, unique([n.name for n in graph.nodes]), strict=True))
        self.places, self.buffer = places_of(graph, self.block)
        for node in graph.nodes:
            self._call(node)
        result = self.places[graph.output]
        if result.array != "y":
            self.calls.append(f"memcpy(y, {result}, {graph.output.size});")

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

    @property
    def constant_bytes(self) -> int:
        sizes = {"int8_t": 1, "int16_t": 2, "int32_t": 4}
        return sum(sizes[c.type] * c.values.size for c in self.constants)

    def _constant(self, kind: str, name: str, values: np.ndarray, narrow=None) -> str:
        """Name of an array; equal tables are printed once."""
        key = kind.encode() + values.tobytes() + (b"" if narrow is None else narrow.tobytes())
        if key not in self._tables:
            self._tables[key] = f"{self.name}_{name}"
            in_ram = self.in_ram and name.endswith("_w")
            storage, macro = "static" if in_ram else "static const", self.name.upper()
            place = f" {macro}_ALIGNED" * (kind == "int16_t") + f" {macro}_WEIGHTS" * in_ram
            full_name = f"{self.name}_{name}"
            self.constants.append(Constant(kind, full_name, values, narrow, storage, place))
        return self._tables[key]

    def _call(self, node: QNode) -> None:
        places = [self.places[t] for t in node.inputs]
        result = self.places[node.output]
        call = getattr(self, f"_{node.op.kind}")
        self.calls.extend(call(node.op, self.symbols[node], node, places, result))

    def _whole(self, op: Linear) -> int:
        """Columns of a layer, to whole turns of the kernel's loop."""
        return rounded_up(op.weights.shape[1], 4 * self.unroll)

    def _rescaling(self, symbol: str, rescaling: Rescaling, rows: int, more: int = 0) -> list[str]:
        """Arrays of multipliers and of bits to the right, to a whole number of blocks.

        One bit is left for rounding, `more` are added.
        """
        whole = rounded_up(rows, self.block)
        multiplier = _padded(np.broadcast_to(rescaling.multiplier, rows), whole)
        shift = _padded(np.broadcast_to(more - 1 - rescaling.shift, rows), whole)
        return [
            self._constant("int32_t", f"{symbol}_m", multiplier),
            # Beyond 31 all that is left is the sign, as after 31.
            self._constant("int8_t", f"{symbol}_s", np.minimum(shift, 31)),
        ]

    def _linear(self, symbol: str, op: Dense | Conv) -> str:
        """The struct of a dense layer or convolution; its name."""
        rows, columns = op.weights.shape
        full = np.zeros((rounded_up(rows, self.block), self._whole(op)), np.int64)
        full[:rows, :columns] = op.weights
        # Pairs of weights, low byte and high byte of a number; blocks of rows side by side.
        pairs = full[:, 0::2] + 256 * full[:, 1::2]
        blocks = pairs.reshape(-1, self.block, full.shape[1] // 4, 2).transpose(0, 2, 1, 3)
        bias = _padded(op.bias, len(full))
        dense, narrow = isinstance(op, Dense), _is_narrow(op)
        start = _wrapped(256 * bias - 127 * full[:, 0::2].sum(axis=1)) if narrow else None
        left = 8 if narrow else op.left
        fields = [
            self._constant("int16_t", f"{symbol}_w", blocks),
            self._constant("int32_t", f"{symbol}_b", bias, start),
            # A dense layer counts beyond the product's upper 32 bits.
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
            self._constant("int8_t", f"{symbol}_w", op.weights.T),
            # Taps outside are left out, so the zero point of x cannot be in b.
            self._constant("int32_t", f"{symbol}_b", op.bias + op.input_zero * sums),
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
        table = self._constant("int8_t", f"{symbol}_table", op.table)
        yield f"{self.name}_lut({table}, {places[0]}, {node.output.size}, {result});"

    def _operands(self, op: Add | Multiply, symbol, node, places) -> Iterator[str]:
        """Array and size of either operand; constants lie in flash."""
        given = iter(zip(places, node.inputs, strict=True))
        for letter, fixed in zip("ab", op.fixed, strict=True):
            if fixed is None:
                place, tensor = next(given)
                yield f"{place}, {tensor.size}"
            else:
                yield f"{self._constant('int8_t', f'{symbol}_{letter}', fixed)}, {fixed.size}"

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
        table = self._constant("int32_t", f"{symbol}_exp", op.exponentials)
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
    """And the offset that rounds."""
    return [str(1 + 2 * rescaling.zero), str(rescaling.low), str(rescaling.high)]


def _factor(rescaling: Rescaling) -> tuple[int, int]:
    """Multiplier and number of bits to the right of a single factor."""
    return int(rescaling.multiplier[0]), -1 - int(rescaling.shift[0])


def _padded(values: np.ndarray, size: int) -> np.ndarray:
    return np.append(values, np.zeros(size - len(values), np.int64))


def _wrapped(values: np.ndarray) -> np.ndarray:
    """Modulo 2^32, as int32."""
    return ((values + (1 << 31)) & ((1 << 32) - 1)) - (1 << 31)


def _is_narrow(op: Linear) -> bool:
    """Whether every sum of the layer fits 24 bits, whatever x, and 256 times that needs no bit more
    for its factor."""
    low = np.where(op.weights > 0, -128, 127).astype(np.int64) * op.weights
    high = np.where(op.weights > 0, 127, -128).astype(np.int64) * op.weights
    least, most = op.bias + low.sum(axis=1), op.bias + high.sum(axis=1)
    fits = np.all(least >= -NARROW) and np.all(most < NARROW)
    return bool(fits and op.left <= 8)


def _clips(op: QOp) -> bool:
    """Whether its results have other limits than int8."""
    limits = op if isinstance(op, Pool) else getattr(op, "rescaling", None)
    return limits is not None and (limits.low, limits.high) != (LOW, HIGH)


def _kernel_shape(linear: Sequence[Linear]) -> tuple[int, int]:
    """Of SHAPES the one with the fewest instructions, padding counted."""

    def cost(shape: tuple[int, int]) -> float:
        rows, columns = shape[0], 4 * shape[1]
        macs = 0
        for op in linear:
            size = rounded_up(len(op.weights), rows) * rounded_up(op.weights.shape[1], columns)
            macs += size * op.macs // op.weights.size
        return SHAPES[shape] * macs

    return min(SHAPES, key=cost)
