"""A training run becomes firmware: what was there stays until the new one is whole and verified."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import pytest

from soft_control.experiment import regeneration
from soft_control.experiment.firmware_job import Job, Outcome, Progress, Request
from soft_control.experiment.regeneration import publish, regenerate
from soft_control.firmware_files import BuildError, read_build

PATIENCE_S = 120.0
NEITHER = "no fk.json: not a model directory of softctl train"


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}


def wait(job: Job) -> list[Progress]:
    """Everything that a job says until it has ended."""
    said, deadline = [], time.monotonic() + PATIENCE_S
    while job.outcome is None:
        said += job.poll()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return said


def test_a_firmware_is_compared_with_its_model_in_sil_and_pil_and_its_size_is_that_of_the_elf(
    tendon, tmp_path
):
    """The fixture's firmware, which `build` made, is the judge of sizes and bits."""
    said: list[Progress] = []
    out = tmp_path / "firmware"
    outcome = regenerate(
        Request(model=tendon.model, firmware=out, verify=["sil", "pil"]), said.append
    )
    known = read_build(tendon.firmware)
    assert (outcome.flash_bytes, outcome.ram_bytes) == (known.flash_bytes, known.ram_bytes)
    assert outcome.build_id == known.build_id == read_build(out).build_id and outcome.changed
    assert (out / "firmware.elf").read_bytes() == known.elf.read_bytes()
    verified = outcome.verified
    assert verified.targets == ["sil", "pil"] and verified.samples == 1200 and verified.same_bits
    # Rounding of float32 over ten seconds; the network itself, trained for seconds, errs by mm.
    assert 0 < verified.difference < 1e-4 and 0 < verified.c_error < 1e-5
    (tip,) = verified.prediction
    assert tip.group == "tip" and tip.unit == "mm" and 0.1 < tip.rmse < tip.worst < 50
    assert verified.instructions > 500 and verified.wrong == []
    percents = [one.percent for one in said]
    assert percents == sorted(percents) and 0 <= percents[0] < percents[-1] <= 100
    assert [*dict.fromkeys(one.stage for one in said)] == [
        "reading", "building", "verifying", "publishing",
    ]  # fmt: skip
    line = outcome.line()
    assert f"flash {known.flash_bytes:,} B" in line and "tip errs by" in line and str(out) in line


def test_a_firmware_that_predicts_something_else_is_not_taken(there, tendon_model, monkeypatch):
    """As one that a compiler had got wrong, here in a coefficient of tanh."""
    before = contents(there)
    real = regeneration.build

    def wrong(model, settings, staging, boards, log_dir):
        built = real(model, settings, staging, boards, log_dir)
        source = staging / "fk.c"
        text = source.read_text()
        assert "157753.266f" in text  # of tanh
        source.unlink()
        source.write_text(text.replace("157753.266f", "157853.266f"))
        return built

    monkeypatch.setattr(regeneration, "build", wrong)
    request = Request(model=tendon_model.model, firmware=there, board="host", verify=["sil"])
    with pytest.raises(BuildError, match="is not what its model means: fk_.* of the C errs by"):
        regenerate(request)
    assert contents(there) == before and list(there.parent.iterdir()) == [there]


@pytest.mark.parametrize("broken", ["none", "cut", "text"])
def test_a_model_that_cannot_be_read_leaves_the_old_firmware(there, tendon_model, tmp_path, broken):
    before = contents(there)
    model = tmp_path / "model"
    if broken == "none":
        model.mkdir()
        said = NEITHER
    else:
        shutil.copytree(tendon_model.model, model)
        network = model / "fk.keras"
        network.write_bytes(network.read_bytes()[:1000] if broken == "cut" else b"no model")
        said = "fk.keras"
    with pytest.raises((ValueError, RuntimeError), match=said) as caught:
        regenerate(Request(model=model, firmware=there, board="host"))
    assert "\n" not in str(caught.value)
    assert contents(there) == before and set(tmp_path.iterdir()) == {there, model}


def test_a_compiler_that_fails_leaves_the_old_firmware_and_its_log(
    there, tendon_model, tmp_path, monkeypatch
):
    before = contents(there)
    bin_dir = tmp_path / "bin"
    bin_dir.mkdir()
    compiler = bin_dir / "gcc"
    compiler.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && echo another && exit\n'
        "echo 'x.c:1: error: no' >&2; exit 1\n"
    )
    compiler.chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin_dir}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(BuildError, match="building for host failed: x.c:1: error: no"):
        regenerate(Request(model=tendon_model.model, firmware=there, board="host"))
    after = contents(there)
    assert b"error: no" in after.pop("build.log") and after == before
    monkeypatch.undo()
    outcome = regenerate(Request(model=tendon_model.model, firmware=there, board="host"))
    assert not outcome.changed and contents(there) == before


