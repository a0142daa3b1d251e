"""Concatenate: every part is found again, in values and derivatives, at no cost."""

from __future__ import annotations

from nn4mc_codegen.graph.options import Options
from nn4mc_codegen.ops.activation import Activation
from nn4mc_codegen.ops.concatenate import Concatenate
from nn4mc_codegen.ops.flatten import Flatten
from nn4mc_codegen.printing.emit import emit

TOLERANCE = 2e-6  # a few float32 roundings of sums of order 1


def test_order_of_inputs_is_the_order_of_the_flat_input(build, origin):
    b = build()
    u, y = b.input(2), b.input(1)
    graph = b.graph(b.dense(b.apply(Concatenate(-1), u, y), 1))
    source = emit(graph, Options(), origin).texts["fk.c"]
    assert "memcpy" not in source
    assert "const float *v = x;" in source  # read in place


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


def one_element_several_times(b):
    """Into an activation: its operands are all the same element."""
    u = b.input(1)
    return b.graph(b.apply(Activation("tanh"), b.apply(Concatenate(-1), u, u, u)))


def second_axis(b):
    """Rows of a matrix side by side."""
    u, y = b.input(2, 3), b.input(2, 2)
    return b.graph(b.dense(b.apply(Flatten(), b.apply(Concatenate(1), u, y)), 3))


MAKERS = (swapped, repeated, skip, outputs_joined, one_element_several_times, second_axis)


def test_values_and_jacobians(build, same_as_meaning):
    graphs = [f(build()) for f in MAKERS]
    cases = [
        (g, c)
        for g in graphs
        for c in (tuple(range(g.input_size)), (0,), (1, 2))
        if max(c) < g.input_size
    ]
    same_as_meaning(cases, TOLERANCE)
