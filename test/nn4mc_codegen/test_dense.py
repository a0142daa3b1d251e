"""Dense: block sizes, tiles and both ways of the Jacobian."""

from __future__ import annotations

import numpy as np

from nn4mc_codegen.emit import emit
from nn4mc_codegen.ops.activation import Activation
from nn4mc_codegen.ops.dense import Dense
from nn4mc_codegen.options import Options

# float32 sums of up to a hundred products of order 1/sqrt(100): a few units in the last place.
STEP_TOLERANCE = 2e-6
JACOBIAN_TOLERANCE = 2e-6

# (inputs, hidden units, outputs, chosen): sizes that divide into blocks and tiles, and sizes that
# do not; few outputs of many columns go in reverse, many outputs of few columns forward.
SIZES = [
    (1, 1, 1, 1, "reverse"),
    (36, 10, 3, 18, "reverse"),
    (26, 32, 3, 15, "reverse"),
    (7, 37, 5, 7, "reverse"),
    (5, 17, 23, 2, "forward"),
    (40, 19, 31, 3, "forward"),
    (3, 16, 11, 1, "forward"),
]


def test_step_and_jacobian(build, compile_graphs, origin):
    cases = []
    for inputs, hidden, outputs, columns, mode in SIZES:
        b = build(inputs)
        h = b.dense(b.input(inputs), hidden, Activation("tanh"))
        h = b.dense(h, hidden, Activation("relu"))
        graph = b.graph(b.dense(h, outputs))
        chosen = tuple(range(columns))
        assert emit(graph, Options(jacobian=chosen), origin).jacobian_mode == mode
        cases.append((graph, chosen))

    random = np.random.default_rng(0)
    for (graph, chosen), code in zip(cases, compile_graphs(cases), strict=True):
        for _ in range(20):
            x = random.normal(size=graph.input_size).astype(np.float32)
            np.testing.assert_allclose(code.step(x), graph.evaluate(x), atol=STEP_TOLERANCE)
            y, jacobian = code.jacobian(x)
            np.testing.assert_array_equal(y, code.step(x))
            expected = graph.jacobian(x)[:, list(chosen)]
            np.testing.assert_allclose(jacobian, expected, atol=JACOBIAN_TOLERANCE)


def test_chosen_columns_may_have_holes(build, compile_graphs):
    b = build()
    graph = b.graph(b.dense(b.dense(b.input(9), 4, Activation("tanh")), 2))
    cases = [(graph, chosen) for chosen in ((0, 2, 3, 8), (5,), (1, 3, 5, 7))]
    x = np.linspace(-1.0, 1.0, 9, dtype=np.float32)
    for (_, chosen), code in zip(cases, compile_graphs(cases), strict=True):
        expected = graph.jacobian(x)[:, list(chosen)]
        np.testing.assert_allclose(code.jacobian(x)[1], expected, atol=JACOBIAN_TOLERANCE)


def test_relu_passes_nan_on(build, compile_graphs):
    """A NaN must reach the caller, who tests for it, and not end in a zero."""
    b = build()
    graph = b.graph(b.dense(b.dense(b.input(2), 3, Activation("relu")), 1))
    (code,) = compile_graphs([(graph, ())])
    assert np.isnan(code.step(np.array([np.nan, 0.0], np.float32))).all()


def test_rows_of_a_matrix_have_the_same_weights(build, compile_graphs):
    b = build()
    x = b.input(5, 6)
    kernel, bias = np.linspace(-1, 1, 6 * 7, dtype=np.float32).reshape(6, 7), np.ones(7, np.float32)
    graph = b.graph(b.apply(Dense(kernel, bias, Activation("tanh")), x))
    code, transposed = compile_graphs([(graph, tuple(range(30))), (graph, (0, 29))])
    x = np.random.default_rng(0).normal(size=(5, 6)).astype(np.float32)
    np.testing.assert_allclose(
        code.step(x.ravel()).reshape(5, 7), np.tanh(x @ kernel + bias), atol=STEP_TOLERANCE
    )
    meant = graph.jacobian(x.ravel())
    np.testing.assert_allclose(code.jacobian(x.ravel())[1], meant, atol=JACOBIAN_TOLERANCE)
    np.testing.assert_allclose(
        transposed.jacobian(x.ravel())[1], meant[:, [0, 29]], atol=JACOBIAN_TOLERANCE
    )
