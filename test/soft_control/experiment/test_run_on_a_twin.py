"""Runs over ROS 2 on a twin, of a robot with signals of both signs and of one without any."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed: pip install soft_control[ros]")
pytest.importorskip("tensorflow", reason="training needs soft_control[train]")

from soft_control import paths  # noqa: E402
from soft_control.control.mpc_settings import MpcSettings  # noqa: E402
from soft_control.experiment.bringup import nodes  # noqa: E402
from soft_control.experiment.closed_loop import record  # noqa: E402
from soft_control.experiment.node_parameters import moves  # noqa: E402
from soft_control.experiment.record import read_record  # noqa: E402
from soft_control.experiment.settings import Experiment  # noqa: E402
from soft_control.experiment.setup import check  # noqa: E402
from soft_control.experiment.tuning import tune  # noqa: E402
from soft_control.firmware_build import build  # noqa: E402
from soft_control.learning.dataset import read_recording  # noqa: E402
from soft_control.learning.training import TrainingSettings, train  # noqa: E402
from soft_control.rigs import make_rig  # noqa: E402

RATE_HZ = 50.0


def softctl(*arguments: object, **options) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "soft_control.cli", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def blind(twin_by_hand, tmp_path_factory) -> SimpleNamespace:
    """A twin of a robot without signals, its model and firmware."""
    folder: Path = tmp_path_factory.mktemp("blind")
    twin = twin_by_hand(folder / "twin", signals=False)
    runs = [record(str(twin.folder), seed, 30.0, RATE_HZ) for seed in (1, 2)]
    settings = TrainingSettings(
        rate_hz=RATE_HZ, input_delay=2, hidden=(8,), updates=200, warm_start_updates=300,
        rollout_samples=10, difference_gain=5.0, learning_rate=5e-3,
    )  # fmt: skip
    card = train(runs[:1], runs[1:], settings, folder / "model")
    robot = twin.card.robot
    weights = MpcSettings(
        horizon=8, control_horizon=3, output_weight=[1.0, 1.0, 100.0], move_weight=[1e-4, 1e-4],
        command_min=robot.command_min.tolist(), command_max=robot.command_max.tolist(),
        **moves(robot, RATE_HZ),
    )  # fmt: skip
    build(folder / "model", weights, folder / "build", boards=("host",))
    return SimpleNamespace(folder=folder, twin=twin, card=card, build=folder / "build")


@pytest.fixture(scope="module")
def reachable(blind) -> Path:
    """A reference that the twin has gone along: a slow swing of both commands."""
    rig = make_rig(str(blind.twin.folder), output_noise=())
    t_s = np.arange(300) / RATE_HZ
    rows = []
    for k in range(300):
        rows.append(rig.outputs())
        swing = 0.5 * np.array([np.sin(0.04 * k), np.sin(0.03 * k)])
        middle = rig.description.command_neutral
        rig.step(middle + swing * (rig.command_max - middle), 1 / RATE_HZ)
    path = blind.folder / "reference.csv"
    table = np.column_stack([t_s, rows])
    np.savetxt(path, table, delimiter=",", header="t_s,x,z,push", comments="", fmt="%.9g")
    return path


def test_a_robot_without_signals_is_controlled_on_its_twin(blind, reachable, tmp_path):
    """In another folder than where it was started, by a name that is relative."""
    softctl(
        "run", "--rig", blind.twin.folder.name, "--target", "sil", "--rate-hz", RATE_HZ,
        "--duration-s", 5, "--reference", reachable, "--model", blind.folder / "model",
        "--firmware", blind.build, "--out", tmp_path / "run",
        cwd=blind.folder,
    )  # fmt: skip
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["samples"] == 250 and summary["complete"] and summary["rig"] == "arm"
    tip, push = summary["errors"]
    # The swing is 16 mm and 2 N RMS; what is left is the error of a network of eight units.
    assert tip["of"] == "tip" and tip["rmse"] < 3.0 and push["rmse"] < 0.5
    assert read_record(tmp_path / "run").twin == blind.twin.folder.name
    recorded = read_recording(tmp_path / "run" / "bag")
    assert recorded.signals.shape == (250, 0) and len(np.unique(recorded.commands[:, 0])) > 200


def test_a_twin_is_recorded_as_in_one_process(twin_by_hand, tmp_path):
    """Noise, counts of both signs on the sensor's line, calibration; the commands to the bit, and
    what came of them but for the float32 in which the wire to the actuators has them: 6e-8 of each,
    and a count where a signal was about to be rounded the other way."""
    twin = twin_by_hand(tmp_path / "twin")
    softctl(
        "collect", "--rig", twin.folder, "--runs", 1, "--duration-s", 4, "--rate-hz", RATE_HZ,
        "--seed", 7, "--out", tmp_path / "data",
    )  # fmt: skip
    recorded = read_recording(tmp_path / "data" / "run_7" / "bag")
    wanted = record(str(twin.folder), 7, 4.0, RATE_HZ)
    names = wanted.signal_names
    np.testing.assert_array_equal(recorded.commands, wanted.commands)
    span = np.ptp(wanted.outputs, axis=0)
    np.testing.assert_allclose(recorded.outputs / span, wanted.outputs / span, rtol=0, atol=1e-6)
    counts = np.array(twin.card.robot.full_scale_counts)
    seen, expected = counts * recorded.signal(names), counts * wanted.signals
    np.testing.assert_allclose(seen, expected, rtol=0, atol=1 + 1e-6)
    assert np.mean(np.round(seen) == np.round(expected)) > 0.99
    assert wanted.signals[:, 1].min() < 0.0 < wanted.signals[:, 1].max()


def test_the_largest_move_of_a_robot_without_config_is_what_its_speeds_allow(blind):
    given = record(str(blind.twin.folder), 3, 10.0, RATE_HZ).commands
    largest = np.max(np.abs(np.diff(given, axis=0)), axis=0)
    allowed = [command.speed_max / RATE_HZ for command in blind.twin.card.robot.commands]
    assert np.all(largest <= np.array(allowed) * (1 + 1e-9)) and np.all(largest > 0)


def test_a_model_is_checked_on_a_twin(blind):
    """The errors of each group; whether so small a network is fit does not matter here."""
    command = [sys.executable, "-m", "soft_control.cli", "check-model", blind.folder / "model"]
    done = subprocess.run(
        [*map(str, command), "--rig", blind.twin.folder],
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert "tip, mm: free run, whole recording" in done.stdout, done.stderr
    assert "push, N: free run, whole recording" in done.stdout and done.returncode in (0, 1)


def test_a_controller_is_tuned_on_a_twin(blind, tmp_path, monkeypatch):
    shutil.copytree(paths.share() / "config", tmp_path / "config")
    outputs = {"x": {"amplitude": 0.01}, "z": {"amplitude": 0.01}, "push": {"amplitude": 1.0}}
    reference = {"reference": {"ros__parameters": {"outputs": outputs, "angular_rate": 0.8}}}
    (tmp_path / "config" / "reference.yaml").write_text(json.dumps(reference))
    monkeypatch.setattr(paths, "share", lambda: tmp_path)
    twin = str(blind.twin.folder)
    found, path = tune("pid", blind.folder / "model", "figure_eight", 4.0, 2, 0, rig=twin)
    assert path == tmp_path / "config" / "tuned" / "arm_pid.yaml" and twin in path.read_text()
    assert 0.0 < found.score < 10.0


def test_a_controller_is_tuned_by_a_later_description(blind, tmp_path):
    """The size of a shape that the twin's own does not say; the model is not trained again."""
    twin, model = str(blind.twin.folder), blind.folder / "model"
    out = tmp_path / "pid.yaml"
    said = "nobody says how far x goes in a shape: write x: {amplitude: …}, in m, below"
    with pytest.raises(ValueError, match=said):
        tune("pid", model, "figure_eight", 4.0, 2, 0, out, rig=twin)
    outputs = {"x": {"amplitude": 0.01}, "z": {"amplitude": 0.01}, "push": {"amplitude": 1.0}}
    nodes = {"reference": {"outputs": outputs}}
    robot = blind.twin.card.robot.model_copy(update={"nodes": nodes})
    file = tmp_path / "later.yaml"
    file.write_text(robot.model_dump_json())
    found, path = tune("pid", model, "figure_eight", 4.0, 2, 0, out, rig=twin, robot=str(file))
    assert path == out and 0.0 < found.score < 10.0


@pytest.mark.parametrize(
    ("rig", "said"),
    [
        (None, "no rig simulates the robot arm of the model in .*--rig DIR"),
        ("tendon", "is of the robot 'arm', not of tendon"),
    ],
)
def test_a_model_goes_with_rigs_of_its_own_robot(blind, tmp_path, rig, said):
    with pytest.raises(ValueError, match=said):
        tune("pid", blind.folder / "model", "figure_eight", 4.0, 1, 0, tmp_path / "x.yaml", rig=rig)


def test_a_launch_file_and_softctl_start_the_same_on_a_twin(blind, tmp_path, monkeypatch):
    """The rig node gets a path that does not depend on its folder; its sensor's line is signed."""
    monkeypatch.chdir(blind.folder)
    asked = Experiment.model_validate(
        {"rig": "twin", "controller": "excitation", "rate_hz": "50", "out": str(tmp_path / "run")}
    )
    graph = {node.name: node.parameters for node in nodes(asked, check(asked), tmp_path / "run")}
    assert graph["rig"]["rig"] == str(blind.twin.folder)
    assert graph["lightlace"]["signed"] is True and "full_scale_counts" not in graph["lightlace"]
