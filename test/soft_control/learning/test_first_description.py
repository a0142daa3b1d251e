"""What is guessed of a robot is a description that reads the very files it was guessed from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from soft_control import robots
from soft_control.learning.dataset import RecordingError, read_recording
from soft_control.learning.first_description import first_description
from soft_control.robots.description import RobotDescription


def guessed(folder: Path, *paths: Path) -> RobotDescription:
    (folder / "guess.yaml").write_text(first_description(paths, "guess"))
    return robots.load(folder / "guess.yaml")


@pytest.mark.filterwarnings("ignore::soft_control.learning.dataset.RecordingWarning")
def test_the_trunk_is_described_by_its_files_alone(shared_data, tmp_path):
    folder = shared_data / "trunk_rig"
    files = folder / "observations_1.csv", folder / "control_inputs_1.csv"
    found, known = guessed(tmp_path, *files), robots.load("trunk")
    assert found.command_names == known.command_names
    assert found.outputs == known.outputs and found.signals == known.signals
    np.testing.assert_allclose(found.command_max, known.command_max, rtol=1e-9)
    for name in ("observations_2.csv", "observations_1_100g.csv"):
        one, other = (read_recording(folder / name, robot) for robot in (found, known))
        for values in ("t_s", "commands", "outputs", "signals"):
            np.testing.assert_allclose(getattr(one, values), getattr(other, values), rtol=1e-12)


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


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\n1,2\n3,4\n", "no column looks like a robot's command: the files have a, b"),
        ("u0,b\n1,2\n3,4\n", "no column looks like a robot's output"),
        ("", "empty file"),
    ],
)
def test_what_is_no_recording_of_a_robot_is_said(tmp_path, text, said):
    (tmp_path / "run.csv").write_text(text)
    with pytest.raises(RecordingError, match=said) as refused:
        first_description([tmp_path / "run.csv"], "arm")
    assert "\n" not in str(refused.value)
