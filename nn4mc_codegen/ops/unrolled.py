"""A recurrent operator along a whole sequence at once, from a given state or from zeros.

A network of one step carries its state from call to call (ops/recurrent.py). Where all steps are
in the input, or the state comes in and goes out, nothing is carried: the same step is written as
often as the sequence is long.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nn4mc_codegen.graph.check import refuse
from nn4mc_codegen.graph.ir import Op, Shape
from nn4mc_codegen.ops.recurrent import GRU, LSTM, Recurrent, SimpleRNN
from nn4mc_codegen.program.program import ZERO, Elements, Program


@dataclass(frozen=True, eq=False)
class Unrolled(Op):
    """The step `cell` on x (steps, inputs), after which come its states (units,) if `starts`.

    The result is (steps, units of all states): what the cell makes at each step. `backwards` it
    begins at the last step; each step's result stays in that step's row.
    """

    cell: Recurrent
    starts: bool = False
    backwards: bool = False

    kind = "unrolled"

    @property
    def constants(self) -> dict[str, np.ndarray]:
        return self.cell.constants

    @property
    def formula(self) -> str:
        way = "from the last step to the first" if self.backwards else "step by step"
        return f"{self.cell.formula}; {way}"

    def output_shape(self, shapes: Sequence[Shape]) -> Shape:
        (steps, *inputs), *states = shapes
        wanted = [(n,) for n in self.cell.states.values()] if self.starts else []
        if list(states) != wanted:
            raise ValueError(f"takes states of shapes {wanted} but gets {list(states)}")
        self.cell.output_shape([tuple(inputs)])
        return (steps, sum(self.cell.states.values()))

    def macs(self, *shapes: Shape) -> int:
        return shapes[0][0] * self.cell.macs(shapes[0][1:])

    def _order(self, steps: int) -> Sequence[int]:
        return range(steps)[:: -1 if self.backwards else 1]

    def _split(self, state: np.ndarray) -> list[np.ndarray]:
        return np.split(state, np.cumsum(list(self.cell.states.values()))[:-1])

    def _start(self, states: Sequence[np.ndarray], nothing: float | int) -> list[np.ndarray]:
        return list(states) or [np.full(n, nothing) for n in self.cell.states.values()]

    def evaluate(self, *values: np.ndarray) -> np.ndarray:
        x, *given = values
        states = self._start(given, 0.0)
        rows = [np.empty(0)] * len(x)
        for step in self._order(len(x)):
            rows[step] = self.cell.evaluate(x[step], *states)
            states = self._split(rows[step])
        return np.array(rows)

    def jacobians(self, *values: np.ndarray) -> list[np.ndarray]:
        x, *given = values
        states, width = self._start(given, 0.0), sum(self.cell.states.values())
        columns = x.size + (width if given else 0)
        slope = np.zeros((width, columns))  # of the state so far
        if given:
            slope[:, x.size :] = np.eye(width)
        rows, inputs = [np.empty(0)] * len(x), x.shape[1]
        for step in self._order(len(x)):
            by_x, *by_state = self.cell.jacobians(x[step], *states)
            slope = np.hstack(by_state) @ slope
            slope[:, step * inputs : (step + 1) * inputs] += by_x
            rows[step] = slope
            states = self._split(self.cell.evaluate(x[step], *states))
        ends = np.cumsum([v.size for v in values])[:-1]
        return np.split(np.vstack(rows), ends, axis=1)

    def lower(self, p: Program, *x: Elements) -> Elements:
        x, *given = x
        states = self._start(given, ZERO)
        rows = [x[0]] * len(x)
        for step in self._order(len(x)):
            rows[step] = self.cell.lower(p, x[step], *states)
            states = self._split(rows[step])
        return np.array(rows)


class Bidirectional(Unrolled):
    """Reads a recurrent layer that goes both ways; becomes the cells of both."""

    keras_layers = ("Bidirectional",)
    keras_config = ("merge_mode",)
    carries_state = True

    @classmethod
    def from_keras(cls, layer) -> tuple[Recurrent, ...]:
        ahead = layer.config["layer"]
        back = layer.config.get("backward_layer") or ahead
        ops = [READERS.get(inner["class_name"]) for inner in (ahead, back)]
        if None in ops:
            known = ", ".join(READERS)
            raise refuse(layer.name, "wraps another layer than a recurrent one", f"use {known}")
        counts = [2 + bool(inner["config"].get("use_bias", True)) for inner in (ahead, back)]
        arrays = layer.weights([f"array {k}" for k in range(sum(counts))])
        halves = arrays[: counts[0]], arrays[counts[0] :]
        cells = zip(ops, (ahead, back), halves, strict=True)
        return tuple(op.from_keras(layer.inner(inner, half)) for op, inner, half in cells)


READERS = {name: op for op in (SimpleRNN, GRU, LSTM) for name in op.keras_layers}
"""Of what may go both ways, by the class's name."""
