from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soft_control.link.lace_line import FORMATS, LaceLineError, format_line, parse_line

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


@pytest.mark.parametrize("line", [b"1,2\n", b"1,2,x\n", b"<1, 2, 3\n", b"1,-2,3\n", b"", b"1,,3\n"])
def test_what_is_no_sample_says_so(line):
    with pytest.raises(LaceLineError):
        parse_line(line, 3)


def test_an_unknown_format_is_named():
    with pytest.raises(ValueError, match="csv"):
        format_line([1], "csv")
