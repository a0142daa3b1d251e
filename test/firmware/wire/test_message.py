"""message.c against the vectors that messages.py is tested with, too."""

from __future__ import annotations

import ctypes
import json
import re
from pathlib import Path

import pytest

from soft_control.link.framing import CONTENT_MAX
from soft_control.link.messages import MESSAGES, PROTOCOL_VERSION, ErrorCode

HERE = Path(__file__).parents[1]
VECTORS = json.loads((HERE / "vectors.json").read_text())
TYPES = {message.__name__: message.TYPE for message in MESSAGES.values()}
VECTOR = {vector["name"]: vector for vector in VECTORS["messages"]}
FROM_HOST = [v for v in VECTORS["messages"] if TYPES[v["message"]] < 0x80]


def decode(c, content: bytes):
    request = c.Request()
    code = c.lib.message_decode(content, ctypes.c_size_t(len(content)), ctypes.byref(request))
    return code, request


def content_of(write) -> bytes:
    buffer = ctypes.create_string_buffer(CONTENT_MAX)
    size = write(buffer)
    return buffer.raw[:size]


@pytest.mark.parametrize("vector", FROM_HOST, ids=lambda v: v["name"])
def test_decodes_the_vector(c, vector):
    code, request = decode(c, bytes.fromhex(vector["content"]))
    assert code == 0
    assert request.type == TYPES[vector["message"]]
    fields = dict(vector["fields"])
    points = fields.pop("points", None) or [fields.pop("reference", None)]
    if points != [None]:
        assert request.count == len(points)
        assert [list(point) for point in request.points[: len(points)]] == points
    holder = request.settings if vector["message"] == "Configure" else request
    for name, value in fields.items():
        field = getattr(holder, name)
        assert (list(field) if isinstance(value, list) else field) == value, name


@pytest.mark.parametrize("vector", FROM_HOST, ids=lambda v: v["name"])
def test_refuses_any_other_length(c, vector):
    content = bytes.fromhex(vector["content"])
    for size in range(1, CONTENT_MAX + 1):
        if size != len(content):
            code, _ = decode(c, content.ljust(size, b"\0")[:size])
            assert code == ErrorCode.BAD_LENGTH, size


def test_refuses_unknown_types_and_its_own(c):
    known = {TYPES[v["message"]] for v in FROM_HOST}
    for type_ in set(range(256)) - known:
        assert decode(c, bytes([type_]) + bytes(20))[0] == ErrorCode.UNKNOWN_TYPE


def test_encodes_boot(c):
    content = content_of(lambda to: c.lib.message_encode_boot(to, ctypes.c_uint8(5), b"stm32f405"))
    assert content.hex() == VECTOR["boot after a fault"]["content"]


def test_encodes_info(c):
    fields = VECTOR["info"]["fields"]
    info = c.Info(
        fields["model_hash"].encode(),
        fields["build_id"].encode(),
        fields["board"].encode(),
        fields["step_cost_unit"],
        fields["missed_samples"],
        fields["lost_points"],
        fields["bad_frames"],
    )
    content = content_of(lambda to: c.lib.message_encode_info(to, ctypes.byref(info)))
    assert content.hex() == VECTOR["info"]["content"]


def test_encodes_command(c):
    fields = VECTOR["command"]["fields"]
    values = [tuple(v) if isinstance(v, list) else v for v in fields.values()]
    command = c.Command(*values)
    content = content_of(lambda to: c.lib.message_encode_command(to, ctypes.byref(command)))
    assert content.hex() == VECTOR["command"]["content"]


def test_encodes_error(c):
    content = content_of(lambda to: c.lib.message_encode_error(to, 4, ctypes.c_uint8(4)))
    assert content.hex() == VECTOR["error out of order"]["content"]


def test_the_page_has_the_vectors_and_the_version():
    page = (HERE.parents[1] / "docs" / "protocol.md").read_text()
    rows = dict(re.findall(r"^\| ([^|]+) \| `([0-9a-f]+)` \|$", page, re.MULTILINE))
    assert rows == {name: vector["frame"] for name, vector in VECTOR.items()}
    assert f"version **{PROTOCOL_VERSION}**" in page
    assert VECTORS["protocol_version"] == PROTOCOL_VERSION
