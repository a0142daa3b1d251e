"""Arithmetic of results and constants: values and derivatives against differences, and the C."""

from __future__ import annotations

import numpy as np
import pytest

from nn4mc_codegen.ops.constant import Constant
from nn4mc_codegen.ops.elementwise import MEANINGS, Elementwise

RANDOM = np.random.default_rng(0)
OF_ONE = ("absolute", "square_root", "error_function")
OF_TWO = [name for name in MEANINGS if name not in OF_ONE]
# Far enough from a kink, a pole and the edge of a root that a difference of 1e-6 stays on one side.
A = RANDOM.uniform(0.3, 2.0, (2, 3, 4)) * RANDOM.choice([-1.0, 1.0], (2, 3, 4))
B = RANDOM.uniform(0.4, 2.1, (3, 1))
CONSTANTS = [
    B.astype(np.float32),
    np.array(0.75, np.float32),
    RANDOM.uniform(0.4, 2.1, (2, 3, 4)).astype(np.float32),
]


def by_differences(op, *values: np.ndarray) -> list[np.ndarray]:
    found = []
    for k, value in enumerate(values):
        columns = []
        for element in range(value.size):
            ends = []
            for step in (1e-6, -1e-6):
                moved = value.copy()
                moved.ravel()[element] += step
                ends.append(op.evaluate(*values[:k], moved, *values[k + 1 :]).ravel())
            columns.append((ends[0] - ends[1]) / 2e-6)
        found.append(np.stack(columns, axis=1))
    return found


def operators() -> list[tuple[Elementwise, list[np.ndarray]]]:
    found = [(Elementwise(name, (None,)), [np.abs(A)]) for name in OF_ONE]
    found += [
        (Elementwise("absolute", (None,)), [A]),
        (Elementwise("error_function", (None,)), [A]),
    ]
    for name in OF_TWO:
        found.append((Elementwise(name, (None, None)), [A, B]))
        found.append((Elementwise(name, (None, None)), [B, A]))
        found += [(Elementwise(name, (None, c)), [A]) for c in CONSTANTS]
        found.append((Elementwise(name, (CONSTANTS[0], None)), [A]))
    return found


def test_derivatives_are_those_of_the_values():
    for op, values in operators():
        meant = op.jacobians(*values)
        for found, expected in zip(meant, by_differences(op, *values), strict=True):
            np.testing.assert_allclose(found, expected, atol=1e-7, err_msg=op.formula)


def test_values_are_numpy_s():
    two = Elementwise("divide", (None, None))
    np.testing.assert_array_equal(two.evaluate(A, B), A / B)
    assert two.output_shape([(2, 3, 4), (3, 1)]) == (2, 3, 4)
    np.testing.assert_array_equal(
        Elementwise("maximum", (None, None)).evaluate(A, B), np.maximum(A, B)
    )
    np.testing.assert_array_equal(
        Elementwise("prelu", (None, CONSTANTS[0])).evaluate(A), np.where(A > 0, A, CONSTANTS[0] * A)
    )


def test_c_is_what_is_meant(build, compile_graphs):
    """All in one network, on the inputs of the test of the derivatives."""
    b = build()
    inputs = {A.shape: b.input(*A.shape), B.shape: b.input(*B.shape)}
    size = b.apply(Elementwise("absolute", (None,)), inputs[A.shape])
    outputs = []
    for op, values in operators():
        is_size = values[0].shape == A.shape and values[0].min() > 0
        outputs.append(b.apply(op, *([size] if is_size else [inputs[v.shape] for v in values])))
    graph = b.all_of(*outputs)
    chosen = [0, 7, A.size + 1]
    (code,) = compile_graphs([(graph, chosen)])
    x = np.concatenate([A.ravel(), B.ravel()]).astype(np.float32)
    y, jacobian = code.jacobian(x)
    np.testing.assert_allclose(y, graph.evaluate(x), rtol=2e-6, atol=1e-6)
    np.testing.assert_allclose(jacobian, graph.jacobian(x)[:, chosen], rtol=1e-5, atol=1e-6)


def test_a_constant_is_no_input(build, same_as_meaning):
    b = build()
    x = b.input(2, 3)
    c = b.apply(Constant(RANDOM.normal(size=(2, 1)).astype(np.float32)))
    graph = b.graph(b.apply(Elementwise("multiply", (None, None)), c, x))
    assert graph.jacobian(np.ones(6)).shape == (6, 6)
    same_as_meaning([(graph, [0, 5])], 1e-6)


def test_shapes_that_do_not_broadcast_are_refused():
    with pytest.raises(ValueError, match="shape mismatch|broadcast"):
        Elementwise("add", (None, None)).output_shape([(2, 3), (4,)])
