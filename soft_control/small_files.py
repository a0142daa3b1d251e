"""Files that people write, or one run leaves for another: cards, records, settings; none large."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

MOST = 1 << 26
"""Bytes: the card of the largest robot has some hundred thousand."""


def read_small(path: Path) -> bytes:
    """What is in a file. Raises OSError, also for one that is larger than any such file is, and for
    what is none: a pipe would keep us waiting, a device never ends."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if stat.S_ISDIR(found.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "it is no file", str(path))
        if found.st_size > MOST:
            raise OSError(errno.EFBIG, f"larger than {MOST >> 20} MiB: no such file is", str(path))
        return file.read(MOST)


def read_small_text(path: Path) -> str:
    """The same, of text in UTF-8. Raises UnicodeDecodeError, too."""
    return read_small(path).decode("utf-8")
