"""A recorded run through the firmware: its free-running prediction against what was measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from soft_control.learning.dataset import Recording
from soft_control.learning.model import ModelCard, ModelError, rmse_mm
from soft_control.link.messages import StepCostUnit
from soft_control.link.session import McuSession


@dataclass(frozen=True)
class Replay:
    """What the firmware made of a run of T samples in S segments."""

    predicted: np.ndarray
    """(T, 3) m; the first of each segment is the measured position, all others come from the
    firmware."""
    step_costs: np.ndarray
    """(T-S,) in the unit that the firmware reports."""


def replay(
    session: McuSession,
    card: ModelCard,
    recording: Recording,
    progress: Callable[[int], None] = lambda sample: None,
) -> Replay:
    """Feeds commands and signals of a recording that is `suited` to the card; the firmware
    predicts.

    Measured positions are never seen after the first of each segment: after a gap the firmware
    starts anew. Raises ModelError for the firmware of another model, LinkError where the MCU fails.
    """
    if session.info.model_hash != card.model_hash:
        raise ModelError(
            f"the firmware was built from another model ({session.info.model_hash}) than this one "
            f"({card.model_hash}): run `softctl build` with this one, or name its firmware with "
            "--firmware"
        )
    commands, signals = recording.command(card.command_names), recording.signal(card.signal_names)
    predicted = np.empty_like(recording.position)
    costs = []
    for start, end in recording.bounds:
        predicted[start] = recording.position[start]
        session.reset(commands[start], card.on_axes(recording.position[start]))
        for k in range(start, end - 1):
            answer = session.observe(k - start, signals[k], commands[k])
            predicted[k + 1] = card.in_space(answer.predicted)
            costs.append(answer.step_cost)
            progress(k + 1)
    return Replay(predicted, np.array(costs, dtype=np.int64))


def summary(
    session: McuSession, card: ModelCard, recording: Recording, answer: Replay, target: str
) -> dict[str, Any]:
    """The figures of a replay's summary.json."""
    counted = session.info.step_cost_unit == StepCostUnit.INSTRUCTIONS
    return {
        "rig": card.rig,
        "controller": "replay",
        "target": target,
        "recording": recording.source,
        "rate_hz": card.rate_hz,
        "duration_s": len(recording) / card.rate_hz,
        "segments": len(recording.starts),
        "free_run_rmse_mm": rmse_mm(answer.predicted - recording.position),
        "step_instructions_median": int(np.median(answer.step_costs)) if counted else None,
        "step_instructions_max": int(answer.step_costs.max()) if counted else None,
        "model_hash": card.model_hash,
    }
