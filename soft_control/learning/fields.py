"""What cards and settings of this room share: checked text, and faults said in one line."""

from __future__ import annotations

import reprlib
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationError

NAME_LENGTH_MAX = 64
TEXT_LENGTH_MAX = 300
"""A file name of 255 characters and the folder before it, cut by `printable`, still fit."""


def printable(text: str, length_max: int = TEXT_LENGTH_MAX) -> str:
    """The text with control characters escaped and its middle cut out where it is too long."""
    escaped = "".join(
        c if c.isprintable() else c.encode("unicode_escape", "replace").decode() for c in text
    )
    if len(escaped) <= length_max:
        return escaped
    half = (length_max - 1) // 2
    return f"{escaped[:half]}…{escaped[-half:]}"


def _without_control_characters(text: str) -> str:
    """Names and sources go on into C, HTML and terminals: a line feed or an escape sequence has no
    business there. What else these need escaped is the business of whoever writes them."""
    if not text.isprintable():
        raise ValueError("holds a control character")
    return text


Name = Annotated[
    str,
    Field(min_length=1, max_length=NAME_LENGTH_MAX),
    AfterValidator(_without_control_characters),
]
"""Of a rig, command or signal."""

Text = Annotated[
    str, Field(max_length=TEXT_LENGTH_MAX), AfterValidator(_without_control_characters)
]
"""Where a recording came from."""


def first_fault(error: ValidationError) -> str:
    """The first thing wrong as one line: field = value: what is wrong with it."""
    first = error.errors()[0]
    said = printable(first["msg"].removeprefix("Value error, "))
    where = printable(".".join(map(str, first["loc"])))
    if not where:
        return said
    if first["type"] == "missing":
        return f"{where}: missing"
    return f"{where} = {printable(reprlib.repr(first['input']), 80)}: {said}"
