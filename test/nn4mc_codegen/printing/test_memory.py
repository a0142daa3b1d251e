"""Where arrays lie: shared by the time they live, results where the caller wants them."""

from __future__ import annotations

import numpy as np

from nn4mc_codegen.graph.lower import lower
from nn4mc_codegen.graph.options import Options
from nn4mc_codegen.ops.activation import Activation
from nn4mc_codegen.ops.add import Add
from nn4mc_codegen.printing.emit import emit
from nn4mc_codegen.printing.schedule import schedule

TANH, RELU = Activation("tanh"), Activation("relu")


def step_of(graph):
    lowered = lower(graph)
    return schedule(lowered.program, lowered.results)


def test_a_chain_needs_two_layers_at_a_time(build):
    b = build()
    h = b.input(4)
    for units in (10, 20, 6, 20, 7):
        h = b.dense(h, units, TANH)
    procedure = step_of(b.graph(b.dense(h, 1)))
    assert procedure.memory_size == 30  # 10 and 20


def test_what_is_read_later_is_not_overwritten(build):
    b = build()
    first = b.dense(b.input(4), 8, RELU)
    h = b.dense(b.dense(first, 9, RELU), 8, RELU)
    procedure = step_of(b.graph(b.dense(b.apply(Add(), first, h), 1)))
    assert procedure.memory_size == 8 + 9 + 8
    living = [range(o, o + a.size) for a, o in procedure.memory.items()]
    assert max(r.stop for r in living) == procedure.memory_size


def test_memory_is_reported(build, origin):
    b = build()
    graph = b.graph(b.dense(b.dense(b.input(4), 10, RELU), 1))
    emitted = emit(graph, Options(), origin)
    assert emitted.memory_bytes == 40
    assert "arrays at most 40 bytes on the stack" in emitted.texts["fk.h"]


def test_much_memory_is_static(build, compile_graphs, origin):
    b = build()
    graph = b.graph(b.dense(b.dense(b.input(3), 1500, RELU), 2))
    emitted = emit(graph, Options(), origin)
    assert "arrays at most 6000 bytes, static: calls must not overlap" in emitted.texts["fk.h"]
    assert "static float fk_memory[1500];" in emitted.texts["fk.c"]
    (code,) = compile_graphs([(graph, (0,))])
    x = np.array([0.3, -0.2, 0.7], np.float32)
    # Sums of 1500 products of order 1/sqrt(1500), in float32.
    np.testing.assert_allclose(code.step(x), graph.evaluate(x), atol=1e-5)


def test_the_last_layer_writes_the_result(build):
    b = build()
    procedure = step_of(b.graph(b.dense(b.dense(b.input(4), 5, RELU), 3)))
    assert [(name, offset) for name, offset in procedure.results.values()] == [("y", 0)]
    assert len(procedure.kernels) == 2
