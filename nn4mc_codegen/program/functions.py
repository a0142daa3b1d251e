"""Activations as functions of the generated C: their derivatives as formulas, their cost.

templates/functions.j2 has the bodies. A derivative is written in the value y wherever y is enough,
because the forward pass has made y anyway. At a kink it is what TensorFlow takes there, see
ops/activation.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
from scipy.special import ndtr

from nn4mc_codegen.program.expression import Expression, Function, absolute, const, where

LONG = 15
"""Instructions from which on a function is called in a loop of its own, not repeated in place.

Measured under QEMU (GCC 12.2): with 25, which puts tanh and sigmoid in place, the step of dense
36-10-5-3 takes 915 instructions instead of 1015, but 4148 bytes of flash instead of 2636; a GRU of
10 units 8900 bytes instead of 5988. With 10 nothing changes in these. --optimize speed puts them in
place of its own accord.
"""

# About how many instructions one value takes on a Cortex-M4F.
COSTS = {
    "relu": 4,
    "leaky_relu": 5,
    "capped_relu": 8,
    "shifted_relu": 9,
    "hard_sigmoid": 10,
    "softsign": 4,
    "tanh": 19,
    "sigmoid": 20,
    "elu": 29,
    "selu": 29,
    "softplus": 39,
    "exponential": 24,
    "swish": 34,
    "hard_swish": 12,
    "gelu": 42,
    "gelu_tanh": 38,
}

Slope = Callable[[Expression, Expression], Expression]


def function(name: str, symbol: str, parameters: Mapping[str, float], value: Callable) -> Function:
    """The C function `symbol` of the activation `name` with its parameters; `value` is what it
    computes, in NumPy."""
    slope = _slope(name, **parameters)
    return Function(symbol, value, slope, COSTS[name], name, tuple(parameters.items()))


def _slope(name: str, a: float = 0.0, m: float = 0.0, t: float = 0.0, s: float = 1.0) -> Slope:
    return {
        "relu": lambda x, y: where(y, 0.0, 1.0, 0.0),
        "leaky_relu": lambda x, y: where(y, 0.0, 1.0, a),
        "capped_relu": lambda x, y: where(y, 0.0, where(const(m), y, 1.0, 0.0), 0.0),
        "shifted_relu": lambda x, y: where(x, t, where(const(m), x, 1.0, 0.0), a),
        "hard_sigmoid": lambda x, y: where(y, 0.0, where(const(1.0), y, a, 0.0), 0.0),
        "softsign": lambda x, y: (1.0 - absolute(y)) * (1.0 - absolute(y)),
        "tanh": lambda x, y: 1.0 - y * y,
        "sigmoid": lambda x, y: y - y * y,
        "elu": lambda x, y: where(y, 0.0, 1.0, y + a),
        "selu": lambda x, y: where(const(0.0), y, y + s * a, s),
        # 1 - exp(-y), by tanh: exp(-y) = (1 - t) / (1 + t) with t = tanh(y / 2)
        "softplus": lambda x, y: 2.0 * TANH(0.5 * y) / (1.0 + TANH(0.5 * y)),
        "exponential": lambda x, y: y,
        "swish": lambda x, y: _gated(x, x, const(1.0)),
        "hard_swish": _hard_swish,
        "gelu": lambda x, y: NORMAL_CDF(x) + x * NORMAL_PDF(x),
        "gelu_tanh": _gelu_tanh,
    }[name]


def _hard_swish(x: Expression, y: Expression) -> Expression:
    return where(const(3.0), absolute(x), x * (1.0 / 3.0) + 0.5, where(x, 0.0, 1.0, 0.0))


def _gelu_tanh(x: Expression, y: Expression) -> Expression:
    c = math.sqrt(8.0 / math.pi)
    u = x * (c + (c * 0.044715) * (x * x))
    return _gated(x, u, c + (3.0 * c * 0.044715) * (x * x))


def _gated(x: Expression, u: Expression, u_slope: Expression) -> Expression:
    """Slope of x·sigmoid(u) where u has the slope `u_slope`.

    Both sigmoid(u) and its slope sigmoid·(1 - sigmoid) are made of e = exp(-|u|), as 1/(1 + e) or
    e/(1 + e), and e/(1 + e)². From the sigmoid alone, 1 - sigmoid would lose its digits near 1.
    """
    e = EXPONENTIAL(0.0 - absolute(u))
    sigmoid = where(u, 0.0, 1.0, e) / (1.0 + e)
    return sigmoid + x * (e / ((1.0 + e) * (1.0 + e))) * u_slope


TANH = function("tanh", "tanh", {}, np.tanh)
EXPONENTIAL = function("exponential", "exponential", {}, np.exp)
NORMAL_PDF = Function(
    "normal_pdf",
    lambda x: np.exp(-0.5 * x * x) / math.sqrt(2.0 * math.pi),
    lambda x, y: 0.0 - x * y,
    COSTS["exponential"] + 3,
    "normal_pdf",
)
NORMAL_CDF = Function(
    "normal_cdf", ndtr, lambda x, y: NORMAL_PDF(x), COSTS["gelu"] - 1, "normal_cdf"
)
SQUARE_ROOT = Function("square_root", np.sqrt, lambda x, y: 0.5 / y, 3, "square_root")

# Which functions the body of a function calls, by name.
CALLS = {
    **dict.fromkeys(("elu", "selu", "softplus"), (TANH,)),
    **dict.fromkeys(("swish", "gelu_tanh", "normal_pdf"), (EXPONENTIAL,)),
    "normal_cdf": (NORMAL_PDF,),
    "gelu": (NORMAL_CDF,),
}
