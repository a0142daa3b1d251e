"""The sensor board's ASCII line, one a sample, in both formats in use: `a,b,…` and `<a, b, …>`.

LightLace boards count from 0 up; magnetometer boards write the same line with signed counts. A line
of no channels is the beat of a robot without signals.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

FORMATS = ("plain", "bracketed")
LINE_MAX = 1024
"""Bytes of a line, its end included; eighteen signed 16-bit counts take 145."""
COUNT_DIGITS = 10
"""Of one count: 32 bits have no more."""
COUNT_MAX = 2_147_483_647
"""Of a count's size: what is beyond has no room in 32 bits and is no count."""
BLANKS = " \t\n\v\f\r"
"""What may stand around counts; str.strip() alone takes away more than the firmware does."""
WARNING_EVERY_S = 10.0
"""A board that garbles every line would fill the log with some hundred warnings a second."""
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


class LineReader:
    """Bytes from a sensor board become samples, in whatever pieces they come; time is an argument.

    It knows how long no valid sample has come and what came instead: a board at another baud rate
    sends bytes, but never a line, and one with another number of channels lines, but no sample.
    """

    def __init__(
        self,
        channels: int,
        timeout_s: float,
        now_s: float,
        signed: bool = False,
        torn_start: bool = False,
    ) -> None:
        """timeout_s: without a valid sample for so long the sensor has failed.
        torn_start: a board that streams already; what comes before the first line feed is no line.
        """
        self.samples = 0
        self.dropped = 0
        """Lines that were no sample, in all."""
        self._channels, self._signed, self._timeout_s = channels, signed, timeout_s
        self._line = b""
        self._skipping = torn_start
        self._reason = ""
        self._warned_s, self._warned_of = now_s - WARNING_EVERY_S, 0
        self._start_over(now_s)

    def _start_over(self, now_s: float) -> None:
        """A sample is complete, and nothing has come since."""
        self._sample_s = now_s
        self._bytes = self._lines = self._returns = 0
        self._tail = b""

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

    def warning(self, now_s: float) -> str | None:
        """What to say of the lines dropped since the last warning; None where it is too soon."""
        new = self.dropped - self._warned_of
        if new == 0 or now_s - self._warned_s < WARNING_EVERY_S:
            return None
        self._warned_s, self._warned_of = now_s, self.dropped
        return f"dropped {_lines(new)} ({self.dropped} so far), the last: {self._reason}"

    def failure(self, now_s: float) -> str | None:
        """Why the sensor counts as failed; None while valid samples come."""
        if now_s - self._sample_s < self._timeout_s:
            return None
        late = f"no valid sample for {self._timeout_s:g} s"
        if self._bytes == 0:
            return f"{late}: nothing came"
        if self._lines > 0:
            return (
                f"{late}: {_lines(self._lines)} came, none of them a sample, the last: "
                f"{self._reason}; check the number of channels and the baud rate"
            )
        cause = (
            "its lines end in a carriage return alone and must end in a line feed"
            if self._returns
            else "check the baud rate and that its lines end in a line feed"
        )
        return (
            f"{late}: {self._bytes} bytes came without a whole line, the last {self._tail!r}: "
            f"{cause}"
        )


def _lines(number: int) -> str:
    return f"{number} line{'' if number == 1 else 's'}"


def _excerpt(line: bytes) -> str:
    """The start of a line, printable."""
    return repr(line[:EXCERPT]) + ("..." if len(line) > EXCERPT else "")
