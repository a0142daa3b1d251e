"""How a run ended, in one sentence."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from soft_control.experiment import outcome
from soft_control.experiment.bringup import NodeSpec


@pytest.mark.parametrize(
    ("code", "log", "said"),
    [
        (1, "", "rig ended with code 1: it said nothing"),
        (1, "Traceback\n  x\nKeyError: 'mpc'\n\n", "rig ended with code 1: KeyError: 'mpc'"),
        (1, "error: rig: early\nerror: rig: late\nmore\n", "rig: late"),
        (-9, "", "rig was killed by SIGKILL"),
        (-9, "all is well\n", "rig was killed by SIGKILL"),
        (-77, "", "rig was killed by signal 77"),
    ],
)
def test_what_a_node_said_last(code, log, said, tmp_path):
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "rig.log").write_text(log)
    assert outcome.reason("rig", code, tmp_path).startswith(said)


CODES = {"rig": 0, "pid": 0, "logger": 0}


@pytest.mark.parametrize(
    ("codes", "first", "named"),
    [
        ({}, ["rig"], None),
        ({"pid": -9}, ["rig"], None),  # the run was over
        ({"logger": 1}, ["rig"], "logger"),  # but not yet written down
        ({}, ["logger"], "logger"),
        ({"rig": 1}, ["pid"], "pid"),  # which ended early, whatever its code
        ({"rig": -9, "pid": 1}, ["rig"], "rig"),
        ({"pid": -9}, ["pid"], "pid"),
    ],
)
def test_who_has_broken_a_run_off(codes, first, named, tmp_path):
    (tmp_path / "log").mkdir()
    for name in CODES:
        (tmp_path / "log" / f"{name}.log").touch()
    why = outcome.failure(CODES | codes, first, "rig", tmp_path)
    assert (why and why.split()[0]) == named


def test_the_run_ends_with_the_node_that_has_the_samples():
    assert outcome.ending_node([NodeSpec("pid", {}), NodeSpec("rig", {}, ends_run=True)]) == "rig"


def summary(**changes: object) -> dict:
    given = {"clock": "lockstep", "duration_s": 4.0, "complete": True, "samples": 480}
    return {**given, "errors": [], **changes}


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (summary(), None),
        (None, "nothing was recorded"),
        (summary(complete=False, duration_s=3.5), "the run ended after 3.5 of 4 s"),
        (summary(complete=False, duration_s=3.99, clock="realtime"), None),
        (summary(complete=False, duration_s=1.0, clock="realtime"), "the run ended after 1 of 4 s"),
    ],
)
def test_a_run_that_ended_early(found, why):
    assert outcome.broken_off(found, 4.0) == why


def test_a_run_in_a_line(tmp_path):
    error = {"of": "tip", "unit": "mm", "rmse": 0.94321, "max": 3.2}
    line = outcome.in_a_line(summary(errors=[error]), "MPC on pil", tmp_path / "a\nb")
    assert line.startswith("MPC on pil: tip RMSE 0.943, maximum 3.2 mm; 480 samples in ")
    assert "\n" not in line
    assert "recorded 480 samples" in outcome.in_a_line(summary(), "open loop", tmp_path)


def test_a_full_disk_is_why_a_node_said_nothing(tmp_path, monkeypatch):
    (tmp_path / "log").mkdir()
    (log := tmp_path / "log" / "logger.log").write_text("")
    monkeypatch.setattr(outcome.shutil, "disk_usage", lambda folder: SimpleNamespace(free=4095))
    said = outcome.reason("logger", 1, tmp_path)
    assert said == (
        f"logger ended with code 1: it said nothing (all of it is in {log}; no space is left there)"
    )


@pytest.mark.parametrize(
    ("sim", "samples", "doubted"),
    [(False, 250, ""), (False, 215, ""), (False, 501, "100 "), (False, 98, "20 ")]
    + [(True, 98, "")],
)
def test_a_sensor_at_another_rate_is_said(sim, samples, doubted):
    """Three samples besides were lost."""
    found = {"sim": sim, "rate_hz": 50.0, "samples": samples, "lost_samples": 3}
    said = outcome.off_rate(found | {"last_sample_s": (samples + 2) / float(doubted or 50.0)})
    assert (said is not None) == bool(doubted)
    assert not doubted or said.startswith(
        f"the sensor gave {doubted}samples a second, where the run has 50: "
    )


def test_of_a_single_sample_no_rate_is_said():
    found = {"sim": False, "rate_hz": 50.0, "samples": 1, "lost_samples": 0, "last_sample_s": 0.0}
    assert outcome.off_rate(found) is None
