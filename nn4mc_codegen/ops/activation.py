"""Elementwise activations, as a layer of their own and as the last act of Dense.

At a kink the choice is TensorFlow's: relu'(0) = 0, leaky_relu'(0) = slope, elu'(0) = alpha,
selu'(0) = scale, and hard_sigmoid' = 0 at both ends of its ramp, as capped_relu' is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from scipy.special import ndtr

from nn4mc_codegen.graph.check import refuse
from nn4mc_codegen.graph.ir import Op, Shape
from nn4mc_codegen.program import expression, functions
from nn4mc_codegen.program.program import Elements, Program

Function = Callable[..., np.ndarray]

# Klambauer et al., "Self-normalizing neural networks", 2017.
SELU_SCALE, SELU_ALPHA = 1.05070098, 1.67326324
# Where a ReLU has no max_value: the largest float32.
NO_MAXIMUM = float(np.finfo(np.float32).max)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return np.exp(-np.logaddexp(0.0, -x))


def _gelu_tanh(x: np.ndarray) -> np.ndarray:
    """Hendrycks and Gimpel, "Gaussian error linear units", 2016: the approximation by tanh."""
    return x * _sigmoid(np.sqrt(8 / np.pi) * (x + 0.044715 * x**3))


def _gelu_tanh_derivative(x: np.ndarray) -> np.ndarray:
    inner = np.sqrt(8 / np.pi) * (x + 0.044715 * x**3)
    slope = np.sqrt(8 / np.pi) * (1 + 3 * 0.044715 * x**2)
    return _sigmoid(inner) * (1 + x * slope * _sigmoid(-inner))


def _gelu_derivative(x: np.ndarray) -> np.ndarray:
    return ndtr(x) + x * np.exp(-0.5 * x**2) / np.sqrt(2 * np.pi)


@dataclass(frozen=True)
class Meaning:
    """An activation's formula for people, its value and its derivative, both as functions of x."""

    formula: str
    value: Function
    derivative: Function


