"""Before C is printed: operators that are others in disguise, and two that become one.

The results stay what they are, integer for integer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from nn4mc_codegen.int8.operators import Conv, Depthwise, MaxPool
from nn4mc_codegen.int8.quantize import QNode, QuantGraph

POOLED = (3, 4)
"""Pixels of which a convolution keeps the largest: its kernel has four patches at once."""


@dataclass(frozen=True, eq=False)
class PooledConv(Conv):
    """A convolution of whose results the largest of each pool (rows, columns) of pixels is kept.

    Rescaling makes no larger number of a smaller sum, so that it is enough to rescale the largest
    sum; and the other pixels are never stored.
    """

    pool: tuple[int, int]

    kind = "pooled_conv"
    formula = "y = max(clip(m·(W·patch(x) + b)))"

    def evaluate(self, *values: np.ndarray) -> np.ndarray:
        (height, width), (rows, columns) = self.pool, self.window.output
        y = super().evaluate(*values).reshape(rows, columns, -1)
        y = y[: rows // height * height, : columns // width * width]
        return y.reshape(rows // height, height, columns // width, width, -1).max(axis=(1, 3))


def simplified(graph: QuantGraph) -> QuantGraph:
    """The same network as its C computes it."""
    return _with_pools_inside(_without_single_channels(graph))


def _without_single_channels(graph: QuantGraph) -> QuantGraph:
    """A depthwise convolution of an image of one channel is an ordinary one: every row of weights
    meets that channel."""

    def simpler(node: QNode) -> QNode:
        op = node.op
        if not isinstance(op, Depthwise) or op.window.channels > 1:
            return node
        conv = Conv(op.weights, op.bias, op.rescaling, op.window, op.input_zero)
        return replace(node, op=conv)

    return replace(graph, nodes=tuple(map(simpler, graph.nodes)))


def _with_pools_inside(graph: QuantGraph) -> QuantGraph:
    """Convolutions keep the largest pixel themselves where a pool alone reads them."""
    reads = [t for node in graph.nodes for t in node.inputs] + [graph.output]
    nodes: list[QNode] = []
    for node in graph.nodes:
        last = nodes[-1] if nodes else None
        if last and _pools(node, last) and reads.count(last.output) == 1:
            c = last.op
            parts = c.weights, c.bias, c.rescaling, c.window, c.input_zero
            op = PooledConv(*parts, node.op.window.windows.size)
            nodes[-1] = QNode(last.name, op, last.inputs, node.output)
        else:
            nodes.append(node)
    return replace(graph, nodes=tuple(nodes))


def _pools(node: QNode, conv: QNode) -> bool:
    """Whether a node is a pool without overlap and without padding, of what `conv` makes, that
    clips nothing."""
    op = node.op
    if not isinstance(op, MaxPool) or type(conv.op) is not Conv or node.inputs[0] != conv.output:
        return False
    if (op.window.height, op.window.width) != conv.op.window.output:
        return False
    windows, within = op.window.windows, conv.op.rescaling
    sizes = zip(op.window.output, windows.size, conv.op.window.output, strict=True)
    return (
        windows.strides == windows.size
        and windows.dilation == (1, 1)
        and math.prod(windows.size) in POOLED
        and all(count * size <= extent for count, size, extent in sizes)
        and all(pad == 0 for pads in windows.pads(conv.op.window.output) for pad in pads)
        and op.low <= within.low
        and op.high >= within.high
    )
