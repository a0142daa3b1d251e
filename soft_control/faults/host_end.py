"""A host that has the instruments, as the nodes are together, in simulated time:

sensor bytes -> reader -> SAMPLE -> firmware -> TELEMETRY -> gate -> actuator bytes
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from soft_control.control import actuator_gate as gate
from soft_control.firmware_instruments import actuator_config, sensor_config
from soft_control.learning.calibration import Calibration
from soft_control.link.instruments import ACTUATORS, SENSORS
from soft_control.link.messages import Sample, Telemetry
from soft_control.link.sensor_reader import SensorReader
from soft_control.robots.description import RobotDescription

TIMEOUT_S = 0.2
"""Without a command for so long the safe output is told: `timeout_s` of the actuators' nodes."""
GAP_MAX = 100


def sensor_reader(robot: RobotDescription, now_s: float) -> SensorReader:
    """The driver of the robot's sensor, which begins to listen now."""
    sensor = robot.instruments.sensor
    told = sensor_config(robot)
    if sensor.kind == "lightlace":
        told = {"signed": sensor.signed, "torn_start": True}
    return SENSORS[sensor.kind](len(robot.signals), math.inf, now_s, **told)


class HostEnd:
    """What hears the sensor, asks the firmware, and tells the actuators."""

    def __init__(
        self,
        robot: RobotDescription,
        signal_names: Sequence[str],
        reference: Callable[[int], np.ndarray],
        now_s: float,
    ) -> None:
        """reference: outputs (n,) wanted at a sample."""
        self.reader = sensor_reader(robot, now_s)
        self.config = gate.GateConfig(
            minimum=robot.command_min,
            maximum=robot.command_max,
            neutral=robot.command_neutral,
            speed_max=np.array([one.speed_max or math.inf for one in robot.commands]),
            period_s=1 / robot.rate_hz,
            safe_output=robot.instruments.actuators.safe_output,
            timeout_s=TIMEOUT_S,
        )
        self.state = gate.reset(self.config)
        self.master = ACTUATORS[robot.instruments.actuators.kind].master(
            actuator_config(robot), len(robot.commands)
        )
        self.asked = 0
        """Samples that the firmware has been asked about."""
        self.answered = 0
        """Of them, those whose answer the gate has taken."""
        self._calibration = Calibration(robot.full_scale_counts)
        self._live = [robot.signal_names.index(name) for name in signal_names]
        self._reference = reference
        self._taken_s: dict[int, float] = {}
        self._period_s = 1 / robot.rate_hz
        self._k, self._last_s = -1, now_s

    def hear(self, data: bytes, now_s: float, host_us: int) -> list[Sample]:
        """What these bytes of the sensor make the host ask; what never came is passed over, by the
        time that went by."""
        asked = []
        for counts in self.reader.feed(data, now_s):
            missed = int((now_s - self._last_s) / self._period_s - 0.5) if self._k >= 0 else 0
            self._k += 1 + min(max(missed, 0), GAP_MAX)
            self._last_s = now_s
            self._taken_s[self._k] = now_s
            signals = tuple(map(float, self._calibration.apply(np.array(counts))[self._live]))
            wanted = tuple(map(float, self._reference(self._k)))
            asked.append(Sample(self._k, host_us, signals, wanted))
        self.asked += len(asked)
        return asked

    def take(self, told: Telemetry, now_s: float) -> bytes:
        """The bytes for the actuators that an answer comes to; none where it is refused."""
        taken_s = self._taken_s.pop(told.k, None)
        if taken_s is None:
            return b""
        command = gate.step(self.config, self.state, np.array(told.command), now_s - taken_s, now_s)
        if command is None:
            return b""
        self.answered += 1
        return self.master.drive(command)

    def watch(self, now_s: float) -> bytes:
        """Each control period: bytes on the way to the safe output, where nobody commands."""
        if not gate.is_silent(self.config, self.state, now_s):
            return b""
        command = gate.safe(self.config, self.state, now_s)
        return self.master.disarm() if command is None else self.master.drive(command)
