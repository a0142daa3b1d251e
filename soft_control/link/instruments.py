"""The instruments by the names that robots' descriptions have for them, and what all of a kind do.

`config` is what firmware_instruments makes of a description: the members of the driver's C struct.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from soft_control.link.actuator_status import ActuatorStatus
from soft_control.link.analogue import Analogue, AnalogueDevice
from soft_control.link.dynamixel import Dynamixel, DynamixelDevice
from soft_control.link.hasel_driver import HaselDriver, HaselDriverDevice
from soft_control.link.lace_line import LineReader
from soft_control.link.magnetic import MagneticReader
from soft_control.link.sensor_reader import SensorReader


class ActuatorMaster(Protocol):
    """What drives actuators: the bytes of a sample, and their answers."""

    status: ActuatorStatus

    def __init__(self, config: Mapping[str, Any], commands: int) -> None: ...

    def drive(self, command: Sequence[float]) -> bytes:
        """The bytes of a sample that move to command (commands,), in its unit."""

    def disarm(self) -> bytes:
        """The bytes of a sample that let go."""

    def feed(self, data: bytes) -> bool:
        """Takes answers into `status`; True if one was complete."""


class ActuatorDevice(Protocol):
    """What is driven, as a simulated robot has it."""

    completed: int
    """Samples."""

    def __init__(self, config: Mapping[str, Any], commands: int) -> None: ...

    @property
    def command(self) -> np.ndarray | None:
        """(commands,) asked for last; None: none yet."""

    @property
    def armed(self) -> bool: ...

    @property
    def bad(self) -> int:
        """Messages that were damaged."""

    def feed(self, data: bytes, now_s: float) -> bytes:
        """Takes bytes that came at now_s, or none; returns what the device answers."""


class Actuators(NamedTuple):
    """Both ends of a line to actuators."""

    master: type[ActuatorMaster]
    device: type[ActuatorDevice]


SENSORS: dict[str, type[SensorReader]] = {"lightlace": LineReader, "magnetic": MagneticReader}
"""Made of (channels, timeout_s, now_s), and the settings of the kind."""
ACTUATORS = {
    "analogue": Actuators(Analogue, AnalogueDevice),
    "dynamixel": Actuators(Dynamixel, DynamixelDevice),
    "hasel_driver": Actuators(HaselDriver, HaselDriverDevice),
}
