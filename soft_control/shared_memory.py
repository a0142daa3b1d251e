"""Clears shared memory of processes that were killed.

Fast DDS clears up in those alone that end by themselves. Of a port it counts the users in the
memory itself, so that one which was killed keeps the port for ever.
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import re
import time
from pathlib import Path

FOLDER = Path("/dev/shm")
NAME = re.compile(r"fast(?:dds|rtps)_(?:[0-9a-f]{16}|port[0-9]+)")
"""Of a segment or a port. A process that reads it holds a lock on a file that is called so, with
_el or _sl behind; who only writes to it holds none, but has it in its memory."""
SETTLED_S = 2.0
"""A younger file may be one that its process has not locked or mapped yet."""


def clear_shared_memory(folder: Path = FOLDER, but: int | None = None) -> None:
    """Removes what no process uses any more of this user's shared memory. `but` one, by its pid,
    that has left its graph: it keeps in its memory what it had of a process that was killed."""
    names = {match[0] for path in folder.glob("fast*") if (match := NAME.match(path.name))}
    if not names:
        return
    # A segment whose owner has let go of its lock can go: whoever has it in memory keeps that. A
    # port cannot, for who opens it next would not meet those who write to the old one.
    locked = {n for n in names if "port" not in n and (folder / f"{n}_el").exists()}
    for name in locked | (names - _in_use(folder, but)):
        with contextlib.suppress(OSError):  # another process clears up too
            files = list(filter(Path.exists, (folder / name, *folder.glob(f"{name}_[es]l"))))
            # Lock files are as old as what they are of, which is written to all the time.
            oldest_s = min((path.stat().st_mtime for path in files), default=math.inf)
            if time.time() - oldest_s > SETTLED_S and all(map(_is_left, files)):
                for path in (*files, folder / f"sem.{name}_mutex"):
                    path.unlink(missing_ok=True)


def remove_own_shared_memory(folder: Path = FOLDER) -> None:
    """Removes the segments of this process, of which it holds the locks: for one that ends without
    Fast DDS, which would do so. Its graph has been left by then."""
    for opened in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # the folder's own, which has been closed
            lock = opened.readlink()
            name = lock.name.removesuffix("_el")
            if lock.parent == folder and lock.name != name and NAME.fullmatch(name):
                if "port" not in name:  # it is of all who know its number
                    (folder / name).unlink(missing_ok=True)
                    lock.unlink(missing_ok=True)


def _in_use(folder: Path, but: int | None) -> set[str]:
    """What is in the memory of a process, by its name (Linux, proc(5))."""
    mapped = re.compile(re.escape(f"{folder}/") + f"({NAME.pattern})$", re.M)
    found: set[str] = set()
    for maps in Path("/proc").glob("[0-9]*/maps"):
        if maps.parent.name == str(but):
            continue
        with contextlib.suppress(OSError):  # it has ended, or is another user's
            found |= set(mapped.findall(maps.read_text(errors="replace")))
    return found


def _is_left(path: Path) -> bool:
    """Whether a file is our own, and nobody holds its lock."""
    if path.stat().st_uid != os.geteuid():
        return False
    opened = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(opened)
    return True
