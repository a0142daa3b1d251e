"""Shared memory of processes that were killed."""

from __future__ import annotations

import fcntl
import mmap
import os
from pathlib import Path

from soft_control.shared_memory import clear_shared_memory, remove_own_shared_memory

HASH = "0123456789abcdef"
READ, LEFT, WRITTEN = (f"fastdds_{name}" for name in (HASH, HASH[::-1], "port7417"))
YOUNG = f"fastdds_{'0' * 16}"


def test_what_nobody_uses_is_removed_and_nothing_else(tmp_path: Path):
    gone = [LEFT, f"{LEFT}_el", "fastdds_port7411", "fastdds_port7411_el", "fastdds_port7419"]
    gone += ["sem.fastdds_port7411_mutex", "fastrtps_port7413", "fastrtps_port7413_sl"]
    kept = [READ, f"{READ}_el", "fastdds_port7415", "fastdds_port7415_el", "fastdds_port7415_sl"]
    kept += ["sem.fastdds_port7415_mutex", "another", "another_el", "fastdds_x_el", WRITTEN]
    for name in gone + kept:
        (tmp_path / name).write_bytes(b"0")
        os.utime(tmp_path / name, (1.0, 1.0))
    (tmp_path / YOUNG).touch()
    (tmp_path / f"{YOUNG}_el").touch()
    with (
        open(tmp_path / f"{READ}_el") as own,
        open(tmp_path / "fastdds_port7415_sl") as shared,
        open(tmp_path / WRITTEN, "rb") as written,
        mmap.mmap(written.fileno(), 0, prot=mmap.PROT_READ),
    ):
        fcntl.flock(own, fcntl.LOCK_EX)
        fcntl.flock(shared, fcntl.LOCK_SH)
        clear_shared_memory(tmp_path)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {*kept, YOUNG, f"{YOUNG}_el"}


def test_a_process_removes_its_own_segments_alone(tmp_path: Path):
    names = [READ, f"{READ}_el", LEFT, f"{LEFT}_el", WRITTEN, f"{WRITTEN}_el", "fastdds_x_el"]
    for name in names:
        (tmp_path / name).touch()
    with (
        open(tmp_path / f"{READ}_el"),
        open(tmp_path / f"{WRITTEN}_el"),
        open(tmp_path / "fastdds_x_el"),
        open(tmp_path / LEFT),  # read, without its lock: it is somebody else's
    ):
        remove_own_shared_memory(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(names) - {READ, f"{READ}_el"}
