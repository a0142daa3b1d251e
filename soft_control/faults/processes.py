"""Processes of a run, seen from outside: who is there, and what can be done to them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Mapping
from pathlib import Path

from soft_control.processes import die_with_parent

NODES = b"soft_control.nodes."
STARTED: weakref.WeakSet[subprocess.Popen] = weakref.WeakSet()
"""By `softctl` or `node`."""


def softctl(*arguments: object, **environment: str) -> subprocess.Popen:
    """`softctl …` in a session of its own, what it says in one stream."""
    return _started(["soft_control.cli", *map(str, arguments)], environment, subprocess.PIPE)


def node(
    name: str, namespace: str, parameters: Path, log: Path, **environment: str
) -> subprocess.Popen:
    """A node alone, as ROS starts it."""
    words = ["--ros-args", "-r", f"__ns:={namespace}", "--params-file", str(parameters)]
    with open(log, "w") as said:
        return _started([f"soft_control.nodes.{name}", *words], environment, said)


def _started(words: list[str], environment: Mapping[str, str], said: object) -> subprocess.Popen:
    """It ends with the thread that starts it, and hears Ctrl-C whoever has started that."""
    follow = die_with_parent(signal.SIGINT)

    def begin() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        follow()

    process = subprocess.Popen(
        [sys.executable, "-m", *words],
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        stdout=said,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=begin,
    )
    STARTED.add(process)
    return process


def kill_all() -> None:
    """All that were started and are still there; nodes go with their softctl."""
    for process in list(STARTED):
        process.kill()  # does nothing where it has ended


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
