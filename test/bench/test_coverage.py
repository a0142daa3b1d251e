"""What bench/coverage.py counts, on a firmware of one file; docs/coverage.md against its limits."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SIGN = """int sign(int x)
{
#ifdef WIDE
    if (x > 100) {
        return 2;
    }
#endif
    if (x > 0 && x != 7) {
        return 1;
    }
    return 0;
}
"""
TWICE = "int sign(int);\nint twice(int x)\n{\n    return x > 0 ? 2 * sign(x) : 0;\n}\n"
"""Of the test, not of the firmware: it is not counted, though its file has the same name."""
TEST = """
import ctypes, os, shutil, subprocess

def library(*arguments):
    subprocess.run(["gcc", *arguments, "-shared", "-fPIC", "-o", "l.so"], check=True)
    return ctypes.CDLL(os.path.abspath("l.so"))

def test_built_at_once(tmp_path):
    os.chdir(tmp_path)
    flags = ["-O2", "-fsanitize=undefined", "-fno-sanitize-recover=all"]
    lib = library(*flags, "{root}/firmware/src/loop/sign.c", "{root}/test/sign.c")
    assert lib.twice(5) == 2

def test_built_file_by_file_in_a_copy(tmp_path):
    shutil.copytree("{root}/firmware", tmp_path / "firmware")
    os.chdir(tmp_path / "firmware")
    make = ["gcc", "-fPIC", "-Isrc", "-c"]
    subprocess.run([*make, "-DWIDE", "src/loop/sign.c", "-o", "a.o"], check=True)
    subprocess.run([*make, "{root}/test/sign.c", "-o", "b.o"], check=True)
    assert library("a.o", "b.o").twice(101) == 4

def test_of_a_copy_that_is_changed(tmp_path):
    shutil.copytree("{root}/firmware", tmp_path / "firmware")
    os.chdir(tmp_path / "firmware")
    with open("src/loop/sign.c", "a") as file:
        file.write("int more(int x) {{ return x < 0 ? -3 : 3; }}")
    subprocess.run(["gcc", "-fPIC", "-c", "src/loop/sign.c", "-o", "a.o"], check=True)
    assert library("a.o").more(1) == 3
"""


@pytest.fixture
def coverage(tmp_path, monkeypatch):
    """The module, of a project of its own."""
    if shutil.which("gcov") is None:
        pytest.skip("gcov is not installed")
    monkeypatch.setattr(sys, "path", [str(ROOT / "bench"), *sys.path])
    import coverage as module

    monkeypatch.setattr(module, "ROOT", tmp_path / "project")
    monkeypatch.setattr(module, "SOURCES", tmp_path / "project" / "firmware" / "src")
    yield module
    del sys.modules["coverage"]


def test_lines_and_branches_of_all_builds_are_added_up(coverage, tmp_path):
    """One build asks of 5, the wide one of 101 and no less: neither of 0, and neither of 7."""
    root, notes = tmp_path / "project", tmp_path / "notes"
    for path, text in {
        "firmware/src/loop/sign.c": SIGN,
        "test/sign.c": TWICE,
        "test_it.py": TEST.format(root=root),
    }.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    notes.mkdir()
    assert not coverage.run_tests([root / "test_it.py"], tmp_path, notes)
    lines = coverage.gathered(notes)
    assert coverage.missing(lines) == [
        "loop/sign.c:4: branches: of 2, 1 never",
        "loop/sign.c:8: branches: of 4, 1 3 never",
        "loop/sign.c:11: never",
    ]
    found = coverage.Reached.of([line.reached() for line in lines["loop/sign.c"].values()])
    # The function's head, two conditions, three returns; each part of a condition has two ways.
    assert found == (6, 5, 6, 3)
    (root / "firmware/src/loop/new.c").write_text("int x;")
    first, *others = coverage.shortfalls(lines)
    assert first == "firmware/src/loop/new.c: no test has compiled it"
    assert [text.split(" % of the ")[1].split()[0] for text in others] == ["lines", "branches"]
    page = coverage.page({"loop/sign.c": found}, lines)
    assert "\n| loop/sign.c | 6 | 83.3 | 6 | 50.0 |\n" in page
    assert page.endswith(
        """
    loop/sign.c
        if (x > 100) {    1 of 2
        if (x > 0 && x != 7) {    2 of 4
        return 0;
"""
    )


def test_the_page_is_of_all_files_and_within_the_limits():
    """A file that is new, or coverage below the limits: `make coverage` writes the page anew."""
    text = (ROOT / "docs" / "coverage.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\S+) \| (\d+) \| ([\d.]+) \| (\d+) \| ([\d.]+) \|$", text, re.M)
    *files, (name, all_lines, lines, all_branches, branches) = rows
    sources = ROOT / "firmware" / "src"
    here = {str(path.relative_to(sources)) for path in sources.rglob("*.c")} - {"loop/main.c"}
    assert here <= {file for file, *_ in files}
    assert all((sources / file).is_file() for file, *_ in files)
    assert name == "**all**"
    assert int(all_lines) == sum(int(row[1]) for row in files)
    assert int(all_branches) == sum(int(row[3]) for row in files)
    least = re.search(r"below ([\d.]+) % of the lines or ([\d.]+) % of the\nbranches", text)
    assert float(lines) >= float(least[1]) >= 98.0
    assert float(branches) >= float(least[2]) >= 97.0
