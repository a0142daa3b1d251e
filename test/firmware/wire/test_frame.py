"""frame.c and framing.py: the same vectors, the same verdict on any bytes."""

from __future__ import annotations

import ctypes
import json
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from soft_control.link.framing import CONTENT_LIMIT, CONTENT_MAX, FrameDecoder, crc, encode_frame
from soft_control.paths import share

VECTORS = json.loads((Path(__file__).parents[1] / "vectors.json").read_text())
# The fixtures are functions without state: sharing them between examples is sound.
any_example = settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
contents = st.binary(min_size=1, max_size=CONTENT_MAX)
# Mostly zeros and small numbers, so that garbage often looks like COBS.
garbage = st.one_of(
    st.binary(max_size=600),
    st.lists(st.sampled_from([0, 1, 2, 3, 4, 255]), max_size=600).map(bytes),
)


def test_crc_vectors(c):
    for vector in VECTORS["crc"]:
        data = bytes.fromhex(vector["bytes"])
        assert crc(data) == vector["crc"]
        assert c.lib.frame_crc(data, len(data)) == vector["crc"]


def test_frame_vectors(c_encode, c_decode):
    for vector in VECTORS["frames"]:
        content, frame = bytes.fromhex(vector["content"]), bytes.fromhex(vector["frame"])
        assert encode_frame(content) == frame, vector["name"]
        assert c_encode(content) == frame, vector["name"]
        assert FrameDecoder().feed(frame) == [content], vector["name"]
        assert c_decode(frame) == ([content], 0), vector["name"]


def test_bad_frames_are_counted_and_the_next_one_is_read(c_decode):
    for vector in VECTORS["bad_frames"]:
        data = bytes.fromhex(vector["bytes"]) + encode_frame(b"next")
        decoder = FrameDecoder()
        assert decoder.feed(data) == [b"next"], vector["name"]
        assert decoder.bad_frames == 1, vector["name"]
        assert c_decode(data) == ([b"next"], 1), vector["name"]


@any_example
@given(content=contents)
def test_encoders_agree(c_encode, c_decode, content):
    frame = encode_frame(content)
    assert c_encode(content) == frame
    assert len(frame) == len(content) + 4
    assert frame.index(0) == len(frame) - 1
    assert c_decode(frame) == ([content], 0)


@any_example
@given(data=garbage, content=contents)
def test_decoders_agree_on_garbage_and_recover(c_decode, data, content):
    stream = data + b"\0" + encode_frame(content)
    decoder = FrameDecoder()
    found = decoder.feed(stream)
    assert found[-1] == content
    assert c_decode(stream) == (found, decoder.bad_frames)


@any_example
@given(frames=st.lists(contents, min_size=1, max_size=5), cuts=st.lists(st.integers(0, 1300)))
def test_pieces_do_not_matter(frames, cuts):
    stream = b"".join(map(encode_frame, frames))
    edges = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    decoder = FrameDecoder()
    found = []
    for start, end in zip(edges, edges[1:], strict=False):
        found += decoder.feed(stream[start:end])
    assert found == frames


@any_example
@given(content=contents, position=st.integers(0, 10_000), flip=st.integers(1, 255))
def test_one_corrupted_byte_never_passes(c_decode, content, position, flip):
    """A burst of up to 16 bits is always seen by the checksum; COBS can make more of one byte, and
    then 1 in 65536 may pass: such an example would be a find, not a failure of the code."""
    frame = bytearray(encode_frame(content))
    frame[position % len(frame)] ^= flip
    stream = bytes(frame) + b"\0" + encode_frame(b"next")
    found, _ = c_decode(stream)
    assert found[-1] == b"next"
    assert content not in found[:-1]
    assert FrameDecoder().feed(stream) == found


@any_example
@given(content=contents, kept=st.integers(1, 10_000))
def test_truncated_frame_is_lost_and_the_next_is_read(c_decode, content, kept):
    frame = encode_frame(content)
    cut = frame[: 1 + kept % (len(frame) - 2)]
    stream = cut + b"\0" + encode_frame(b"next")
    found, bad = c_decode(stream)
    assert found[-1] == b"next" and len(found) + bad == 2
    assert FrameDecoder().feed(stream) == found


@pytest.fixture(scope="module")
def long_c(tmp_path_factory) -> SimpleNamespace:
    """frame.c for the longest frames that there are."""
    folder = tmp_path_factory.mktemp("frame")
    (folder / "controller_config.h").write_text(f"#define FRAME_CONTENT_MAX {CONTENT_LIMIT}\n")
    source = share() / "firmware" / "src"
    command = ["gcc", "-std=c99", "-shared", "-fPIC", f"-I{folder}", f"-I{source}"]
    command += [str(source / "wire" / "frame.c"), "-o", str(folder / "frame.so")]
    subprocess.run(command, check=True)
    lib = ctypes.CDLL(str(folder / "frame.so"))
    lib.frame_encode.restype = lib.frame_decode.restype = ctypes.c_size_t

    def encode(content: bytes) -> bytes:
        frame = ctypes.create_string_buffer(1100)
        size = lib.frame_encode(content, ctypes.c_size_t(len(content)), frame)
        return frame.raw[:size]

    def decode(data: bytes) -> list[bytes]:
        decoder = ctypes.create_string_buffer(1100)  # frame_decoder_t begins with the body
        contents = []
        for byte in data:
            if size := lib.frame_decode(decoder, ctypes.c_uint8(byte)):
                contents.append(decoder.raw[:size])
        return contents

    return SimpleNamespace(encode=encode, decode=decode)


@pytest.mark.parametrize("size", [251, 252, 253, 254, 506, 507, 508, 509, 762, 999, 1000])
@pytest.mark.parametrize("zero", [None, 0, 251, 252, 253, 254, 255, 506, 508])
def test_long_frames_are_those_of_the_general_method(long_c, size, zero):
    """Around the block of 254 bytes without a zero; the library cobs is the judge."""
    content = bytearray(1 + i % 255 for i in range(size))
    if zero is not None and zero < size:
        content[zero] = 0
    frame = encode_frame(bytes(content))
    assert long_c.encode(bytes(content)) == frame and frame.index(0) == len(frame) - 1
    assert long_c.decode(frame + encode_frame(b"next")) == [bytes(content), b"next"]
    assert FrameDecoder(CONTENT_LIMIT).feed(frame) == [bytes(content)]


@any_example
@given(data=st.lists(st.sampled_from([0, 1, 2, 255, 255, 7]), max_size=2500).map(bytes),
       content=st.binary(min_size=1, max_size=CONTENT_LIMIT))  # fmt: skip
def test_long_frames_are_found_behind_garbage(long_c, data, content):
    stream = data + b"\0" + encode_frame(content)
    found = FrameDecoder(CONTENT_LIMIT).feed(stream)
    assert found[-1] == content and long_c.decode(stream) == found


def test_a_frame_that_is_too_long_is_not_written():
    with pytest.raises(ValueError, match="1 to 1000 bytes, not 1001"):
        encode_frame(bytes(CONTENT_LIMIT + 1))


def test_an_endless_line_takes_no_memory():
    decoder = FrameDecoder()
    for _ in range(1000):
        assert decoder.feed(b"\x07" * 1000) == []
    assert len(decoder._pending) < 300
    assert decoder.feed(b"\0" + encode_frame(b"next")) == [b"next"]
    assert decoder.bad_frames == 1
