"""Messages: what a frame's content means, the same as firmware/src/wire/message.c.

Each message is declared once, field by field in wire order; encoding and decoding follow from that.
"""

from __future__ import annotations

import dataclasses
import enum
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from soft_control.link.framing import CONTENT_MAX

PROTOCOL_VERSION = 2
SIGNAL_LSB = 1e-4
HASH_SIZE = 16
BOARD_SIZE = 16

Floats = tuple[float, ...]


class MessageError(ValueError):
    """Content that is no message, or fields that fit into none."""


class VersionError(RuntimeError):
    """The microcontroller speaks another version of the protocol."""


class SolverStatus(enum.IntEnum):
    """How the MPC came to its command."""

    CONVERGED = 0
    MAX_ITERATIONS = 1
    NOT_FINITE = 2
    DEADLINE = 3
    INFEASIBLE_PROBLEM = 4
    NONE = 255
    """It was not asked: the sample was observed."""


class Supervisor(enum.IntFlag):
    """What a command went through."""

    NOT_FINITE = 0x01
    LIMITED = 0x02
    HOST_STALE = 0x04
    GAP = 0x08
    LOST_POINT = 0x10


class ErrorCode(enum.IntEnum):
    """Why the microcontroller refused a frame."""

    UNKNOWN_TYPE = 1
    BAD_LENGTH = 2
    WRONG_STATE = 3
    OUT_OF_ORDER = 4
    BAD_VALUE = 5
    HOST_STALE = 6


class ResetCause(enum.IntEnum):
    """Why the microcontroller started."""

    UNKNOWN = 0
    POWER_ON = 1
    PIN = 2
    SOFTWARE = 3
    WATCHDOG = 4
    FAULT = 5


class StepCostUnit(enum.IntEnum):
    """What step_cost counts."""

    NONE = 0
    INSTRUCTIONS = 1
    CYCLES = 2


class Sizes(NamedTuple):
    """The lengths of the vectors in the messages."""

    commands: int
    outputs: int
    signals: int


def _wire(code: str, count: str | int = 1) -> Any:
    """A field of that struct code: one value, a vector of a length in Sizes, or text of a size."""
    return dataclasses.field(metadata={"code": code, "count": count})


@dataclass(frozen=True)
class Message:
    """Base of all messages."""

    TYPE: ClassVar[int]

    def encode(self, sizes: Sizes) -> bytes:
        """Content of a frame. Raises MessageError if a field does not fit."""
        values: list[Any] = []
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.metadata["code"] == "s":
                values.append(value.encode("ascii"))
            elif isinstance(field.metadata["count"], str):
                values.extend(value)
            else:
                values.append(value)
        try:
            return bytes([self.TYPE]) + struct.pack(self._format(sizes), *values)
        except (struct.error, OverflowError) as error:
            raise MessageError(f"{type(self).__name__} {self}: {error}") from error

    @classmethod
    def decode(cls, payload: bytes, sizes: Sizes) -> Message:
        """Raises MessageError if the length is wrong."""
        try:
            values = list(struct.unpack(cls._format(sizes), payload))
        except struct.error as error:
            raise MessageError(f"{cls.__name__} of {len(payload)} bytes: {error}") from error
        arguments = {}
        for field in dataclasses.fields(cls):
            count = field.metadata["count"]
            if field.metadata["code"] == "s":
                text = values.pop(0).rstrip(b"\0")
                arguments[field.name] = text.decode("ascii", "replace")
            elif isinstance(count, str):
                length = getattr(sizes, count)
                arguments[field.name] = tuple(values[:length])
                del values[:length]
            else:
                arguments[field.name] = values.pop(0)
        return cls(**arguments)

    @classmethod
    def _format(cls, sizes: Sizes) -> str:
        layout = "<"
        for field in dataclasses.fields(cls):
            count = field.metadata["count"]
            layout += f"{getattr(sizes, count) if isinstance(count, str) else count}"
            layout += field.metadata["code"]
        return layout


# ------------------------------------------------------------------ host to microcontroller


@dataclass(frozen=True)
class Hello(Message):
    """Asks for INFO."""

    TYPE = 0x01


@dataclass(frozen=True)
class Reset(Message):
    """Start of a run: the next sample is k, all lags are the given ones. Answered by INFO."""

    TYPE = 0x02
    k: int = _wire("I")
    host_timeout_ms: int = _wire("H")
    command: Floats = _wire("f", "commands")
    position: Floats = _wire("f", "outputs")


