"""A line to a microcontroller that is cut in mid-run and comes back by itself.

What is cut is said in samples, not in seconds: the same run is cut at the same place on any
machine.
"""

from __future__ import annotations

from soft_control.link.framing import CONTENT_LIMIT, FrameDecoder, encode_frame
from soft_control.link.messages import Telemetry
from soft_control.link.transport import Transport


class CutTransport:
    """A transport that loses everything, both ways, from the TELEMETRY of one sample on until that
    of another comes."""

    def __init__(self, transport: Transport, samples: range) -> None:
        """samples: that nobody hears of."""
        self.name, self.advice = transport.name, transport.advice
        self._transport, self._samples = transport, samples
        self._decoder = FrameDecoder(CONTENT_LIMIT)
        self._cut = False

    def write(self, data: bytes) -> None:
        """Raises TransportError."""
        if not self._cut:
            self._transport.write(data)

    def read(self, timeout_s: float) -> bytes:
        """Whole frames, those that get through. Raises TransportError."""
        through = b""
        for content in self._decoder.feed(self._transport.read(timeout_s)):
            if content[0] == Telemetry.TYPE:
                self._cut = int.from_bytes(content[1:5], "little") in self._samples
            if not self._cut:
                through += encode_frame(content)
        return through

    def close(self) -> None:
        self._transport.close()
