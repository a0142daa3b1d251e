"""What the functions of the generated C should return: samples and, from float64, their results.

The meaning is that of `ir.Graph`, which knows nothing of code generation. Products with vectors
come from its Jacobian, second-order products from central differences of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nn4mc_codegen.graph.columns import Column, elements_of
from nn4mc_codegen.graph.ir import Graph
from nn4mc_codegen.int8.quantize import QuantGraph
from nn4mc_codegen.trial.interface import Function, functions, read_function

# Rounding of float32 sums: outputs of trained networks are of order 1, and so is this generous.
STEP_TOLERANCE = 2e-6
JACOBIAN_TOLERANCE = 1e-5
PUSH_TOLERANCE = 2e-6
# Second derivatives of steep activations are differences of large numbers.
SECOND_ORDER_TOLERANCE = 1e-4
# Of the central difference: its own error is of order 1e-10, and a kink is rarely that near.
DIFFERENCE = 1e-6


@dataclass(frozen=True)
class Case:
    """One generated function with its arguments on all samples, and what it should write."""

    function: Function
    short_name: str
    """step, jacobian, …"""
    inputs: dict[str, np.ndarray]
    """(samples, elements) by the names of the parameters, float32 or int8"""
    resets: np.ndarray
    """(samples,): before which samples the state is reset"""
    state: np.ndarray | None
    """(samples, states) before each sample, for a function that only reads it"""
    expected: dict[str, np.ndarray]
    """(samples, elements), and of a recurrent network also `state` after a step"""
    tolerance: dict[str, float]
    """largest absolute error of each that float32 explains"""
    scale: dict[str, float]
    """what errors of each are stated relative to"""

    def errors(self, found: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Largest error of each array, relative to its scale; NaN where one is not finite."""
        return {
            name: float(np.max(np.abs(found[name] - expected))) / self.scale[name]
            for name, expected in self.expected.items()
        }

    def passes(self, found: Mapping[str, np.ndarray]) -> bool:
        return all(
            np.max(np.abs(found[name] - expected)) <= self.tolerance[name]
            for name, expected in self.expected.items()
        )


def random_inputs(size: int, samples: int, seed: int) -> np.ndarray:
    """(samples, size) float32 from normal distributions of scale 0.3, 1 and 3 in turn."""
    scales = np.resize([0.3, 1.0, 3.0], samples)[:, None]
    random = np.random.default_rng(seed)
    return (scales * random.normal(size=(samples, size))).astype(np.float32)


def make_cases(
    graph: Graph | QuantGraph,
    header: str,
    name: str,
    columns: Mapping[str, Sequence[Column]],
    x: np.ndarray,
    resets: Sequence[int] = (),
    seed: int = 0,
) -> list[Case]:
    """A case for each function of the header that has a meaning, on inputs x (samples, inputs).

    `columns` are the elements of [x, state] with respect to which jacobian, vjp, jvp and hvp
    differentiate. A recurrent network's state is carried from sample to sample and reset before
    the first and the samples `resets`; vectors to multiply with are random. `folded`, which some
    functions read, is not among the inputs: only the C can tell.
    """
    x = np.asarray(x, np.float32)
    reset = np.isin(np.arange(len(x)), (0, *resets))
    if isinstance(graph, QuantGraph):
        return _int8_cases(graph, header, name, x, reset)
    random = np.random.default_rng(seed)
    path = _Path(graph, x, reset)
    cases = []
    for short_name in functions(header, name):
        function = read_function(header, name, short_name)
        inputs = {"x": x}
        for a in function.inputs:
            if a.name in ("v", "t", "dx", "dstate"):
                inputs[a.name] = random.normal(size=(len(x), a.size)).astype(np.float32)
            elif a.default is not None:
                inputs[a.name] = np.full((len(x), 1), a.default, np.int32)
        chosen = columns.get(short_name.removesuffix("_folded"), ())
        meant = path.results(short_name, list(chosen), inputs)
        if meant is None:
            continue
        expected, relative = meant
        if function.advances:
            expected = {**expected, "state": path.after}
        state = path.before if function.states and not function.advances else None
        scale = {n: _scale(n, values) for n, values in expected.items()}
        tolerance = {n: relative.get(n, STEP_TOLERANCE) * s for n, s in scale.items()}
        cases.append(Case(function, short_name, inputs, reset, state, expected, tolerance, scale))
    return cases


