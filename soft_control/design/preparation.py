"""What must fit before a search begins: nothing is written or started until it does."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from nn4mc_codegen.trial.qemu import missing_tools
from soft_control import robots
from soft_control.control.references import SHAPES
from soft_control.design import sampling
from soft_control.design.measure import Task, curve_for
from soft_control.design.settings import Budget, DesignSettings
from soft_control.design.space import present, training_of
from soft_control.design.study import STUDY_FILE
from soft_control.experiment.checks import check_length, check_same
from soft_control.experiment.energy import microcontrollers
from soft_control.experiment.record import SETTLE_S
from soft_control.learning.blank_card import blank_card, robot_of
from soft_control.learning.dataset import hold_out, read_recordings
from soft_control.learning.settings import TrainingSettings, described_settings
from soft_control.plain_text import printable
from soft_control.rigs import RIGS, describe
from soft_control.robots import said_in
from soft_control.robots.description import RobotDescription


def prepare(
    recordings: Sequence[Path],
    validation: Sequence[Path],
    robot: Path | None,
    rig: str | None,
    reference: str,
    duration_s: float,
    seed: int,
    part: str,
    settings: DesignSettings,
    budget: Budget,
    out: Path,
) -> Task:
    """What a search has in common, read and checked.

    Raises ValueError in one line for what does not fit, or is not installed; RecordingError as
    `read_recordings`.
    """
    sampling.check_packages()
    if importlib.util.find_spec("tensorflow") is None:
        raise ValueError("design trains networks: pip install 'soft_control[train]'")
    if missing := missing_tools():
        raise ValueError(missing)
    microcontrollers().part(part)
    if out.is_dir() and any(out.iterdir()) and not (out / STUDY_FILE).is_file():
        raise ValueError(f"{out} holds something else than a search: choose another --out")
    given = robots.load(robot.resolve()) if robot else None
    training = read_recordings(recordings, given)
    held_out = read_recordings(validation, given)
    described = given or robot_of([*training, *held_out], TrainingSettings())
    chosen = described_settings(described, str(robot or said_in(described)))
    if not held_out:
        training, held_out = hold_out(
            training, chosen.held_out_share, of_each=chosen.sessions == "aligned"
        )
    rig = _rig_of(described, rig)
    judges = tuple(name for name in settings.references if name != reference)
    if not judges:
        raise ValueError(f"references: the search needs one besides {reference}, which is reported")
    check_length(duration_s - SETTLE_S, chosen.rate_hz)
    present(described, signals=True)
    card = blank_card(described, training, held_out, training_of(described, seed))
    for name in (reference, *judges):
        if name not in SHAPES and not Path(name).is_file():
            raise ValueError(
                f"unknown reference '{printable(name)}': {', '.join(SHAPES)} or a file"
            )
        curve_for(described, name, card.surface)
    return Task(
        robot=described,
        training=tuple(training),
        validation=tuple(held_out),
        rig=rig,
        reference=reference,
        judges=judges,
        duration_s=duration_s,
        seed=seed,
        part=part,
        settings=settings,
        budget=budget,
        out=out,
    )


def _rig_of(robot: RobotDescription, rig: str | None) -> str:
    """The rig or twin's directory that simulates a robot."""
    if rig is None and robot.name not in RIGS:
        raise ValueError(
            f"no rig simulates the robot {printable(robot.name)}: name a twin that `softctl twin` "
            "has learned from recordings, --rig DIR"
        )
    rig = rig or robot.name
    check_same(robot, describe(rig), f"the rig {printable(rig)}")
    return rig
