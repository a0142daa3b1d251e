"""What can go wrong with a robot in simulated time, but for its wires: one class a kind.

A kind is a class and a line of INJECTIONS; its fields are settings of the fault.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from pydantic import Field, field_validator

from soft_control.faults.sil import SilRobot
from soft_control.firmware_crash import CrashCause
from soft_control.link.messages import MESSAGES, Message, Stop, Telemetry, When
from soft_control.rigs.parameters import Strict

NOT_FINITE = (math.nan, math.inf, -math.inf)


class Injection(Strict):
    """Nothing, at four occasions."""

    START_S: ClassVar[float] = 100.0
    """What all clocks say at the start."""
    FIRST_K: ClassVar[int] = 0
    """Of the run."""

    def prepare(self, robot: SilRobot) -> None:
        """Before ARM."""

    def begin(self, robot: SilRobot) -> None:
        """When the fault begins."""

    def each(self, robot: SilRobot) -> None:
        """Each control period, the first one included, before the sensor's sample."""

    def end(self, robot: SilRobot) -> None:
        """When it is over."""


# ------------------------------------------------------------------ the host


class HostSilent(Injection):
    """The host says nothing, but hears: it hangs, was killed, or its cable is broken one way."""

    def begin(self, robot: SilRobot) -> None:
        robot.host_speaks = False

    def end(self, robot: SilRobot) -> None:
        robot.host_speaks = True


class HostSlow(HostSilent):
    """The host says something only now and then."""

    every_s: float = Field(0.05, gt=0)

    def each(self, robot: SilRobot) -> None:
        if len(robot.sent) % max(1, round(self.every_s / robot.period_s)) == 0:
            robot.speak()


class HostHeld(HostSilent):
    """The host stands still, and then says at once all that it would have said meanwhile."""

    def each(self, robot: SilRobot) -> None:
        robot.put_off.append(robot.drive_message())

    def end(self, robot: SilRobot) -> None:
        robot.tell(*robot.put_off)
        super().end(robot)


class HostRestarts(Injection):
    """The host starts again, in each control period: HELLO, and ARM as for a run of its own."""

    def each(self, robot: SilRobot) -> None:
        robot.hello()
        robot.tell(replace(robot.arm_message, host_us=robot.host_us))


class HostStops(Injection):
    """Somebody asks for the end of the run."""

    def begin(self, robot: SilRobot) -> None:
        robot.tell(Stop())


class Stranger(Injection):
    """Good frames of what is no message: unknown types, and lengths that no message has."""

    CONTENTS: ClassVar[tuple[bytes, ...]] = (
        b"\x7f", b"\x01\x02\x03", b"\x04" + bytes(7), b"\x02", b"\x83" * 20, b"\x0b\x00\x00\xff",
    )  # fmt: skip

    def each(self, robot: SilRobot) -> None:
        for content in self.CONTENTS:
            robot.tell_content(content)


class NotFinite(Injection):
    """NaN and both infinities in every number of a message, one after another."""

    message: str
    """Its name in docs/protocol.md."""
    fields: tuple[str, ...] = ()
    """Of the message; by default all."""

    @field_validator("message")
    @classmethod
    def _known(cls, value: str) -> str:
        known = [kind.title() for kind in MESSAGES.values()]
        if value not in known:
            raise ValueError(f"{value!r} is none of {', '.join(known)}")
        return value

    @property
    def kind(self) -> type[Message]:
        return next(kind for kind in MESSAGES.values() if kind.title() == self.message)

    def prepare(self, robot: SilRobot) -> None:
        if self.kind.WHEN == When.RESTING or self.kind.title() == "ARM":
            self._tell(robot)

    def begin(self, robot: SilRobot) -> None:
        if self.kind is Telemetry:
            robot.spoil = self._telemetry

    def each(self, robot: SilRobot) -> None:
        if self.kind is not Telemetry and self.kind.WHEN != When.RESTING:
            self._tell(robot)

    def end(self, robot: SilRobot) -> None:
        robot.spoil = None

    def _telemetry(self, told: Telemetry) -> Telemetry:
        spoilt = spoilt_messages(told, self.fields)
        return spoilt[told.number % len(spoilt)]

    def _tell(self, robot: SilRobot) -> None:
        for spoilt in spoilt_messages(robot.good(self.kind), self.fields):
            robot.spoilt += 1
            robot.tell(spoilt)


def spoilt_messages(good: Message, only: Sequence[str] = ()) -> list[Message]:
    """A message with each of its numbers replaced in turn; `only` those of these fields."""
    return [
        replace(good, **{field.name: spoilt})
        for field in dataclasses.fields(good)
        if not only or field.name in only
        for wrong in NOT_FINITE
        for spoilt in _spoilt(getattr(good, field.name), wrong)
    ]


def _spoilt(value: object, wrong: float) -> list[object]:
    """The value with each of its numbers replaced in turn; whole numbers and texts have none."""
    if isinstance(value, float):
        return [wrong]
    if not isinstance(value, tuple):
        return []
    return [
        (*value[:i], spoilt, *value[i + 1 :])
        for i, one in enumerate(value)
        for spoilt in _spoilt(one, wrong)
    ]


class ReferenceNotFinite(Injection):
    """The points of the reference that the host sends with its samples are no numbers."""

    def begin(self, robot: SilRobot) -> None:
        robot.reference = math.nan * robot.reference

    def end(self, robot: SilRobot) -> None:
        robot.reference = robot.reference_told


