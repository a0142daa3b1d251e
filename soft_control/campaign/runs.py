"""One row of a campaign: a run in process, and its figures.

The part that counts comes after the controller's head, if it has one, and errors count in it from
SETTLE_S on, as in every run of this project:

    0 ... head_s ............. head_s + duration_s
          | settles | errors count                   a disturbance acts from the middle on, or
                         ^ disturbance               throughout where it is a parameter of the rig
"""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from soft_control.campaign.disturbances import Moment, disturbed
from soft_control.campaign.stands import Stand
from soft_control.campaign.ways import Way, way
from soft_control.control.calibration_motion import after_calibration
from soft_control.experiment.closed_loop import Trace, run
from soft_control.experiment.record import SETTLE_S
from soft_control.experiment.summary import ROUNDING_S, error_figures
from soft_control.link.errors import LinkError
from soft_control.plain_text import one_line

AHEAD_S = 1.0
"""A controller knows the reference of as much beyond the end of a run: no horizon is longer."""
FIGURES = ("rmse", "p95", "max", "path_rmse", "rmse_late")
"""Of a row: tracking error after SETTLE_S, the distance to the reference's curve, and the tracking
error from the middle on; all in the unit on paper of the robot's first point or output."""


@dataclass(frozen=True, order=True)
class Row:
    """Which run it is."""

    number: int
    """In the plan's order, from 0."""
    rig: str
    reference: str
    controller: str
    disturbance: str
    seed: int

    def __str__(self) -> str:
        return (
            f"row {self.number} ({self.rig}, {self.reference}, {self.controller}, "
            f"{self.disturbance}, seed {self.seed})"
        )


def carry_out(row: Row, stand: Stand, duration_s: float, trace_hz: float) -> dict[str, Any]:
    """The row's values by the names of store.SCHEMA: the same on every machine with the same code.

    A run that breaks off, because a command or an output is no number any more, say, is a row
    without figures that says why.
    """
    chosen = way(row.controller)
    moment = Moment(chosen.head_s + duration_s / 2, chosen.head_s + duration_s)
    rig = disturbed(row.disturbance, stand.rig, moment, row.seed)
    with contextlib.ExitStack() as stack:
        controller = chosen.make(stand, row.reference)
        stack.callback(getattr(controller, "close", lambda: None))
        try:
            trace = run(
                rig,
                controller,
                _wanted(row, chosen, stand, duration_s),
                stand.rate_hz,
                moment.end_s,
            )
            values = _measured(trace, chosen.head_s, stand.kit.curves[row.reference], trace_hz)
            values |= _told(controller, trace, chosen.head_s, rig, stand)
        except (LinkError, ValueError, ArithmeticError) as error:
            values = {"fault": one_line(str(error)) or type(error).__name__}
    return vars(row) | values


def _told(
    controller: Any, trace: Trace, head_s: float, rig: Any, stand: Stand
) -> dict[str, float | None]:
    """What a controller says of itself: which signals it did not believe, by its telemetry, and how
    long its solver took. Only since when a channel is wrong is known from the rig."""
    told: dict[str, float | None] = {}
    if hasattr(controller, "iterations"):
        told["iterations"] = float(np.mean(controller.iterations))
    if hasattr(controller, "doubted"):
        card = stand.model.card
        taken = [card.robot.signal_names.index(name) for name in card.signal_names]
        # (T, p) whether a signal that the network takes is doubted, and whether that is right.
        doubted = np.array(controller.doubted)[:, None] >> np.arange(len(taken)) & 1 > 0
        wrong_from_s = getattr(rig, "wrong_from_s", {})
        starts_s = np.array([wrong_from_s.get(channel, math.inf) for channel in taken])
        wrong = trace.t_s[:, None] >= starts_s - ROUNDING_S
        counted = trace.t_s >= head_s - ROUNDING_S
        told["doubted_sound"] = int((doubted & ~wrong)[counted].any(axis=1).sum())
        if set(wrong_from_s) <= set(taken):
            told["found_s"] = _found_s(doubted, wrong, 1 / stand.rate_hz)
    return told


def _found_s(doubted: np.ndarray, wrong: np.ndarray, sample_s: float) -> float | None:
    """How long the last of the channels that are `wrong` (T, p) went unnoticed; None where one did
    to the end, or none is wrong."""
    failed = wrong.any(axis=0)
    found = (doubted & wrong)[:, failed]
    if not failed.any() or not found.any(axis=0).all():
        return None
    return float(np.max(found.argmax(axis=0) - wrong[:, failed].argmax(axis=0)) * sample_s)


def _wanted(
    row: Row, chosen: Way, stand: Stand, duration_s: float
) -> Callable[[np.ndarray], np.ndarray]:
    curve = stand.kit.curves[row.reference]
    if not chosen.head_s:
        return curve.values
    motions = [stand.kit.curves[shape] for shape in chosen.head]
    samples = round((chosen.head_s + duration_s + AHEAD_S) * stand.rate_hz)
    return after_calibration(curve, motions, chosen.head_s, stand.rate_hz, samples).values


def _measured(trace: Trace, head_s: float, curve: Any, trace_hz: float) -> dict[str, Any]:
    """Figures of a run, and every so manieth sample of it."""
    counted = trace.t_s >= head_s - ROUNDING_S
    t_s = trace.t_s[counted] - head_s
    outputs, reference = trace.outputs[counted], trace.reference[counted]
    if not np.isfinite(outputs).all():
        raise ValueError("the outputs are no numbers any more")
    group = trace.robot.groups[0]
    error = group.distance(outputs - reference)
    settled = t_s >= SETTLE_S - ROUNDING_S
    late = t_s >= (t_s[-1] + t_s[1]) / 2 - ROUNDING_S
    columns = list(group.columns)
    near = cKDTree(curve.curve()[:, columns]).query(outputs[settled][:, columns])[0]
    rmse, p95, largest = error_figures(error[settled])
    each = max(1, round((1 / t_s[1]) / trace_hz))
    paper = trace.robot.output_factors
    return {
        "of": group.name,
        "unit": group.unit,
        "samples": len(t_s),
        "rmse": rmse,
        "p95": p95,
        "max": largest,
        "path_rmse": error_figures(group.factor * near)[0],
        "rmse_late": error_figures(error[settled & late])[0],
        "commands_sha256": hashlib.sha256(trace.commands.astype("<f8").tobytes()).hexdigest(),
        "t_s": t_s[::each],
        "outputs": (paper * outputs[::each]).ravel(),
        "reference_outputs": (paper * reference[::each]).ravel(),
    }
