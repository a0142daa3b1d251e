"""softctl collect, run, replay, tune and report: what they say, and how they end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from soft_control.cli.terminal import FAILED, INTERRUPTED
from soft_control.experiment import attended, report, tuning
from soft_control.experiment.outcome import RunFailed

PROJECT = Path(__file__).resolve().parents[3]
NODES = {"rig", "lightlace", "excitation", "dynamixel", "logger"}


def ending(monkeypatch: pytest.MonkeyPatch, how: BaseException | None) -> list[set[str]]:
    """Runs end so, before a process starts; returns the names of the nodes of each."""
    watched = []

    def watch(nodes, run_dir, on_view) -> None:
        watched.append({node.name for node in nodes})
        if how is not None:
            raise how

    monkeypatch.setattr(attended, "watch", watch)
    return watched


def test_collect_records_as_often_as_it_is_told(monkeypatch, softctl):
    watched = ending(monkeypatch, None)
    ended = softctl("collect", "--runs", 2, "--seed", 7, "--out", "data", "--duration-s", 2)
    assert ended.code == 0 and ended.err == ""
    assert ended.out == "recorded data/run_7/bag\nrecorded data/run_8/bag\n"
    assert watched == [NODES, NODES]
    assert json.loads(Path("data/run_8/experiment.json").read_text())["seed"] == 8


def test_a_run_that_fails_is_not_the_users_mistake(monkeypatch, softctl):
    ending(monkeypatch, RunFailed("the sensor is gone; what was recorded is in data"))
    ended = softctl("collect", "--out", "data")
    assert ended.code == FAILED
    assert ended.error() == "the sensor is gone; what was recorded is in data"


def test_ctrl_c_says_where_the_recording_is(monkeypatch, softctl):
    ending(monkeypatch, KeyboardInterrupt())
    ended = softctl("run", "--controller", "excitation", "--out", "here")
    assert ended.code == INTERRUPTED
    assert ended.err == "warning: stopped; what was recorded until then is in here\n"


def test_ctrl_c_ends_a_command_without_a_traceback(tmp_path):
    """In the midst of what a command does, not only of a run."""
    code = (
        "import sys, time; from soft_control.cli.app import main; "
        "from soft_control.experiment import report; "
        "report.read_entries = lambda runs: (print('going', flush=True), time.sleep(60)); "
        "sys.argv = ['softctl', 'report', 'x']; main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
        text=True,
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
    )
    assert process.stdout.readline() == "going\n"
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (INTERRUPTED, "", "")


def test_replay_compares_the_firmware_with_the_network(softctl, tendon):
    from soft_control.experiment.closed_loop import record

    names = tendon.card.signal_names
    header = ["t_s,u0_deg,u1_deg,x_m,y_m,z_m", *names]
    run = record("tendon", seed=7, duration_s=0.5, rate_hz=120.0)
    values = [run.t_s[:, None], np.degrees(run.commands), run.outputs, run.signal(names)]
    rows = [[f"{value:.6f}" for value in row] for row in np.hstack(values)]
    Path("run.csv").write_text("".join(",".join(row) + "\n" for row in [header, *rows]))
    arguments = ["run.csv", "--model", tendon.model, "--firmware", tendon.firmware]
    ended = softctl("replay", *arguments, "--target", "sil", "--out", "replayed")
    assert ended.code == 0, ended
    lines = {line.split("│")[1].strip(): line for line in ended.out.splitlines() if "│" in line}
    shown = [lines[name].split("│")[2] for name in ("its network alone", "network in float64")]
    assert shown[0] == shown[1]  # to the last digit shown
    whole = lines["firmware on sil"].split("│")[2].strip()
    found = json.loads(Path("replayed/summary.json").read_text())
    assert found["target"] == "sil" and f"{found['free_run'][0]['rmse']:.3f}" == whole


def test_a_microcontroller_that_goes_silent_is_a_failed_run(monkeypatch, softctl, tendon):
    from soft_control.experiment.closed_loop import record
    from soft_control.learning import dataset
    from soft_control.link import opening
    from soft_control.link.session import LinkError

    def gone(*_: object) -> None:
        raise LinkError("sil: the microcontroller is silent")

    monkeypatch.setattr(
        dataset, "read_recording", lambda path, robot: record("tendon", 1, 2.0, 120.0)
    )
    monkeypatch.setattr(opening, "open_session", gone)
    ended = softctl("replay", "x", "--model", tendon.model, "--firmware", tendon.firmware)
    assert ended.code == FAILED
    assert ended.error() == "sil: the microcontroller is silent"


def test_tune_says_what_it_found_and_where_it_is(monkeypatch, softctl):
    def tune(controller, model, reference, duration_s, trials, seed, out, progress, rig, robot):
        assert rig is None and robot is None
        progress(1, 0.5)
        found = tuning.Found({"kp_0": 0.25}, 0.5, trials, " kPa")
        return found, out or Path("config/tuned/tendon_pid.yaml")

    monkeypatch.setattr(tuning, "tune", tune)
    ended = softctl("tune", "--controller", "pid", "--out", "gains.yaml")
    assert ended.code == 0
    assert "kp 0" in ended.out and "0.25" in ended.out and "mean RMSE 0.500 kPa" in ended.out
    assert ended.out.endswith("written to gains.yaml\n")


def test_a_report_of_hostile_names_is_harmless(monkeypatch, softctl):
    name = "x\x1b[2J[red]\nrun"

    class Entry:
        label = name

    monkeypatch.setattr(report, "read_entries", lambda runs: [Entry()])
    monkeypatch.setattr(report, "write_report", lambda entries, out: None)
    monkeypatch.setattr(report, "table", lambda entries: [(name, [name])])
    monkeypatch.setattr(report, "verdict", lambda entries: name)
    ended = softctl("report", "x", "--out", name)
    assert ended.code == 0
    assert ended.out.count("x\\x1b[2J[red]\\nrun") == 5
    assert ended.out.replace("\n", "").isprintable()
