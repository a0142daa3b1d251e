"""`make lint-c` finds nothing, and would find something."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
FIRMWARE = HERE.parents[2] / "firmware"
TOOLS = ("clang-tidy", "cppcheck")
pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, TOOLS)), reason="clang-tidy or cppcheck is not installed"
)


def test_the_firmware_has_no_findings():
    command = [sys.executable, str(HERE / "lint.py")]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    assert done.returncode == 0, done.stdout
    assert done.stdout.endswith("no findings\n")


@pytest.mark.parametrize(
    ("tool", "settings"),
    [
        ("clang-tidy", ["--quiet", f"--config-file={FIRMWARE / '.clang-tidy'}"]),
        (
            "cppcheck",
            [
                "--error-exitcode=1",
                "--enable=style",
                f"--suppressions-list={FIRMWARE}/cppcheck.txt",
            ],
        ),
    ],
)
def test_a_variable_that_was_never_set_is_found(tool, settings, tmp_path):
    source = tmp_path / "some.c"
    source.write_text("int f(int a);\nint f(int a)\n{\n    int b;\n    return a + b;\n}\n")
    behind = ["--", "-std=c99"] if tool == "clang-tidy" else []
    done = subprocess.run([tool, *settings, str(source), *behind], capture_output=True, text=True)
    assert done.returncode != 0
    assert "uninit" in done.stdout + done.stderr or "ndefined" in done.stdout
