"""A line that is cut in mid-run: what passes, what does not, and when it comes back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from soft_control.link.codes import ErrorCode
from soft_control.link.cut import CutTransport
from soft_control.link.framing import FrameDecoder, encode_frame
from soft_control.link.messages import Error, Sizes, Telemetry, decode
from soft_control.link.transport import NothingMore, TransportError

SIZES = Sizes(1, 1, 0)
CUT = range(3, 6)
PLAIN = Telemetry(
    k=0, time_us=0, number=0, state=3, cause=0, flags=0, status=0, iterations=2, latency_us=0,
    signals=(), command=(0.0,), predicted=(0.0,), reference=(0.0,), offset=(0.0,), cost=0.0,
    step_cost=0, missed_samples=0, telemetry_lost=0, actuator_errors=0, voltage=0.0,
    temperature=0.0, doubted=0, uncertainty=(0.0,),
)  # fmt: skip


def frame(k: int) -> bytes:
    """Of the TELEMETRY of sample k; zeros are in it, which a frame has as its end only."""
    return encode_frame(replace(PLAIN, k=k, number=k).encode(SIZES))


REFUSED = encode_frame(Error(ErrorCode.TOO_OLD, 9).encode(SIZES))


class Line:
    """In place of a line: what is read is given piece by piece, what is written is kept."""

    name, advice = "line", "see to it"

    def __init__(self, *pieces: bytes | Exception) -> None:
        self.pieces, self.written, self.closed = list(pieces), b"", False

    def write(self, data: bytes) -> None:
        self.written += data

    def read(self, timeout_s: float) -> bytes:
        piece = self.pieces.pop(0) if self.pieces else b""
        if isinstance(piece, Exception):
            raise piece
        return piece

    def close(self) -> None:
        self.closed = True


def heard(data: bytes) -> list[int]:
    """The samples of the frames, which are whole ones."""
    decoder = FrameDecoder()
    found = [decode(content, SIZES) for content in decoder.feed(data)]
    assert decoder.bad_frames == 0 and (not data or data.endswith(b"\0"))
    return [message.k for message in found if isinstance(message, Telemetry)]


def test_nothing_passes_either_way_while_it_is_cut():
    line = Line(*map(frame, range(10)))
    cut = CutTransport(line, CUT)
    found, told = b"", b""
    for k in range(10):
        found += cut.read(0.1)
        cut.write(bytes([k]))
        told += b"" if k in CUT else bytes([k])
    assert heard(found) == [0, 1, 2, 6, 7, 8, 9]
    assert line.written == told


def test_what_passes_is_what_came():
    line = Line(REFUSED + frame(2), REFUSED + frame(3) + REFUSED, REFUSED, frame(6) + REFUSED)
    cut = CutTransport(line, CUT)
    assert cut.read(0.1) == REFUSED + frame(2)
    assert cut.read(0.1) == REFUSED  # it came before the cut did
    assert cut.read(0.1) == b""
    assert cut.read(0.1) == frame(6) + REFUSED
    assert cut.read(0.1) == b""


def test_a_run_that_skips_the_first_sample_is_cut_as_well():
    """TELEMETRY may come of every other sample only."""
    cut = CutTransport(Line(*map(frame, (0, 2, 4, 6, 8))), CUT)
    assert heard(b"".join(cut.read(0.1) for _ in range(5))) == [0, 2, 6, 8]


@pytest.mark.parametrize("seed", range(20))
def test_frames_come_in_whatever_pieces(seed):
    rng = np.random.default_rng(seed)
    data = b"".join(frame(k) + REFUSED * (k % 3 == 0) for k in range(12))
    ends = np.unique(rng.integers(1, len(data), 40)).tolist()
    pieces = [data[low:high] for low, high in zip([0, *ends], [*ends, len(data)], strict=True)]
    cut = CutTransport(Line(*pieces), CUT)
    assert heard(b"".join(cut.read(0.1) for _ in pieces)) == [0, 1, 2, 6, 7, 8, 9, 10, 11]


def test_what_is_damaged_neither_cuts_nor_mends():
    def damaged(k: int) -> bytes:
        content = bytearray(frame(k))
        content[3] ^= 0x41
        return bytes(content)

    garbage = bytes(range(1, 256)) * 9 + b"\0\0"
    pieces = [frame(2)[:7], frame(2)[9:], damaged(3), frame(4), garbage, damaged(6), frame(7)]
    cut = CutTransport(Line(*pieces), CUT)
    assert [heard(cut.read(0.1)) for _ in pieces] == [[], [], [], [], [], [], [7]]


def test_it_is_the_line_in_all_else():
    line = Line(NothingMore("nothing"), TransportError("gone"))
    cut = CutTransport(line, CUT)
    assert (cut.name, cut.advice) == ("line", "see to it")
    with pytest.raises(NothingMore, match="nothing"):
        cut.read(0.1)
    with pytest.raises(TransportError, match="gone"):
        cut.read(0.1)
    cut.close()
    assert line.closed
