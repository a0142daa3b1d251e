from __future__ import annotations

import os
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from soft_control import robots
from soft_control.learning import dataset
from soft_control.learning.dataset import RecordingError, RecordingWarning, resample
from soft_control.learning.recording import Recording
from soft_control.robots.description import RobotDescription

TENDON = robots.load("tendon")
TWO_LACES = TENDON.model_copy(update={"signals": TENDON.signals[:2]})

HEADER = "t_s,u0_deg,u1_deg,lace_00,lace_01,x_m,y_m,z_m"
ROWS = [
    "0.00,0,10,0.5,0,0.001,0.002,0.003",
    "0.01,1,20,0.6,0,0.002,0.003,0.004",
    "0.02,2,30,0.7,0,0.003,0.004,0.005",
    "0.03,3,40,0.8,0,0.004,0.005,0.006",
]


def read_recording(path: Path, robot: RobotDescription = TWO_LACES) -> Recording:
    return dataset.read_recording(path, robot)


def written(folder: Path, *rows: str, header: str = HEADER) -> Path:
    path = folder / "run.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def with_column(name: str, values: list[str]) -> tuple[str, list[str]]:
    """Header and rows with one more column at the end."""
    rows = [f"{row},{value}" for row, value in zip(ROWS, values, strict=True)]
    return f"{HEADER},{name}", rows


def is_the_plain_run(run) -> bool:
    """Whether nothing of ROWS is lost or changed."""
    np.testing.assert_allclose(run.t_s, [0.0, 0.01, 0.02, 0.03])
    np.testing.assert_allclose(run.commands, np.radians([[0, 10], [1, 20], [2, 30], [3, 40]]))
    np.testing.assert_allclose(run.outputs[:, 2], [0.003, 0.004, 0.005, 0.006])
    np.testing.assert_allclose(run.signals[:, 0], [0.5, 0.6, 0.7, 0.8])
    return run.command_names == ("servo_0", "servo_1")


# --------------------------------------------------------------------------------- rows and columns


def test_csv_becomes_a_recording_in_si(tmp_path):
    run = read_recording(written(tmp_path, *ROWS))
    assert run.source == "run"
    assert run.command_names == ("servo_0", "servo_1")
    assert run.signal_names == ("lace_00", "lace_01")
    assert run.reference is None
    np.testing.assert_allclose(run.commands[1], np.radians([1, 20]))
    np.testing.assert_allclose(run.outputs[2], [0.003, 0.004, 0.005])
    np.testing.assert_allclose(run.signals[3], [0.8, 0])


def test_csv_has_a_reference_if_all_three_columns_are_there(tmp_path):
    header = HEADER + ",ref_x_m,ref_y_m,ref_z_m"
    rows = [f"{row},7,8,{k}" for k, row in enumerate(ROWS)]
    run = read_recording(written(tmp_path, *rows, header=header))
    np.testing.assert_allclose(run.reference[2], [7, 8, 2])


@pytest.mark.parametrize("bad", ["0.015,1,,0.6,0,1,2,3", "0.015,1,2,0.6,0,nan,2,3", ",,,,,,,", ""])
def test_rows_with_nan_or_blanks_are_left_out_with_their_number(tmp_path, bad):
    path = written(tmp_path, *ROWS[:2], bad, *ROWS[2:])
    with pytest.warns(RecordingWarning, match=r"run\.csv: .*row 4"):
        run = read_recording(path)
    assert len(run) == 4


def test_many_bad_rows_are_counted_not_listed(tmp_path):
    path = written(tmp_path, *ROWS, *([",,,,,,,"] * 20))
    with pytest.warns(RecordingWarning, match="row 6, row 7, .* and 15 more"):
        read_recording(path)


def test_repeated_stamps_are_left_out_with_their_number(tmp_path):
    path = written(tmp_path, *ROWS[:2], "0.01,9,9,9,9,9,9,9", *ROWS[2:])
    with pytest.warns(RecordingWarning, match=r"run\.csv: .*row 4"):
        run = read_recording(path)
    np.testing.assert_allclose(run.commands[1], np.radians([1, 20]))
    assert len(run) == 4


@pytest.mark.parametrize(
    ("header", "rows", "message"),
    [
        (HEADER.replace("y_m", "why"), ROWS, r"run\.csv: missing column y_m"),
        (HEADER.replace("u0_deg", "a").replace("u1_deg", "b"), ROWS, "missing column u0_deg"),
        (HEADER, [], "no rows"),
        (HEADER, ROWS[:1], "at least 2"),
        (HEADER, [ROWS[0], "0.01,1,2"], "row 3 has 3 fields, the header has 8"),
        (HEADER, [ROWS[0], "0.01,1,two,0,0,1,2,3"], "row 3, column u1_deg: not a number: 'two'"),
        (HEADER, [ROWS[1], ROWS[0]], r"row 3: time goes back from 0\.01 to 0\.0 s"),
    ],
)
def test_what_cannot_be_used_is_an_error_that_says_where(tmp_path, header, rows, message):
    with pytest.raises(RecordingError, match=message):
        read_recording(written(tmp_path, *rows, header=header))


