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


def write_whole(path: Path, text: str) -> None:
    """Writes a file in UTF-8 all at once; its folder is made where it is missing. What was there
    stays where that fails, as on a full disk. Raises OSError, which names the file."""
    path = Path(os.path.realpath(path))  # a link stays one
    path.parent.mkdir(parents=True, exist_ok=True)
    to_replace = path.is_file() or not path.exists()  # no device, such as /dev/stdout
    beside = path.with_name(f".{path.name}.new") if to_replace else path
    try:
        if to_replace:
            beside.unlink(missing_ok=True)
        # Never through a link that somebody else has put there meanwhile.
        with open(beside, "x" if to_replace else "w", encoding="utf-8") as file:
            file.write(text)
        if to_replace:
            os.replace(beside, path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        if to_replace:
            beside.unlink(missing_ok=True)
