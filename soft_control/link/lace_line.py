"""The sensor board's ASCII line, one a sample, in both formats in use: `a,b,…` and `<a, b, …>`.

LightLace boards count from 0 up; magnetometer boards write the same line with signed counts. A line
of no channels is the beat of a robot without signals.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from soft_control.link.sensor_reader import SensorReader

FORMATS = ("plain", "bracketed")
LINE_MAX = 1024
"""Bytes of a line, its end included; eighteen signed 16-bit counts take 145."""
COUNT_DIGITS = 10
"""Of one count: 32 bits have no more."""
COUNT_MAX = 2_147_483_647
"""Of a count's size: what is beyond has no room in 32 bits and is no count."""
BLANKS = " \t\n\v\f\r"
"""What may stand around counts; str.strip() alone takes away more than the firmware does."""
EXCERPT = 60
"""Bytes that a message to the user shows of what came."""


class LaceLineError(ValueError):
    """A line that is not a sample: torn, garbled, or of another number of channels."""


def format_line(counts: Sequence[int], line_format: str = "plain") -> bytes:
    """Counts of one sample as the sensor board writes them."""
    if line_format == "plain":
        return (",".join(map(str, counts)) + "\r\n").encode("ascii")
    if line_format == "bracketed":
        return ("<" + ", ".join(map(str, counts)) + ">\n").encode("ascii")
    raise ValueError(f"line format '{line_format}' is unknown; known are {', '.join(FORMATS)}")


def parse_line(line: bytes, channels: int, signed: bool = False) -> list[int]:
    """Counts of one line in either format.

    Raises LaceLineError for anything else, so that a torn line is never taken for a sample.
    firmware/src/instruments/lightlace.c accepts the same.
    """
    text = line.strip().decode("ascii", errors="replace")
    if text.startswith("<") != text.endswith(">"):
        raise LaceLineError(f"torn line {_excerpt(line)}")
    inside = text.removeprefix("<").removesuffix(">").strip(BLANKS)
    fields = [field.strip(BLANKS) for field in inside.split(",")] if inside or channels else []
    if len(fields) != channels:
        raise LaceLineError(f"{len(fields)} fields instead of {channels} in {_excerpt(line)}")
    count = re.compile(rf"{'-?' if signed else ''}[0-9]{{1,{COUNT_DIGITS}}}")
    for field in fields:
        if not count.fullmatch(field) or abs(int(field)) > COUNT_MAX:
            shown = _excerpt(field.encode("ascii", "replace"))
            raise LaceLineError(f"a field is not a count: {shown} in {_excerpt(line)}")
    return [int(field) for field in fields]


class LineReader(SensorReader):
    """Reads lines. A board at another baud rate sends bytes, but never a line, and one with another
    number of channels lines, but no sample.
    """

    def __init__(
        self,
        channels: int,
        timeout_s: float,
        now_s: float,
        signed: bool = False,
        torn_start: bool = False,
    ) -> None:
        """torn_start: what comes before the first line feed is no line, but the end of one."""
        super().__init__(channels, timeout_s, now_s)
        self._signed = signed
        self._line = b""
        self._skipping = torn_start
        self._reason = ""

    def _start_over(self, now_s: float) -> None:
        super()._start_over(now_s)
        self._lines = self._returns = 0
        self._tail = b""

    def rejoin(self) -> None:
        """The end of a line may look like a whole one: what comes before the next line feed is not
        taken."""
        self._line, self._skipping = b"", True

    def feed(self, data: bytes, now_s: float) -> list[list[int]]:
        """The counts (channels,) of each sample that these bytes complete."""
        samples = []
        for piece in re.findall(rb"[^\n]*\n|[^\n]+", data):
            self._bytes += len(piece)
            self._returns += piece.count(b"\r")
            self._tail = (self._tail + piece)[-EXCERPT:]
            self._line += b"" if self._skipping else piece
            if len(self._line) > LINE_MAX:
                self._drop(f"no line feed within {LINE_MAX} bytes of {_excerpt(self._line)}")
                self._skipping = True
            if piece.endswith(b"\n"):
                line, self._line = self._line, b""
                if self._skipping:
                    self._skipping = False
                elif (counts := self._parse(line)) is not None:
                    samples.append(counts)
                    self._start_over(now_s)
        self.samples += len(samples)
        return samples

    def _parse(self, line: bytes) -> list[int] | None:
        try:
            return parse_line(line, self._channels, self._signed)
        except LaceLineError as error:
            self._drop(str(error))
            return None

    def _drop(self, reason: str) -> None:
        self.dropped += 1
        self._lines += 1
        self._reason = reason
        self._line = b""

    def _complaint(self, new: int) -> str:
        return f"dropped {_lines(new)} ({self.dropped} so far), the last: {self._reason}"

    def _instead(self) -> str:
        if self._lines > 0:
            return (
                f"{_lines(self._lines)} came, none of them a sample, the last: "
                f"{self._reason}; check the number of channels and the baud rate"
            )
        cause = (
            "its lines end in a carriage return alone and must end in a line feed"
            if self._returns
            else "check the baud rate and that its lines end in a line feed"
        )
        return f"{self._bytes} bytes came without a whole line, the last {self._tail!r}: {cause}"


def _lines(number: int) -> str:
    return f"{number} line{'' if number == 1 else 's'}"


def _excerpt(line: bytes) -> str:
    """The start of a line, printable."""
    return repr(line[:EXCERPT]) + ("..." if len(line) > EXCERPT else "")
