"""Faults tried on the board's ELF under QEMU: what the processor does wrong, and on its lines."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

import numpy as np
from pydantic import field_validator

from soft_control.control.mpc_settings import physical_settings
from soft_control.experiment.rig_device import sensor_writer
from soft_control.faults.emulated import Emulated, EmulationError
from soft_control.faults.fault import Fault, check_settings
from soft_control.faults.injections import ActuatorReports
from soft_control.faults.machine_code import CODES, with_code
from soft_control.faults.motion import beyond_limits, safe_begin, too_fast
from soft_control.faults.outcome import Loss, Outcome
from soft_control.faults.sil import Bench, report, vectors
from soft_control.faults.wire import DAMAGES, Way
from soft_control.firmware_build import board_table
from soft_control.firmware_crash import CrashCause
from soft_control.link.codes import Cause, State, in_words
from soft_control.link.framing import encode_frame
from soft_control.link.messages import Configure
from soft_control.link.session import LinkError
from soft_control.link.transport import Port
from soft_control.rigs.parameters import Strict

WIRES = {
    "sensor_in": (Port.SENSOR, Way.IN),
    "actuator_in": (Port.ACTUATOR, Way.IN),
    "actuator_out": (Port.ACTUATOR, Way.OUT),
}
BOARD = "stm32f405"
SHORTLY_S = 0.05
"""An answer of the emulator takes some milliseconds: what comes later does not come."""
BEHIND_S = 0.2
SAFE = (State.STOPPED, State.FAULT)
TRIES = 3
"""A time to the safe output that is too long is measured again. While an emulator waits for a timer
its clock is this machine's, and late where it gets no processor; a firmware that is late is so each
time."""


class Code(Strict):
    """A function of the firmware is a fault, and the host sends what leads there."""

    code: str
    board: str = BOARD
    """Whose firmware it is. A watchdog in hardware, which bites where interrupts are off, is
    modelled by QEMU for mps2-an386 alone."""

    @field_validator("code")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in CODES:
            raise ValueError(f"{value!r} is none of {', '.join(CODES)}")
        return value


class Nothing(Strict):
    """What has no settings."""


KINDS: dict[str, type[Strict]] = {
    "code": Code,
    "sensor_silent": Nothing,
    "actuators_report": ActuatorReports,
    "actuators_silent": Nothing,
    "host_silent": Nothing,
    "killed": Nothing,
    "stopped": Nothing,
}
"""By the name that a fault has for them; `killed` and `stopped` are the emulator."""


def board_of(fault: Fault) -> str:
    """The board that a fault needs a firmware for."""
    return Code.model_validate(fault.settings).board if fault.what == "code" else BOARD


def check(fault: Fault) -> None:
    """Raises ValueError where this stand knows no such fault."""
    check_settings(fault, {**DAMAGES, **KINDS})
    if fault.what in DAMAGES and fault.where not in WIRES:
        raise ValueError(f"where = {fault.where!r} is none of {', '.join(WIRES)}")
    if board_of(fault) not in board_table():
        raise ValueError(f"no board {board_of(fault)!r}: {', '.join(board_table())}")


class _Trial:
    """One run."""

    def __init__(self, bench: Bench, fault: Fault, folder: Path, stack: contextlib.ExitStack):
        self.fault, self.bench = fault, bench
        self.described = bench.build.robot
        elf = bench.build.elf
        if fault.what == "code":
            elf = with_code(elf, fault.settings["code"], folder / "fault.elf")
        self.robot = Emulated(bench.build, self.described, elf, stack)
        self.rig = bench.make_rig()
        self.sensor = sensor_writer(self.described.instruments.sensor)
        self.beats = True
        self.outcome = Outcome(fault)

    def run(self) -> Outcome:
        robot, run, fault = self.robot, self.fault.run, self.fault
        robot.arm(
            self.bench.reference,
            host_lost=run.host_lost_code,
            host_timeout_ms=run.host_timeout_ms,
            sensor_timeout_ms=run.sensor_timeout_ms,
        )
        rate_hz = self.described.rate_hz
        for _ in range(max(1, round(fault.at_s * rate_hz))):
            self.step()
        begun, begun_s = len(robot.told), time.monotonic()
        if fault.what == "code":
            self.crash(begun, begun_s)
        elif fault.what == "killed":
            os.kill(robot.transport.pid, signal.SIGKILL)
            self.ask()
        else:
            self.disturb(round(fault.for_s * rate_hz))
        self.outcome.judge()
        return self.outcome

    def line(self) -> bytes:
        """Of the next sample."""
        line = self.sensor([int(count) for count in self.rig.measure().signals])
        told = self.robot.device.command
        neutral = self.described.command_neutral
        self.rig.step(neutral if told is None else np.asarray(told), 1 / self.described.rate_hz)
        return line

    def step(self) -> None:
        self.robot.step(self.line(), self.beats)

    # ------------------------------------------------------------------ the processor

    def crash(self, begun: int, begun_s: float) -> None:
        """The host configures, which is what leads there. The actuators are told the safe output by
        the handler, before BOOT, and again at the start."""
        robot, outcome = self.robot, self.outcome
        session, (_, wanted) = robot.session, CODES[self.fault.settings["code"]]
        settings = vectors(physical_settings(self.bench.build.mpc, self.described))
        robot.transport.write(encode_frame(Configure(**settings).encode(session.info.sizes)))
        if wanted != CrashCause.NONE:
            robot.read_actuators(begun + 2)
        info = session.hello()
        self.see(info.state, info.cause)
        nothing_more = session.telemetry(BEHIND_S) is None  # the record comes behind INFO
        outcome.fail_unless(nothing_more, "goes on driving after the crash")
        found = CrashCause(session.crash.cause) if session.crash else CrashCause.NONE
        outcome.said = f"boot: {in_words(CrashCause, found)}"
        outcome.fail_unless(found == wanted, f"kept {found.name}, not {wanted.name}")
        if wanted == CrashCause.NONE:
            return
        outcome.safe_ms, outcome.by_the_wall = 1e3 * (robot.told_s[begun] - begun_s), True
        neutral = self.described.command_neutral
        for told in robot.told[begun:]:
            off = np.abs(np.array(told) - neutral).max()
            outcome.fail_unless(off < 0.01, f"told {told}, which is not the safe output")

    def ask(self) -> None:
        """What a host is told that asks how it is."""
        try:
            info = self.robot.session.hello()
            self.see(info.state, info.cause)
        except LinkError as error:
            self.outcome.said = str(error)

    # ------------------------------------------------------------------ lines and devices

    def disturb(self, samples: int) -> None:
        self.begin()
        robot = self.robot
        for _ in range(samples):
            if self.beats:
                robot.session.heartbeat()
            line = self.line()
            if self.fault.what != "sensor_silent":
                robot.write_sensor(line)
            with contextlib.suppress(EmulationError):
                robot.read_actuators(len(robot.told) + 1, SHORTLY_S)
            robot.read_telemetry()
            if robot.telemetry[-1].state in SAFE:
                break
        if self.fault.expect.endangers:
            robot.wait_for(*SAFE)
        self.end()
        if not self.fault.expect.endangers and robot.telemetry[-1].state not in SAFE:
            for _ in range(20):
                self.step()
        self.judge()

    def begin(self) -> None:
        fault, robot = self.fault, self.robot
        if fault.what in DAMAGES:
            robot.wires[WIRES[fault.where]].damage = DAMAGES[fault.what](**fault.settings)
        elif fault.what == "actuators_report":
            told = ActuatorReports(**fault.settings)
            report(robot.device, told.errors, told.voltage, told.temperature)
        elif fault.what == "stopped":
            os.kill(robot.transport.pid, signal.SIGSTOP)
            time.sleep(fault.for_s)
            os.kill(robot.transport.pid, signal.SIGCONT)
        self.beats = fault.what != "host_silent"
        robot.answers = fault.what != "actuators_silent"

    def end(self) -> None:
        for wire in self.robot.wires.values():
            wire.damage = None
        self.robot.answers = self.beats = True

    def judge(self) -> None:
        robot, outcome, described = self.robot, self.outcome, self.described
        info = robot.session.hello()
        self.see(info.state, info.cause)
        lost = robot.telemetry[-1].number + 1 - len(robot.telemetry)
        outcome.losses.append(Loss("reports", lost, robot.session.lost))
        shown, telemetry = robot.shown(), robot.telemetry
        since = next((i for i, one in enumerate(telemetry) if one.state in SAFE), None)
        if since is not None:
            # By their order: two frames may be told at one time of the microcontroller.
            in_order = [one._replace(at_s=float(i)) for i, one in enumerate(shown)]
            begin, wrong = safe_begin(in_order, since - 0.5, described)
            outcome.fail_unless(not wrong, f"on the way to the safe output it {wrong}")
            if begin is not None:
                # How long a sample takes is the machine's affair, but for one that never comes.
                silent = self.fault.what == "sensor_silent"
                first_s = shown[round(begin)].at_s
                outcome.safe_ms = 1e3 * (first_s - shown[since - silent].at_s)
        if wrong := beyond_limits(shown, described):
            outcome.failures.append(wrong)
        move_max = physical_settings(self.bench.build.mpc, described)["move_max"]
        for part in (shown[:since], shown[since:]) if since else (shown,):
            start = part[0].command
            if wrong := too_fast(part, described, start, np.array(move_max), in_time=False):
                outcome.failures.append(wrong)

    def see(self, state: int, cause: int) -> None:
        self.outcome.state = in_words(State, state).replace(" ", "_")
        self.outcome.cause = in_words(Cause, cause).replace(" ", "_")


def try_fault(bench: Bench, fault: Fault, folder: Path) -> Outcome:
    """What a run with the fault comes to, judged; a folder for what it needs."""
    for _ in range(TRIES):
        outcome = _try(bench, fault, folder)
        if not outcome.late_alone:
            break
    return outcome


def _try(bench: Bench, fault: Fault, folder: Path) -> Outcome:
    with contextlib.ExitStack() as stack:
        try:
            return _Trial(bench, fault, folder, stack).run()
        except (EmulationError, LinkError) as error:
            return Outcome(fault, failures=[str(error)])
