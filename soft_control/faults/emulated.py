"""A robot whose controller is the board's ELF under QEMU, with instruments on lines of its own.

In lockstep: samples are the clock. Times are the microcontroller's.
"""

from __future__ import annotations

import contextlib
import os
import select
import time
from collections.abc import Sequence
from pathlib import Path

from soft_control.faults.wire import Way, Wire
from soft_control.faults.wired import Shown
from soft_control.firmware_files import FirmwareBuild
from soft_control.firmware_instruments import actuator_config
from soft_control.link.codes import State, Wiring
from soft_control.link.instruments import ACTUATORS
from soft_control.link.messages import Telemetry
from soft_control.link.session import McuSession
from soft_control.link.transport import PilTransport, Port
from soft_control.robots.description import RobotDescription

PATIENCE_S = 30.0
"""For what comes in milliseconds: only a failing run waits as long."""


class EmulationError(RuntimeError):
    """The emulated robot did not do what it is waited for."""


def terminal(stack: contextlib.ExitStack) -> tuple[int, Path]:
    """A pseudo terminal: our end, and the name of the one that an emulator takes for a port. The
    stack closes both."""
    ours, theirs = os.openpty()
    stack.callback(os.close, ours)
    stack.callback(os.close, theirs)
    return ours, Path(os.ttyname(theirs))


class Emulated:
    """Armed with the session's `upload` and `arm`, then sample after sample with `step`."""

    def __init__(
        self,
        built: FirmwareBuild,
        robot: RobotDescription,
        elf: Path,
        stack: contextlib.ExitStack,
    ) -> None:
        """elf: of the build, or a copy of it that was changed. The stack ends it."""
        (self.sensor, sensor), (self.actuator, actuator) = terminal(stack), terminal(stack)
        self.transport = PilTransport(elf, machine=built.machine, sensor=sensor, actuator=actuator)
        self.session = McuSession(self.transport)
        stack.callback(self.session.close)
        self.robot = robot
        kind = robot.instruments.actuators.kind
        self.device = ACTUATORS[kind].device(actuator_config(robot), len(robot.commands))
        self.answers = True
        """Whether the actuators answer."""
        self.wires = {(port, way): Wire() for port in Port for way in Way}
        self.told: list[tuple[float, ...]] = []
        """What each frame on the actuators' line said."""
        self.told_s: list[float] = []
        """When, by this machine's clock."""
        self.telemetry: list[Telemetry] = []
        os.write(self.sensor, b"\n")

    def arm(self, points: Sequence[Sequence[float]], **changes: int) -> None:
        """A run that follows those points (T, n) from its rest."""
        count = len(self.robot.outputs)
        self.session.upload(points, 2**32 // len(points), True, [float("inf")] * count)
        neutral, rest = self.robot.command_neutral, self.robot.output_rest
        self.session.arm(neutral, rest, wiring=Wiring.MCU, **changes)

    def write_sensor(self, data: bytes) -> None:
        """Bytes of the sensor."""
        arrived = self.wires[Port.SENSOR, Way.IN].carry(data, time.monotonic())
        if arrived:
            os.write(self.sensor, arrived)

    def read_actuators(self, frames: int, patience_s: float = PATIENCE_S) -> None:
        """Until so many have come in all; the actuators answer. Raises EmulationError."""
        deadline = time.monotonic() + patience_s
        while len(self.told) < frames:
            left = deadline - time.monotonic()
            if left <= 0:
                raise EmulationError(f"{len(self.told)} frames for the actuators, not {frames}")
            if select.select([self.actuator], [], [], left)[0]:
                data = os.read(self.actuator, 4096)
                for byte in self.wires[Port.ACTUATOR, Way.OUT].carry(data, time.monotonic()):
                    self._take(byte)

    def _take(self, byte: int) -> None:
        completed = self.device.completed
        answer = self.device.feed(bytes([byte]), time.monotonic())
        if self.device.completed > completed:
            self.told.append(tuple(map(float, self.device.command)))
            self.told_s.append(time.monotonic())
        if answer and self.answers:
            back = self.wires[Port.ACTUATOR, Way.IN].carry(answer, time.monotonic())
            if back:
                os.write(self.actuator, back)

    def read_telemetry(self) -> None:
        """Of all frames: one each. Raises EmulationError."""
        while len(self.telemetry) < len(self.told):
            one = self.session.telemetry(PATIENCE_S)
            if one is None:
                raise EmulationError(f"{len(self.telemetry)} reports of {len(self.told)} frames")
            self.telemetry.append(one)

    def step(self, line: bytes, beats: bool = True) -> None:
        """A sample of the sensor, and what the actuators are told for it."""
        if beats:
            self.session.heartbeat()
        self.write_sensor(line)
        self.read_actuators(len(self.told) + 1)
        self.read_telemetry()

    def wait_for(self, *states: State, reports: int = 40) -> list[Telemetry]:
        """TELEMETRY of all frames, until so many of them are of such a state."""
        while sum(one.state in states for one in self.telemetry) < reports:
            self.read_actuators(len(self.told) + 1)
            self.read_telemetry()
        return self.telemetry

    def shown(self) -> list[Shown]:
        """Frames of the wire with the microcontroller's time."""
        first = self.telemetry[0].time_us
        return [
            Shown((one.time_us - first) * 1e-6, command, True)
            for one, command in zip(self.telemetry, self.told, strict=False)
        ]
