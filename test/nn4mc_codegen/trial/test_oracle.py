"""The expected results, against formulas for a network of one layer."""

from __future__ import annotations

import numpy as np
import pytest

from nn4mc_codegen.ops.activation import Activation
from nn4mc_codegen.ops.recurrent import SimpleRNN
from nn4mc_codegen.trial.oracle import make_cases, random_inputs

HEADER = """
#define N_INPUTS 4
#define N_OUTPUTS 3
void n_step(const float x[N_INPUTS], float y[N_OUTPUTS]);
void n_jacobian(const float x[N_INPUTS], float y[N_OUTPUTS], float jacobian[N_OUTPUTS * 2]);
void n_vjp(const float x[N_INPUTS], const float v[N_OUTPUTS], float g[4]);
void n_jvp(const float x[N_INPUTS], const float t[1], float dy[N_OUTPUTS]);
void n_hvp(const float x[N_INPUTS], const float v[N_OUTPUTS], const float t[4], float h[4]);
void n_other(const float x[N_INPUTS], float y[N_OUTPUTS]);
"""
COLUMNS = {"jacobian": (1, 3), "vjp": range(4), "jvp": (2,), "hvp": range(4)}
RECURRENT = """
#define N_INPUTS 2
#define N_OUTPUTS 3
#define N_STATES 3
void n_step(n_state *state, const float x[N_INPUTS], float y[N_OUTPUTS]);
void n_vjp(const n_state *state, const float x[N_INPUTS], const float v[6], float g[5]);
void n_hvp(const n_state *state, const float x[N_INPUTS], const float v[6], const float t[5],
    float h[5]);
"""


def test_tanh_layer(build):
    b = build()
    graph = b.graph(b.dense(b.input(4), 3, Activation("tanh")))
    op = graph.nodes[0].op
    x = random_inputs(4, 9, seed=1)
    cases = {c.short_name: c for c in make_cases(graph, HEADER, "n", COLUMNS, x)}
    assert list(cases) == ["step", "jacobian", "vjp", "jvp", "hvp"]  # `other` has no meaning
    W = op.kernel.T.astype(float)
    for i, row in enumerate(x):
        y = np.tanh(W @ row + op.bias)
        slope = (1 - y**2)[:, None] * W
        v, t = cases["hvp"].inputs["v"][i], cases["hvp"].inputs["t"][i]
        hessian_t = W.T @ (v * -2 * y * (1 - y**2) * (W @ t))
        expected = {
            ("step", "y"): y,
            ("jacobian", "jacobian"): slope[:, [1, 3]].ravel(),
            ("vjp", "g"): slope.T @ cases["vjp"].inputs["v"][i],
            ("jvp", "dy"): slope[:, [2]] @ cases["jvp"].inputs["t"][i],
        }
        for (case, array), values in expected.items():
            np.testing.assert_allclose(cases[case].expected[array][i], values, atol=1e-12)
        # The central difference: rounding 1e-16 / 1e-6.
        np.testing.assert_allclose(cases["hvp"].expected["h"][i], hessian_t, atol=1e-8)


def test_state_is_carried_and_reset(build):
    b = build()
    random = np.random.default_rng(2)
    W, U, c = (random.normal(0, 0.5, s).astype(np.float32) for s in ((2, 3), (3, 3), (3,)))
    graph = b.graph(b.apply(SimpleRNN(W, U, c, Activation("tanh")), b.input(2)))
    x = random_inputs(2, 8, seed=3)
    columns = {"vjp": range(5), "hvp": range(5)}
    step, vjp, hvp = make_cases(graph, RECURRENT, "n", columns, x, resets=(5,))
    assert step.resets.tolist() == [i in (0, 5) for i in range(8)] and step.state is None
    h = np.zeros(3)
    for i, row in enumerate(x):
        h = np.zeros(3) if i in (0, 5) else h
        np.testing.assert_allclose(vjp.state[i], h, atol=1e-12)
        both = np.vstack([W, U]).T.astype(float)
        new = np.tanh(both @ np.append(row, h) + c)
        # Rows are the output, then the new state, which is the same here.
        slope = (1 - new**2)[:, None] * both
        g = np.vstack([slope, slope]).T @ vjp.inputs["v"][i]
        np.testing.assert_allclose(vjp.expected["g"][i], g, atol=1e-12)
        v, t = hvp.inputs["v"][i], hvp.inputs["t"][i]
        curved = both.T @ ((v[:3] + v[3:]) * -2 * new * (1 - new**2) * (both @ t))
        np.testing.assert_allclose(hvp.expected["h"][i], curved, atol=1e-8)
        np.testing.assert_allclose(step.expected["state"][i], new, atol=1e-12)
        h = new


def test_errors_and_tolerances(build):
    b = build()
    graph = b.graph(b.dense(b.input(4), 3))
    (step,) = make_cases(graph, HEADER.split("void n_jacobian")[0], "n", {}, random_inputs(4, 6, 0))
    right = step.expected["y"]
    largest = max(1.0, np.abs(right).max())
    assert step.tolerance["y"] == pytest.approx(2e-6 * largest)
    assert step.passes({"y": right + 1e-6}) and not step.passes({"y": right + 1e-4})
    assert step.errors({"y": right + 1e-4})["y"] == pytest.approx(1e-4 / largest)
    missing = np.where(np.arange(3) == 1, np.nan, right)
    assert not step.passes({"y": missing}) and np.isnan(step.errors({"y": missing})["y"])
