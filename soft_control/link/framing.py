"""Frames on the wire: COBS(content | crc16) 0x00, the same as firmware/src/wire/frame.c."""

from __future__ import annotations

import binascii

from cobs import cobs

CONTENT_MAX = 250
BODY_MAX = CONTENT_MAX + 2
ENCODED_MAX = BODY_MAX + 1


def crc(content: bytes) -> int:
    """CRC-16/CCITT-FALSE: polynomial 0x1021, start 0xFFFF, not reflected."""
    return binascii.crc_hqx(content, 0xFFFF)


def encode_frame(content: bytes) -> bytes:
    """The frame of 1 to 250 bytes of content, delimiter included; ValueError for other sizes."""
    if not 1 <= len(content) <= CONTENT_MAX:
        raise ValueError(f"a frame holds 1 to {CONTENT_MAX} bytes, not {len(content)}")
    return cobs.encode(content + crc(content).to_bytes(2, "little")) + b"\0"


class FrameDecoder:
    """Bytes in, contents of good frames out; what is no good frame is counted and forgotten."""

    def __init__(self) -> None:
        self.bad_frames = 0
        self._pending = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Contents of the frames that data completes, oldest first."""
        self._pending += data
        *frames, self._pending = self._pending.split(b"\0")
        # More than the longest frame is a bad frame already: remember that, not the bytes.
        del self._pending[ENCODED_MAX + 1 :]
        contents = []
        for frame in frames:
            content = _content(bytes(frame))
            if content is not None:
                contents.append(content)
            elif frame:
                self.bad_frames += 1
        return contents


def _content(frame: bytes) -> bytes | None:
    try:
        body = cobs.decode(frame)
    except cobs.DecodeError:
        return None
    if not 3 <= len(body) <= BODY_MAX:
        return None
    content, tail = body[:-2], body[-2:]
    return content if crc(content) == int.from_bytes(tail, "little") else None
