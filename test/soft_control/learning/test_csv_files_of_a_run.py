"""Runs that are several files: joined, timed by a period, refused by file, column and remedy."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np
import pytest

from soft_control import robots
from soft_control.learning.dataset import (
    RecordingError,
    RecordingWarning,
    read_recording,
    read_recordings,
)
from soft_control.robots.description import RobotDescription, described

ROBOT = {
    "name": "arm",
    "rate_hz": 100.0,
    "commands": [
        {"name": f"u{i}", "unit": "rad", "display_unit": "deg", "min": "-50 deg", "max": "50 deg"}
        for i in range(2)
    ],
    "outputs": [
        {"name": "pressure", "unit": "Pa", "display_unit": "kPa"},
        {"name": "z", "unit": "m", "display_unit": "mm", "point": "tip", "axis": "z"},
    ],
    "signals": [{"name": "phi", "unit": "rad", "display_unit": "deg"}],
    "recording": {
        "run": r"seen_(\d+)(_\d+g)?\.csv",
        "files": [r"told_\1.csv"],
        "join": "ID",
        "time": {"period_s": 0.01},
        "columns": {"pressure": {"column": "p (psi)", "unit": "psi"}, "z": {"unit": "m"}},
    },
}


def arm(**changes) -> RobotDescription:
    recording = {k: v for k, v in (ROBOT["recording"] | changes).items() if v is not None}
    return described(ROBOT | {"recording": recording}, "arm.yaml")


def write(folder: Path, seen: str = "", told: str = "", rows: int = 20) -> Path:
    """A run of so many rows; `seen` and `told` go in place of a whole file."""
    k = range(rows)
    lines = [f"{i},{10 + i},{0.001 * i},{2 * i}" for i in k]
    (folder / "seen_1.csv").write_text(seen or "ID,p (psi),z,phi\n" + "\n".join(lines) + "\n")
    lines = [f"{i},{i},{-2 * i}" for i in k]
    (folder / "told_1.csv").write_text(told or "ID,u0,u1\n" + "\n".join(lines) + "\n")
    return folder / "seen_1.csv"


def test_files_are_joined_and_units_are_those_inside(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run = read_recording(write(tmp_path), arm())
    k = np.arange(20)
    np.testing.assert_allclose(run.t_s, k / 100)
    np.testing.assert_allclose(run.commands, np.radians(np.column_stack([k, -2 * k])))
    # A psi is a pound force, 4.4482216152605 N, on a square inch.
    np.testing.assert_allclose(run.outputs[:, 0], (10 + k) * 4.4482216152605 / 0.0254**2)
    np.testing.assert_allclose(run.outputs[:, 1], 0.001 * k)
    np.testing.assert_allclose(run.signals[:, 0], np.radians(2 * k))
    assert run.output_names == ("pressure", "z") and run.robot.name == "arm"


def test_a_row_that_one_file_lacks_is_left_out_and_said_and_leaves_a_gap(tmp_path):
    lines = [f"{i},{i},0" for i in range(20) if i != 7]
    path = write(tmp_path, told="ID,u0,u1\n" + "\n".join(lines[::-1]) + "\n")
    said = r"left out by the join on column ID: 1 of 20 rows of seen_1\.csv"
    with pytest.warns(RecordingWarning, match=said):
        run = read_recording(path, arm())
    assert len(run) == 19
    np.testing.assert_allclose(run.t_s[6:8], [0.06, 0.08])
    np.testing.assert_allclose(run.commands[:, 0], np.radians([i for i in range(20) if i != 7]))


TOLD = "ID,u0,u1\n" + "".join(f"{i},{i},0\n" for i in range(20))
SEEN = "ID,p (psi),z,phi\n" + "".join(f"{i},10,{i}e-3,0\n" for i in range(20))


@pytest.mark.parametrize(
    ("seen", "told", "changes", "said"),
    [
        ("", TOLD.replace("u1", "v"), {}, r"seen_1.csv: missing column u1; .*columns.u1"),
        ("", TOLD.replace("ID", "id"), {}, r"told_1.csv: missing column ID, by .*recording.join"),
        (SEEN.replace("phi", "u0"), "", {}, r"seen_1.csv: column u0 is in told_1.csv as well"),
        ("", TOLD.replace("\n5,", "\n4,"), {}, r"told_1.csv: column ID: 4 .* in rows 6 and 7"),
        (
            "",
            re.sub(r"\n(\d)", r"\n9\1", TOLD),
            {},
            r"only 0 of 20 .* same ID: seen_1.csv 0 to 19, told_1.csv 90 to 919.*recording.join",
        ),
        (
            "",
            TOLD.replace("19,19,0\n", ""),
            {"join": None},
            r"unequal length: seen_1.csv 20, told_1.csv 19 rows: name a column .* recording.join",
        ),
        ("", "", {"files": ["gone.csv"]}, r"gone.csv: no such file, but recording.files of .* arm"),
        (
            "",
            "",
            {"run": "other", "files": []},
            r"seen_1.csv: names no run of the robot arm, .*such as other \(recording.run\)",
        ),
        (
            "",
            "",
            {"columns": ROBOT["recording"]["columns"] | {"u0": {"unit": "rad"}}},
            r"told_1.csv: column u0: u0 goes from 0 to 1089 deg, .* in deg\?; .*columns.u0",
        ),
        (SEEN.replace("e-3", ""), "", {}, r"seen_1.csv: column z: z spans 19 m, .* in cm or mm\?"),
        ("", "", {"time": {"column": "t"}}, r"missing column t; .*recording.time"),
        ("", "", {"leave_out": {"first": 20}}, r"recording.leave_out leaves no row"),
        ("", TOLD.replace("u1", "U1 (deg)"), {}, r"missing column u1; .*: is it U1 \(deg\)\?"),
        (SEEN.replace(",", " "), "", {}, r"seen_1.csv: missing column ID.* by commas, semicolons"),
        (SEEN.replace("z", "phi"), "", {}, r"seen_1.csv: column phi is there more than once: rena"),
        ("", TOLD.replace("7,7,", "7,x,"), {}, r"told_1.csv: row 9, column u0: not a.* blank"),
        ("", TOLD.replace("7,7,0", "7,7"), {}, r"told_1.csv: row 9 has 2 fields.* or delete it"),
        ("", TOLD.replace("7,7,0", "7,7,1,0,1"), {}, r"row 9 has 5 .*: are there decimal commas"),
        ("", "", {"files": [r"seen_\1.csv"]}, r"recording.files of .*: seen_1.csv twice"),
        ("", "", {"files": [r"told_\1.csv"] * 2}, r"recording.files of .*: told_1.csv twice"),
        (
            "",
            "",
            {"time": {"period_s": 10}},
            r"seen_1.csv: recording.time.period_s = 10 makes .* s",
        ),
        ("", "", {"time": {"column": "phi", "unit": "s"}}, r"column phi: a sample comes every 2 s"),
        ("", "", {"time": {"column": "p (psi)"}}, r"column p \(psi\): a sample comes every 1 s"),
        (
            re.sub(r"\n(\d+),10,", r"\n\1,1,", SEEN),
            "",
            {"time": {"column": "p (psi)"}},
            r"seen_1.csv: column p \(psi\): the time is 1 s in all rows: name another .* period_s",
        ),
        (
            re.sub(r"\n(\d+),", lambda k: f"\n{17 + int(k[1]) / 100},", SEEN),
            re.sub(r"\n(\d+),", lambda k: f"\n{17 + int(k[1]) / 100},", TOLD),
            {},
            r"seen_1.csv: column ID grows by 0.01 from row to row: .* recording.time: \{column: ID",
        ),
    ],
)
def test_what_does_not_fit_is_one_line_with_file_column_and_remedy(
    tmp_path, seen, told, changes, said
):
    with pytest.raises(RecordingError, match=said) as refused:
        read_recording(write(tmp_path, seen, told), arm(**changes))
    assert "\n" not in str(refused.value)


def test_files_may_be_joined_by_their_stamps(tmp_path):
    """Two loggers of one clock; and a time that both files have beside the column of the join."""
    stamped = [re.sub(r"\n(\d+),", lambda k: f"\n{int(k[1]) / 100},", t) for t in (SEEN, TOLD)]
    run = read_recording(write(tmp_path, *stamped), arm(join="ID", time={"column": "ID"}))
    np.testing.assert_allclose(run.t_s, np.arange(20) / 100)
    np.testing.assert_allclose(run.commands[:, 0], np.radians(np.arange(20)))
    seen = re.sub(r"\n(\d+),10", lambda k: f"\n{k[1]},{int(k[1]) / 50}", SEEN).replace("psi", "s")
    told = TOLD.replace("u1", "p (s)")
    form = arm(time={"column": "p (s)"}, columns={"pressure": {"column": "phi", "unit": "Pa"}})
    form = form.model_copy(update={"commands": form.commands[:1]})
    run = read_recording(write(tmp_path, seen, told), form)
    np.testing.assert_allclose(run.t_s, np.arange(20) / 50)  # of the file that names the run


@pytest.mark.parametrize(
    ("limits", "unit_of_z", "said"),
    [
        ((-5, 5), "m", r"u0: u0 goes from 0 to 19 deg, described are -5 to 5 deg.* limits\?; say"),
        (
            (-2e3, 2e3),
            "m",
            r"0.47 % of the range: .* in rad\?; say the unit in recording.columns.u0",
        ),
        ((-40, 20), "mm", r"z: z spans 0.019 mm, .* in m\?; say the unit in recording.columns.z"),
    ],
)
def test_numbers_that_contradict_the_description_are_said(tmp_path, limits, unit_of_z, said):
    columns = ROBOT["recording"]["columns"] | {"z": {"unit": unit_of_z}}
    limits = dict(zip(("min", "max"), np.radians(limits).tolist(), strict=True))
    commands = [command | limits for command in ROBOT["commands"]]
    robot = arm(columns=columns).model_dump(mode="json") | {"commands": commands}
    with pytest.warns(RecordingWarning, match=said):
        read_recording(write(tmp_path, told=TOLD), described(robot, "arm.yaml"))


def test_limits_in_another_unit_than_their_number_says_are_found(tmp_path):
    """`max: 20` of a command in rad that is shown in deg."""
    commands = [command | {"min": -20, "max": 20} for command in ROBOT["commands"]]
    robot = described(arm().model_dump(mode="json") | {"commands": commands}, "arm.yaml")
    with pytest.warns(RecordingWarning, match="is the limit meant as `max: 20 deg`"):
        read_recording(write(tmp_path), robot)


def test_a_signal_is_brought_to_its_full_scale(tmp_path):
    columns = ROBOT["recording"]["columns"]
    run = read_recording(write(tmp_path), arm(columns=columns | {"phi": {"full_scale": 2}}))
    np.testing.assert_allclose(run.signals[:, 0], np.arange(20))
    with pytest.raises(ValueError, match="recording.columns.u0: full_scale is of signals alone"):
        arm(columns={"u0": {"full_scale": 2}})


def test_values_that_no_row_has_leave_nothing_out_and_are_said(tmp_path):
    form = arm(leave_out={"where": {"phi": [99, "idle"]}})
    with pytest.warns(RecordingWarning, match=r"leave_out.where.phi: no row has 99.0, idle"):
        assert len(read_recording(write(tmp_path), form)) == 20


def test_who_names_all_files_names_each_run_once(tmp_path):
    write(tmp_path)
    runs = read_recordings([tmp_path / "seen_1.csv", tmp_path / "told_1.csv"], arm())
    assert [run.source for run in runs] == ["seen_1"]
    with pytest.raises(RecordingError, match="told_1.csv: names no run of the robot arm"):
        read_recordings([tmp_path / "told_1.csv"], arm())


def test_commands_that_hardly_move_may_be_in_another_unit(tmp_path):
    told = "ID,u0,u1\n" + "".join(f"{i},{0.04 * i},0\n" for i in range(20))
    with pytest.warns(RecordingWarning, match=r"column u0, u1|are these numbers in rad\?"):
        read_recording(write(tmp_path, told=told.replace(",0\n", ",0.01\n", 3)), arm())


def test_rows_are_left_out_as_the_description_says(tmp_path):
    seen = "ID,p (psi),z,phi,state\n" + "".join(
        f"{i},10,{i}e-3,0,{'idle' if i in (4, 5) else 7}\n" for i in range(20)
    )
    form = arm(leave_out={"first": 2, "last": 3, "where": {"state": ["idle"]}})
    with pytest.warns(RecordingWarning, match="left out by recording.leave_out: 7 rows"):
        run = read_recording(write(tmp_path, seen), form)
    np.testing.assert_allclose(1e3 * run.outputs[:, 1], [2, 3, *range(6, 17)])


def test_a_signal_without_a_column_is_left_out_and_said(tmp_path):
    with pytest.warns(RecordingWarning, match="no such column, left out: signal phi"):
        run = read_recording(write(tmp_path, SEEN.replace("phi", "other")), arm())
    assert run.signal_names == ()


def test_stamps_are_read_in_the_unit_of_the_description(tmp_path):
    (tmp_path / "run.csv").write_text(
        "t,u0,u1,p (psi),z,phi\n" + "".join(f"{10 * i},{i},0,10,0,0\n" for i in range(20))
    )
    single = {"run": None, "files": [], "join": None}
    run = read_recording(tmp_path / "run.csv", arm(**single, time={"column": "t", "unit": "ms"}))
    np.testing.assert_allclose(run.t_s, np.arange(20) / 100)
    with pytest.raises(RecordingError, match="column t: .*look like ms .*unit: ms in recording"):
        read_recording(tmp_path / "run.csv", arm(**single, time={"column": "t"}))


def test_a_folder_stands_for_all_runs_in_it(tmp_path):
    write(tmp_path)
    (tmp_path / "seen_1_100g.csv").write_text((tmp_path / "seen_1.csv").read_text())
    runs = read_recordings([tmp_path], arm())
    assert [run.source for run in runs] == ["seen_1", "seen_1_100g"]


def test_the_trunk_is_read_whole_but_for_the_row_that_its_commands_lack(shared_data):
    folder = shared_data / "trunk_rig"
    said = r"left out by the join on column ID: 1 of 15001 rows of observations_1_300g\.csv"
    with pytest.warns(RecordingWarning, match=said):
        run = read_recording(folder / "observations_1_300g.csv", robots.load("trunk"))
    assert (run.commands.shape, run.outputs.shape) == ((15000, 6), (15000, 9))
    assert run.signals.shape == (15000, 6) and run.on_grid(100.0)
    np.testing.assert_allclose(np.degrees(run.commands.max(axis=0)), [50, 80, 30, 80, 30, 50])
