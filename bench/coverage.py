"""Which lines and branches of the firmware do its tests reach, on the host?

`make coverage` runs the tests of test/firmware with a compiler that counts (gcc --coverage, without
optimisation, so that a line is a line), adds up what gcov says of all builds that they make, and
writes docs/coverage.md. Exit code 1: a test failed, or fewer lines or branches are reached than
LEAST says. `--missing` lists what is not.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ROOT / "firmware" / "src"
PAGE = ROOT / "docs" / "coverage.md"
OF_BOARDS = "loop/main.c"
"""The program of a board; on the host boards/host/sil.c is in its place."""
LEAST = {"lines": 98.0, "branches": 97.0}
"""Percent, of all files together."""
TESTS = (
    *("loop", "wire", "solver", "supply", "instruments/test_twins.py"),
    *("test_large_robot.py", "test_recurrent_firmware.py"),
)
"""Of test/firmware: others look at the microcontroller's program, or bring the same code bytes of
chance, which reach nothing that these do not."""
HIDDEN = ("arm-none-eabi-", "qemu-")
"""Programs without which the tests do all that they can do on the host."""
COMPILER = """#!/bin/bash
# The firmware's sources are those of the checkout, wherever a build has copied them to, and what
# each call leaves for gcov has a folder of its own. Of other sources nothing is counted: one of
# them may have the name of one of the firmware's.
words=() flags=() own=() counts= links=yes
for word in "$@"; do
  case "$word" in
    src/*.c)
      cmp -s "$word" "$COVERAGE_ROOT/firmware/$word" || exec COMPILER "$@" # a copy that is changed
      word="$COVERAGE_ROOT/firmware/$word" counts=yes ;;
    */firmware/src/*.c) counts=yes ;;
    *.c) own+=("$word") ;;
    -c) links= ;;
  esac
  words+=("$word")
done
for word in "$@"; do
  case "$word" in *.o) counts="${counts:-$links}" ;; esac
done
[ -n "$counts" ] || exec COMPILER "$@"
kept=()
for word in "${words[@]}"; do
  case "$word" in
    -fsanitize*|-fno-sanitize*) continue ;; # whose checks would be branches
    -Isrc) word="-I$COVERAGE_ROOT/firmware/src" ;;
    -I*|-D*|-std=*|-f*) flags+=("$word") ;;
  esac
  kept+=("$word")
done
for source in "${own[@]}"; do
  object="$(mktemp "$COVERAGE_OBJECTS/XXXXXXXX.o")"
  COMPILER -O1 "${flags[@]}" -c "$source" -o "$object" || exit
  kept=("${kept[@]/#$source/$object}")
done
exec COMPILER "${kept[@]}" --coverage -O0 -dumpdir "$(mktemp -d "$COVERAGE_NOTES/XXXXXXXX")/"
"""
HEAD = """# What the firmware's tests reach

Lines and branches of firmware/src that the tests of test/firmware reach on the host, in all the
builds that they make: other robots, solvers, sizes. `make coverage` writes this page (gcc
--coverage, without optimisation) and fails below {lines:g} % of the lines or {branches:g} % of the
branches. A branch is one way out of a condition; each part of `a && b` has two. That takes the
tests of a room again, too long for `make test`: there, test/bench/test_coverage.py looks at this
page, that it has every file and keeps the limits, and at the script, that it counts.

| firmware/src/ | lines | reached, % | branches | reached, % |
|---|---|---|---|---|
"""
REST = """
## What is not reached

Lines, and how many of their branches where they have some; why stands beside them in the source:

"""


class Reached(NamedTuple):
    """How many of how many."""

    lines: int = 0
    lines_reached: int = 0
    branches: int = 0
    branches_reached: int = 0

    @classmethod
    def of(cls, parts: list[Reached]) -> Reached:
        return cls(*map(sum, zip(*parts, strict=True))) if parts else cls()

    def percent(self, what: str) -> float:
        """Of "lines" or "branches"; of nothing it is all."""
        total, reached = getattr(self, what), getattr(self, f"{what}_reached")
        return 100.0 * reached / total if total else 100.0


class Line:
    """One line in all builds. Settings decide at compile time how many branches it has: those of
    the builds with most of them count, or the same branch would be counted anew for each build."""

    def __init__(self) -> None:
        self.count = 0
        self._branches: dict[int, list[int]] = {0: []}

    def add(self, line: dict) -> None:
        """What gcov says of it in one build."""
        self.count += line["count"]
        counts = [branch["count"] for branch in line["branches"]]
        before = self._branches.get(len(counts), [0] * len(counts))
        self._branches[len(counts)] = [a + b for a, b in zip(before, counts, strict=True)]

    @property
    def branches(self) -> list[int]:
        """How often each was taken."""
        return self._branches[max(self._branches)]

    def reached(self) -> Reached:
        taken = sum(count > 0 for count in self.branches)
        return Reached(1, int(self.count > 0), len(self.branches), taken)


Lines = dict[str, dict[int, Line]]
"""File below firmware/src -> number of a line with code -> line."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tests", nargs="*", type=Path, help="instead of TESTS")
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--missing", action="store_true", help="list what is not reached")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        notes = Path(folder) / "notes"
        notes.mkdir()
        failed = run_tests(given.tests, Path(folder), notes)
        lines = gathered(notes)
    found = {name: Reached.of([one.reached() for one in of.values()]) for name, of in lines.items()}
    given.page.write_text(page(found, lines))
    if given.missing:
        print(*missing(lines), sep="\n")
    total = Reached.of(list(found.values()))
    print(*(f"{what}: {total.percent(what):.1f} %" for what in LEAST), sep=", ")
    problems = ["a test failed"] * failed + shortfalls(lines)
    for problem in problems:
        print(problem, file=sys.stderr)
    sys.exit(1 if problems else 0)


def run_tests(tests: list[Path], folder: Path, notes: Path) -> bool:
    """Returns whether one failed."""
    tools = folder / "tools"
    tools.mkdir()
    for program in Path("/usr/bin").iterdir():
        if not program.name.startswith(HIDDEN):
            (tools / program.name).symlink_to(program)
    for name in ("gcc", "cc"):
        (tools / name).unlink()
        (tools / name).write_text(COMPILER.replace("COMPILER", f"/usr/bin/{name}"))
        (tools / name).chmod(0o755)
    objects = folder / "objects"
    objects.mkdir()
    changed = {"COVERAGE_ROOT": str(ROOT), "COVERAGE_NOTES": str(notes), "PATH": str(tools)}
    changed["COVERAGE_OBJECTS"] = str(objects)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--durations=15"]
    command += map(str, tests or [ROOT / "test" / "firmware" / name for name in TESTS])
    return subprocess.run(command, cwd=ROOT, env=os.environ | changed).returncode != 0


def gathered(notes: Path) -> Lines:
    """What all builds together have reached."""
    lines: Lines = {}
    for folder in sorted(notes.iterdir()):
        names = sorted(path.name for path in folder.glob("*.gcno"))
        if not names:
            continue
        command = ["gcov", "--json-format", "--stdout", "--branch-probabilities", *names]
        done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, text=True, check=True)
        for document in done.stdout.splitlines():
            for file in json.loads(document)["files"]:
                path = Path(file["file"])
                if path.is_relative_to(SOURCES):
                    known = lines.setdefault(str(path.relative_to(SOURCES)), {})
                    for line in file["lines"]:
                        known.setdefault(line["line_number"], Line()).add(line)
    return dict(sorted(lines.items()))


def shortfalls(lines: Lines) -> list[str]:
    """A line each of what is reached too little."""
    names = sorted(str(path.relative_to(SOURCES)) for path in SOURCES.rglob("*.c"))
    problems = [
        f"firmware/src/{name}: no test has compiled it"
        for name in names
        if name not in lines and name != OF_BOARDS
    ]
    total = Reached.of([line.reached() for of in lines.values() for line in of.values()])
    return problems + [
        f"{total.percent(what):.1f} % of the {what} of firmware/src are reached, at least "
        f"{least:g} % have to be: bench/coverage.py --missing says which are not"
        for what, least in LEAST.items()
        if total.percent(what) < least
    ]


def missing(lines: Lines) -> list[str]:
    """A line each of the lines that are not reached, or not with all of their branches."""
    found = []
    for name, of in lines.items():
        for number, line in sorted(of.items()):
            untaken = [str(i) for i, count in enumerate(line.branches) if not count]
            if not line.count:
                found.append(f"{name}:{number}: never")
            elif untaken:
                of_all = f"of {len(line.branches)}, {' '.join(untaken)} never"
                found.append(f"{name}:{number}: branches: {of_all}")
    return found


def page(found: dict[str, Reached], lines: Lines) -> str:
    def row(name: str, of: Reached) -> str:
        lines, branches = of.percent("lines"), of.percent("branches")
        return f"| {name} | {of.lines} | {lines:.1f} | {of.branches} | {branches:.1f} |\n"

    rows = [row(name, of) for name, of in found.items()]
    rows.append(row("**all**", Reached.of(list(found.values()))))
    return HEAD.format(**LEAST) + "".join(rows) + REST + "".join(not_reached(lines))


def not_reached(lines: Lines) -> Iterator[str]:
    """By files, in the words of the source: numbers of lines would change with each edit."""
    for name, of in lines.items():
        text = (SOURCES / name).read_text(encoding="utf-8").splitlines()
        left = [(text[number - 1].strip(), line) for number, line in sorted(of.items())]
        left = [(words, line) for words, line in left if not line.count or not all(line.branches)]
        if left:
            yield f"    {name}\n"
        for words, line in left:
            untaken, total = line.branches.count(0), len(line.branches)
            yield f"        {words}" + (f"    {untaken} of {total}\n" if total else "\n")


if __name__ == "__main__":
    main()
