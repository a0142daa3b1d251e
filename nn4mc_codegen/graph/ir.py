"""The compiler's own picture of a network, and what it means.

A `Graph` is a list of nodes in topological order. A node applies one operator (`Op`, a file in
ops/) to tensors and makes one tensor. Constants are float32 arrays held by the operator.
`Graph.evaluate` and `Graph.jacobian` are the meaning: slow, obvious, float64; the generated C is
tested against them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nn4mc_codegen.program.instructions import Elements
from nn4mc_codegen.program.program import Program

Shape = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Tensor:
    """A named value; `shape` is without the batch axis."""

    name: str
    shape: Shape

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))


class Op(ABC):
    """One operator. Each subclass has its own file in ops/; the recipe is in ops/__init__.py."""

    kind: ClassVar[str]
    keras_layers: ClassVar[tuple[str, ...]] = ()
    """Keras classes that `from_keras` reads"""
    keras_config: ClassVar[tuple[str, ...]] = ()
    """what of such a layer's config has a say in its results; `verify` gives Keras no more of it"""
    keras_functions: ClassVar[tuple[str, ...]] = ()
    """functions of keras.ops that mean the same as the layer of their name, such as + for Add"""
    several_inputs: ClassVar[bool] = False
    """whether a layer is called with several tensors, else with one"""
    each_step: ClassVar[bool] = False
    """whether a layer that gets a sequence does the same to each of its time steps by itself"""
    carries_state: ClassVar[bool] = False
    """whether a layer goes along a sequence with a state, as `states` says"""

    @classmethod
    def from_keras(cls, layer) -> Op:
        """Read an `importers.keras.KerasLayer` of a class in `keras_layers`; raises
        `check.ModelError`."""
        raise NotImplementedError(f"{cls.kind} is read from no layer of Keras")

    @property
    def constants(self) -> dict[str, np.ndarray]:
        """Trained values by the letter of the formula, float32."""
        return {}

    @property
    def states(self) -> dict[str, int]:
        """Sizes of what a recurrent operator carries from step to step, by name.

        Such an operator takes its states after its inputs, and returns the new states one after the
        other in one array; the first of them is its result. An LSTM with 5 units returns its 5
        outputs, which are its state h, and then the 5 elements of its state c. That holds for
        `evaluate`, `jacobians` and `lower`.
        """
        return {}

    @property
    def state_scales(self) -> dict[str, float]:
        """What 1 stands for in each of them, where that is not 1."""
        return {}

    @abstractmethod
    def output_shape(self, shapes: Sequence[Shape]) -> Shape:
        """Shape of the result; raises ValueError where the inputs do not fit."""

    @abstractmethod
    def evaluate(self, *values: np.ndarray) -> np.ndarray:
        """The result, of its shape, from the inputs in theirs, in float64."""

    @abstractmethod
    def jacobians(self, *values: np.ndarray) -> list[np.ndarray]:
        """For each input the derivative (output size, input size) at `values`."""

    @abstractmethod
    def lower(self, p: Program, *x: Elements) -> Elements:
        """The result's elements, of its shape, made in `p` from those of the inputs."""

    def macs(self, *shapes: Shape) -> int:
        """Multiply-accumulates of the operator on inputs of these shapes."""
        return 0

    @property
    @abstractmethod
    def formula(self) -> str:
        """What it computes, for people."""


