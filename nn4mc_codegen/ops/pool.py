"""Pooling: the largest or the average element of a window, for each channel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nn4mc_codegen.graph.ir import Op, Shape
from nn4mc_codegen.ops.windows import (
    OUTSIDE,
    Windows,
    gathered,
    read_windows,
    require_channels_last,
)
from nn4mc_codegen.program.expression import var, where
from nn4mc_codegen.program.program import ONE, ZERO, Elements, Program

# Windows of up to so many taps are one formula over the taps. Of larger ones the average is a
# product with a row of ones, and the maximum is taken of pairs, then of pairs of these.
TAPS = 12
LOWEST = np.array([np.finfo(np.float32).min])


@dataclass(frozen=True, eq=False)
class Pool(Op):
    """`windows` None: one over all positions, whose axes stay, of extent 1, if `keepdims`."""

    windows: Windows | None
    keepdims: bool = True

    keras_config = ("pool_size", "strides", "padding", "data_format", "keepdims")

    @classmethod
    def from_keras(cls, layer) -> Pool:
        if layer.class_name.startswith("Global"):
            require_channels_last(layer)
            return cls(None, bool(layer.config.get("keepdims", False)))
        axes = 2 if layer.class_name.endswith("2D") else 1
        return cls(read_windows(layer, "pool_size", axes, ("valid", "same")))

    def windows_over(self, extents: Shape) -> Windows:
        if self.windows is not None:
            return self.windows
        ones = (1,) * len(extents)
        return Windows(extents, ones, ones, "valid")

    def output_shape(self, shapes: Sequence[Shape]) -> Shape:
        (shape,) = shapes
        if self.windows is None:
            if len(shape) < 2:
                raise ValueError(f"takes positions of channels but gets shape {shape}")
            return ((1,) * (len(shape) - 1) if self.keepdims else ()) + shape[-1:]
        extents, channels = self.windows.split(shape)
        return (*self.windows.extents(extents), channels)

    def macs(self, *shapes: Shape) -> int:
        (shape,) = shapes
        windows = self.windows_over(shape[:-1])
        return math.prod(windows.extents(shape[:-1])) * windows.taps * shape[-1]

    @property
    def _where(self) -> str:
        return self.windows.text if self.windows else "window over all positions"


@dataclass(frozen=True, eq=False)
class AveragePool(Pool):
    """Of the elements that lie inside: padding does not count."""

    kind = "average_pool"
    keras_layers = (
        "AveragePooling1D",
        "AveragePooling2D",
        "GlobalAveragePooling1D",
        "GlobalAveragePooling2D",
    )

    @property
    def formula(self) -> str:
        return f"y[p, c] = average over taps t of x[p + t, c]; {self._where}"

    def evaluate(self, *values: np.ndarray) -> np.ndarray:
        (x,) = values
        places = self.windows_over(x.shape[:-1]).places(x.shape[:-1])
        inside = np.count_nonzero(places != OUTSIDE, axis=1)
        y = gathered(x, places, 0.0).sum(axis=1) / inside[:, None]
        return y.reshape(self.output_shape([x.shape]))

    def jacobians(self, *values: np.ndarray) -> list[np.ndarray]:
        (x,) = values
        places = self.windows_over(x.shape[:-1]).places(x.shape[:-1])
        inside = np.count_nonzero(places != OUTSIDE, axis=1)
        positions = np.zeros((len(places), x.size // x.shape[-1] - OUTSIDE))
        np.add.at(positions, (np.arange(len(places))[:, None], places), 1 / inside[:, None])
        return [np.kron(positions[:, :OUTSIDE], np.eye(x.shape[-1]))]

    def lower(self, p: Program, *x: Elements) -> Elements:
        (extents, shape) = x[0].shape[:-1], self.output_shape([x[0].shape])
        windows = self.windows_over(extents)
        inside = np.count_nonzero(windows.places(extents) != OUTSIDE, axis=1)
        taps = windows.operands(p, x[0], ZERO)
        if np.all(inside == windows.taps):
            factor = p.constant(f"f_{p.label}", np.array([[1 / windows.taps]], np.float32))
        else:  # for each window its own
            factor = p.constant(f"f_{p.label}", (1 / inside[:, None]).astype(np.float32))
        if windows.taps <= TAPS:
            total = sum((var(t) for t in range(2, windows.taps + 1)), start=var(1))
            return p.map(total * var(0), factor, *np.moveaxis(taps, 1, 0)).reshape(shape)
        rows = np.moveaxis(taps, 1, 2).reshape(-1, windows.taps)
        total = p.linear(np.full((1, windows.taps), ONE), rows).reshape(len(taps), -1)
        return p.map(var(0) * var(1), total, factor).reshape(shape)


@dataclass(frozen=True, eq=False)
class MaxPool(Pool):
    """Where several elements are the largest, the derivative is that of the first of them."""

    kind = "max_pool"
    keras_layers = ("MaxPooling1D", "MaxPooling2D", "GlobalMaxPooling1D", "GlobalMaxPooling2D")

    @property
    def formula(self) -> str:
        return f"y[p, c] = max over taps t of x[p + t, c]; {self._where}"

    def evaluate(self, *values: np.ndarray) -> np.ndarray:
        (x,) = values
        places = self.windows_over(x.shape[:-1]).places(x.shape[:-1])
        return gathered(x, places, -np.inf).max(axis=1).reshape(self.output_shape([x.shape]))

    def jacobians(self, *values: np.ndarray) -> list[np.ndarray]:
        (x,) = values
        places = self.windows_over(x.shape[:-1]).places(x.shape[:-1])
        taps = gathered(x, places, -np.inf).argmax(axis=1)
        positions = np.take_along_axis(places, taps, axis=1)
        elements = positions * x.shape[-1] + np.arange(x.shape[-1])
        return [np.eye(x.size)[elements.ravel()]]

    def lower(self, p: Program, *x: Elements) -> Elements:
        """Maxima of two, in order, so that the first of equals wins."""
        (lowest,) = p.constant("lowest", LOWEST)
        taps = self.windows_over(x[0].shape[:-1]).operands(p, x[0], lowest)
        larger = where(var(1), var(0), var(1), var(0))
        while taps.shape[1] > TAPS:
            pairs = taps.shape[1] // 2
            even, odd = taps[:, 0 : 2 * pairs : 2], taps[:, 1 : 2 * pairs : 2]
            taps = np.concatenate([p.map(larger, even, odd), taps[:, 2 * pairs :]], axis=1)
        y = taps[:, 0]
        for t in range(1, taps.shape[1]):
            y = p.map(larger, y, taps[:, t])
        return y.reshape(self.output_shape([x[0].shape]))
