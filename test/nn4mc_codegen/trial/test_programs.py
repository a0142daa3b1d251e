"""Programs end in time, or by an error that says so."""

from __future__ import annotations

import sys

import pytest

from nn4mc_codegen.trial.programs import run_bounded


def test_what_a_program_prints_and_its_exit_code():
    words = [sys.executable, "-c", "import sys; print(sys.stdin.read() * 2); sys.exit(3)"]
    done = run_bounded(words, 60, RuntimeError, "no end", input="x", text=True)
    assert (done.stdout, done.returncode) == ("xx\n", 3)
    assert run_bounded(words, 60, RuntimeError, "no end").stdout == b"\n"  # without input none


def test_a_program_that_does_not_end():
    with pytest.raises(RuntimeError, match="^emulator: no end within 0.05 s$"):
        run_bounded(["sleep", "60"], 0.05, RuntimeError, "emulator: no end")
