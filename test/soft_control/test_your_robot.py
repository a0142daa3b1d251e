"""docs/tutorials/your_robot.md, done in an empty folder with the trunk's recordings, on fewer rows
and with a smaller training.

A twin that comes to rest takes minutes to learn: what `softctl twin` does is tested where it does
it, and another twin of the same robot, by hand, stands here for the one that it would learn.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from soft_control import robots
from soft_control.paths import share
from soft_control.rigs.twin_files import TwinCard, write_card, write_network
from soft_control.robots.description import described

TEXT = (share() / "docs" / "tutorials" / "your_robot.md").read_text(encoding="utf-8")
YAML = re.search(r"^```yaml title=trunk.yaml\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)[1]
COMMANDS = [
    shlex.split(line)
    for block in re.findall(r"^```sh\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    for line in block.splitlines()
]
ROWS = 2500
"""Of each file: 25 s."""
SMALL = {
    "hidden": [8], "updates": 60, "warm_start_updates": 60, "rollout_samples": 5, "teachers": 0,
}  # fmt: skip
SECONDS = 3
"""Of the run."""


def test_it_takes_six_commands_and_the_projects_description():
    assert len(COMMANDS) <= 6 and {command[0] for command in COMMANDS} == {"softctl"}
    assert described(yaml.safe_load(YAML), "trunk.yaml") == robots.load("trunk")


@pytest.fixture
def softctl(tmp_path: Path, shared_data: Path):
    """Runs softctl in a folder that holds the first rows of the trunk's files, and nothing else."""
    for file in sorted((shared_data / "trunk_rig").glob("*.csv")):
        rows = file.read_text().splitlines(keepends=True)[: ROWS + 1]
        (tmp_path / file.name).write_text("".join(rows))
    assert len(list(tmp_path.iterdir())) == 6

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "soft_control.cli", *arguments],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def test_from_published_files_to_a_tracked_reference(tmp_path, softctl):
    pytest.importorskip("tensorflow", reason="training needs soft_control[train]")
    pytest.importorskip("rclpy", reason="ROS 2 is not installed: pip install soft_control[ros]")
    said = {}
    for _, name, *arguments in COMMANDS:
        if name == "twin":
            stand_in(tmp_path / arguments[arguments.index("--out") + 1])
            continue
        shorter = ["--duration-s", str(SECONDS)] if name == "run" else []
        said[name] = softctl(name, *arguments, *shorter)
        if name == "describe":
            guessed = robots.load(tmp_path / "trunk.yaml")
            correct(tmp_path / "trunk.yaml")
            assert_only_additions(guessed, robots.load(tmp_path / "trunk.yaml"))
    assert "on observations_1, 22.5 to 24.99 s" in said["train"]
    rows = [re.findall(r"\d+\.\d{3}", line) for line in said["replay"].splitlines()]
    numbers = [list(map(float, values)) for values in rows if len(values) == 3]
    _, firmware, network = numbers  # with what it has learned of the day, without, and in float64
    # A network of sixty updates runs away, and with it what the firmware's 32 bits round.
    assert firmware == pytest.approx(network, rel=1e-4)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["complete"] and summary["commands_outside_bounds"] == 0
    errors = {error["of"]: error for error in summary["errors"]}
    assert list(errors) == ["body_1", "body_2", "body_3"]
    assert all(error["unit"] == "mm" and np.isfinite(error["rmse"]) for error in errors.values())


def correct(file: Path) -> None:
    """What the tutorial corrects, and a smaller training and network."""
    values = yaml.safe_load(YAML)
    values["training"] |= SMALL
    file.write_text(yaml.safe_dump(values))


def stand_in(folder: Path) -> None:
    """A twin whose increments are 0.2 (tanh(G u) - tanh(z)), G of random numbers."""
    robot = described(yaml.safe_load(YAML), "trunk.yaml")
    m, signals = len(robot.commands), len(robot.signals)
    size = len(robot.outputs) + signals
    first = np.zeros((m + size, 2 * size))
    first[:m, :size] = np.random.default_rng(0).normal(0.0, 0.5, (m, size))
    first[m:, size:] = np.eye(size)
    second = 0.2 * np.vstack([np.eye(size), -np.eye(size)])
    folder.mkdir()
    network = [(first, np.zeros(2 * size)), (second, np.zeros(size))]
    card = TwinCard(
        robot=robot.calibrated([1e4] * signals),
        rate_hz=robot.rate_hz,
        input_lags=1,
        state_lags=1,
        input_delay=18,
        command_offset=robot.command_neutral.tolist(),
        command_scale=robot.command_max.tolist(),
        moving=list(robot.signal_names),
        still={},
        state_offset=[*robot.output_rest, *[0.0] * signals],
        state_scale=[*np.repeat([0.003, 0.013, 0.037], 3), *[0.3] * signals],
        noise=[1e-4] * size,
        hidden=[2 * size],
        rest=[[0.0] * size],
        recordings=["by hand"],
        held_out="nothing",
        free_run=[],
        network_hash=write_network(folder, [network]),
    )
    write_card(folder, card)


def assert_only_additions(guessed: robots.RobotDescription, robot: robots.RobotDescription) -> None:
    """What was guessed of the files is right, but for what no file tells and for limits that these
    rows do not reach."""
    for kind in ("commands", "outputs", "signals"):
        for was, now in zip(getattr(guessed, kind), getattr(robot, kind), strict=True):
            changed = {"min", "max", "speed_max", "rest", "full_scale_counts"}
            assert was.model_dump(exclude=changed) == now.model_dump(exclude=changed)
    assert guessed.rate_hz == robot.rate_hz
    assert guessed.recording.join == robot.recording.join
    for run in ("observations_1.csv", "observations_1_300g.csv"):
        assert guessed.recording.files_of(run) == robot.recording.files_of(run)
