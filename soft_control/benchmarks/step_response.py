"""How a loop answers steps of its reference: rise time, overshoot, RMSE, effort."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from soft_control.experiment.closed_loop import Trace


@dataclass(frozen=True)
class StepFigures:
    """Means over all steps of a run, or over several runs."""

    rmse_mm: float
    """Over the whole run."""
    rise_s: float
    """From 10 % to 90 % of a step; to the end of the level where a step never gets there."""
    overshoot_percent: float
    """Of the step's height."""
    overshoot_max_percent: float
    """The largest of any step."""
    effort: float
    """RMS command, in its unit."""


def figures(trace: Trace, output: int, lead_s: float) -> StepFigures:
    """Figures of the output of this number, in m, of a run whose reference is a staircase.

    A step's window begins `lead_s` before it and ends as long before the next one: a controller
    that previews its reference may set out early, and what it does for the next step is not
    overshoot of this one. Raises ValueError for a reference without a step.
    """
    wanted, position = trace.reference[:, output], trace.outputs[:, output]
    steps = np.flatnonzero(np.diff(wanted)) + 1
    if not len(steps):
        raise ValueError("the reference has no step to measure")
    lead = round(lead_s / (trace.t_s[1] - trace.t_s[0]))
    ends = [*(steps[1:] - lead), len(wanted)]
    rises, overshoots = [], []
    for step, end in zip(steps, ends, strict=True):
        window = slice(max(step - lead, 0), end)
        share = (position[window] - wanted[step - 1]) / (wanted[step] - wanted[step - 1])
        t_s = trace.t_s[window]
        rises.append(_crossing(t_s, share, 0.9) - _crossing(t_s, share, 0.1))
        overshoots.append(100.0 * max(share.max() - 1.0, 0.0))
    return StepFigures(
        rmse_mm=1e3 * float(np.sqrt(np.mean((position - wanted) ** 2))),
        rise_s=float(np.mean(rises)),
        overshoot_percent=float(np.mean(overshoots)),
        overshoot_max_percent=float(np.max(overshoots)),
        effort=float(np.sqrt(np.mean(trace.commands**2))),
    )


def mean(several: Sequence[StepFigures]) -> StepFigures:
    """Means over runs, and the largest overshoot of any."""
    names = ("rmse_mm", "rise_s", "overshoot_percent", "effort")
    means = {name: float(np.mean([getattr(f, name) for f in several])) for name in names}
    return StepFigures(overshoot_max_percent=max(f.overshoot_max_percent for f in several), **means)


def _crossing(t_s: np.ndarray, share: np.ndarray, level: float) -> float:
    """When `share` first reaches `level`, between samples by a straight line."""
    above = np.flatnonzero(share >= level)
    if not len(above):
        return float(t_s[-1])
    k = above[0]
    if k == 0:
        return float(t_s[0])
    part = (level - share[k - 1]) / (share[k] - share[k - 1])
    return float(t_s[k - 1] + part * (t_s[k] - t_s[k - 1]))
