"""Does the emulated microcontroller keep time? Its timer is the clock, its instruments are its own.

`make realtime` runs it on the demo's model and firmware for ten minutes. The emulator keeps this
machine's time. A rig on its second and third serial line writes a sample every control period, by
the same clock, and answers as the actuators do.

What is told is what the microcontroller says of itself in TELEMETRY, in its own time: steps that
were not done when the next one was due, periods that were missed or without a new sample, and how
long after the last byte of the sensor those of the actuators left. What this machine does to the
rig's time is in the numbers; no test looks at them.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import select
import time
import tty
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from rich.console import Console

from soft_control.control.sampled_reference import SampledReference
from soft_control.experiment.rig_device import RigDevice
from soft_control.experiment.settings import Experiment
from soft_control.experiment.setup import reference_curve
from soft_control.experiment.trajectory import ToldReference, tabulate
from soft_control.firmware_files import read_build
from soft_control.learning.card import ModelCard, load_card
from soft_control.link.codes import Cause, Clock, State, Supervisor, Wiring
from soft_control.link.messages import Info, Telemetry
from soft_control.link.session import McuSession
from soft_control.link.transport import PilTransport
from soft_control.rigs import make_rig

MISSES_PERCENT_MAX = 0.1
LATENCY_MS_MAX = 2.0
LATENCY_PERCENT = 99.0
"""What is wanted: of so many of all samples."""
SETTLE_S = 1.0
"""In which the timer finds the sensor's phase."""
SENSOR_TIMEOUT_MS = 1000
"""This machine is no sensor board: it may be away for longer than one would be."""
BEAT_S = 0.05
FORK = multiprocessing.get_context("fork")
LATE_MAX = 1 << 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=Path("models/tendon"))
    parser.add_argument("--firmware", type=Path, default=Path("build/tendon"))
    parser.add_argument("--duration-s", type=float, default=600.0)
    given = parser.parse_args()
    card = load_card(given.model)
    build = read_build(given.firmware)
    curve = reference_curve(Experiment(model=given.model, firmware=given.firmware), card)
    table = tabulate(curve, card.rate_hz, round(60 * card.rate_hz), build.trajectory_points)
    with ExitStack() as stack:
        lines = [os.openpty() for _ in range(2)]
        for ends in lines:
            tty.setraw(ends[1])
            stack.callback(lambda ends=ends: [os.close(end) for end in ends])
        ports = [Path(os.ttyname(terminal)) for _, terminal in lines]
        transport = PilTransport(
            build.elf, machine=build.machine, sensor=ports[0], actuator=ports[1], realtime=True
        )
        session = stack.enter_context(McuSession(transport))
        robot = Robot(card, lines[0][0], lines[1][0])
        stack.callback(robot.stop)
        told, info = run(session, card, table, robot, given.duration_s)
    summary(told, info, card, robot, given.duration_s)


class Robot(FORK.Process):
    """A rig at the far ends of the two lines, in a process of its own: nobody makes it wait."""

    def __init__(self, card: ModelCard, sensor: int, actuators: int) -> None:
        super().__init__(daemon=True)
        self.written = FORK.Value("i", 0)
        self.late_s = FORK.Array("d", LATE_MAX)
        """How far behind its time each sample was written."""
        self._device = RigDevice(make_rig(card.rig, seed=0))
        self._period_s = 1.0 / card.rate_hz
        self._sensor, self._actuators = sensor, actuators
        self._ended = FORK.Event()

    def run(self) -> None:
        due_s, line = time.perf_counter(), self._device.sample()[1]
        while not self._ended.is_set():
            left_s = due_s - time.perf_counter()
            if left_s <= 0:
                os.write(self._sensor, line)
                self.late_s[self.written.value % LATE_MAX] = -left_s
                self.written.value += 1
                self._device.step(self._period_s)
                line = self._device.sample()[1]
                due_s += self._period_s
            elif select.select([self._actuators], [], [], left_s)[0]:
                os.write(self._actuators, self._device.drive(os.read(self._actuators, 4096)))

    def stop(self) -> None:
        self._ended.set()
        if self.is_alive():
            self.join()


def run(
    session: McuSession,
    card: ModelCard,
    table: SampledReference,
    robot: Robot,
    duration_s: float,
) -> tuple[list[Telemetry], Info]:
    rest = card.robot.output_rest
    ToldReference(session, table, card.rate_hz, rest)
    session.arm(
        card.robot.command_neutral,
        rest,
        clock=Clock.TIMER,
        wiring=Wiring.MCU,
        sensor_timeout_ms=SENSOR_TIMEOUT_MS,
    )
    robot.start()
    told: list[Telemetry] = []
    end_s, beat_s = time.monotonic() + duration_s, 0.0
    while (now_s := time.monotonic()) < end_s:
        if now_s >= beat_s:
            session.heartbeat()
            beat_s = now_s + BEAT_S
        if (one := session.telemetry(BEAT_S)) is not None:
            told.append(one)
    return told, session.hello()


def summary(
    told: list[Telemetry], info: Info, card: ModelCard, robot: Robot, duration_s: float
) -> None:
    console = Console(highlight=False)
    settled = [one for one in told if one.k >= SETTLE_S * card.rate_hz]
    flags = np.array([one.flags for one in settled])
    latency_ms = np.array([one.latency_us for one in settled]) / 1e3
    time_us = np.array([one.time_us for one in settled])
    periods_ms = (np.diff(time_us) % (1 << 32)) / np.maximum(np.diff([o.k for o in settled]), 1)
    emulated_s = ((told[-1].time_us - told[0].time_us) % (1 << 32)) / 1e6
    samples = settled[-1].k - settled[0].k + 1
    late = int(np.sum((flags & Supervisor.LATE) != 0))
    missed = settled[-1].missed_samples - settled[0].missed_samples
    held = 100.0 * np.mean((flags & Supervisor.SENSOR_HELD) != 0)
    misses = 100.0 * (late + missed) / samples
    shown = np.percentile(latency_ms, [50, LATENCY_PERCENT, 100])
    late_ms = 1e3 * np.percentile(robot.late_s[: robot.written.value], [50, LATENCY_PERCENT, 100])
    rows = [
        f"{samples:,} samples, {emulated_s:.1f} s of the microcontroller's time, state "
        f"{State(info.state).name.lower()}, cause {Cause(info.cause).name.lower()}",
        f"deadline misses {misses:.3f} % (wanted: at most {MISSES_PERCENT_MAX:g} %): {late} steps "
        f"late, {missed} periods missed",
        f"sensor to actuators {shown[0]:.2f} ms median, {shown[1]:.2f} ms {LATENCY_PERCENT:g} % "
        f"(wanted: at most {LATENCY_MS_MAX:g} ms), {shown[2]:.2f} ms at most",
        f"no new sample of the sensor in {held:.3f} % of the periods",
        f"period {np.mean(periods_ms) / 1e3:.4f} ms mean, TELEMETRY dropped: "
        f"{info.telemetry_dropped}",
        f"this machine wrote {robot.written.value:,} samples, {late_ms[0]:.2f} ms late in the "
        f"median, {late_ms[1]:.2f} ms {LATENCY_PERCENT:g} %, {late_ms[2]:.1f} ms at most; an "
        f"emulated second took it {duration_s / emulated_s:.2f} s",
    ]
    for row in rows:
        console.print(row)
    kept = misses <= MISSES_PERCENT_MAX and shown[1] <= LATENCY_MS_MAX
    console.print("kept" if kept else "NOT KEPT")


if __name__ == "__main__":
    main()
