"""Firmwares that differ in what their robots do where a run ends, and robots on their wires."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from soft_control.control.mpc_settings import MpcSettings
from soft_control.firmware_build import build
from soft_control.firmware_files import FirmwareBuild
from soft_control.learning.card import load_card
from soft_control.robots.description import RobotDescription

from .wired import Wired

SENSOR = {"signed": True, "count_max": 4095, "count_step_max": 50, "frozen_samples": 20}
SERVOS = {"silence_samples": 5, "safe_output": "hold"}
ACTUATORS = {
    "hold": SERVOS,
    "neutral": SERVOS | {"safe_output": "neutral"},
    "disarm": SERVOS | {"safe_output": "disarm"},
    "emulated": SERVOS | {"safe_output": "neutral", "silence_samples": 60},
    "hasel": {
        "kind": "hasel_driver", "full_steps": 1000, "safe_output": "disarm", "silence_samples": 5,
        "errors": 255, "voltage_min": 3000.0, "voltage_max": 9000.0, "temperature_max": 70.0,
        "mean_max": 1.5, "mean_s": 0.5,
    },
}  # fmt: skip
"""Of the robots, over those of the tendon rig; a hasel_driver has one range for all commands. An
emulator serves its lines in any order: on a busy machine samples of the sensor overtake an answer
of the servos."""


@pytest.fixture(scope="session")
def robot_firmware(
    model_dir: Path, settings: MpcSettings, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., tuple[FirmwareBuild, RobotDescription]]:
    """robot_firmware(name, boards): a firmware of the test network for a robot of ACTUATORS."""
    made: dict[tuple, tuple[FirmwareBuild, RobotDescription]] = {}

    def make(
        name: str, boards: tuple[str, ...] = ("host",)
    ) -> tuple[FirmwareBuild, RobotDescription]:
        if (name, boards) not in made:
            folder = tmp_path_factory.mktemp(name)
            (folder / "fk.keras").write_bytes((model_dir / "fk.keras").read_bytes())
            card = json.loads((model_dir / "fk.json").read_text())
            robot = card["robot"]
            robot["instruments"]["sensor"] |= SENSOR
            robot["instruments"]["actuators"] |= ACTUATORS[name]
            if name == "hasel":
                robot["commands"][1]["max"] = robot["commands"][0]["max"]
            (folder / "fk.json").write_text(json.dumps(card))
            built = build(folder, settings, folder / "firmware", boards)
            made[name, boards] = built, load_card(folder).robot
        return made[name, boards]

    return make


@pytest.fixture
def wired(robot_firmware) -> Callable[[str], Wired]:
    """wired(name): a robot of ACTUATORS with its firmware in sil."""
    return lambda name: Wired(*robot_firmware(name))


@pytest.fixture
def hostile_steps(tmp_path) -> Callable[..., list[int]]:
    """hostile_steps(program, built, sources): a million steps of a program of this folder with the
    firmware's sources and settings, under sanitizers; the numbers that it prints."""

    def run(name: str, built: FirmwareBuild, sources: Sequence[str]) -> list[int]:
        here = Path(__file__).parent
        firmware, program = here.parents[2] / "firmware", tmp_path / "hostile"
        compiled = subprocess.run(
            [
                "gcc", "-std=c99", "-O1", "-g", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror",
                "-fsanitize=address,undefined", "-fno-sanitize-recover=all", f"-I{firmware}",
                f"-I{firmware}/src", f"-I{built.directory}", str(here / name),
                *(str(firmware / "src" / source) for source in sources), "-o", str(program), "-lm",
            ],
            capture_output=True, text=True,
        )  # fmt: skip
        if "cannot find" in compiled.stderr:
            pytest.skip("gcc has no sanitizers here")
        assert compiled.returncode == 0, compiled.stderr
        done = subprocess.run([program, "1000000"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return list(map(int, done.stdout.split()))

    return run
