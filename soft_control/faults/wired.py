"""A firmware that has its own instruments, in sil, and the other ends of its three wires.

Time is simulated and nothing happens but when it passes: the firmware is polled as often as a board
wakes up, the sensor writes a sample a control period, the actuators answer a millisecond later. All
bytes go over wires that may be damaged.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from soft_control.faults.wire import Way, Wire
from soft_control.firmware_crash import CrashCause
from soft_control.firmware_files import FirmwareBuild
from soft_control.firmware_instruments import actuator_config
from soft_control.link.codes import SolverStatus, State
from soft_control.link.framing import FrameDecoder, encode_frame
from soft_control.link.instruments import ACTUATORS
from soft_control.link.messages import (
    Heartbeat,
    Hello,
    Info,
    Message,
    MessageError,
    Sizes,
    Telemetry,
    Trajectory,
    TrajectoryEnd,
    content_max,
    decode,
)
from soft_control.link.transport import Port, SilTransport
from soft_control.robots.description import RobotDescription

WAKE_UPS = 9
"""Of a board in a control period: SUBTICKS_OF of boards/board.h."""
ANSWER_S = 0.001
NEVER = float("inf")


class Shown(NamedTuple):
    """What the actuators have been told by a sample, and when."""

    at_s: float
    command: tuple[float, ...]
    armed: bool


class WiredFirmware:
    """What is common to all that try a firmware in simulated time."""

    def __init__(
        self, build: FirmwareBuild, robot: RobotDescription, start_s: float = 100.0
    ) -> None:
        """start_s: what the clocks of host and firmware say."""
        self.now_s = start_s
        self.robot = robot
        self.period_s = 1.0 / robot.rate_hz
        self.shown: list[Shown] = []
        self.sent: list[Telemetry] = []
        """All TELEMETRY that the firmware has sent, whatever becomes of it."""
        self.telemetry: list[Telemetry] = []
        """What of it has come."""
        self.messages: list[Message] = []
        """All others that have come."""
        self.wires = {(port, way): Wire() for port in Port for way in Way}
        self.instruments: tuple[Port, ...] = (Port.SENSOR, Port.ACTUATOR)
        """Whose bytes come to the firmware; where a host has them, it hears them itself."""
        self.repair()
        self.step_s = 0.0
        """That each control step takes."""
        self.reached_s = -NEVER
        """Time before which the firmware is at work and looks at nothing."""
        self._answers: list[tuple[float, bytes]] = []
        self._coming: list[tuple[Port, bytes]] = []
        self._sizes = Sizes(0, 0, 0)
        self._decoder, self._tap = FrameDecoder(), FrameDecoder()
        self.transport = SilTransport(build.library, lambda: self.now_s)
        self.info = self.hello()
        self._sizes = self.info.sizes
        self._decoder.content_max = self._tap.content_max = content_max(self._sizes)

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
        """The firmware's counters, where the line to it is whole."""
        self.wait(max(self.reached_s - self.now_s, 0.0))
        self.tell(Hello())
        return next(m for m in reversed(self.messages) if isinstance(m, Info))

    def heartbeat(self) -> None:
        self.tell(Heartbeat(self.host_us, len(self.telemetry)))

    def upload(
        self,
        points: Sequence[Sequence[float]],
        samples: float,
        periodic: bool = True,
        blend: float = NEVER,
    ) -> None:
        """A trajectory (T, n) that is gone through in so many samples."""
        for first in range(0, len(points), 10):
            piece = tuple(tuple(map(float, point)) for point in points[first : first + 10])
            self.tell(Trajectory(first, piece))
        each = (blend,) * len(self.robot.outputs)
        end = TrajectoryEnd(len(points), int(periodic), round(2**32 / samples), each)
        (answer,) = self.tell(end)
        if not isinstance(answer, Info):
            raise ValueError(f"the firmware takes no such trajectory: {answer}")

    # ------------------------------------------------------------------ sensor and time

    def write_sensor(self, data: bytes) -> None:
        """Bytes of the sensor."""
        self._write(Port.SENSOR, data)

    def wait(self, time_s: float) -> None:
        """Time passes, and the firmware wakes up meanwhile."""
        end_s = self.now_s + time_s
        while self.now_s < end_s - 1e-9:
            self.now_s = min(self.now_s + self.period_s / WAKE_UPS, end_s)
            for port in self.instruments:
                if not self.wires[port, Way.IN].whole:
                    self._write(port, b"")
            self._write(Port.HOST, b"")

    def crash(self, cause: CrashCause = CrashCause.BUS_FAULT) -> None:
        """A fault of the processor: the firmware starts again and knows it."""
        self.transport.crash(cause)
        self._collect()

    def restart(self) -> None:
        """A reset: the firmware starts again and knows nothing."""
        self.transport.restart()
        self._collect()

    def repair(self) -> None:
        """The actuators are new ones."""
        kind = self.robot.instruments.actuators.kind
        device = ACTUATORS[kind].device
        self.device = device(actuator_config(self.robot), len(self.robot.commands))

    def slow(self, step_s: float) -> None:
        """Each control step takes so long from now on."""
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
        self._arrive(port, data)
        if self.now_s < self.reached_s:
            return
        while self.instruments and self._answers and self._answers[0][0] <= self.now_s:
            self._arrive(Port.ACTUATOR, self._answers.pop(0)[1])
        while self._coming and self.now_s >= self.reached_s:
            self.transport.write_to(*self._coming.pop(0))
            self._collect()

    def _arrive(self, port: Port, data: bytes) -> None:
        arrived = self.wires[port, Way.IN].carry(data, self.now_s)
        if arrived:
            self.on_arrived(port, arrived)
        self._coming.append((port, arrived))

    def _collect(self) -> None:
        """What the firmware has written to its lines: of two things that it did, the second comes
        when the step is over."""
        wire = self.wires[Port.ACTUATOR, Way.OUT]
        at_s = self.now_s
        while (data := self.transport.read_from(Port.ACTUATOR)) or not wire.whole:
            at_s = self.tell_actuators(wire.carry(data, self.now_s), at_s)
            if not data:
                break
        wire = self.wires[Port.HOST, Way.OUT]
        while (data := self.transport.read_from(Port.HOST)) or not wire.whole:
            self._see_sent(data)
            for content in self._decoder.feed(wire.carry(data, self.now_s)):
                try:
                    message = decode(content, self._sizes)
                except MessageError:
                    continue  # of sizes that are not known yet
                if isinstance(message, Telemetry):
                    self.telemetry.append(message)
                else:
                    self.messages.append(message)
                self.on_message(message)
            if not data:
                break

    def tell_actuators(self, data: bytes, at_s: float) -> float:
        """Bytes come to the actuators at at_s; returns when those behind them would."""
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
        return at_s

    def _see_sent(self, data: bytes) -> None:
        """What leaves the firmware."""
        for content in self._tap.feed(data):
            if content[0] == Telemetry.TYPE:
                told = decode(content, self._sizes)
                self.sent.append(told)
                self.on_sent(told)
                if told.status != SolverStatus.NONE:
                    self.reached_s = self.now_s + self.step_s

    def on_message(self, message: Message) -> None:
        """Something has come to the host."""

    def on_sent(self, told: Telemetry) -> None:
        """The firmware has sent this, whatever becomes of it."""

    def on_arrived(self, port: Port, data: bytes) -> None:
        """Bytes have come to one of the firmware's ports."""
