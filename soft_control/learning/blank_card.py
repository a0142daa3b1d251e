"""The card that recordings make before a network is trained: robot, sizes, scales, ranges."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pydantic import ValidationError

from soft_control.learning.card import ModelCard
from soft_control.learning.dataset import live_signals
from soft_control.learning.magnitudes import command_fault, output_fault
from soft_control.learning.recording import Recording
from soft_control.learning.settings import TrainingError, TrainingSettings
from soft_control.learning.suitability import check_frames, trained_on
from soft_control.learning.surface import fit_surface
from soft_control.plain_text import first_fault, printable
from soft_control.rigs import describe
from soft_control.robots.description import RobotDescription


def robot_of(runs: Sequence[Recording], settings: TrainingSettings) -> RobotDescription:
    """The one robot of all recordings. Raises TrainingError where they do not tell, or differ."""
    told = {run.robot.name: run.source for run in runs if run.robot}
    if settings.rig:
        told[settings.rig] = "--rig"
    if len(told) > 1:
        said = ", ".join(f"{printable(name, 80)} ({source})" for name, source in told.items())
        raise TrainingError(f"not of one robot: {said}")
    if not told:
        raise TrainingError(
            f"{runs[0].source}: the recording does not say which robot it is of: name it with "
            "--rig NAME or --robot FILE"
        )
    described = next((run.robot for run in runs if run.robot), None)
    try:
        robot = described or describe(settings.rig)
    except ValueError as error:
        raise TrainingError(str(error)) from None
    for run in runs:
        for what, has, wanted in (
            ("commands", run.command_names, robot.command_names),
            ("outputs", run.output_names, robot.output_names),
        ):
            if not set(wanted) <= set(has):
                raise TrainingError(
                    f"{run.source}: its {what} are {', '.join(has)}, those of the robot "
                    f"{robot.name} are {', '.join(wanted)}: name the recorded robot with --rig "
                    "NAME or --robot FILE"
                )
    return robot


def blank_card(
    robot: RobotDescription,
    runs: Sequence[Recording],
    validation: Sequence[Recording],
    settings: TrainingSettings,
) -> ModelCard:
    """Sizes, normalisation, ranges and surface; no metrics yet."""
    sources = ", ".join(run.source for run in runs)
    check_frames([*runs, *validation])
    for run in (*runs, *validation):
        _check_units(robot, run)
    commands = np.vstack([run.command(robot.command_names) for run in runs])
    outputs = np.vstack([run.output(robot.output_names) for run in runs])
    names = [name for name in live_signals(runs) if name in robot.signal_names]
    names = names if settings.signals else []
    signals = np.vstack([run.signal(names) for run in runs])
    low, high = commands.min(axis=0), commands.max(axis=0)
    still = [n for n, a, b in zip(robot.command_names, low, high, strict=True) if a == b]
    if still:
        raise TrainingError(
            f"{sources}: command {', '.join(still)} never moves: train on "
            "runs that move it, or take it out of the description"
        )
    offset = outputs.mean(axis=0)
    scale = np.empty(len(offset))
    for group in robot.groups:
        columns = list(group.columns)
        if not np.any(np.ptp(outputs[:, columns], axis=0)):
            raise TrainingError(
                f"{sources}: {group.name} never moves: is its column the right one? "
                "What is not seen to move cannot be learned"
            )
        scale[columns] = np.sqrt(np.mean((outputs[:, columns] - offset[columns]) ** 2))
    return checked_card(
        robot=robot,
        rate_hz=settings.rate_hz,
        input_lags=settings.input_lags,
        output_lags=settings.output_lags,
        input_delay=settings.input_delay,
        command_names=list(robot.command_names),
        command_offset=((low + high) / 2).tolist(),
        command_scale=((high - low) / 2).tolist(),
        output_names=list(robot.output_names),
        output_offset=offset.tolist(),
        output_scale=scale.tolist(),
        signal_names=names,
        signal_offset=signals.mean(axis=0).tolist(),
        signal_scale=signals.std(axis=0).tolist(),
        memory_s=list(settings.memory_s),
        surface=fit_surface(outputs, robot.output_names, commands.shape[1], scale),
        trained=trained_on(runs, robot, names),
        metrics=[],
        evaluated_on=[],
        recordings=[run.source for run in runs],
        model_hash="",
    )


def checked_card(**values: Any) -> ModelCard:
    """Raises TrainingError where the recordings make no card, such as by a scale that is 0."""
    try:
        return ModelCard(**values)
    except ValidationError as error:
        raise TrainingError(f"no model card from these recordings: {first_fault(error)}") from None


def _check_units(robot: RobotDescription, run: Recording) -> None:
    """Numbers that are too large for their units are of another one."""
    faults = [
        fault(quantity, column)
        for fault, quantities, values in (
            (command_fault, robot.commands, run.command(robot.command_names)),
            (output_fault, robot.outputs, run.output(robot.output_names)),
        )
        for quantity, column in zip(quantities, values.T, strict=True)
    ]
    if said := next(filter(None, faults), None):
        raise TrainingError(
            f"{run.source}: {said}; they must be in the units of the robot {robot.name}"
        )
