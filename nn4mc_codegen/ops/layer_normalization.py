"""LayerNormalization: what each sample's own mean and variance make of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nn4mc_codegen.graph.check import refuse
from nn4mc_codegen.graph.ir import Op, Shape
from nn4mc_codegen.ops.elementwise import Elementwise
from nn4mc_codegen.ops.multiply import Multiply
from nn4mc_codegen.ops.reduce import Reduce
from nn4mc_codegen.program.expression import const, var
from nn4mc_codegen.program.functions import SQUARE_ROOT
from nn4mc_codegen.program.program import Elements, Program


@dataclass(frozen=True, eq=False)
class LayerNormalization(Op):
    """Over the last axes, as many as `scale` and `offset` have (float32, of one shape). `axes` as
    Keras counts them, the batch being 0.

    Ba, Kiros and Hinton, "Layer normalization", 2016.
    """

    scale: np.ndarray
    offset: np.ndarray
    epsilon: float
    axes: tuple[int, ...] = (-1,)

    kind = "layer_normalization"
    keras_layers = ("LayerNormalization",)
    keras_config = ("axis", "epsilon", "center", "scale")
    each_step = True
    formula = "y = s∘(x - m) / sqrt(v + e) + o, with the mean m and the variance v of x"

    @classmethod
    def from_keras(cls, layer) -> LayerNormalization:
        config = layer.config
        axis, epsilon = config.get("axis", -1), config.get("epsilon", 1e-3)
        axes = tuple(axis) if isinstance(axis, list) else (axis,)
        if not all(type(a) is int for a in axes) or not isinstance(epsilon, int | float):
            reason = f"axis {axis!r:.40}, epsilon {epsilon!r:.40}"
            raise refuse(layer.name, reason, "give whole numbers and a number")
        if config.get("rms_scaling"):
            raise refuse(layer.name, "rms_scaling leaves the mean in", "set rms_scaling=False")
        if not epsilon > 0.0:
            raise refuse(layer.name, f"epsilon is {epsilon}", "use one above 0")
        names = [n for n, key in (("gamma", "scale"), ("beta", "center")) if config.get(key, True)]
        found = dict(zip(names, layer.weights(names), strict=True)) if names else {}
        if not found:
            reason = "has neither scale nor offset, so its file does not say its size"
            raise refuse(layer.name, reason, "leave one of them in")
        shape = next(iter(found.values())).shape
        if any(array.shape != shape for array in found.values()) or len(shape) != len(axes):
            shapes = ", ".join(str(array.shape) for array in found.values())
            raise refuse(layer.name, f"arrays have shapes {shapes}", "save the model again")
        return cls(
            found.get("gamma", np.ones(shape, np.float32)),
            found.get("beta", np.zeros(shape, np.float32)),
            float(epsilon),
            axes,
        )

    @property
    def constants(self) -> dict[str, np.ndarray]:
        return {"s": self.scale, "o": self.offset}

    def output_shape(self, shapes: Sequence[Shape]) -> Shape:
        (shape,) = shapes
        rank, count = len(shape), self.scale.ndim
        last = [rank - count + k for k in range(count)]
        if sorted(a - 1 if a > 0 else rank + a for a in self.axes) != last:
            raise ValueError(f"normalises axes {self.axes} of shape {shape}: the last ones can be")
        if shape[rank - count :] != self.scale.shape:
            raise ValueError(f"normalises shape {self.scale.shape} but gets shape {shape}")
        return shape

    def evaluate(self, *values: np.ndarray) -> np.ndarray:
        normal, _ = self._normal(values[0])
        return normal * self.scale.astype(np.float64) + self.offset.astype(np.float64)

    def _normal(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(x - m) / d and d, the square root of v + e."""
        axes = tuple(range(-self.scale.ndim, 0))
        centred = x - x.mean(axis=axes, keepdims=True)
        deviation = np.sqrt(np.mean(centred**2, axis=axes, keepdims=True) + self.epsilon)
        return centred / deviation, deviation

    def jacobians(self, *values: np.ndarray) -> list[np.ndarray]:
        size = self.scale.size
        normal, deviation = (a.reshape(-1, a.size // (values[0].size // size))
                             for a in self._normal(values[0]))  # fmt: skip
        whole = np.zeros((values[0].size, values[0].size))
        for k, (row, (d,)) in enumerate(zip(normal, deviation, strict=True)):
            block = (np.eye(size) - 1.0 / size - np.outer(row, row) / size) / d
            at = slice(k * size, (k + 1) * size)
            whole[at, at] = self.scale.ravel().astype(np.float64)[:, None] * block
        return [whole]

    def lower(self, p: Program, *x: Elements) -> Elements:
        mean = Reduce(tuple(range(x[0].ndim - self.scale.ndim, x[0].ndim)), True, True)
        centred = Elementwise("subtract", (None, None)).lower(p, x[0], mean.lower(p, x[0]))
        variance = mean.lower(p, Multiply().lower(p, centred, centred))
        inverse = p.map(1.0 / SQUARE_ROOT(var(0) + const(self.epsilon)), variance)
        scale = p.constant(f"s_{p.label}", self.scale)
        offset = p.constant(f"o_{p.label}", self.offset)
        return p.map(var(0) * var(1) * var(2) + var(3), centred, inverse, scale, offset)
