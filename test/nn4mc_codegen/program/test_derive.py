"""Derived programs, in float64: they mean what the graph's chain rule and differences mean."""

from __future__ import annotations

import numpy as np
import pytest

from nn4mc_codegen.graph.lower import lower
from nn4mc_codegen.ops.activation import MEANINGS, Activation
from nn4mc_codegen.ops.add import Add
from nn4mc_codegen.ops.concatenate import Concatenate
from nn4mc_codegen.ops.conv import Conv
from nn4mc_codegen.ops.multiply import Multiply
from nn4mc_codegen.ops.windows import Windows
from nn4mc_codegen.printing.prune import prune
from nn4mc_codegen.program.derive import identity, jvp, vjp
from nn4mc_codegen.program.instructions import ONE, ZERO, Linear

PARAMETERS = {
    "leaky_relu": (("a", 0.125),),
    "capped_relu": (("m", 0.5),),
    "shifted_relu": (("a", 0.25), ("t", 0.125), ("m", 0.5)),
    "elu": (("a", 1.0),),
    "selu": (("s", 1.05), ("a", 1.67)),
    "hard_sigmoid": (("a", 0.2),),
}
EVERY = [Activation(name, PARAMETERS.get(name, ())) for name in MEANINGS if name != "linear"]
# Both sides are exact but for rounding, float32 constants in formulas apart.
EXACT = 1e-6


def network(b, f):
    """Elements that are read several times, in parts, and squared."""
    u, y = b.input(4), b.input(3)
    h = b.dense(b.apply(Concatenate(-1), u, y, u), 6, f)
    h = b.apply(Multiply(), h, b.dense(h, 6, Activation("tanh")))
    return b.graph(b.apply(Add(), y, b.dense(h, 3, f), y))


@pytest.mark.parametrize("f", EVERY, ids=lambda f: f.name)
def test_all_orders(build, f):
    graph = network(build(), f)
    lowered = lower(graph)
    p, y = lowered.program, lowered.y
    wrt = lowered.x[[0, 2, 3, 5]]
    random = np.random.default_rng(0)
    x, v, t = (random.normal(size=n) for n in (7, 3, 4))
    v_elements, t_elements = p.input("v", 3).elements, p.input("t", 4).elements
    reverse = vjp(p, y, identity(3), wrt)
    forward = jvp(p, y, wrt, identity(4))
    gradient = vjp(p, y, v_elements[None], wrt)
    second = jvp(p, gradient[0], wrt, t_elements[None])

    def value(elements):
        return p.evaluate({"x": x, "v": v, "t": t, "state": []}, elements)

    expected = graph.jacobian(x)[:, [0, 2, 3, 5]]
    np.testing.assert_allclose(value(y), graph.evaluate(x), atol=EXACT)
    np.testing.assert_allclose(value(reverse), expected, atol=EXACT)
    np.testing.assert_allclose(value(forward).T, expected, atol=EXACT)
    np.testing.assert_allclose(value(gradient)[0], v @ expected, atol=10 * EXACT)

    step, along = 1e-5, np.zeros(7)
    along[[0, 2, 3, 5]] = t
    ahead, behind = (v @ graph.jacobian(x + s * along) for s in (step, -step))
    differences = ((ahead - behind) / (2 * step))[[0, 2, 3, 5]]
    # A central difference in float64 has an error of order 1e-10; kinks are further off than step.
    np.testing.assert_allclose(value(second)[0], differences, atol=20 * EXACT)


@pytest.mark.parametrize("taps", [45, 120])
def test_an_input_that_is_read_many_times(build, taps):
    """The adjoints of so many windows meet at an input, at its edges of fewer."""
    b, random = build(), np.random.default_rng(0)
    kernel = random.normal(0.0, taps**-0.5, (taps, 1, 1)).astype(np.float32)
    windows = Windows((taps,), (1,), (1,), "same")
    op = Conv(kernel, np.zeros(1, np.float32), windows, 1, Activation("tanh"))
    graph = b.graph(b.apply(op, b.input(130, 1)))
    lowered = lower(graph)
    x, v = random.normal(size=130), random.normal(size=130)
    elements = lowered.program.input("v", 130).elements
    gradient = vjp(lowered.program, lowered.y, elements[None], lowered.x)
    found = lowered.program.evaluate({"x": x, "v": v, "state": []}, gradient)
    np.testing.assert_allclose(found[0], v @ graph.jacobian(x), atol=EXACT)


def test_what_is_known_is_not_computed(build):
    """y + W·u: the Jacobian is W and an identity, without any instruction."""
    b = build()
    u, y = b.input(4), b.input(3)
    lowered = lower(b.graph(b.apply(Add(), y, b.dense(u, 3))))
    p = lowered.program
    jacobian = vjp(p, lowered.y, identity(3), lowered.x)
    pruned, results = prune(p, {"jacobian": jacobian})
    assert not pruned.instructions
    np.testing.assert_array_equal(results["jacobian"][:, 4:], np.where(np.eye(3), ONE, ZERO))


def test_only_chosen_columns_are_computed(build):
    b = build()
    lowered = lower(b.graph(b.dense(b.dense(b.input(9), 5, Activation("tanh")), 2)))
    p = lowered.program
    jacobian = vjp(p, lowered.y, identity(2), lowered.x[[3, 7]])
    pruned, _ = prune(p, {"jacobian": jacobian})
    last = [i for i in pruned.instructions if isinstance(i, Linear)][-1]
    assert last.W.shape == (2, 5) and last.x.shape == (2, 5)
