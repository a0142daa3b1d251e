"""Concatenate: every part is found again, in values and derivatives, at no cost."""

from __future__ import annotations

import numpy as np

from nn4mc_codegen.emit import emit
from nn4mc_codegen.ops.activation import Activation
from nn4mc_codegen.ops.concatenate import Concatenate
from nn4mc_codegen.ops.flatten import Flatten

TOLERANCE = 2e-6  # a few float32 roundings of sums of order 1


def test_order_of_inputs_is_the_order_of_the_flat_input(build):
    b = build()
    u, y = b.input(2), b.input(1)
    graph = b.graph(b.dense(b.apply(Concatenate(-1), u, y), 1))
    _, texts = emit(graph, "fk", model_file="m", model_hash="0", command="c")
    assert "memcpy" not in texts["fk.c"]
    assert "const float *v = x;" in texts["fk.c"]  # read in place


def swapped(b):
    u, y = b.input(3), b.input(2)
    return b.graph(b.dense(b.apply(Concatenate(-1), y, u), 4, Activation("tanh")))


def repeated(b):
    u = b.input(3)
    return b.graph(b.dense(b.apply(Concatenate(-1), u, u), 2, Activation("tanh")))


def skip(b):
    u = b.input(3)
    h = b.dense(u, 4, Activation("tanh"))
    return b.graph(b.dense(b.apply(Concatenate(-1), h, u, h), 2))


def outputs_joined(b):
    """An output of two layers and an input."""
    u, y = b.input(3), b.input(2)
    a, c = b.dense(u, 2, Activation("tanh")), b.dense(y, 3)
    return b.graph(b.apply(Concatenate(-1), a, y, c))


def second_axis(b):
    """Rows of a matrix side by side."""
    u, y = b.input(2, 3), b.input(2, 2)
    return b.graph(b.dense(b.apply(Flatten(), b.apply(Concatenate(1), u, y)), 3))


def test_values_and_jacobians(build, compile_graphs):
    graphs = [f(build()) for f in (swapped, repeated, skip, outputs_joined, second_axis)]
    cases = [(g, c) for g in graphs for c in (tuple(range(g.input_size)), (0,), (1, 2))]
    random = np.random.default_rng(0)
    for (graph, chosen), code in zip(cases, compile_graphs(cases), strict=True):
        x = random.normal(size=graph.input_size).astype(np.float32)
        np.testing.assert_allclose(code.step(x), graph.evaluate(x), atol=TOLERANCE)
        expected = graph.jacobian(x)[:, list(chosen)]
        np.testing.assert_allclose(code.jacobian(x)[1], expected, atol=TOLERANCE)
