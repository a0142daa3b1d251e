"""The bench that a model's faults are tried on: its robot, watched in every way, and a firmware."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np

from soft_control.experiment.node_parameters import mpc_settings
from soft_control.experiment.settings import Experiment
from soft_control.experiment.setup import reference_curve
from soft_control.faults.fault import Supervised
from soft_control.faults.sil import Bench
from soft_control.firmware_build import build
from soft_control.learning.card import CARD_FILE, load_card
from soft_control.rigs import make_rig
from soft_control.robots.description import RobotDescription

LENGTH_S = 3.0
PACE = 3.0
"""Times the robot's own: when a fault comes, there is a way to go to the neutral command."""
SEED = 1


def supervised(robot: RobotDescription, changes: Supervised) -> RobotDescription:
    """The robot with what is changed. Raises ValidationError where that cannot be."""
    instruments = robot.instruments.model_dump()
    instruments["sensor"] |= changes.sensor
    instruments["actuators"] |= changes.actuators
    return RobotDescription.model_validate(robot.model_dump() | {"instruments": instruments})


def prepare(
    model: Path,
    changes: Supervised,
    rig: str,
    folder: Path,
    boards: tuple[str, ...],
    reference: np.ndarray | None = None,
) -> Bench:
    """Builds the firmware of a model, for the boards named, in a folder.

    reference: outputs wanted (T, n), one a sample; by default the robot's figure-eight, faster.

    Raises BuildError, and ValueError where the rig is none of that robot.
    """
    card = load_card(model)
    robot = supervised(card.robot, changes)
    made = folder / "model"
    shutil.copytree(model, made)
    text = json.loads((made / CARD_FILE).read_text(encoding="utf-8"))
    text["robot"] = robot.model_dump(mode="json")
    (made / CARD_FILE).write_text(json.dumps(text), encoding="utf-8")
    built = build(made, mpc_settings(robot), folder / "firmware", boards)
    if reference is None:
        curve = reference_curve(Experiment(rig=rig), card)
        times_s = np.arange(round(LENGTH_S * robot.rate_hz)) / robot.rate_hz
        reference = curve.values(PACE * times_s)
    return Bench(built, lambda: make_rig(rig, seed=SEED), reference, rig, made)
