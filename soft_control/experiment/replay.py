"""A recorded run through the firmware: its free-running prediction against what was measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from soft_control.learning.dataset import Recording
from soft_control.learning.model import ModelCard, rmse_mm
from soft_control.link.messages import StepCostUnit
from soft_control.link.session import McuSession


@dataclass(frozen=True)
class Replay:
    """What the firmware made of a run of T samples."""

    predicted: np.ndarray
    """(T, 3) m; the first is the measured position, all others come from the firmware."""
    step_costs: np.ndarray
    """(T-1,) in the unit that the firmware reports."""


def replay(
    session: McuSession,
    card: ModelCard,
    recording: Recording,
    progress: Callable[[int], None] = lambda sample: None,
) -> Replay:
    """Feeds commands and signals of a recording on the control grid; the firmware predicts.

    Measured positions are never seen after the first. Raises LinkError where the MCU fails.
    """
    signals = recording.signal(card.signal_names)
    predicted = np.empty_like(recording.position)
    predicted[0] = recording.position[0]
    costs = np.empty(len(recording) - 1, dtype=np.int64)
    session.reset(recording.commands[0], card.on_axes(recording.position[0]))
    for k in range(len(recording) - 1):
        answer = session.observe(k, signals[k], recording.commands[k])
        predicted[k + 1] = card.in_space(answer.predicted)
        costs[k] = answer.step_cost
        progress(k + 1)
    return Replay(predicted, costs)


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
        "free_run_rmse_mm": rmse_mm(answer.predicted - recording.position),
        "step_instructions_median": int(np.median(answer.step_costs)) if counted else None,
        "step_instructions_max": int(answer.step_costs.max()) if counted else None,
        "model_hash": card.model_hash,
    }
