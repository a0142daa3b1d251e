"""clang-tidy and cppcheck on the firmware's sources, with the settings of three robots.

`make lint-c` runs it; firmware/.clang-tidy and firmware/cppcheck.txt say what is asked. Exit code
1: there are findings, which are printed once each.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
FIRMWARE = HERE.parents[2] / "firmware"
ROBOTS = ("TENDON", "HASEL", "BARE")
"""Of controller_config.h."""
INCLUDES = [f"-I{path}" for path in (HERE, HERE.parent / "network", FIRMWARE, FIRMWARE / "src")]
FINDING = re.compile(r"^\S+:\d+:\d+: (?:warning|error|style|performance|portability)")


def sources() -> list[str]:
    """Those of the host and of no board alone."""
    found = [*(FIRMWARE / "src").rglob("*.c"), *(FIRMWARE / "boards" / "host").glob("*.c")]
    return sorted(map(str, found))


def clang_tidy(robot: str) -> list[str]:
    flags = ["-std=c99", f"-DROBOT={robot}", *INCLUDES]
    return ["clang-tidy", "--quiet", *sources(), "--", *flags]


def cppcheck(robot: str) -> list[str]:
    # One configuration: other combinations of what is or is not defined are no robot's.
    defined = [f"-DROBOT={robot}", "-D__GNUC__=12", "-U__arm__", "-U__BYTE_ORDER__"]
    asked = ["--enable=warning,style,performance,portability", "--error-exitcode=1"]
    asked += ["--std=c99", "--quiet", f"--suppressions-list={FIRMWARE / 'cppcheck.txt'}"]
    return ["cppcheck", *asked, *defined, *INCLUDES, *sources()]


def run(command: list[str]) -> tuple[bool, list[str]]:
    """Whether all is well, and what it says."""
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=FIRMWARE
    )
    return done.returncode == 0, done.stdout.splitlines()


def main() -> None:
    commands = [tool(robot) for robot in ROBOTS for tool in (clang_tidy, cppcheck)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = list(pool.map(run, commands))
    told: set[str] = set()
    for well, lines in results:
        findings = [line for line in lines if FINDING.match(line)]
        for line in findings if findings or well else lines[-5:]:
            if line not in told:
                told.add(line)
                print(line.replace(f"{FIRMWARE}/", "firmware/"))
    failed = not all(well for well, _ in results)
    print("findings" if failed else f"{len(sources())} files, {len(ROBOTS)} robots: no findings")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
