"""How a message's fields become bytes and back: the base of all messages, and their table.

A message is one class: its type, when the firmware takes it, what answers it, and its fields in
wire order. Encoding, decoding, lengths and how a session waits follow from that.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from soft_control.link.framing import CONTENT_LIMIT, CONTENT_MAX

Floats = tuple[float, ...]


class MessageError(ValueError):
    """Content that is no message, or fields that fit into none."""


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


def wire(code: str, count: str | int = 1) -> Any:
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
        return 1 + sum(1 if one.pack is None else one.pack.size for one in _layout(cls, sizes))

    def encode(self, sizes: Sizes) -> bytes:
        """Content of a frame. Raises MessageError if a field does not fit."""
        content = bytes([self.TYPE])
        try:
            for name, pack, kind in _layout(type(self), sizes):
                value = getattr(self, name)
                if pack is None:
                    content += _pack_points(value, sizes)
                elif kind is Kind.TEXT:
                    content += pack.pack(value.encode("ascii"))
                elif kind is Kind.VECTOR:
                    content += pack.pack(*value)
                else:
                    content += pack.pack(value)
        except (struct.error, OverflowError, ValueError) as error:
            raise MessageError(f"{type(self).__name__} {self}: {error}") from error
        return content

    @classmethod
    def decode(cls, payload: bytes, sizes: Sizes) -> Message:
        """Raises MessageError if the length is wrong."""
        arguments, at = {}, 0
        try:
            for name, pack, kind in _layout(cls, sizes):
                if pack is None:
                    (number,) = struct.unpack_from("<B", payload, at)
                    point = struct.Struct(f"<{sizes.outputs}f")
                    places = [at + 1 + point.size * i for i in range(number)]
                    value: Any = tuple(point.unpack_from(payload, place) for place in places)
                    at += 1 + point.size * number
                else:
                    value = pack.unpack_from(payload, at)
                    at += pack.size
                    if kind is Kind.TEXT:
                        value = value[0].rstrip(b"\0").decode("ascii", "replace")
                    elif kind is Kind.VALUE:
                        value = value[0]
                arguments[name] = value
        except struct.error as error:
            raise MessageError(f"{cls.__name__} of {len(payload)} bytes: {error}") from error
        if at != len(payload):
            raise MessageError(f"{cls.__name__} of {len(payload)} bytes: its fields have {at}")
        return cls(**arguments)


class Kind(enum.Enum):
    """How a field is held."""

    VALUE = "one number"
    VECTOR = "a tuple of numbers"
    TEXT = "text"
    POINTS = "a tuple of tuples"


class Part(NamedTuple):
    """A field on the wire."""

    name: str
    pack: struct.Struct | None
    """None: points."""
    kind: Kind


@functools.lru_cache(maxsize=256)
def _layout(message: type[Message], sizes: Sizes) -> tuple[Part, ...]:
    """Of all fields: found once, since in process it is asked for at every sample."""
    return tuple(_part(field, sizes) for field in dataclasses.fields(message))


def _part(field: dataclasses.Field, sizes: Sizes) -> Part:
    code, count = field.metadata["code"], field.metadata["count"]
    if code == POINTS:
        return Part(field.name, None, Kind.POINTS)
    length = getattr(sizes, count) if isinstance(count, str) else count
    kind = Kind.TEXT if code == "s" else Kind.VALUE if count == 1 else Kind.VECTOR
    return Part(field.name, struct.Struct(f"<{length}{code}"), kind)


def _pack_points(points: Sequence[Floats], sizes: Sizes) -> bytes:
    if len(points) > points_max(sizes) or any(len(point) != sizes.outputs for point in points):
        raise ValueError(f"{len(points)} points do not fit a frame")
    flat = [value for point in points for value in point]
    return struct.pack(f"<B{len(flat)}f", len(points), *flat)


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