# ------------------------------------------------------------------ the sensor


class SensorDead(Injection):
    """A channel reads nothing; without a channel all do."""

    channel: int | None = Field(None, ge=0)

    def begin(self, robot: SilRobot) -> None:
        dead = self.channel
        robot.of_sensor = lambda counts: [
            0 if dead in (None, i) else count for i, count in enumerate(counts)
        ]

    def end(self, robot: SilRobot) -> None:
        robot.of_sensor = None


class SensorStuck(SensorDead):
    """A channel stays at what it has read last; without a channel all do."""

    def begin(self, robot: SilRobot) -> None:
        last, stuck = robot.counts, self.channel
        robot.of_sensor = lambda counts: [
            last[i] if stuck in (None, i) else count for i, count in enumerate(counts)
        ]


class SensorReads(SensorDead):
    """A channel reads a number."""

    channel: int = Field(0, ge=0)
    counts: int = 4096

    def begin(self, robot: SilRobot) -> None:
        robot.of_sensor = lambda counts: [
            self.counts if i == self.channel else count for i, count in enumerate(counts)
        ]


class SensorJumps(SensorDead):
    """A channel jumps up, and stays there."""

    channel: int = Field(0, ge=0)
    by: int = 200
    """Counts."""

    def begin(self, robot: SilRobot) -> None:
        robot.of_sensor = lambda counts: self._jumped(counts)

    def _jumped(self, counts: list[int]) -> list[int]:
        return [count + self.by * (i == self.channel) for i, count in enumerate(counts)]


class SensorFlickers(SensorJumps):
    """A channel jumps up in every second sample."""

    def begin(self, robot: SilRobot) -> None:
        robot.of_sensor = lambda counts: self._jumped(counts) if robot.lines % 2 else counts


class SensorSilent(SensorDead):
    """The sensor writes nothing."""

    def begin(self, robot: SilRobot) -> None:
        robot.of_sensor = lambda counts: None


# ------------------------------------------------------------------ the actuators


class ActuatorReports(Injection):
    """Actuators say that something is wrong with them."""

    errors: int = Field(0, ge=0, le=255)
    """Bits."""
    voltage: float | None = Field(None, ge=0)
    """Of their supply, V."""
    temperature: float | None = None
    """Degrees C."""

    def begin(self, robot: SilRobot) -> None:
        robot.actuators_report(self.errors, self.voltage, self.temperature)

    def end(self, robot: SilRobot) -> None:
        robot.actuators_report(0, None, None)


class ActuatorsSilent(Injection):
    """Actuators do what they are told and answer nothing."""

    def begin(self, robot: SilRobot) -> None:
        robot.actuators_answer = False

    def end(self, robot: SilRobot) -> None:
        robot.actuators_answer = True


# ------------------------------------------------------------------ the microcontroller


class Crash(Injection):
    """A fault of the processor."""

    cause: str

    @field_validator("cause")
    @classmethod
    def _known(cls, value: str) -> str:
        known = [cause.name.lower() for cause in CrashCause]
        if value not in known:
            raise ValueError(f"{value!r} is none of {', '.join(known)}")
        return value

    def begin(self, robot: SilRobot) -> None:
        robot.crash(CrashCause[self.cause.upper()])


class Reset(Injection):
    """The microcontroller loses its power for a moment."""

    def begin(self, robot: SilRobot) -> None:
        robot.restart()


class Overloaded(Injection):
    """A control step takes longer than a control period."""

    periods: float = Field(1.3, gt=0, le=10)
    """Control periods that each step takes."""

    def begin(self, robot: SilRobot) -> None:
        robot.slow(self.periods * robot.period_s)

    def end(self, robot: SilRobot) -> None:
        robot.slow(0.0)


# ------------------------------------------------------------------ clock and reference


class TimeWraps(Injection):
    """All clocks of 32 bits begin anew half a second after the run's start."""

    START_S: ClassVar[float] = 2**32 / 1e6 - 0.5


class CounterWraps(Injection):
    """The number of the sample begins anew sixty samples after the run's start."""

    FIRST_K: ClassVar[int] = 2**32 - 60


class FarReference(Injection):
    """The reference is far out of the workspace."""

    factor: float = Field(20.0, gt=1)
    """Times what it is."""

    def prepare(self, robot: SilRobot) -> None:
        robot.reference = self.factor * robot.reference


INJECTIONS: dict[str, type[Injection]] = {
    "host_silent": HostSilent,
    "host_slow": HostSlow,
    "host_held": HostHeld,
    "host_restarts": HostRestarts,
    "host_stops": HostStops,
    "stranger": Stranger,
    "not_finite": NotFinite,
    "reference_not_finite": ReferenceNotFinite,
    "sensor_dead": SensorDead,
    "sensor_stuck": SensorStuck,
    "sensor_reads": SensorReads,
    "sensor_jumps": SensorJumps,
    "sensor_flickers": SensorFlickers,
    "sensor_silent": SensorSilent,
    "actuators_report": ActuatorReports,
    "actuators_silent": ActuatorsSilent,
    "crash": Crash,
    "reset": Reset,
    "overloaded": Overloaded,
    "time_wraps": TimeWraps,
    "counter_wraps": CounterWraps,
    "far_reference": FarReference,
}
"""By the name that a fault has for them."""
