"""Does a recording suit a model? Its commands, outputs, signals and frame against the training's.

What differs is named with its numbers. A warning lets the user decide; what cannot be of this model
is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from soft_control.learning.card import ModelCard, ModelError, Range, Trained
from soft_control.learning.dataset import resample
from soft_control.learning.model import card_samples
from soft_control.learning.recording import Recording, RecordingError, listed, warn
from soft_control.robots.description import RobotDescription

OUTSIDE = 0.2
"""Of the trained span: of the four runs of the tendon rig that `make demo` records, each goes up to
3 % beyond the positions and 11 % beyond the signals of the other three."""
OTHER_UNIT = 100.0
"""Times the trained span: millimetres for metres make 1000, degrees for radians 57."""


def suited(card: ModelCard, recording: Recording) -> Recording:
    """The recording on the card's control grid, its commands and outputs in the card's order.

    Warns of ranges and a frame that the training did not have. Raises RecordingError where a
    command, output or signal is missing or no segment is long enough, ModelError where the outputs
    are in another unit.
    """
    recording.signal(card.signal_names)
    recording = replace(
        recording,
        commands=recording.command(card.command_names),
        command_names=tuple(card.command_names),
        outputs=recording.output(card.output_names),
        output_names=tuple(card.output_names),
    )
    recording = resample(recording, card.rate_hz, card_samples(card))
    compare_ranges(card, recording)
    return recording


def trained_on(
    runs: Sequence[Recording], robot: RobotDescription, signal_names: Sequence[str]
) -> Trained:
    """The ranges of all recordings of a training, and their frame."""
    return Trained(
        commands=_ranges(np.vstack([run.command(robot.command_names) for run in runs])),
        outputs=_ranges(np.vstack([run.output(robot.output_names) for run in runs])),
        signals=_ranges(np.vstack([run.signal(signal_names) for run in runs])),
        frame=next((run.frame for run in runs if run.frame), None),
    )


def check_frames(runs: Sequence[Recording]) -> None:
    """Raises RecordingError where the points of the runs are in different frames."""
    told = {run.frame: run.source for run in runs if run.frame}
    if len(told) > 1:
        said = ", ".join(f"{frame} ({source})" for frame, source in told.items())
        raise RecordingError(f"points in different frames: {said}: bring them into one")


def check_long_enough(recording: Recording, samples: int) -> None:
    """Raises RecordingError where no segment of the recording has so many samples."""
    longest = max(end - start for start, end in recording.bounds)
    if longest < samples:
        raise RecordingError(
            f"{recording.source}: too short: {longest} samples without a gap, {samples} are needed "
            "to judge a network by: validate by a longer run, or by more of one (held_out_share)"
        )


def compare_ranges(card: ModelCard, recording: Recording) -> None:
    """Warns of what the training did not have; raises ModelError for outputs in another unit."""
    trained = card.trained
    if trained is None:
        return
    source = recording.source
    if trained.frame and recording.frame and trained.frame != recording.frame:
        warn(
            source,
            f"points in frame {recording.frame}, the model was trained in {trained.frame}: "
            "what it predicts is in the latter",
        )
    outputs = recording.output(card.output_names)
    low, high = np.array(trained.outputs).T
    spans = np.empty(len(low))
    for group in card.robot.groups:
        columns = list(group.columns)
        spans[columns] = np.max((high - low)[columns])
    away = np.max(np.abs(outputs - (low + high) / 2), axis=0) / spans
    worst = int(np.argmax(away))
    if away[worst] > OTHER_UNIT:
        output = card.robot.outputs[worst]
        raise ModelError(
            f"{source}: {output.name} reaches {_extent(outputs[:, worst])} {output.unit}, the "
            f"model was trained on {low[worst]:.4g} to {high[worst]:.4g} {output.unit}: are these "
            "numbers in another unit?"
        )
    commands = recording.command(card.command_names)
    signals = recording.signal(card.signal_names)
    felt = [signal for signal in card.robot.signals if signal.name in card.signal_names]
    felt.sort(key=lambda signal: card.signal_names.index(signal.name))
    for what, quantities, values, ranges, shares in (
        ("command", card.robot.commands, commands, trained.commands, None),
        ("output", card.robot.outputs, outputs, trained.outputs, spans),
        ("signal", felt, signals, trained.signals, None),
    ):
        spread = [high - low for low, high in ranges] if shares is None else shares
        outside = [
            f"{q.title} {_extent(q.factor * column)} "
            f"(trained on {_extent(q.factor * np.array(trained_on))})"
            for q, column, trained_on, span in zip(
                quantities, values.T, ranges, spread, strict=True
            )
            if _is_outside(column, *trained_on, span)
        ]
        if outside:
            warn(source, f"{what} beyond what the model was trained on: {listed('', outside)}")


def _is_outside(values: np.ndarray, low: float, high: float, span: float) -> bool:
    return bool(values.min() < low - OUTSIDE * span or values.max() > high + OUTSIDE * span)


def _extent(values: np.ndarray) -> str:
    return f"{values.min() + 0.0:.4g} to {values.max() + 0.0:.4g}"  # no -0


def _ranges(values: np.ndarray) -> list[Range]:
    return list(zip(values.min(axis=0).tolist(), values.max(axis=0).tolist(), strict=True))
