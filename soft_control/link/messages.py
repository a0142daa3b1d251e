"""Messages: what a frame's content means, the same table as in firmware/src/wire/message.h.

Each message is one class: its type, when the firmware takes it, what answers it, and its fields in
wire order. Encoding, decoding, lengths and how a session waits follow from that.
docs/tutorials/new_message.md adds one.
"""

from __future__ import annotations

import dataclasses
import enum
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from soft_control.link.framing import CONTENT_LIMIT, CONTENT_MAX

PROTOCOL_VERSION = 6
HASH_SIZE = 16
BOARD_SIZE = 16

Floats = tuple[float, ...]


class MessageError(ValueError):
    """Content that is no message, or fields that fit into none."""


class VersionError(RuntimeError):
    """The microcontroller speaks another version of the protocol."""


class When(enum.Enum):
    """In which states the firmware takes a message."""

    ANY_TIME = "any time"
    RUNNING = "running"
    """armed, running or holding"""
    RESTING = "resting"
    """not so"""


class Sizes(NamedTuple):
    """The lengths of the vectors in the messages."""

    commands: int
    outputs: int
    signals: int


def _wire(code: str, count: str | int = 1) -> Any:
    """A field: `count` values of a struct code, one or as many as a name in Sizes says; text of
    `count` characters (s); or points (POINTS): a u8 with their number, then the outputs of each."""
    return dataclasses.field(metadata={"code": code, "count": count})


POINTS = "points"

MESSAGES: dict[int, type[Message]] = {}
"""Type on the wire -> class. Classes enter by themselves."""


@dataclass(frozen=True)
class Message:
    """Base of all messages.

    A subclass says its type on the wire, when the firmware takes it, whether its k must be in
    order, and the name of the class that answers it.
    """

    TYPE: ClassVar[int]
    WHEN: ClassVar[When]
    IN_ORDER: ClassVar[bool]
    ANSWER: ClassVar[str | None]

    def __init_subclass__(
        cls,
        type: int,
        when: When = When.ANY_TIME,
        in_order: bool = False,
        answer: str | None = None,
    ) -> None:
        if type in MESSAGES:
            raise TypeError(f"message type 0x{type:02x}: {cls.__name__}, {MESSAGES[type].__name__}")
        cls.TYPE, cls.WHEN, cls.IN_ORDER, cls.ANSWER = type, when, in_order, answer
        MESSAGES[type] = cls

    @classmethod
    def title(cls) -> str:
        """Its name in docs/protocol.md: TRAJECTORY_END."""
        return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", cls.__name__).upper()

    @classmethod
    def answered_by(cls) -> type[Message] | None:
        """The class of the answer; None: the firmware says nothing if all is well."""
        found = {message.__name__: message for message in MESSAGES.values()}
        return found[cls.ANSWER] if cls.ANSWER else None

    @classmethod
    def lengths(cls, sizes: Sizes) -> range:
        """The lengths in bytes that its content can have, type included."""
        least = cls.length_min(sizes)
        if all(field.metadata["code"] != POINTS for field in dataclasses.fields(cls)):
            return range(least, least + 1)
        step = 4 * sizes.outputs
        return range(least, least + step * points_max(sizes) + 1, step)

    @classmethod
    def length_min(cls, sizes: Sizes) -> int:
        """The least of them: without points."""
        length = 1
        for field in dataclasses.fields(cls):
            code, count = _layout(field, sizes)
            length += 1 if code == POINTS else count * struct.calcsize(f"<{code}")
        return length

    def encode(self, sizes: Sizes) -> bytes:
        """Content of a frame. Raises MessageError if a field does not fit."""
        content = bytes([self.TYPE])
        try:
            for field in dataclasses.fields(self):
                value, (code, count) = getattr(self, field.name), _layout(field, sizes)
                if code == POINTS:
                    content += _pack_points(value, sizes)
                elif code == "s":
                    content += struct.pack(f"<{count}s", value.encode("ascii"))
                else:
                    values = value if isinstance(field.metadata["count"], str) else (value,)
                    content += struct.pack(f"<{count}{code}", *values)
        except (struct.error, OverflowError, ValueError) as error:
            raise MessageError(f"{type(self).__name__} {self}: {error}") from error
        return content

    @classmethod
    def decode(cls, payload: bytes, sizes: Sizes) -> Message:
        """Raises MessageError if the length is wrong."""
        arguments, at = {}, 0
        try:
            for field in dataclasses.fields(cls):
                code, count = _layout(field, sizes)
                if code == POINTS:
                    (number,) = struct.unpack_from("<B", payload, at)
                    point = struct.Struct(f"<{sizes.outputs}f")
                    places = [at + 1 + point.size * i for i in range(number)]
                    value: Any = tuple(point.unpack_from(payload, place) for place in places)
                    at += 1 + point.size * number
                else:
                    value = struct.unpack_from(f"<{count}{code}", payload, at)
                    at += struct.calcsize(f"<{count}{code}")
                    if code == "s":
                        value = value[0].rstrip(b"\0").decode("ascii", "replace")
                    elif not isinstance(field.metadata["count"], str):
                        value = value[0]
                arguments[field.name] = value
        except struct.error as error:
            raise MessageError(f"{cls.__name__} of {len(payload)} bytes: {error}") from error
        if at != len(payload):
            raise MessageError(f"{cls.__name__} of {len(payload)} bytes: its fields have {at}")
        return cls(**arguments)