def test_empty_missing_and_foreign_files_are_errors(tmp_path):
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "binary.csv").write_bytes(b"\x89PNG\r\n\x1a\n\xff\xfe")
    (tmp_path / "notes.txt").write_text("hello")
    for name, message in (
        ("empty.csv", "empty file"),
        ("binary.csv", "not a text file"),
        ("notes.txt", "neither a .csv file nor a rosbag2 directory"),
        ("nowhere.csv", "no such file"),
        (".", "no metadata.yaml"),
    ):
        with pytest.raises(RecordingError, match=message):
            read_recording(tmp_path / name)


# ----------------------------------------------------------------------------------- needed columns


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("note", [""] * 4),
        ("battery_v", ["nan"] * 4),
        ("battery_v", ["3.7", "nan", "nan", "nan"]),
        ("", [""] * 4),
        ("state", ["ok", "a b", "-", "#1"]),
        ("note", ["x", "", "", "y"]),
    ],
)
def test_a_column_that_nobody_needs_costs_nothing(tmp_path, name, values):
    header, rows = with_column(name, values)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert is_the_plain_run(read_recording(written(tmp_path, *rows, header=header)))


def test_a_separator_at_the_end_of_rows_alone_costs_nothing(tmp_path):
    assert is_the_plain_run(read_recording(written(tmp_path, *(f"{row}," for row in ROWS))))


def test_a_signal_without_numbers_is_left_out_by_name_and_no_row_with_it(tmp_path):
    rows = [row.replace(",0,0.00", ",,0.00") for row in ROWS]
    with pytest.warns(RecordingWarning, match=r"left out: signal lace_01 \(0 % of the rows\)"):
        run = read_recording(written(tmp_path, *rows))
    assert run.signal_names == ("lace_00",) and len(run) == 4


def test_no_complete_row_is_an_error_that_names_the_columns(tmp_path):
    rows = [row.rpartition(",")[0] + ",n/a" for row in ROWS]
    with pytest.raises(RecordingError, match=r"no row is complete: .* z_m \(4 of 4 rows\)"):
        read_recording(written(tmp_path, *rows))


def test_a_reference_with_blanks_is_left_out_and_no_row_with_it(tmp_path):
    rows = [f"{row},7,8,{'' if k == 1 else k}" for k, row in enumerate(ROWS)]
    path = written(tmp_path, *rows, header=HEADER + ",ref_x_m,ref_y_m,ref_z_m")
    with pytest.warns(RecordingWarning, match="the reference is blank in some rows"):
        run = read_recording(path)
    assert run.reference is None and is_the_plain_run(run)


def test_commands_go_by_their_names_wherever_their_columns_are(tmp_path):
    names = HEADER.split(",")
    order = [names.index(name) for name in ("z_m", "u1_deg", "t_s", "lace_00", "u0_deg", "y_m")]
    order += [names.index("x_m")]
    rows = [",".join(row.split(",")[i] for i in order) for row in ROWS]
    header = ",".join(names[i] for i in order)
    assert is_the_plain_run(read_recording(written(tmp_path, *rows, header=header)))


def test_a_needed_column_that_is_there_twice_is_an_error(tmp_path):
    header, rows = with_column("x_m", ["1"] * 4)
    with pytest.raises(RecordingError, match="column x_m is there more than once"):
        read_recording(written(tmp_path, *rows, header=header))


# --------------------------------------------------------------------------------------------- time


@pytest.mark.parametrize(
    ("factor", "start", "unit"),
    [(1e3, 0, "ms"), (1e6, 0, "us"), (1e9, 0, "ns"), (1e9, 1.7e18, "ns"), (1e3, 1.7e12, "ms")],
)
def test_time_in_another_unit_is_refused_with_the_unit_and_read_where_it_is_named(
    tmp_path, factor, start, unit
):
    rows = [f"{start + factor * k / 100:.0f}," + row.split(",", 1)[1] for k, row in enumerate(ROWS)]
    said = rf"column t_s: .*look like {unit} \(100 Hz\): .* t_{unit}"
    began = time.monotonic()
    with pytest.raises(RecordingError, match=said):
        read_recording(written(tmp_path, *rows))
    assert time.monotonic() - began < 5.0  # it took minutes, and gigabytes
    run = read_recording(written(tmp_path, *rows, header=HEADER.replace("t_s", f"t_{unit}")))
    # A stamp of 1.7e18 ns is good to 256 ns in float64.
    np.testing.assert_allclose(run.t_s, [0.0, 0.01, 0.02, 0.03], atol=1e-6)


