"""Softmax: large and small inputs, long rows, derivatives."""

from __future__ import annotations

import numpy as np

from nn4mc_codegen.ops.concatenate import Concatenate
from nn4mc_codegen.ops.softmax import Softmax

# exp to 2e-7 relative, one rounding each for a sum, a quotient and a product.
TOLERANCE = 1e-6


def test_values_and_derivatives(build, compile_graphs):
    graphs = []
    for shape in ((1,), (5,), (3, 4), (200,)):
        b = build()
        graphs.append(b.graph(b.apply(Softmax(), b.input(*shape))))
    random = np.random.default_rng(0)
    codes = compile_graphs([(g, range(min(g.input_size, 20))) for g in graphs])
    for graph, code in zip(graphs, codes, strict=True):
        x = random.normal(0.0, 2.0, graph.input_size).astype(np.float32)
        y, jacobian = code.jacobian(x)
        np.testing.assert_allclose(y, graph.evaluate(x), rtol=0, atol=TOLERANCE)
        expected = graph.jacobian(x)[:, : jacobian.shape[1]]
        np.testing.assert_allclose(jacobian, expected, rtol=0, atol=TOLERANCE)


def test_rows_in_pieces(build, compile_graphs):
    """Of a row that lies in two arrays, twice in one of them."""
    b = build()
    a, c = b.input(3), b.input(2)
    h = b.dense(c, 3)
    graph = b.graph(b.apply(Softmax(), b.apply(Concatenate(-1), h, a, h)))
    (code,) = compile_graphs([(graph, range(5))])
    x = np.random.default_rng(0).normal(size=5).astype(np.float32)
    y, jacobian = code.jacobian(x)
    np.testing.assert_allclose(y, graph.evaluate(x), rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(jacobian, graph.jacobian(x), rtol=0, atol=TOLERANCE)


def test_nothing_overflows(build, compile_graphs):
    b = build()
    graph = b.graph(b.apply(Softmax(), b.input(4)))
    (code,) = compile_graphs([(graph, ())])
    for x in ([1e38, -1e38, 0, 1e38], [-1e4, -1e4, -1e4, -2e4], [200, 100, 0, -100]):
        y = code.step(np.array(x, np.float32))
        np.testing.assert_allclose(y, graph.evaluate(np.float32(x)), rtol=0, atol=TOLERANCE)
        np.testing.assert_allclose(y.sum(), 1.0, rtol=1e-6)