class Rewire(Op):
    """An operator that only rearranges elements (flatten, concatenate), and costs no code.

    A subclass gives nothing but `evaluate` and `formula`. Its Jacobian and its lowering follow from
    what `evaluate` makes of an array of element numbers: where it puts each element.
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

    def lower(self, p: Program, *x: Elements) -> Elements:
        return self.evaluate(*x)


@dataclass(frozen=True, eq=False)
class Node:
    name: str
    op: Op
    inputs: tuple[Tensor, ...]
    output: Tensor

    @property
    def macs(self) -> int:
        return self.op.macs(*(t.shape for t in self.inputs))


@dataclass(frozen=True, eq=False)
class State:
    """One vector that a recurrent node carries, and its place in the flat state."""

    name: str
    node: Node
    offset: int
    size: int
    scale: float
    """what 1 stands for: of floats 1"""


class Layers:
    """What can be counted of graphs of floats and of int8 alike, by their `inputs` and `nodes`."""

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

    @property
    def states(self) -> tuple[State, ...]:
        """What the network carries from step to step, in the order of the flat state."""
        found, offset = [], 0
        for node in self.nodes:
            for letter, size in node.op.states.items():
                name = node.name if len(node.op.states) == 1 else f"{node.name}_{letter}"
                scale = node.op.state_scales.get(letter, 1.0)
                found.append(State(name, node, offset, size, scale))
                offset += size
        return tuple(found)

    @property
    def state_size(self) -> int:
        return sum(state.size for state in self.states)


@dataclass(frozen=True, eq=False)
class Graph(Layers):
    """Nodes in topological order, several named inputs, one output.

    The flat input x is the inputs one after the other, each in row-major order. In a network with
    recurrent nodes it is that of one time step, and the flat state is theirs one after the other.
    """

    inputs: tuple[Tensor, ...]
    output: Tensor
    nodes: tuple[Node, ...]

    def evaluate(self, x: np.ndarray, state: np.ndarray | None = None) -> np.ndarray:
        """Output (n,) for the flat input x (inputs,), in float64; by default after a reset."""
        return self.step(x, state)[0]

    def step(self, x: np.ndarray, state: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Output (n,) and new state (states,) for x (inputs,) and the state, in float64."""
        values, states = self.values(x, state)
        made = [np.zeros(0), *(values[node].ravel() for node in self.nodes if node in states)]
        return values[self.output].ravel(), np.concatenate(made)

    def run(self, x: np.ndarray, state: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Outputs (steps, n) and states (steps, states) along the sequence x (steps, inputs)."""
        outputs, states = [], []
        for row in x:
            y, state = self.step(row, state)
            outputs.append(y)
            states.append(state)
        return np.array(outputs), np.array(states)

    def jacobian(self, x: np.ndarray, state: np.ndarray | None = None) -> np.ndarray:
        """d output / d x (n, inputs) at x (inputs,), in float64, by the chain rule."""
        return self.full_jacobian(x, state)[: self.output.size, : self.input_size]

    def full_jacobian(self, x: np.ndarray, state: np.ndarray | None = None) -> np.ndarray:
        """Derivatives of [output, new state] with respect to [x, state], in float64."""
        values, states = self.values(x, state)
        columns = np.eye(self.input_size + self.state_size)
        ends = np.cumsum([t.size for t in self.inputs])
        slopes = dict(zip(self.inputs, np.split(columns, ends), strict=False))
        rows, offset = [], self.input_size
        for node in self.nodes:
            given = [values[t] for t in node.inputs]
            ahead = [slopes[t] for t in node.inputs]
            for part in states.get(node, ()):
                given.append(part)
                ahead.append(columns[offset : offset + part.size])
                offset += part.size
            pairs = zip(node.op.jacobians(*given), ahead, strict=True)
            if given:
                slope = sum(d @ s for d, s in pairs)
            else:  # a constant
                slope = np.zeros((node.output.size, len(columns)))
            if node in states:
                rows.append(slope)
            slopes[node.output] = slope[: node.output.size]
        return np.vstack([slopes[self.output], *rows])

    def values(
        self, x: np.ndarray, state: np.ndarray | None = None
    ) -> tuple[dict[Tensor | Node, np.ndarray], dict[Node, list[np.ndarray]]]:
        """Values of all tensors, and by node the new states of the recurrent ones; and by node
        their old states, one array a state."""
        x = np.asarray(x, dtype=np.float64)
        if x.shape != (self.input_size,):
            raise ValueError(f"input has shape {x.shape}, the model takes ({self.input_size},)")
        state = np.zeros(self.state_size) if state is None else np.asarray(state, np.float64)
        if state.shape != (self.state_size,):
            raise ValueError(f"state has shape {state.shape}, the model has ({self.state_size},)")
        states: dict[Node, list[np.ndarray]] = {}
        for part in self.states:
            states.setdefault(part.node, []).append(state[part.offset : part.offset + part.size])
        ends = np.cumsum([t.size for t in self.inputs])
        parts = np.split(x, ends[:-1])
        values = {t: part.reshape(t.shape) for t, part in zip(self.inputs, parts, strict=True)}
        for node in self.nodes:
            given = [values[t] for t in node.inputs]
            value = node.op.evaluate(*given, *states.get(node, ()))
            if node in states:
                values[node] = value
                value = value[: node.output.size].reshape(node.output.shape)
            values[node.output] = value
        return values, states
