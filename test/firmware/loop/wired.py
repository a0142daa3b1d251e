"""A firmware that has its own instruments, in sil, and the other ends of its three wires.

Time is simulated and nothing happens but when it passes: the firmware is polled as often as a board
wakes up, the sensor writes a line a control period, the servos answer a millisecond later.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from soft_control.firmware_crash import CrashCause
from soft_control.firmware_files import FirmwareBuild
from soft_control.firmware_instruments import actuator_config
from soft_control.link.codes import Clock, SolverStatus, State, Wiring
from soft_control.link.framing import FrameDecoder, encode_frame
from soft_control.link.instruments import ACTUATORS
from soft_control.link.lace_line import format_line
from soft_control.link.messages import (
    Arm,
    Drive,
    Heartbeat,
    Hello,
    Info,
    Message,
    Sizes,
    Telemetry,
    Trajectory,
    TrajectoryEnd,
    decode,
)
from soft_control.link.transport import Port, SilTransport
from soft_control.robots.description import RobotDescription

RATE_HZ = 120.0
PERIOD_S = 1.0 / RATE_HZ
WAKE_UPS = 9
"""Of a board in a control period: SUBTICKS_OF of boards/board.h."""
ANSWER_S = 0.001
REST, ORIGIN = (-0.17, -0.4), (0.0, 0.0, 0.0)
FAR = (0.0, 0.02, 0.02)
"""A place that is as far from the rest as the servos reach."""
CIRCLE = [
    (0.0, 0.012 * math.sin(a), 0.012 * math.cos(a)) for a in np.linspace(0, 2 * np.pi, 60, False)
]
"""A reference that the servos can follow."""
SIGNALS = ("lace_00",)
MOVE_MAX = 0.0506
"""Of a control period, rad; what the settings of these tests have."""
NEVER = float("inf")


class Shown(NamedTuple):
    """What the actuators have been told by a sample, and when."""

    at_s: float
    command: tuple[float, ...]
    armed: bool


class Wired:
    """Armed with `arm`, then `tick` after `tick`."""

    def __init__(self, build: FirmwareBuild, robot: RobotDescription) -> None:
        self.now_s = 100.0
        self.robot = robot
        self.shown: list[Shown] = []
        self.telemetry: list[Telemetry] = []
        self.messages: list[Message] = []
        """All others."""
        self.repair()
        self.step_s = 0.0
        """That each control step takes."""
        self.reached_s = -NEVER
        """Time before which the firmware is at work and looks at nothing."""
        self._answers: list[tuple[float, bytes]] = []
        self._coming: list[tuple[Port, bytes]] = []
        self._samples = 0
        self._sizes = Sizes(0, 0, 0)
        self._decoder = FrameDecoder()
        self.transport = SilTransport(build.library, lambda: self.now_s)
        self.info = self.hello()
        self._sizes = self.info.sizes
        self.feel(b"\n")  # the board may have come into the middle of a line

    # ------------------------------------------------------------------ the host

    @property
    def host_us(self) -> int:
        return round(self.now_s * 1e6) & 0xFFFFFFFF

    def tell(self, *messages: Message) -> list[Message]:
        """Frames of the host, all at once; returns what else than TELEMETRY comes at once."""
        before = len(self.messages)
        frames = b"".join(encode_frame(message.encode(self._sizes)) for message in messages)
        self._write(Port.HOST, frames)
        return self.messages[before:]

    def hello(self) -> Info:
        self.wait(max(self.reached_s - self.now_s, 0.0))
        self.tell(Hello())
        return next(m for m in reversed(self.messages) if isinstance(m, Info))

    def heartbeat(self) -> None:
        self.tell(Heartbeat(self.host_us, len(self.telemetry)))

    def upload(
        self,
        points: Sequence[Sequence[float]] = (FAR, FAR),
        samples: float = 1000.0,
        periodic: bool = True,
        blend: float = NEVER,
    ) -> None:
        """A trajectory that is gone through in so many samples."""
        for first in range(0, len(points), 10):
            self.tell(Trajectory(first, tuple(map(tuple, points[first : first + 10]))))
        end = TrajectoryEnd(len(points), int(periodic), round(2**32 / samples), (blend,) * 3)
        assert [type(answer) for answer in self.tell(end)] == [Info]

    def arm_message(self, **changes: int) -> Arm:
        usual = Arm(
            0, self.host_us, Clock.SAMPLES, Wiring.MCU, 0, 0, 0, 0, 0, 0, 0, REST, ORIGIN
        )  # fmt: skip
        return replace(usual, **changes)

    def arm(self, **changes: int) -> list[Message]:
        self.telemetry.clear()
        return self.tell(self.arm_message(**changes))

    def drive(self, k: int, command: Sequence[float], host_us: int | None = None) -> list[Message]:
        return self.tell(Drive(k, self.host_us if host_us is None else host_us, tuple(command)))

    # ------------------------------------------------------------------ sensor and time

    def counts(self) -> list[int]:
        """Of the next sample: one channel lives, and moves a little."""
        self._samples += 1
        return [20 + self._samples * 7 % 5] + [0] * (len(self.robot.signals) - 1)

    def feel(self, line: bytes | None = None) -> None:
        """Bytes of the sensor; by default its next sample."""
        self._write(Port.SENSOR, format_line(self.counts()) if line is None else line)

    def wait(self, time_s: float) -> None:
        """Time passes, and the firmware wakes up meanwhile."""
        end_s = self.now_s + time_s
        while self.now_s < end_s - 1e-9:
            self.now_s = min(self.now_s + PERIOD_S / WAKE_UPS, end_s)
            self._write(Port.HOST, b"")

    def tick(self, line: bytes | None = None) -> None:
        """A sample of the sensor, and a control period."""
        self.feel(line)
        self.wait(PERIOD_S)

    def run(self, samples: int, beats: bool = True) -> None:
        for _ in range(samples):
            if beats:
                self.heartbeat()
            self.tick()

    def crash(self) -> None:
        self.transport.crash(CrashCause.BUS_FAULT)
        self._collect()

    def repair(self) -> None:
        """The actuators are new ones."""
        kind = self.robot.instruments.actuators.kind
        device = ACTUATORS[kind].device
        self.device = device(actuator_config(self.robot), len(self.robot.commands))

    def slow(self, step_s: float) -> None:
        self.step_s = step_s
        self.transport.slow(round(step_s * 1e6))

    # ------------------------------------------------------------------ what is known of it

    @property
    def state(self) -> State:
        return State(self.hello().state)

    @property
    def command(self) -> np.ndarray:
        """That the actuators were told last."""
        return np.array(self.shown[-1].command)

    # ------------------------------------------------------------------ the wires

    def _write(self, port: Port, data: bytes) -> None:
        self._coming.append((port, data))
        if self.now_s < self.reached_s:
            return
        while self._answers and self._answers[0][0] <= self.now_s:
            self._coming.append((Port.ACTUATOR, self._answers.pop(0)[1]))
        while self._coming and self.now_s >= self.reached_s:
            self.transport.write_to(*self._coming.pop(0))
            self._collect()

    def _collect(self) -> None:
        """What the firmware has written to its lines: of two things that it did, the second comes
        when the step is over."""
        at_s = self.now_s
        while data := self.transport.read_from(Port.ACTUATOR):
            for byte in data:
                completed = self.device.completed
                answer = self.device.feed(bytes([byte]), at_s)
                if answer:
                    self._answers.append((at_s + ANSWER_S, answer))
                if self.device.completed > completed:
                    told = self.device.command
                    command = () if told is None else tuple(map(float, told))
                    self.shown.append(Shown(at_s, command, self.device.armed))
                    at_s = self.now_s + self.step_s
        while data := self.transport.read_from(Port.HOST):
            for content in self._decoder.feed(data):
                message = decode(content, self._sizes)
                if isinstance(message, Telemetry):
                    self.telemetry.append(message)
                    if message.status != SolverStatus.NONE:
                        self.reached_s = self.now_s + self.step_s
                else:
                    self.messages.append(message)


def resolution(robot: RobotDescription) -> float:
    """Of the actuators, in the unit of the command."""
    config = actuator_config(robot)
    per_unit = config.get("counts_per_unit", [config.get("steps_per_unit")])[0]
    return 1.0 / per_unit


def assert_bounded_speed(shown: Sequence[Shown], robot: RobotDescription, start: Sequence[float]):
    """No command is further from an earlier one than the time between them allows, and none than a
    move from the one before: the actuators round both to their steps."""
    step = resolution(robot)
    at_s = np.array([one.at_s for one in shown])
    commands = np.array([one.command for one in shown])
    moves = np.abs(np.diff(commands, axis=0, prepend=[start])).max(axis=1)
    assert moves.max() <= MOVE_MAX + step
    for back in range(1, min(len(shown), 40)):
        allowed = MOVE_MAX * np.maximum(at_s[back:] - at_s[:-back], 0.0) / PERIOD_S
        way = np.abs(commands[back:] - commands[:-back]).max(axis=1)
        assert (way <= allowed + step + 1e-4).all(), shown[int((way - allowed).argmax()) :][:9]
