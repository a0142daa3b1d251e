"""Activations: values over all float exponents, derivatives, and what happens at kinks."""

from __future__ import annotations

import subprocess

import numpy as np
import pytest

from nn4mc_codegen.graph.options import Options
from nn4mc_codegen.ops.activation import SELU_ALPHA, SELU_SCALE, Activation
from nn4mc_codegen.printing.emit import emit

# Largest error of the value, relative to it where it exceeds 1, absolute below. Those of tanh,
# sigmoid and exponential were measured over every float32; the others inherit from them what their
# formulas pass on.
VALUE_BOUNDS = {
    Activation("tanh"): 3.4e-7,
    Activation("sigmoid"): 1.9e-7,
    Activation("softplus"): 2.5e-7,
    Activation("elu", (("a", 1.0),)): 3.4e-7,
    Activation("elu", (("a", 0.5),)): 2.5e-7,
    Activation("selu", (("s", SELU_SCALE), ("a", SELU_ALPHA))): 8.0e-7,
    Activation("exponential"): 3.0e-7,
    Activation("swish"): 3.4e-7,
    Activation("hard_swish"): 2.5e-7,
    Activation("gelu"): 6.0e-7,
    Activation("gelu_tanh"): 6.0e-7,
    Activation("capped_relu", (("m", 6.0),)): 0.0,
    Activation("shifted_relu", (("a", 0.25), ("t", 1.0), ("m", 4.0))): 0.0,
    Activation("softsign"): 1.2e-7,
    Activation("relu"): 0.0,
    Activation("leaky_relu", (("a", 0.125),)): 0.0,
    Activation("hard_sigmoid", (("a", 0.2),)): 1.2e-7,
    Activation("hard_sigmoid", (("a", float(np.float32(1 / 6))),)): 1.2e-7,
}
# From the output: its error, twice, and one rounding more. elu and selu add a constant; exponential
# has slopes beyond 1, which are as exact as its values.
SLOPE_BOUND = 1.0e-6
BLOCK = 1 << 12


def sweep() -> np.ndarray:
    """Finite floats: both signs, every exponent, 192 mantissas each; dense where tanh bends."""
    exponents = np.arange(255, dtype=np.uint32)[:, None] << np.uint32(23)
    mantissas = np.linspace(0, (1 << 23) - 1, 192).astype(np.uint32)[None, :]
    positive = (exponents | mantissas).ravel().view(np.float32)
    dense = np.linspace(-9.5, 9.5, 1 << 17).astype(np.float32)
    x = np.concatenate([positive, -positive, dense])
    return np.pad(x, (0, -x.size % BLOCK))


@pytest.fixture(scope="module")
def codes(build, compile_graphs):
    """For each activation its graph and its C, on BLOCK elements."""
    graphs = []
    for f in VALUE_BOUNDS:
        b = build()
        graphs.append(b.graph(b.apply(f, b.input(BLOCK))))
    codes = compile_graphs([(graph, ()) for graph in graphs])
    return dict(zip(VALUE_BOUNDS, codes, strict=True))


def test_values_over_all_exponents(codes):
    x = sweep()
    for f, bound in VALUE_BOUNDS.items():
        y = np.concatenate([codes[f].step(part) for part in x.reshape(-1, BLOCK)])
        with np.errstate(over="ignore"):  # of selu beyond the largest float32
            expected = f.evaluate(x.astype(np.float64)).astype(np.float32).astype(np.float64)
        finite = np.isfinite(expected)
        np.testing.assert_array_equal(y[~finite], expected[~finite])
        error = np.abs(y[finite] - expected[finite]) / np.maximum(1.0, np.abs(expected[finite]))
        assert error.max() <= bound, f"{f.symbol}: {error.max():.2e} at {x[finite][error.argmax()]}"


def test_tanh_is_accurate_relative_to_its_value_and_never_beyond_1(codes):
    x = sweep()
    normal = np.abs(x) > 1e-36  # below, products in the fraction lose bits to underflow
    y = np.concatenate([codes[Activation("tanh")].step(part) for part in x.reshape(-1, BLOCK)])
    expected = np.tanh(x.astype(np.float64))
    assert np.max(np.abs(y[normal] / expected[normal] - 1.0)) <= 3.4e-7
    assert np.max(np.abs(y)) <= 1.0
    np.testing.assert_array_equal(y[x == 0.0], 0.0)


