"""What a compilation is told and what it gives, with what all generated headers say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import jinja2

from nn4mc_codegen.graph.columns import Column
from nn4mc_codegen.graph.ir import Graph
from nn4mc_codegen.graph.lower import unique
from nn4mc_codegen.graph.options import COLUMN_OPTIONS, Options
from nn4mc_codegen.printing.schedule import Procedure


@dataclass(frozen=True)
class Origin:
    """Where a model comes from, for the header."""

    model_file: str
    model_hash: str
    command: str


@dataclass(eq=False)
class Emitted:
    """The generated files, and what the functions in them cost."""

    texts: dict[str, str]
    """by file name"""
    macs: int
    """multiply-accumulates of one step"""
    memory_bytes: int
    """most that one call keeps in arrays of its own"""
    columns: dict[str, tuple[Column, ...]] = field(
        default_factory=lambda: dict.fromkeys(COLUMN_OPTIONS, ())
    )
    """for jacobian, vjp, jvp, hvp their columns, for fold the constant elements"""
    jacobian_mode: str | None = None
    """reverse or forward"""
    procedures: dict[str, Procedure] = field(default_factory=dict)
    """the functions of a network of floats"""

    def macs_beyond_step(self, name: str) -> int:
        """Multiply-accumulates of a derivative, beyond those of the step it may contain."""
        return self.procedures[name].macs - self.macs if name in self.procedures else 0


def render_files(
    environment: jinja2.Environment, options: Options, templates: dict[str, str], fill: dict
) -> dict[str, str]:
    """The C files NAME.h and NAME.c, from their templates by suffix."""
    return {
        f"{options.name}.{suffix}": environment.get_template(template).render(fill)
        for suffix, template in templates.items()
    }


def common_fill(graph: Graph, options: Options, origin: Origin) -> dict:
    """What the templates of every kind of network print."""
    return {
        "name": options.name,
        "macro": options.name.upper(),
        "options": options,
        "graph": graph,
        "origin": origin,
        "table": _layer_table(graph),
        "inputs": _input_macros(graph),
    }


def _layer_table(graph: Graph) -> list[str]:
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


def _input_macros(graph: Graph) -> list[dict]:
    """For each input its place in the flat x, for each state its place in the flat state, and the
    names of their macros."""
    offset, found = 0, []
    for tensor in graph.inputs:
        place = {"name": tensor.name, "offset": offset, "size": tensor.size, "tensor": tensor}
        found.append(place)
        offset += tensor.size
    found += [
        {"name": s.name, "offset": s.offset, "size": s.size, "scale": s.scale} for s in graph.states
    ]
    # A sequential model's input has its first layer's name, and so may its state.
    inputs = [t.name for t in graph.inputs]
    names = [s.name if s.name not in inputs else f"{s.name}_state" for s in graph.states]
    macros = unique([name.upper() for name in (*inputs, *names)])
    return [place | {"macro": macro} for place, macro in zip(found, macros, strict=True)]


def _shape(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape)) or "1"
