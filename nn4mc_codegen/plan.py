"""Lowering of a graph to what the templates print: arrays, who reads which part, the Jacobian.

Rearranging operators vanish: every computing node reads its inputs as runs of consecutive elements
of arrays (the flat input x, or results of earlier nodes), so concatenating costs nothing.

The Jacobian goes one of two ways, whichever takes fewer multiply-accumulates:
- reverse: for each array the derivatives of all outputs with respect to it, (outputs, array size);
- forward: for each array its derivatives with respect to the chosen inputs, (array size, columns).
What is only a part of the identity (an output that is an input plus something) is not stored as a
matrix but noted as ones.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import ClassVar

import numpy as np

from nn4mc_codegen.ir import Graph, Node, Rewire, Tensor


@dataclass(eq=False)
class Array:
    """One C array: the flat input x, or the result of a computing node."""

    name: str
    size: int
    active: bool  # depends on the chosen inputs


@dataclass(frozen=True)
class Run:
    """Elements start … start+length-1 of `array` are elements offset … of what a node reads."""

    array: Array
    start: int
    offset: int
    length: int


@dataclass(frozen=True)
class Target:
    """Elements offset … offset+length-1 of what a node reads have their derivatives in the columns
    column … of `matrix`, to be set, or added to what is there."""

    matrix: Matrix
    column: int
    offset: int
    length: int
    adds: bool

    @property
    def assign(self) -> str:
        return "+=" if self.adds else "="


@dataclass(eq=False)
class Matrix:
    """Derivatives, row-major, in a C array of this name."""

    name: str
    rows: int
    columns: int


@dataclass(eq=False)
class Step:
    """A computing node: what its template prints as `l`."""

    node: Node
    symbol: str  # of its functions, without the prefix
    constants: str  # of its constants: those of the layer, which may be called several times
    views: tuple[tuple[Run, ...], ...]  # one for each input
    result: Array

    @property
    def op(self):
        return self.node.op

    @property
    def runs(self) -> tuple[Run, ...]:
        return tuple(run for view in self.views for run in view)

    @property
    def sources(self) -> list[Array]:
        return list(dict.fromkeys(run.array for run in self.runs))


# The statements of a Jacobian; `kind` is the macro that prints one.


@dataclass(frozen=True)
class Fill:
    """matrix[:, columns] = 0."""

    kind: ClassVar[str] = "fill"
    matrix: Matrix
    columns: range


@dataclass(frozen=True)
class Ones:
    """matrix[row + i, column + i] += 1 for i < length."""

    kind: ClassVar[str] = "ones"
    matrix: Matrix
    row: int
    column: int
    length: int


@dataclass(frozen=True)
class CopyRows:
    """matrix[row + i] = source[source_row + i] for i < length."""

    kind: ClassVar[str] = "copy_rows"
    matrix: Matrix
    row: int
    source: Matrix
    source_row: int
    length: int


@dataclass(frozen=True)
class Reverse:
    """From `seed`, derivatives with respect to the step's result, those with respect to its inputs.
    No seed: the result is the output, its derivatives are the identity."""

    kind: ClassVar[str] = "reverse"
    step: Step
    seed: Matrix | None
    rows: int
    targets: tuple[Target, ...]

    @property
    def macs(self) -> int:
        return self.step.op.macs(sum(t.length for t in self.targets), self.rows if self.seed else 0)

    @property
    def matrices(self) -> list[Matrix]:
        return list(dict.fromkeys(t.matrix for t in self.targets))


@dataclass(frozen=True)
class Source:
    """Elements offset … of what a node reads have their derivatives in the rows row … of `matrix`;
    without a matrix they are the chosen inputs row … themselves."""

    matrix: Matrix | None
    row: int
    offset: int
    length: int


@dataclass(frozen=True)
class Forward:
    """Derivatives of the step's result from those of its inputs."""

    kind: ClassVar[str] = "forward"
    step: Step
    sources: tuple[Source, ...]
    matrix: Matrix

    @property
    def macs(self) -> int:
        return self.step.op.macs(
            sum(s.length for s in self.sources if s.matrix), self.matrix.columns
        )

    @property
    def matrices(self) -> list[Matrix]:
        return list(dict.fromkeys(s.matrix for s in self.sources if s.matrix))


Statement = Fill | Ones | CopyRows | Reverse | Forward


