"""Flatten: the same elements in row-major order, at no cost."""

from __future__ import annotations

import numpy as np

from nn4mc_codegen.ops.activation import Activation
from nn4mc_codegen.ops.flatten import Flatten


def test_flat_input_is_row_major(build, compile_graphs):
    b = build()
    graph = b.graph(b.dense(b.apply(Flatten(), b.input(2, 3)), 2, Activation("tanh")))
    (code,) = compile_graphs([(graph, tuple(range(6)))])
    x = np.arange(6, dtype=np.float32) / 10
    kernel, bias = graph.nodes[1].op.kernel, graph.nodes[1].op.bias
    # One float32 rounding a product.
    np.testing.assert_allclose(code.step(x), np.tanh(x @ kernel + bias), atol=1e-6)
    np.testing.assert_allclose(code.jacobian(x)[1], graph.jacobian(x), atol=1e-6)
