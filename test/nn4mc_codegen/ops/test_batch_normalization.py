"""Batch normalisation goes into the weights before it, where nothing else would notice."""

from __future__ import annotations

import numpy as np
import pytest

from nn4mc_codegen.graph.ir import Graph
from nn4mc_codegen.ops.activation import LINEAR, Activation
from nn4mc_codegen.ops.add import Add
from nn4mc_codegen.ops.batch_normalization import BatchNormalization, folded
from nn4mc_codegen.ops.conv import Conv
from nn4mc_codegen.ops.depthwise import DepthwiseConv
from nn4mc_codegen.ops.windows import Windows

# Products of weights and scales are rounded to float32 once more.
TOLERANCE = 1e-6
RANDOM = np.random.default_rng(0)
SCALE = np.array([0.5, -2.0, 1.5, 0.1], np.float32)
OFFSET = np.array([0.3, -0.2, 1.0, 0.0], np.float32)
NORM = BatchNormalization(SCALE, OFFSET)
WINDOWS = Windows((3,), (1,), (1,), "same")


def normal(*shape: int) -> np.ndarray:
    return RANDOM.normal(0.0, 0.5, shape).astype(np.float32)


def after_dense(b) -> Graph:
    return b.graph(b.apply(NORM, b.dense(b.input(3), 4)))


def after_conv(b) -> Graph:
    conv = Conv(normal(3, 2, 4), normal(4), WINDOWS, 1, LINEAR)
    return b.graph(b.apply(NORM, b.apply(NORM, b.apply(conv, b.input(5, 2)))))


def after_groups(b) -> Graph:
    conv = DepthwiseConv(normal(3, 1, 4), normal(4), WINDOWS, 2, LINEAR)
    return b.graph(b.apply(NORM, b.apply(conv, b.input(5, 2))))


def after_activation(b) -> Graph:
    return b.graph(b.apply(NORM, b.dense(b.input(3), 4, Activation("tanh"))))


def with_another_reader(b) -> Graph:
    h = b.dense(b.input(3), 4)
    return b.graph(b.apply(Add(), h, b.apply(NORM, h)))


def of_a_layer_called_twice(b) -> Graph:
    h = b.dense(b.input(4), 4)
    layer = b.graph(h).nodes[0].op
    return b.graph(b.apply(layer, b.apply(NORM, h)))


def of_the_input(b) -> Graph:
    return b.graph(b.apply(NORM, b.input(2, 4)))


@pytest.mark.parametrize(
    ("make", "nodes"),
    [
        (after_dense, 1),
        (after_conv, 1),
        (after_groups, 1),
        (after_activation, 2),
        (with_another_reader, 3),
        (of_a_layer_called_twice, 3),
        (of_the_input, 1),
    ],
)
def test_folded(build, make, nodes):
    graph = make(build())
    found = folded(graph)
    assert len(found.nodes) == nodes
    assert found.output is graph.output
    x = RANDOM.normal(size=graph.input_size)
    np.testing.assert_allclose(found.evaluate(x), graph.evaluate(x), rtol=0, atol=TOLERANCE)
