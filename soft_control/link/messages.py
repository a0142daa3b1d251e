"""Messages: what a frame's content means, the same table as in firmware/src/wire/message.h.

Each message is one class (link/message_layout.py says what becomes of it).
docs/tutorials/new_message.md adds one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from soft_control.link.message_layout import (
    MESSAGES,
    POINTS,
    Floats,
    Message,
    MessageError,
    Sizes,
    When,
    content_max,
    points_max,
    too_long,
    wire,
)

__all__ = [
    "MESSAGES", "Floats", "Message", "MessageError", "Sizes", "When", "content_max", "points_max",
    "too_long", "wire",
]  # fmt: skip

PROTOCOL_VERSION = 9
HASH_SIZE = 16
BOARD_SIZE = 16
CURVES = 6
"""Products of a point's coordinates, by their places in it: 00, 01, 02, 11, 12, 22."""


class VersionError(RuntimeError):
    """The microcontroller speaks another version of the protocol."""


# ------------------------------------------------------------------ host to microcontroller


@dataclass(frozen=True)
class Hello(Message, type=0x01, answer="Info"):
    """Who is there?"""


@dataclass(frozen=True)
class Arm(Message, type=0x02, answer="Info"):
    """Everything is set for a run: the next sample is k, all lags are the given ones."""

    k: int = wire("I")
    host_us: int = wire("I")
    clock: int = wire("B")
    wiring: int = wire("B")
    source: int = wire("B")
    adapts: int = wire("B")
    host_lost: int = wire("B")
    tethered_samples: int = wire("I")
    host_timeout_ms: int = wire("H")
    sensor_timeout_ms: int = wire("H")
    age_max_ms: int = wire("H")
    command: Floats = wire("f", "commands")
    outputs: Floats = wire("f", "outputs")


@dataclass(frozen=True)
class Reference(Message, type=0x03, when=When.RUNNING):
    """Points of the reference, the first one for sample k."""

    k: int = wire("I")
    points: tuple[Floats, ...] = wire(POINTS)


@dataclass(frozen=True)
class Sample(Message, type=0x04, when=When.RUNNING, in_order=True, answer="Telemetry"):
    """A control step: signals of sample k, reference of sample k + N."""

    k: int = wire("I")
    host_us: int = wire("I")
    signals: Floats = wire("f", "signals")
    reference: Floats = wire("f", "outputs")


@dataclass(frozen=True)
class Observe(Message, type=0x05, when=When.RUNNING, in_order=True, answer="Telemetry"):
    """A step with a command that somebody else has found: the prediction goes on with it."""

    k: int = wire("I")
    signals: Floats = wire("f", "signals")
    command: Floats = wire("f", "commands")


@dataclass(frozen=True)
class Measurement(Message, type=0x06, when=When.RUNNING):
    """The measured outputs of sample k, sent before its SAMPLE."""

    k: int = wire("I")
    host_us: int = wire("I")
    outputs: Floats = wire("f", "outputs")


@dataclass(frozen=True)
class Configure(Message, type=0x07, answer="Info"):
    """Other weights and narrower bounds, from the next sample on."""

    command_min: Floats = wire("f", "commands")
    command_max: Floats = wire("f", "commands")
    move_max: Floats = wire("f", "commands")
    move_weight: Floats = wire("f", "commands")
    command_weight: Floats = wire("f", "commands")
    command_reference: Floats = wire("f", "commands")
    output_weight: Floats = wire("f", "outputs")
    terminal_weight: Floats = wire("f", "outputs")
    output_min: Floats = wire("f", "outputs")
    output_max: Floats = wire("f", "outputs")
    bound_weight: Floats = wire("f", "outputs")
    disturbance_ratio: float = wire("f")


@dataclass(frozen=True)
class Stop(Message, type=0x08, answer="Info"):
    """The run is over, and whatever was driven has been let go."""


@dataclass(frozen=True)
class Drive(Message, type=0x09, when=When.RUNNING):
    """The host's own command for sample k, which passes the gate of the microcontroller."""

    k: int = wire("I")
    host_us: int = wire("I")
    command: Floats = wire("f", "commands")


@dataclass(frozen=True)
class Heartbeat(Message, type=0x0A):
    """The host is there, and has received so many TELEMETRY since ARM."""

    host_us: int = wire("I")
    received: int = wire("I")


@dataclass(frozen=True)
class Trajectory(Message, type=0x0B, when=When.RESTING):
    """Points of a trajectory, the first one of this number; point 0 begins a new one."""

    first: int = wire("H")
    points: tuple[Floats, ...] = wire(POINTS)


@dataclass(frozen=True)
class TrajectoryEnd(Message, type=0x0C, when=When.RESTING, answer="Info"):
    """All points have been sent: the reference follows them. count 0: it is streamed again."""

    count: int = wire("H")
    periodic: int = wire("B")
    step: int = wire("I")
    blend: Floats = wire("f", "outputs")


@dataclass(frozen=True)
class Switch(Message, type=0x0D, when=When.RUNNING, answer="Info"):
    """Another source of the commands, from sample k on; a k that has passed, or 0: the next one."""

    k: int = wire("I")
    source: int = wire("B")


@dataclass(frozen=True)
class Adapt(Message, type=0x0E, when=When.RESTING, answer="Adaptation"):
    """A row of what the robot of today is like, as an ADAPTATION of before has it."""

    row: int = wire("B")
    gain: Floats = wire("f", "outputs")
    offset: float = wire("f")
    curve: Floats = wire("f", CURVES)


