"""Reshape: the same elements in row-major order, at no cost."""

from __future__ import annotations

import numpy as np
import pytest

from nn4mc_codegen.graph.options import Options
from nn4mc_codegen.ops.activation import Activation
from nn4mc_codegen.ops.reshape import Reshape
from nn4mc_codegen.printing.emit import emit


def test_rows_of_a_reshaped_vector(build, compile_graphs):
    b = build()
    graph = b.graph(b.apply(Reshape((3, 2)), b.dense(b.input(5), 6, Activation("tanh"))))
    (code,) = compile_graphs([(graph, tuple(range(5)))])
    x = np.linspace(-1.0, 1.0, 5, dtype=np.float32)
    # float32 sums of five products of order 1.
    np.testing.assert_allclose(code.step(x), graph.evaluate(x), atol=1e-6)
    np.testing.assert_allclose(code.jacobian(x)[1], graph.jacobian(x), atol=1e-6)


def test_it_costs_nothing(build, origin):
    b = build()
    x = b.input(6)
    plain = b.graph(b.dense(x, 2))
    reshaped = b.graph(b.apply(Reshape((2,)), b.apply(Reshape((1, 2)), plain.output)))
    kernels = [
        len(emit(g, Options(), origin).procedures["step"].kernels) for g in (plain, reshaped)
    ]
    assert kernels == [1, 1]


def test_one_open_extent():
    assert Reshape((-1, 2)).output_shape([(3, 4)]) == (6, 2)
    assert Reshape((12,)).output_shape([(3, 4)]) == (12,)


@pytest.mark.parametrize("shape", [(5,), (-1, 5), (-1, -1), (0, 12), (-2, 6)])
def test_shapes_that_do_not_fit_are_refused(shape):
    with pytest.raises(ValueError, match="cannot give"):
        Reshape(shape).output_shape([(3, 4)])
