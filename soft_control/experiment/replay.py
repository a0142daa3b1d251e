"""A recorded run through the firmware: its free-running prediction against what was measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from soft_control.learning.dataset import Recording
from soft_control.learning.errors import rmse
from soft_control.learning.model import ModelCard, ModelError
from soft_control.link.codes import StepCostUnit
from soft_control.link.session import McuSession


@dataclass(frozen=True)
class Replay:
    """What the firmware made of a run of T samples in S segments."""

    predicted: np.ndarray
    """(T, n) outputs; the first of each segment is measured, all others come from the firmware."""
    network: np.ndarray
    """(T, n) the same without what observer and map of the day add to the network's free run."""
    step_costs: np.ndarray
    """(T-S,) in the unit that the firmware reports."""
    doubted: dict[str, int]
    """Signals that the firmware did not believe, and in how many samples."""


def replay(
    session: McuSession,
    card: ModelCard,
    recording: Recording,
    progress: Callable[[int], None] = lambda sample: None,
    calibrate_s: float = 0.0,
) -> Replay:
    """Feeds commands and signals of a recording that is `suited` to the card; the firmware
    predicts.

    Measured outputs are never seen after the first of each segment: after a gap the firmware
    starts anew. But with `calibrate_s` they teach it for so long what the robot of that day is
    like. Raises ValueError where the recording is no longer than that, ModelError for the firmware
    of another model, LinkError where the MCU fails.
    """
    told = counted_from(recording, calibrate_s)
    if session.info.model_hash != card.model_hash:
        raise ModelError(
            f"the firmware was built from another model ({session.info.model_hash}) than this one "
            f"({card.model_hash}): run `softctl build` with this one, or name its firmware with "
            "--firmware"
        )
    commands, signals = recording.command(card.command_names), recording.signal(card.signal_names)
    outputs = recording.output(card.output_names)
    predicted, network = np.empty_like(outputs), np.empty_like(outputs)
    costs, doubted = [], Counter()
    for start, end in recording.bounds:
        predicted[start] = network[start] = outputs[start]
        session.arm(commands[start], outputs[start], adapts=told > 0)
        for k in range(start, end - 1):
            if k < told:
                session.measurement(k - start, outputs[k])
            answer = session.observe(k - start, signals[k], commands[k])
            predicted[k + 1] = answer.predicted
            network[k + 1] = predicted[k + 1] - answer.offset
            costs.append(answer.step_cost)
            doubted.update(n for i, n in enumerate(card.signal_names) if answer.doubted >> i & 1)
            progress(k + 1)
    return Replay(predicted, network, np.array(costs, dtype=np.int64), dict(doubted))


def counted_from(recording: Recording, calibrate_s: float) -> int:
    """The first sample behind a calibration, from which on errors count. Raises ValueError where
    there is none."""
    first = int(np.searchsorted(recording.t_s - recording.t_s[0], calibrate_s - 1e-6))
    if first >= len(recording):
        length_s = recording.t_s[-1] - recording.t_s[0]
        raise ValueError(
            f"{recording.source} has {length_s:.4g} s: nothing is left to predict behind a "
            f"calibration of {calibrate_s:g} s"
        )
    return first


def summary(
    session: McuSession,
    card: ModelCard,
    recording: Recording,
    answer: Replay,
    target: str,
    calibrate_s: float = 0.0,
) -> dict[str, Any]:
    """The figures of a replay's summary.json; errors are those behind the calibration."""
    first = counted_from(recording, calibrate_s)
    error = (answer.predicted - recording.output(card.output_names))[first:]
    counted = session.info.step_cost_unit == StepCostUnit.INSTRUCTIONS
    return {
        "rig": card.rig,
        "controller": "replay",
        "target": target,
        "recording": recording.source,
        "rate_hz": card.rate_hz,
        "duration_s": len(recording) / card.rate_hz,
        "calibrate_s": calibrate_s,
        "segments": len(recording.starts),
        "free_run": [
            {"group": group.name, "unit": group.unit, "rmse": value}
            for group, value in zip(card.robot.groups, rmse(card.robot, error), strict=True)
        ],
        "doubted_samples": answer.doubted,
        "step_instructions_median": int(np.median(answer.step_costs)) if counted else None,
        "step_instructions_max": int(answer.step_costs.max()) if counted else None,
        "model_hash": card.model_hash,
    }