@dataclass(frozen=True)
class Reference(Message):
    """Points of the reference, the first one for sample k. Not answered."""

    TYPE = 0x03
    k: int = _wire("I")
    points: tuple[Floats, ...] = _wire("f")

    def encode(self, sizes: Sizes) -> bytes:
        flat = [value for point in self.points for value in point]
        if len(flat) != len(self.points) * sizes.outputs or len(self.points) > points_max(sizes):
            raise MessageError(f"Reference of {len(self.points)} points does not fit a frame")
        try:
            return struct.pack(f"<BIB{len(flat)}f", self.TYPE, self.k, len(self.points), *flat)
        except (struct.error, OverflowError) as error:
            raise MessageError(f"Reference {self}: {error}") from error

    @classmethod
    def decode(cls, payload: bytes, sizes: Sizes) -> Reference:
        n = sizes.outputs
        if len(payload) < 5 or len(payload) != 5 + 4 * n * payload[4]:
            raise MessageError(f"Reference of {len(payload)} bytes")
        k, count = struct.unpack_from("<IB", payload)
        flat = struct.unpack_from(f"<{count * n}f", payload, 5)
        return cls(k, tuple(flat[i * n : (i + 1) * n] for i in range(count)))


@dataclass(frozen=True)
class Sample(Message):
    """A control step: signals of sample k, reference of sample k + N. Answered by COMMAND."""

    TYPE = 0x04
    k: int = _wire("I")
    signals: tuple[int, ...] = _wire("h", "signals")
    reference: Floats = _wire("f", "outputs")


@dataclass(frozen=True)
class Observe(Message):
    """A step of a replay: the prediction goes on with this command. Answered by COMMAND."""

    TYPE = 0x05
    k: int = _wire("I")
    signals: tuple[int, ...] = _wire("h", "signals")
    command: Floats = _wire("f", "commands")


@dataclass(frozen=True)
class Position(Message):
    """The measured position of sample k, sent before its SAMPLE. Not answered."""

    TYPE = 0x06
    k: int = _wire("I")
    position: Floats = _wire("f", "outputs")


@dataclass(frozen=True)
class Configure(Message):
    """Other bounds and weights, from the next sample on. Answered by INFO."""

    TYPE = 0x07
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


# ------------------------------------------------------------------ microcontroller to host


@dataclass(frozen=True)
class Boot(Message):
    """The microcontroller has started and knows nothing."""

    TYPE = 0x81
    version: int = _wire("B")
    reset_cause: int = _wire("B")
    board: str = _wire("s", BOARD_SIZE)


@dataclass(frozen=True)
class Info(Message):
    """Who is there, and how the link has been since the last RESET."""

    TYPE = 0x82
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
    missed_samples: int = _wire("I")
    lost_points: int = _wire("I")
    bad_frames: int = _wire("I")

    @property
    def sizes(self) -> Sizes:
        return Sizes(self.commands, self.outputs, self.signals)


@dataclass(frozen=True)
class Command(Message):
    """The answer to sample k: `command` (rad) applies now, `predicted` (m) is for k + 1."""

    TYPE = 0x83
    k: int = _wire("I")
    status: int = _wire("B")
    supervisor: int = _wire("B")
    iterations: int = _wire("B")
    command: Floats = _wire("f", "commands")
    predicted: Floats = _wire("f", "outputs")
    cost: float = _wire("f")
    step_cost: int = _wire("I")


@dataclass(frozen=True)
class Error(Message):
    """A frame was refused: why, and which type it had."""

    TYPE = 0x84
    code: int = _wire("B")
    type: int = _wire("B")


MESSAGES: dict[int, type[Message]] = {
    message.TYPE: message
    for message in (
        Hello,
        Reset,
        Reference,
        Sample,
        Observe,
        Position,
        Configure,
        Boot,
        Info,
        Command,
        Error,
    )
}


def decode(content: bytes, sizes: Sizes) -> Message:
    """The message in a frame's content. Raises MessageError, VersionError."""
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


def points_max(sizes: Sizes) -> int:
    """Points that one REFERENCE holds."""
    return (CONTENT_MAX - 6) // (4 * sizes.outputs)


def signal_counts(calibrated: Sequence[float]) -> tuple[int, ...]:
    """Calibrated signals as the wire has them, in units of SIGNAL_LSB; cut off at ±3.2767."""
    if not all(map(math.isfinite, calibrated)):
        raise MessageError(f"signals {list(calibrated)} are not all finite")
    return tuple(max(-32767, min(32767, round(value / SIGNAL_LSB))) for value in calibrated)
