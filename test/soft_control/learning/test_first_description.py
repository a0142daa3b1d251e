"""What is guessed of a robot is a description that reads the very files it was guessed from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from soft_control import robots
from soft_control.learning.dataset import RecordingError, RecordingWarning, read_recording
from soft_control.learning.described_column import Column, find_roles
from soft_control.learning.first_description import first_description
from soft_control.robots.description import RobotDescription, described


def guessed(folder: Path, *paths: Path) -> RobotDescription:
    (folder / "guess.yaml").write_text(first_description(paths, "guess"))
    return robots.load(folder / "guess.yaml")


@pytest.mark.filterwarnings("ignore::soft_control.learning.dataset.RecordingWarning")
def test_the_trunk_is_described_by_its_files_alone(shared_data, tmp_path):
    folder = shared_data / "trunk_rig"
    files = folder / "observations_1.csv", folder / "control_inputs_1.csv"
    found, known = guessed(tmp_path, *files), robots.load("trunk")
    assert found.command_names == known.command_names
    at_0 = tuple(output.model_copy(update={"rest": 0.0}) for output in found.outputs)
    assert at_0 == tuple(output.model_copy(update={"rest": 0.0}) for output in known.outputs)
    # The angles are recorded to 0.001 deg; of the motors' own sensor nothing is known.
    at_1 = tuple(s.model_copy(update={"full_scale_counts": 1.0}) for s in found.signals)
    assert at_1 == known.signals
    assert found.full_scale_counts == pytest.approx([1000 * 180 / np.pi] * 6, rel=1e-5)
    sizes = found.nodes["reference"]["outputs"]
    moving = {name: one["component"] for name, one in sizes.items() if one["amplitude"]}
    assert moving == {"x1": 0, "z1": 1, "x2": 0, "z2": 1, "x3": 0, "z3": 1}
    np.testing.assert_allclose(found.command_max, known.command_max, rtol=1e-9)
    for name in ("observations_2.csv", "observations_1_100g.csv"):
        one, other = (read_recording(folder / name, robot) for robot in (found, known))
        for values in ("t_s", "commands", "outputs", "signals"):
            np.testing.assert_allclose(getattr(one, values), getattr(other, values), rtol=1e-12)


@pytest.mark.filterwarnings("error::soft_control.learning.dataset.RecordingWarning")
def test_all_six_files_of_the_trunk_make_four_runs_of_one_robot(shared_data, tmp_path):
    folder = shared_data / "trunk_rig"
    found, known = guessed(tmp_path, *sorted(folder.glob("*.csv"))), robots.load("trunk")
    form = found.recording
    runs = {p.name: form.files_of(p.name) for p in sorted(folder.glob("*.csv"))}
    inputs = {name: files and files[1] for name, files in runs.items()}
    assert inputs == {
        "control_inputs_1.csv": None, "control_inputs_2.csv": None,
        "observations_1.csv": "control_inputs_1.csv", "observations_2.csv": "control_inputs_2.csv",
        "observations_1_100g.csv": "control_inputs_1.csv",
        "observations_1_300g.csv": "control_inputs_1.csv",
    }  # fmt: skip
    assert form.join == "ID" and found.rate_hz == 100.0
    speeds = [command.speed_max for command in found.commands]
    # Of the description that was written by hand, which rounds upwards to 1 deg/s.
    np.testing.assert_allclose(speeds, [c.speed_max for c in known.commands], rtol=0.04)
    # The first row of run 1, where the trunk hangs still.
    np.testing.assert_allclose(1e3 * found.output_rest[6:], [108.673, -311.907, 107.489], rtol=1e-3)


def test_the_recorded_hasel_run_is_described_without_its_predictions(shared_data, tmp_path):
    folder = shared_data / "hasel_rig"
    with pytest.warns(RecordingWarning, match="swirl_reference.csv: not looked at: unlike the"):
        found = guessed(tmp_path, *sorted(folder.glob("*.csv")))
    assert (len(found.commands), found.output_names, found.signals) == (6, ("x", "y", "z"), ())
    run = read_recording(folder / "2022-06-06_digitised.csv", found)
    assert run.on_grid(125.0) and found.rate_hz == 125.0 and found.command_max.max() < 0.5


@pytest.mark.filterwarnings("ignore::soft_control.learning.dataset.RecordingWarning")
def test_every_reported_file_is_described_and_read_by_it(variant, tmp_path):
    base = variant("base")
    known = read_recording(base, robots.load("tendon"))
    for name in (
        "base", "ns_epoch", "day_jump", "slow_column", "trailing_comma", "text_column", "european",
        "comment_line", "degree_sign",
    ):  # fmt: skip
        robot = guessed(tmp_path, variant(name))
        run = read_recording(variant(name), robot)
        np.testing.assert_allclose(run.command(["u0", "u1"]), known.commands, rtol=1e-12)
        np.testing.assert_allclose(run.outputs, known.outputs, rtol=1e-12)
        assert robot.rate_hz == pytest.approx(120.0, abs=0.1)


def test_the_recorded_tendon_runs_are_described(shared_data, tmp_path):
    path = shared_data / "tendon_rig" / "2020-09-28_13417d5.csv"
    found, known = guessed(tmp_path, path), robots.load("tendon_recorded")
    one, other = read_recording(path, found), read_recording(path, known)
    assert found.command_names == ("u0", "u1") and found.output_names == ("x", "y", "z")
    for values in ("t_s", "commands", "outputs", "signals"):
        np.testing.assert_allclose(getattr(one, values), getattr(other, values), rtol=1e-12)


@pytest.mark.parametrize(
    ("header", "row", "unit", "period_s"),
    [
        ("time_ms,cmd1,x (cm)", "{ms},{k},0.{k}", "m", 0.02),
        ("timestamp,u,pressure_kPa,z", "{us},{k},1{k},0.0{k}", "m", 0.02),
        ("stamp;u0_deg;y_mm", "{s};{k};{k}", "m", 0.02),
    ],
)
def test_time_and_units_are_guessed_by_name_and_size(tmp_path, header, row, unit, period_s):
    lines = [row.format(k=k, ms=20 * k, us=20_000 * k, s=f"{0.02 * k:.3f}") for k in range(1, 10)]
    (tmp_path / "run.csv").write_text("\n".join([header, *lines]) + "\n")
    with pytest.warns() if ";" in header else np.errstate():
        robot = guessed(tmp_path, tmp_path / "run.csv")
        run = read_recording(tmp_path / "run.csv", robot)
    assert robot.outputs[0].unit == unit
    np.testing.assert_allclose(np.diff(run.t_s), period_s, rtol=1e-6)
    assert robot.rate_hz == pytest.approx(1 / period_s)


def test_behind_each_guess_stands_why(tmp_path):
    (tmp_path / "run.csv").write_text("u0,x\n1,0.1\n9,0.2\n")
    text = first_description([tmp_path / "run.csv"], "arm")
    assert "deg guessed: 1 to 9" in text and "coordinate x of a point, by its name" in text
    assert "no column tells the time" in text


def test_signals_that_the_wire_would_cut_off_are_brought_to_1(tmp_path):
    """Raw counts, a pressure of some 1e5 Pa; an angle and what is near 1 stay as they are."""
    rows = "".join(
        f"{i % 5},{i % 7}e-3,{500 + i},{100 + i % 3},{i % 9},0.{i % 9}\n" for i in range(30)
    )
    (tmp_path / "run.csv").write_text(f"u,x,raw,air_kPa,phi,lace\n{rows}")
    robot = guessed(tmp_path, tmp_path / "run.csv")
    run = read_recording(tmp_path / "run.csv", robot)
    assert [s.unit for s in robot.signals] == ["1", "1", "rad", "1"]
    i = np.arange(30)
    wanted = [(500 + i) / 529, (100 + i % 3) / 102, np.radians(i % 9), i % 9 / 10]
    np.testing.assert_allclose(run.signals, np.transpose(wanted))


def test_counts_of_a_sensor_are_the_last_recorded_digit(tmp_path):
    """Volts of four digits, raw counts, a dead channel, one that stands still, and all the digits
    that a program writes, of which a sensor tells a hundred thousand apart."""
    i = np.arange(30)
    rows = "".join(
        f"{k % 5},{k % 7}e-3,{1.65 + 0.0007 * k:.4f},{500 + 3 * k},0,7.5,{np.sin(k):.17g}\n"
        for k in i
    )
    (tmp_path / "run.csv").write_text(f"u,x,flex,raw,spare,still,fine\n{rows}")
    robot = guessed(tmp_path, tmp_path / "run.csv")
    text = (tmp_path / "guess.yaml").read_text()
    # Raw counts become 1 at the largest, 587; the sine spans 2, 200,000 counts of 1e-5.
    assert robot.full_scale_counts == (1e4, 587.0, 0.0, 1.0, 1e5)
    assert text.count("it never moves: dead?") == 2


def test_pressures_are_commands_where_nothing_else_is_called_so(tmp_path):
    rows = "".join(f"{20 * k},{k},{k % 7},{k}e-3,0.{k % 9},101.3\n" for k in range(1, 30))
    (tmp_path / "run.csv").write_text(f"time [ms],P1_kPa,P2_kPa,tip x,flex,p_air_kPa\n{rows}")
    robot = guessed(tmp_path, tmp_path / "run.csv")
    assert robot.command_names == ("P1", "P2") and robot.output_names == ("tip x",)
    assert robot.command_max.tolist() == [29e3, 6e3]
    assert "is it told or measured?" in (tmp_path / "guess.yaml").read_text()


def test_a_first_shape_is_inside_of_what_was_recorded(tmp_path):
    """120 mm, 60 mm, 20 mm; an angle, which has another unit, stays."""
    rows = "".join(f"{k},{2 * k},{k},{k / 3},{k}\n" for k in range(61))
    (tmp_path / "run.csv").write_text(f"u0_deg,tip_x_mm,tip_z_mm,tip_y_mm,bend_deg\n{rows}")
    told = {name: "output" for name in ("tip_x_mm", "tip_z_mm", "tip_y_mm", "bend_deg")}
    text = first_description([tmp_path / "run.csv"], "arm", told)
    outputs = described(yaml.safe_load(text), "arm.yaml").nodes["reference"]["outputs"]
    assert {name: one["amplitude"] for name, one in outputs.items()} == {
        "tip_x": 0.018, "tip_z": 0.009, "tip_y": 0.0, "bend": 0.0,
    }  # fmt: skip


def test_first_weights_are_by_spans_and_ranges(tmp_path):
    """120 mm; 24 deg, five times less; a command of 180 and one of 60 deg."""
    rows = "".join(f"{3 * i - 90},{i},{2 * i},{i / 2.5},{i // 30}\n" for i in range(61))
    (tmp_path / "run.csv").write_text(f"u0_deg,u1_deg,tip_x_mm,bend_deg,z_mm\n{rows}")
    told = {name: "output" for name in ("tip_x_mm", "z_mm", "bend_deg")}
    text = first_description([tmp_path / "run.csv"], "arm", told)
    mpc = described(yaml.safe_load(text), "arm.yaml").nodes["mcu"]["mpc"]
    assert mpc == {"output_weight": [1, 25, 1], "move_weight": [0.022, 0.2]}


def test_roles_may_be_told(tmp_path):
    rows = "".join(f"{i / 50},{i % 5},{i % 4},{i % 3},{i % 7}\n" for i in range(30))
    (tmp_path / "run.csv").write_text(f"t,p1_kPa,u,bend_deg,x_mm\n{rows}")
    told = {"p1_kPa": "command", "bend_deg": "output"}
    text = first_description([tmp_path / "run.csv"], "arm", told)
    robot = described(yaml.safe_load(text), "arm.yaml")
    assert (robot.command_names, robot.output_names) == (("p1",), ("bend",))
    assert robot.signal_names == ("u", "x") and not robot.groups[0].is_point
    with pytest.raises(RecordingError, match="no column y of numbers: it has t, p1_kPa, u"):
        first_description([tmp_path / "run.csv"], "arm", {"y": "output"})


FILES_OF_RUNS = [
    ("seen_7.csv", "told_7.csv", {"seen_8.csv": "told_8.csv", "seen_8_b.csv": "told_8.csv"}),
    ("monday_obs.csv", "monday_cmd.csv", {"friday_obs.csv": "friday_cmd.csv", "obs.csv": None}),
    ("obs-run3.csv", "u-run3.csv", {"obs-run3.csv": "u-run3.csv"}),
    ("y.csv", "u.csv", {"y.csv": "u.csv", "z.csv": None}),
    ("a 1 (x).csv", "b 1 (x).csv", {"a 2 (x).csv": "b 2 (x).csv"}),
]


@pytest.mark.parametrize(("seen", "told", "runs"), FILES_OF_RUNS)
def test_files_of_one_run_find_each_other_by_their_names(tmp_path, seen, told, runs):
    k = range(30)
    (tmp_path / seen).write_text("t,x\n" + "".join(f"{i / 50},{i % 7}e-3\n" for i in k))
    (tmp_path / told).write_text("t,u1\n" + "".join(f"{i / 50},{i % 5}\n" for i in k))
    robot = guessed(tmp_path, tmp_path / seen, tmp_path / told)
    assert robot.recording.join == "t" and len(read_recording(tmp_path / seen, robot)) == 30
    for run, other in runs.items():
        files = robot.recording.files_of(run)
        assert (files and files[1]) == other


def test_files_that_belong_to_no_run_are_said(tmp_path):
    for name, header in (("y_1", "ID,x"), ("y_2", "ID,x"), ("u_1", "ID,u"), ("u_3", "ID,u")):
        rows = "".join(f"{i},{i % 7}e-3\n" for i in range(30))
        (tmp_path / f"{name}.csv").write_text(f"{header}\n{rows}")
    with pytest.warns(RecordingWarning) as caught:
        guessed(tmp_path, *tmp_path.glob("*.csv"))
    said = "\n".join(str(one.message) for one in caught)
    assert "y_2.csv: not looked at" in said and "u_3.csv: not looked at" in said


def test_what_is_measured_is_output_where_no_coordinate_is(tmp_path):
    """Angles and pressures; a command that stands still, and an output that does, are left out."""
    rows = "".join(f"{i / 50},{i % 5},3,{9 * (i % 4)},{20 + i % 3},7\n" for i in range(30))
    (tmp_path / "run.csv").write_text(f"t,u1,u2,bend,pressure_kPa,force\n{rows}")
    robot = guessed(tmp_path, tmp_path / "run.csv")
    assert robot.command_names == ("u1",) and robot.signals == ()
    assert [(o.name, o.unit, o.shown_in, o.point) for o in robot.outputs] == [
        ("bend", "rad", "deg", ""), ("pressure", "Pa", "kPa", ""),
    ]  # fmt: skip
    text = (tmp_path / "guess.yaml").read_text()
    assert "left out: u2, which stands still at 3" in text
    assert "left out: force, an output that stands still at 7" in text
    # 6 rows have 2 of u1's 0 to 4: bend is 18, 27, 0, 9, 18 and 27 there.
    np.testing.assert_allclose(robot.output_rest, [np.radians(18), 21e3], rtol=1e-3)
    assert "rest is the median of the 6 rows with all commands nearest" in text


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("u3", "command"), ("servo_2_cmd", "command"), ("cmd_left", "command"),
        ("pwm4", "command"), ("valve_1", "command"), ("tip_x", "output"), ("x_tip", "output"),
        ("body2.z", "output"), ("pos_y", "output"), ("z3", "output"), ("Y (mm)", "output"),
        ("battery", "signal"), ("latency", "signal"), ("magnetic_0_x", "signal"),
        ("phi2", "signal"), ("imu_acc_z", "signal"), ("pred_x_m", "other"),
    ],
)  # fmt: skip
def test_roles_are_told_by_names(name, role):
    column = Column(name, "run.csv", [np.arange(9.0)])
    others = [Column(n, "run.csv", [np.arange(9.0)]) for n in ("u0", "tip_x0")]
    find_roles([column, *others])
    assert column.role == role


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\n1,2\n3,4\n", "no column that moves looks like a robot's command; there are a, b"),
        ("u0,x\n1,2\n3,2\n", "no column that moves looks like a robot's output"),
        ("u0,x\n1,2\n1,4\n", "no column that moves looks like a robot's command"),
        ("u0,x\n", "no rows below the header"),
        ("", "empty file"),
    ],
)
def test_what_is_no_recording_of_a_robot_is_said(tmp_path, text, said):
    (tmp_path / "run.csv").write_text(text)
    with pytest.raises(RecordingError, match=said) as refused:
        first_description([tmp_path / "run.csv"], "arm")
    assert "\n" not in str(refused.value)
