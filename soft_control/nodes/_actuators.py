"""What the nodes of actuators share: commands pass a gate and become bytes on a serial port."""

from __future__ import annotations

import dataclasses
import functools
import math
import operator
import time
from typing import ClassVar, Literal

import numpy as np
import serial
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from pydantic import Field, model_validator
from rclpy.timer import Timer
from sensor_msgs.msg import JointState

from soft_control.control import actuator_gate as gate
from soft_control.experiment.health import INACTIVE, ActuatorWatch, Health
from soft_control.experiment.ros_messages import by_name, joint_state, to_ns, to_stamp
from soft_control.link.actuator_status import ActuatorStatus
from soft_control.link.instruments import ACTUATORS as KINDS
from soft_control.link.instruments import ActuatorMaster
from soft_control.link.sensor_reader import WARNING_EVERY_S
from soft_control.nodes._diagnostics import Diagnostics
from soft_control.nodes._managed import ManagedNode, ManagedParameters
from soft_control.nodes._node import Names, check_lengths
from soft_control.nodes._port import CHECK_S, InstrumentPort, ReturningParameters
from soft_control.safe_output import SafeOutput
from soft_control.topics import ACTUATORS, COMMAND, COMMAND_ASKED

STATUS_EVERY_NS = 100_000_000
ENDING_S = 3.0
"""For the way to the safe output at the end; who stops a node waits for 5 s."""


class ActuatorParameters(ManagedParameters, ReturningParameters):
    """The members of the driver's config that are of one kind alone are that kind's parameters,
    under their names in firmware_instruments.actuator_config."""

    port: str = Field(
        min_length=1,
        description="Of the actuators: a path or a link, such as /dev/ttyUSB1, or a USB serial "
        "number, such as usb:A50285BI.",
    )
    baud: int = Field(1_000_000, gt=0, description="Of the port.")
    clock: Literal["lockstep", "realtime"] = Field(
        "realtime", description="Whether time goes on by the stamps of commands, or by itself."
    )
    rate_hz: float = Field(120.0, gt=0, description="Control rate.")
    command_names: Names = Field(min_length=1, description="In the order of the description.")
    command_min: list[float] = Field(description="Lower limit of each command, its unit.")
    command_max: list[float] = Field(description="Upper limit of each command, its unit.")
    command_neutral: list[float] = Field(description="At which a run starts, each its unit.")
    speed_max: list[float] = Field(
        [], description="Largest change of each command a second, its unit; 0, or empty: any."
    )
    safe_output: SafeOutput = Field(
        "hold",
        description="Where the robot goes when commands stop coming, and at the end: the last "
        "command, the neutral one at bounded speed, or let go.",
    )
    timeout_s: float = Field(
        0.2,
        gt=0,
        description="Realtime: without a command for so long the safe output is told, until a "
        "fresh command comes.",
    )
    command_age_max: float = Field(
        2.0,
        gt=0,
        description="Realtime: a command for a sample more than so many control periods ago is "
        "refused.",
    )
    mean_max: float = Field(
        0.0, ge=0, description="Largest mean of (command - its lower limit), its unit; 0: any."
    )
    mean_s: float = Field(10.0, gt=0, description="Time constant of that mean, s.")
    port_timeout_s: float = Field(10.0, ge=0, description="The port may appear within, s.")
    rearm: bool = Field(
        True,
        description="Realtime: whether actuators that come back in mid-run are driven again; else "
        "the run ends when they go.",
    )

    @model_validator(mode="after")
    def fits_together(self) -> ActuatorParameters:
        vectors = ["command_min", "command_max", "command_neutral"]
        vectors += ["speed_max"] if self.speed_max else []
        each = {key: getattr(self, key) for key in vectors}
        check_lengths(self.command_names, "command", **each)
        for name, low, neutral, high in zip(
            self.command_names,
            self.command_min,
            self.command_neutral,
            self.command_max,
            strict=True,
        ):
            if not low < high or not low <= neutral <= high:
                raise ValueError(f"{name}: {low:g} to {high:g} about {neutral:g} is no range")
        if any(speed < 0 for speed in self.speed_max):
            raise ValueError(f"speed_max = {self.speed_max}: wanted no number below 0")
        return self

    def gate_config(self) -> gate.GateConfig:
        """Lockstep waits for a command as long as it takes, and each answers the newest sample."""
        lockstep = self.clock == "lockstep"
        speeds = np.array(self.speed_max or [0.0] * len(self.command_names))
        return gate.GateConfig(
            minimum=np.array(self.command_min),
            maximum=np.array(self.command_max),
            neutral=np.array(self.command_neutral),
            speed_max=np.where(speeds > 0, speeds, math.inf),
            period_s=1 / self.rate_hz,
            safe_output=self.safe_output,
            timeout_s=math.inf if lockstep else self.timeout_s,
            age_max_periods=self.command_age_max,
            mean_max=self.mean_max or math.inf,
            mean_s=self.mean_s,
        )


