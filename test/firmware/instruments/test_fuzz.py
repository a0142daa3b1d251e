"""A short run of fuzz.py, as `make fuzz-instruments` does it with ten million bytes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FUZZ = Path(__file__).with_name("fuzz.py")


@pytest.fixture(scope="module")
def sanitizers(tmp_path_factory) -> None:
    """Skips where gcc has no sanitizers, as on systems without its libasan."""
    empty = tmp_path_factory.mktemp("sanitizers") / "empty.c"
    empty.write_text("int main(void) { return 0; }\n")
    flags = ["-fsanitize=address,undefined", str(empty), "-o", str(empty.with_suffix(""))]
    if subprocess.run(["gcc", *flags], capture_output=True).returncode != 0:
        pytest.skip("gcc has no sanitizers here")


@pytest.mark.parametrize("seed", [1, 2])
def test_drivers_and_twins_agree_on_damaged_streams(sanitizers, seed):
    command = [sys.executable, str(FUZZ), "100000", str(seed)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip().endswith("bytes: the same")