def test_seconds_since_1970_are_seconds(tmp_path):
    rows = [f"{1.7e9 + k / 100:.6f}," + row.split(",", 1)[1] for k, row in enumerate(ROWS)]
    run = read_recording(written(tmp_path, *rows))
    np.testing.assert_allclose(run.t_s - run.t_s[0], [0.0, 0.01, 0.02, 0.03], atol=1e-6)


@pytest.mark.parametrize(("first", "leap"), [(0.0, "1.7e\\+09"), (1.7e9 - 86400.0, "86400")])
def test_a_clock_that_was_set_is_named_and_makes_two_segments(tmp_path, first, leap):
    """A first stamp that was never filled in, or a day that passed within a recording."""
    stamps = [first, *(1.7e9 + k / 100 for k in range(1, 4))]
    rows = [f"{t:.3f}," + row.split(",", 1)[1] for t, row in zip(stamps, ROWS, strict=True)]
    with pytest.warns(RecordingWarning, match=f"time leaps by {leap}.* was the clock set"):
        run = read_recording(written(tmp_path, *rows))
    with pytest.warns(RecordingWarning, match="1 gap, the longest"):
        assert len(resample(run, 100.0)) == 3


# --------------------------------------------------------------------------- dialects and encodings

TEXT = "\n".join([HEADER, *ROWS]) + "\n"
DIALECTS = {
    "semicolon": (TEXT.replace(",", ";").encode(), "separated by semicolons"),
    "decimal comma": (TEXT.replace(",", ";").replace(".", ",").encode(), "decimal commas"),
    "tab": (TEXT.replace(",", "\t").encode(), "separated by tabs"),
    "quoted": (('"' + TEXT.strip().replace(",", '","').replace("\n", '"\n"') + '"').encode(), None),
    "sep=": (b"sep=,\n" + TEXT.encode(), None),
    "sep=;": (b"sep=;\r\n" + TEXT.replace(",", ";").encode(), None),
    "comment": (b"# rig 1\n\n# cell 3, shift 2\n" + TEXT.encode(), None),
    "commented header": (b"# rig 1\n# " + TEXT.encode(), None),
    "comment among rows": (TEXT.replace("\n0.02", "\n# knocked\n0.02").encode(), None),
    "UTF-8 with mark": (TEXT.encode("utf-8-sig"), None),
    "UTF-16": (TEXT.encode("utf-16"), None),
    "UTF-16, big end first": (b"\xfe\xff" + TEXT.encode("utf-16-be"), None),
    "carriage returns": (TEXT.replace("\n", "\r").encode(), None),
    "blanks": (TEXT.replace(",", " , ").encode(), None),
}


@pytest.mark.parametrize("name", DIALECTS)
def test_a_dialect_is_read_and_said_where_it_is_guessed(tmp_path, name):
    data, said = DIALECTS[name]
    (tmp_path / "run.csv").write_bytes(data)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert is_the_plain_run(read_recording(tmp_path / "run.csv"))
    assert any(said in str(w.message) for w in caught) if said else not caught


def test_a_degree_sign_in_latin_1_is_read_and_said(tmp_path):
    header, rows = with_column("temp_\xb0C", ["20"] * 4)
    (tmp_path / "run.csv").write_bytes("\n".join([header, *rows]).encode("latin-1"))
    with pytest.warns(RecordingWarning, match="not in UTF-8: read as Latin-1"):
        assert is_the_plain_run(read_recording(tmp_path / "run.csv"))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (TEXT.encode("utf-16-le"), "not a text file; save the table as CSV in UTF-8"),
        (TEXT.replace(",", " ").encode(), "missing column t_s.*split at each comma"),
        (TEXT.replace("0.6,", '"0,6",').encode(), "row 3, column lace_00: not a number beside"),
        (TEXT.replace("0.5,", '"0.5,').encode(), "row 2"),
        (TEXT.replace("0.6,", "1_0,").encode(), "row 3, column lace_00: not a number: '1_0'"),
        (b"\n\n# only a comment\n", "missing column"),
        (b"sep=;\n", "missing column|empty file"),
        (b" \n", "empty file"),
        # Patterns on names took 40 s for this line.
        (b"x_" + b"[" * 100_000, "a name of 100002 characters, at most 255 may be"),
    ],
)
def test_what_cannot_be_read_has_its_cause(tmp_path, data, said):
    (tmp_path / "run.csv").write_bytes(data)
    with pytest.raises(RecordingError, match=said):
        read_recording(tmp_path / "run.csv")


