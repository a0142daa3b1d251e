"""Data that a model file keeps in other files: only of its own folder, and no more than is asked.

The names come from the file, and so are read as an attacker's: a path that leads elsewhere, by
dots, by a root or by a link, is refused before anything is opened.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from nn4mc_codegen.graph.check import ModelError

Part = tuple[str, int, int | None]
"""Location, first byte, number of bytes (None: to the end)"""
MAX_FILES = 1 << 12


def read_external(model: Path, parts: Sequence[Part], max_bytes: int) -> dict[Part, bytes]:
    """The bytes of each part. Raises `ModelError`, one line that begins with the model's name."""
    found: dict[Part, bytes] = {}
    total = 0
    for part in parts:
        location, offset, length = part
        try:
            found[part] = _read(model.parent, location, offset, length, max_bytes - total)
        except _Refused as reason:
            text = f"{model.name}: external data '{location[:80]}' {reason}"
            raise ModelError(f"{text}; export the model into one file") from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            text = f"{model.name}: external data '{location[:80]}' cannot be read ({reason})"
            raise ModelError(f"{text}; keep it in the model's folder") from None
        total += len(found[part])
    return found


class _Refused(Exception):
    pass


def _read(folder: Path, location: str, offset: int, length: int | None, left: int) -> bytes:
    if not location or "\0" in location or "\\" in location or ":" in location:
        raise _Refused("has no plain name")
    root = folder.resolve()
    path = (root / location).resolve()
    if Path(location).is_absolute() or ".." in Path(location).parts or root not in path.parents:
        raise _Refused("lies outside of the model's folder")
    if offset < 0 or (length is not None and length < 0):
        raise _Refused(f"begins at {offset} and has {length} bytes")
    # Neither a link that has just been put there nor a pipe that never ends.
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    with os.fdopen(os.open(path, flags), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise _Refused("is no file")
        wanted = max(status.st_size - offset, 0) if length is None else length
        if wanted > left:
            raise _Refused("is too large; no microcontroller holds it")
        if offset + wanted > status.st_size:
            raise _Refused(f"has {status.st_size} bytes, fewer than the model says")
        file.seek(offset)
        return file.read(wanted)
