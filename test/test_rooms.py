"""The rooms of the house: arrows between them go down only, no module imports in a circle.

Read from the imports of Python and the includes of C, as they stand in the files: nothing is run.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

ROOMS = {
    "soft_control": [
        {
            "paths",
            "plain_text",
            "processes",
            "run_domains",
            "safe_output",
            "shared_memory",
            "small_files",
            "topics",
        },
        {"network"},
        {"robots"},
        {"rigs"},
        {"security", "supply"},
        {"link"},
        {"learning"},
        {"control"},
        {"firmware_files", "firmware_crash", "firmware_instruments"},
        {"firmware_build"},
        {"experiment"},
        {"benchmarks", "proof"},
        {"campaign", "design", "faults"},
        {"nodes"},
        {"monitor"},
        {"cli", "launching"},
    ],
    "nn4mc_codegen": [
        {"terminal"},
        {"program"},
        {"graph"},
        {"ops"},
        {"printing"},
        {"int8"},
        {"importers"},
        {"trial"},
        {"compile"},
        {"verify"},
        {"inspection"},
        {"cli"},
    ],
    "firmware": [
        {"boards/board.h", "generated"},
        {"supply"},
        {"solver"},
        {"wire"},
        {"instruments"},
        {"loop"},
        {"boards"},
    ],
}
"""Package -> its rooms (or modules that stand alone), lowest first; a room may use those below it
and itself. soft_control may use nn4mc_codegen, never the other way round."""

LONGEST = 450  # lines of a Python module: what a reader takes in one sitting
GENERATED = {"fk.h", "controller_config.h"}  # written by the compiler and by firmware_build


def python_modules(package: str) -> dict[str, Path]:
    """Dotted name -> file."""
    modules = {}
    for path in sorted((ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return modules


def imported(path: Path, modules: set[str]) -> Iterator[str]:
    """Modules of the project that a file imports, wherever in the file; names of a package that
    are modules count as those modules."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in modules else node.module for name in names]
        else:
            continue
        yield from (name for name in names if name in modules)


def python_arrows(package: str) -> dict[str, set[str]]:
    modules = python_modules(package)
    return {name: set(imported(path, set(modules))) - {name} for name, path in modules.items()}


def c_arrows() -> dict[str, set[str]]:
    """File -> files it includes, by their names below firmware/; a .c and its .h are one module."""
    folder = ROOT / "firmware"
    files = [p for p in folder.rglob("*.[ch]")]
    arrows: dict[str, set[str]] = {}
    for path in files:
        name = c_module(path.relative_to(folder).as_posix())
        found = arrows.setdefault(name, set())
        for include in re.findall(r'^\s*#include\s+"([^"]+)"', path.read_text(), re.M):
            if include in GENERATED:
                found.add("generated")
                continue
            places = [folder / "src" / include, folder / include, path.parent / include]
            hit = next((p.resolve() for p in places if p.is_file()), None)
            assert hit, f"{path}: {include} is in no room"
            found.add(c_module(hit.relative_to(folder.resolve()).as_posix()))
        found.discard(name)
    return arrows


def c_module(name: str) -> str:
    name = name.removeprefix("src/")
    return name if name == "boards/board.h" else name.rsplit(".", 1)[0]


def rank(package: str, name: str) -> int:
    """Which floor a module is on; the package itself (its face) is above all of them."""
    rooms = ROOMS[package]
    if package == "firmware":
        keys = [name, name.split("/")[0]]
    else:
        parts = name.split(".")
        if len(parts) == 1 or parts[1] == "__main__":
            return len(rooms)
        keys = [parts[1]]
    for key in keys:
        for floor, room in enumerate(rooms):
            if key in room:
                return floor
    pytest.fail(f"{name} is in no room of {package}")


def all_arrows(package: str) -> dict[str, set[str]]:
    return c_arrows() if package == "firmware" else python_arrows(package)


@pytest.mark.parametrize("package", ROOMS)
def test_arrows_between_rooms_go_down_only(package):
    upwards = [
        f"{name} -> {other}"
        for name, others in all_arrows(package).items()
        for other in others
        if rank(package, other) > rank(package, name)
    ]
    assert not upwards


@pytest.mark.parametrize("package", ROOMS)
def test_no_module_is_in_a_circle(package):
    try:
        TopologicalSorter(all_arrows(package)).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_the_compiler_knows_nothing_of_ros_and_of_soft_control():
    for path in python_modules("nn4mc_codegen").values():
        text = path.read_text()
        assert not re.search(r"^\s*(import|from) (soft_control|rclpy|ros\w*)\b", text, re.M), path


@pytest.mark.parametrize("package", ["soft_control", "nn4mc_codegen"])
def test_every_module_says_in_one_line_what_is_in_it(package):
    for name, path in python_modules(package).items():
        docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
        first = docstring.partition("\n")[0]
        assert first.endswith((".", ":")) and len(first) > 15, f"{name}: {first!r}"


@pytest.mark.parametrize("package", ["soft_control", "nn4mc_codegen", "bench"])
def test_no_python_module_is_too_long_to_be_read(package):
    long = {
        str(path.relative_to(ROOT)): lines
        for path in (ROOT / package).rglob("*.py")
        if (lines := len(path.read_text().splitlines())) > LONGEST
    }
    assert not long


def test_no_line_of_c_is_longer_than_a_hundred_columns():
    """As ruff sees to for Python."""
    long = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in sorted((ROOT / "firmware").rglob("*.[ch]"))
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if len(line) > 100
    ]
    assert not long
