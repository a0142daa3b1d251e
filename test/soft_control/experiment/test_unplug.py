"""Runs in real time whose devices go and come back, under another name, while the robot moves.

`make unplug` does it a hundred times with each device. What is asked of a run is that it knows what
it has lost, that a device is found within two seconds, and that a figure goes on within one.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed: pip install soft_control[ros]")

from soft_control.experiment.outcome import RunFailed  # noqa: E402
from soft_control.experiment.settings import Experiment  # noqa: E402
from soft_control.firmware_files import read_build  # noqa: E402

from ..board import Board  # noqa: E402
from ..plug import Plug  # noqa: E402
from .unplugging import BEGINS_S, Outcome, Waiting, recovery_s, stopped_ns, unplugged  # noqa: E402

CYCLES = int(os.environ.get("UNPLUG_CYCLES", "2"))
EACH_S = 1.5
WITHIN_S = 2.0
"""From when a device is there again to its first sample in the bag."""
FIGURE_WITHIN_S = 1.0
"""From the end of an emulator to the next command that the robot is told, less the time for which
the next emulator could have run and others had the processors."""
LATE_S, SHORTLY_NS = 3 / 120, 500_000_000
"""An emulator that has waited for a processor for so long, of the time before it stopped the robot,
may have been late through no fault of its own: three periods, as three late steps are one."""
LEAVES_S, SPARE = 3.0, 1.15
"""A run goes on for so long after the last cycle; a machine that is late makes them longer."""


@pytest.fixture
def waiting(tmp_path) -> Waiting:
    """Of the run's emulators."""
    return Waiting(tmp_path / "run" / "log" / "mcu.log")


@pytest.fixture
def unplug(tendon, tmp_path, waiting):
    """unplug(devices, …): the outcome of a run with these devices."""

    def make(*devices: str, board: Board | None = None, **asked) -> Outcome:
        experiment = Experiment(
            clock="realtime",
            duration_s=BEGINS_S + SPARE * CYCLES * len(devices) * EACH_S + LEAVES_S,
            model=tendon.model,
            firmware=tendon.firmware,
            out=tmp_path / "run",
            **asked,
        )
        return unplugged(experiment, list(devices), CYCLES, EACH_S, waiting, board)

    return make


def say(outcome: Outcome, device: str, found_s: np.ndarray) -> None:
    """For people who look on: `pytest -s`."""
    median, most, all_of_them = np.percentile(found_s, [50, 95, 100])
    summary = outcome.summary
    print(
        f"\n{device}: {len(found_s)} cycles, back in {median:.3f} s median, {most:.3f} s 95 %, "
        f"{all_of_them:.3f} s at most; lost {summary['lost_samples']} samples of "
        f"{outcome.outputs}; {summary['returns']}"
    )


def assert_back(outcome: Outcome, device: str, stamps_ns: list[int]) -> None:
    found_s = recovery_s(outcome.times[device], stamps_ns)
    say(outcome, device, found_s)
    assert len(found_s) == CYCLES and found_s.max() <= WITHIN_S


def assert_figure_goes_on(outcome: Outcome, waiting: Waiting) -> None:
    """Behind each end of an emulator."""
    found_s = recovery_s(outcome.times["mcu"], outcome.commands_ns)
    say(outcome, "mcu", found_s)
    back_ns = np.array(outcome.times["mcu"].there) + np.round(1e9 * found_s).astype(int)
    waited_s = np.array([waiting.until_s(at_ns) for at_ns in back_ns])
    own_s = found_s - waited_s
    print(
        f"of that, {waited_s.max():.3f} s at most for a processor; without it {own_s.max():.3f} s"
    )
    assert len(found_s) == CYCLES and own_s.max() <= FIGURE_WITHIN_S


def late(waiting: Waiting) -> NoReturn:
    """Of a run whose firmware has stopped the robot because three steps in a row were late: that is
    a failure, but where its emulator could not run."""
    at_ns = stopped_ns(waiting.log)
    waited_s = waiting.until_s(at_ns, at_ns - SHORTLY_NS)
    words = f"steps were late; in the half second before, the emulator waited {waited_s:.3f} s for "
    words += "a processor"
    if waited_s >= LATE_S:
        pytest.skip(words)
    pytest.fail(words)


