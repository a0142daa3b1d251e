"""NAME_push: a step, and how its results move along many directions at once.

The step is made as every function is, with one result more, the slopes; what multiplies them with
the weights and the tangents is printed here, from the passes of program/push.py. Tangents lie in
matrices with a row for each element and PUSH_STRIDE columns, worked in tiles of some rows and
`TILE` columns, so that the sums of a tile stay in the 32 float registers of a Cortex-M4F.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nn4mc_codegen.graph.check import ModelError
from nn4mc_codegen.graph.lower import Lowered
from nn4mc_codegen.printing.c import index, moved
from nn4mc_codegen.printing.schedule import Procedure, schedule
from nn4mc_codegen.printing.source import Code
from nn4mc_codegen.program.instructions import Elements
from nn4mc_codegen.program.push import Gate, Own, Pass, Plan

TILE = 4
"""Columns of a tile, and most of its rows."""


@dataclass(frozen=True)
class PrintedGate:
    weights: str
    """C expression of the first row's first weight"""
    step: int
    """from a weight to that of the next element of the source"""
    slope: str
    """C expression of the first row's slope"""


@dataclass(frozen=True)
class PrintedSource:
    gates: tuple[PrintedGate, ...]
    count: int
    place: int
    """of its sums of weights in the array of all sources'"""
    tangents: str
    """C expression of its first element's tangents"""
    kind: str
    """x: columns that are zero are left out; state: so are those not carried; dense"""
    first: int
    """of x, the number of its first element"""
    back: str
    """C expression of its first element's row on the way back"""


@dataclass(frozen=True)
class PrintedOwn:
    slope: str
    tangents: str
    carried: bool
    """whether only columns of directions that the state carries count"""
    input: int | None
    """the number of its first element where they are elements of x"""
    back: str
    """C expression of its first element's row on the way back"""


@dataclass(frozen=True)
class PrintedPass:
    label: str
    rows: int
    tile: int
    """rows of a tile"""
    sources: tuple[PrintedSource, ...]
    own: tuple[PrintedOwn, ...]
    out: str
    """C expression of the first row's tangents"""
    back: str
    """C expression of the first row on the way back"""

    @property
    def weights(self) -> int:
        """Floats that its sums of weights take."""
        return sum(s.count for s in self.sources) * self.tile

    @property
    def sums(self) -> list[tuple[int, int]]:
        """Rows and gates of the sums of weights that it needs."""
        return [(self.tile, len(s.gates)) for s in self.sources]

    @property
    def inputs(self) -> list[tuple[int, int]]:
        """First input and count of its sources that are inputs."""
        return [(s.first, s.count) for s in self.sources if s.kind == "x"]

    @property
    def multiplies_all(self) -> bool:
        """Whether there are sources of which nothing is left out."""
        return any(s.kind != "x" for s in self.sources)

    @property
    def starts_at_zero(self) -> bool:
        """Whether there are tiles to which nothing comes without products."""
        return not self.own or self.own[0].carried

    @property
    def more_own(self) -> bool:
        return len(self.own) > 1

    @property
    def reads_state(self) -> bool:
        return any(s.kind == "state" for s in self.sources) or any(o.carried for o in self.own)


