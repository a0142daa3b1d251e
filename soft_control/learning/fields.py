"""Fields that the cards and settings of this room share: names and sources, checked."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from soft_control.plain_text import LENGTH_MAX

NAME_LENGTH_MAX = 64


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

Text = Annotated[str, Field(max_length=LENGTH_MAX), AfterValidator(_without_control_characters)]
"""Where a recording came from."""
