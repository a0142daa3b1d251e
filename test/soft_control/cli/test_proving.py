"""softctl prove, and softctl build where a firmware would not suffice."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from nn4mc_codegen.trial.qemu import missing_tools
from soft_control.cli.terminal import FAILED


def test_it_prints_a_table_or_json(tendon, softctl):
    if problem := missing_tools():
        pytest.skip(problem)
    args = ["prove", str(tendon.firmware), "--model", str(tendon.model), "--samples", "0"]
    found = json.loads(softctl(*args, "--json").out)
    assert found["failures"] == [] and found["network"]["lipschitz"] > 0.0
    said = softctl(*args).out
    for words in (f"{found['step']['instructions']:,}", "control period: 1,400,000", "bounded"):
        assert words in said


def test_what_fails_is_told_and_is_exit_code_1(tendon, softctl, monkeypatch):
    if problem := missing_tools():
        pytest.skip(problem)
    monkeypatch.setattr("soft_control.proof.stack.pointers", lambda: {})
    ended = softctl("prove", str(tendon.firmware), "--samples", "0")
    assert ended.code == FAILED and "NOT proved" in ended.out
    assert "calls through a pointer: whom?" in ended.err


def test_a_build_that_would_be_late_is_refused(tendon_model, softctl, monkeypatch):
    if problem := missing_tools():
        pytest.skip(problem)
    monkeypatch.setattr("soft_control.proof.prove.INTERRUPT_CYCLES", 10**6)
    line = softctl("build", str(tendon_model.model), "--out", "late").mistake()
    assert "the control period has 1,400,000" in line and not Path("late").exists()


def test_mistakes_are_one_line(tendon, tmp_path, softctl):
    assert "no firmware.json" in softctl("prove", str(tmp_path)).mistake()
    shutil.copy(tendon.firmware / "firmware.json", tmp_path)
    assert "firmware.elf" in softctl("prove", str(tmp_path)).mistake()
    (tmp_path / "firmware.elf").write_bytes(b"\x7fELF")
    assert "no ELF file" in softctl("prove", str(tmp_path)).mistake()
    shutil.copy("/bin/true", tmp_path / "firmware.elf")
    assert "not for a Cortex-M4F" in softctl("prove", str(tmp_path)).mistake()
