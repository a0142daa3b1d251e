"""The supervisor's table of docs/protocol.md, row by row, in sil: what happens, why, when, and what
the actuators are told."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest

from soft_control.firmware_crash import CrashCause
from soft_control.link.codes import Cause, Clock, HostLost, ResetCause, State, Supervisor
from soft_control.link.dynamixel import HEAT_ERROR, OVERLOAD_ERROR, VOLTAGE_ERROR
from soft_control.link.lace_line import format_line
from soft_control.link.messages import Info, Stop
from soft_control.paths import share

from .wired import FAR, PERIOD_S, REST, Wired, assert_bounded_speed, resolution

PROMPT_S = 0.020
"""Within which the safe output begins."""
HOST_TIMEOUT_MS, SENSOR_TIMEOUT_MS = 100, 60
TIMES = {
    "host_lost": HostLost.STOP,
    "host_timeout_ms": HOST_TIMEOUT_MS,
    "sensor_timeout_ms": SENSOR_TIMEOUT_MS,
    "age_max_ms": 16,
}
VOLTAGE, TEMPERATURE = 42, 43
"""Registers of a servo."""


def table() -> dict[str, tuple[str, str, str]]:
    """event -> (cause, reaction, time) of the page."""
    page = (share() / "docs" / "protocol.md").read_text(encoding="utf-8")
    _, _, rows = page.partition("| event | cause | reaction | time |\n|---|---|---|---|\n")
    lines = rows.partition("\n\n")[0].splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {event: (cause, reaction, time) for event, cause, reaction, time in cells}


# ------------------------------------------------------------------ what brings each event about


def ask_to_stop(robot: Wired) -> float:
    (info,) = robot.tell(Stop())
    assert isinstance(info, Info)
    return robot.now_s


def lose_the_host(robot: Wired) -> float:
    """The sensor goes on."""
    robot.heartbeat()
    at_s = robot.now_s + HOST_TIMEOUT_MS / 1e3
    robot.run(13, beats=False)  # the last one begins then: 100 ms are 12 samples and 4 us
    return at_s + 1e-6


def silence_the_sensor(robot: Wired) -> float:
    at_s = robot.now_s - PERIOD_S + SENSOR_TIMEOUT_MS / 1e3
    while robot.now_s < at_s:
        robot.heartbeat()
        robot.wait(PERIOD_S)
    return at_s


def twice(line: Callable[[Wired], bytes]) -> Callable[[Wired], float]:
    """Once is tolerated; and once again after a good one."""

    def bring_about(robot: Wired) -> float:
        for _ in range(2):
            robot.tick(line(robot))
            assert robot.state == State.RUNNING
            assert robot.telemetry[-1].flags & Supervisor.SENSOR_HELD
            robot.run(1)
        robot.tick(line(robot))
        robot.feel(line(robot))
        return robot.now_s

    return bring_about


def damaged(robot: Wired) -> bytes:
    line = bytearray(format_line(robot.counts()))
    line[len(line) // 2] ^= 0x40
    return bytes(line)


def out_of_range(robot: Wired) -> bytes:
    return format_line([4096, *robot.counts()[1:]])


def jumping(robot: Wired) -> bytes:
    return format_line([200, *robot.counts()[1:]])


def freeze_the_sensor(robot: Wired) -> float:
    """20 samples that are equal to the one before are tolerated, and a damaged one is."""
    line = format_line(robot.counts())
    for _ in range(1 + 20 + 1):
        robot.heartbeat()
        robot.tick(line)
        assert robot.state == State.RUNNING
    robot.feel(line)
    return robot.now_s


def break_the_solver(robot: Wired) -> float:
    """The trajectory goes where a squared error is infinite; the horizon's last point is first."""
    while not robot.telemetry[-1].flags & Supervisor.NOT_FINITE:
        robot.run(1)
    held = robot.command
    robot.run(1)
    assert robot.state == State.RUNNING and (robot.command == held).all()
    robot.heartbeat()
    robot.feel()
    return robot.now_s


def overload_the_processor(robot: Wired) -> float:
    """A step takes longer than a period: the third in a row is an event, two are none."""
    for _ in range(2):
        robot.slow(1.3 * PERIOD_S)
        before = len(robot.telemetry)
        while len(robot.telemetry) < before + 2:
            robot.run(1)
        robot.slow(0.0)
        robot.run(4)
        assert robot.state == State.RUNNING
    robot.slow(1.3 * PERIOD_S)
    before = len(robot.telemetry)
    while len(robot.telemetry) < before + 3:
        robot.run(1)
    late = [bool(one.flags & Supervisor.LATE) for one in robot.telemetry[before : before + 3]]
    assert late == [False, True, True]  # of the step before
    robot.slow(0.0)
    return robot.reached_s


def answered(robot: Wired, change: Callable[[], None]) -> float:
    """Something happens to the servos, and the one of the next question says so."""
    change()
    robot.heartbeat()
    robot.feel()
    while not robot._answers:  # in the timer's time
        robot.wait(PERIOD_S / 9)
    return robot._answers[0][0]


