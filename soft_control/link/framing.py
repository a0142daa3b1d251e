"""Frames on the wire: COBS(content | crc16) 0x00, the same as firmware/src/wire/frame.c."""

from __future__ import annotations

import binascii

from cobs import cobs

CONTENT_MAX = 250
"""Bytes of content; more where a firmware's messages need more, see `messages.content_max`."""
CONTENT_LIMIT = 1000
"""No firmware's frames hold more: two of them fit into the 2048 bytes that a board buffers."""
CHECKSUM_SIZE = 2


def crc(content: bytes) -> int:
    """CRC-16/CCITT-FALSE: polynomial 0x1021, start 0xFFFF, not reflected."""
    return binascii.crc_hqx(content, 0xFFFF)


def encode_frame(content: bytes) -> bytes:
    """The frame of 1 to CONTENT_LIMIT bytes, delimiter included; ValueError for other sizes."""
    if not 1 <= len(content) <= CONTENT_LIMIT:
        raise ValueError(f"a frame holds 1 to {CONTENT_LIMIT} bytes, not {len(content)}")
    return cobs.encode(content + crc(content).to_bytes(CHECKSUM_SIZE, "little")) + b"\0"


def frame_size(content_bytes: int) -> int:
    """Bytes on the wire of a frame with so much content: checksum, a byte of COBS for each 254 of
    both, delimiter."""
    body = content_bytes + CHECKSUM_SIZE
    return body + -(-body // 254) + 1


class FrameDecoder:
    """Bytes in, contents of good frames out; what is no good frame is counted and forgotten."""

    def __init__(self, content_max: int = CONTENT_MAX) -> None:
        self.content_max = content_max
        self.bad_frames = 0
        self._pending = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Contents of the frames that data completes, oldest first."""
        self._pending += data
        *frames, self._pending = self._pending.split(b"\0")
        # More than the longest frame is a bad frame already: remember that, not the bytes.
        longest = self.content_max + CHECKSUM_SIZE
        del self._pending[longest + longest // 254 + 2 :]
        contents = []
        for frame in frames:
            content = self._content(bytes(frame))
            if content is not None:
                contents.append(content)
            elif frame:
                self.bad_frames += 1
        return contents

    def _content(self, frame: bytes) -> bytes | None:
        try:
            body = cobs.decode(frame)
        except cobs.DecodeError:
            return None
        content, checksum = body[:-CHECKSUM_SIZE], body[-CHECKSUM_SIZE:]
        if not 1 <= len(content) <= self.content_max:
            return None
        return content if crc(content) == int.from_bytes(checksum, "little") else None
