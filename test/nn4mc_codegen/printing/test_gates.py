"""Products skip what a relu has switched off, and only where that pays."""

from __future__ import annotations

import numpy as np
import pytest

from nn4mc_codegen.graph.lower import lower
from nn4mc_codegen.graph.options import Options
from nn4mc_codegen.ops.activation import Activation
from nn4mc_codegen.printing.emit import emit
from nn4mc_codegen.printing.gates import GATED, add_gates
from nn4mc_codegen.program.instructions import Linear

RELU = Activation("relu")


def test_relu_switches_rows_off(build, compile_graphs, origin):
    """Same bits with and without the skipping: zeros add nothing. A NaN is not skipped."""
    b = build()
    h = b.dense(b.input(6), 12, RELU)
    graph = b.graph(b.dense(b.dense(h, 20, RELU), 3))
    skipping, plain = compile_graphs(
        [(graph, {"jacobian": "all"}), (graph, {"jacobian": "all", "optimize": "size"})]
    )
    x = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)
    np.testing.assert_array_equal(skipping.run(x)["y"], plain.run(x)["y"])
    found, expected = (code.run(x, "jacobian")["jacobian"] for code in (skipping, plain))
    np.testing.assert_array_equal(found, expected)
    assert "active[" in emit(graph, Options(jacobian="all"), origin).texts["fk.c"]
    assert np.isnan(skipping.step(np.full(6, np.nan, np.float32))).all()


@pytest.mark.parametrize(("units", "gated"), [(GATED - 1, False), (GATED, True)])
def test_few_outputs_are_not_worth_a_test(build, units, gated):
    b = build()
    p = lower(b.graph(b.dense(b.dense(b.input(4), 5, RELU), units))).program
    add_gates(p)
    gates = [i.gate.size for i in p.instructions if isinstance(i, Linear)]
    assert gates == [0, 5 if gated else 0]
