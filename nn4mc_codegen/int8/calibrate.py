"""Post-training quantisation: a float32 graph and typical inputs in, a `QuantGraph` out.

Every tensor gets the range that it takes on those inputs, weights one scale an output channel. The
scheme is TensorFlow Lite's (https://ai.google.dev/edge/litert/models/quantization_spec), so that
the result resembles what its converter would make.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from nn4mc_codegen.graph.check import ModelError, refuse
from nn4mc_codegen.graph.ir import Graph, Node, Op, Rewire, Tensor
from nn4mc_codegen.int8 import operators as o
from nn4mc_codegen.int8 import quantize as q
from nn4mc_codegen.int8.quantize_recurrent import peak, quantized
from nn4mc_codegen.int8.samples import sequences_of
from nn4mc_codegen.ops.activation import LINEAR, Activation
from nn4mc_codegen.ops.add import Add
from nn4mc_codegen.ops.batch_normalization import BatchNormalization
from nn4mc_codegen.ops.conv import Conv
from nn4mc_codegen.ops.dense import Dense
from nn4mc_codegen.ops.depthwise import DepthwiseConv
from nn4mc_codegen.ops.multiply import Multiply
from nn4mc_codegen.ops.pad import Pad
from nn4mc_codegen.ops.pool import AveragePool, MaxPool, Pool
from nn4mc_codegen.ops.recurrent import Recurrent
from nn4mc_codegen.ops.softmax import Softmax
from nn4mc_codegen.ops.windows import Windows

# (scale, zero) of activations whose results have a known range, as TensorFlow Lite fixes them.
FIXED = {"tanh": (1 / 128, 0), "sigmoid": (1 / 256, q.LOW), "hard_sigmoid": (1 / 256, q.LOW)}
# Operators that move or choose elements: their inputs get the scale of their result, so that the
# numbers need no rescaling on the way.
KEEP_SCALE = (Rewire, Pad, MaxPool)
# A bias has at most so many steps, an eighth of what sums may have.
DEAD_BIAS = o.MAX_SUM / 8
# Activations that only clip: the layer before them clips its sums anyway, without a table.
CLIPS = ("relu", "capped_relu")


def quantize_graph(graph: Graph, samples: np.ndarray) -> q.QuantGraph:
    """int8 form of a graph by typical flat inputs (samples, inputs), with what it costs on them.

    To a recurrent network they are the steps of one sequence, or (sequences, steps, inputs). Raises
    `ModelError` for what has no int8 form.
    """
    sequences = sequences_of(graph, samples)
    simple = _simplified(graph)
    quantised = _Quantizer(simple, *_ranges(simple, sequences)).graph()
    wanted = np.concatenate([graph.run(x)[0] for x in sequences])
    found = np.concatenate([quantised.run(x)[0] for x in sequences])
    difference = found - wanted
    accuracy = q.Accuracy(
        rms=float(np.sqrt(np.mean(difference**2))),
        maximum=float(np.abs(difference).max()),
        range=float(np.ptp(wanted)),
    )
    return replace(quantised, accuracy=accuracy)


def _simplified(graph: Graph) -> Graph:
    """The same with activations as nodes of their own, sums and products of two operands each."""
    nodes: list[Node] = []

    def add(name: str, op: Op, inputs: Sequence[Tensor], output: Tensor | None = None) -> Tensor:
        if output is None:
            output = Tensor(name, op.output_shape([t.shape for t in inputs]))
        nodes.append(Node(name, op, tuple(inputs), output))
        return output

    for node in graph.nodes:
        op, inputs = node.op, node.inputs
        if isinstance(op, Add | Multiply):
            first = inputs[0]
            for number, second in enumerate(inputs[1:-1]):
                first = add(f"{node.name}_{number}", op, (first, second))
            inputs = (first, inputs[-1])
        if isinstance(op, Dense | Conv) and op.activation != LINEAR:
            inputs = (add(f"{node.name}_sum", replace(op, activation=LINEAR), inputs),)
            op = op.activation
        add(node.name, op, inputs, node.output)
    return Graph(graph.inputs, graph.output, tuple(nodes))


Ranges = dict[Tensor, tuple[float, float]]
Peaks = dict[Node, float]


def _ranges(graph: Graph, sequences: np.ndarray) -> tuple[Ranges, Peaks]:
    """Smallest and largest element of every tensor along the sequences, each from a reset state;
    zero is in all of them. And what else of recurrent nodes has a range."""
    ranges = dict.fromkeys((*graph.inputs, *(n.output for n in graph.nodes)), (0.0, 0.0))
    peaks = dict.fromkeys((state.node for state in graph.states), 0.0)
    for sequence in sequences:
        state = np.zeros(graph.state_size)
        for x in sequence:
            values, states = graph.values(x, state)
            for tensor in ranges:
                low, high = ranges[tensor]
                value = values[tensor]
                ranges[tensor] = min(low, float(value.min())), max(high, float(value.max()))
            for node in peaks:
                found = peak(node.op, values[node.inputs[0]].ravel(), states[node], values[node])
                peaks[node] = max(peaks[node], found)
            state = np.concatenate([np.zeros(0), *(values[node] for node in peaks)])
    for node in reversed(graph.nodes):
        if isinstance(node.op, KEEP_SCALE):
            ranges |= dict.fromkeys(node.inputs, ranges[node.output])
    return ranges, peaks


class _Quantizer:
    """Makes the nodes of the `QuantGraph`, one method an operator."""

    def __init__(self, graph: Graph, ranges: Ranges, peaks: Peaks):
        self._graph, self._ranges, self._peaks = graph, ranges, peaks
        self._nodes: list[q.QNode] = []
        self._tensors: dict[Tensor, q.QTensor] = {}
        readers = [t for node in graph.nodes for t in node.inputs] + [graph.output]
        # A clip that is the only reader of a layer is done by that layer.
        self._clip = {
            node.inputs[0]: node
            for node in graph.nodes
            if isinstance(node.op, Activation)
            and node.op.name in CLIPS
            and readers.count(node.inputs[0]) == 1
        }

    def graph(self) -> q.QuantGraph:
        for tensor in self._graph.inputs:
            self._tensors[tensor] = self._tensor(tensor)
        for node in self._graph.nodes:
            if node.output in self._tensors:  # done by the layer before
                continue
            method = next((m for kind, m in METHODS.items() if isinstance(node.op, kind)), None)
            if method is None:
                raise refuse(node.name, f"{node.op.kind} has no int8 form", "compile it as float32")
            try:
                method(self, node, *(self._tensors[t] for t in node.inputs))
            except ModelError:
                raise
            except ValueError as error:
                raise refuse(node.name, str(error), "compile it as float32") from None
        inputs = tuple(self._tensors[t] for t in self._graph.inputs)
        return q.QuantGraph(inputs, self._tensors[self._graph.output], tuple(self._nodes))

    def _tensor(self, tensor: Tensor) -> q.QTensor:
        low, high = self._ranges[tensor]
        scale = float(np.float32((high - low) / 255)) or 1.0
        if not math.isfinite(scale):
            raise refuse(tensor.name, "its values are not finite", "check the representative data")
        zero = int(np.clip(np.rint(q.LOW - low / scale), q.LOW, q.HIGH))
        return q.QTensor(tensor.name, tensor.shape, scale, zero)

    def _fixed(self, tensor: Tensor, scale: float, zero: int) -> q.QTensor:
        return q.QTensor(tensor.name, tensor.shape, scale, zero)

    def _add(self, tensor: Tensor, op: q.QOp, result: q.QTensor, *inputs: q.QTensor) -> None:
        self._tensors[tensor] = result
        self._nodes.append(q.QNode(result.name, op, inputs, result))

    def _linear(
        self, node: Node, x: q.QTensor, rows: np.ndarray, bias: np.ndarray, make: Callable
    ) -> None:
        """A layer of float weights `rows` (outputs, columns), with the clip that follows it."""
        clip, low, high = self._clip.get(node.output), q.LOW, q.HIGH
        output = clip.output if clip else node.output
        y = self._tensor(output)
        if clip:
            low = max(low, y.zero)
            top = dict(clip.op.parameters).get("m", math.inf)
            high = int(min(high, y.zero + np.rint(top / y.scale)))
            self._tensors[node.output] = y
        largest = np.abs(rows).max(axis=1)
        scales = np.where(largest > 0, largest / 127, 1.0).astype(np.float32).astype(np.float64)
        # Beside a bias of so many steps, the weights of a dead channel are nothing.
        scales = np.maximum(scales, np.abs(bias.astype(np.float64)) / (x.scale * DEAD_BIAS))
        scales = np.maximum(scales, np.finfo(np.float32).tiny)
        weights = np.clip(np.rint(rows / scales[:, None]), -127, 127).astype(np.int8)
        steps = np.rint(bias.astype(np.float64) / (x.scale * scales))
        folded = steps.astype(np.int64) - x.zero * weights.sum(axis=1, dtype=np.int64)
        rescaling = q.Rescaling.of(x.scale * scales / y.scale, y.zero, low, high)
        self._add(output, make(weights, folded, rescaling), y, x)

    def _dense(self, node: Node, x: q.QTensor) -> None:
        count = math.prod(x.shape[:-1])
        kernel, bias = node.op.kernel, node.op.bias
        self._linear(node, x, kernel.T, bias, lambda *linear: o.Dense(*linear, count))

    def _conv(self, node: Node, x: q.QTensor) -> None:
        rows = node.op.dense_kernel().transpose(2, 0, 1).reshape(len(node.op.bias), -1)
        window = _window(node.op.windows, x)
        self._linear(node, x, rows, node.op.bias, lambda *linear: o.Conv(*linear, window, x.zero))

    def _depthwise(self, node: Node, x: q.QTensor) -> None:
        rows = node.op.kernel.reshape(-1, len(node.op.bias)).T
        window = _window(node.op.windows, x)
        self._linear(
            node, x, rows, node.op.bias, lambda *linear: o.Depthwise(*linear, window, x.zero)
        )

    def _batch_normalization(self, node: Node, x: q.QTensor) -> None:
        """A depthwise convolution of single taps."""
        positions = x.size // x.shape[-1]
        window = o.Window(Windows((1, 1), (1, 1), (1, 1), "valid"), 1, positions, x.shape[-1])
        rows = node.op.scale[:, None]
        self._linear(
            node, x, rows, node.op.offset, lambda *linear: o.Depthwise(*linear, window, x.zero)
        )

    def _activation(self, node: Node, x: q.QTensor) -> None:
        fixed = FIXED.get(node.op.name)
        y = self._fixed(node.output, *fixed) if fixed else self._tensor(node.output)
        self._add(node.output, o.Lut.of(x, y, node.op.evaluate, node.op.formula), y, x)

    def _recurrent(self, node: Node, x: q.QTensor) -> None:
        y = self._tensor(node.output)
        self._add(node.output, quantized(node.op, x, y, self._peaks[node]), y, x)

    def _softmax(self, node: Node, x: q.QTensor) -> None:
        y = self._fixed(node.output, 1 / 256, q.LOW)
        self._add(node.output, o.Softmax.of(x.shape[-1], x, 1.0), y, x)

    def _sum(self, node: Node, a: q.QTensor, b: q.QTensor) -> None:
        y = self._tensor(node.output)
        self._add(node.output, o.Add.of(a, b, y), y, a, b)

    def _product(self, node: Node, a: q.QTensor, b: q.QTensor) -> None:
        y = self._tensor(node.output)
        self._add(node.output, o.Multiply.of(a, b, y), y, a, b)

    def _pool(self, node: Node, x: q.QTensor) -> None:
        op: Pool = node.op
        if op.windows is None and isinstance(op, AveragePool):
            y = self._tensor(node.output)
            self._add(node.output, o.Mean.of(x.size // x.shape[-1], x, y), y, x)
            return
        y = self._fixed(node.output, x.scale, x.zero)
        window = _window(op.windows_over(x.shape[:-1]), x)
        made = o.AveragePool(window) if isinstance(op, AveragePool) else o.MaxPool(window)
        self._add(node.output, made, y, x)

    def _pad(self, node: Node, x: q.QTensor) -> None:
        y = self._fixed(node.output, x.scale, x.zero)
        numbers = np.arange(1, x.size + 1).reshape(x.shape)
        source = node.op.evaluate(numbers).ravel() - 1
        self._add(node.output, o.Rewire(source, x.zero, node.op.formula), y, x)

    def _rewire(self, node: Node, *inputs: q.QTensor) -> None:
        """Of several inputs all come to one scale first."""
        alike = len({(t.scale, t.zero) for t in inputs}) == 1
        scale = self._fixed(node.output, inputs[0].scale, inputs[0].zero)
        y = scale if alike else self._tensor(node.output)
        if not alike:
            inputs = tuple(
                self._rescaled(f"{node.name}_input_{i}", x, y) for i, x in enumerate(inputs)
            )
        ends = np.cumsum([x.size for x in inputs])
        numbers = [
            np.arange(end - x.size, end).reshape(x.shape)
            for x, end in zip(inputs, ends, strict=True)
        ]
        source = node.op.evaluate(*numbers).ravel()
        self._add(node.output, o.Rewire(source, 0, node.op.formula), y, *inputs)

    def _rescaled(self, name: str, x: q.QTensor, y: q.QTensor) -> q.QTensor:
        if (x.scale, x.zero) == (y.scale, y.zero):
            return x
        result = q.QTensor(name, x.shape, y.scale, y.zero)
        lut = o.Lut.of(x, result, lambda value: value, "y = x, rescaled")
        self._nodes.append(q.QNode(name, lut, (x,), result))
        return result


def _window(windows: Windows, x: q.QTensor) -> o.Window:
    """Of one axis or two."""
    if len(windows.size) == 2:
        return o.Window(windows, *x.shape)
    parts = ((1, *part) for part in (windows.size, windows.strides, windows.dilation))
    padding = windows.padding
    if not isinstance(padding, str):
        padding = ((0, 0), *padding)
    return o.Window(Windows(*parts, padding), 1, *x.shape)


# A subclass stands before its base.
METHODS: dict[type[Op], Callable] = {
    Activation: _Quantizer._activation,
    Add: _Quantizer._sum,
    BatchNormalization: _Quantizer._batch_normalization,
    Dense: _Quantizer._dense,
    DepthwiseConv: _Quantizer._depthwise,
    Conv: _Quantizer._conv,
    MaxPool: _Quantizer._pool,
    AveragePool: _Quantizer._pool,
    Multiply: _Quantizer._product,
    Pad: _Quantizer._pad,
    Recurrent: _Quantizer._recurrent,
    Rewire: _Quantizer._rewire,
    Softmax: _Quantizer._softmax,
}
