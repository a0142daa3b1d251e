"""The meaning of a graph: its Jacobian is the derivative of its value."""

from __future__ import annotations

import numpy as np
import pytest

from nn4mc_codegen.ops.activation import Activation
from nn4mc_codegen.ops.add import Add
from nn4mc_codegen.ops.concatenate import Concatenate


def test_jacobian_is_the_derivative(build):
    b = build()
    u, y = b.input(3), b.input(2)
    h = b.dense(b.apply(Concatenate(-1), u, y), 6, Activation("tanh"))
    h = b.dense(b.apply(Concatenate(-1), h, y), 2)
    graph = b.graph(b.apply(Add(), y, h))
    x = np.random.default_rng(1).normal(size=5)

    # Central differences in float64: error of order step² plus 1e-16 / step.
    step = 1e-5
    differences = [
        (graph.evaluate(x + step * e) - graph.evaluate(x - step * e)) / (2 * step)
        for e in np.eye(5)
    ]
    np.testing.assert_allclose(graph.jacobian(x), np.transpose(differences), atol=1e-9)


def test_wrong_input_size_is_named(build):
    b = build()
    graph = b.graph(b.dense(b.input(3), 2))
    with pytest.raises(ValueError, match=r"takes \(3,\)"):
        graph.evaluate(np.zeros(4))
