"""Layers that bring data to the scale that a network is trained on: Normalization, Rescaling."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from nn4mc_codegen.graph.check import refuse
from nn4mc_codegen.graph.ir import Op
from nn4mc_codegen.ops.batch_normalization import BatchNormalization
from nn4mc_codegen.ops.elementwise import Elementwise

# Keras divides by the standard deviation, but by no less than this.
LEAST_DEVIATION = 1e-7


class Normalization(BatchNormalization):
    """Reads y = (x - mean) / deviation, or with `invert` the way back, of each channel or of all
    elements alike; becomes a `BatchNormalization` or two `Elementwise`."""

    keras_layers = ("Normalization",)
    keras_config = ("axis", "mean", "variance", "invert")

    @classmethod
    def from_keras(cls, layer) -> Op | tuple[Op, ...]:
        config = layer.config
        if config.get("mean") is None:
            mean, variance, _ = layer.weights(("mean", "variance", "count"))
        else:
            mean, variance = (_numbers(layer, config, key) for key in ("mean", "variance"))
        if mean.size != variance.size or np.any(variance < 0.0):
            reason = f"has {mean.size} means and {variance.size} variances, or a negative one"
            raise refuse(layer.name, reason, "adapt it to data and save the model again")
        mean, variance = (a.astype(np.float64).ravel() for a in (mean, variance))
        deviation = np.maximum(np.sqrt(variance), LEAST_DEVIATION)
        if config.get("invert"):
            return scaled(layer, deviation, mean)
        return scaled(layer, 1.0 / deviation, -mean / deviation)


class Rescaling(BatchNormalization):
    """Reads y = scale·x + offset, both one number or one for each channel."""

    keras_layers = ("Rescaling",)
    keras_config = ("scale", "offset")

    @classmethod
    def from_keras(cls, layer) -> Op | tuple[Op, ...]:
        scale, offset = (_numbers(layer, layer.config, key) for key in ("scale", "offset"))
        if scale.size != offset.size:
            scale, offset = np.broadcast_arrays(scale.ravel(), offset.ravel())
        return scaled(layer, scale.ravel().astype(np.float64), offset.ravel().astype(np.float64))


def scaled(layer, scale: np.ndarray, offset: np.ndarray) -> Op | tuple[Op, ...]:
    """scale·x + offset of each channel, or, where there is one number of each, of all elements."""
    found = [a.astype(np.float32) for a in (scale, offset)]
    if not all(np.isfinite(a).all() for a in found):
        raise refuse(layer.name, "scales by a number that is no float32", "use finite numbers")
    if scale.size > 1:
        return BatchNormalization(*found, axis=_channels(layer))
    factor, summand = (a.reshape(()) for a in found)
    return Elementwise("multiply", (None, factor)), Elementwise("add", (None, summand))


def _channels(layer) -> int:
    axis = layer.config.get("axis", -1)
    axis = axis[0] if isinstance(axis, list) and len(axis) == 1 else axis
    if type(axis) is not int:
        raise refuse(layer.name, f"normalises along {axis!r:.40}", "use the last axis")
    return axis


def _numbers(layer, config: dict[str, Any], key: str) -> np.ndarray:
    """A number or nested lists of them, as the config has it; an array is a dict with its value."""
    value = config.get(key, 0.0)
    if isinstance(value, dict):
        value = value.get("config", {}).get("value")
    try:
        array = np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        array = np.array(math.nan)
    if not array.size or not np.isfinite(array).all():
        raise refuse(layer.name, f"{key} is {value!r:.40}", "give finite numbers")
    return array
