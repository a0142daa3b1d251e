"""A robot in simulated time: the rig, its firmware as a library, a host, and wires between them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from soft_control.control.mpc_settings import physical_settings
from soft_control.experiment.rig_device import sensor_writer
from soft_control.faults.fault import Run
from soft_control.faults.host_end import HostEnd, sensor_reader
from soft_control.faults.once import Once
from soft_control.faults.outcome import Loss
from soft_control.faults.wire import Way
from soft_control.faults.wired import WiredFirmware
from soft_control.firmware_files import FirmwareBuild
from soft_control.firmware_instruments import actuator_config
from soft_control.link.codes import Clock, Source, State, Supervisor, Wiring
from soft_control.link.dynamixel import DynamixelDevice
from soft_control.link.framing import CONTENT_LIMIT, FrameDecoder, encode_frame
from soft_control.link.hasel_driver import HaselDriverDevice
from soft_control.link.instruments import ACTUATORS
from soft_control.link.messages import (
    CURVES,
    Adapt,
    Arm,
    Configure,
    Drive,
    Error,
    Measurement,
    Message,
    Observe,
    Reference,
    Sample,
    Telemetry,
    Trajectory,
    TrajectoryEnd,
)
from soft_control.link.transport import Port
from soft_control.rigs import Rig

SAFE = (State.STOPPED, State.FAULT)
VOLTAGE, TEMPERATURE = 42, 43
"""Registers of a Dynamixel servo."""


@dataclass(frozen=True, eq=False)
class Bench:
    """What all faults of a robot are tried on."""

    build: FirmwareBuild
    """With what can be watched, watched."""
    make_rig: Callable[[], Rig]
    reference: np.ndarray
    """(T, n) outputs wanted, one a sample from the first on."""
    rig: str
    """Its name, or the directory of a twin."""
    model: Path
    """Directory of the model that was built."""
    remembered: Once = field(default_factory=Once)
    """What faults share: runs in which nothing is wrong."""


class SilRobot(WiredFirmware):
    """Armed with `begin`, then `tick` after `tick`."""

    def __init__(self, bench: Bench, run: Run, start_s: float = 100.0, first_k: int = 0) -> None:
        """start_s: of all clocks; first_k: number of the first sample."""
        robot = bench.build.robot
        self.build, self.asked, self.first_k = bench.build, run, first_k
        self.rig = bench.make_rig()
        self.reference = bench.reference
        # What a fault changes.
        self.host_speaks = True
        self.of_sensor: Callable[[list[int]], list[int] | None] | None = None
        """What the sensor makes of its counts; None: as they are. It gives None: nothing comes."""
        self.spoil: Callable[[Telemetry], Telemetry] | None = None
        """What becomes of TELEMETRY on its way to the host."""
        self.actuators_answer = True
        self.put_off: list[Message] = []
        """What a host that stands still has not said yet."""
        # What is known of the run.
        self.spoilt = 0
        """Messages with a number that is not finite."""
        self.errors: list[Error] = []
        """That have come."""
        self.safe_since_s: float | None = None
        """When the safe output was decided on, by the firmware or by the gate of the host."""
        self.counts: list[int] = []
        """Of the sensor's last sample."""
        self.lines = 0
        """Samples that the sensor has written since the run began."""
        # Twins of the firmware's readers, at the ends of the same wires.
        self.twin = sensor_reader(robot, start_s)
        self.frame_twin = FrameDecoder(CONTENT_LIMIT)
        kind = ACTUATORS[robot.instruments.actuators.kind]
        self.answer_twin = kind.master(actuator_config(robot), len(robot.commands))
        self.host: HostEnd | None = None
        self._sensor = sensor_writer(robot.instruments.sensor)
        super().__init__(bench.build, robot, start_s)

    # ------------------------------------------------------------------ the run

    def begin(self) -> None:
        """Everything is set: a trajectory, and ARM."""
        self.reference_told = self.reference
        length = len(self.reference)
        self.upload(self.reference, samples=float(length), periodic=False)
        self.arm_message = self.good(Arm)
        self.tell(self.arm_message)
        for kept in (self.sent, self.telemetry, self.shown, self.errors):
            kept.clear()
        if self.asked.wiring == "host":
            self.host = HostEnd(self.robot, self.build.signal_names, self._wanted, self.now_s)
            self.instruments = ()

    def tick(self) -> None:
        """A sample of the sensor, and a control period."""
        if self.host_speaks:
            self.speak()
        counts: list[int] | None = [int(count) for count in self.rig.measure().signals]
        if self.of_sensor:
            counts = self.of_sensor(counts)
        if counts is not None:
            self.counts = counts
            self.write_sensor(self._sensor(counts))
        self.lines += 1
        self.wait(self.period_s)
        told = self.device.command
        neutral = self.robot.command_neutral
        self.rig.step(neutral if told is None else np.asarray(told), self.period_s)

    def _wanted(self, k: int) -> np.ndarray:
        return self.reference[min(k, len(self.reference) - 1)]

    # ------------------------------------------------------------------ the host

    @property
    def next_k(self) -> int:
        return (self.sent[-1].k + 1) & 0xFFFFFFFF if self.sent else self.first_k

    def speak(self) -> None:
        """What a host says in each control period, beside samples of instruments of its own."""
        if self.host is None:
            self.heartbeat()
        if self.asked.source == "host":
            self.tell(self.drive_message())

    def drive_message(self) -> Drive:
        """A command of a controller on the host: to and fro about the neutral one."""
        span = self.robot.command_max - self.robot.command_min
        swing = 0.2 * span * np.sin(2 * np.pi * 0.5 * len(self.sent) * self.period_s + 0.6)
        command = tuple(map(float, self.robot.command_neutral + swing))
        return Drive(self.next_k, self.host_us, command)

    def tell_content(self, content: bytes) -> None:
        """A good frame of whatever content."""
        self._write(Port.HOST, encode_frame(content))

    def good(self, kind: type[Message]) -> Message:
        """A message of that kind as it may come now."""
        k, us, run = self.next_k, self.host_us, self.asked
        rest = tuple(map(float, self.robot.output_rest))
        neutral = tuple(map(float, self.robot.command_neutral))
        signals = (0.5,) * len(self.build.signal_names)
        wanted = tuple(map(float, self._wanted(k - self.first_k)))
        times = (run.host_timeout_ms, run.sensor_timeout_ms, run.age_max_ms)
        modes = (
            Clock[run.clock.upper()], Wiring[run.wiring.upper()], Source[run.source.upper()],
            0, run.host_lost_code, 0,
        )  # fmt: skip
        one_row = tuple(float(i == 0) for i in range(len(rest)))
        made: dict[type[Message], Callable[[], Message]] = {
            Arm: lambda: Arm(self.first_k, us, *modes, *times, neutral, rest),
            Reference: lambda: Reference(k + self.build.horizon, (wanted,)),
            Sample: lambda: Sample(k, us, signals, wanted),
            Observe: lambda: Observe(k, signals, neutral),
            Measurement: lambda: Measurement(k, us, rest),
            Configure: lambda: Configure(**vectors(physical_settings(self.build.mpc, self.robot))),
            Drive: self.drive_message,
            Trajectory: lambda: Trajectory(0, (rest, wanted)),
            TrajectoryEnd: lambda: TrajectoryEnd(2, 1, 2**20, (1.0,) * len(rest)),
            Adapt: lambda: Adapt(0, one_row, 0.0, (0.0,) * CURVES),
        }
        return made[kind]()

    # ------------------------------------------------------------------ wires

    def write_sensor(self, data: bytes) -> None:
        """To the microcontroller, or to the host."""
        if self.host is None:
            super().write_sensor(data)
        else:
            self._hear(data)

    def wait(self, time_s: float) -> None:
        super().wait(time_s)
        if self.host is None:
            return
        if not self.wires[Port.SENSOR, Way.IN].whole:
            self._hear(b"")
        self._drive_from_host(b"")
        if data := self.host.watch(self.now_s):
            if self.safe_since_s is None:
                self.safe_since_s = self.now_s
            self._drive_from_host(data)

    def _hear(self, data: bytes) -> None:
        arrived = self.wires[Port.SENSOR, Way.IN].carry(data, self.now_s)
        for sample in self.host.hear(arrived, self.now_s, self.host_us):
            if self.host_speaks:
                self.tell(sample)

    def _drive_from_host(self, data: bytes) -> None:
        back, arrived = self.wires[Port.ACTUATOR, Way.IN], b""
        while self._answers and self._answers[0][0] <= self.now_s:
            arrived += back.carry(self._answers.pop(0)[1], self.now_s)
        self.host.master.feed(arrived + back.carry(b"", self.now_s))
        self.tell_actuators(self.wires[Port.ACTUATOR, Way.OUT].carry(data, self.now_s), self.now_s)

    def tell_actuators(self, data: bytes, at_s: float) -> float:
        ended_s = super().tell_actuators(data, at_s)
        if not self.actuators_answer:
            self._answers.clear()
        return ended_s

    def actuators_report(
        self, errors: int, voltage: float | None, temperature: float | None
    ) -> None:
        """What the actuators measure of themselves from now on; None: that all is well."""
        report(self.device, errors, voltage, temperature)

    def on_arrived(self, port: Port, data: bytes) -> None:
        if port == Port.SENSOR:
            self.twin.feed(data, self.now_s)
        elif port == Port.ACTUATOR:
            self.answer_twin.feed(data)
        else:
            self.frame_twin.content_max = self._decoder.content_max
            self.frame_twin.feed(data)

    def on_message(self, message: Message) -> None:
        if isinstance(message, Error):
            self.errors.append(message)
        if self.host is not None and isinstance(message, Telemetry):
            told = self.spoil(message) if self.spoil else message
            self._drive_from_host(self.host.take(told, self.now_s))

    def on_sent(self, told: Telemetry) -> None:
        if told.state in SAFE and self.safe_since_s is None:
            self.safe_since_s = self.now_s

    # ------------------------------------------------------------------ what was lost

    def losses(self) -> list[Loss]:
        """Of the run, when its wires are whole again and the host has heard of it."""
        info = self.hello()
        reports = len(self.sent) - len(self.telemetry)
        by_number = self.telemetry[-1].number + 1 - len(self.telemetry) if self.telemetry else 0
        found = [
            Loss("reports", reports, by_number),
            Loss("damaged frames", self.frame_twin.bad_frames, info.bad_frames),
            Loss("damaged answers", self.answer_twin.status.bad, info.actuator_bad),
        ]
        if self.host is not None:
            unheard = self.lines - self.host.reader.samples
            in_vain = self.host.asked - len(self.sent)
            return [*found, Loss("samples", in_vain + unheard, info.missed_samples)]
        if self.safe_since_s is not None:
            return [*found, Loss("damaged samples", self.twin.dropped, info.sensor_dropped)]
        held = sum(bool(told.flags & Supervisor.SENSOR_HELD) for told in self.sent)
        missing = self.lines - self.twin.samples
        return [*found, Loss("samples", missing, held + info.missed_samples)]


def report(device: object, errors: int, voltage: float | None, temperature: float | None) -> None:
    """What actuators measure of themselves from now on; None: that it is as usual. Raises
    ValueError for a kind that measures nothing."""
    if isinstance(device, DynamixelDevice):
        for servo in device.ids:
            device.errors[servo] = errors
            device.registers[servo][VOLTAGE] = 120 if voltage is None else round(10 * voltage)
            device.registers[servo][TEMPERATURE] = round(temperature or 25)
    elif isinstance(device, HaselDriverDevice):
        device.faults = errors
        device.supply_v = voltage or 6000.0
        device.temperature_c = temperature or 25.0
    else:
        raise ValueError(f"actuators of kind {type(device).__name__} report nothing")


def vectors(settings: Mapping[str, Any]) -> dict[str, Any]:
    """As CONFIGURE has them."""
    return {
        name: tuple(map(float, value)) if isinstance(value, Sequence) else float(value)
        for name, value in settings.items()
    }