@dataclass(eq=False)
class Jacobian:
    mode: str
    statements: list[Statement] = field(default_factory=list)
    matrices: list[Matrix] = field(default_factory=list)  # in use besides the result

    @property
    def macs(self) -> int:
        return sum(s.macs for s in self.statements if isinstance(s, Reverse | Forward))


@dataclass(eq=False)
class Plan:
    """`chosen` are the elements of x that are the Jacobian's columns, ascending."""

    graph: Graph
    x: Array
    steps: list[Step]
    output: tuple[Run, ...]
    chosen: tuple[int, ...]
    jacobian: Jacobian | None

    @property
    def output_size(self) -> int:
        return self.graph.output.size


def make_plan(graph: Graph, chosen: Sequence[int], symbols: dict[Node, str]) -> Plan:
    """Plan of `graph` with its Jacobian for the elements `chosen` of the flat input, if any.

    `symbols` gives each computing node a name that is fit for C and its own.
    """
    chosen = tuple(sorted(chosen))
    x = Array("x", graph.input_size, bool(chosen))
    places = _Places()
    in_x = places.add(x, np.isin(np.arange(x.size), chosen))
    numbers = dict(zip(graph.inputs, _split(in_x, graph.inputs), strict=True))
    steps: list[Step] = []
    by_constants: dict[int, str] = {}
    for node in graph.nodes:
        values = [numbers[t] for t in node.inputs]
        if isinstance(node.op, Rewire):
            numbers[node.output] = node.op.evaluate(*values)
            continue
        views = tuple(tuple(places.runs(v)) for v in values)
        active = any(places.any_active(v) for v in values)
        result = Array(f"h_{symbols[node]}", node.output.size, active)
        in_result = places.add(result, np.full(result.size, active))
        numbers[node.output] = in_result.reshape(node.output.shape)
        constants = by_constants.setdefault(id(node.op), symbols[node])
        steps.append(Step(node, symbols[node], constants, views, result))
    output = tuple(places.runs(numbers[graph.output]))
    plan = Plan(graph, x, steps, output, chosen, None)
    whole = output[0].array
    if len(output) == 1 and whole is not x and output[0].length == whole.size:
        whole.name = "y"  # the last step writes the result itself
    if chosen:
        plan.jacobian = min(_reverse(plan), _forward(plan), key=lambda jacobian: jacobian.macs)
    return plan


def _split(numbers: np.ndarray, tensors: Sequence[Tensor]) -> list[np.ndarray]:
    ends = np.cumsum([t.size for t in tensors])
    parts = np.split(numbers, ends[:-1])
    return [part.reshape(t.shape) for part, t in zip(parts, tensors, strict=True)]


class _Places:
    """Numbers every element of every array, so that rearranged elements can be found again."""

    def __init__(self) -> None:
        self._arrays: list[Array] = []
        self._firsts: list[int] = []
        self._active = np.zeros(0, bool)

    def add(self, array: Array, active: np.ndarray) -> np.ndarray:
        """Numbers of its elements; `active`: which of them depend on the chosen inputs."""
        first = self._active.size
        self._arrays.append(array)
        self._firsts.append(first)
        self._active = np.append(self._active, active)
        return np.arange(first, self._active.size)

    def any_active(self, numbers: np.ndarray) -> bool:
        return bool(self._active[numbers].any())

    def runs(self, numbers: np.ndarray) -> Iterator[Run]:
        flat = numbers.ravel()
        owners = np.searchsorted(self._firsts, flat, side="right") - 1
        for begin, end in _pieces((np.diff(flat) != 1) | (np.diff(owners) != 0), flat.size):
            owner = owners[begin]
            start = int(flat[begin]) - self._firsts[owner]
            yield Run(self._arrays[owner], start, begin, end - begin)


def _pieces(breaks: np.ndarray, size: int) -> Iterator[tuple[int, int]]:
    """(begin, end) of the pieces of 0 … size that are cut after each i where breaks[i]."""
    cuts = [0, *(np.flatnonzero(breaks) + 1).tolist(), size]
    yield from pairwise(cuts)


def _chosen_parts(run: Run, chosen: tuple[int, ...]) -> Iterator[tuple[int, int, int]]:
    """(column, offset, length) of the parts of a run of x that are chosen, columns consecutive."""
    columns = np.array(
        [c for c, e in enumerate(chosen) if run.start <= e < run.start + run.length], dtype=np.int64
    )
    elements = np.array(chosen, dtype=np.int64)[columns]
    for begin, end in _pieces(np.diff(elements) != 1, len(columns)) if len(columns) else ():
        yield int(columns[begin]), int(elements[begin]) - run.start + run.offset, end - begin


