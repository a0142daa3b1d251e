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
        controller = chosen.make(stand)
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
        except (LinkError, ValueError, ArithmeticError) as error:
            values = {"fault": one_line(str(error)) or type(error).__name__}
    return vars(row) | values


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
