"""A simulated rig as a device on two wires: it speaks as its robot's instruments do.

Bytes of whoever drives the actuators come in on one, bytes of the sensor go out on the other. A
sample is over when the actuators have been told it: in lockstep the rig then steps to the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from soft_control.firmware_instruments import actuator_config
from soft_control.link import magnetic
from soft_control.link.instruments import ACTUATORS
from soft_control.link.lace_line import format_line
from soft_control.rigs import Rig, Sample
from soft_control.robots.instruments import Sensor


class RigDevice:
    """What stands at the other end of both wires; time is an argument."""

    def __init__(self, rig: Rig) -> None:
        """Raises ValueError for commands that the robot's actuators cannot be told."""
        robot = rig.description
        kind = ACTUATORS[robot.instruments.actuators.kind].device
        self.actuators = kind(actuator_config(robot), len(robot.commands))
        self._rig = rig
        self._command = robot.command_neutral
        self._write = sensor_writer(robot.instruments.sensor)
        self.line_end = b"" if robot.instruments.sensor.kind == "magnetic" else b"\n"
        """Of a sample that somebody begins to listen in the middle of; a frame has its own."""
        self._time_s = 0.0

    @property
    def completed(self) -> int:
        """Samples for which the actuators have been told what to do."""
        return self.actuators.completed

    @property
    def command(self) -> np.ndarray:
        """(m,) that the actuators follow, in the units of the robot's description: what they were
        told last, in their own steps."""
        return self._command

    def drive(self, data: bytes) -> bytes:
        """Takes bytes for the actuators; returns what these answer."""
        answer = self.actuators.feed(data, self._time_s)
        if self.actuators.command is not None:
            self._command = self.actuators.command
        return answer

    def step(self, duration_s: float) -> None:
        """The rig moves on for so long, s."""
        self.drive(b"")  # a driver may let go when it hears nothing
        self._rig.step(self._command, duration_s)
        self._time_s += duration_s

    def sample(self) -> tuple[Sample, bytes]:
        """What there is to see now, and the bytes in which the sensor says it."""
        seen = self._rig.measure()
        return seen, self._write(seen.signals)


def sensor_writer(sensor: Sensor) -> Callable[[Sequence[int]], bytes]:
    """Counts (p,) to the bytes of a sample. The first begins with the end of a line that nobody has
    seen the beginning of, as it is where one starts to listen to a board that is running."""
    if sensor.kind == "magnetic":
        return _Frames().write
    return _Lines(sensor.format).write


class _Frames:
    def __init__(self) -> None:
        self._counter = 0

    def write(self, counts: Sequence[int]) -> bytes:
        frame = magnetic.encode([int(count) for count in counts], self._counter)
        self._counter += 1
        return frame


class _Lines:
    def __init__(self, line_format: str) -> None:
        self._format = line_format
        self._torn = b"\n"

    def write(self, counts: Sequence[int]) -> bytes:
        torn, self._torn = self._torn, b""
        return torn + format_line(counts, self._format)
