"""The sensor board's ASCII line, one a sample, in both formats in use: `a,b,…` and `<a, b, …>`.

LightLace boards count from 0 up; magnetometer boards write the same line with signed counts.
"""

from __future__ import annotations

from collections.abc import Sequence

FORMATS = ("plain", "bracketed")


class LaceLineError(ValueError):
    """A line that is not a sample: torn, garbled, or of another number of channels."""


def format_line(counts: Sequence[int], line_format: str = "plain") -> bytes:
    """Counts of one sample as the sensor board writes them."""
    if line_format == "plain":
        return (",".join(map(str, counts)) + "\r\n").encode("ascii")
    if line_format == "bracketed":
        return ("<" + ", ".join(map(str, counts)) + ">\n").encode("ascii")
    raise ValueError(f"line format '{line_format}' is unknown; known are {', '.join(FORMATS)}")


def parse_line(line: bytes, channels: int, signed: bool = False) -> list[int]:
    """Counts of one line in either format.

    Raises LaceLineError for anything else, so that a torn line is never taken for a sample.
    """
    text = line.strip().decode("ascii", errors="replace")
    if text.startswith("<") != text.endswith(">"):
        raise LaceLineError(f"torn line {text!r}")
    fields = text.removeprefix("<").removesuffix(">").split(",")
    if len(fields) != channels:
        raise LaceLineError(f"{len(fields)} fields instead of {channels} in {text!r}")
    digits = [field.strip().removeprefix("-") if signed else field.strip() for field in fields]
    if not all(field.isdigit() for field in digits):
        raise LaceLineError(f"a field is not a count in {text!r}")
    return [int(field) for field in fields]