def assert_told_or_counted(outcome: Outcome) -> None:
    """Of each sample of the rig the bag has a command, or the summary counts it as lost; and no
    command was beyond a limit, nor further from the one before than the robot's speed allows."""
    summary, run = outcome.summary, outcome.run
    assert summary["complete"] and summary["commands_outside_bounds"] == 0
    measured = len(run.seen.t_s)
    assert abs(summary["samples"] + summary["lost_samples"] - measured) <= 2
    told = run.commands[run.heard]
    speed = np.array([command.speed_max for command in run.record.robot.commands])
    times_s = run.t_s[run.heard]
    # The gate gives a gap no more time than two periods; stamps are of the sensor's samples.
    allowed = speed * (np.minimum(np.diff(times_s), 2 / run.record.rate_hz)[:, None] + 0.02)
    assert (np.abs(np.diff(told, axis=0)) <= allowed).all()


def settled(outcome: Outcome) -> np.ndarray:
    """(K,) errors in mm after the first 2 s, those of absences too."""
    seen = outcome.run.seen
    error = 1e3 * np.linalg.norm(seen.outputs - seen.reference, axis=1)
    return error[~np.isnan(error) & (seen.t_s > 2.0)]


def test_what_an_emulator_waited_for_a_processor_is_its_own(waiting):
    """Counted from its start; that of the one before it is no excuse."""
    waiting._looks = [(10, 7, 0.5), (20, 7, 0.6), (30, 8, 0.1), (40, 8, 0.25)]
    asked = [waiting.until_s(25), waiting.until_s(35), waiting.until_s(20, 10), waiting.until_s(50)]
    assert asked == pytest.approx([0.1, 0.25, 0.1, 0.0])
    assert waiting.until_s(40, 30) == pytest.approx(0.15)


@pytest.mark.long
def test_sensor_servos_and_emulator_of_a_run_at_the_host(unplug, waiting):
    outcome = unplug("sensor", "actuators", "mcu", target="pil")
    assert_back(outcome, "sensor", outcome.signals_ns)
    assert_back(outcome, "actuators", outcome.commands_ns)
    assert_figure_goes_on(outcome, waiting)
    assert_told_or_counted(outcome)
    returns = outcome.summary["returns"]
    assert returns["lightlace"]["reconnections"] == returns["dynamixel"]["reconnections"] == CYCLES
    assert returns["mcu"]["rearmed"] == CYCLES
    # What the nodes have counted is what the bag lacks: each cycle's edges aside.
    missing = outcome.outputs - len(outcome.signals_ns)
    assert returns["lightlace"]["lost"] == pytest.approx(missing, abs=3 * CYCLES)
    assert np.median(settled(outcome)) < 5.0, "it follows the figure all the time"


@pytest.mark.long
def test_the_emulator_of_a_run_in_the_material(unplug, waiting):
    """In the middle of a figure: the actuators hold meanwhile, and the figure goes on."""
    try:
        outcome = unplug("mcu", target="pil", wiring="mcu")
    except RunFailed as failed:
        if "deadline missed" not in str(failed):
            raise
        late(waiting)
    if outcome.summary["mcu"]["cause"] == "deadline_missed":
        late(waiting)
    assert_figure_goes_on(outcome, waiting)
    summary = outcome.summary
    assert summary["mcu"]["rearmed"] == summary["returns"]["mcu"]["rearmed"] == CYCLES
    assert summary["commands_outside_bounds"] == 0 and summary["complete"]
    assert np.median(settled(outcome)) < 5.0, "it follows the figure all the time"


@pytest.mark.long
def test_the_cable_of_a_board(unplug, tendon, tmp_path):
    board = Board(Plug(tmp_path / "board"), read_build(tendon.firmware).library)
    try:
        outcome = unplug("board", board=board, target="hil", port=str(board.plug.link))
    finally:
        board.close()
    assert_back(outcome, "board", outcome.commands_ns)
    assert_told_or_counted(outcome)
    assert outcome.summary["returns"]["mcu"]["rearmed"] == CYCLES


@pytest.mark.long
def test_magnetometers(tmp_path):
    """Of a robot whose high voltage is not driven again by itself: its sensor may come back."""
    experiment = Experiment(
        rig="hasel",
        controller="excitation",
        clock="realtime",
        duration_s=BEGINS_S + SPARE * CYCLES * EACH_S + LEAVES_S,
        out=Path(tmp_path / "run"),
    )
    outcome = unplugged(experiment, ["sensor"], CYCLES, EACH_S, Waiting(tmp_path / "none"))
    assert_back(outcome, "sensor", outcome.signals_ns)
    found = outcome.summary["returns"]["magnetic"]
    assert found["reconnections"] == CYCLES
    missing = outcome.outputs - len(outcome.signals_ns)
    assert found["lost"] == pytest.approx(missing, abs=3 * CYCLES)
