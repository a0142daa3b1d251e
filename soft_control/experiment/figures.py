"""The figures of a report as SVG: outputs, errors and commands in the units of the description."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Sequence

import matplotlib
import numpy as np

from soft_control.experiment.checks import cut_of
from soft_control.experiment.run_samples import Entry, Run
from soft_control.experiment.summary import tracking_error
from soft_control.plain_text import printable
from soft_control.robots.description import Quantity

matplotlib.use("Agg")  # files only, no display
from matplotlib import pyplot as plt  # noqa: E402  the backend must be chosen first

STYLE = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "legend.frameon": False,
    "svg.hashsalt": "soft_control",
    "text.parse_math": False,  # a $ in a name is a $
}


ABOVE = {"loc": "lower right", "bbox_to_anchor": (1.0, 1.0), "borderaxespad": 0.2}
"""Of a legend: curves reach every corner of their axes."""


def draw_all(entries: Sequence[Entry]) -> list[tuple[str, str]]:
    """(caption, SVG element) of every figure that these runs have something for."""
    drawn = []
    with plt.rc_context(STYLE), warnings.catch_warnings():
        # A letter that the font lacks is drawn as a box.
        warnings.filterwarnings("ignore", message="Glyph .* missing", category=UserWarning)
        for caption, draw in FIGURES.items():
            figure = draw(entries)
            if figure is not None:
                drawn.append((caption, as_svg(figure)))
    return drawn


def shown(run: Run, values: np.ndarray) -> np.ndarray:
    """(T, n) outputs in their units on paper."""
    return values * run.record.robot.output_factors


def draw_plane(entries: Sequence[Entry]) -> plt.Figure | None:
    """The first point in the plane of the two coordinates in which its reference goes furthest;
    None where there is no such point."""
    robot = entries[0].run.record.robot
    group = next((g for g in robot.groups if g.is_point and len(g.columns) > 1), None)
    if group is None:
        return None
    reference = shown(entries[0].run, entries[0].run.reference)
    columns = np.array(group.columns)
    furthest = np.argsort(-np.ptp(reference[:, columns], axis=0), kind="stable")[:2]
    across, up = sorted(columns[furthest])
    figure, axes = plt.subplots(figsize=(6.4, 6.0))
    axes.plot(reference[:, across], reference[:, up], "k--", lw=1.2)
    for entry in entries:
        at = shown(entry.run, entry.run.outputs)
        axes.plot(at[:, across], at[:, up], color=entry.colour, lw=1.1)
    axes.set_xlabel(title(robot.outputs[across]))
    axes.set_ylabel(title(robot.outputs[up]))
    axes.set_aspect("equal")
    legend(axes, ["reference", *labels(entries)], loc="upper center", bbox_to_anchor=(0.5, 1.2))
    return figure


def draw_time(entries: Sequence[Entry]) -> plt.Figure:
    """Every output and its reference over time."""
    first = entries[0].run
    outputs = first.record.robot.outputs
    figure, rows = stacked(len(outputs), 1.8)
    reference = shown(first, first.reference)
    for i, axes in enumerate(rows):
        axes.plot(first.t_s, reference[:, i], "k--", lw=1.2)
        for entry in entries:
            at = shown(entry.run, entry.run.outputs)
            axes.plot(entry.run.t_s, at[:, i], color=entry.colour, lw=1.0)
        axes.set_ylabel(title(outputs[i]))
        shade_cuts(entries, axes)
    legend(rows[0], ["reference", *labels(entries)], **ABOVE, ncols=3)
    return figure


def draw_error(entries: Sequence[Entry]) -> plt.Figure:
    """The tracking error of every point, and of every output that is no position, over time."""
    groups = entries[0].run.record.robot.groups
    figure, rows = stacked(len(groups), 2.8 if len(groups) == 1 else 1.9)
    for group, axes in zip(groups, rows, strict=True):
        for entry in entries:
            error = tracking_error(entry.run, group)
            axes.plot(entry.run.seen.t_s, error, color=entry.colour, lw=1.0)
        of = f"{group.name}: " if len(groups) > 1 else ""
        axes.set_ylabel(printable(f"{of}tracking error{unit(group.unit)}"))
        axes.set_ylim(0, None)
        shade_cuts(entries, axes)
    legend(rows[0], labels(entries), **ABOVE, ncols=2)
    return figure


def draw_commands(entries: Sequence[Entry]) -> plt.Figure:
    """Every command over time, with its limits dotted."""
    commands = entries[0].run.record.robot.commands
    figure, rows = stacked(len(commands), 1.9)
    for i, (command, axes) in enumerate(zip(commands, rows, strict=True)):
        for entry in entries:
            given = command.factor * entry.run.commands[:, i]
            axes.plot(entry.run.t_s, given, color=entry.colour, lw=1.0)
        shade_cuts(entries, axes)
        for limit in (command.min, command.max):
            axes.axhline(command.factor * limit, color="#a33", lw=1.0, ls=":")
        axes.set_ylabel(title(command))
    legend(rows[0], labels(entries), **ABOVE, ncols=2)
    return figure


def draw_step_cost(entries: Sequence[Entry]) -> plt.Figure:
    """How many samples cost how much to control."""
    figure, axes = plt.subplots(figsize=(9, 2.6))
    axes.set(xlabel="cost of a control step", ylabel="samples")
    measured = []
    for entry in entries:
        costs = [said.step_cost for said in entry.run.solver if said.step_cost_unit != "none"]
        if costs:
            axes.hist(costs, bins=60, color=entry.colour, alpha=0.7)
            counted = printable(entry.run.solver[0].step_cost_unit)
            axes.set_xlabel(f"cost of a control step, {counted}")
            measured.append(entry)
    if measured:
        handles = [plt.Rectangle((0, 0), 1, 1, color=e.colour, alpha=0.7) for e in measured]
        legend(axes, labels(measured), handles, loc="upper right")
    else:
        axes.text(
            0.5,
            0.5,
            "no run of this report measured it (sil does not)",
            ha="center",
            transform=axes.transAxes,
        )
    return figure


FIGURES: dict[str, Callable[[Sequence[Entry]], plt.Figure | None]] = {
    "Path in the plane": draw_plane,
    "Path in time": draw_time,
    "Tracking error": draw_error,
    "Commands and their limits": draw_commands,
    "Step cost": draw_step_cost,
}


# ------------------------------------------------------------------------------ what they share


def stacked(count: int, height: float) -> tuple[plt.Figure, np.ndarray]:
    """`count` plots of `height`, inches, above one another, over one axis of time."""
    size = (9, height * count)
    figure, rows = plt.subplots(count, 1, figsize=size, sharex=True, squeeze=False)
    rows[-1, 0].set_xlabel("time, s")
    return figure, rows[:, 0]


def shade_cuts(entries: Sequence[Entry], axes: plt.Axes) -> None:
    """Where the host heard nothing of the microcontroller."""
    for entry in entries:
        if entry.run.record.cut:
            from_s, for_s = cut_of(entry.run.record.cut, entry.run.record.duration_s)
            axes.axvspan(from_s, from_s + for_s, color=entry.colour, alpha=0.12, lw=0)


def unit(name: str) -> str:
    """As it follows a name: `, mm`; nothing for what has no unit."""
    return "" if name == "1" else f", {name}"


def title(quantity: Quantity) -> str:
    """Name and unit on paper."""
    return printable(quantity.title)


def labels(entries: Sequence[Entry]) -> list[str]:
    """What the runs are called."""
    return [entry.label for entry in entries]


def legend(axes: plt.Axes, texts: Sequence[str], handles: Sequence = (), **where: object) -> None:
    """A legend of the first lines of `axes`, or of `handles`.

    Matplotlib leaves out what begins with an underscore, so the texts are put in afterwards.
    """
    chosen = list(handles) or axes.get_lines()[: len(texts)]
    made = axes.legend(chosen, [str(i) for i in range(len(texts))], **where)
    for text, wanted in zip(made.get_texts(), texts, strict=True):
        text.set_text(wanted)


def as_svg(figure: plt.Figure) -> str:
    """The figure as an SVG element, the same bytes each time."""
    text = io.StringIO()
    figure.savefig(text, format="svg", bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)
    return "<svg" + text.getvalue().partition("<svg")[2]
