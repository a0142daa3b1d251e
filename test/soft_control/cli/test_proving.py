"""softctl prove, and softctl build where a firmware would not suffice."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from soft_control.cli.terminal import FAILED
from soft_control.learning.model import RecurrentModel
from soft_control.proof.report import Proof


@pytest.fixture
def proved(tendon_proof, monkeypatch) -> Proof:
    """What the command finds: it takes seconds, and is tested by itself."""
    monkeypatch.setattr("soft_control.proof.prove.prove", lambda *_: tendon_proof)
    return tendon_proof


def test_it_prints_a_table_or_json(tendon, proved, softctl):
    args = ["prove", str(tendon.firmware), "--model", str(tendon.model)]
    found = json.loads(softctl(*args, "--json").out)
    assert found == proved.model_dump(mode="json") | {"failures": []}
    said = softctl(*args)
    assert said.code == 0
    for words in (f"{proved.step.instructions:,}", "control period: 1,400,000", "bounded"):
        assert words in said.out


def test_without_an_emulator_it_is_compared_with_nothing(tendon, proved, softctl, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "soft_control.proof.prove.prove", lambda _, samples, __: asked.append(samples) or proved
    )
    monkeypatch.setattr("soft_control.cli.proving.shutil.which", lambda name: None)
    ended = softctl("prove", str(tendon.firmware), "--samples", "7")
    assert asked == [0] and "qemu-system-arm is not installed" in ended.err


def test_of_a_recurrent_model_all_but_the_derivatives_is_bounded(
    tendon, proved, softctl, monkeypatch
):
    given = []
    recurrent = RecurrentModel.__new__(RecurrentModel)
    monkeypatch.setattr("soft_control.learning.model.load_model", lambda folder: recurrent)
    monkeypatch.setattr(
        "soft_control.proof.prove.prove", lambda _, __, model: given.append(model) or proved
    )
    ended = softctl("prove", str(tendon.firmware), "--model", "models/gru")
    assert ended.code == 0 and given == [None]
    assert "is recurrent: its derivatives are not bounded" in ended.err


def test_what_fails_is_told_and_is_exit_code_1(tendon, proved, softctl, monkeypatch):
    slow = proved.model_copy(update={"period_cycles": 1000})
    monkeypatch.setattr("soft_control.proof.prove.prove", lambda *_: slow)
    ended = softctl("prove", str(tendon.firmware))
    assert ended.code == FAILED and "NOT proved" in ended.out
    assert "the control period has 1,000" in ended.err


def test_a_build_that_would_be_late_is_refused_and_what_was_there_stays(
    tendon, tendon_model, proved, softctl, monkeypatch
):
    shutil.copytree(tendon.firmware, "build")
    slow = proved.model_copy(update={"period_cycles": 1000})
    monkeypatch.setattr("soft_control.proof.prove.prove", lambda *_: slow)
    before = Path("build/firmware.elf").stat().st_mtime_ns
    line = softctl("build", str(tendon_model.model), "--out", "build").mistake()
    assert "a sample needs up to" in line and "the control period has 1,000" in line
    assert Path("build/firmware.elf").stat().st_mtime_ns == before


def test_mistakes_are_one_line(tendon, tmp_path, softctl):
    assert "no firmware.json" in softctl("prove", str(tmp_path)).mistake()
    shutil.copy(tendon.firmware / "firmware.json", tmp_path)
    assert "firmware.elf" in softctl("prove", str(tmp_path)).mistake()
    (tmp_path / "firmware.elf").write_bytes(b"\x7fELF")
    assert "no ELF file" in softctl("prove", str(tmp_path)).mistake()
    shutil.copy("/bin/true", tmp_path / "firmware.elf")
    assert "not for a Cortex-M4F" in softctl("prove", str(tmp_path)).mistake()