SWEEP = """
#include <stdio.h>
#include <string.h>
#include "fk.c"
static void widen(double *worst, double error)
{
    *worst = error > *worst || error != error ? error : *worst;
}
int main(void)
{
    /* every float32 from 2^-12 to 88.8, and the same below zero */
    double tanh_error = 0, sigmoid_error = 0, exp_error = 0;
    for (uint32_t bits = 0x39800000u; bits < 0x42B1999Au; bits++) {
        float x;
        memcpy(&x, &bits, sizeof x);
        const double e = exp((double)x), down = 1 / e;
        if (x < 9.0f) {
            widen(&tanh_error, fabs(fk_tanh(x) / ((e - down) / (e + down)) - 1));
        }
        if (x < 17.0f) {
            widen(&sigmoid_error, fabs(fk_sigmoid(x) - e / (e + 1)));
            widen(&sigmoid_error, fabs(fk_sigmoid(-x) - 1 / (e + 1)));
        }
        if (x < 88.7228394f) {
            widen(&exp_error, fabs(fk_exponential(x) / e - 1));
        }
        if (x < 86.6434f) {
            widen(&exp_error, fabs(fk_exponential(-x) / down - 1));
        }
    }
    printf("%g %g %g", tanh_error, sigmoid_error, exp_error);
    return 0;
}
"""


def test_every_float_where_they_bend(build, origin, tmp_path):
    """tanh and exponential relative to their value, sigmoid absolute.

    Nearer to zero they are as straight as float32, further out constant: the samples do there.
    """
    b = build()
    h = b.input(1)
    for name in ("tanh", "sigmoid", "exponential"):
        h = b.apply(Activation(name), h)
    for name, text in emit(b.graph(h), Options(), origin).texts.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "sweep.c").write_text(SWEEP, encoding="utf-8")
    program = str(tmp_path / "sweep")
    flags = ["-std=c99", "-O2", "-ffp-contract=off"]
    subprocess.run(["cc", *flags, str(tmp_path / "sweep.c"), "-o", program, "-lm"], check=True)
    done = subprocess.run([program], capture_output=True, text=True, check=True)
    tanh_error, sigmoid_error, exp_error = map(float, done.stdout.split())
    assert tanh_error <= 3.4e-7 and sigmoid_error <= 1.9e-7 and exp_error <= 3.0e-7


def test_infinity_and_nan(codes):
    x = np.zeros(BLOCK, np.float32)
    x[:3] = np.inf, -np.inf, np.nan
    limits = {
        "tanh": (1, -1),
        "sigmoid": (1, 0),
        "relu": (np.inf, 0),
        "hard_sigmoid": (1, 0),
    }
    for f, code in codes.items():
        y = code.step(x)
        assert np.isnan(y[2]), f.symbol
        if f.name in limits:
            np.testing.assert_array_equal(y[:2], limits[f.name])


def test_slopes_by_both_ways(build, compile_graphs):
    x = np.concatenate([np.linspace(-6, 6, 41), [-20.0, 0.0, 2.5, -2.5, 3.0, -3.0, 20.0]])
    x = x.astype(np.float32)
    cases = []
    for f in VALUE_BOUNDS:
        b = build()  # more outputs than columns: forward
        graph = b.graph(b.apply(f, b.input(x.size)))
        cases += [(graph, tuple(range(x.size))), (graph, (3, 4, 40))]
    for (graph, chosen), code in zip(cases, compile_graphs(cases), strict=True):
        jacobian = code.jacobian(x)[1]
        expected = graph.jacobian(x)[:, list(chosen)]
        f = graph.nodes[0].op
        scale = SELU_SCALE * SELU_ALPHA if f.name == "selu" else 1.0
        np.testing.assert_allclose(
            jacobian, expected, rtol=5e-7, atol=scale * SLOPE_BOUND, err_msg=f.symbol
        )


def test_kinks():
    """TensorFlow's choice; test_against_keras asks TensorFlow itself."""
    zero = np.zeros(1)
    assert Activation("relu").derivative(zero) == 0.0
    assert Activation("leaky_relu", (("a", 0.1),)).derivative(zero) == 0.1
    ends = np.array([-2.5, 2.5])
    np.testing.assert_array_equal(
        Activation("hard_sigmoid", (("a", 0.2),)).derivative(ends), [0.0, 0.0]
    )
