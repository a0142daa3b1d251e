"""Whole runs over ROS 2: the graph, its result, and how it ends when something breaks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rosbags.highlevel import AnyReader

pytest.importorskip("rclpy", reason="ROS 2 is not installed: pip install soft_control[ros]")

from soft_control.control.static_inverse import StaticInverseConfig  # noqa: E402
from soft_control.experiment.attended import watch  # noqa: E402
from soft_control.experiment.bringup import prepare  # noqa: E402
from soft_control.experiment.closed_loop import (  # noqa: E402
    PidFeedforwardController,
    StaticInverseController,
)
from soft_control.experiment.closed_loop import run as drive  # noqa: E402
from soft_control.experiment.node_parameters import node_parameters  # noqa: E402
from soft_control.experiment.outcome import RunFailed  # noqa: E402
from soft_control.experiment.run_samples import read_run  # noqa: E402
from soft_control.experiment.settings import Experiment  # noqa: E402
from soft_control.experiment.setup import reference_curve  # noqa: E402
from soft_control.experiment.summary import error_figures  # noqa: E402
from soft_control.experiment.tuning import pid_config  # noqa: E402
from soft_control.faults.processes import descendants  # noqa: E402
from soft_control.learning.dataset import read_recording, read_topics  # noqa: E402
from soft_control.learning.model import load_card, load_model  # noqa: E402
from soft_control.learning.rest import resting_network  # noqa: E402
from soft_control.rigs import make_rig  # noqa: E402
from soft_control.topics import FIRST_NS  # noqa: E402

SOFTCTL = [sys.executable, "-m", "soft_control.cli"]


def softctl(*arguments: object, **options) -> subprocess.CompletedProcess:
    command = [*SOFTCTL, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, **options)


def run(tendon, out: Path, *arguments: object) -> dict:
    done = softctl(
        "run", "--model", tendon.model, "--firmware", tendon.firmware, "--out", out, *arguments
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads((out / "summary.json").read_text())


def nodes_of(out: Path) -> list[int]:
    """Processes that know of this run: nodes by their parameter file, QEMU by its parents."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str(out).encode() in (process / "cmdline").read_bytes():
                found.append(int(process.name))
        except OSError:
            continue
    return found