class ActuatorNode(ManagedNode):
    """NAME is that of the actuators in link.instruments.ACTUATORS.

    Nothing waits for an answer, and no command depends on one.
    """

    MEASURED: ClassVar[tuple[str, ...]] = ()
    """Fields of ActuatorStatus that these actuators know."""

    def __init__(self) -> None:
        super().__init__()
        p: ActuatorParameters = self.parameters
        self.lockstep = p.clock == "lockstep"
        self.config = p.gate_config()
        self.state = gate.reset(self.config)
        self.master = self.new_master()
        self.sample_ns = 0
        self.first_ns: int | None = None
        self.taken = 0
        self.ages_s: list[float] = []
        self.told = 0
        self.lost = 0
        self.was_silent = False
        self.known: dict[int, ActuatorStatus] = {}
        self.news = False
        self.said_ns = -STATUS_EVERY_NS

        self.status = self.publish_on(DiagnosticArray, ACTUATORS)
        self.told_commands = self.publish_on(JointState, COMMAND)
        self.listen(JointState, COMMAND_ASKED, self.on_command)
        self.running_timers: list[Timer] = []
        if not self.lockstep:
            self.watch = ActuatorWatch()
            self.diagnostics = Diagnostics(self, p.port, self.judge)
        self.start()

    def new_master(self) -> ActuatorMaster:
        """That has told nothing yet, and tells all."""
        p: ActuatorParameters = self.parameters
        return KINDS[self.NAME].master(p.model_dump(), len(p.command_names))

    def open(self) -> None:
        # In lockstep a command that is lost is one that the rig waits for.
        may_return = self.parameters.rearm and not self.lockstep
        self.port = InstrumentPort(self, "the line of the actuators", 0, may_return)

    def begin(self) -> None:
        """From the neutral command on: nobody knows where actuators are that were let go."""
        self.state = gate.reset(self.config)
        if not self.lockstep:
            self.running_timers.append(self.create_timer(1 / self.parameters.rate_hz, self.on_tick))
        self.running_timers.append(self.create_timer(CHECK_S, self.check))

    def on_command(self, message: JointState) -> None:
        if not self.is_active:
            return
        asked = by_name(message, self.parameters.command_names, COMMAND_ASKED)
        sample_ns = to_ns(message.header.stamp)
        if self.lockstep:
            if sample_ns <= self.sample_ns:
                raise ValueError(
                    f"{COMMAND_ASKED} came twice for the sample at {sample_ns / 1e9:.6f} s"
                )
            if self.first_ns is None:
                self.first_ns = sample_ns
            # Subtracted as whole numbers: a speed times a rounded time would be another limit.
            now_ns, now_s, age_s = sample_ns, (sample_ns - self.first_ns) / 1e9, 0.0
        else:
            now_ns, now_s = self.get_clock().now().nanoseconds, time.monotonic()
            age_s = (now_ns - sample_ns) / 1e9
            self.ages_s.append(age_s)
        self.sample_ns = sample_ns
        if not self.is_there():
            self.lost += 1
            return
        before = self.state.command
        command = gate.step(self.config, self.state, asked, age_s, now_s)
        if command is None:
            self.get_logger().warning(
                f"refused a command for a sample {age_s:.3f} s ago ({self.state.refused} so far)",
                throttle_duration_sec=WARNING_EVERY_S,
            )
            return
        self.taken += 1
        if self.was_silent:
            self.was_silent = False
            self.get_logger().info("commands come again")
        self.hear()
        self.tell(self.master.drive(command))
        if self.port.failed:
            self.state.command = before  # from which they go on, when they are back
            self.lost += 1
            return
        names = self.parameters.command_names
        self.told_commands.publish(joint_state(sample_ns, names, command))
        self.publish(now_ns)

    def on_tick(self) -> None:
        """Realtime, each control period: who is silent, and what the actuators have said."""
        if not self.is_there():
            return
        now_s = time.monotonic()
        silent = gate.is_silent(self.config, self.state, now_s)
        if silent and not self.was_silent:
            self.get_logger().warning(
                f"no command for {self.parameters.timeout_s:g} s: "
                f"safe output '{self.parameters.safe_output}' until a fresh one comes"
            )
        self.was_silent = silent
        self.hear()
        if silent:
            self.tell(self.safe_bytes(now_s))
        self.publish(self.get_clock().now().nanoseconds)

    def is_there(self) -> bool:
        """Whether there is a port; one that has gone is looked for."""
        if not self.port.failed:
            return True
        if not self.port.came_back():
            return False
        self.go_on()
        return True

    def go_on(self) -> None:
        """The actuators are back, perhaps without having had power meanwhile: all is told again, at
        bounded speed from where they were told to be last. What is let go by itself when nobody
        speaks begins as it does at a start."""
        self.master = self.new_master()
        if self.config.safe_output == "disarm":
            self.state.command, self.state.driving = self.config.neutral.copy(), False
        if self.state.heard_s is not None and not self.state.silent:
            self.state.heard_s = time.monotonic()  # who commands has been heard of all the time
        self.get_logger().warning(
            f"{self.port.where} was away for {self.port.gone_s:.2f} s and is back on "
            f"{self.port.serial.port}: {self.lost} samples lost so far"
        )

    def safe_bytes(self, now_s: float) -> bytes:
        """Of a sample on the way to the safe output."""
        command = gate.safe(self.config, self.state, now_s)
        return self.master.disarm() if command is None else self.master.drive(command)

    def hear(self) -> None:
        """Takes what the actuators have answered, before the next bytes ask anew."""
        if self.port.failed:
            return
        wire = self.port.serial
        try:
            heard = self.master.feed(wire.read(wire.in_waiting))
        except OSError as error:
            self.port.fail(error)
            return
        if heard:
            status = self.master.status
            self.known[status.index] = dataclasses.replace(status)
            self.news = True

    def tell(self, data: bytes) -> None:
        """Of a sample, to the actuators."""
        if self.port.failed:
            return
        try:
            self.port.serial.write(data)
            self.told += 1
        except serial.SerialTimeoutException:
            self.lost += 1
            self.get_logger().warning(
                f"{self.port.where} takes no bytes ({self.lost} samples lost so far)",
                throttle_duration_sec=WARNING_EVERY_S,
            )
        except OSError as error:
            self.port.fail(error)

    def check(self) -> None:
        """Raises RuntimeError where the port is gone for good."""
        if self.is_there():
            self.hear()
        self.port.check(f"{self.told} samples")

    def publish(self, now_ns: int) -> None:
        """What the actuators have said, ten times a second."""
        if not self.news or now_ns - self.said_ns < STATUS_EVERY_NS:
            return
        self.news, self.said_ns = False, now_ns
        message = DiagnosticArray(status=[self.diagnosis(i) for i in sorted(self.known)])
        message.header.stamp = to_stamp(now_ns)
        self.status.publish(message)

    def judge(self, elapsed_s: float) -> Health:
        """Of the last second."""
        if not self.is_active:
            return INACTIVE
        ages_s, self.ages_s = self.ages_s, []
        said = list(self.known.values())
        counts = {
            "commands": self.taken,
            "refused": self.state.refused,
            "limited": self.state.limited,
            "lost": self.lost,
            "bad": sum(status.bad for status in said),
            "reconnections": self.port.reconnections,
        }
        errors = functools.reduce(operator.or_, (status.errors for status in said), 0)
        safe_output, away_s = self.parameters.safe_output, self.port.away_s(time.monotonic())
        return self.watch.judge(
            elapsed_s, counts, ages_s, self.was_silent, errors, safe_output, away_s
        )

    def diagnosis(self, index: int) -> DiagnosticStatus:
        """Of what has answered under this number."""
        said = self.known[index]
        keys = ("errors", *self.MEASURED, "answers", "bad")
        return DiagnosticStatus(
            level=DiagnosticStatus.ERROR if said.errors else DiagnosticStatus.OK,
            name=self.name_of(index),
            hardware_id=self.parameters.port,
            message=f"error bits 0x{said.errors:02x}" if said.errors else "no error",
            values=[KeyValue(key=key, value=f"{getattr(said, key):.6g}") for key in keys],
        )

    def name_of(self, index: int) -> str:
        """Of what answers under this number; by default one for all actuators does."""
        return self.NAME

    def close(self) -> None:
        """The last word on what was counted is that of the end."""
        if self.is_active and not self.lockstep:
            self.diagnostics.say_last()
        super().close()

    def halt(self) -> None:
        """To the safe output, as far as there is a port and, in realtime, time."""
        while self.running_timers:
            self.destroy_timer(self.running_timers.pop())
        if self.state.limited or self.state.refused or self.lost:
            self.get_logger().info(
                f"commands limited: {self.state.limited}, refused: {self.state.refused}; samples "
                f"lost: {self.lost}"
            )
        self.end()

    def release(self) -> None:
        self.port.serial.close()

    def end(self) -> None:
        """In lockstep time stands still, and only what is let go needs none."""
        if self.lockstep and self.config.safe_output != "disarm":
            return
        started_s = now_s = time.monotonic()
        while not gate.is_safe(self.config, self.state) and now_s - started_s < ENDING_S:
            self.tell(self.safe_bytes(now_s))
            if self.port.failed:
                return
            time.sleep(self.config.period_s)
            now_s = time.monotonic()
