"""Batch normalisation as it is after training: y = s·x + o for each channel."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from nn4mc_codegen.graph.check import refuse
from nn4mc_codegen.graph.ir import Graph, Node, Op, Shape
from nn4mc_codegen.ops.activation import LINEAR
from nn4mc_codegen.ops.conv import Conv, require_shape
from nn4mc_codegen.ops.dense import Dense
from nn4mc_codegen.program.expression import var
from nn4mc_codegen.program.program import Elements, Program


@dataclass(frozen=True, eq=False)
class BatchNormalization(Op):
    """`scale` and `offset` (channels,) float32. `axis` as Keras counts it, the batch being 0."""

    scale: np.ndarray
    offset: np.ndarray
    axis: int = -1

    kind = "batch_normalization"
    keras_layers = ("BatchNormalization",)
    keras_config = ("axis", "epsilon", "center", "scale")
    each_step = True
    formula = "y = s·x + o"

    @classmethod
    def from_keras(cls, layer) -> BatchNormalization:
        config = layer.config
        axis = config.get("axis", -1)
        axis = axis[0] if isinstance(axis, list) and len(axis) == 1 else axis
        epsilon = config.get("epsilon", 1e-3)
        if type(axis) is not int or not isinstance(epsilon, int | float):
            raise refuse(layer.name, f"axis {axis!r}, epsilon {epsilon!r}", "give one number each")
        trained = [
            n for n, key in (("gamma", "scale"), ("beta", "center")) if config.get(key, True)
        ]
        names = [*trained, "moving_mean", "moving_variance"]
        found = dict(zip(names, layer.weights(names), strict=True))
        for name, array in found.items():
            require_shape(layer, name, array, (found["moving_mean"].size,))
        # float64 until the end: Keras too rounds the whole once or twice, not each part.
        mean, variance = (found[n].astype(np.float64) for n in ("moving_mean", "moving_variance"))
        if np.any(variance + epsilon <= 0.0):
            raise refuse(layer.name, "a moving variance is negative", "train the model again")
        scale = found.get("gamma", 1.0) / np.sqrt(variance + epsilon)
        offset = found.get("beta", 0.0) - mean * scale
        return cls(scale.astype(np.float32), offset.astype(np.float32), axis)

    @property
    def constants(self) -> dict[str, np.ndarray]:
        return {"s": self.scale, "o": self.offset}

    def output_shape(self, shapes: Sequence[Shape]) -> Shape:
        (shape,) = shapes
        if self.axis not in (-1, len(shape)):
            raise ValueError(f"normalises axis {self.axis} of shape {shape}: only the last can be")
        if shape[-1] != self.scale.size:
            raise ValueError(f"normalises {self.scale.size} channels but gets shape {shape}")
        return shape

    def evaluate(self, *values: np.ndarray) -> np.ndarray:
        return values[0] * self.scale.astype(np.float64) + self.offset.astype(np.float64)

    def jacobians(self, *values: np.ndarray) -> list[np.ndarray]:
        return [np.diag(np.broadcast_to(self.scale, values[0].shape).ravel().astype(np.float64))]

    def lower(self, p: Program, *x: Elements) -> Elements:
        scale = p.constant(f"s_{p.label}", self.scale)
        offset = p.constant(f"o_{p.label}", self.offset)
        return p.map(var(0) * var(1) + var(2), x[0], scale, offset)

    def macs(self, *shapes: Shape) -> int:
        return int(np.prod(shapes[0]))


def folded(graph: Graph) -> Graph:
    """The graph with batch normalisations in the weights of the Dense or Conv before them.

    That is exact where the layer has no activation and nothing else reads what it makes, by this
    call or by another one of the same layer.
    """
    readers = Counter(t for node in graph.nodes for t in node.inputs)
    readers[graph.output] += 1
    calls = Counter(node.op for node in graph.nodes)
    nodes: dict = {}  # by what they make
    for node in graph.nodes:
        before = nodes.get(node.inputs[0])
        if (
            isinstance(node.op, BatchNormalization)
            and before is not None
            and isinstance(before.op, Dense | Conv)
            and before.op.activation == LINEAR
            and readers[before.output] == 1
            and calls[before.op] == 1
        ):
            del nodes[before.output]
            node = Node(before.name, _scaled(before.op, node.op), before.inputs, node.output)
            calls[node.op] += 1  # a second normalisation may follow
        nodes[node.output] = node
    return Graph(graph.inputs, graph.output, tuple(nodes.values()))


def _scaled(layer: Dense | Conv, norm: BatchNormalization) -> Dense | Conv:
    scale = norm.scale.astype(np.float64)  # of output channels, the last axis of both kernels
    bias = layer.bias * scale + norm.offset
    return replace(
        layer,
        kernel=(layer.kernel * scale).astype(np.float32),
        bias=bias.astype(np.float32),
    )
