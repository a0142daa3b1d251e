"""fold: what constant inputs add is summed once, and the other functions do not read them."""

from __future__ import annotations

import numpy as np
import pytest

from nn4mc_codegen.graph.check import ModelError
from nn4mc_codegen.graph.options import Options
from nn4mc_codegen.ops.activation import Activation
from nn4mc_codegen.ops.add import Add
from nn4mc_codegen.ops.concatenate import Concatenate
from nn4mc_codegen.ops.multiply import Multiply
from nn4mc_codegen.ops.recurrent import GRU
from nn4mc_codegen.printing.emit import emit

TANH, RELU = Activation("tanh"), Activation("relu")
TOLERANCE = 2e-6  # a few float32 roundings of sums of order 1


def increment(b):
    """Signals are a part of the first layer's input."""
    u, y, s = b.input(4, name="u"), b.input(3, name="y"), b.input(6, name="signals")
    h = b.dense(b.apply(Concatenate(-1), u, y, s), 8, TANH)
    return b.graph(b.apply(Add(), y, b.dense(h, 3)))


def own_branch(b):
    """Signals have a layer of their own, whose result meets the others in a product and a sum."""
    u, s = b.input(4, name="u"), b.input(6, name="signals")
    a, c = b.dense(u, 5, RELU), b.dense(s, 5, RELU)
    h = b.dense(b.apply(Multiply(), a, c), 5, TANH)
    return b.graph(b.dense(b.apply(Add(), h, c, a), 2))


def straight_through(b):
    """A signal reaches the output, and another one only an elementwise layer."""
    u, s = b.input(3, name="u"), b.input(3, name="signals")
    return b.graph(b.apply(Concatenate(-1), b.apply(Add(), u, s), s))


def recurrent(b):
    random = np.random.default_rng(0)
    kernel, inner = (random.normal(0, 0.4, (n, 15)).astype(np.float32) for n in (9, 5))
    bias = random.normal(0, 0.3, (2, 15)).astype(np.float32)
    u, s = b.input(3, name="u"), b.input(6, name="signals")
    op = GRU(kernel, inner, bias, TANH, Activation("sigmoid"), True)
    return b.graph(b.dense(b.apply(op, b.apply(Concatenate(-1), u, s)), 2))


GRAPHS = [increment, own_branch, straight_through, recurrent]


@pytest.mark.parametrize("optimize", ["speed", "balanced", "size"])
def test_folded_functions_do_what_the_others_do(build, compile_graphs, optimize):
    graphs = [make(build()) for make in GRAPHS]
    options = {"fold": "signals", "jacobian": "u", "optimize": optimize}
    random = np.random.default_rng(0)
    codes = compile_graphs([(graph, options) for graph in graphs])
    for graph, code in zip(graphs, codes, strict=True):
        x = random.normal(size=(5, graph.input_size)).astype(np.float32)
        signals = slice(graph.input_size - graph.inputs[-1].size, None)
        x[:, signals] = x[0, signals]
        (folded,) = code.run(x[0], "fold")["folded"]
        without = x.copy()
        without[:, signals] = np.nan  # must not be read
        step, plain = code.run(without, "step_folded", folded=folded), code.run(x)
        both = code.run(without, "jacobian_folded", folded=folded)
        jacobian = code.run(x, "jacobian")["jacobian"]
        for key in plain:
            np.testing.assert_allclose(step[key], plain[key], rtol=0, atol=TOLERANCE)
            np.testing.assert_array_equal(both[key], step[key])
        np.testing.assert_allclose(both["jacobian"], jacobian, rtol=0, atol=TOLERANCE)


def test_only_sums_are_kept(build, origin):
    """The first layer's eight sums, not the six signals and not what follows."""
    emitted = emit(increment(build()), Options(fold="signals", jacobian="u,y"), origin)
    assert "#define FK_FOLDED 8" in emitted.texts["fk.h"]
    macs = {name: procedure.macs for name, procedure in emitted.procedures.items()}
    assert macs["fold"] == 6 * 8 and macs["step_folded"] == macs["step"] - 6 * 8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fold": "signals", "jacobian": "all"}, r"columns of folded inputs, x\[3..8\]"),
        ({"fold": "state"}, "a state changes"),
        ({"fold": "s"}, "fold: no input 's'"),
    ],
)
def test_what_cannot_be_folded_is_refused(build, origin, options, message):
    with pytest.raises(ModelError, match=message):
        emit(recurrent(build()), Options(**options), origin)
