"""One design, looked at twice: screened, and, if it may be on the front, trained in full.

A screening first asks what a design costs at least: its firmware is built around a network that has
learned nothing, and the cheapest step of half a second is counted in pil. What is beyond the budget
even so is not trained. The rest is trained shortly, follows curves in sil, where a run takes a
fraction of a second, and has its steps counted. A long training and a whole run in pil are for
finalists.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict

from soft_control.control.mpc_settings import MpcSettings
from soft_control.control.references import Reference
from soft_control.control.sampled_reference import SampledReference
from soft_control.design.settings import Budget, Costs, Design, DesignSettings
from soft_control.design.space import designed, settings_of, training_of
from soft_control.experiment.checks import curve_of
from soft_control.experiment.closed_loop import Firmware, Trace, run
from soft_control.experiment.energy import OWN, cheapest, microcontrollers, work_of
from soft_control.experiment.node_parameters import node_parameters, sees_position
from soft_control.experiment.record import SETTLE_S
from soft_control.experiment.summary import ROUNDING_S
from soft_control.firmware_build import build
from soft_control.firmware_files import FirmwareBuild
from soft_control.learning.card import CARD_FILE, NETWORK_FILE, ModelCard, load_card
from soft_control.learning.dataset import Recording
from soft_control.learning.settings import TrainingSettings
from soft_control.learning.surface import Surface
from soft_control.rigs import make_rig
from soft_control.robots.description import RobotDescription

COUNTED_S = 0.5
"""Of a run, in which a screening counts instructions."""
SCREENED_S = 12.0
"""Length of each run of a screening: a lap takes 6 to 10 s."""


@dataclass(frozen=True)
class Task:
    """What all designs of a search have in common."""

    robot: RobotDescription
    training: tuple[Recording, ...]
    validation: tuple[Recording, ...]
    rig: str
    """Simulated rig, or directory of a twin."""
    reference: str
    """The one that is reported."""
    judges: tuple[str, ...]
    """Those that the search is judged by."""
    duration_s: float
    """Of a run that is reported."""
    seed: int
    """Of search, trainings and noise."""
    part: str
    """Of config/microcontrollers.yaml, whose power is estimated."""
    settings: DesignSettings
    budget: Budget
    out: Path


class Screened(BaseModel):
    """What a short look at a design found."""

    model_config = ConfigDict(use_attribute_docstrings=True, extra="forbid")

    error: float | None
    """RMSE after SETTLE_S, the mean over the judges, in sil; see `rmse_and_worst` for its unit.
    None of a design that was not trained, because it is beyond the budget."""
    costs: Costs
    """Of one that was not trained, what it takes at least."""


class Final(BaseModel):
    """What a design came to that was trained in full."""

    model_config = ConfigDict(use_attribute_docstrings=True, extra="forbid")

    error: float
    """RMSE after SETTLE_S on the reference that is reported, in pil."""
    worst: float
    """Largest error of the same."""
    error_of_judges: float
    """Mean RMSE over the judges, in sil, as in a screening."""
    costs: Costs
    model_hash: str
    build_id: str


def rmse_and_worst(trace: Trace) -> tuple[float, float]:
    """Tracking error after SETTLE_S: RMSE over time and over the robot's points and outputs, and
    the largest; each in its unit on paper."""
    settled = trace.t_s >= SETTLE_S - ROUNDING_S
    difference = trace.outputs[settled] - trace.reference[settled]
    errors = np.stack([group.distance(difference) for group in trace.robot.groups])
    return float(np.sqrt(np.mean(np.square(errors)))), float(np.max(errors))


def screen(task: Task, design: Design) -> Screened:
    """Counted instructions, and within the budget a short training and followed curves.

    Raises ValueError or RuntimeError in one line for a design that cannot be trained or built.
    """
    robot = designed(task.robot, design, task.settings.updates)
    settings = training_of(
        robot,
        task.seed,
        updates=task.settings.screening_updates,
        rollout_samples=task.settings.screening_rollout,
        teachers=0,
    )
    mpc = settings_of(robot, design)
    with tempfile.TemporaryDirectory(prefix="design-") as scratch:
        folder = Path(scratch)
        least = _least_costs(task, settings, mpc, folder)
        if task.budget.beyond(least):
            return Screened(error=None, costs=least)
        network = trained(task, settings)
        made, card = build(network, mpc, folder / "trained"), load_card(network)
        _, instructions = followed(task, made, card, task.judges[0], COUNTED_S, "pil")
        return Screened(error=judged(task, made, card), costs=costs_of(task, made, instructions))


def _least_costs(task: Task, settings: TrainingSettings, mpc: MpcSettings, folder: Path) -> Costs:
    """What a firmware takes around a network that has learned nothing, in its cheapest step.

    Trained ones of four designs took more: at least 53,460, 69,551, 12,792 and 11,736 instructions
    where these took 46,460, 66,002, 10,549 and 9,858. The median is no bound (87,304 where that of
    the trained one is 53,462): without a slope to follow the line search tries more lengths.
    """
    from soft_control.learning.training import untrained

    card = untrained(task.training, task.validation, settings, folder / "model")
    made = build(folder / "model", mpc, folder / "untrained", boards=(OWN,))
    _, instructions = followed(task, made, card, task.judges[0], COUNTED_S, "pil")
    return costs_of(task, made, [min(instructions)])


def finalise(task: Task, design: Design, folder: Path) -> Final:
    """A full training, a whole run in pil. FOLDER gets model/, build/ and robot.yaml, which makes
    both again: `softctl train … --robot robot.yaml` and `softctl build model`.

    Raises ValueError or RuntimeError in one line for a design that cannot be trained or built.
    """
    robot = designed(task.robot, design, task.settings.updates)
    folder.mkdir(parents=True, exist_ok=True)
    model = folder / "model"
    network = trained(task, training_of(robot, task.seed))
    card = load_card(network).model_copy(update={"robot": robot})
    model.mkdir(exist_ok=True)
    shutil.copyfile(network / NETWORK_FILE, model / NETWORK_FILE)
    (model / CARD_FILE).write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")
    said = robot.model_dump(mode="json", exclude_defaults=True)
    text = yaml.safe_dump(said, sort_keys=False, allow_unicode=True, default_flow_style=None)
    (folder / "robot.yaml").write_text(f"# {design.line()}\n{text}", encoding="utf-8")
    made = build(model, settings_of(robot, design), folder / "build")
    trace, instructions = followed(task, made, card, task.reference, task.duration_s, "pil")
    error, worst = rmse_and_worst(trace)
    return Final(
        error=error,
        worst=worst,
        error_of_judges=judged(task, made, card),
        costs=costs_of(task, made, instructions),
        model_hash=card.model_hash,
        build_id=made.build_id,
    )


def trained(task: Task, settings: TrainingSettings) -> Path:
    """The model directory of a network, trained here or before: designs share theirs where only
    their controllers differ."""
    key = hashlib.sha256(settings.model_dump_json().encode()).hexdigest()[:12]
    place = task.out / "networks" / key
    if place.is_dir():
        return place
    from soft_control.learning.training import train

    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".training-", dir=place.parent) as scratch:
        made = Path(scratch) / "model"
        train(task.training, task.validation, settings, made)
        try:
            os.rename(made, place)
        except OSError:  # another worker was first, with the same bits
            if not place.is_dir():
                raise
    return place


def judged(task: Task, made: FirmwareBuild, card: ModelCard) -> float:
    """Mean RMSE over the judges, in sil. Raises RuntimeError where a loop has diverged."""
    errors = [
        rmse_and_worst(followed(task, made, card, judge, SCREENED_S, "sil")[0])[0]
        for judge in task.judges
    ]
    if not np.all(np.isfinite(errors)):
        raise RuntimeError("the closed loop diverged")
    return float(np.mean(errors))


def followed(
    task: Task,
    made: FirmwareBuild,
    card: ModelCard,
    reference: str,
    duration_s: float,
    target: str,
) -> tuple[Trace, Sequence[int]]:
    """A run from rest, and the instructions of each of its steps, which only pil counts."""
    curve = curve_for(task.robot, reference, card.surface)
    firmware = Firmware(made.directory, card, sees_position("mpc", card.robot), target=target)
    try:
        rig = make_rig(task.rig, seed=task.seed)
        trace = run(rig, firmware, curve.values, card.rate_hz, duration_s)
        return trace, firmware.step_costs
    finally:
        firmware.close()


def curve_for(
    robot: RobotDescription, reference: str, surface: Surface | None
) -> Reference | SampledReference:
    """A reference as the robot's description has it, on a model's surface."""
    return curve_of(reference, node_parameters("reference", robot), surface, robot)


def costs_of(task: Task, made: FirmwareBuild, instructions: Sequence[int]) -> Costs:
    """Sizes of the ELF, instructions of the steps, power by `experiment.energy`."""
    data = microcontrollers()
    counted = {
        "step_instructions_median": int(np.median(instructions)),
        "step_instructions_max": int(np.max(instructions)),
    }
    work = work_of(counted, task.robot, training_of(task.robot, task.seed).rate_hz)
    found = cheapest(data.part(task.part), work, data.model)
    return Costs(
        flash_bytes=made.flash_bytes,
        ram_bytes=made.ram_bytes,
        instructions=work.instructions,
        instructions_max=work.instructions_max,
        power_mw=found.power_mw,
        too_slow=f"{found.part.title}: {found.why_not}" if found.why_not else "",
    )
