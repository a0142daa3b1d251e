"""Those rows of the supervisor's table that endanger, with the board's ELF under QEMU, its sensor
and its servos on its own serial lines. Times are the microcontroller's, from TELEMETRY."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

import soft_control.faults.emulated as emulated_robot
from soft_control.control.mpc_settings import physical_settings
from soft_control.faults.machine_code import with_code
from soft_control.firmware_crash import CrashCause
from soft_control.firmware_files import FirmwareBuild
from soft_control.firmware_instruments import actuator_config
from soft_control.link.codes import Cause, HostLost, State, Wiring
from soft_control.link.dynamixel import HEAT_ERROR, Dynamixel, DynamixelDevice
from soft_control.link.framing import encode_frame
from soft_control.link.lace_line import format_line
from soft_control.link.messages import Configure

from .conftest import ACTUATORS
from .wired import FAR, ORIGIN, REST, assert_bounded_speed, resolution

BOARDS = ("host", "stm32f405")
PROMPT_US = 20_000
SENSOR_TIMEOUT_MS, HOST_TIMEOUT_MS = 300, 100
VOLTAGE, TEMPERATURE = 42, 43
"""Registers of a servo."""


class Emulated(emulated_robot.Emulated):
    """That follows FAR from its rest, with a sensor of which one channel lives."""

    def __init__(self, built: FirmwareBuild, robot, elf: Path, stack: ExitStack) -> None:
        super().__init__(built, robot, elf, stack)
        self._samples = 0

    def arm(self, **changes: int) -> None:
        self.session.upload([FAR, FAR], 2**22, True, [float("inf")] * 3)
        self.session.arm(REST, ORIGIN, wiring=Wiring.MCU, **changes)

    def feel(self, line: bytes | None = None) -> None:
        self.write_sensor(self.line() if line is None else line)

    def line(self) -> bytes:
        self._samples += 1
        counts = [20 + self._samples * 7 % 5] + [0] * (len(self.robot.signals) - 1)
        return format_line(counts)

    def run(self, samples: int, beats: bool = True, line: bytes | None = None) -> None:
        for _ in range(samples):
            self.step(self.line() if line is None else line, beats)


@pytest.fixture
def emulated(robot_firmware, has_board_compiler) -> Iterator[Callable[..., Emulated]]:
    """emulated(elf): that robot of ACTUATORS, whose safe output is the neutral command."""
    if not has_board_compiler or shutil.which("qemu-system-arm") is None:
        pytest.skip("arm-none-eabi-gcc or qemu-system-arm is not installed")
    built, robot = robot_firmware("emulated", BOARDS)
    with ExitStack() as stack:
        yield lambda elf=None: Emulated(built, robot, elf or built.elf, stack)


def assert_safe(robot: Emulated, event: int, since_us: int | None, state: State, cause: Cause):
    """From frame `event` on the state is that one, and what the servos are told goes to the neutral
    command, promptly after since_us, at bounded speed and for good."""
    telemetry = robot.wait_for(state)
    assert all(one.state == State.RUNNING for one in telemetry[:event])
    safe = telemetry[event:]
    assert all((one.state, one.cause) == (state, cause) for one in safe)
    shown = robot.shown()
    told = np.array([one.command for one in shown])
    # The line has what TELEMETRY says, rounded as our own master does.
    master = Dynamixel(actuator_config(robot.robot), 2)
    twin = DynamixelDevice(actuator_config(robot.robot), 2)
    for one, command in zip(telemetry, told, strict=False):
        twin.feed(master.drive(one.command))
        assert tuple(map(float, twin.command)) == tuple(command)
    neutral = robot.robot.command_neutral
    distance = np.abs(told - neutral)
    assert distance[event - 1].max() > 10 * resolution(robot.robot)
    moved = next(i for i in range(event, len(told)) if (told[i] != told[event - 1]).any())
    assert (np.diff(distance[event:], axis=0) <= 0).all()
    assert (distance[-1] <= resolution(robot.robot)).all()
    assert_bounded_speed(shown[event:], robot.robot, told[event - 1])
    begins_us = telemetry[moved].time_us - (
        telemetry[event].time_us if since_us is None else since_us
    )
    assert 0 <= begins_us <= PROMPT_US
    info = robot.session.hello()
    assert (info.state, info.cause) == (state, cause)


RUN = 20
SILENCE = ACTUATORS["emulated"]["silence_samples"]


def test_the_same_run_twice_gives_the_same_bits_and_those_of_sil(emulated, robot_firmware):
    from .wired import Wired

    robots = [emulated(), emulated()]
    for robot in robots:
        robot.arm()
        robot.run(100)
        assert robot.session.hello().state == State.RUNNING
    sil = Wired(*robot_firmware("emulated", BOARDS))
    sil.upload()
    sil.arm()
    sil.run(100)
    commands = [[one.command for one in run.telemetry] for run in (*robots, sil)]
    assert commands[0] == commands[1] == commands[2]
    assert robots[0].told == robots[1].told == [one.command for one in sil.shown]


def test_sensor_silent(emulated):
    """The emulator's clock goes on with ours: the time-out is longer than a busy machine may take
    for a sample."""
    robot = emulated()
    robot.arm(sensor_timeout_ms=SENSOR_TIMEOUT_MS)
    robot.run(RUN)
    telemetry = robot.wait_for(State.STOPPED)
    # The last sample was complete some microseconds before it was taken.
    since_us = telemetry[RUN - 1].time_us + 1000 * SENSOR_TIMEOUT_MS
    assert_safe(robot, RUN, since_us - 100, State.STOPPED, Cause.SENSOR_SILENT)


def test_sensor_damaged(emulated):
    """One is tolerated; of two in a row the second is told the safe output itself."""
    robot = emulated()
    robot.arm()
    robot.run(RUN)
    robot.run(1, line=b"12,x" + b",0" * 9 + b"\n")
    robot.run(RUN)
    robot.run(2, line=b"12,x" + b",0" * 9 + b"\n")
    assert_safe(robot, 2 * RUN + 2, None, State.STOPPED, Cause.SENSOR_DAMAGED)


def test_host_lost(emulated):
    """Where samples are the clock, 100 ms are thirteen of them."""
    robot = emulated()
    robot.arm(host_timeout_ms=HOST_TIMEOUT_MS, host_lost=HostLost.STOP)
    robot.run(RUN)
    robot.session.hello()  # the last good frame
    robot.run(13, beats=False)
    telemetry = robot.wait_for(State.STOPPED)
    assert_safe(robot, RUN + 13, telemetry[RUN + 12].time_us, State.STOPPED, Cause.HOST_LOST)


def set_register(number: int, value: int) -> Callable[[DynamixelDevice], None]:
    def change(device: DynamixelDevice) -> None:
        for servo in device.ids:
            device.registers[servo][number] = value

    return change


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda device: device.errors.update({1: HEAT_ERROR, 2: HEAT_ERROR}), Cause.ACTUATOR_ERROR),
        (set_register(VOLTAGE, 89), Cause.ACTUATOR_VOLTAGE),
        (set_register(TEMPERATURE, 71), Cause.ACTUATOR_TEMPERATURE),
    ],
    ids=["actuator_error", "actuator_voltage", "actuator_temperature"],
)
def test_actuators_in_trouble(emulated, change, cause):
    """The answer alone does it: neither a sample nor a word of the host comes after it. It is that
    to the question of the last frame, or of the one before, where that has not been read."""
    robot = emulated()
    robot.arm()
    robot.run(RUN)
    change(robot.device)
    robot.run(1)
    telemetry = robot.wait_for(State.FAULT)
    event = [one.state for one in telemetry].index(State.FAULT)
    assert event in (RUN, RUN + 1)
    assert_safe(robot, event, None, State.FAULT, cause)


def test_actuator_silent(emulated):
    """Sixty samples without an answer, of which some may have overtaken the last one."""
    robot = emulated()
    robot.arm()
    robot.run(RUN)
    robot.answers = False
    while robot.telemetry[-1].state == State.RUNNING and len(robot.telemetry) < RUN + 2 * SILENCE:
        robot.run(1)
    telemetry = robot.wait_for(State.FAULT)
    event = [one.state for one in telemetry].index(State.FAULT)
    assert RUN + SILENCE // 2 < event < RUN + 2 * SILENCE
    since_us = telemetry[event - 1].time_us
    assert_safe(robot, event, since_us, State.FAULT, Cause.ACTUATOR_SILENT)


def test_asked(emulated):
    robot = emulated()
    robot.arm()
    robot.run(RUN)
    robot.session.stop()
    assert_safe(robot, RUN, None, State.STOPPED, Cause.ASKED)


# ------------------------------------------------------------------ a fault of the processor


def test_a_fault_of_the_processor_restarts_in_fault(emulated, robot_firmware, settings, tmp_path):
    """The firmware itself, with one instruction changed that only CONFIGURE comes to. The servos
    are told the neutral command by the handler, before BOOT, and again at the start; then nothing
    more until somebody arms."""
    built, description = robot_firmware("emulated", BOARDS)
    robot = emulated(with_code(built.elf, "undefined_instruction", tmp_path / "bad.elf"))
    robot.arm()
    robot.run(RUN)
    assert np.abs(np.subtract(robot.told[-1], description.command_neutral)).max() > 0.1
    configure = Configure(**{
        name: tuple(value) if isinstance(value, list) else value
        for name, value in physical_settings(settings, description).items()
    })  # fmt: skip
    session = robot.session
    session._transport.write(encode_frame(configure.encode(session.info.sizes)))
    robot.read_actuators(RUN + 2)
    for told in robot.told[RUN:]:
        assert told == pytest.approx(description.command_neutral, abs=resolution(description))
    info = session.hello()
    assert (info.state, info.cause) == (State.FAULT, Cause.CRASHED)
    assert session.telemetry(0.2) is None
    assert session.crash.cause == CrashCause.USAGE_FAULT
    assert len(robot.told) == RUN + 2
    robot.arm()
    robot.feel(b"\n")  # it may have come into the middle of a line
    robot.feel()
    robot.read_actuators(RUN + 3)
    assert session.hello().state == State.RUNNING
