"""Does a long lockstep run grow? Memory, files and shared memory of each of its processes.

`make soak` makes the same run of 30 minutes of the rig's time twice: no process may grow after its
first fifth, nothing may be left in shared memory, and both runs must be the same, bit for bit.
Nothing here depends on how fast the machine is.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
from rich.console import Console

EVERY_S = 1.0
SETTLED = 0.2
"""Of a run, after which nothing may grow."""
GROWTH_MAX_MB = 3.0
"""Of resident memory, from there to the end, of medians over a tenth of the run: the allocator
gives memory back late, and in steps of up to a MB; what grows with each sample has by then grown
by 170,000 times as much."""
SHARED = "/dev/shm/fastdds"
"""What Fast DDS has of it."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--duration-s", type=float, default=1800.0)
    parser.add_argument("--target", default="pil")
    parser.add_argument("--wiring", default="mcu")
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("runs/soak"))
    given, options = parser.parse_known_args()
    shutil.rmtree(given.out, ignore_errors=True)
    console = Console(highlight=False)
    kept, results = True, []
    for number in range(given.runs):
        out = given.out / str(number)
        asked = ["--target", given.target, "--wiring", given.wiring, "--out", str(out)]
        command = ["run", *asked, "--duration-s", str(given.duration_s), *options]
        seen, used = watch([sys.executable, "-m", "soft_control.cli", *command])
        left = {path for path in used if Path(path).exists()}
        summary = json.loads((out / "summary.json").read_text())
        results.append(summary["commands_sha256"])
        console.print(
            f"run {number + 1}: {summary['samples']:,} samples, complete: {summary['complete']}, "
            f"RMSE {summary['rmse_mm']:.4f} mm, left in shared memory: {len(left)} files"
        )
        for path in sorted(left):
            console.print(f"  left: {path}")
        kept &= summary["complete"] and not left
        for name, rows in sorted(seen.items()):
            kept &= told(console, name, np.array(rows, dtype=float))
    same = len(set(results)) == 1
    console.print(f"both runs the same: {same}")
    console.print("kept" if kept and same else "NOT KEPT")
    sys.exit(0 if kept and same else 1)


def watch(command: list[str]) -> tuple[dict[str, list[tuple[float, int, int]]], set[str]]:
    """Name of a process -> resident MB, open files, files of shared memory, each second until the
    end; and all of the latter that there were."""
    seen: dict[str, list[tuple[float, int, int]]] = defaultdict(list)
    used: set[str] = set()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as run:
        while run.poll() is None:
            for pid in family(run.pid):
                try:
                    mapped = shared(pid)
                    seen[name_of(pid)].append((resident_mb(pid), files(pid), len(mapped)))
                    used |= mapped
                except OSError:
                    continue  # it has just ended
            time.sleep(EVERY_S)
    if run.returncode:
        sys.exit(f"the run failed with exit code {run.returncode}")
    return seen, used


def told(console: Console, name: str, rows: np.ndarray) -> bool:
    """Prints a process's growth, and says whether it kept within the limits."""
    span = max(1, len(rows) // 10)
    first = round(SETTLED * len(rows))
    if len(rows) < 2 * span + first:
        return True  # a helper of a moment
    start = np.median(rows[first : first + span], axis=0)
    end = np.median(rows[-2 * span : -span], axis=0)  # the last ones are of its end
    growth = end - start
    console.print(
        f"  {name:14} {start[0]:7.1f} MB {growth[0]:+6.2f}   files {start[1]:.0f} {growth[1]:+.0f}"
        f"   shared {start[2]:.0f} {growth[2]:+.0f}"
    )
    return bool(growth[0] <= GROWTH_MAX_MB and growth[1] <= 0 and growth[2] <= 0)


def family(pid: int) -> list[int]:
    """A process and all below it."""
    found, parents = [], {pid}
    rows = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            rows.append((int(entry.name), int(stat[1])))
    while parents:
        found += parents
        parents = {child for child, parent in rows if parent in parents} - set(found)
    return found


def name_of(pid: int) -> str:
    """Of a node, or of a program."""
    words = (Path("/proc") / str(pid) / "cmdline").read_bytes().split(b"\0")
    module = next((w for w in words if w.startswith(b"soft_control.")), words[0])
    return module.decode(errors="replace").rpartition("/")[2].removeprefix("soft_control.nodes.")


def resident_mb(pid: int) -> float:
    pages = int((Path("/proc") / str(pid) / "statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def files(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def shared(pid: int) -> set[str]:
    """Files in shared memory that a process has mapped."""
    rows = (Path("/proc") / str(pid) / "maps").read_text().splitlines()
    return {row[row.index(SHARED) :] for row in rows if SHARED in row and "(deleted)" not in row}


if __name__ == "__main__":
    main()
