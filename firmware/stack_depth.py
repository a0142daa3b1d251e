"""The most stack that a firmware can need: its worst chain of calls, from what gcc and objdump say.

    stack_depth.py --pointers answers.c:answer_* ... --relocations FILE unit.ci ...

prints the bytes, and on stderr the chain that needs them. unit.ci is what -fcallgraph-info=su
leaves of each unit: the frame of each function, and whom it calls. What the compiler does not say:

- Whom a call through a pointer reaches. For each file with such calls --pointers gives the names
  (patterns) of the functions that it may reach. A file that is not listed is an error, and so is a
  function whose address is taken, as `objdump -r` shows, and which no pattern matches.
- Frames of the C library: LIBRARY_BYTES each, and none of its functions calls ours.
- Interrupts. All have one priority, so that one at most is on top of the program, and a fault on
  top of that one; its handler begins the stack anew.

    reset_handler > main > ... > deepest   exception's frame   deepest handler   fault's frame

Recursion, and frames whose size is only known at run time, are errors.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

LIBRARY_BYTES = 128
"""The functions in use are memcpy, memmove and memset, of which memmove pushes most: 16 bytes."""
EXCEPTION_BYTES = 108
"""Eight registers, eighteen of the floating-point unit, and a word to align them."""
RESET = "reset_handler"
FAULT = "crash_exception"
"""Where a fault goes on, on an empty stack (boards/cortex_m4/crash.c)."""
POINTER = "__indirect_call"


class StackError(ValueError):
    """A bound cannot be given."""


@dataclass
class Calls:
    """Who calls whom. Names are the compiler's: a static function's has its file before it."""

    frames: dict[str, int] = field(default_factory=dict)
    """Bytes of those functions that were compiled here."""
    callees: dict[str, set[str]] = field(default_factory=dict)
    pointers: dict[str, set[str]] = field(default_factory=dict)
    """Function -> files that its calls through pointers stand in."""


def read_calls(texts: Iterable[str]) -> Calls:
    """From the contents of .ci files. Raises StackError for a frame that has no fixed size."""
    calls = Calls()
    for line in "\n".join(texts).splitlines():
        said = dict(re.findall(r'(\w+): "([^"]*)"', line))
        if line.startswith("node:") and (size := re.search(r"(\d+) bytes \((.*?)\)", line)):
            if size[2] != "static":
                raise StackError(f"{said['title']}: its frame is {size[2]}")
            calls.frames[said["title"]] = int(size[1])
        elif line.startswith("edge:") and said["targetname"] == POINTER:
            place = Path(said["label"].split(":")[0]).name
            calls.pointers.setdefault(said["sourcename"], set()).add(place)
        elif line.startswith("edge:"):
            calls.callees.setdefault(said["sourcename"], set()).add(said["targetname"])
    return calls


def read_addresses(relocations: str) -> Iterator[tuple[str, str]]:
    """(section, name) of each symbol whose address is put somewhere, debug information aside."""
    section = ""
    for line in relocations.splitlines():
        if begin := re.match(r"RELOCATION RECORDS FOR \[(.*)\]", line):
            section = begin[1]
        elif found := re.match(r"[0-9a-f]{8} R_ARM_(?:ABS32|THM_MOV\w*) +(\S+)", line):
            if not section.startswith(".debug"):
                yield section, re.sub(r"^\.text\.(startup\.|unlikely\.|hot\.)?", "", found[1])


def plain(name: str) -> str:
    """As in the source: without file, and without what the compiler puts behind a variant."""
    return name.rpartition(":")[2].partition(".")[0]


def matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def resolve(
    calls: Calls, addresses: Iterable[tuple[str, str]], may: Mapping[str, Sequence[str]]
) -> set[str]:
    """Enters whom the calls through pointers reach; returns the handlers of the vector table.

    may: file -> patterns. Raises StackError where it says too little.
    """
    taken = {(section == ".vectors", plain(name)) for section, name in addresses}
    handlers = {title for title in calls.frames if (True, plain(title)) in taken}
    known = [pattern for patterns in may.values() for pattern in patterns]
    for title in sorted(calls.frames):
        name = plain(title)
        if (False, name) in taken and not matches(name, known):
            raise StackError(f"{name}: its address is taken; --pointers must say who calls it")
    for caller, files in calls.pointers.items():
        for place in sorted(files):
            reached = {title for title in calls.frames if matches(plain(title), may.get(place, ()))}
            if not reached:
                raise StackError(f"{place}: {plain(caller)} calls through a pointer: whom?")
            calls.callees.setdefault(caller, set()).update(reached)
    return handlers


def deepest(calls: Calls, start: str) -> list[tuple[str, int]]:
    """The chain of calls from `start` on that needs the most: functions and their bytes.

    Raises StackError for recursion.
    """
    best: dict[str, list[tuple[str, int]]] = {}
    above: list[str] = []

    def visit(name: str) -> list[tuple[str, int]]:
        if name in above:
            raise StackError(" > ".join(map(plain, [*above[above.index(name) :], name])))
        if name not in best:
            above.append(name)
            chains = [visit(callee) for callee in sorted(calls.callees.get(name, ()))]
            above.pop()
            own = (plain(name), calls.frames.get(name, LIBRARY_BYTES))
            best[name] = [own, *max(chains, key=total, default=[])]
        return best[name]

    return visit(start)


def total(chain: Iterable[tuple[str, int]]) -> int:
    return sum(size for _, size in chain)


def worst(calls: Calls, handlers: Iterable[str]) -> list[tuple[str, int]]:
    """What can be on the stack at once, at the worst; after `resolve`."""
    interrupts = [deepest(calls, name) for name in sorted(handlers) if name != RESET]
    exception = ("exception", EXCEPTION_BYTES)
    normal = deepest(calls, RESET)
    normal += [exception, *max(interrupts, key=total, default=[]), exception]
    return max(normal, deepest(calls, FAULT), key=total)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pointers", nargs="*", default=[], metavar="FILE:PATTERN")
    parser.add_argument("--relocations", type=Path, required=True)
    parser.add_argument("units", nargs="+", type=Path)
    options = parser.parse_args()
    may: dict[str, list[str]] = {}
    for entry in options.pointers:
        place, _, pattern = entry.partition(":")
        may.setdefault(place, []).append(pattern)
    try:
        calls = read_calls(unit.read_text() for unit in options.units)
        handlers = resolve(calls, read_addresses(options.relocations.read_text()), may)
        chain = worst(calls, handlers)
    except StackError as error:
        sys.exit(f"error: stack: {error}")
    print("stack: " + " + ".join(f"{name} {size}" for name, size in chain), file=sys.stderr)
    print(-(-total(chain) // 8) * 8)


if __name__ == "__main__":
    main()
