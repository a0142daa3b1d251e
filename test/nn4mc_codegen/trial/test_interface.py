"""What a generated header declares, and arrays for its functions."""

from __future__ import annotations

import numpy as np
import pytest

from nn4mc_codegen.trial.interface import (
    Argument,
    InterfaceError,
    functions,
    macros,
    make_samples,
    read_function,
)

HEADER = """
#define NET_MODEL_HASH "0123"
#define NET_INPUTS 3
#define NET_OUTPUTS 2
#define NET_STATES 4
#define NET_INPUT_ZERO_POINT -7
/* void net_old(const float x[1]); */
void net_reset(net_state *state);
void net_step(net_state *state, const float x[NET_INPUTS], float y[NET_OUTPUTS]);
void net_vjp(const net_state *state, const float x[NET_INPUTS],
    const float v[NET_OUTPUTS], float g[NET_INPUTS * NET_OUTPUTS]);
void net_step_q(const int8_t x[NET_INPUTS], int8_t y[NET_OUTPUTS]);
void net_run(net_state *state, const float *x, int steps, float y[NET_OUTPUTS]);
"""


def test_functions():
    assert functions(HEADER, "net") == ("step", "vjp", "step_q")
    assert macros(HEADER) == {
        "NET_INPUTS": 3,
        "NET_OUTPUTS": 2,
        "NET_STATES": 4,
        "NET_INPUT_ZERO_POINT": -7,
    }


def test_read_function():
    vjp = read_function(HEADER, "net", "vjp")
    assert vjp.arguments == (
        Argument("net_state", "state", 4, True),
        Argument("float", "x", 3, True),
        Argument("float", "v", 2, True),
        Argument("float", "g", 6, False),
    )
    assert [a.name for a in vjp.inputs] == ["x", "v"] and [a.name for a in vjp.outputs] == ["g"]
    assert vjp.states == 4
    q = read_function(HEADER, "net", "step_q")
    assert q.arguments[0] == Argument("int8_t", "x", 3, True) and q.states == 0


@pytest.mark.parametrize(
    ("function", "message"),
    [("old", "declares no net_old"), ("run", r"parameter 'const float \*x' is not supported")],
)
def test_what_cannot_be_called(function, message):
    with pytest.raises(InterfaceError, match=message):
        read_function(HEADER, "net", function)


def test_make_samples():
    step, vjp = (read_function(HEADER, "net", f) for f in ("step", "vjp"))
    samples = make_samples(step, {"x": np.zeros((3, 3))}, [0, 0, 1], None)
    assert samples.resets.tolist() == [True, False, True] and samples.state is None
    # What is given once serves all samples.
    x, v = np.zeros((5, 3)), np.array([1, 2])
    samples = make_samples(vjp, {"x": x, "v": v}, None, np.ones(4))
    assert samples.inputs["v"].shape == (5, 2) and samples.state.shape == (5, 4)
    assert samples.inputs["v"].dtype == np.float32


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"x": np.zeros((2, 3))}, "net_vjp takes x, v; given x"),
        ({"x": np.zeros((2, 4)), "v": np.zeros(2)}, r"x has shape \(2, 4\), not \(2, 3\)"),
        ({"x": np.zeros((2, 3)), "v": np.zeros((3, 2))}, r"x has shape \(2, 3\), not \(3, 3\)"),
    ],
)
def test_arrays_that_do_not_fit(values, message):
    with pytest.raises(InterfaceError, match=message):
        make_samples(read_function(HEADER, "net", "vjp"), values, None, None)
