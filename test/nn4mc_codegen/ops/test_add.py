"""Add: values, derivatives that pass through as ones, and derivatives that add up."""

from __future__ import annotations

import pytest

from nn4mc_codegen.ops.activation import Activation
from nn4mc_codegen.ops.add import Add
from nn4mc_codegen.ops.concatenate import Concatenate

TOLERANCE = 2e-6  # a few float32 roundings of sums of order 1


def increment(b):
    """y(k+1) = y(k) + net(u, y, s): the ones meet a matrix."""
    u, y, s = b.input(4), b.input(3), b.input(2)
    h = b.dense(b.apply(Concatenate(-1), u, y, s), 8, Activation("tanh"))
    return b.graph(b.apply(Add(), y, b.dense(h, 3)))


def inputs_alone(b):
    """Nothing but ones."""
    return b.graph(b.apply(Add(), b.input(3), b.input(3)))


def twice_the_same(b):
    x = b.input(3)
    h = b.dense(x, 3, Activation("tanh"))
    return b.graph(b.apply(Add(), h, h, x))


def residual_inside(b):
    """A sum that is read by two layers: matrices add up on the way back."""
    x = b.input(4)
    h = b.dense(x, 5, Activation("tanh"))
    s = b.apply(Add(), h, b.dense(h, 5, Activation("sigmoid")))
    a, c = b.dense(s, 2), b.dense(s, 2, Activation("tanh"))
    return b.graph(b.apply(Add(), a, c))


def many_outputs(b):
    """More outputs than columns: forward."""
    x, z = b.input(2), b.input(9)
    h = b.dense(x, 9, Activation("tanh"))
    return b.graph(b.apply(Activation("tanh"), b.apply(Add(), z, h, b.dense(h, 9))))


GRAPHS = [increment, inputs_alone, twice_the_same, residual_inside, many_outputs]


def test_values_and_jacobians(build, same_as_meaning):
    graphs = [make(build()) for make in GRAPHS]
    cases = [
        (graph, chosen)
        for graph in graphs
        for chosen in (tuple(range(graph.input_size)), (0, 1), (graph.input_size - 1,))
    ]
    same_as_meaning(cases, TOLERANCE)


def test_different_shapes_are_refused():
    with pytest.raises(ValueError, match=r"\(3,\), \(4,\)"):
        Add().output_shape([(3,), (4,)])