def test_what_somebody_else_has_put_there_is_never_replaced(there, tendon_model, tmp_path):
    (there / "notes.txt").write_text("mine")
    regenerate(Request(model=tendon_model.model, firmware=there, board="host"))
    assert (there / "notes.txt").read_text() == "mine"
    home = tmp_path / "home"
    home.mkdir()
    (home / "thesis.tex").write_text("mine")
    with pytest.raises(BuildError, match="holds something else than a firmware .thesis.tex."):
        regenerate(Request(model=tendon_model.model, firmware=home, board="host"))
    assert contents(home) == {"thesis.tex": b"mine"}


def test_a_link_stays_one(there, tendon_model, tmp_path):
    link = tmp_path / "current"
    link.symlink_to(there)
    (there / "firmware.json").unlink()
    shutil.rmtree(there)
    there.mkdir()
    regenerate(Request(model=tendon_model.model, firmware=link, board="host"))
    assert link.is_symlink() and read_build(there).build_id == read_build(link).build_id


@pytest.mark.parametrize("exchanges", [True, False])
def test_one_folder_takes_the_place_of_another(tmp_path, monkeypatch, exchanges):
    """Also on a system that cannot exchange two in one step."""
    for name in ("new", "old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    if not exchanges:
        monkeypatch.setattr(regeneration._libc, "renameat2", lambda *_: -1)
        monkeypatch.setattr(regeneration.ctypes, "get_errno", lambda: regeneration.errno.EINVAL)
    publish(tmp_path / "new", tmp_path / "old")
    assert (tmp_path / "old" / "file").read_text() == "new"
    assert (tmp_path / "new" / "file").read_text() == "old"
    assert {p.name for p in tmp_path.iterdir()} == {"new", "old"}


def test_a_job_says_how_far_it_is_and_how_it_has_ended(there, tendon_model, tmp_path):
    job = Job(Request(model=tendon_model.model, firmware=there, board="host", verify=["sil"]))
    said = wait(job)
    assert {one.stage for one in said} == {"reading", "building", "verifying", "publishing"}
    assert not job.outcome.error and not job.outcome.changed
    assert job.outcome.verified.targets == ["sil"]
    failed = Job(Request(model=tmp_path / "nothing", firmware=there))
    wait(failed)
    assert NEITHER in failed.outcome.error and failed.outcome.line() == failed.outcome.error


def test_two_jobs_for_one_folder_are_one_too_many(there, tendon_model):
    request = Request(model=tendon_model.model, firmware=there, board="host", verify=["sil"])
    with regeneration._alone(there.resolve()):
        second = Job(request)
        wait(second)
    assert f"another build of {there.resolve()} is under way" in second.outcome.error
    third = Job(request)
    wait(third)
    assert not third.outcome.error


def test_a_cancelled_job_leaves_the_old_firmware_no_process_and_no_folder(
    there, tendon_model, tmp_path
):
    """In mid-compilation, compilers and all."""
    slow = tmp_path / "bin"
    slow.mkdir()
    compiler = slow / "gcc"
    compiler.write_text('#!/bin/sh\n[ "$1" = --version ] && echo slow && exit\nexec sleep 3600\n')
    compiler.chmod(0o755)
    before, path = contents(there), os.environ["PATH"]
    os.environ["PATH"] = f"{slow}{os.pathsep}{path}"
    try:
        job = Job(Request(model=tendon_model.model, firmware=there, board="host"))
    finally:
        os.environ["PATH"] = path
    group = job._process.pid
    deadline = time.monotonic() + PATIENCE_S
    while not sleeping(group):
        assert time.monotonic() < deadline and job.outcome is None, job.outcome
        job.poll()
        time.sleep(0.02)
    job.cancel()
    wait(job)
    assert job.outcome.error == "cancelled while building; what was there before stays"
    assert contents(there) == before and set(tmp_path.iterdir()) == {there, slow}
    while sleeping(group):  # the kernel reaps it in its own time
        assert time.monotonic() < deadline
        time.sleep(0.02)


def sleeping(group: int) -> list[int]:
    """Processes of a group that are `sleep`."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            name, _, rest = (process / "stat").read_text().rpartition(")")
        except OSError:
            continue
        if name.endswith("(sleep") and int(rest.split()[2]) == group and rest.split()[0] != "Z":
            found.append(int(process.name))
    return found


def test_a_job_that_is_killed_says_so(there, tendon_model):
    job = Job(Request(model=tendon_model.model, firmware=there, board="host"))
    job._process.kill()
    wait(job)
    assert "signal SIGKILL" in job.outcome.error


def test_the_outcome_goes_through_json_as_it_is():
    outcome = Outcome(
        firmware=Path("x"), build_id="1", flash_bytes=2, flash_percent=1.0, ram_bytes=3
    )
    assert Outcome.model_validate(json.loads(outcome.model_dump_json())) == outcome
