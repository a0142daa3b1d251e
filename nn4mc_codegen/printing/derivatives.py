"""The functions of a network: its step, its derivatives, and both with inputs folded; scheduled."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nn4mc_codegen.graph.check import ModelError
from nn4mc_codegen.graph.columns import chosen_columns, elements_of, in_words, singles_of, sums_of
from nn4mc_codegen.graph.ir import Graph
from nn4mc_codegen.graph.lower import lower
from nn4mc_codegen.graph.options import COLUMN_OPTIONS, DERIVATIVES, Options
from nn4mc_codegen.printing.prune import prune
from nn4mc_codegen.printing.schedule import Procedure, schedule
from nn4mc_codegen.program import derive
from nn4mc_codegen.program.fold import fold
from nn4mc_codegen.program.instructions import ONE, ZERO, Elements, Linear
from nn4mc_codegen.program.program import Program

# Only a mode that is expected to take more than so many times the other one's multiply-accumulates
# is not tried: the estimate leaves out what zeros and ones save.
SURELY = 4
# Most entries of a Jacobian, 16 MiB of floats, and most elements of what is made on the way to it:
# each takes 8 bytes, and a few times that while it is scheduled.
MAX_ENTRIES = 1 << 22
MAX_ELEMENTS = 1 << 24


class NetworkFunctions:
    """The functions that `options` ask for; raises `ModelError` for columns that are not there."""

    def __init__(self, graph: Graph, options: Options):
        mode = options.optimize
        self.columns = {
            option: chosen_columns(graph, getattr(options, option), option)
            for option in COLUMN_OPTIONS
        }
        self.jacobian_mode: str | None = None
        """reverse or forward: whether the Jacobian's rows are made from the outputs back to the
        inputs, or its columns from the inputs on"""
        backwards = any((options.jacobian, options.vjp, options.hvp))
        by_unit = mode != "size" and backwards
        self.lowered = lower(graph, mode != "size", by_unit, self.columns["jacobian"])
        self._options = options
        results = self.lowered.results
        self.procedures = {"step": schedule(self.lowered.program, results, mode)}
        for kind in DERIVATIVES:
            if self.columns[kind]:
                self.procedures[kind] = self._derivative(kind, results)
        if self.columns["fold"]:
            self._fold(graph)

    @property
    def rows(self) -> dict[str, int]:
        """How many rows each derivative has."""
        return {kind: len(self.lowered.rows(c)) for kind, c in self.columns.items()}

    @property
    def memory_floats(self) -> int:
        """Most that one call keeps in arrays of its own."""
        return max(p.memory_size for p in self.procedures.values())

    @property
    def static_floats(self) -> int:
        """Size of the static array that those functions share which need more than the stack may
        hold; 0 if none does."""
        return self.memory_floats if 4 * self.memory_floats > self._options.stack_bytes else 0

    @property
    def folded(self) -> int:
        """Number of values that folded inputs contribute."""
        return sum(a.size for a in self.procedures["fold"].results)

    def _derivative(self, kind: str, results: dict[str, Elements]) -> Procedure:
        """The procedure of one kind of derivative of `results`."""
        p, columns, mode = self.lowered.program, self.columns[kind], self._options.optimize
        z = np.concatenate([self.lowered.x, self.lowered.state])
        wrt = z[list(singles_of(columns))]
        y = self.lowered.rows(columns, results)
        if kind == "jacobian":
            together = [z[list(elements)] for elements in sums_of(columns)]
            return self._jacobian(results, y, wrt, together)
        if kind == "jvp":
            t = p.input("t", wrt.size).elements
            return schedule(p, {"dy": derive.jvp(p, y, wrt, t[None])[0]}, mode)
        gradient = derive.vjp(p, y, p.input("v", y.size).elements[None], wrt)[0]
        if kind == "vjp":
            return schedule(p, {"g": gradient}, mode)
        t = p.input("t", wrt.size).elements
        return schedule(p, {"h": derive.jvp(p, gradient, wrt, t[None])[0]}, mode)

    def _jacobian(
        self, results: dict[str, Elements], y: Elements, wrt: Elements, together: list[Elements]
    ) -> Procedure:
        """The results and the Jacobian of y with respect to `wrt` and along the groups `together`,
        in the mode that takes fewer multiply-accumulates."""
        p = self.lowered.program
        tangents = wrt.size + len(together)
        if y.size * tangents > MAX_ENTRIES:
            raise ModelError(
                f"jacobian: {y.size} × {tangents} are {y.size * tangents} entries, of at most "
                f"{MAX_ENTRIES}; choose fewer columns, or vjp or jvp, which need no matrix"
            )
        makers = {
            "reverse": lambda: derive.vjp(p, y, derive.identity(y.size), wrt, together),
            "forward": lambda: _forward_jacobian(p, y, wrt, together),
        }
        macs, elements = _expected(p, y, np.concatenate([wrt, *together]), tangents)
        likely = [way for way in makers if macs[way] <= SURELY * min(macs.values())]
        likely = [way for way in likely if elements[way] <= MAX_ELEMENTS]
        if not likely:
            raise ModelError(
                f"jacobian: takes {min(elements.values())} intermediate values, of at most "
                f"{MAX_ELEMENTS}; choose fewer columns, or vjp or jvp"
            )
        ways = {way: makers[way]() for way in likely}

        def made_macs(way: str) -> int:
            # Columns of groups are left out of the comparison. Backwards they cost products, which
            # a call that wants a range of columns may skip; forwards they cost additions, which are
            # not counted at all.
            J = ways[way][:, : wrt.size] if wrt.size else ways[way]
            return sum(i.macs for i in prune(p, results | {"jacobian": J})[0].instructions)

        way = min(ways, key=made_macs)
        self.jacobian_mode = self.jacobian_mode or way
        ranged = "jacobian" if self._options.jacobian_range else None
        return schedule(p, results | {"jacobian": ways[way]}, self._options.optimize, ranged)

    def _fold(self, graph: Graph) -> None:
        """Add the procedures that do not read the folded inputs, and the one that does."""
        columns, mode = self.columns["fold"], self._options.optimize
        if max(columns) >= graph.input_size:
            raise ModelError("fold: a state changes with every step; fold inputs")
        both = sorted({*columns} & {*elements_of(self.columns["jacobian"])})
        if both:
            raise ModelError(
                f"fold: the Jacobian has columns of folded inputs, {in_words(graph, both)}; "
                "choose one or the other"
            )
        p = self.lowered.program
        folded = fold(p, self.lowered.x[list(columns)], self.lowered.results)
        self.procedures["fold"] = schedule(p, {"folded": folded.values}, mode)
        self.procedures["step_folded"] = schedule(p, folded.results, mode)
        if self.columns["jacobian"]:
            self.procedures["jacobian_folded"] = self._derivative("jacobian", folded.results)


def _expected(
    p: Program, y: Elements, moving: Elements, tangents: int
) -> tuple[dict[str, int], dict[str, int]]:
    """For either mode roughly the multiply-accumulates, and the elements of what is made on the
    way, of the Jacobian of y by so many tangents of the moving elements."""
    active = derive.dependent(p, moving)
    forward = reverse = values = 0
    for instruction in derive.needed_for(p, y):
        result = instruction.result.elements
        if not active[result].any():
            continue
        values += result.size
        if isinstance(instruction, Linear):
            # Identities cost nothing: the first product's tangents, the last one's adjoints.
            forward += instruction.macs * (not np.isin(instruction.x, moving).all())
            reverse += instruction.macs * (not np.isin(y, result).any())
            values += instruction.x.size
    macs = {"reverse": y.size * reverse, "forward": tangents * forward}
    return macs, {"reverse": y.size * values, "forward": tangents * values}


def _forward_jacobian(
    p: Program, y: Elements, wrt: Elements, together: Sequence[Elements]
) -> Elements:
    """The Jacobian (n, m + k) of y (n,) by the elements wrt (m,) and along k groups of elements, in
    forward mode.

    Every element of `wrt` has a tangent. A group whose elements all have one is the sum of their
    columns; any other group has a tangent of its own, which moves all its elements.
    """
    # The number of the tangent for an element, and for the elements of a group with its own.
    tangent_of: dict[int | tuple[int, ...], int] = {int(e): k for k, e in enumerate(wrt)}
    for group in together:
        if not np.isin(group, wrt).all():
            tangent_of[tuple(group)] = len(tangent_of)
    parts = [np.atleast_1d(part) for part in tangent_of]
    moving = np.unique(np.concatenate(parts))
    tangents = np.stack([np.isin(moving, part) for part in parts])
    jacobian = derive.jvp(p, y, moving, np.where(tangents, ONE, ZERO)).T
    columns = np.empty((y.size, len(wrt) + len(together)), np.int64)
    columns[:, : len(wrt)] = jacobian[:, : len(wrt)]
    by_length: dict[int, list[int]] = {}  # the columns of groups of so many elements
    for number, group in enumerate(together, len(wrt)):
        if tuple(group) in tangent_of:
            columns[:, number] = jacobian[:, tangent_of[tuple(group)]]
        else:
            by_length.setdefault(len(group), []).append(number)
    with p.layer("t_sums", "columns that belong together, added up"):
        for numbers in by_length.values():
            members = np.array([[tangent_of[e] for e in together[n - len(wrt)]] for n in numbers])
            columns[:, numbers] = p.add([jacobian[:, m] for m in members.T])
    return columns
