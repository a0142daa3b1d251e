"""The ROS domains in which `softctl run` is at work on this machine (Linux, proc(5))."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

NAME = "soft_control/ros_domain/"
"""Before the number of a domain: the abstract socket that a run holds while it goes."""
SOCKETS = Path("/proc/net/unix")
LOCK = re.compile(rf"(\d+) @{NAME}(\d+)$", re.MULTILINE)
"""Inode and domain in a line of `SOCKETS`."""


def running(sockets: Path = SOCKETS) -> list[int]:
    """Domains of the runs that are under way, in order; none where the system does not say."""
    return sorted({domain for _, domain in _locks(sockets)})


def domain_of(pid: int) -> int | None:
    """The domain that a process holds, such as a `softctl run`; None: none yet, or it is gone."""
    holds = set()
    with contextlib.suppress(OSError):
        for file in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                holds.add(os.readlink(file))
    held = (domain for inode, domain in _locks(SOCKETS) if f"socket:[{inode}]" in holds)
    return next(held, None)


def _locks(sockets: Path) -> list[tuple[int, int]]:
    try:
        listed = sockets.read_text(errors="replace")
    except OSError:
        return []
    return [(int(inode), int(domain)) for inode, domain in LOCK.findall(listed)]
