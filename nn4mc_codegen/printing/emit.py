"""From a graph to fk.h and fk.c: its functions scheduled, and printed by the templates.

The same model, name and options give the same bytes: no time, no path, nothing unordered.
"""

from __future__ import annotations

from collections.abc import Sequence

from nn4mc_codegen.graph.columns import Column, in_words, singles_of, sums_of
from nn4mc_codegen.graph.ir import Graph
from nn4mc_codegen.graph.options import Options
from nn4mc_codegen.printing.derivatives import NetworkFunctions
from nn4mc_codegen.printing.emitted import Emitted, Origin, common_fill, render_files
from nn4mc_codegen.printing.procedures import PrintedProcedure
from nn4mc_codegen.printing.source import Code

OFTEN = 2
"""Calls from which on a helper of size mode is not to be copied into each of them."""

# The parameters that each generated function reads, if it has them.
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


def emit(graph: Graph, options: Options, origin: Origin) -> Emitted:
    """C files of a graph. Raises `ModelError` for columns that are not there."""
    network = NetworkFunctions(graph, options)
    columns = network.columns
    code = Code(options, bool(graph.states))
    bodies = {
        name: PrintedProcedure(code, procedure, _given(name, options)).body
        for name, procedure in network.procedures.items()
    }
    if network.push:
        code.push_slopes = network.push.slopes
        slopes = PrintedProcedure(code, network.push.procedure, READS["step"])
        bodies["push_slopes"] = slopes.body
    fill = common_fill(graph, options, origin) | {
        "network": network,
        "columns": columns,
        "chosen": {kind: in_words(graph, singles_of(c)) for kind, c in columns.items()},
        "sums": _sum_lines(graph, columns["jacobian"]),
        "code": code,
        "bodies": bodies,
        "push_passes": network.push.passes(code) if network.push else [],
        "shared": _shared(code, bodies) if options.optimize == "size" else set(),
    }
    templates = {"h": "header.h.j2", "c": "source.c.j2"}
    return Emitted(
        texts=render_files(code.environment, options, templates, fill),
        macs=network.procedures["step"].macs,
        memory_bytes=4 * network.call_floats,
        columns=columns,
        jacobian_mode=network.jacobian_mode,
        procedures=network.procedures,
    )


def _shared(code: Code, bodies: dict[str, str]) -> set[str]:
    """The helpers that are called from so many places that one copy is smaller than GCC's own
    choice, which is to have one in each."""
    text = "".join([*bodies.values(), *code.kernel_texts])
    helpers = {"linear", "linear_across", *(f"{symbol}_all" for symbol in code.array_functions)}
    return {helper for helper in helpers if text.count(f"{code.name}_{helper}(") >= OFTEN}


def _given(function: str, options: Options) -> tuple[str, ...]:
    ranged = options.jacobian_range and function in ("jacobian", "jacobian_folded")
    return READS[function] + (("first", "past") if ranged else ())


def _sum_lines(graph: Graph, columns: Sequence[Column]) -> list[str]:
    """For each column that is a sum its number and elements: 4: x[0] + x[2]."""
    first = len(singles_of(columns))
    return [
        f"{first + k}: {' + '.join(in_words(graph, [e]) for e in elements)}"
        for k, elements in enumerate(sums_of(columns))
    ]
