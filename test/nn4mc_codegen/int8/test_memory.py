"""Where int8 tensors lie, and how copies move what is rearranged."""

from __future__ import annotations

import numpy as np
import pytest

from nn4mc_codegen.int8.calibrate import quantize_graph
from nn4mc_codegen.int8.memory import Copy, copies_of, places_of
from nn4mc_codegen.int8.operators import Dense
from nn4mc_codegen.ops.activation import Activation
from nn4mc_codegen.ops.flatten import Flatten
from nn4mc_codegen.ops.reshape import Reshape

BLOCK = 4  # rows that a kernel writes at a time


def test_tensors_that_live_at_one_time_lie_apart(build):
    b = build()
    h = b.apply(Reshape((5, 2)), b.dense(b.input(12), 10, Activation("relu")))
    h = b.dense(b.apply(Flatten(), h), 9, Activation("relu"))
    graph = b.graph(b.dense(b.dense(h, 13), 4))
    quantised = quantize_graph(graph, np.random.default_rng(0).normal(size=(20, 12)))

    def surplus(op):
        return -len(op.weights) % BLOCK if isinstance(op, Dense) else 0

    places, size = places_of(quantised, surplus)
    last = {t: k for k, node in enumerate(quantised.nodes) for t in node.inputs}
    live: list = []
    for k, node in enumerate(quantised.nodes):
        live = [t for t in live if last[t] >= k] + [node.output]
        held = sorted((places[t].start, t.size) for t in live if places[t].array == "h")
        distinct = sorted(set(held))  # a tensor of another shape lies where its operand lies
        for (start, n), (following, _) in zip(distinct, distinct[1:], strict=False):
            assert start + n <= following
        assert all(start + n <= size for start, n in held)
    assert str(places[quantised.output]) == "y"


def test_runs_at_equal_distances_are_one_copy():
    """Columns 1 and 2 of a matrix of 3 rows and 4 columns."""
    source = np.arange(12).reshape(3, 4)[:, 1:3].ravel()
    assert copies_of(source, np.array([12])) == [Copy(0, 1, 0, 2, 3, 4, 2)]


@pytest.mark.parametrize("seed", range(20))
def test_copies_put_every_element_in_its_place(seed):
    random = np.random.default_rng(seed)
    operands = [random.integers(0, 99, n) for n in (5, 8)]
    source = random.integers(-1, 13, 12)
    result, expected = np.full(12, -1), np.concatenate([*operands, [-1]])[source]
    for copy in copies_of(source, np.array([5, 13])):
        for k in range(copy.count):
            at, start = copy.target + k * copy.target_step, copy.source + k * copy.source_step
            result[at : at + copy.length] = operands[copy.operand][start : start + copy.length]
    np.testing.assert_array_equal(result, expected)
