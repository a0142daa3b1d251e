"""Three-axis magnetometers behind a board that sends a frame a sample.

Content: type 0x10, counter u8, i16 a channel, little-endian. Offset and medians are those of
firmware/src/instruments/magnetic.c, all of it in whole numbers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from soft_control.link.framing import CONTENT_MAX, FrameDecoder, encode_frame
from soft_control.link.sensor_reader import SensorReader

TYPE = 0x10


def encode(counts: Sequence[int], counter: int) -> bytes:
    """The frame of counts (channels,), of 16 bits each, as the board sends it."""
    values = b"".join(count.to_bytes(2, "little", signed=True) for count in counts)
    return encode_frame(bytes((TYPE, counter % 256)) + values)


def mean(total: int, count: int) -> int:
    """Of a sum of `count` values, halves away from zero."""
    size = (2 * abs(total) + count) // (2 * count)
    return size if total >= 0 else -size


class MagneticReader(SensorReader):
    """Reads frames; one that is valid shows that the board is there, also where it is no sample."""

    def __init__(
        self,
        channels: int,
        timeout_s: float,
        now_s: float,
        median: int = 1,
        start_samples: int = 0,
    ) -> None:
        """median: counts are medians over so many frames, 1, 3 or 5.
        start_samples: the mean of the first so many frames is taken off all later ones.
        """
        super().__init__(channels, timeout_s, now_s)
        self.lost = 0
        """Frames that never came, by the counter."""
        self._median, self._start_samples = median, start_samples
        self._size = 2 + 2 * channels
        self._decoder = FrameDecoder(max(CONTENT_MAX, self._size))
        self._counter: int | None = None
        self._taken = 0
        self._offset = [0] * channels
        self._last: deque[list[int]] = deque(maxlen=median)

    def rejoin(self) -> None:
        """A board that has been without power counts from anywhere, and what was before is too long
        ago for a median; its zero stays."""
        self._decoder.feed(b"\0")
        self._counter = None

    def feed(self, data: bytes, now_s: float) -> list[list[int]]:
        """The counts (channels,) of each sample that these bytes complete."""
        bad = self._decoder.bad_frames
        self._bytes += len(data)
        samples = []
        for content in self._decoder.feed(data):
            if len(content) != self._size or content[0] != TYPE:
                self.dropped += 1
                continue
            self._start_over(now_s)
            if (counts := self._take(content)) is not None:
                samples.append(counts)
        self.dropped += self._decoder.bad_frames - bad
        self.samples += len(samples)
        return samples

    def _take(self, content: bytes) -> list[int] | None:
        counts = [
            int.from_bytes(content[at : at + 2], "little", signed=True)
            for at in range(2, len(content), 2)
        ]
        if self._counter is None:  # a first frame stands for all before it
            self._last.extend([counts] * self._median)
        else:
            self.lost += (content[1] - self._counter - 1) % 256
        self._counter = content[1]
        self._last.append(counts)
        if self._taken < self._start_samples:
            self._taken += 1
            sums = [total + count for total, count in zip(self._offset, counts, strict=True)]
            last = self._taken == self._start_samples
            self._offset = [mean(total, self._taken) for total in sums] if last else sums
            return None
        medians = [sorted(channel)[self._median // 2] for channel in zip(*self._last, strict=True)]
        return [count - offset for count, offset in zip(medians, self._offset, strict=True)]

    @property
    def _faults(self) -> int:
        return self.dropped + self.lost

    def _complaint(self, new: int) -> str:
        return f"frames of the sensor so far: {self.dropped} dropped, {self.lost} lost"

    def _instead(self) -> str:
        return (
            f"{self._bytes} bytes came without a frame of {self._channels} channels; "
            "check the number of channels and the baud rate"
        )
