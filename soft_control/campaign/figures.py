"""The figures of a campaign's report, as SVG: paths with a band over seeds, errors, box plots."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from soft_control.campaign.results import Results
from soft_control.campaign.ways import WAYS
from soft_control.experiment.figures import STYLE, as_svg, legend, plt, title, unit
from soft_control.experiment.record import SETTLE_S
from soft_control.experiment.report import COLOURS
from soft_control.plain_text import printable
from soft_control.robots.description import RobotDescription

BAND = 0.25
"""Opacity of a band."""
COLUMNS = 3
"""Of small plots beside one another."""
NAMES = 4
"""Titles of controllers beside one another: more are wider than a figure."""
REFERENCE = {"color": "k", "ls": (0, (4, 3)), "lw": 0.8, "zorder": 3}
OTHERS = "0.85"
"""Grey of the lines that one is seen before."""
MAGNIFICATIONS = (20, 10, 5, 2)
CUT = 4.0
UPRIGHT = 1.4
"""Height over width from which on plots of a path are narrow, and twice as many stand in a row."""


@dataclass(frozen=True)
class Drawing:
    """What is drawn of one rig."""

    results: Results
    rig: str
    """Its name in the plan."""
    robot: RobotDescription
    controllers: Sequence[str]
    """In the order of their colours."""

    def colour(self, controller: str) -> str:
        """Of its lines in all figures."""
        return COLOURS[self.controllers.index(controller) % len(COLOURS)]

    def traces(
        self, disturbance: str, controller: str, reference: str
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        """Times (T,), outputs (S, T, n) over seeds and reference (T, n), on paper; None where no
        run has any."""
        rows = self.results.sound(self.results.rows(self.rig, disturbance, controller, reference))
        if not rows:
            return None
        found = [self.results.trace(row, len(self.robot.outputs)) for row in rows]
        return found[0][0], np.stack([seen for _, seen, _ in found]), found[0][2]


def drawn(figure: plt.Figure) -> str:
    """The figure as SVG that stands alone."""
    with plt.rc_context(STYLE):  # it is read again when the figure is written
        return f'<?xml version="1.0" encoding="utf-8"?>\n{as_svg(figure)}'


def titles(controllers: Sequence[str]) -> list[str]:
    """For legends."""
    return [WAYS[name].title for name in controllers]


def draw_time(drawing: Drawing, disturbance: str, reference: str) -> plt.Figure | None:
    """Every output over time, and below them a plot of its own for each controller's tracking
    error, before the others' in grey: the mean over seeds, and from the lowest to the highest a
    band; None where there is no run."""
    robot = drawing.robot
    runs = {name: drawing.traces(disturbance, name, reference) for name in drawing.controllers}
    there = {name: found for name, found in runs.items() if found is not None}
    if not there:
        return None
    errors = {
        name: robot.groups[0].distance((seen - wanted) / robot.output_factors)
        for name, (_, seen, wanted) in there.items()
    }
    above, below = len(robot.outputs), -(-len(there) // 2)
    with plt.rc_context(STYLE):
        figure = plt.figure(figsize=(9, 1.1 * above + 1.5 * below), layout="constrained")
        grid = figure.add_gridspec(above + below, 2, height_ratios=above * [1.1] + below * [1.5])
        first = figure.add_subplot(grid[0, :])
        t_s, _, wanted = next(iter(there.values()))
        for i, output in enumerate(robot.outputs):
            axes = figure.add_subplot(grid[i, :], sharex=first) if i else first
            axes.plot(t_s, wanted[:, i], **REFERENCE)
            for name, (t_s, seen, _) in there.items():
                _band(axes, t_s, seen[:, :, i], drawing.colour(name))
            axes.set_ylabel(title(output))
            axes.tick_params(labelbottom=i == above - 1)
        legend(first, ["reference"], loc="lower right", bbox_to_anchor=(1.0, 1.0))
        shared = None
        for number, (name, values) in enumerate(errors.items()):
            place = grid[above + number // 2, number % 2]
            axes = figure.add_subplot(place, sharex=first, sharey=shared)
            shared = shared or axes
            for other in errors.values():
                axes.plot(t_s, other.mean(axis=0), color=OTHERS, lw=0.6)
            _band(axes, t_s, values, drawing.colour(name))
            axes.set_title(WAYS[name].title, fontsize=9, color=drawing.colour(name))
            axes.set_ylabel(printable(f"error{unit(robot.groups[0].unit)}"))
            if number < len(errors) - 2:
                axes.tick_params(labelbottom=False)
            else:
                axes.set_xlabel("time, s")
        shared.set_ylim(0, None)
        return figure


def draw_plane(drawing: Drawing, disturbance: str, reference: str) -> plt.Figure | None:
    """The first point in the plane of the two coordinates in which its reference goes furthest, a
    plot each controller: the mean over seeds, and each seed thinly; None where there is no such
    point or no run. Distances from the reference are drawn so many times as large as the figure
    says; what moves while the start settles is left out, as in every figure of an error."""
    group = next((g for g in drawing.robot.groups if g.is_point and len(g.columns) > 1), None)
    runs = {name: drawing.traces(disturbance, name, reference) for name in drawing.controllers}
    there = {name: found for name, found in runs.items() if found is not None}
    if group is None or not there:
        return None
    t_s, _, wanted = next(iter(there.values()))
    settled = t_s >= SETTLE_S
    columns = np.array(group.columns)
    across, up = sorted(columns[np.argsort(-np.ptp(wanted[:, columns], axis=0), kind="stable")[:2]])
    plane = [across, up]
    wanted = wanted[settled][:, plane]
    apart = {name: seen[:, settled][:, :, plane] - wanted for name, (_, seen, _) in there.items()}
    times = _magnification(wanted, list(apart.values()))
    tall = np.ptp(wanted[:, 1]) / max(np.ptp(wanted[:, 0]), 1e-9)
    beside = COLUMNS if tall < UPRIGHT else 2 * COLUMNS
    rows = -(-len(there) // beside)
    height = 0.5 + rows * (0.4 + min(max(9 / beside * tall, 1.5), 3.2))
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(
            rows,
            beside,
            figsize=(9, height),
            sharex=True,
            sharey=True,
            squeeze=False,
            layout="constrained",
        )
        for (name, off), at in zip(apart.items(), axes.ravel(), strict=False):
            colour = drawing.colour(name)
            for run in wanted + times * off:
                at.plot(run[:, 0], run[:, 1], color=colour, lw=2.0, alpha=BAND)
            mean = wanted + times * off.mean(axis=0)
            at.plot(mean[:, 0], mean[:, 1], color=colour, lw=1.1)
            # Solid: where a path is gone along many times, dashes fill one another's gaps.
            at.plot(wanted[:, 0], wanted[:, 1], **(REFERENCE | {"ls": "-"}))
            named = textwrap.fill(WAYS[name].title, 96 // beside)
            at.set_title(named, fontsize=9, color=colour)
            at.set_aspect("equal", adjustable="box")
        for at in axes.ravel()[len(there) :]:
            at.set_axis_off()
        figure.supxlabel(title(drawing.robot.outputs[across]), fontsize=9)
        figure.supylabel(title(drawing.robot.outputs[up]), fontsize=9)
        said = f"distances from the reference (black) {times} times as large" if times > 1 else ""
        figure.suptitle(said, fontsize=9)
        return figure


def _magnification(wanted: np.ndarray, apart: Sequence[np.ndarray]) -> int:
    """Of distances (S, T, 2) from a path (T, 2): the largest of MAGNIFICATIONS at which 95 % of the
    median controller's stay within a tenth of the path's extent."""
    typical = np.median([np.percentile(np.hypot(*off.T), 95) for off in apart])
    reach = 0.1 * np.ptp(wanted, axis=0).max()
    return next((times for times in MAGNIFICATIONS if times * typical <= reach), 1)


def draw_errors(drawing: Drawing, disturbances: Sequence[str], reference: str) -> plt.Figure:
    """A small plot each disturbance: the tracking error over time, mean and band over seeds. Errors
    of CUT times what is usual there are cut off, and the plot's title says so: else nothing is seen
    of all others."""
    group = drawing.robot.groups[0]
    paper = drawing.robot.output_factors
    rows = -(-len(disturbances) // COLUMNS)
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(
            rows, COLUMNS, figsize=(9, 0.6 + 1.7 * rows), sharex=True, squeeze=False
        )
        shown: dict[str, object] = {}
        for disturbance, at in zip(disturbances, axes.ravel(), strict=False):
            largest: list[float] = []
            for name in drawing.controllers:
                found = drawing.traces(disturbance, name, reference)
                if found is not None:
                    t_s, seen, wanted = found
                    error = group.distance((seen - wanted) / paper)
                    shown.setdefault(name, _band(at, t_s, error, drawing.colour(name)))
                    largest.append(float(error.max()))
            top, usual = max(largest, default=0.0), float(np.median(largest or [0.0]))
            cut = top > CUT * usual > 0.0
            said = f", cut off: up to {top:.3g}" if cut else ""
            at.set_title(printable(disturbance) + said, fontsize=8)
            at.set_ylim(0, CUT * usual if cut else None)
        for at in axes.ravel()[len(disturbances) :]:
            at.set_axis_off()
        for at in axes[-1]:
            at.set_xlabel("time, s")
        for at in axes[:, 0]:
            at.set_ylabel(printable(f"error{unit(group.unit)}"))
        figure.tight_layout()
        if shown:
            figure.legend(list(shown.values()), titles(list(shown)), loc="lower center",
                          bbox_to_anchor=(0.5, 1.0), ncols=min(len(shown), NAMES))  # fmt: skip
        return figure


def draw_boxes(drawing: Drawing, disturbances: Sequence[str]) -> plt.Figure:
    """RMSE of all runs: a group of boxes each disturbance, a box each controller; whiskers reach to
    the least and the largest run."""
    there = drawing.results.names("controller", drawing.rig)
    controllers = [name for name in drawing.controllers if name in there]
    with plt.rc_context(STYLE):
        height = 0.5 + 0.2 * len(disturbances) * (len(controllers) + 1)
        figure, axes = plt.subplots(figsize=(9, height))
        for i, disturbance in enumerate(disturbances):
            for j, name in enumerate(controllers):
                rows = drawing.results.rows(drawing.rig, disturbance, name)
                values = drawing.results.rmse(rows)
                if values.size:
                    _box(axes, values, i + _shift(j, len(controllers)), 0.7 / len(controllers),
                         drawing.colour(name))  # fmt: skip
        axes.set_yticks(range(len(disturbances)), [printable(name) for name in disturbances])
        axes.set_ylim(len(disturbances) - 0.5, -0.5)
        axes.set_xscale("log")
        # Labels of its own: matplotlib's are formulas, which STYLE prints as they are spelled.
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel(printable(f"RMSE{unit(drawing.robot.groups[0].unit)}"))
        handles = [plt.Rectangle((0, 0), 1, 1, color=drawing.colour(name)) for name in controllers]
        columns = min(len(controllers), NAMES)
        legend(axes, titles(controllers), handles,
               loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=columns)  # fmt: skip
        return figure


def _shift(number: int, count: int) -> float:
    """Of a box from the middle of its group."""
    return 0.8 * ((number + 0.5) / count - 0.5)


def _box(axes: plt.Axes, values: np.ndarray, at: float, width: float, colour: str) -> None:
    axes.boxplot(
        [values],
        positions=[at],
        widths=[width],
        orientation="horizontal",
        whis=(0, 100),
        patch_artist=True,
        manage_ticks=False,
        boxprops={"facecolor": colour, "alpha": 0.6, "edgecolor": colour},
        # A single run is a line without a box.
        medianprops={"color": "k"} if len(values) > 1 else {"color": colour, "lw": 2.5},
        whiskerprops={"color": colour},
        capprops={"color": colour},
    )


def _band(axes: plt.Axes, t_s: np.ndarray, values: np.ndarray, colour: str) -> object:
    """Mean of values (S, T) over S as a line, which is returned, and a band from least to
    largest."""
    axes.fill_between(t_s, values.min(axis=0), values.max(axis=0), color=colour, alpha=BAND, lw=0)
    return axes.plot(t_s, values.mean(axis=0), color=colour, lw=1.0)[0]