@pytest.fixture(scope="module")
def mpc_on_pil(tendon, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "pil"
    run(tendon, out, "--controller", "mpc", "--target", "pil", "--duration-s", 4)
    return out


def test_a_run_leaves_a_complete_summary(mpc_on_pil, tendon):
    summary = json.loads((mpc_on_pil / "summary.json").read_text())
    assert {
        "rig",
        "controller",
        "target",
        "reference",
        "rate_hz",
        "duration_s",
        "rmse_mm",
        "p95_mm",
        "max_mm",
        "path_rmse_mm",
        "flash_bytes",
        "flash_percent",
        "ram_bytes",
        "step_instructions_median",
        "step_instructions_max",
        "deadline_misses",
        "solver_status",
        "seed",
        "model_hash",
    } <= summary.keys()
    assert summary["samples"] == 480 and summary["complete"]
    assert sum(summary["solver_status"].values()) == 480
    assert summary["deadline_misses"] == 0
    assert summary["commands_outside_bounds"] == 0
    assert summary["model_hash"] == tendon.card.model_hash
    assert 0 < summary["step_instructions_median"] <= summary["step_instructions_max"]
    assert summary["path_rmse_mm"] <= summary["rmse_mm"] <= summary["max_mm"]


def test_the_bag_is_one_that_others_read(mpc_on_pil):
    """By the MCAP library and by our own reader; the metadata names rosbag2's storage."""
    from mcap.reader import make_reader

    with open(mpc_on_pil / "bag" / "bag.mcap", "rb") as file:
        told = make_reader(file).get_summary()
    counts = {told.channels[n].topic: c for n, c in told.statistics.channel_message_counts.items()}
    # Which controller and firmware are active is said once, and what the firmware counts where it
    # has the instruments.
    assert {topic: count for topic, count in counts.items() if count not in (0, 480)} == {
        "/controller": 1,
        "/firmware": 1,
    }
    assert {"/outputs", "/command", "/solver", "/tracking_error"} <= {
        t for t in counts if counts[t]
    }
    recording = read_recording(mpc_on_pil / "bag")
    assert len(recording) == 480 and recording.reference is not None
    np.testing.assert_allclose(np.diff(recording.t_s), 1 / 120, atol=1e-8)


def contents(bag: Path) -> list[tuple[str, int, str]]:
    """Topic, time and what is said of all messages; which of two comes first at one time is chance,
    and so are the bytes with which Fast CDR fills a message up to the next multiple of four."""
    with AnyReader([bag]) as reader:
        return sorted(
            (c.topic, at, repr(reader.deserialize(data, c.msgtype)))
            for c, at, data in reader.messages()
        )


def test_the_bag_has_the_tracking_error_that_the_summary_tells_of(mpc_on_pil):
    """In lockstep outputs and reference have one stamp, so both subtract the same numbers; the
    firmware told its reference in float32, and both have read it as it was told."""
    summary = json.loads((mpc_on_pil / "summary.json").read_text())
    errors = read_topics(mpc_on_pil / "bag", ("/tracking_error",))[0]["/tracking_error"]
    assert len(errors) == 480 and min(errors) == FIRST_NS
    assert all(message.name == ["x", "y", "z", "tip"] for message in errors.values())
    norm = np.array([errors[stamp].position[3] for stamp in sorted(errors)])[240:]
    vector = np.array([errors[stamp].position[:3] for stamp in sorted(errors)])[240:]
    figures = [1e3 * f for f in error_figures(norm)]
    told = [summary[f"{name}_mm"] for name in ("rmse", "p95", "max")]
    assert figures == pytest.approx(told, rel=1e-12)
    np.testing.assert_allclose(np.linalg.norm(vector, axis=1), norm, rtol=1e-12)
    seen = read_run(mpc_on_pil)
    np.testing.assert_allclose(vector, (seen.outputs - seen.reference)[240:], atol=1e-15)


def test_the_same_run_is_the_same_bits_and_sil_agrees_with_pil(tendon, mpc_on_pil, tmp_path):
    """One C source that rounds alike on host and Cortex-M4F: nothing remains between them."""
    again = run(tendon, tmp_path / "again", "--target", "pil", "--duration-s", 4)
    on_host = run(tendon, tmp_path / "sil", "--target", "sil", "--duration-s", 4)
    first = json.loads((mpc_on_pil / "summary.json").read_text())
    assert again["commands_sha256"] == first["commands_sha256"]
    assert on_host["commands_sha256"] == first["commands_sha256"]
    assert contents(mpc_on_pil / "bag") == contents(tmp_path / "again" / "bag")


def test_where_the_instruments_are_makes_no_difference(tendon, mpc_on_pil, tmp_path):
    """Host and microcontroller drive the same bytes: the same commands, bit for bit, in sil and in
    pil; and what the host hears of the microcontroller changes none of them."""
    first = json.loads((mpc_on_pil / "summary.json").read_text())
    for target in ("pil", "sil"):
        wired = run(
            tendon, tmp_path / target, "--wiring", "mcu", "--target", target, "--duration-s", 4
        )
        assert wired["commands_sha256"] == first["commands_sha256"], target
        assert wired["rmse_mm"] == pytest.approx(first["rmse_mm"])
        assert wired["mcu"]["telemetry_sent"] == 480 and wired["mcu"]["telemetry_lost"] == 0
        assert wired["mcu"]["state"] == "running" and wired["complete"]
    arguments = ("--wiring", "mcu", "--cut", "1@2", "--target", "pil", "--duration-s", 4)
    alone = run(tendon, tmp_path / "cut", *arguments)
    assert alone["mcu"]["telemetry_lost"] == 120 and alone["samples"] == 360
    assert alone["complete"] and alone["rmse_mm"] == pytest.approx(first["rmse_mm"], rel=1e-3)
    kept = [*range(240), *range(360, 480)]
    whole = read_run(mpc_on_pil).commands
    run_alone = read_run(tmp_path / "cut")
    np.testing.assert_array_equal(np.flatnonzero(run_alone.heard), kept)
    np.testing.assert_array_equal(run_alone.commands[run_alone.heard], whole[kept])


def test_mpc_predicts_what_the_rig_does(mpc_on_pil):
    """Untethered, so its belief is a free run; a wiring fault (a delay off by one, a sign) would be
    centimetres. The network of this test is trained for seconds only: 5 mm."""
    seen = read_run(mpc_on_pil)
    error = np.linalg.norm(seen.predicted[1:] - seen.outputs[1:], axis=1)
    assert np.sqrt(np.mean(error**2)) < 5e-3


def test_pid_stands_in_for_the_mcu(tendon, tmp_path):
    summary = run(tendon, tmp_path / "pid", "--controller", "pid", "--duration-s", 6)
    assert summary["samples"] == 720 and summary["solver_status"] == {}
    assert summary["rmse_mm"] < 5.0  # the reference is 25 mm away at its far ends
    gated = run(
        tendon,
        tmp_path / "gated",
        *("--controller", "pid", "--wiring", "mcu", "--target", "sil", "--duration-s", 6),
    )
    assert gated["samples"] == 720 and gated["mcu"]["refused"] == 0
    # Commands cross the wire as float32: a servo may go to a neighbouring count of 0.29 degrees.
    assert gated["rmse_mm"] == pytest.approx(summary["rmse_mm"], abs=0.05)


@pytest.mark.parametrize("name", ["static_inverse", "pid_feedforward"])
def test_whoever_looks_ahead_commands_what_it_does_in_process(tendon, tmp_path, name):
    """From the second second on: before, the gate of the actuators limits the first move, which
    nothing does in process. The static inverse sees nothing of the robot: Newton's steps end within
    1e-6 of a command's range of each other. The PID does: by a count of a servo, 0.005 rad, or two.
    """
    run(tendon, tmp_path / "run", "--controller", name, "--duration-s", 4)
    seen = read_run(tmp_path / "run")
    experiment = Experiment(rig="tendon", reference="figure_eight")
    rig, card = make_rig("tendon", seed=0), load_card(tendon.model)
    found = node_parameters(name, card.robot)
    inverse = StaticInverseController(
        StaticInverseConfig(
            resting_network(load_model(tendon.model)),
            rig.command_min,
            rig.command_max,
            found["lead_s"],
        ),
        120.0,
    )
    controller = inverse
    if name == "pid_feedforward":
        controller = PidFeedforwardController(pid_config(found, rig), inverse, 120.0)
    curve = reference_curve(experiment, card).values
    trace = drive(rig, controller, curve, 120.0, 4.0)
    difference = np.abs(seen.commands - trace.commands)[120:]
    assert difference.max() < (1e-5 if name == "static_inverse" else 0.02)


def test_realtime_counts_what_comes_too_late(tendon, tmp_path):
    summary = run(
        tendon,
        tmp_path / "rt",
        "--target",
        "sil",
        "--clock",
        "realtime",
        "--duration-s",
        4,
        "--reference",
        "fixed",
    )
    # How many depends on the machine's load; that each is counted and the run goes on does not.
    assert summary["samples"] + summary["deadline_misses"] >= 480
    assert summary["samples"] > 100 and summary["complete"]


STARTED: list[subprocess.Popen] = []


@pytest.fixture(autouse=True)
def nothing_goes_on() -> Iterator[None]:
    """Whatever a test has started ends with it, and takes its nodes along, failed or not."""
    yield
    while STARTED:
        with STARTED.pop() as process:
            process.kill()


def start(tendon, out: Path) -> subprocess.Popen:
    process = subprocess.Popen(
        [
            *SOFTCTL,
            "run",
            "--model",
            str(tendon.model),
            "--firmware",
            str(tendon.firmware),
            "--out",
            str(out),
            "--duration-s",
            "600",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    STARTED.append(process)
    bag = out / "bag" / "bag.mcap"
    deadline = time.monotonic() + 60
    while not (bag.exists() and bag.stat().st_size > 200_000):
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline, "the run did not get under way"
        time.sleep(0.05)
    return process


def test_a_logger_that_is_killed_has_kept_what_it_had_flushed(tendon, tmp_path):
    out = tmp_path / "run"
    process = start(tendon, out)
    below = descendants(process.pid)
    os.kill(below["logger"], signal.SIGKILL)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 1 and not nodes_of(out)
    assert "logger was killed by SIGKILL" in said and f"softctl bag recover {out}" in said
    saved = softctl("bag", "recover", out)
    assert saved.returncode == 0, saved.stderr
    assert "saved " in saved.stdout and "bag_recovered.mcap" in saved.stdout
    assert len(read_recording(out / "bag")) > 100
    summary = json.loads((out / "summary.json").read_text())
    assert summary["samples"] > 100 and not summary["complete"]
    again = softctl("bag", "recover", out / "bag")
    assert again.returncode == 0 and "is whole" in again.stdout


def test_a_node_that_does_not_get_ready_does_not_hold_the_others_up(tmp_path):
    """A reference that its node refuses, while the others still import: all is gone soon after, and
    what is said is what the node said."""
    nodes = prepare(Experiment(controller="excitation", out=tmp_path / "run"))
    spoilt = [replace(node, parameters=node.parameters | {"pace": -1.0}) for node in nodes]
    with pytest.raises(RunFailed, match="^excitation: parameter pace = -1.0: .*greater than 0"):
        watch(spoilt, tmp_path / "run", lambda view: None)
    assert not nodes_of(tmp_path / "run")


def test_the_shortest_run_is_one_sample(tmp_path):
    """A run of no sample never ended: see test_bringup for its refusal."""
    nodes = prepare(Experiment(controller="excitation", duration_s=0.0084, out=tmp_path / "run"))
    watch(nodes, tmp_path / "run", lambda view: None)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["samples"], summary["complete"]) == (1, True)


def test_a_run_never_overwrites_another(tendon, tmp_path):
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "summary.json").write_text("{}")
    done = softctl(
        "run", "--model", tendon.model, "--firmware", tendon.firmware, "--out", tmp_path / "old"
    )
    assert done.returncode == 2 and "not empty" in done.stderr


def test_firmware_of_another_model_is_refused(tendon, tmp_path):
    done = softctl("run", "--model", tendon.model, "--firmware", tmp_path, "--out", tmp_path / "x")
    assert done.returncode == 2 and "build the firmware first" in done.stderr
    assert not (tmp_path / "x").exists()
