"""Text that may hold anything, and what is wrong with values, as one plain line for a person."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping

from pydantic import ValidationError

LENGTH_MAX = 300
"""A file name of 255 characters and the folder before it still fit."""

WORDS = {
    "extra_forbidden": "no such setting; docs/reference/ lists all",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "dict_type": "must be `name: value` lines",
    "model_type": "must be `name: value` lines",
    "string_type": "must be text; in quotes where it looks like a number or like yes and no",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
}
"""What pydantic calls wrong, for people who know neither Python nor pydantic."""


def printable(text: object, length_max: int = LENGTH_MAX) -> str:
    """`text` as one line that shows what it says and does nothing else.

    What Python calls not printable (controls, line ends, escape sequences, marks that change the
    direction of writing, lone surrogates) is spelled as in a string literal, and so is a byte of a
    file name that is no UTF-8. The middle of what is too long is cut out.

    >>> printable("a\\nb\\x1b[2J")
    'a\\\\nb\\\\x1b[2J'
    """
    shown = "".join(c if c.isprintable() else spelled(c) for c in str(text))
    if len(shown) <= length_max:
        return shown
    half = (length_max - 1) // 2
    return f"{shown[:half]}…{shown[-half:]}"


def spelled(character: str) -> str:
    """A character as in a string literal."""
    if "\udc80" <= character <= "\udcff":  # os.fsdecode's way to keep a byte that is no UTF-8
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


def one_line(text: str) -> str:
    """A message of several lines as one."""
    return printable(" ".join(text.split()))


def first_fault(
    error: ValidationError, named: Mapping[str, str] | None = None, otherwise: str = ""
) -> str:
    """The first thing wrong with a model's values: `field = value: what is wrong with it`.

    `named` says what the user calls a field; the other ones are called as in the model, behind
    `otherwise`.
    """
    faults = error.errors()
    # A setting that is not known is what the missing one was meant by: output_wait, output_weight.
    first = next((one for one in faults if one["type"] == "extra_forbidden"), faults[0])
    said = one_line(WORDS.get(first["type"], first["msg"].removeprefix("Value error, ")))
    field = ".".join(map(str, first["loc"]))
    name = printable((named or {}).get(field, f"{otherwise}{field}"))
    if not field:
        return f"{otherwise}{said}"
    if first["type"] == "missing":
        return f"{name}: missing"
    if first["type"] == "value_error" and isinstance(first["input"], Mapping):
        return f"{name}: {said}"  # of a whole group of fields, and says itself which
    value = printable(reprlib.repr(first["input"]), 80)
    return f"{name} = {value}: {said}" if name else f"{value}: {said}"
