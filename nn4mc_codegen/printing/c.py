"""Pieces of C text: names and numbers made safe, index expressions, loops; the Jinja set-up.

Text of a model file or of the command line enters generated text through one of three functions, or
not at all: `c_comment` into a comment, `c_string` into a string literal, `plain_line` into a line
of a format without escapes, as library.properties. Names of C things are not escaped but chosen:
`options.Options` takes nothing but an identifier, `lower.unique` makes identifiers of layer names.
"""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from typing import NamedTuple

import jinja2
import numpy as np

from nn4mc_codegen.graph.check import ModelError, printable

TEMPLATES = Path(__file__).parent / "templates"


@cache
def template_environment(folder: Path = TEMPLATES, html: bool = False) -> jinja2.Environment:
    """Renders the templates of `folder`: the one set-up of Jinja for everything that is generated.

    It is made once for a folder and keeps the templates that it has read: to read those of a
    network takes half a second. A name that is not given is an error, and a line that holds a tag
    alone prints nothing. `html` escapes every value for HTML; without it a value is printed as it
    is, so that text which the project did not write itself needs the filter of the place where it
    goes:

        comment     into a comment of C, C++, CMake or Make
        c_string    as a whole string literal, quotes included
        plain_line  as one line of plain text
        c, c_array  a float32 and an array of them, as literals
        packed      short statements, as many to a line as fit
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        undefined=jinja2.StrictUndefined,
        autoescape=html,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "c": c_float,
        "c_array": c_array,
        "c_string": c_string,
        "comment": c_comment,
        "packed": packed,
        "plain_line": plain_line,
    }
    environment.globals |= {"index": index}
    return environment


def c_float(value: float) -> str:
    """A float32 as a C literal that reads back as the same float32; INFINITY is that of math.h.

    Raises `ModelError` for what is no float32: NaN, and finite values beyond its range.
    """
    with np.errstate(over="ignore"):
        text = f"{np.float32(value):.9g}"
    if text in ("inf", "-inf") and math.isinf(value):
        return text.replace("inf", "INFINITY")
    if "n" in text:
        raise ModelError(f"{value} is not a number that a float32 can hold")
    return text + ("f" if any(c in text for c in ".e") else ".0f")


def c_array(values: np.ndarray) -> str:
    literals = [c_float(v) for v in values.ravel()]
    lines = [", ".join(literals[i : i + 8]) for i in range(0, len(literals), 8)]
    return "{\n    " + ",\n    ".join(lines) + "}"


def plain_line(text: str) -> str:
    """Text as one line: what is no printable character becomes a question mark.

    Not printable are control characters, all kinds of line ends, halves of surrogate pairs (what
    Python makes of bytes in a file name that are no UTF-8) and the marks that turn the direction of
    writing, by which code can look other than it is.
    """
    return printable(text)


def c_comment(text: str) -> str:
    """Text as part of one line of a comment, which it can neither end nor continue.

    A backslash at the end of a line, also where it is written as the trigraph ??/, makes the next
    line part of a // or # comment; a comment inside a comment is a warning.
    """
    text = plain_line(text).replace("\\", "/")
    for end in ("*/", "/*", "??"):
        while end in text:  # again, because replacing in ??? leaves a ?? over
            text = text.replace(end, f"{end[0]} {end[1]}")
    return text


def c_string(text: str) -> str:
    """Text as a C string literal, with its quotes, whose value are the text's bytes in UTF-8.

    A question mark is escaped because of trigraphs; octal escapes end after three digits, where
    hexadecimal ones would swallow digits that follow.
    """
    plain = set(range(0x20, 0x7F)) - set(b'"\\?')
    content = text.encode("utf-8", "surrogateescape")
    return '"' + "".join(chr(b) if b in plain else f"\\{b:03o}" for b in content) + '"'


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


def moved(pointer: str, at: str) -> str:
    """A pointer moved on by an index expression, which is left out where it is 0."""
    return pointer if at == "0" else f"{pointer} + {at}"


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