def test_a_pipe_is_no_recording(tmp_path):
    os.mkfifo(tmp_path / "run.csv")  # reading it would wait for ever
    with pytest.raises(RecordingError, match="neither a .csv file"):
        read_recording(tmp_path / "run.csv")


def test_a_source_with_control_characters_is_escaped(tmp_path):
    path = tmp_path / "a\nb\x1b.csv"
    path.write_text(TEXT)
    assert read_recording(path).source == "a\\nb\\x1b"


# --------------------------------------------------------------------------------- any input at all

FIELDS = st.one_of(
    st.sampled_from(["", "nan", "inf", "-inf", "1e999", "0", "0,5", '"', '"x', "#", "9" * 5000]),
    st.floats().map(repr),
    st.text(max_size=6),
)
NAMES = st.sampled_from(
    ["t_s", "t_ms", "u0_deg", "u1_deg", "lace_0", "x_m", "y_m", "z_m", "ref_x_m", "", "u_deg", "é"]
)


@settings(
    max_examples=150, deadline=5000, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    header=st.one_of(st.just(HEADER.split(",")), st.lists(NAMES, max_size=9)),
    rows=st.lists(st.lists(FIELDS, max_size=9), max_size=12),
    delimiter=st.sampled_from([",", ";", "\t", "|"]),
    encoding=st.sampled_from(["utf-8", "utf-16", "utf-32", "latin-1"]),
)
def test_any_table_is_read_or_refused_in_one_line(tmp_path, header, rows, delimiter, encoding):
    text = "\n".join(delimiter.join(fields) for fields in [header, *rows])
    data = text.encode(encoding, "replace")
    read_or_refused(tmp_path / "run.csv", data)


@settings(
    max_examples=150, deadline=5000, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    stamps=st.lists(st.floats(0, 1e19), min_size=2, max_size=12).map(sorted),
    rate_hz=st.sampled_from([1.0, 120.0, 1e4]),
)
def test_any_stamps_are_put_on_the_grid_or_refused(tmp_path, stamps, rate_hz):
    lines = [f"{t!r}," + ROWS[k % 4].split(",", 1)[1] for k, t in enumerate(stamps)]
    read_or_refused(tmp_path / "run.csv", "\n".join([HEADER, *lines]).encode(), rate_hz)


@settings(
    max_examples=150, deadline=5000, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.binary(max_size=200), at=st.integers(0, len(TEXT)))
def test_any_bytes_are_read_or_refused(tmp_path, data, at):
    read_or_refused(tmp_path / "run.csv", TEXT.encode()[:at] + data + TEXT.encode()[at:])


def read_or_refused(path: Path, data: bytes, rate_hz: float = 120.0) -> None:
    path.write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RecordingWarning)
        try:
            run = resample(read_recording(path), rate_hz)
        except RecordingError as error:
            assert "\n" not in str(error) and len(str(error)) < 2000
        else:
            assert np.all(np.isfinite(run.outputs)) and np.all(np.isfinite(run.commands))
            assert len(run) < 50 * 14


# ---------------------------------------------------------------------------- the reported variants

REFUSED = {"ms": "look like ms", "us": "look like us", "ns_epoch": "look like ns"}
AS_RECORDED = (
    "blank_column", "nan_column", "slow_column", "trailing_comma", "text_column",
    "commands_swapped", "semicolon", "european", "tab", "sep_line", "comment_line", "utf16",
    "degree_sign",
)  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_reported_unit_is_refused(variant, name):
    with pytest.raises(RecordingError, match=REFUSED[name]):
        read_recording(variant(name), TENDON)


@pytest.mark.filterwarnings("ignore::soft_control.learning.dataset.RecordingWarning")
def test_reported_files_are_read_as_they_were_recorded(variant):
    base = read_recording(variant("base"), TENDON)
    assert len(base) == 1440 and base.on_grid(120.0)
    for name in AS_RECORDED:
        run = read_recording(variant(name), TENDON)
        for field in ("t_s", "commands", "outputs", "signals"):
            np.testing.assert_array_equal(getattr(run, field), getattr(base, field), err_msg=name)
        assert (run.command_names, run.signal_names) == (base.command_names, base.signal_names)


@pytest.mark.filterwarnings("ignore::soft_control.learning.dataset.RecordingWarning")
def test_the_reported_jump_of_a_day_makes_two_segments(variant):
    run = resample(read_recording(variant("day_jump"), TENDON), 120.0)
    assert len(run) == 1440 and run.starts == (0, 721)
