"""From a graph to a program: every operator says in `lower` how it is made of primitives."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nn4mc_codegen.graph.columns import Column, elements_of, singles_of, sums_of
from nn4mc_codegen.graph.ir import Graph, Node
from nn4mc_codegen.program.instructions import Elements
from nn4mc_codegen.program.program import Program


@dataclass(eq=False)
class Lowered:
    """A graph and its program, which computes y and the new state from x and the old state."""

    graph: Graph
    program: Program
    x: Elements  # (inputs,)
    state: Elements  # (states,)
    y: Elements  # (outputs,)
    new_state: Elements  # (states,)

    @property
    def results(self) -> dict[str, Elements]:
        """What a step writes."""
        return {"y": self.y} | ({"state": self.new_state} if self.graph.states else {})

    def rows(
        self, columns: Sequence[Column], results: dict[str, Elements] | None = None
    ) -> Elements:
        """The rows of a derivative by these columns: the elements of y, and where any column is a
        state, then also those of the new state."""
        results = results or self.results
        if any(element >= len(self.x) for element in elements_of(columns)):
            return np.concatenate([results["y"], results["state"]])
        return results["y"]


def lower(
    graph: Graph, pairs: bool = True, by_unit: bool = False, columns: Sequence[Column] = ()
) -> Lowered:
    """The program of a graph. How it stores weights is decided by `pairs`, `by_unit` and the
    Jacobian's `columns`, see `Program`."""
    p = Program(pairs=pairs, by_unit=by_unit)
    x = p.input("x", graph.input_size).elements
    inputs = [c for c in columns if max(elements_of([c])) < len(x)]
    p.alone = x[list(singles_of(inputs))]
    p.together = [x[list(sum_)] for sum_ in sums_of(inputs)]
    state = p.input("state", graph.state_size).elements
    ends = np.cumsum([t.size for t in graph.inputs])
    parts = zip(graph.inputs, np.split(x, ends[:-1]), strict=True)
    elements = {tensor: part.reshape(tensor.shape) for tensor, part in parts}
    states: dict[Node, list[Elements]] = {}
    for part in graph.states:
        states.setdefault(part.node, []).append(state[part.offset : part.offset + part.size])
    made = [state[:0]]
    labels = unique([node.name for node in graph.nodes])
    for node, label in zip(graph.nodes, labels, strict=True):
        given = [elements[t] for t in node.inputs]
        with p.layer(label, node.op.formula):
            result = node.op.lower(p, *given, *states.get(node, ()))
        if node in states:
            made.append(result)
            result = result[: node.output.size].reshape(node.output.shape)
        elements[node.output] = result
    return Lowered(graph, p, x, state, elements[graph.output].ravel(), np.concatenate(made))


def unique(names: Sequence[str]) -> list[str]:
    """The names made fit to be parts of C names, no two alike: a-b and a.b become a_b and a_b_2."""
    found: list[str] = []
    for name in names:
        plain = re.sub(r"[^A-Za-z0-9_]", "_", name)
        new, count = plain, 1
        while new in found:
            count += 1
            new = f"{plain}_{count}"
        found.append(new)
    return found
