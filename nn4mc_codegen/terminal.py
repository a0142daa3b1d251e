"""What a terminal cannot show is shown by plain characters, instead of ending in a traceback."""

from __future__ import annotations

import codecs
import sys

# Signs of the formulas and tables; of any other character that is missing a question mark is shown.
PLAIN = {
    "·": "*",
    "∘": "*",
    "×": "x",
    "…": "...",
    "²": "^2",
    "³": "^3",
    "±": "+-",
    "≤": "<=",
    "≥": ">=",
    "µ": "u",
    "°": " deg",
    "–": "-",
    "—": "-",
    "─": "-",
    "│": "|",
}


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(PLAIN.get(character, "?") for character in lacking), error.end


def plain_where_needed() -> None:
    """From here on whatever is printed can be printed, in any encoding of stdout and stderr."""
    codecs.register_error("plain", _plain)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="plain")