def _layout(field: dataclasses.Field, sizes: Sizes) -> tuple[str, int]:
    count = field.metadata["count"]
    return field.metadata["code"], getattr(sizes, count) if isinstance(count, str) else count


def _pack_points(points: Sequence[Floats], sizes: Sizes) -> bytes:
    if len(points) > points_max(sizes) or any(len(point) != sizes.outputs for point in points):
        raise ValueError(f"{len(points)} points do not fit a frame")
    flat = [value for point in points for value in point]
    return struct.pack(f"<B{len(flat)}f", len(points), *flat)


# ------------------------------------------------------------------ host to microcontroller


@dataclass(frozen=True)
class Hello(Message, type=0x01, answer="Info"):
    """Who is there?"""


@dataclass(frozen=True)
class Arm(Message, type=0x02, answer="Info"):
    """Everything is set for a run: the next sample is k, all lags are the given ones."""

    k: int = _wire("I")
    host_us: int = _wire("I")
    clock: int = _wire("B")
    wiring: int = _wire("B")
    source: int = _wire("B")
    tethered: int = _wire("B")
    host_lost: int = _wire("B")
    host_timeout_ms: int = _wire("H")
    sensor_timeout_ms: int = _wire("H")
    age_max_ms: int = _wire("H")
    command: Floats = _wire("f", "commands")
    outputs: Floats = _wire("f", "outputs")


@dataclass(frozen=True)
class Reference(Message, type=0x03, when=When.RUNNING):
    """Points of the reference, the first one for sample k."""

    k: int = _wire("I")
    points: tuple[Floats, ...] = _wire(POINTS)


@dataclass(frozen=True)
class Sample(Message, type=0x04, when=When.RUNNING, in_order=True, answer="Telemetry"):
    """A control step: signals of sample k, reference of sample k + N."""

    k: int = _wire("I")
    host_us: int = _wire("I")
    signals: Floats = _wire("f", "signals")
    reference: Floats = _wire("f", "outputs")


@dataclass(frozen=True)
class Observe(Message, type=0x05, when=When.RUNNING, in_order=True, answer="Telemetry"):
    """A step with a command that somebody else has found: the prediction goes on with it."""

    k: int = _wire("I")
    signals: Floats = _wire("f", "signals")
    command: Floats = _wire("f", "commands")


@dataclass(frozen=True)
class Measurement(Message, type=0x06, when=When.RUNNING):
    """The measured outputs of sample k, sent before its SAMPLE."""

    k: int = _wire("I")
    host_us: int = _wire("I")
    outputs: Floats = _wire("f", "outputs")


@dataclass(frozen=True)
class Configure(Message, type=0x07, answer="Info"):
    """Other weights and narrower bounds, from the next sample on."""

    command_min: Floats = _wire("f", "commands")
    command_max: Floats = _wire("f", "commands")
    move_max: Floats = _wire("f", "commands")
    move_weight: Floats = _wire("f", "commands")
    command_weight: Floats = _wire("f", "commands")
    command_reference: Floats = _wire("f", "commands")
    output_weight: Floats = _wire("f", "outputs")
    terminal_weight: Floats = _wire("f", "outputs")
    output_min: Floats = _wire("f", "outputs")
    output_max: Floats = _wire("f", "outputs")
    bound_weight: Floats = _wire("f", "outputs")
    disturbance_ratio: float = _wire("f")


@dataclass(frozen=True)
class Stop(Message, type=0x08, answer="Info"):
    """The run is over, and whatever was driven has been let go."""


@dataclass(frozen=True)
class Drive(Message, type=0x09, when=When.RUNNING):
    """The host's own command for sample k, which passes the gate of the microcontroller."""

    k: int = _wire("I")
    host_us: int = _wire("I")
    command: Floats = _wire("f", "commands")


@dataclass(frozen=True)
class Heartbeat(Message, type=0x0A):
    """The host is there, and has received so many TELEMETRY since ARM."""

    host_us: int = _wire("I")
    received: int = _wire("I")


@dataclass(frozen=True)
class Trajectory(Message, type=0x0B, when=When.RESTING):
    """Points of a trajectory, the first one of this number; point 0 begins a new one."""

    first: int = _wire("H")
    points: tuple[Floats, ...] = _wire(POINTS)


