"""Elementwise activations, as a layer of their own and as the last act of Dense.

Derivatives are taken from the output y, which the forward pass has anyway. At a kink the choice is
TensorFlow's: relu'(0) = 0, leaky_relu'(0) = slope, elu'(0) = alpha, selu'(0) = scale, and
hard_sigmoid' = 0 at both ends of its ramp.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nn4mc_codegen.check import refuse
from nn4mc_codegen.ir import Op, Shape

Function = Callable[..., np.ndarray]

# Klambauer et al., "Self-normalizing neural networks", 2017.
SELU_SCALE, SELU_ALPHA = 1.05070098, 1.67326324


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return np.exp(-np.logaddexp(0.0, -x))


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
}


@dataclass(frozen=True)
class Activation(Op):
    """`parameters` are the letters of the formula, in its function's order."""

    name: str
    parameters: tuple[tuple[str, float], ...] = ()

    kind = "activation"
    keras_layers = ("Activation", "ReLU", "LeakyReLU", "ELU")

    @classmethod
    def from_keras(cls, layer) -> Activation:
        config = (
            layer.config if layer.class_name != "Activation" else layer.config.get("activation")
        )
        name = None if layer.class_name == "Activation" else layer.class_name
        return read_activation(layer, config, name)

    @property
    def derivative_from_result(self) -> bool:
        return self.name != "linear"

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
            f"use one of {', '.join(sorted(MEANINGS))}",
        )
    return known


def _from_config(layer, name: str, config: dict) -> Activation | None:
    def number(*keys: str, default: float) -> float:
        found = next((config[k] for k in keys if config.get(k) is not None), default)
        if not isinstance(found, int | float) or not np.isfinite(found):
            raise refuse(layer.name, f"{keys[0]} is {found!r}", "give one finite number")
        return float(np.float32(found))

    if name in ("ReLU", "relu"):
        if config.get("max_value") is not None or config.get("threshold"):
            raise refuse(
                layer.name, "ReLU with max_value or threshold is not supported", "use plain ReLU"
            )
        slope = number("negative_slope", "alpha", default=0.0)
        return _sloped(layer, "leaky_relu", slope) if slope else Activation("relu")
    if name in ("LeakyReLU", "leaky_relu"):
        default = 0.3 if name == "LeakyReLU" else 0.2
        return _sloped(layer, "leaky_relu", number("negative_slope", "alpha", default=default))
    if name in ("ELU", "elu"):
        return _sloped(layer, "elu", number("alpha", default=1.0))
    if name == "selu":
        return Activation("selu", (("s", SELU_SCALE), ("a", SELU_ALPHA)))
    if name == "hard_sigmoid":  # Keras 3 changed its meaning
        slope = 0.2 if layer.keras_major < 3 else 1.0 / 6.0
        return Activation("hard_sigmoid", (("a", float(np.float32(slope))),))
    return Activation(name) if name in MEANINGS else None


def _sloped(layer, name: str, a: float) -> Activation:
    if a <= 0.0:
        raise refuse(
            layer.name,
            f"{name} with slope {a:g} has no derivative in terms of its output",
            "use a slope above 0",
        )
    return Activation(name, (("a", a),))
