"""Dense: block sizes, tiles and both ways of the Jacobian."""

from __future__ import annotations

import numpy as np
import pytest

from nn4mc_codegen.graph.options import Options
from nn4mc_codegen.ops.activation import Activation
from nn4mc_codegen.ops.dense import Dense
from nn4mc_codegen.printing.emit import emit
from nn4mc_codegen.trial.qemu import measure, missing_tools

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


# (inputs, two layers of hidden units, outputs): what is carried back fits the registers or does
# not, and divides into blocks or leaves one or two columns over.
DEEP = [(18, 10, 5, 3), (7, 10, 5, 3), (20, 9, 6, 3), (11, 10, 4, 4), (5, 6, 5, 1), (33, 8, 19, 2)]


def deep(build, sizes: tuple[int, ...], activation: str = "relu", later: str = ""):
    inputs, first, second, outputs = sizes
    b = build(inputs)
    h = b.dense(b.input(inputs), first, Activation(activation))
    h = b.dense(h, second, Activation(later or activation))
    return b.graph(b.dense(h, outputs, Activation("tanh")))


@pytest.mark.parametrize("optimize", ["balanced", "speed"])
def test_backwards_through_layers_that_relu_switches_off(build, compile_graphs, optimize):
    graphs = [deep(build, sizes, "relu", later) for sizes in DEEP for later in ("relu", "tanh")]
    for graph in graphs:
        graph.nodes[0].op.kernel[:, 0] = 0.0  # a unit at relu's kink, where the slope is 0
        graph.nodes[0].op.bias[0] = 0.0
    dark = deep(build, DEEP[0])
    dark.nodes[0].op.bias[:] = -100.0  # no unit is on
    graphs.append(dark)
    options = [{"jacobian": "all", "optimize": optimize} for _ in graphs]
    codes = compile_graphs(list(zip(graphs, options, strict=True)))
    random = np.random.default_rng(0)
    for graph, code in zip(graphs, codes, strict=True):
        moved = False
        for _ in range(20):
            x = random.normal(size=graph.input_size).astype(np.float32)
            expected = graph.jacobian(x)
            np.testing.assert_allclose(code.jacobian(x)[1], expected, atol=JACOBIAN_TOLERANCE)
            moved |= bool(expected.any())
        assert moved == (graph is not dark)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("sizes", DEEP)
def test_same_bits_on_cortex_m4f(build, compile_graphs, tmp_path, origin, sizes, activation):
    """There, floats that stand side by side are read by one instruction."""
    if problem := missing_tools():
        pytest.skip(problem)
    graph = deep(build, sizes, activation)
    (code,) = compile_graphs([(graph, {"jacobian": "all"})])
    for name, text in emit(graph, Options(jacobian="all"), origin).texts.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    x = np.random.default_rng(3).normal(size=(10, graph.input_size)).astype(np.float32)
    found = measure(tmp_path, "fk", x, "jacobian").outputs
    for k, row in enumerate(x):
        y, jacobian = code.jacobian(row)
        np.testing.assert_array_equal(found["y"][k], y)
        np.testing.assert_array_equal(found["jacobian"][k], jacobian.ravel())


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
