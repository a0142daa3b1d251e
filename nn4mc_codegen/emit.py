"""From a graph to fk.h and fk.c: the templates in templates/, filled from a `plan.Plan`.

The same model, name and options give the same bytes: no time, no path, nothing unordered.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jinja2
import numpy as np

from nn4mc_codegen.check import ModelError, printable
from nn4mc_codegen.ir import Graph, Rewire
from nn4mc_codegen.ops import ALL
from nn4mc_codegen.ops.activation import Activation
from nn4mc_codegen.plan import Array, Forward, Matrix, Plan, Reverse, make_plan


def emit(
    graph: Graph,
    name: str,
    chosen: Sequence[int] = (),
    *,
    model_file: str,
    model_hash: str,
    command: str,
) -> tuple[Plan, dict[str, str]]:
    """The plan, and the text of each file by its name.

    `chosen` are the elements of the flat x that are the Jacobian's columns.
    """
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
        raise ModelError(f"name '{name}' is no C identifier; use letters, digits and _")
    plan = make_plan(graph, chosen, _symbols(graph))
    fill = {
        "plan": plan,
        "name": name,
        "macro": name.upper(),
        "model_file": _comment(model_file),
        "model_hash": model_hash,
        "command": _comment(command),
        "table": [_comment(line) for line in layer_table(graph)],
        "inputs": input_macros(graph),
        "chosen": ", ".join(f"{r.start}..{r.stop - 1}" for r in ranges(plan.chosen)),
        "activation_list": _activations(plan),
    }
    environment = _environment()
    fill["templates"] = {
        op.kind: environment.get_template(f"{op.kind}.j2").module
        for op in ALL
        if not issubclass(op, Rewire)
    }
    return plan, {
        f"{name}.h": environment.get_template("header.h.j2").render(fill),
        f"{name}.c": environment.get_template("source.c.j2").render(fill),
    }


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
    """Each input's place in the flat x and the name of its macros."""
    names = _unique([t.name.upper() for t in graph.inputs])
    offset, found = 0, []
    for tensor, macro in zip(graph.inputs, names, strict=True):
        found.append({"name": tensor.name, "macro": macro, "offset": offset, "size": tensor.size})
        offset += tensor.size
    return found


def ranges(numbers: Sequence[int]) -> list[range]:
    """Ascending numbers as ranges without holes."""
    found: list[range] = []
    for number in numbers:
        if found and found[-1].stop == number:
            found[-1] = range(found[-1].start, number + 1)
        else:
            found.append(range(number, number + 1))
    return found


def unrolled(total: int, limit: int) -> int:
    """How many turns of a loop of `total` to write out: the largest divisor up to the limit."""
    return next(u for u in range(max(1, min(limit, total)), 0, -1) if total % u == 0)


class Tile(NamedTuple):
    """A loop from begin to end in blocks of `size`."""

    begin: int
    end: int
    size: int

    def open(self, index: str) -> str:
        """Its first line; a single block needs no loop."""
        if self.begin + self.size == self.end:
            return "{"
        return f"for (int {index} = {self.begin}; {index} < {self.end}; {index} += {self.size}) {{"

    def at(self, index: str, offset: int = 0, scale: int = 1) -> str:
        """scale times the number of the block's first element plus an offset."""
        if self.begin + self.size == self.end:
            return str(scale * (self.begin + offset))
        return _plus(index, offset) if scale == 1 else f"{scale} * {_plus(index, offset, '()')}"


def tiles(total: int, limit: int) -> list[Tile]:
    """Loops that cover 0 … total in blocks of at most `limit`.

    One loop where a block of more than half the limit divides the total, else two.
    """
    for size in range(min(limit, total), limit // 2, -1):
        if total % size == 0:
            return [Tile(0, total, size)]
    whole = total - total % limit
    pair = Tile(0, whole, limit), Tile(whole, total, total - whole)
    return [tile for tile in pair if tile.end > tile.begin]


def c_float(value: float) -> str:
    """A float32 as a C literal that reads back as the same float32."""
    text = f"{np.float32(value):.9g}"
    return text + ("f" if any(c in text for c in ".en") else ".0f")


def _c_array(values: np.ndarray) -> str:
    literals = [c_float(v) for v in values.ravel()]
    lines = [", ".join(literals[i : i + 8]) for i in range(0, len(literals), 8)]
    return "{\n    " + ",\n    ".join(lines) + "}"


def _plus(expression: str, offset: int, brackets: str = "") -> str:
    """expression + offset, in brackets where asked and needed."""
    if offset == 0:
        return expression
    text = f"{expression} + {offset}"
    return f"({text})" if brackets else text


def _sum(*terms: str) -> str:
    """The sum of expressions, without zeros."""
    return " + ".join(term for term in terms if term != "0") or "0"


def _packed(text: str) -> str:
    """Short statements of one indentation, as many to a line as fit."""
    lines: list[str] = []
    for line in text.splitlines():
        if lines and len(lines[-1]) + len(line.strip()) < 110:
            lines[-1] += " " + line.strip()
        else:
            lines.append(line)
    return "\n".join(lines) + "\n"


def _pointers(inputs: Sequence[Array | Matrix], declared: bool = True) -> str:
    return ", ".join(f"const float *{a.name}" if declared else a.name for a in inputs)


def _parameters(inputs: Sequence[Array | Matrix], results: Sequence[Matrix], declared: bool) -> str:
    """Parameters of a function, or the same as arguments of its call."""
    written = [f"float *{m.name}" if declared else m.name for m in results]
    return ", ".join(filter(None, [_pointers(inputs, declared), *written]))


def _reverse_parameters(s: Reverse, declared: bool = True) -> str:
    result = [s.step.result] if s.step.op.derivative_from_result else []
    return _parameters([*result, *([s.seed] if s.seed else [])], s.matrices, declared)


def _forward_parameters(s: Forward, declared: bool = True) -> str:
    result = [s.step.result] if s.step.op.derivative_from_result else []
    return _parameters([*result, *s.matrices], [s.matrix], declared)


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals |= {
        "tiles": tiles,
        "unrolled": unrolled,
        "sum": _sum,
        "pointers": _pointers,
        "reverse_parameters": _reverse_parameters,
        "forward_parameters": _forward_parameters,
    }
    environment.filters |= {
        "c": c_float,
        "c_array": _c_array,
        "plus": _plus,
        "comment": _comment,
        "packed": _packed,
    }
    return environment


def _activations(plan: Plan) -> list[Activation]:
    """Each activation in use, once, ordered by the name of its C function."""
    found = {}
    for step in plan.steps:
        f = step.op if isinstance(step.op, Activation) else getattr(step.op, "activation", None)
        if f is not None:
            found[f.symbol] = f
    return [found[symbol] for symbol in sorted(found)]


def _symbols(graph: Graph) -> dict:
    return dict(zip(graph.nodes, _unique([node.name for node in graph.nodes]), strict=True))


def _unique(names: Sequence[str]) -> list[str]:
    """Names fit to be parts of C names, no two alike."""
    found: list[str] = []
    for name in names:
        plain = re.sub(r"[^A-Za-z0-9_]", "_", name)
        unique, count = plain, 1
        while unique in found:
            count += 1
            unique = f"{plain}_{count}"
        found.append(unique)
    return found


def _comment(text: str) -> str:
    """Text that can neither end a comment nor hide in one."""
    text = printable(text).replace("\\", "/").replace("??", "? ?")
    return text.replace("*/", "* /").replace("/*", "/ *")


def _shape(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape)) or "1"