def _reverse(plan: Plan) -> Jacobian:
    """Walk back from the output. Ones that arrive at an array wait until all else has."""
    jacobian = Jacobian("reverse")
    result = Matrix("jacobian", plan.output_size, len(plan.chosen))
    matrices = {plan.x: result}
    written: dict[Array, np.ndarray] = {plan.x: np.zeros(result.columns, bool)}
    ones: dict[Array, list[tuple[int, int, int]]] = defaultdict(list)  # (row, column, length)

    def parts(run: Run) -> Iterator[tuple[int, int, int]]:
        """(column, offset, length) of the derivatives that a run asks for."""
        if run.array is plan.x:
            yield from _chosen_parts(run, plan.chosen)
        elif run.array.active:
            yield run.start, run.offset, run.length

    def pass_ones(view: Sequence[Run], row: int, offset: int, length: int) -> None:
        """Row `row` … of the output are elements offset … of a view."""
        for run in view:
            for column, begin, count in parts(run):
                low, high = max(begin, offset), min(begin + count, offset + length)
                if low < high:
                    ones[run.array].append((row + low - offset, column + low - begin, high - low))

    def complete(array: Array) -> None:
        matrix, done = matrices[array], written[array]
        for begin, end in _pieces(np.diff(done) != 0, matrix.columns):
            if not done[begin]:
                jacobian.statements.append(Fill(matrix, range(begin, end)))
        for row, column, length in ones[array]:
            jacobian.statements.append(Ones(matrix, row, column, length))

    def targets(step: Step) -> Iterator[Target]:
        for run in step.runs:
            for column, offset, length in parts(run):
                array = run.array
                if array not in matrices:
                    matrices[array] = Matrix(f"d_{array.name}", plan.output_size, array.size)
                    written[array] = np.zeros(array.size, bool)
                    jacobian.matrices.append(matrices[array])
                done = written[array][column : column + length]
                for begin, end in _pieces(np.diff(done) != 0, length):
                    place = matrices[array], column + begin, offset + begin, end - begin
                    yield Target(*place, bool(done[begin]))
                done[:] = True

    pass_ones(plan.output, 0, 0, plan.output_size)
    for step in reversed(plan.steps):
        array = step.result
        if not array.active or (array not in matrices and not ones[array]):
            continue
        if array not in matrices:
            if step.op.passes_derivatives:
                for row, column, length in ones[array]:
                    for view in step.views:
                        pass_ones(view, row, column, length)
                continue
            whole = ones[array] == [(0, 0, array.size)] and array.size == plan.output_size
            if whole and step.op.takes_identity:
                jacobian.statements.append(
                    Reverse(step, None, plan.output_size, tuple(targets(step)))
                )
                continue
            matrices[array] = Matrix(f"d_{array.name}", plan.output_size, array.size)
            written[array] = np.zeros(array.size, bool)
            jacobian.matrices.append(matrices[array])
        complete(array)
        jacobian.statements.append(
            Reverse(step, matrices[array], plan.output_size, tuple(targets(step)))
        )
    complete(plan.x)
    return jacobian


def _forward(plan: Plan) -> Jacobian:
    """Walk from the input to the output."""
    jacobian = Jacobian("forward")
    columns = len(plan.chosen)
    result = Matrix("jacobian", plan.output_size, columns)
    matrices: dict[Array, Matrix] = {}

    def sources(runs: Sequence[Run]) -> Iterator[Source]:
        for run in runs:
            if run.array is plan.x:
                for column, offset, length in _chosen_parts(run, plan.chosen):
                    yield Source(None, column, offset, length)
            elif run.array.active:
                yield Source(matrices[run.array], run.start, run.offset, run.length)

    for step in plan.steps:
        if step.result.active:
            if step.result.name == "y":
                matrix = result
            else:
                matrix = Matrix(f"d_{step.result.name}", step.result.size, columns)
                jacobian.matrices.append(matrix)
            matrices[step.result] = matrix
            jacobian.statements.append(Forward(step, tuple(sources(step.runs)), matrix))
    if result not in matrices.values():
        jacobian.statements.append(Fill(result, range(columns)))
        for source in sources(plan.output):
            if source.matrix is None:
                jacobian.statements.append(Ones(result, source.offset, source.row, source.length))
            else:
                jacobian.statements.append(
                    CopyRows(result, source.offset, source.matrix, source.row, source.length)
                )
    return jacobian
