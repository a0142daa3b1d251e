"""The card that recordings make before a network is trained: rig, sizes, normalisation, ranges."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pydantic import ValidationError

from soft_control.learning.card import ModelCard
from soft_control.learning.dataset import live_signals
from soft_control.learning.recording import Recording, warn
from soft_control.learning.settings import TrainingError, TrainingSettings
from soft_control.learning.suitability import check_frames, trained_on
from soft_control.learning.surface import fit_surface
from soft_control.plain_text import first_fault, printable
from soft_control.rigs import describe
from soft_control.robots.description import AXES

SPAN_MAX_M = 3.0
"""Of a tip's positions: the rigs here span 0.03 to 0.12 m, which in millimetres is 30 to 120."""


def rig_name(runs: Sequence[Recording], settings: TrainingSettings) -> str:
    """The one rig of all recordings. Raises TrainingError where they do not tell, or differ."""
    told = {run.rig: run.source for run in runs if run.rig}
    if settings.rig:
        told[settings.rig] = "--rig"
    if len(told) > 1:
        said = ", ".join(f"{printable(rig, 80)} ({source})" for rig, source in told.items())
        raise TrainingError(f"not of one rig: {said}")
    if not told:
        raise TrainingError(
            f"{runs[0].source}: the recording does not say which rig it is of: name it with --rig"
        )
    return next(iter(told))


def _command_names(rig: str, runs: Sequence[Recording]) -> tuple[str, ...]:
    """In the order of the robot's description, whatever the order in which a bag has the names:
    limits and weights go by place. Without one, in that of the first recording."""
    names = runs[0].command_names
    for run in runs:
        if set(run.command_names) != set(names):
            raise TrainingError(
                f"{runs[0].source} and {run.source} have different commands: "
                f"{', '.join(names)} and {', '.join(run.command_names)}"
            )
    try:
        described = describe(rig).command_names
    except ValueError as error:
        warn(runs[0].source, f"its commands keep their order: {error}")
        return names
    if set(described) != set(names):
        raise TrainingError(
            f"{runs[0].source}: its commands are {', '.join(names)}, those of the robot {rig} are "
            f"{', '.join(described)}: name the recorded robot with --rig"
        )
    return described


def blank_card(
    rig: str,
    runs: Sequence[Recording],
    validation: Sequence[Recording],
    settings: TrainingSettings,
) -> ModelCard:
    """Sizes, normalisation, ranges and surface; no metrics yet."""
    sources = ", ".join(run.source for run in runs)
    command_names = _command_names(rig, [*runs, *validation])
    check_frames([*runs, *validation])
    commands = np.vstack([run.command(command_names) for run in runs])
    position = np.vstack([run.position for run in runs])
    names = live_signals(runs) if settings.signals else []
    signals = np.vstack([run.signal(names) for run in runs])
    low, high = commands.min(axis=0), commands.max(axis=0)
    still = [name for name, a, b in zip(command_names, low, high, strict=True) if a == b]
    if still:
        raise TrainingError(f"{sources}: command {', '.join(still)} never moves")
    axes = [axis for axis, values in zip(AXES, position.T, strict=True) if np.any(values)]
    moving = position[:, [AXES.index(axis) for axis in axes]]
    if not axes or not np.any(np.ptp(moving, axis=0)):
        raise TrainingError(f"{sources}: the tip never moves")
    _check_length_unit(runs)
    offset = moving.mean(axis=0)
    scale = float(np.sqrt(np.mean((moving - offset) ** 2)))
    return checked_card(
        rig=rig,
        rate_hz=settings.rate_hz,
        input_lags=settings.input_lags,
        output_lags=settings.output_lags,
        input_delay=settings.input_delay,
        axes=axes,
        command_names=list(command_names),
        command_offset=((low + high) / 2).tolist(),
        command_scale=((high - low) / 2).tolist(),
        output_offset=offset.tolist(),
        output_scale=scale,
        signal_names=names,
        signal_offset=signals.mean(axis=0).tolist(),
        signal_scale=signals.std(axis=0).tolist(),
        surface=fit_surface(moving, axes, commands.shape[1]),
        trained=trained_on(runs, command_names, names),
        metrics={},
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


def _check_length_unit(runs: Sequence[Recording]) -> None:
    for run in runs:
        span = np.ptp(run.position, axis=0)
        if np.max(span) > SPAN_MAX_M:
            axis = AXES[int(np.argmax(span))]
            raise TrainingError(
                f"{run.source}: the tip spans {np.max(span):.4g} m along {axis}: positions must be "
                "in metres; are these millimetres?"
            )
