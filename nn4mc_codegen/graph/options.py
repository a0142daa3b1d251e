"""What the user asks of the compiler, in one place; the same words as the command line's."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from nn4mc_codegen.graph.check import ModelError

Columns = str | int | Sequence[str | int | Sequence[int]] | None
"""Choice of columns: names separated by commas or in a sequence ("state" and "state:NAME" are
states), a number of leading elements of the flat input, "all" inputs, a sequence of element
numbers, or None. A tuple of element numbers in the sequence, or "0+6+12" among the words, is a
column of the Jacobian that is the sum of theirs: the derivative along these elements, which move as
one. Sums come after the single elements, in the order given."""

DERIVATIVES = ("jacobian", "vjp", "jvp", "hvp")
"""The options that ask for a derivative, each with its columns."""
COLUMN_OPTIONS = (*DERIVATIVES, "fold")
"""The options that choose columns."""

MAX_PUSH = 128
"""Most directions of `push`: 32 bits, each of four columns of tangents."""

# Headers that generated C includes: a file of that name beside it would be found in their place.
INCLUDED = ("arm_acle", "math", "stdint", "string")
CHOICES = {
    "optimize": ("speed", "balanced", "size"),
    "weights": ("flash", "ram"),
    "activations": ("auto", "stack", "static"),
    "dtype": ("float32", "int8"),
    "layout": ("plain", "cmake", "arduino", "single-file"),
}


@dataclass(frozen=True)
class Options:
    """Raises `ModelError` for a value that is none of the choices."""

    name: str = "fk"
    """prefix of every C name, and name of the files"""
    jacobian: Columns = None
    """columns of the Jacobian"""
    jacobian_range: bool = False
    """the Jacobian's functions get `int first, int past`: only these columns are wanted"""
    vjp: Columns = None
    """columns of the vector-Jacobian product g = J'·v"""
    jvp: Columns = None
    """columns of the Jacobian-vector product dy = J·t"""
    hvp: Columns = None
    """columns of the second-order product d/dz (v'·y) along t"""
    push: int = 0
    """most directions t of NAME_push, which gives J·t for all of them at once; 0: there is none"""
    fold: Columns = None
    """inputs that stay constant over many steps: what they contribute is computed once"""
    optimize: str = "balanced"
    """speed (straight-line), balanced (row-blocked) or size (loops)"""
    weights: str = "flash"
    """flash, or ram: copied there by the start-up code, where reading costs no wait states"""
    activations: str = "auto"
    """where the values between layers lie, which take turns in one array: on the stack, in a static
    array, which forbids overlapping calls, or as `stack_bytes` says"""
    dtype: str = "float32"
    representative: Path | str | None = None
    """file of inputs from which the ranges of an int8 network are taken"""
    layout: str = "plain"
    self_test: int = 0
    """number of inputs with expected outputs that the generated self-test holds"""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", self.name):
            raise ModelError(f"name '{self.name}' is no C identifier; use letters, digits and _")
        if self.name.lower() in INCLUDED:
            raise ModelError(f"name '{self.name}' is that of a header of C; choose another one")
        for option, choices in CHOICES.items():
            value = getattr(self, option)
            if value not in choices:
                raise ModelError(f"{option} '{value}' is unknown; use {', '.join(choices)}")
        if not 0 <= self.push <= MAX_PUSH:
            raise ModelError(f"push {self.push} is not within 0 and {MAX_PUSH} directions")
        if self.push and self.dtype == "int8":
            raise ModelError("push is of networks of floats; leave it out, or use dtype float32")
        if self.jacobian_range and self.jacobian is None:
            raise ModelError("jacobian_range is for a Jacobian; choose columns of it")

    @property
    def stack_bytes(self) -> float:
        """What a function keeps on the stack at most; more lies in one static array, which all
        functions share. auto is 4 KiB for float32, chosen, not measured; an int8 network lies on
        the stack."""
        auto = 4096 if self.dtype == "float32" else math.inf
        return {"auto": auto, "stack": math.inf, "static": 0}[self.activations]

    def command_line(self, model_file: str) -> str:
        """The command that compiles `model_file` with these options."""
        words = ["nn4mc", "compile", model_file, "--name", self.name]
        for field in fields(self)[1:]:
            value = getattr(self, field.name)
            if value == field.default:
                continue
            words.append("--" + field.name.replace("_", "-"))
            if isinstance(value, Path):
                words.append(value.name)
            elif isinstance(value, str | int):
                words += [str(value)] * (value is not True)
            else:
                sums = ("+".join(map(str, v)) if isinstance(v, tuple | list) else v for v in value)
                words.append(",".join(map(str, sums)))
        return " ".join(words)
