"""Small pieces of C text: literals, comments, index expressions, blocks of loops."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import jinja2
import numpy as np

from nn4mc_codegen.graph.check import printable

TEMPLATES = Path(__file__).parent / "templates"


def c_environment() -> jinja2.Environment:
    """Renders templates/. A name that is not given is an error; a tag's line prints nothing."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def c_float(value: float) -> str:
    """A float32 as a C literal that reads back as the same float32."""
    text = f"{np.float32(value):.9g}"
    return text + ("f" if any(c in text for c in ".en") else ".0f")


def c_array(values: np.ndarray) -> str:
    literals = [c_float(v) for v in values.ravel()]
    lines = [", ".join(literals[i : i + 8]) for i in range(0, len(literals), 8)]
    return "{\n    " + ",\n    ".join(lines) + "}"


def c_comment(text: str) -> str:
    """Text that can neither end a comment nor hide in one."""
    text = printable(text).replace("\\", "/").replace("??", "? ?")
    return text.replace("*/", "* /").replace("/*", "/ *")


def index(constant: int, *terms: tuple[int, str]) -> str:
    """constant + the sum of factor·variable, as short as it can be written.

    A variable may be an expression; one that is a number is added to the constant.
    """
    parts = []
    for factor, variable in terms:
        if variable.lstrip("-").isdigit():
            constant += factor * int(variable)
        elif factor == 1:
            parts.append(variable)
        elif factor:
            parts.append(f"{factor} * {variable}")
    if constant or not parts:
        parts.append(str(constant))
    return " + ".join(parts)


def indented(text: str) -> str:
    """Lines indented by the braces around them; at the end of a line only."""
    depth, lines = 0, []
    for line in text.splitlines():
        line = line.strip()
        if line.startswith("}"):
            depth -= 1
        lines.append("    " * depth + line if line else "")
        if line.endswith("{"):
            depth += 1
    return "\n".join(lines) + "\n"


def packed(text: str) -> str:
    """Short statements of one indentation, as many to a line as fit."""
    lines: list[str] = []
    for line in text.splitlines():
        if lines and len(lines[-1]) + len(line.strip()) < 110:
            lines[-1] += " " + line.strip()
        else:
            lines.append(line)
    return "\n".join(lines) + "\n"


class Tile(NamedTuple):
    """A loop from begin to end in blocks of `size`."""

    begin: int
    end: int
    size: int

    @property
    def single(self) -> bool:
        return self.begin + self.size == self.end

    def open(self, variable: str) -> str:
        """Its first line; a single block needs no loop."""
        head = f"for (int {variable} = {self.begin}; {variable} < {self.end}; "
        return head + (f"{variable}++) {{" if self.size == 1 else f"{variable} += {self.size}) {{")

    def at(self, variable: str) -> str:
        """The number of the block's first element."""
        return str(self.begin) if self.single else variable


def tiles(total: int, limit: int, even: bool = False) -> list[Tile]:
    """Loops that cover 0 … total in blocks of at most `limit`, of even size where asked.

    One loop where a block of more than half the limit divides the total, else two.
    """
    for size in range(min(limit, total), limit // 2, -1):
        if total % size == 0 and (size == total or not even or size % 2 == 0):
            return [Tile(0, total, size)]
    whole = total - total % limit
    pair = Tile(0, whole, limit), Tile(whole, total, total - whole)
    return [tile for tile in pair if tile.end > tile.begin]
