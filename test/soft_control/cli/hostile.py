"""Names that no terminal should obey, and how to tell that it did not have to."""

from __future__ import annotations

from hypothesis import strategies as st

KNOWN = [
    "two\nlines",
    "carriage\rreturn",
    "\x1b[2J\x1b[31mcleared and red",
    "\x1b]0;title\x07",
    "\x9b31mC1",
    "[red]markup[/red]",
    "[/] [bold",
    ":smile:",
    "turned \u202e round",
    "zero\u200bwidth",
    "\u2028line separator",
    "tab\tand\x00nul",
    "byte \udcff",
    "{task.description} {0} %s $(shell)",
    "back\\slash",
    "",
]

names = st.one_of(
    st.sampled_from(KNOWN),
    st.text(max_size=40),
    st.text(st.sampled_from("\x1b[]{}/:\n\r\x07\x9b\u202e%\\ redbold0123456789;mJ"), max_size=40),
    st.binary(max_size=20).map(lambda b: b.decode("utf-8", "surrogateescape")),
)
"""Any text, and much of what terminals and markup act on."""


def harmless(printed: str) -> bool:
    """Whether `printed` is lines of characters that can be seen."""
    return all(character == "\n" or character.isprintable() for character in printed)
