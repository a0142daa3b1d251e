"""Jacobians of large networks: memory that grows with their size, and sizes that are refused."""

from __future__ import annotations

import tracemalloc

import pytest

from nn4mc_codegen.graph.check import ModelError
from nn4mc_codegen.graph.options import Options
from nn4mc_codegen.ops.activation import Activation
from nn4mc_codegen.printing import derivatives
from nn4mc_codegen.printing.derivatives import NetworkFunctions


def network(build, width: int, outputs: int):
    b = build()
    h = b.dense(b.input(width), width, Activation("tanh"))
    return b.graph(b.dense(b.dense(h, width, Activation("tanh")), outputs))


def test_memory_is_linear_in_the_size(build):
    """256-256-256-256 took 2.6 GB when tangents of weights were stored too, and when forward mode
    went through what reverse mode had made. Its Jacobian has 65,536 entries of 8 bytes."""
    graph = network(build, 256, 256)
    tracemalloc.start()
    NetworkFunctions(graph, Options(jacobian="all"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200 * 8 * 256 * 256


def test_only_the_mode_that_can_win_is_made(build, monkeypatch):
    made = []
    monkeypatch.setattr(derivatives, "_forward_jacobian", lambda *_: made.append("forward"))
    assert NetworkFunctions(network(build, 64, 3), Options(jacobian="all")).jacobian_mode == (
        "reverse"
    )
    assert not made


@pytest.mark.parametrize("limit,number", [("MAX_ENTRIES", 240), ("MAX_ELEMENTS", 1824)])
def test_a_size_beyond_the_limit_is_refused_with_the_number(build, monkeypatch, limit, number):
    monkeypatch.setattr(derivatives, limit, 100)
    with pytest.raises(ModelError, match=rf"jacobian: .*\b{number}\b.* at most 100;") as refused:
        NetworkFunctions(network(build, 20, 12), Options(jacobian="all"))
    assert "\n" not in str(refused.value)
