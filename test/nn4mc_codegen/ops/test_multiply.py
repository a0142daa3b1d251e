"""Multiply: values and derivatives, also of a square and of a product of three."""

from __future__ import annotations

import numpy as np
import pytest

from nn4mc_codegen.ops.activation import Activation
from nn4mc_codegen.ops.multiply import Multiply

TOLERANCE = 2e-6  # a few float32 roundings of products of order 1


def gated(b):
    x = b.input(4)
    h = b.dense(x, 4, Activation("tanh"))
    return b.graph(b.apply(Multiply(), h, b.dense(x, 4, Activation("sigmoid"))))


def square(b):
    h = b.dense(b.input(4), 5, Activation("tanh"))
    return b.graph(b.dense(b.apply(Multiply(), h, h), 2))


def three(b):
    x, z = b.input(3), b.input(3)
    return b.graph(b.apply(Multiply(), x, b.dense(x, 3), z))


def test_values_and_jacobians(build, same_as_meaning):
    graphs = [make(build()) for make in (gated, square, three)]
    cases = [(g, c) for g in graphs for c in (tuple(range(g.input_size)), (1,))]
    same_as_meaning(cases, TOLERANCE)


def test_meaning_of_the_jacobian_is_a_difference(build):
    graph, step = three(build()), 1e-6
    x = np.random.default_rng(1).normal(size=6)
    columns = [
        (graph.evaluate(x + step * e) - graph.evaluate(x - step * e)) / (2 * step)
        for e in np.eye(6)
    ]
    # The difference's own error is of order 1e-10.
    np.testing.assert_allclose(graph.jacobian(x), np.transpose(columns), atol=1e-8)


def test_different_shapes_are_refused():
    with pytest.raises(ValueError, match=r"\(3,\), \(4,\)"):
        Multiply().output_shape([(3,), (4,)])
