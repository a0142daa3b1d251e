"""message.c against the vectors that messages.py is tested with, too."""

from __future__ import annotations

import ctypes
import json
import re
from pathlib import Path

import numpy as np
import pytest

from soft_control.link.codes import ErrorCode
from soft_control.link.framing import CONTENT_MAX
from soft_control.link.messages import MESSAGES, PROTOCOL_VERSION

from ..conftest import POINTS_MAX

HERE = Path(__file__).parents[1]
VECTORS = json.loads((HERE / "vectors.json").read_text())
TYPES = {message.__name__: message.TYPE for message in MESSAGES.values()}
VECTOR = {vector["name"]: vector for vector in VECTORS["messages"]}
FROM_FIRMWARE = [v["name"] for v in VECTORS["messages"] if TYPES[v["message"]] >= 0x80]
FROM_HOST = [v for v in VECTORS["messages"] if TYPES[v["message"]] < 0x80]
ROWS = {origin: [row for row in VECTORS["table"] if row["from"] == origin]
        for origin in ("host", "microcontroller")}  # fmt: skip

WHEN = ("any time", "running", "resting")
"""By the number in message.h."""
POINTS_AT = {"Reference": 5, "Trajectory": 3}
"""Where the number of points stands."""
OTHER_NAMES = {
    "TrajectoryEnd": {"blend": "outputs"},
    "Adapt": {"gain": "outputs", "offset": "row_offset", "curve": "row_curve"},
}
"""Of fields in request_t, where they are not those of the message."""


def decode(c, content: bytes):
    request = c.Request()
    code = c.lib.message_decode(content, ctypes.c_size_t(len(content)), ctypes.byref(request))
    return code, request


def holders_of(request):
    """The structs that have members of messages, but for the settings."""
    return [request, request.modes, request.times]


def lines(c, symbol: str, count: int):
    return (c.Line * count).in_dll(c.lib, symbol)


def test_the_tables_are_those_of_the_vectors(c):
    """Line by line: a message more or less, or another order, would shift all that follow."""
    host = lines(c, "message_from_host", len(ROWS["host"]))
    own = lines(c, "message_to_host", len(ROWS["microcontroller"]))
    assert [(line.type, WHEN[line.when], line.in_order) for line in host] == [
        (row["type"], row["when"], row["order"] == "in order") for row in ROWS["host"]
    ]
    assert [line.type for line in own] == [row["type"] for row in ROWS["microcontroller"]]


@pytest.mark.parametrize("row", ROWS["host"], ids=lambda row: row["message"])
def test_takes_the_lengths_of_the_table_and_no_other(c, row):
    """Where there are points, the length must also suit their number."""
    at = POINTS_AT.get(row["message"])
    for size in range(1, CONTENT_MAX + 1):
        content = bytearray([row["type"]]).ljust(size, b"\0")
        if at is not None and size > at:
            content[at] = (size - at - 1) // 12
        content = bytes(content)
        wanted = 0 if size in row["lengths"] else ErrorCode.BAD_LENGTH
        assert decode(c, content)[0] == wanted, size


@pytest.mark.parametrize("row", [row for row in ROWS["host"] if row["message"] in POINTS_AT])
def test_takes_no_more_points_than_a_frame_has_room_for(c, row):
    """Not even where the bytes that would have to follow are there."""
    at = POINTS_AT[row["message"]]
    for points in (POINTS_MAX, POINTS_MAX + 1, 255):
        content = bytes([row["type"]]).ljust(at, b"\0") + bytes([points]) + bytes(12 * points)
        code, request = decode(c, content)
        fits = points <= POINTS_MAX
        assert code == (0 if fits else ErrorCode.BAD_LENGTH)
        assert request.points.count == (points if fits else 0)


@pytest.mark.parametrize("vector", FROM_HOST, ids=lambda v: v["name"])
def test_decodes_the_vector_and_leaves_the_rest_at_zero(c, vector):
    code, request = decode(c, bytes.fromhex(vector["content"]))
    assert code == 0
    assert ROWS["host"][request.line]["message"] == vector["message"]
    fields = dict(vector["fields"])
    points = fields.pop("points", None)
    assert request.points.count == len(points or [])
    if "reference" in fields:
        points = [fields.pop("reference")]
    if points is not None:
        assert [list(point) for point in request.points.at[: len(points)]] == points
    names = OTHER_NAMES.get(vector["message"], {})
    fields = {names.get(name, name): value for name, value in fields.items()}
    holders = [request.settings] if vector["message"] == "Configure" else holders_of(request)
    for name, value in fields.items():
        (field,) = (getattr(holder, name) for holder in holders if hasattr(holder, name))
        assert (list(field) if isinstance(value, list) else field) == value, name
    for holder in holders_of(request):
        for name, kind in holder._fields_:
            if name not in {"line", *fields} and not issubclass(kind, ctypes.Structure):
                assert not np.any(getattr(holder, name)), name
    if vector["message"] != "Configure":
        assert not any(bytes(request.settings))


@pytest.mark.parametrize("vector", FROM_HOST, ids=lambda v: v["name"])
def test_refuses_any_other_length(c, vector):
    content = bytes.fromhex(vector["content"])
    for size in range(1, CONTENT_MAX + 1):
        if size != len(content):
            code, _ = decode(c, content.ljust(size, b"\0")[:size])
            assert code == ErrorCode.BAD_LENGTH, size


def test_refuses_unknown_types_and_its_own(c):
    known = {row["type"] for row in ROWS["host"]}
    for type_ in set(range(256)) - known:
        assert decode(c, bytes([type_]) + bytes(20))[0] == ErrorCode.UNKNOWN_TYPE


@pytest.mark.parametrize("name", FROM_FIRMWARE)
def test_encodes_the_vector(c, name):
    vector = VECTOR[name]
    message = getattr(c, vector["message"])()
    for field, value in vector["fields"].items():
        place = getattr(message, field)
        if isinstance(value, list):
            place[:] = value
        else:
            setattr(message, field, value.encode() if isinstance(value, str) else value)
    own = lines(c, "message_to_host", len(ROWS["microcontroller"]))
    (line,) = (line for line in own if line.type == TYPES[vector["message"]])
    content = ctypes.create_string_buffer(CONTENT_MAX)
    size = c.lib.message_encode(ctypes.byref(line), ctypes.byref(message), content)
    assert content.raw[:size].hex() == vector["content"]


def test_the_page_has_the_vectors_the_table_and_the_version():
    page = (HERE.parents[1] / "docs" / "protocol.md").read_text()
    rows = dict(re.findall(r"^\| ([^|]+) \| `([0-9a-f]+)` \|$", page, re.MULTILINE))
    assert rows == {name: vector["frame"] for name, vector in VECTOR.items()}
    assert f"version **{PROTOCOL_VERSION}**" in page
    assert VECTORS["protocol_version"] == PROTOCOL_VERSION
    for row in ROWS["host"]:
        cells = [f"{MESSAGES[row['type']].title()} 0x{row['type']:02x}", row["when"], row["order"],
                 (row["answer"] or "none").upper()]  # fmt: skip
        assert f"| {' | '.join(cells)} |" in page
