"""Processes of a run, seen from outside: who is there, and what can be done to them."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

NODES = b"soft_control.nodes."


def softctl(*arguments: object) -> subprocess.Popen:
    """`softctl …` in a session of its own, what it says in one stream."""
    return subprocess.Popen(
        [sys.executable, "-m", "soft_control.cli", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def descendants(pid: int) -> dict[str, int]:
    """Name -> pid of all processes below `pid`; nodes by their module's name."""
    found: dict[int, tuple[int, str]] = {}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            words = (process / "cmdline").read_bytes().replace(b"\0", b" ").split() or [b""]
            name = next((word for word in words if word.startswith(NODES)), None)
            program = Path(os.fsdecode(words[0])).name
            found[int(process.name)] = parent, name[len(NODES) :].decode() if name else program
    below = {pid}
    while more := {one for one, (parent, _) in found.items() if parent in below} - below:
        below |= more
    return {found[one][1]: one for one in below if one in found and one != pid}


def is_there(pid: int) -> bool:
    """Whether a process lives; one that nobody has waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def left_behind(pids: list[int], patience_s: float) -> list[int]:
    """Those that are still there after so long."""
    deadline = time.monotonic() + patience_s
    while (left := [pid for pid in pids if is_there(pid)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left
