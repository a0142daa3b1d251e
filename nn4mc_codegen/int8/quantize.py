"""Networks in 8-bit integers: a value r is an int8 q with r = scale·(q - zero).

`QuantGraph` is for int8 what `ir.Graph` is for float32: it says exactly what the generated C
computes, so that a `.tflite` file gives the same bytes here, in TensorFlow Lite's interpreter and
on the microcontroller. Its operators stand in `operators`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nn4mc_codegen.graph.ir import Layers, Shape
from nn4mc_codegen.int8.fixed_point import fixed_point, rescale

LOW, HIGH = -128, 127


@dataclass(frozen=True, eq=False)
class QTensor:
    """A named int8 tensor without batch axis; its real value is scale·(q - zero)."""

    name: str
    shape: Shape
    scale: float
    zero: int

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    def quantize(self, values: np.ndarray) -> np.ndarray:
        """Nearest int8, halves away from zero, computed in float32 as the C does."""
        steps = np.asarray(values, np.float32) / np.float32(self.scale)
        steps = np.where(np.isnan(steps), -np.inf, steps).clip(-512, 512)
        rounded = np.trunc(steps) + np.trunc(2 * (steps - np.trunc(steps)))
        return np.clip(rounded + self.zero, LOW, HIGH).astype(np.int64)

    def dequantize(self, q: np.ndarray) -> np.ndarray:
        return (q - self.zero).astype(np.float32) * np.float32(self.scale)


class QOp(ABC):
    """An operator on int8 tensors; `kind` names the macro that prints its call."""

    kind: ClassVar[str]
    formula: str

    @property
    def constants(self) -> dict[str, np.ndarray]:
        """Trained values by the letter of the formula."""
        return {}

    @property
    def macs(self) -> int:
        return 0

    @property
    def states(self) -> dict[str, int]:
        """Sizes of what a recurrent operator carries from step to step, by name: int16 numbers. It
        takes them after its inputs, and returns the new ones, flat, after its result."""
        return {}

    @property
    def state_scales(self) -> dict[str, float]:
        """What 1 stands for in each of them."""
        return {}

    @abstractmethod
    def evaluate(self, *values: np.ndarray) -> np.ndarray:
        """Result, flat or in any shape of its size, from int64 arrays in the tensors' shapes."""


@dataclass(frozen=True, eq=False)
class Rescaling:
    """From 32-bit sums to int8, a factor for each output row: clip(factor·sum + zero)."""

    multiplier: np.ndarray
    shift: np.ndarray
    zero: int
    low: int = LOW
    high: int = HIGH

    @classmethod
    def of(cls, factors: np.ndarray, zero: int, low: int = LOW, high: int = HIGH) -> Rescaling:
        pairs = [fixed_point(float(factor)) for factor in factors]
        multiplier, shift = np.array(pairs, np.int64).reshape(-1, 2).T
        return cls(multiplier, shift, zero, low, high)

    def __call__(self, sums: np.ndarray, rounded: Callable = rescale) -> np.ndarray:
        scaled = rounded(sums, self.multiplier, self.shift) + self.zero
        return np.clip(scaled, self.low, self.high)


@dataclass(frozen=True)
class Accuracy:
    """What int8 costs on the representative inputs, in units of the output."""

    rms: float
    """root mean square of the difference to the float32 network"""
    maximum: float
    """largest difference"""
    range: float
    """of the float32 network's outputs, largest less smallest"""

    def __str__(self) -> str:
        of_range = 100.0 / self.range if self.range else math.nan
        return (
            f"int8 differs from float32 by {self.rms:.3g} RMS, {self.maximum:.3g} at most: "
            f"{self.rms * of_range:.2g} % and {self.maximum * of_range:.2g} % of the output's range"
        )


@dataclass(frozen=True, eq=False)
class QNode:
    name: str
    op: QOp
    inputs: tuple[QTensor, ...]
    output: QTensor

    @property
    def macs(self) -> int:
        return self.op.macs


@dataclass(frozen=True, eq=False)
class QuantGraph(Layers):
    """Nodes in topological order; the flat input is the inputs one after the other."""

    inputs: tuple[QTensor, ...]
    output: QTensor
    nodes: tuple[QNode, ...]
    accuracy: Accuracy | None = None
    """of a network that was quantised here"""

    def evaluate_q(self, q: np.ndarray, state: np.ndarray | None = None) -> np.ndarray:
        """int8 output (n,) of the flat int8 input q (inputs,), both as int64; by default after a
        reset."""
        return self.step_q(q, state)[0]

    def step_q(self, q: np.ndarray, state: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """int8 output (n,) and new int16 state (states,) of the flat int8 input q (inputs,) and the
        state, None after a reset; all as int64."""
        q = np.asarray(q, np.int64)
        if q.shape != (self.input_size,):
            raise ValueError(f"input has shape {q.shape}, the model takes ({self.input_size},)")
        state = np.zeros(self.state_size) if state is None else state
        sizes = [size for node in self.nodes for size in node.op.states.values()]
        given = np.split(np.asarray(state, np.int64), np.cumsum(sizes))
        parts = self._split(q)
        values = {t: part.reshape(t.shape) for t, part in zip(self.inputs, parts, strict=True)}
        made = [np.zeros(0, np.int64)]
        for node in self.nodes:
            states = [given.pop(0) for _ in node.op.states]
            result = node.op.evaluate(*(values[t] for t in node.inputs), *states)
            if states:
                result, new = np.split(result, [node.output.size])
                made.append(new)
            values[node.output] = result.reshape(node.output.shape)
        return values[self.output].ravel(), np.concatenate(made)

    def run(self, x: np.ndarray, state: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Float32 outputs (steps, n) and int16 states (steps, states) along the float32 sequence x
        (steps, inputs)."""
        outputs, states = [], []
        for row in x:
            y, state = self.step_q(self.quantize(row), state)
            outputs.append(self.output.dequantize(y))
            states.append(state)
        return np.array(outputs), np.array(states)

    def quantize(self, x: np.ndarray) -> np.ndarray:
        """Flat int8 input of the flat float32 input x (inputs,)."""
        parts = self._split(np.asarray(x))
        return np.concatenate([t.quantize(v) for t, v in zip(self.inputs, parts, strict=True)])

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        """Float32 output (n,) of the flat float32 input x (inputs,)."""
        return self.output.dequantize(self.evaluate_q(self.quantize(x)))

    def _split(self, flat: np.ndarray) -> list[np.ndarray]:
        return np.split(flat, np.cumsum([t.size for t in self.inputs])[:-1])