def register(number: int, value: int) -> Callable[[Wired], float]:
    def bring_about(robot: Wired) -> float:
        def change() -> None:
            for servo in robot.device.ids:
                robot.device.registers[servo][number] = value

        return answered(robot, change)

    return bring_about


def error(bit: int) -> Callable[[Wired], float]:
    def bring_about(robot: Wired) -> float:
        return answered(robot, lambda: robot.device.errors.update({1: bit, 2: bit}))

    return bring_about


def silence_the_actuators(robot: Wired) -> float:
    """What they are told still arrives; five samples without an answer are tolerated."""
    hear, robot.device.feed = robot.device.feed, lambda *args: (hear(*args), b"")[1]
    for _ in range(5):
        robot.run(1)
        assert robot.state == State.RUNNING
    before = len(robot.telemetry)
    robot.heartbeat()
    robot.feel()
    while len(robot.telemetry) == before:
        robot.wait(PERIOD_S / 9)
    return robot.now_s + 1e-6  # what it was told was the last command but the safe one


@dataclass(frozen=True)
class Row:
    """A test of a row; its words are those of the page."""

    cause: str
    reaction: str
    time: str
    state: State
    bring_about: dict[str, Callable[[Wired], float]]
    """Ways to the event, by name, for test_row. Returns when the firmware could know, s."""
    clocks: tuple[Clock, ...] = tuple(Clock)
    upload: dict = field(default_factory=dict)
    """Of a trajectory that is not the usual one."""

    @property
    def number(self) -> Cause:
        return Cause(int(self.cause.split()[0]))


IN_A_ROW = "the second in a row"
ROWS = {
    "STOP": Row(
        "1 asked", "stopped; idle where the host drives", "at once",
        State.STOPPED, {"": ask_to_stop},
    ),
    "no good frame of the host": Row(
        "2 host lost", "as ARM says: none, holding, stopped", "host_timeout_ms",
        State.STOPPED, {"": lose_the_host},
    ),
    "no plausible sample of the sensor": Row(
        "3 sensor silent", "stopped", "sensor_timeout_ms",
        State.STOPPED, {"": silence_the_sensor},
    ),
    "a damaged sample": Row(
        "4 sensor damaged", "signals held; stopped", IN_A_ROW,
        State.STOPPED,
        {
            "a flipped bit": twice(damaged),
            "a channel missing": twice(lambda robot: format_line(robot.counts()[:-1])),
            "garbage": twice(lambda robot: bytes(range(128, 160)) + b"\n"),
        },
    ),
    "counts out of range": Row(
        "5 sensor range", "signals held; stopped", IN_A_ROW,
        State.STOPPED, {"": twice(out_of_range)},
    ),
    "a jump between samples": Row(
        "6 sensor rate", "signals held; stopped", IN_A_ROW,
        State.STOPPED, {"": twice(jumping)},
    ),
    "all channels equal for too long": Row(
        "7 sensor frozen", "stopped", "the robot's samples, and two",
        State.STOPPED, {"": freeze_the_sensor},
    ),
    "the solver's result is not finite": Row(
        "8 solver failed", "command held; fault", "the third in a row",
        State.FAULT, {"": break_the_solver},
        upload={"points": (FAR, FAR, (0.0, 1e30, 0.0)), "samples": 200.0, "periodic": False},
    ),
    "a step was not done in time": Row(
        "9 deadline missed", "flag 0x40; fault", "the third in a row",
        State.FAULT, {"": overload_the_processor}, clocks=(Clock.TIMER,),
    ),
    "an error bit of an actuator": Row(
        "10 actuator error", "fault", "at once",
        State.FAULT,
        {"voltage": error(VOLTAGE_ERROR), "heat": error(HEAT_ERROR), "load": error(OVERLOAD_ERROR)},
    ),
    "supply out of range": Row(
        "11 actuator voltage", "fault", "at once",
        State.FAULT, {"low": register(VOLTAGE, 89), "high": register(VOLTAGE, 127)},
    ),
    "an actuator too hot": Row(
        "12 actuator temperature", "fault", "at once",
        State.FAULT, {"": register(TEMPERATURE, 71)},
    ),
    "no answer of the actuators": Row(
        "13 actuator silent", "fault", "the robot's samples",
        State.FAULT, {"": silence_the_actuators},
    ),
    "a fault of the processor": Row(
        "14 crashed", "restart in fault", "at once",
        State.FAULT, {},  # test_a_fault_of_the_processor_restarts_in_fault
    ),
    "an image that is damaged": Row(
        "15 image damaged", "fault, from the start on", "at once",
        State.FAULT, {},  # supply/test_image.py: an emulated board refuses it
    ),
    "an image for another board": Row(
        "16 image of other board", "fault, from the start on", "at once",
        State.FAULT, {},  # supply/test_image.py: a library that says another board
    ),
}  # fmt: skip


