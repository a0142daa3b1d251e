"""From a graph to fk.h and fk.c: lowered, derived, scheduled, and printed by the templates.

The same model, name and options give the same bytes: no time, no path, nothing unordered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from nn4mc_codegen.graph.check import ModelError
from nn4mc_codegen.graph.columns import Column, chosen_columns, elements_of, singles_of, sums_of
from nn4mc_codegen.graph.ir import Graph
from nn4mc_codegen.graph.lower import Lowered, lower, unique
from nn4mc_codegen.graph.options import Options
from nn4mc_codegen.printing.procedures import PrintedProcedure
from nn4mc_codegen.printing.prune import prune
from nn4mc_codegen.printing.schedule import STACK_FLOATS, Procedure, schedule
from nn4mc_codegen.printing.source import Code
from nn4mc_codegen.program import derive
from nn4mc_codegen.program.expression import var
from nn4mc_codegen.program.fold import fold
from nn4mc_codegen.program.instructions import ONE, ZERO, Elements
from nn4mc_codegen.program.program import Program

# What each generated function is given.
READS = {
    "step": ("state", "x"),
    "jacobian": ("state", "x"),
    "vjp": ("state", "x", "v"),
    "jvp": ("state", "x", "t"),
    "hvp": ("state", "x", "v", "t"),
    "fold": ("x",),
    "step_folded": ("state", "folded", "x"),
    "jacobian_folded": ("state", "folded", "x"),
}


@dataclass(frozen=True)
class Origin:
    """Where a model comes from, for the header."""

    model_file: str
    model_hash: str
    command: str


@dataclass(eq=False)
class Emitted:
    """What was generated: the functions, and which way the Jacobian goes."""

    texts: dict[str, str]
    procedures: dict[str, Procedure]
    columns: dict[str, tuple[Column, ...]] = field(default_factory=dict)
    """for jacobian, vjp, jvp, hvp their columns, for fold the constant elements"""
    jacobian_mode: str | None = None

    @property
    def memory_bytes(self) -> int:
        """Most that one call keeps in arrays of its own."""
        return 4 * max(p.memory_size for p in self.procedures.values())

    @property
    def static_floats(self) -> int:
        """Size of the static array that functions share which need more than the stack may hold."""
        size = self.memory_bytes // 4
        return size if size > STACK_FLOATS else 0

    @property
    def macs(self) -> int:
        """Of one step."""
        return self.procedures["step"].macs

    @property
    def folded(self) -> int:
        """Elements of what is folded."""
        return sum(a.size for a in self.procedures["fold"].results)

    def macs_beyond_step(self, name: str) -> int:
        """Multiply-accumulates of a derivative, beyond those of the step it may contain."""
        if name not in self.procedures:
            return 0
        return self.procedures[name].macs - self.procedures["step"].macs


def emit(graph: Graph, options: Options, origin: Origin) -> Emitted:
    """C files of a graph. Raises `ModelError` for columns that are not there."""
    mode = options.optimize
    backwards = any((options.jacobian, options.vjp, options.hvp))
    columns = {
        kind: chosen_columns(graph, getattr(options, kind), kind)
        for kind in ("jacobian", "vjp", "jvp", "hvp", "fold")
    }
    by_unit = mode != "size" and backwards
    lowered = lower(graph, mode != "size", by_unit, columns["jacobian"])
    p = lowered.program
    emitted = Emitted({}, {"step": schedule(p, lowered.results, mode)}, columns)
    for kind in ("jacobian", "vjp", "jvp", "hvp"):
        if emitted.columns[kind]:
            _derive(kind, lowered, lowered.results, emitted, options)
    if emitted.columns["fold"]:
        _fold(graph, lowered, emitted, options)
    code = Code(options, bool(graph.states))
    bodies = {
        name: PrintedProcedure(code, procedure, _given(name, options)).body
        for name, procedure in emitted.procedures.items()
    }
    fill = {
        "name": options.name,
        "macro": options.name.upper(),
        "options": options,
        "graph": graph,
        "origin": origin,
        "table": layer_table(graph),
        "inputs": input_macros(graph),
        "emitted": emitted,
        "columns": columns,
        "chosen": {kind: _words(graph, singles_of(c)) for kind, c in columns.items()},
        "sums": _sum_lines(graph, columns["jacobian"]),
        "rows": {kind: len(lowered.rows(c)) for kind, c in columns.items()},
        "code": code,
        "c": code,
        "bodies": bodies,
    }
    for file_name, template in (("h", "header.h.j2"), ("c", "source.c.j2")):
        text = code.environment.get_template(template).render(fill)
        emitted.texts[f"{options.name}.{file_name}"] = text
    return emitted


def _given(function: str, options: Options) -> tuple[str, ...]:
    ranged = options.jacobian_range and function in ("jacobian", "jacobian_folded")
    return READS[function] + (("first", "past") if ranged else ())


def _derive(
    kind: str,
    lowered: Lowered,
    results: dict[str, Elements],
    emitted: Emitted,
    options: Options,
    suffix: str = "",
) -> None:
    """Add the procedure of one kind of derivative of `results`."""
    p, columns, mode = lowered.program, emitted.columns[kind], options.optimize
    z = np.concatenate([lowered.x, lowered.state])
    wrt = z[list(singles_of(columns))]
    y = lowered.rows(columns, results)
    procedures = emitted.procedures
    if kind == "jacobian":
        together = [z[list(elements)] for elements in sums_of(columns)]
        ways = {
            "reverse": derive.vjp(p, y, derive.identity(y.size), wrt, together),
            "forward": _forward(p, y, wrt, together),
        }
        ranged = "jacobian" if options.jacobian_range else None

        def macs(way: str) -> int:
            # Sums cost reverse mode products that skip with a range, and forward mode additions.
            J = ways[way][:, : wrt.size] if wrt.size else ways[way]
            return sum(i.macs for i in prune(p, results | {"jacobian": J})[0].instructions)

        way = min(ways, key=macs)
        procedures[kind + suffix] = schedule(p, results | {"jacobian": ways[way]}, mode, ranged)
        emitted.jacobian_mode = emitted.jacobian_mode or way
        return
    if kind == "jvp":
        t = p.input("t", wrt.size).elements
        procedures[kind] = schedule(p, {"dy": derive.jvp(p, y, wrt, t[None])[0]}, mode)
        return
    gradient = derive.vjp(p, y, p.input("v", y.size).elements[None], wrt)[0]
    if kind == "vjp":
        procedures[kind] = schedule(p, {"g": gradient}, mode)
    else:
        t = p.input("t", wrt.size).elements
        procedures[kind] = schedule(p, {"h": derive.jvp(p, gradient, wrt, t[None])[0]}, mode)


def _forward(p: Program, y: Elements, wrt: Elements, together: Sequence[Elements]) -> Elements:
    """The Jacobian (n, m + k) of y (n,) by the elements wrt (m,) and along k groups of elements.

    Groups of elements that all have a column are sums of these, others have tangents of their own.
    """
    known = {int(e): k for k, e in enumerate(wrt)}
    for group in together:
        if not np.isin(group, wrt).all():
            known[tuple(group)] = len(known)
    parts = [np.atleast_1d(part) for part in known]
    moving = np.unique(np.concatenate(parts))
    tangents = np.stack([np.isin(moving, part) for part in parts])
    jacobian = derive.jvp(p, y, moving, np.where(tangents, ONE, ZERO)).T
    columns = np.empty((y.size, len(wrt) + len(together)), np.int64)
    columns[:, : len(wrt)] = jacobian[:, : len(wrt)]
    lengths: dict[int, list[int]] = {}
    for number, group in enumerate(together, len(wrt)):
        if tuple(group) in known:
            columns[:, number] = jacobian[:, known[tuple(group)]]
        else:
            lengths.setdefault(len(group), []).append(number)
    with p.layer("t_sums", "columns that belong together, added up"):
        for length, numbers in lengths.items():
            members = np.array([[known[e] for e in together[n - len(wrt)]] for n in numbers])
            total = sum((var(k) for k in range(1, length)), start=var(0))
            columns[:, numbers] = p.map(total, *(jacobian[:, m] for m in members.T))
    return columns


def _fold(graph: Graph, lowered: Lowered, emitted: Emitted, options: Options) -> None:
    """Add the procedures that do not read the folded inputs, and the one that does."""
    columns, mode = emitted.columns["fold"], options.optimize
    if max(columns) >= graph.input_size:
        raise ModelError("fold: a state changes with every step; fold inputs")
    both = sorted({*columns} & {*elements_of(emitted.columns["jacobian"])})
    if both:
        raise ModelError(
            f"fold: the Jacobian has columns of folded inputs, {_words(graph, both)}; "
            "choose one or the other"
        )
    p = lowered.program
    folded = fold(p, lowered.x[list(columns)], lowered.results)
    emitted.procedures["fold"] = schedule(p, {"folded": folded.values}, mode)
    emitted.procedures["step_folded"] = schedule(p, folded.results, mode)
    if emitted.columns["jacobian"]:
        _derive("jacobian", lowered, folded.results, emitted, options, "_folded")


def layer_table(graph: Graph) -> list[str]:
    """Lines of a table: layer, output shape, parameters, MACs, formula."""
    rows = [("layer", "shape", "weights", "MACs", "formula")]
    rows += [(t.name, _shape(t.shape), "", "", "input") for t in graph.inputs]
    rows += [
        (
            node.name,
            _shape(node.output.shape),
            str(sum(c.size for c in node.op.constants.values())),
            str(node.macs),
            node.op.formula,
        )
        for node in graph.nodes
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    return [
        f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:>{widths[2]}}  {d:>{widths[3]}}  {e}"
        for a, b, c, d, e in rows
    ]


def input_macros(graph: Graph) -> list[dict]:
    """Each input's place in the flat x, each state's in the flat state, and their macros' names."""
    offset, places = 0, []
    for tensor in graph.inputs:
        places.append((tensor.name, offset, tensor.size))
        offset += tensor.size
    places += [(state.name, state.offset, state.size) for state in graph.states]
    # A sequential model's input has its first layer's name, and so may its state.
    inputs = [t.name for t in graph.inputs]
    names = [s.name if s.name not in inputs else f"{s.name}_state" for s in graph.states]
    macros = unique([name.upper() for name in (*inputs, *names)])
    return [
        {"name": name, "macro": macro, "offset": offset, "size": size}
        for (name, offset, size), macro in zip(places, macros, strict=True)
    ]


def _words(graph: Graph, columns: Sequence[int]) -> str:
    """Columns as ranges of elements: x[0..3], x[7], state[0..9]."""
    found: list[range] = []
    for number in columns:
        if found and found[-1].stop == number != graph.input_size:
            found[-1] = range(found[-1].start, number + 1)
        else:
            found.append(range(number, number + 1))
    words = []
    for r in found:
        name, first = ("x", 0) if r.start < graph.input_size else ("state", graph.input_size)
        begin, end = r.start - first, r.stop - 1 - first
        words.append(f"{name}[{begin}..{end}]" if end > begin else f"{name}[{begin}]")
    return ", ".join(words)


def _sum_lines(graph: Graph, columns: Sequence[Column]) -> list[str]:
    """For each column that is a sum its number and elements: 4: x[0] + x[2]."""
    first = len(singles_of(columns))
    return [
        f"{first + k}: {' + '.join(_words(graph, [e]) for e in elements)}"
        for k, elements in enumerate(sums_of(columns))
    ]


def _shape(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape)) or "1"
