"""A firmware that has its own instruments, in sil: what the tests of this folder tell it, and what
its sensor reads. What happens on its wires is soft_control/faults/wired.py."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from soft_control.faults.motion import resolution, too_fast
from soft_control.faults.wired import NEVER, Shown, WiredFirmware
from soft_control.firmware_files import FirmwareBuild
from soft_control.link.codes import Clock, Wiring
from soft_control.link.lace_line import format_line
from soft_control.link.messages import Arm, Drive, Message
from soft_control.robots.description import RobotDescription

__all__ = ["NEVER", "Shown", "Wired", "assert_bounded_speed", "resolution"]

RATE_HZ = 120.0
PERIOD_S = 1.0 / RATE_HZ
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


class Wired(WiredFirmware):
    """Armed with `arm`, then `tick` after `tick`."""

    def __init__(self, build: FirmwareBuild, robot: RobotDescription) -> None:
        super().__init__(build, robot)
        self._samples = 0
        self.feel(b"\n")  # the board may have come into the middle of a line

    def upload(
        self,
        points: Sequence[Sequence[float]] = (FAR, FAR),
        samples: float = 1000.0,
        periodic: bool = True,
        blend: float = NEVER,
    ) -> None:
        """A trajectory that is gone through in so many samples."""
        super().upload(points, samples, periodic, blend)

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

    def counts(self) -> list[int]:
        """Of the next sample: one channel lives, and moves a little."""
        self._samples += 1
        return [20 + self._samples * 7 % 5] + [0] * (len(self.robot.signals) - 1)

    def feel(self, line: bytes | None = None) -> None:
        """Bytes of the sensor; by default its next sample."""
        self.write_sensor(format_line(self.counts()) if line is None else line)

    def tick(self, line: bytes | None = None) -> None:
        """A sample of the sensor, and a control period."""
        self.feel(line)
        self.wait(PERIOD_S)

    def run(self, samples: int, beats: bool = True) -> None:
        for _ in range(samples):
            if beats:
                self.heartbeat()
            self.tick()


def assert_bounded_speed(shown: Sequence[Shown], robot: RobotDescription, start: Sequence[float]):
    """No command is further from an earlier one than the time between them allows, and none than a
    move from the one before: the actuators round both to their steps."""
    assert too_fast(shown, robot, start, [MOVE_MAX] * len(start)) is None