@dataclass(frozen=True)
class TrajectoryEnd(Message, type=0x0C, when=When.RESTING, answer="Info"):
    """All points have been sent: the reference follows them. count 0: it is streamed again."""

    count: int = _wire("H")
    periodic: int = _wire("B")
    step: int = _wire("I")
    blend: Floats = _wire("f", "outputs")


@dataclass(frozen=True)
class Switch(Message, type=0x0D, when=When.RUNNING, answer="Info"):
    """Another source of the commands, from sample k on; a k that has passed, or 0: the next one."""

    k: int = _wire("I")
    source: int = _wire("B")


# ------------------------------------------------------------------ microcontroller to host


@dataclass(frozen=True)
class Boot(Message, type=0x81):
    """The microcontroller has started and knows nothing."""

    version: int = _wire("B")
    reset_cause: int = _wire("B")
    board: str = _wire("s", BOARD_SIZE)


@dataclass(frozen=True)
class Info(Message, type=0x82):
    """Who is there, and how the link has been since the last ARM."""

    version: int = _wire("B")
    model_hash: str = _wire("s", HASH_SIZE)
    build_id: str = _wire("s", HASH_SIZE)
    board: str = _wire("s", BOARD_SIZE)
    commands: int = _wire("B")
    outputs: int = _wire("B")
    signals: int = _wire("B")
    input_lags: int = _wire("B")
    output_lags: int = _wire("B")
    input_delay: int = _wire("B")
    horizon: int = _wire("B")
    control_horizon: int = _wire("B")
    step_cost_unit: int = _wire("B")
    rate_hz: float = _wire("f")
    trajectory_points: int = _wire("H")
    state: int = _wire("B")
    cause: int = _wire("B")
    source: int = _wire("B")
    source_k: int = _wire("I")
    missed_samples: int = _wire("I")
    lost_points: int = _wire("I")
    telemetry_sent: int = _wire("I")
    telemetry_lost: int = _wire("I")
    telemetry_dropped: int = _wire("I")
    refused: int = _wire("I")
    limited: int = _wire("I")
    bad_frames: int = _wire("I")
    sensor_samples: int = _wire("I")
    sensor_dropped: int = _wire("I")
    actuator_bad: int = _wire("I")
    step_cost_max: int = _wire("I")
    stack_free: int = _wire("I")

    @property
    def sizes(self) -> Sizes:
        return Sizes(self.commands, self.outputs, self.signals)


@dataclass(frozen=True)
class Telemetry(Message, type=0x83):
    """A sample of the walk: `command` applies from sample k on, the outputs `predicted` are for
    k + 1, `reference` and `signals` are those of k."""

    k: int = _wire("I")
    time_us: int = _wire("I")
    number: int = _wire("I")
    state: int = _wire("B")
    cause: int = _wire("B")
    flags: int = _wire("H")
    status: int = _wire("B")
    iterations: int = _wire("B")
    latency_us: int = _wire("H")
    signals: Floats = _wire("f", "signals")
    command: Floats = _wire("f", "commands")
    predicted: Floats = _wire("f", "outputs")
    reference: Floats = _wire("f", "outputs")
    offset: Floats = _wire("f", "outputs")
    cost: float = _wire("f")
    step_cost: int = _wire("I")
    missed_samples: int = _wire("I")
    telemetry_lost: int = _wire("I")
    actuator_errors: int = _wire("B")
    voltage: float = _wire("f")
    temperature: float = _wire("f")


@dataclass(frozen=True)
class Error(Message, type=0x84):
    """A frame was refused: why, and which type it had."""

    code: int = _wire("B")
    type: int = _wire("B")


@dataclass(frozen=True)
class Crash(Message, type=0x85):
    """What ended the run before the last start: registers as the processor has them."""

    cause: int = _wire("B")
    pc: int = _wire("I")
    lr: int = _wire("I")
    psr: int = _wire("I")
    status: int = _wire("I")
    address: int = _wire("I")
    stack_free: int = _wire("I")


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


def content_max(sizes: Sizes) -> int:
    """Bytes of the longest content that a firmware of such sizes takes and sends: a REFERENCE holds
    as many points as fit, of all others there is room for the longest."""
    return max(CONTENT_MAX, *(message.length_min(sizes) for message in MESSAGES.values()))


def points_max(sizes: Sizes) -> int:
    """Points that one REFERENCE holds."""
    return (content_max(sizes) - 6) // (4 * sizes.outputs)


def too_long(sizes: Sizes) -> list[str]:
    """Names of the messages that fit into no frame at such sizes."""
    return [m.title() for m in MESSAGES.values() if m.length_min(sizes) > CONTENT_LIMIT]
