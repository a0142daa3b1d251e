"""Three-axis magnetometers behind a board that sends a frame a sample.

Content: type 0x10, counter u8, i16 a channel, little-endian. Offset and medians are those of
firmware/src/instruments/magnetic.c, all of it in whole numbers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from soft_control.link.framing import CONTENT_MAX, FrameDecoder, encode_frame
from soft_control.link.lace_line import WARNING_EVERY_S

TYPE = 0x10


def encode(counts: Sequence[int], counter: int) -> bytes:
    """The frame of counts (channels,), of 16 bits each, as the board sends it."""
    values = b"".join(count.to_bytes(2, "little", signed=True) for count in counts)
    return encode_frame(bytes((TYPE, counter % 256)) + values)


def mean(total: int, count: int) -> int:
    """Of a sum of `count` values, halves away from zero."""
    size = (2 * abs(total) + count) // (2 * count)
    return size if total >= 0 else -size


class MagneticReader:
    """Bytes from the board become samples, in whatever pieces they come; time is an argument."""

    def __init__(
        self,
        channels: int,
        timeout_s: float,
        now_s: float,
        median: int = 1,
        start_samples: int = 0,
    ) -> None:
        """timeout_s: without a valid sample for so long the sensor has failed.
        median: counts are medians over so many frames, 1, 3 or 5.
        start_samples: the mean of the first so many frames is taken off all later ones.
        """
        self.samples = 0
        self.dropped = 0
        """Frames that were none, or of another length."""
        self.lost = 0
        """Frames that never came, by the counter."""
        self._channels, self._timeout_s = channels, timeout_s
        self._median, self._start_samples = median, start_samples
        self._size = 2 + 2 * channels
        self._decoder = FrameDecoder(max(CONTENT_MAX, self._size))
        self._counter: int | None = None
        self._taken = 0
        self._offset = [0] * channels
        self._last: deque[list[int]] = deque(maxlen=median)
        self._frame_s, self._bytes = now_s, 0
        self._warned_s, self._warned_of = now_s - WARNING_EVERY_S, 0

    def feed(self, data: bytes, now_s: float) -> list[list[int]]:
        """The counts (channels,) of each sample that these bytes complete."""
        bad = self._decoder.bad_frames
        self._bytes += len(data)
        samples = []
        for content in self._decoder.feed(data):
            if len(content) != self._size or content[0] != TYPE:
                self.dropped += 1
                continue
            self._frame_s, self._bytes = now_s, 0
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

    def warning(self, now_s: float) -> str | None:
        """What to say of frames dropped or lost since the last warning; None if it is too soon."""
        new = self.dropped + self.lost - self._warned_of
        if new == 0 or now_s - self._warned_s < WARNING_EVERY_S:
            return None
        self._warned_s, self._warned_of = now_s, self.dropped + self.lost
        return f"frames of the sensor so far: {self.dropped} dropped, {self.lost} lost"

    def failure(self, now_s: float) -> str | None:
        """Why the sensor counts as failed; None while valid frames come."""
        if now_s - self._frame_s < self._timeout_s:
            return None
        late = f"no valid sample for {self._timeout_s:g} s"
        if self._bytes == 0:
            return f"{late}: nothing came"
        return (
            f"{late}: {self._bytes} bytes came without a frame of {self._channels} channels; "
            "check the number of channels and the baud rate"
        )
