"""Transpose, Slice, Take, Expand, Reduce and MatMul: what they mean, their derivatives, their C."""

from __future__ import annotations

import numpy as np
import pytest

from nn4mc_codegen.ops.activation import Activation
from nn4mc_codegen.ops.matmul import MatMul
from nn4mc_codegen.ops.reduce import Reduce
from nn4mc_codegen.ops.take import Expand, Slice, Take
from nn4mc_codegen.ops.transpose import ChannelsFirst, ChannelsLast, Transpose

X = np.arange(24.0).reshape(2, 3, 4)
ONE = [
    (Transpose((2, 0, 1)), X, X.transpose(2, 0, 1)),
    (ChannelsLast(), X[:1], X[0].T),
    (ChannelsFirst(), X[0], X[0].T[None]),
    (Slice(((None, None, 1), (2, None, -1), (1, 9, 2))), X, X[:, 2::-1, 1:9:2]),
    (Take(np.array([[0, -1], [1, 0]]), 1), X, X[:, [[0, 2], [1, 0]]]),
    (Take(np.array(-1), 2), X, X[:, :, -1]),
    (Expand((2, 2, 3, 4)), X[:, :, :1], np.broadcast_to(X[:, :, :1], (2, 2, 3, 4))),
    (Reduce((1,), True, False), X, X.sum(axis=1, keepdims=True)),
    (Reduce((0, 2), False, True), X, X.mean(axis=(0, 2))),
    (Reduce((0, 1, 2), False, True), X, X.mean()),
]
PRODUCTS = [((3, 4), (4, 2)), ((2, 3, 4), (4, 5)), ((2, 1, 3, 14), (5, 14, 2))]


@pytest.mark.parametrize("op, x, expected", ONE, ids=lambda value: getattr(value, "formula", ""))
def test_of_one(op, x, expected):
    found = op.evaluate(x)
    np.testing.assert_allclose(found, expected)
    assert op.output_shape([x.shape]) == found.shape == np.shape(expected)
    # All of them are linear.
    np.testing.assert_allclose(op.jacobians(x)[0] @ x.ravel(), np.ravel(expected))


@pytest.mark.parametrize("shapes", PRODUCTS)
def test_products(shapes):
    random = np.random.default_rng(0)
    a, b = (random.normal(size=shape) for shape in shapes)
    op = MatMul()
    y = op.evaluate(a, b)
    np.testing.assert_allclose(y, np.matmul(a, b))
    assert op.output_shape([a.shape, b.shape]) == y.shape
    by_a, by_b = op.jacobians(a, b)
    np.testing.assert_allclose(by_a @ a.ravel(), y.ravel())
    np.testing.assert_allclose(by_b @ b.ravel(), y.ravel())
    moved = random.normal(size=a.shape)
    np.testing.assert_allclose(by_a @ moved.ravel(), (moved @ b).ravel())


def test_c_is_what_is_meant(build, same_as_meaning):
    """All in one network, of what a layer has made."""
    b = build()
    tanh = Activation("tanh")
    outputs = [b.apply(op, b.apply(tanh, b.input(*x.shape))) for op, x, _ in ONE]
    outputs += [
        b.apply(MatMul(), *(b.apply(tanh, b.input(*shape)) for shape in shapes))
        for shapes in PRODUCTS
    ]
    outputs.append(b.apply(Reduce((1,), False, True), b.input(5, 20)))
    graph = b.all_of(*outputs)
    same_as_meaning([(graph, [*range(0, graph.input_size, 40)])], 3e-6)


@pytest.mark.parametrize(
    ("op", "shapes", "message"),
    [
        (Transpose((0, 0)), [(2, 3)], "axes"),
        (Take(np.array([3]), 0), [(3,)], "outside"),
        (Take(np.array([0]), 2), [(3,)], "takes from axis 2"),
        (Reduce((1, 1), True, True), [(2, 3)], "reduces axes"),
        (MatMul(), [(2, 3), (4, 5)], "matrices of shapes"),
        (ChannelsLast(), [(2, 3, 4)], "one sample"),
        (Expand((2,)), [(3,)], "shape mismatch|broadcast"),
    ],
)
def test_what_does_not_fit_is_refused(op, shapes, message):
    with pytest.raises(ValueError, match=message):
        op.output_shape(shapes)
