"""A procedure, interpreted with its memory, computes what the graph means.

The interpreter knows nothing of how kernels and offsets were found. It keeps each element's value
only while nothing else is written where it lies: whoever reads it later reads NaN.
"""

from __future__ import annotations

import numpy as np
import pytest

from nn4mc_codegen.graph.ir import Graph
from nn4mc_codegen.graph.options import Options
from nn4mc_codegen.ops.activation import Activation
from nn4mc_codegen.ops.add import Add
from nn4mc_codegen.ops.concatenate import Concatenate
from nn4mc_codegen.ops.recurrent import LSTM
from nn4mc_codegen.printing.derivatives import NetworkFunctions
from nn4mc_codegen.printing.schedule import Procedure

TANH, RELU, SIGMOID = (Activation(name) for name in ("tanh", "relu", "sigmoid"))
# The same sums of float32 weights in float64, in another order.
ROUNDING = 1e-12


def interpreted(procedure: Procedure, given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What the procedure leaves in the caller's arrays."""
    p = procedure.program
    values = np.full(p.size, np.nan)
    for array in p.arrays:
        if array.data is not None:
            values[array.elements] = array.data
    lies = {array.first: ("", offset, array.size) for array, offset in procedure.memory.items()}
    for array, (name, offset) in procedure.results.items():
        lies[array.first] = name, offset, array.size
    for name, array in p.inputs.items():
        values[array.elements] = given[name]
        lies[array.first] = name, 0, array.size
    size = {
        name: max(at + n for other, at, n in lies.values() if other == name)
        for name, _, _ in lies.values()
    }
    floats = {name: np.full(n, np.nan) for name, n in size.items()}
    for name, array in p.inputs.items():
        floats[name][: array.size] = values[array.elements]

    def write(elements: np.ndarray, written: np.ndarray | float) -> None:
        """Elements of one array; those of others that lie there are lost."""
        owner = max(first for first in lies if first <= elements[0])
        name, offset, _ = lies[owner]
        at = offset + elements - owner
        floats[name][at] = written
        for first, (other, start, n) in lies.items():
            lost = at[(at >= start) & (at < start + n)] if other == name else at[:0]
            values[first + lost - start] = np.nan
        values[elements] = written

    for kernel in procedure.kernels:
        if kernel.head is None:  # element by element, in place where it reads what it overwrites
            stored = [i.result for i in kernel.stored]
            for e in range(kernel.maps[0].operands[0].size):
                for mapped in kernel.maps:
                    operands = [values[o.ravel()[e]] for o in mapped.operands]
                    value = mapped.expression.evaluate(operands)
                    if kernel.target is not None:
                        write(kernel.target.ravel()[e : e + 1], value)
                    elif mapped.result in stored:
                        write(mapped.result.elements[e : e + 1], value)
                    else:
                        values[mapped.result.elements[e]] = value
        else:  # it may read everything until it has written everything
            for instruction in kernel.stored:
                write(instruction.result.elements, np.nan)
            for instruction in kernel.all_instructions:
                values[instruction.result.elements] = instruction.compute(values).ravel()
            for instruction in kernel.stored:
                elements = instruction.result.elements
                write(elements, values[elements])
        for instruction in kernel.all_instructions:
            if instruction not in kernel.stored and kernel.target is None:
                values[instruction.result.elements] = np.nan
    return floats


def dense(b) -> Graph:
    h = b.dense(b.dense(b.input(7), 20, RELU), 9, TANH)
    return b.graph(b.dense(b.dense(h, 20, RELU), 4, SIGMOID))


def residual(b) -> Graph:
    u, y = b.input(3), b.input(4)
    h = b.dense(b.dense(b.apply(Concatenate(-1), u, y), 18, RELU), 17, RELU)
    return b.graph(b.apply(Add(), y, b.dense(h, 4)))


def recurrent(b) -> Graph:
    random = np.random.default_rng(0)
    arrays = (random.normal(0, 0.4, s).astype(np.float32) for s in ((7, 24), (6, 24), (24,)))
    h = b.apply(LSTM(*arrays, TANH, SIGMOID), b.dense(b.input(7), 7, RELU))
    return b.graph(b.dense(h, 3))


@pytest.mark.parametrize("optimize", ["speed", "balanced", "size"])
@pytest.mark.parametrize("make", [dense, residual, recurrent])
def test_procedures_compute_what_the_graph_means(build, make, optimize):
    graph = make(build())
    columns = ["all", "state"] if graph.states else "all"
    functions = NetworkFunctions(graph, Options(jacobian=columns, optimize=optimize))
    random = np.random.default_rng(1)
    x, state = random.normal(size=graph.input_size), random.normal(size=graph.state_size)
    y, new_state = graph.step(x, state)
    for name in ("step", "jacobian"):
        floats = interpreted(functions.procedures[name], {"x": x, "state": state})
        np.testing.assert_allclose(floats["y"], y, rtol=0, atol=ROUNDING)
        if graph.states:
            np.testing.assert_allclose(floats["state"], new_state, rtol=0, atol=ROUNDING)
    expected = graph.full_jacobian(x, state).ravel()
    np.testing.assert_allclose(floats["jacobian"], expected, rtol=0, atol=ROUNDING)


def test_memory_that_is_overwritten_too_early_is_found(build):
    """The interpreter's own test: with all arrays at one place it reads what is lost."""
    procedure = NetworkFunctions(residual(build()), Options()).procedures["step"]
    procedure.memory = dict.fromkeys(procedure.memory, 0)
    given = {"x": np.ones(7), "state": np.zeros(0)}
    assert np.isnan(interpreted(procedure, given)["y"]).any()