def _int8_cases(
    graph: QuantGraph, header: str, name: str, x: np.ndarray, reset: np.ndarray
) -> list[Case]:
    """Integers have no rounding to allow for; what float32 adds are two exact conversions."""
    q = np.array([graph.quantize(row) for row in x])
    y, after, state = [], [], None
    for row, again in zip(q, reset, strict=True):
        output, state = graph.step_q(row, None if again else state)
        y.append(output)
        after.append(state)
    states = {"state": np.array(after)} if graph.states else {}
    meant = {
        "step": ({"x": x}, graph.output.dequantize(np.array(y))),
        "step_q": ({"x": q.astype(np.int8)}, np.array(y)),
    }
    cases = []
    for short_name, (inputs, outputs) in meant.items():
        function = read_function(header, name, short_name)
        expected = {"y": outputs, **states}
        exact, one = dict.fromkeys(expected, 0.0), dict.fromkeys(expected, 1.0)
        cases.append(Case(function, short_name, inputs, reset, None, expected, exact, one))
    return cases


def _scale(name: str, values: np.ndarray) -> float:
    """Errors of outputs and states below 1 are absolute; derivatives have no such size."""
    largest = float(np.max(np.abs(values), initial=0.0))
    if name in ("y", "state"):
        return max(1.0, largest)
    return largest if largest > 0 else 1.0


class _Path:
    """The network's way through the samples, in float64."""

    def __init__(self, graph: Graph, x: np.ndarray, reset: np.ndarray):
        self._graph = graph
        self._x = x.astype(np.float64)
        zero = np.zeros(graph.state_size)
        y, before, after = [], [], []
        state = zero
        for row, again in zip(x, reset, strict=True):
            before.append(zero if again else state)
            output, state = graph.step(row, before[-1])
            y.append(output)
            after.append(state)
        self._y, self.before, self.after = np.array(y), np.array(before), np.array(after)

    def results(
        self, short_name: str, columns: list[Column], inputs: Mapping[str, np.ndarray]
    ) -> tuple[dict[str, np.ndarray], dict[str, float]] | None:
        """Expected arrays and relative tolerances of derivatives; None for other functions."""
        here = self._x, self.before
        if short_name in ("step", "step_folded"):
            return {"y": self._y}, {}
        if short_name in ("jacobian", "jacobian_folded"):
            jacobians = self._jacobians(columns, *here).reshape(len(self._x), -1)
            return {"y": self._y, "jacobian": jacobians}, {"jacobian": JACOBIAN_TOLERANCE}
        if short_name == "vjp":
            return {"g": self._pull(columns, *here, inputs["v"])}, {"g": JACOBIAN_TOLERANCE}
        if short_name == "jvp":
            dy = np.einsum("sij,sj->si", self._jacobians(columns, *here), inputs["t"])
            return {"dy": dy}, {"dy": JACOBIAN_TOLERANCE}
        if short_name in ("push", "push_last"):
            pushed = self._push(*here, inputs)
            if short_name == "push_last":
                pushed.pop("dnext")
            return pushed, dict.fromkeys(("dy", "dnext"), PUSH_TOLERANCE)
        if short_name == "hvp":
            ahead, behind = (
                self._pull(columns, *self._moved(columns, sign * inputs["t"]), inputs["v"])
                for sign in (1.0, -1.0)
            )
            return {"h": (ahead - behind) / (2 * DIFFERENCE)}, {"h": SECOND_ORDER_TOLERANCE}
        return None

    def _push(
        self, x: np.ndarray, state: np.ndarray, inputs: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """y, dy and dnext of each sample (samples, elements), with all directions carried."""
        sizes = self._graph.input_size, self._graph.output.size
        found = []
        for k, sample in enumerate(zip(x, state, strict=True)):
            moved = inputs["dx"][k].reshape(sizes[0], -1)
            if "dstate" in inputs:
                moved = np.vstack([moved, inputs["dstate"][k].reshape(-1, moved.shape[1])])
            found.append(self._graph.full_jacobian(*sample) @ moved)
        made = np.array(found)
        dy, dnext = (part.reshape(len(x), -1) for part in np.split(made, sizes[1:], axis=1))
        return {"y": self._y, "dy": dy} | ({"dnext": dnext} if "dstate" in inputs else {})

    def _jacobians(self, columns: list[Column], x: np.ndarray, state: np.ndarray) -> np.ndarray:
        """(samples, rows, columns): the new state has rows where a state has a column."""
        rows = self._graph.output.size
        if any(element >= self._graph.input_size for element in elements_of(columns)):
            rows += self._graph.state_size
        full = (self._graph.full_jacobian(*sample) for sample in zip(x, state, strict=True))
        parts = [list(c) if isinstance(c, tuple) else [c] for c in columns]
        return np.array([np.stack([j[:rows, p].sum(axis=1) for p in parts], axis=1) for j in full])

    def _pull(
        self, columns: list[int], x: np.ndarray, state: np.ndarray, v: np.ndarray
    ) -> np.ndarray:
        """J'·v of each sample (samples, columns)."""
        return np.einsum("sij,si->sj", self._jacobians(columns, x, state), v)

    def _moved(self, columns: list[int], t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """x and state a small step along t."""
        z = np.hstack([self._x, self.before])
        z[:, columns] += DIFFERENCE * t
        return z[:, : self._x.shape[1]], z[:, self._x.shape[1] :]