MEANINGS = {
    "linear": Meaning("x", lambda x: x, np.ones_like),
    "relu": Meaning("max(x, 0)", lambda x: np.maximum(x, 0.0), lambda x: np.where(x > 0, 1.0, 0.0)),
    "leaky_relu": Meaning(
        "x > 0 ? x : a·x",
        lambda x, a: np.where(x > 0, x, a * x),
        lambda x, a: np.where(x > 0, 1.0, a),
    ),
    "capped_relu": Meaning(
        "min(max(x, 0), m)",
        lambda x, m: np.clip(x, 0.0, m),
        lambda x, m: np.where((x > 0) & (x < m), 1.0, 0.0),
    ),
    "shifted_relu": Meaning(
        "x > t ? min(x, m) : a·(x - t)",
        lambda x, a, t, m: np.where(x > t, np.minimum(x, m), a * (x - t)),
        lambda x, a, t, m: np.where(x > t, np.where(x < m, 1.0, 0.0), a),
    ),
    "elu": Meaning(
        "x > 0 ? x : a·(exp(x) - 1)",
        lambda x, a: np.where(x > 0, x, a * np.expm1(np.minimum(x, 0.0))),
        lambda x, a: np.where(x > 0, 1.0, a * np.exp(np.minimum(x, 0.0))),
    ),
    "selu": Meaning(
        "s·(x > 0 ? x : a·(exp(x) - 1))",
        lambda x, s, a: s * np.where(x > 0, x, a * np.expm1(np.minimum(x, 0.0))),
        lambda x, s, a: s * np.where(x >= 0, 1.0, a * np.exp(np.minimum(x, 0.0))),
    ),
    "tanh": Meaning("tanh(x)", np.tanh, lambda x: np.cosh(np.clip(x, -300, 300)) ** -2),
    "sigmoid": Meaning("1 / (1 + exp(-x))", _sigmoid, lambda x: _sigmoid(x) * _sigmoid(-x)),
    "softplus": Meaning("log(1 + exp(x))", lambda x: np.logaddexp(0.0, x), _sigmoid),
    "softsign": Meaning(
        "x / (1 + |x|)", lambda x: x / (1 + np.abs(x)), lambda x: (1 + np.abs(x)) ** -2.0
    ),
    "hard_sigmoid": Meaning(
        "min(max(a·x + 0.5, 0), 1)",
        lambda x, a: np.clip(a * x + 0.5, 0.0, 1.0),
        lambda x, a: np.where(np.abs(a * x) < 0.5, a, 0.0),
    ),
    "exponential": Meaning("exp(x)", np.exp, np.exp),
    "swish": Meaning(
        "x / (1 + exp(-x))",
        lambda x: x * _sigmoid(x),
        lambda x: _sigmoid(x) * (1 + x * _sigmoid(-x)),
    ),
    "hard_swish": Meaning(
        "x·min(max(x / 6 + 0.5, 0), 1)",
        lambda x: x * np.clip(x / 6 + 0.5, 0.0, 1.0),
        lambda x: np.where(np.abs(x) < 3, x / 3 + 0.5, np.where(x > 0, 1.0, 0.0)),
    ),
    "gelu": Meaning("x·(1 + erf(x / sqrt(2))) / 2", lambda x: x * ndtr(x), _gelu_derivative),
    "gelu_tanh": Meaning(
        "x·(1 + tanh(sqrt(2 / pi)·(x + 0.044715·x³))) / 2", _gelu_tanh, _gelu_tanh_derivative
    ),
}
# Those without parameters, by Keras' names; the others are read with their parameters below.
PLAIN = (
    "linear tanh sigmoid softplus softsign exponential swish silu hard_swish hard_silu gelu".split()
)
NAMES = [*PLAIN, "relu", "relu6", "leaky_relu", "elu", "selu", "hard_sigmoid", "softmax"]
ALIASES = {"silu": "swish", "hard_silu": "hard_swish"}
# Layers that only training needs: afterwards they hand on what they get.
ONLY_TRAINED = (
    "ActivityRegularization",
    "AlphaDropout",
    "Dropout",
    "GaussianDropout",
    "GaussianNoise",
    "SpatialDropout1D",
    "SpatialDropout2D",
)


@dataclass(frozen=True)
class Activation(Op):
    """`parameters` are the letters of the formula, in its function's order."""

    name: str
    parameters: tuple[tuple[str, float], ...] = ()

    kind = "activation"
    keras_layers = ("Activation", "ReLU", "LeakyReLU", "ELU", *ONLY_TRAINED)
    keras_config = (
        *("activation", "negative_slope", "alpha", "threshold", "max_value"),
        *("rate", "stddev", "l1", "l2"),
    )
    each_step = True

    @classmethod
    def from_keras(cls, layer) -> Activation:
        if layer.class_name in ONLY_TRAINED:
            return LINEAR
        config = (
            layer.config if layer.class_name != "Activation" else layer.config.get("activation")
        )
        name = None if layer.class_name == "Activation" else layer.class_name
        return read_activation(layer, config, name)

    @property
    def symbol(self) -> str:
        """Name of the C function: the parameters are in its body, so they are in its name."""
        values = "_".join(f"{value:.9g}" for _, value in self.parameters)
        return (
            f"{self.name}_{values}".rstrip("_").replace(".", "p").replace("-", "m").replace("+", "")
        )

    @property
    def formula(self) -> str:
        return f"y = {self.term}"

    @property
    def term(self) -> str:
        text = MEANINGS[self.name].formula
        letters = ", ".join(f"{letter} = {value:.9g}" for letter, value in self.parameters)
        return f"{text}, {letters}" if letters else text

    def output_shape(self, shapes: Sequence[Shape]) -> Shape:
        return shapes[0]

    def evaluate(self, *values: np.ndarray) -> np.ndarray:
        return MEANINGS[self.name].value(values[0], **dict(self.parameters))

    @property
    def function(self) -> expression.Function:
        """Its C function; linear has none."""
        parameters = dict(self.parameters)
        value = partial(MEANINGS[self.name].value, **parameters)
        return functions.function(self.name, self.symbol, parameters, value)

    def lower(self, p: Program, *x: Elements) -> Elements:
        return x[0] if self.name == "linear" else p.map(self.function(expression.var(0)), x[0])

    def derivative(self, x: np.ndarray) -> np.ndarray:
        """Elementwise derivative at the activation's input x."""
        return MEANINGS[self.name].derivative(x, **dict(self.parameters))

    def jacobians(self, *values: np.ndarray) -> list[np.ndarray]:
        return [np.diag(self.derivative(values[0].ravel()))]