class Push:
    """What the templates print of NAME_push. Raises `ModelError` where weights do not lie as the
    tiles read them."""

    def __init__(self, lowered: Lowered, directions: int, mode: str, stack_bytes: float):
        self._p = p = lowered.program
        self.directions = directions
        self._stack_bytes = stack_bytes
        self.stride = -(-directions // TILE) * TILE
        wanted = [lowered.y, lowered.new_state]
        self.outputs = len(lowered.y)
        self._sizes = {"dy": len(lowered.y), "dx": len(lowered.x), "dstate": len(lowered.state)}
        self._passes = Plan(p, wanted).passes
        self._places = self._lay(lowered)
        self._sizes |= {"dnext": len(lowered.new_state), "work": self.work_rows}
        slopes = self._gather()
        self.slopes = sum(a.size for a in slopes)
        results = lowered.results
        if slopes:
            results = results | {"slopes": np.concatenate(slopes)}
        self.procedure: Procedure = schedule(p, results, mode)

    # -------------------------------------------------------------- places

    def _lay(self, lowered: Lowered) -> dict[int, tuple[str, int]]:
        """Matrix and row of each stored element's tangents."""
        places = {int(e): ("dx", k) for k, e in enumerate(lowered.x)}
        places |= {int(e): ("dstate", k) for k, e in enumerate(lowered.state)}
        rows = {"dnext": lowered.new_state, "dy": lowered.y}
        taken = {name: np.zeros(len(elements), bool) for name, elements in rows.items()}
        self.work_rows = 0
        for made in self._passes:
            place = "work", self.work_rows
            for name, elements in rows.items():
                at = np.flatnonzero(elements == made.result[0])
                for first in at[:1].tolist():
                    part = slice(first, first + len(made.result))
                    if np.array_equal(elements[part], made.result) and place[0] == "work":
                        place = name, first
                        taken[name][part] = True
            if place[0] == "work":
                self.work_rows += len(made.result)
            for k, element in enumerate(made.result.tolist()):
                places[element] = place[0], place[1] + k
        self._copies = [
            (name, k, int(elements[k]))
            for name, elements in rows.items()
            for k in np.flatnonzero(~taken[name]).tolist()
        ]
        return places

    def _gather(self) -> list[Elements]:
        """All slopes, each once; where each begins is kept."""
        found: dict[bytes, Elements] = {}
        self._slope_at: dict[bytes, int] = {}
        for made in self._passes:
            terms = [g for s in made.sources for g in s.gates] + made.own
            for term in terms:
                key = term.slope.tobytes()
                if key not in found:
                    self._slope_at[key] = sum(a.size for a in found.values())
                    found[key] = term.slope
        return list(found.values())

    def _slope(self, slope: Elements) -> str:
        return moved("slopes", str(self._slope_at[slope.tobytes()]))

    def _rows(self, name: str, row: int) -> str:
        return moved(name, index(row * self.stride))

    # -------------------------------------------------------------- text

    def passes(self, code: Code) -> list[PrintedPass]:
        """The passes in C; the weights that they read are noted in `code`."""
        for _, group in self.groups if self.with_last else ():
            code.read_weights(group)
        return [self._printed(code, made) for made in self._passes]

    def copies(self) -> list[tuple[str, str | None]]:
        """Rows that are copied in the end, to and from; from nowhere, they are zero."""
        return [
            (self._rows(name, k), self._rows(*self._places[e]) if e in self._places else None)
            for name, k, e in self._copies
        ]

    def _printed(self, code: Code, made: Pass) -> PrintedPass:
        rows = len(made.result)
        tile = min(range(1, min(TILE, rows) + 1), key=lambda r: _cost(rows, r))
        code.read_weights(tile)
        code.read_operands(TILE)
        sources, place = [], 0
        for source in made.sources:
            for part in self._runs(source.elements):
                name, first = self._places[int(source.elements[part][0])]
                count = len(source.elements[part])
                gates = tuple(self._gate(code, made, g, part) for g in source.gates)
                kind = {"dx": "x", "dstate": "state"}.get(name, "dense")
                at = self._rows(name, first)
                back = self._back(name, first)
                sources.append(PrintedSource(gates, count, place, at, kind, first, back))
                place += count * tile
        own = tuple(self._own(o) for o in made.own)
        at = self._places[int(made.result[0])]
        out, back = self._rows(*at), self._back(*at)
        return PrintedPass(made.label, rows, tile, tuple(sources), own, out, back)

    def _runs(self, elements: Elements) -> list[slice]:
        """Parts of a source whose tangents lie row after row."""
        places = [self._places[e] for e in elements.tolist()]
        ends = [
            k
            for k in range(1, len(places) + 1)
            if k == len(places) or places[k] != (places[k - 1][0], places[k - 1][1] + 1)
        ]
        return [slice(a, b) for a, b in zip([0, *ends], ends, strict=False)]

    def _gate(self, code: Code, made: Pass, gate: Gate, part: slice) -> PrintedGate:
        W = gate.W[:, part]
        step = int(W[0, 1] - W[0, 0]) if W.shape[1] > 1 else 0
        array = next(a for a in self._p.arrays if a.first <= W[0, 0] < a.first + a.size)
        rows, columns = np.indices(W.shape)
        if array.data is None or not np.array_equal(W, W[0, 0] + rows + step * columns):
            raise ModelError(
                f"push: the weights of layer {made.label} do not lie unit after unit; "
                "use jacobian for this network"
            )
        weights = moved(code.floats(array), str(int(W[0, 0]) - array.first))
        return PrintedGate(weights, step, self._slope(gate.slope))

    def _own(self, own: Own) -> PrintedOwn:
        name, first = self._places[int(own.elements[0])]
        if any(self._places[e] != (name, first + k) for k, e in enumerate(own.elements.tolist())):
            raise ModelError(
                "push: a formula reads elements that lie apart; use jacobian for this network"
            )
        rows, back = self._rows(name, first), self._back(name, first)
        place = first if name == "dx" else None
        return PrintedOwn(self._slope(own.slope), rows, name == "dstate", place, back)

    # -------------------------------------------------------------- the way back

    @property
    def with_last(self) -> bool:
        """Whether there is NAME_push_last, which pays for fewer outputs than directions."""
        return self._sizes["dstate"] > 0 and self.outputs < self.directions

    @property
    def groups(self) -> list[tuple[int, int]]:
        """First and number of outputs that are worked together, at most `TILE`: 5 are 3 and 2."""
        parts = np.array_split(np.arange(self.outputs), -(-self.outputs // TILE))
        return [(int(p[0]), len(p)) for p in parts]

    def back_at(self, name: str, row: int) -> int:
        """Place of a row of tangents among the rows of the way back."""
        names = list(self._sizes)
        before = sum(self._sizes[n] for n in names[: names.index(name)])
        return (before + row) * self.outputs

    def _back(self, name: str, row: int) -> str:
        return f"back + {self.back_at(name, row)}"

    @property
    def back_floats(self) -> int:
        return sum(self._sizes.values()) * self.outputs

    def back_inputs(self, passes: Sequence[PrintedPass]) -> list[tuple[int, int]]:
        """First and count of inputs that the passes read, in products or without."""
        read = [one for made in passes for one in made.inputs]
        read += [(o.input, p.rows) for p in passes for o in p.own if o.input is not None]
        found: list[tuple[int, int]] = []
        for first, count in sorted(read):
            before, length = found.pop() if found else (first, 0)
            if first > before + length:
                found.append((before, length))
                before, length = first, 0
            found.append((before, max(length, first + count - before)))
        return found

    def back_copies(self) -> list[tuple[str, str]]:
        """Outputs that are other rows, which get what the outputs have: to and from."""
        return [
            (self._back(*self._places[e]), self._back(name, k))
            for name, k, e in self._copies
            if name == "dy" and e in self._places
        ]

    @property
    def macs(self) -> int:
        """Multiply-accumulates of a call, with all directions carried and all inputs moving."""
        sums = sum(
            g.W.size for made in self._passes for source in made.sources for g in source.gates
        )
        products = sum(len(m.result) * len(s.elements) for m in self._passes for s in m.sources)
        own = sum(len(made.result) for made in self._passes for _ in made.own)
        return self.procedure.macs + sums + (products + own) * self.stride

    @property
    def call_floats(self) -> int:
        """What a call keeps in arrays of its own: those of the step, slopes, sums of weights, the
        lists of inputs that move, and what it keeps static."""
        sums = max(
            (TILE * (sum(len(s.elements) for s in m.sources) + self.outputs) for m in self._passes),
            default=0,
        )
        moving = self.stride // TILE * (self._sizes["dx"] + 4) // 2  # of 16 bits
        back = self.back_floats if self.with_last else 0
        kept = self.static_floats + back
        return self.procedure.memory_size + self.slopes + sums + moving + kept

    @property
    def static_floats(self) -> int:
        """Of the static array that holds the tangents between layers; 0: there is none."""
        return self.work_rows * self.stride

    @property
    def stack_slopes(self) -> bool:
        return 4 * self.slopes <= self._stack_bytes


def _cost(rows: int, tile: int) -> float:
    """About how many cycles a source's element takes on all tiles: two for each product, one for
    each load, three for the loop."""
    return -(-rows // tile) * (2 * tile * TILE + tile + TILE + 3)