def test_every_row_of_the_page_has_its_test():
    """And says what the test does."""
    assert table() == {event: (row.cause, row.reaction, row.time) for event, row in ROWS.items()}
    for row in ROWS.values():
        assert row.cause.split(maxsplit=1)[1] == row.number.name.lower().replace("_", " ")
        assert row.state.name.lower() in row.reaction
    assert [row.number for row in ROWS.values()] == list(Cause)[1:]
    assert [row.number for row in ROWS.values() if not row.bring_about] == [
        Cause.CRASHED, Cause.IMAGE_DAMAGED, Cause.IMAGE_OF_OTHER_BOARD,
    ]  # fmt: skip


CASES = [
    pytest.param(row, way, clock, id=re.sub(r"\W+", "_", f"{event} {name} {clock.name}"))
    for event, row in ROWS.items()
    for name, way in row.bring_about.items()
    for clock in row.clocks
]


def assert_safe(robot: Wired, at_s: float, safe: str, start: tuple[float, ...]) -> None:
    """What the actuators are told from at_s on: it begins promptly, is reached, and stays."""
    after = [shown for shown in robot.shown if shown.at_s >= at_s - 1e-9]
    last = np.array([shown for shown in robot.shown if shown.at_s < at_s - 1e-9][-1].command)
    neutral = robot.robot.command_neutral
    assert np.abs(last - neutral).max() > 0.3  # there is a way to go
    commands = np.array([shown.command for shown in after])
    assert after[0].at_s - at_s <= PROMPT_S
    if safe == "disarm":
        assert not any(shown.armed for shown in after)
        return
    assert all(shown.armed for shown in after)
    assert_bounded_speed(robot.shown, robot.robot, start)
    if safe == "hold":
        assert (commands == last).all()
        return
    moved = next(i for i, command in enumerate(commands) if (command != last).any())
    assert after[moved].at_s - at_s <= PROMPT_S
    distance = np.abs(commands - neutral)
    assert (np.diff(distance, axis=0) <= 0.0).all()
    assert (distance[-1] <= resolution(robot.robot)).all()


@pytest.mark.parametrize("safe", ["hold", "neutral", "disarm"])
@pytest.mark.parametrize(("row", "bring_about", "clock"), CASES)
def test_row(wired, row, bring_about, clock, safe):
    robot = wired(safe)
    robot.upload(**row.upload)
    robot.arm(clock=clock, **TIMES)
    robot.run(40)
    assert robot.state == State.RUNNING
    at_s = bring_about(robot)
    robot.wait(max(at_s - robot.now_s, 0.0) + PROMPT_S)
    told = robot.hello()
    assert (told.state, told.cause) == (row.state, row.number)
    robot.run(80)  # all is well again, but for what broke
    told = robot.hello()
    assert (told.state, told.cause) == (row.state, row.number)
    assert_safe(robot, at_s, safe, REST)


@pytest.mark.parametrize(("row", "bring_about", "clock"), CASES)
def test_only_arm_leaves_it(wired, row, bring_about, clock):
    """Whatever else is said: no message but ARM lets the robot move on."""
    robot = wired("hold")
    robot.upload(**row.upload)
    robot.arm(clock=clock, **TIMES)
    robot.run(40)
    bring_about(robot)
    robot.wait(PROMPT_S)
    robot.run(20)
    robot.drive(0, REST)
    robot.run(5)
    assert robot.state == row.state
    robot.repair()
    robot.upload()
    robot.arm(clock=clock, **TIMES)
    robot.wait(PERIOD_S)  # where samples are the clock, one is a control period
    robot.run(20)
    assert robot.state == State.RUNNING
    assert_bounded_speed(robot.shown, robot.robot, REST)


@pytest.mark.parametrize("safe", ["hold", "neutral", "disarm"])
def test_a_fault_of_the_processor_restarts_in_fault(wired, safe):
    """Its handler has no time for a way: the servos' own speed bounds the one to neutral."""
    robot = wired(safe)
    robot.upload()
    robot.arm(**TIMES)
    robot.run(40)
    last, count = robot.command, len(robot.shown)
    robot.crash()
    told = robot.hello()
    assert (told.state, told.cause) == (State.FAULT, Cause.CRASHED)
    boot, _, crash = robot.messages[-3:]
    assert (boot.reset_cause, crash.cause) == (ResetCause.FAULT, CrashCause.BUS_FAULT)
    robot.run(20)
    assert robot.state == State.FAULT
    assert robot.device.armed == (safe != "disarm")
    if safe == "hold":
        assert len(robot.shown) == count
    if safe == "neutral":
        neutral = robot.robot.command_neutral
        assert robot.command == pytest.approx(neutral, abs=resolution(robot.robot))
        assert np.abs(last - neutral).max() > 0.3
    robot.tell(Stop())
    assert not robot.device.armed and robot.state == State.IDLE