LINEAR = Activation("linear")


def read_activation(layer, value: Any, class_name: str | None = None) -> Activation:
    """The activation that `value` of a layer's config means, in each form that Keras has used."""
    config: dict = {}
    if class_name is not None:  # a layer of its own: ReLU, LeakyReLU, ELU
        name, config = class_name, value
    elif value is None:
        name = "linear"
    elif isinstance(value, str):
        name = value
    elif isinstance(value, dict) and isinstance(value.get("config"), str):
        name = value["config"]  # {"class_name": "function", "config": "relu"}
        if value.get("registered_name") not in (None, "function", name):
            name = str(value["registered_name"])
    elif isinstance(value, dict) and isinstance(value.get("config"), dict):
        name, config = str(value.get("class_name")), value["config"]
    else:
        name = str(value)

    known = _from_config(layer, name, config)
    if known is None:
        raise refuse(
            layer.name,
            f"activation '{name}' is not supported",
            f"use one of {', '.join(sorted(NAMES))}",
        )
    return known


def _from_config(layer, name: str, config: dict) -> Activation | None:
    def number(*keys: str, default: float) -> float:
        found = next((config[k] for k in keys if config.get(k) is not None), default)
        if not isinstance(found, int | float) or not np.isfinite(found):
            raise refuse(layer.name, f"{keys[0]} is {found!r}", "give one finite number")
        return float(np.float32(found))

    if name in ("ReLU", "relu"):
        return _relu(
            layer,
            a=number("negative_slope", "alpha", default=0.0),
            t=number("threshold", default=0.0),
            m=number("max_value", default=NO_MAXIMUM),
        )
    if name == "relu6":
        return Activation("capped_relu", (("m", 6.0),))
    if name in ("LeakyReLU", "leaky_relu"):
        default = 0.3 if name == "LeakyReLU" else 0.2
        slope = number("negative_slope", "alpha", default=default)
        return _relu(layer, a=slope, t=0.0, m=NO_MAXIMUM)
    if name in ("ELU", "elu"):
        alpha = number("alpha", default=1.0)
        if alpha <= 0.0:
            raise refuse(layer.name, f"elu with alpha {alpha:g}", "use an alpha above 0")
        return Activation("elu", (("a", alpha),))
    if name == "selu":
        return Activation("selu", (("s", SELU_SCALE), ("a", SELU_ALPHA)))
    if name == "hard_sigmoid":  # Keras 3 changed its meaning
        slope = 0.2 if layer.keras_major < 3 else 1.0 / 6.0
        return Activation("hard_sigmoid", (("a", float(np.float32(slope))),))
    name = ALIASES.get(name, name)
    return Activation(name) if name in PLAIN else None


def _relu(layer, a: float, t: float, m: float) -> Activation:
    """The simplest activation that has slope a below the threshold t and no value above m."""
    if min(a, t, m) < 0.0:
        raise refuse(
            layer.name,
            f"ReLU with slope {a:g}, threshold {t:g} and maximum {m:g}",
            "use none below 0",
        )
    if t == 0.0 and m == NO_MAXIMUM:
        return Activation("leaky_relu", (("a", a),)) if a else Activation("relu")
    if t == 0.0 and a == 0.0:
        return Activation("capped_relu", (("m", m),))
    return Activation("shifted_relu", (("a", a), ("t", t), ("m", m)))
