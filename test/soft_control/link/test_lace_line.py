from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soft_control.link.lace_line import (
    EXCERPT,
    FORMATS,
    LINE_MAX,
    LaceLineError,
    LineReader,
    format_line,
    parse_line,
)
from soft_control.link.sensor_reader import WARNING_EVERY_S

counts = st.lists(st.integers(0, 4095), min_size=1, max_size=20)


def test_formats_are_the_two_in_use():
    assert format_line([1, 20, 3]) == b"1,20,3\r\n"
    assert format_line([1, 20, 3], "bracketed") == b"<1, 20, 3>\n"


@given(counts, st.sampled_from(FORMATS))
def test_what_is_written_is_read_back(values, line_format):
    assert parse_line(format_line(values, line_format), len(values)) == values


@given(
    st.lists(st.integers(0, 999), min_size=11, max_size=11),
    st.sampled_from(FORMATS),
    st.integers(1, 60),
)
def test_a_line_torn_at_its_front_is_no_sample_of_fewer_channels(values, line_format, lost):
    """The first line after opening a port starts anywhere. Digits lost from the first number of a
    plain line cannot be told; fields lost can."""
    line = format_line(values, line_format)[lost:]
    if line.count(b",") < 10 or line_format == "bracketed":
        with pytest.raises(LaceLineError):
            parse_line(line, 11)


@given(st.binary(max_size=80))
def test_garbage_is_refused_or_counts(line):
    try:
        values = parse_line(line, 3)
    except LaceLineError:
        return
    assert len(values) == 3 and all(value >= 0 for value in values)


@pytest.mark.parametrize(
    "line",
    [b"1,2\n", b"1,2,x\n", b"<1, 2, 3\n", b"1,-2,3\n", b"", b"1,,3\n", b"1,2,9" + b"9" * 4999],
)
def test_what_is_no_sample_says_so(line):
    with pytest.raises(LaceLineError) as caught:
        parse_line(line, 3)
    assert len(str(caught.value)) < 250


def test_an_unknown_format_is_named():
    with pytest.raises(ValueError, match="csv"):
        format_line([1], "csv")


def test_signed_counts_are_for_boards_that_have_them():
    assert parse_line(b"-5, 6\n", 2, signed=True) == [-5, 6]
    with pytest.raises(LaceLineError, match="not a count"):
        parse_line(b"--5,6\n", 2, signed=True)


# ------------------------------------------------------------------------------------- LineReader


@given(
    st.lists(st.lists(st.integers(0, 4095), min_size=3, max_size=3), max_size=5),
    st.lists(st.integers(1, 20)),
)
def test_lines_are_whole_in_whatever_pieces_they_come(samples, lengths):
    data = b"".join(map(format_line, samples))
    reader, found, at = LineReader(3, 1.0, 0.0), [], 0
    for length in lengths:
        found += reader.feed(data[at : at + length], 0.0)
        at += length
    found += reader.feed(data[at:], 0.0)
    assert found == samples and reader.samples == len(samples) and reader.dropped == 0


@given(st.lists(st.binary(max_size=2000)), st.binary(max_size=20))
def test_after_any_bytes_a_whole_line_is_read(pieces, more):
    reader = LineReader(2, 1.0, 0.0)
    for piece in pieces:
        reader.feed(piece, 0.0)
    assert reader.feed(more + b"\n1,2\n", 0.0)[-1] == [1, 2]


def test_a_board_that_streams_already_is_read_from_its_next_line_on():
    reader = LineReader(2, 1.0, 0.0, torn_start=True)
    assert reader.feed(b"1,2\n3,4\n", 0.0) == [[3, 4]]
    assert reader.dropped == 0


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (b"", "nothing came"),
        (b"1,2\r" * 40, "160 bytes came without a whole line, the last b'.* in a carriage return"),
        (
            b"\xf8\x00\x81" * 99,
            r"297 bytes came without a whole line, .*\\xf8.*check the baud rate",
        ),
        (b"1,2,3\r\n" * 5, "5 lines came, none of them a sample, the last: 3 fields instead of 2"),
        (b"\x9b~\n", r"1 line came, .*1 fields instead of 2 in b'\\x9b~\\n'; check .*baud rate"),
        (b"1," + b"9" * 5000 + b"\n", f"1 line came, .*no line feed within {LINE_MAX} bytes"),
        (b"1,-2\n", "1 line came, .*not a count: b'-2'"),
    ],
    ids=["silent", "carriage_returns", "baud", "channels", "garbage", "5000_digits", "signs"],
)
def test_without_a_valid_sample_it_says_what_came(sent, said):
    reader = LineReader(2, timeout_s=3.0, now_s=10.0)
    reader.feed(sent, 11.0)
    assert reader.failure(12.9) is None
    told = reader.failure(13.0)
    assert re.search(f"no valid sample for 3 s: {said}", told), told
    assert told.isprintable() and len(told) < 400


def test_a_valid_sample_starts_the_time_out_anew_and_bytes_do_not():
    reader = LineReader(2, timeout_s=3.0, now_s=0.0)
    reader.feed(b"x\n" * 10 + b"1,2\n" + b"x\n", 2.0)
    assert reader.failure(4.9) is None
    assert "1 line came" in reader.failure(5.0)


def test_warnings_are_few_and_lose_nothing():
    """Of 50 bad lines a second, as of a board with another number of channels."""
    reader, told = LineReader(2, timeout_s=1e9, now_s=0.0), []
    for k in range(50 * 21):
        reader.feed(b"1,2,3\n", k / 50)
        told.append(reader.warning(k / 50))
    told = [said for said in told if said]
    assert len(told) == 1 + 20 // int(WARNING_EVERY_S)
    assert told[0].startswith("dropped 1 line (1 so far), the last: 3 fields instead of 2")
    assert told[-1].startswith("dropped 500 lines (1001 so far)")


def test_a_line_without_an_end_takes_little_memory_and_a_short_excerpt():
    reader = LineReader(2, timeout_s=1.0, now_s=0.0)
    for _ in range(10):
        reader.feed(b"7" * 10_000, 0.0)
        assert len(reader._line) <= LINE_MAX
    assert reader.failure(1.0).count("7") <= EXCERPT
