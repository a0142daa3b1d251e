"""The compiler's own picture of a network, and what it means.

A `Graph` is a list of nodes in topological order. A node applies one operator (`Op`, a file in
ops/) to tensors and makes one tensor. Constants are float32 arrays held by the operator.
`Graph.evaluate` and `Graph.jacobian` are the meaning: slow, obvious, float64; the generated C is
tested against them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

Shape = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Tensor:
    """A named value; `shape` is without the batch axis."""

    name: str
    shape: Shape

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))


class Op:
    """One operator. Each subclass has its own file in ops/ and a template of the same name.

    `kind` names the template; `keras_layers` the Keras classes that `from_keras` reads.
    """

    kind: ClassVar[str]
    keras_layers: ClassVar[tuple[str, ...]] = ()
    # Each input's derivative is the identity: derivatives of the result are those of every input.
    passes_derivatives: ClassVar[bool] = False
    # The template's reverse has a short form for derivatives of the result that are the identity.
    takes_identity: ClassVar[bool] = False

    @classmethod
    def from_keras(cls, layer) -> Op:
        """Read an `importers.keras.KerasLayer`; raises `check.ModelError`."""
        raise NotImplementedError

    @property
    def derivative_from_result(self) -> bool:
        """Whether the templates' reverse and forward read the result."""
        return False

    @property
    def constants(self) -> dict[str, np.ndarray]:
        """Trained values by the letter of the formula, float32."""
        return {}

    def output_shape(self, shapes: Sequence[Shape]) -> Shape:
        """Shape of the result; raises ValueError where the inputs do not fit."""
        raise NotImplementedError

    def evaluate(self, *values: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def jacobians(self, *values: np.ndarray) -> list[np.ndarray]:
        """For each input the derivative (output size, input size) at `values`."""
        raise NotImplementedError

    def macs(self, input_size: int, columns: int = 1) -> int:
        """Multiply-accumulates of applying the operator's matrix to `columns` vectors of which
        `input_size` elements matter."""
        return 0

    @property
    def formula(self) -> str:
        raise NotImplementedError


class Rewire(Op):
    """An operator that only rearranges elements (flatten, concatenate): costs no code.

    A subclass gives nothing but `evaluate` and `formula`: what it does to an array of element
    numbers says where each element comes from.
    """

    def output_shape(self, shapes: Sequence[Shape]) -> Shape:
        return self.evaluate(*(np.empty(shape) for shape in shapes)).shape

    def jacobians(self, *values: np.ndarray) -> list[np.ndarray]:
        ends = np.cumsum([v.size for v in values])
        numbers = [
            np.arange(end - v.size, end).reshape(v.shape)
            for end, v in zip(ends, values, strict=True)
        ]
        chosen = np.eye(ends[-1])[self.evaluate(*numbers).ravel()]
        return np.split(chosen, ends[:-1], axis=1)


@dataclass(frozen=True, eq=False)
class Node:
    name: str
    op: Op
    inputs: tuple[Tensor, ...]
    output: Tensor

    @property
    def macs(self) -> int:
        return self.op.macs(sum(t.size for t in self.inputs))


@dataclass(frozen=True, eq=False)
class Graph:
    """Nodes in topological order, several named inputs, one output.

    The flat input x is the inputs one after the other, each in row-major order.
    """

    inputs: tuple[Tensor, ...]
    output: Tensor
    nodes: tuple[Node, ...]

    @property
    def input_size(self) -> int:
        return sum(t.size for t in self.inputs)

    @property
    def parameters(self) -> int:
        """Trained values; a layer that is called several times has its own once."""
        ops = dict.fromkeys(node.op for node in self.nodes)
        return sum(values.size for op in ops for values in op.constants.values())

    @property
    def macs(self) -> int:
        return sum(node.macs for node in self.nodes)

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        """Output (n,) for the flat input x (inputs,), in float64."""
        return self._values(x)[self.output].ravel()

    def jacobian(self, x: np.ndarray) -> np.ndarray:
        """d output / d x (n, inputs) at x (inputs,), in float64, by the chain rule."""
        values = self._values(x)
        ends = np.cumsum([t.size for t in self.inputs])
        slopes = dict(zip(self.inputs, np.split(np.eye(self.input_size), ends[:-1]), strict=True))
        for node in self.nodes:
            local = node.op.jacobians(*(values[t] for t in node.inputs))
            pairs = zip(local, node.inputs, strict=True)
            slopes[node.output] = sum(d @ slopes[t] for d, t in pairs)
        return slopes[self.output]

    def _values(self, x: np.ndarray) -> dict[Tensor, np.ndarray]:
        x = np.asarray(x, dtype=np.float64)
        if x.shape != (self.input_size,):
            raise ValueError(f"input has shape {x.shape}, the model takes ({self.input_size},)")
        ends = np.cumsum([t.size for t in self.inputs])
        parts = np.split(x, ends[:-1])
        values = {t: part.reshape(t.shape) for t, part in zip(self.inputs, parts, strict=True)}
        for node in self.nodes:
            values[node.output] = node.op.evaluate(*(values[t] for t in node.inputs))
        return values
