"""Sockets of a process, as the system lists them (Linux, proc(5))."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path


def _inodes(pid: int | str) -> set[str]:
    links = []
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            links.append(str(fd.readlink()))
    return {link[8:-1] for link in links if link.startswith("socket:[")}


def bound_udp(pid: int | str) -> list[tuple[str, int]]:
    """Address and port of UDP sockets at ports that peers know: below the ephemeral ones."""
    inodes = _inodes(pid)
    rows = [line.split() for line in Path("/proc/net/udp").read_text().splitlines()[1:]]
    bound = [row[1].split(":") for row in rows if row[9] in inodes]
    found = [(".".join(str(b) for b in bytes.fromhex(a)[::-1]), int(p, 16)) for a, p in bound]
    return [(address, port) for address, port in found if 7400 <= port < 32768]
