"""Which instructions become one kernel."""

from __future__ import annotations

import pytest

from nn4mc_codegen.graph.lower import lower
from nn4mc_codegen.graph.options import Options
from nn4mc_codegen.ops.activation import Activation
from nn4mc_codegen.printing.emit import emit
from nn4mc_codegen.printing.schedule import schedule
from nn4mc_codegen.program.derive import identity, vjp

TANH, RELU = Activation("tanh"), Activation("relu")


def step_of(graph):
    lowered = lower(graph)
    return schedule(lowered.program, lowered.results)


def test_short_formulas_join_the_layer_and_long_ones_are_shared(build, origin):
    b = build()
    h = b.dense(b.dense(b.input(4), 5, RELU), 6, TANH)
    graph = b.graph(b.dense(h, 3, TANH))
    kernels = step_of(graph).kernels
    assert [len(k.maps) for k in kernels] == [1, 0, 1, 0, 1]
    source = emit(graph, Options(), origin).texts["fk.c"]
    assert source.count("fk_tanh_all(") == 3  # its definition, two calls


@pytest.mark.parametrize(("units", "fed"), [(6, True), (11, False)])
def test_a_small_product_feeds_the_gated_one_behind_it(build, units, fed):
    """Backwards through relu, whose operands are the rows of the layer after it: 2 rows of `units`,
    of which at most 20 stay in registers."""
    b = build()
    h = b.dense(b.input(16), 16, RELU)
    lowered = lower(b.graph(b.dense(b.dense(h, units, TANH), 2)), by_unit=True)
    jacobian = vjp(lowered.program, lowered.y, identity(2), lowered.x)
    kernels = schedule(lowered.program, {"jacobian": jacobian}).kernels
    gated = [k for k in kernels if k.head is not None and k.head.gate.size]
    assert (gated[-1].feed is not None) == fed
    assert gated[-1].head.shape == (2, 16)