@dataclass(frozen=True)
class AskAdaptation(Message, type=0x0F, answer="Adaptation"):
    """What has been learned of this row of the robot of today?"""

    row: int = wire("B")


@dataclass(frozen=True)
class Keep(Message, type=0x10, answer="Kept"):
    """Settings in force and map of the day outlast the power: codes.Keep says what is wanted."""

    keep: int = wire("B")


# ------------------------------------------------------------------ microcontroller to host


@dataclass(frozen=True)
class Boot(Message, type=0x81):
    """The microcontroller has started and knows nothing."""

    version: int = wire("B")
    reset_cause: int = wire("B")
    board: str = wire("s", BOARD_SIZE)


@dataclass(frozen=True)
class Info(Message, type=0x82):
    """Who is there, and how the link has been since the last ARM."""

    version: int = wire("B")
    model_hash: str = wire("s", HASH_SIZE)
    build_id: str = wire("s", HASH_SIZE)
    board: str = wire("s", BOARD_SIZE)
    commands: int = wire("B")
    outputs: int = wire("B")
    signals: int = wire("B")
    input_lags: int = wire("B")
    output_lags: int = wire("B")
    input_delay: int = wire("B")
    horizon: int = wire("B")
    control_horizon: int = wire("B")
    step_cost_unit: int = wire("B")
    rate_hz: float = wire("f")
    trajectory_points: int = wire("H")
    state: int = wire("B")
    cause: int = wire("B")
    source: int = wire("B")
    source_k: int = wire("I")
    missed_samples: int = wire("I")
    lost_points: int = wire("I")
    telemetry_sent: int = wire("I")
    telemetry_lost: int = wire("I")
    telemetry_dropped: int = wire("I")
    refused: int = wire("I")
    limited: int = wire("I")
    bad_frames: int = wire("I")
    sensor_samples: int = wire("I")
    sensor_dropped: int = wire("I")
    actuator_bad: int = wire("I")
    step_cost_max: int = wire("I")
    stack_free: int = wire("I")

    @property
    def sizes(self) -> Sizes:
        return Sizes(self.commands, self.outputs, self.signals)


@dataclass(frozen=True)
class Telemetry(Message, type=0x83):
    """A sample of the walk: `command` applies from sample k on, the outputs `predicted` are for
    k + 1, `reference` and `signals` are those of k."""

    k: int = wire("I")
    time_us: int = wire("I")
    number: int = wire("I")
    state: int = wire("B")
    cause: int = wire("B")
    flags: int = wire("H")
    status: int = wire("B")
    iterations: int = wire("B")
    latency_us: int = wire("H")
    signals: Floats = wire("f", "signals")
    command: Floats = wire("f", "commands")
    predicted: Floats = wire("f", "outputs")
    reference: Floats = wire("f", "outputs")
    offset: Floats = wire("f", "outputs")
    cost: float = wire("f")
    step_cost: int = wire("I")
    missed_samples: int = wire("I")
    telemetry_lost: int = wire("I")
    actuator_errors: int = wire("B")
    voltage: float = wire("f")
    temperature: float = wire("f")
    doubted: int = wire("I")
    uncertainty: Floats = wire("f", "outputs")


@dataclass(frozen=True)
class Error(Message, type=0x84):
    """A frame was refused: why, and which type it had."""

    code: int = wire("B")
    type: int = wire("B")


@dataclass(frozen=True)
class Crash(Message, type=0x85):
    """What ended the run before the last start: registers as the processor has them."""

    cause: int = wire("B")
    pc: int = wire("I")
    lr: int = wire("I")
    psr: int = wire("I")
    status: int = wire("I")
    address: int = wire("I")
    stack_free: int = wire("I")


@dataclass(frozen=True)
class Adaptation(Message, type=0x86):
    """A row of link/learned_map.py, with the ignorance of its column."""

    row: int = wire("B")
    believed: int = wire("I")
    doubted: int = wire("I")
    gain: Floats = wire("f", "outputs")
    offset: float = wire("f")
    gain_ignorance: float = wire("f")
    offset_ignorance: float = wire("f")
    curve: Floats = wire("f", CURVES)
    curve_ignorance: float = wire("f")


@dataclass(frozen=True)
class Kept(Message, type=0x87):
    """Whether there is memory that outlasts the power, and the number of the copy that is there."""

    can_keep: int = wire("B")
    number: int = wire("I")


def decode(content: bytes, sizes: Sizes) -> Message:
    """The message in the content of a frame. Raises MessageError, VersionError."""
    message = MESSAGES.get(content[0])
    if message is None:
        raise MessageError(f"unknown message type 0x{content[0]:02x}")
    if message in (Boot, Info) and content[1:2] != bytes([PROTOCOL_VERSION]):
        other = content[1] if len(content) > 1 else "none"
        raise VersionError(
            f"the microcontroller speaks protocol version {other}, this host {PROTOCOL_VERSION}: "
            "build and flash its firmware with this soft_control"
        )
    return message.decode(content[1:], sizes)


def host_us() -> int:
    """This host's clock as messages carry it: us, 32 bits, from anywhere."""
    return time.monotonic_ns() // 1000 & 0xFFFFFFFF


def finite(values: Sequence[float]) -> Floats:
    """Numbers of a message. Raises MessageError where one is not finite."""
    numbers = tuple(float(value) for value in np.asarray(values, dtype=float))
    if not all(map(math.isfinite, numbers)):
        raise MessageError(f"{list(numbers)}: not all finite; nothing was sent")
    return numbers
