"""Runs as one self-contained HTML page, and the verdict as text."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import matplotlib
import numpy as np

from soft_control.experiment.summary import Run, measure, read_run, tracking_error_mm

matplotlib.use("Agg")  # files only, no display
from matplotlib import pyplot as plt  # noqa: E402  the backend must be chosen first

AXES = "xyz"
COLOURS = ("#0b6bb8", "#d9711a", "#3d8f45", "#8a4fa3", "#8c6d31", "#c2417c")
STYLE = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "legend.frameon": False,
    "svg.hashsalt": "soft_control",
}


@dataclass(frozen=True)
class Entry:
    """One run in a report."""

    label: str
    run: Run
    summary: dict[str, Any]
    colour: str


def read_entries(run_dirs: Sequence[Path]) -> list[Entry]:
    """Reads and measures run directories. Raises RecordingError for what is no run."""
    entries = []
    for run_dir, colour in zip(run_dirs, COLOURS * len(run_dirs), strict=False):
        run = read_run(run_dir)
        if run.reference is None:
            raise ValueError(f"{run_dir} is an open-loop run: there is no tracking to report")
        entries.append(Entry(label_of(run, run_dir), run, measure(run), colour))
    return entries


def label_of(run: Run, run_dir: Path) -> str:
    controller = run.experiment["controller"].upper()
    target = run.experiment["target"]
    return (
        f"{controller} on {target} ({run_dir.name})" if target else f"{controller} ({run_dir.name})"
    )


def write_report(entries: Sequence[Entry], out: Path) -> None:
    """Writes the page, with its figures inside, to `out`."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("soft_control"), autoescape=True, trim_blocks=True
    )
    with plt.rc_context(STYLE):
        figures = [(caption, as_svg(draw(entries))) for caption, draw in FIGURES.items()]
    page = environment.get_template("report.html").render(
        entries=entries,
        verdict=verdict(entries),
        rows=table(entries),
        figures=figures,
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(page)


def table(entries: Sequence[Entry]) -> list[tuple[str, list[str]]]:
    """Rows of the verdict's table: (quantity, value per run)."""

    def row(title: str, show: Any) -> tuple[str, list[str]]:
        return title, [show(entry.summary) for entry in entries]

    def mm(key: str) -> Any:
        return lambda s: "-" if s[key] is None else f"{s[key]:.2f}"

    def cost(s: dict) -> str:
        if s["step_instructions_median"] is None:
            return "-"
        return f"{s['step_instructions_median']:,} / {s['step_instructions_max']:,}"

    def memory(s: dict) -> str:
        if s["flash_bytes"] is None:
            return "-"
        return (
            f"{s['flash_bytes']:,} B ({s['flash_percent']:.2f} % of 1 MiB) / {s['ram_bytes']:,} B"
        )

    return [
        row("tracking error RMSE, mm", mm("rmse_mm")),
        row("tracking error 95 %, mm", mm("p95_mm")),
        row("tracking error maximum, mm", mm("max_mm")),
        row("path error RMSE, mm", mm("path_rmse_mm")),
        row("sees the measured position", lambda s: "yes" if s["controller"] == "pid" else "no"),
        row("has preview", lambda s: "no" if s["controller"] == "pid" else "yes"),
        row("step cost, instructions, median / max", cost),
        row("flash / RAM", memory),
        row(
            "solver status",
            lambda s: (
                ", ".join(f"{name} {count}" for name, count in s["solver_status"].items()) or "-"
            ),
        ),
        row("commands outside bounds", lambda s: str(s["commands_outside_bounds"])),
        row("deadline misses", lambda s: str(s["deadline_misses"])),
        row("samples", lambda s: f"{s['samples']}{'' if s['complete'] else ' (cut short)'}"),
    ]


def verdict(entries: Sequence[Entry]) -> str:
    """One sentence or two: who tracked better, and under which conditions."""
    best = {}
    for entry in entries:
        name = entry.summary["controller"]
        if entry.summary["rmse_mm"] is not None and (
            name not in best or entry.summary["rmse_mm"] < best[name].summary["rmse_mm"]
        ):
            best[name] = entry
    if not best:
        return "No run lasted long enough to be measured."
    if len(best) == 1:
        (entry,) = best.values()
        return (
            f"{entry.label}: RMSE {entry.summary['rmse_mm']:.2f} mm, "
            f"maximum {entry.summary['max_mm']:.2f} mm."
        )
    mpc, pid = best["mpc"].summary, best["pid"].summary
    conditions = (
        "MPC never sees the measured position but has preview of the reference; "
        "PID sees the position and has no preview."
    )
    winner, loser, first, second = ("MPC", "PID", mpc, pid)
    if pid["rmse_mm"] < mpc["rmse_mm"]:
        winner, loser, first, second = ("PID", "MPC", pid, mpc)
    return (
        f"{winner} has the smaller tracking error: RMSE {first['rmse_mm']:.2f} mm against "
        f"{second['rmse_mm']:.2f} mm of {loser}; maximum {first['max_mm']:.2f} mm against "
        f"{second['max_mm']:.2f} mm. {conditions}"
    )


def draw_plane(entries: Sequence[Entry]) -> plt.Figure:
    figure, axes = plt.subplots(figsize=(6.4, 6.0))
    reference = 1e3 * entries[0].run.reference
    axes.plot(reference[:, 1], reference[:, 2], "k--", lw=1.2, label="reference")
    for entry in entries:
        position = 1e3 * entry.run.position
        axes.plot(position[:, 1], position[:, 2], color=entry.colour, lw=1.1, label=entry.label)
    axes.set(xlabel="y, mm", ylabel="z, mm", aspect="equal")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.2))
    return figure


def draw_time(entries: Sequence[Entry]) -> plt.Figure:
    figure, rows = plt.subplots(3, 1, figsize=(9, 5.4), sharex=True)
    for i, axes in enumerate(rows):
        first = entries[0].run
        axes.plot(first.t_s, 1e3 * first.reference[:, i], "k--", lw=1.2, label="reference")
        for entry in entries:
            axes.plot(
                entry.run.t_s,
                1e3 * entry.run.position[:, i],
                color=entry.colour,
                lw=1.0,
                label=entry.label,
            )
        axes.set_ylabel(f"{AXES[i]}, mm")
    rows[0].legend(loc="upper right", ncols=3)
    rows[-1].set_xlabel("time, s")
    return figure


def draw_error(entries: Sequence[Entry]) -> plt.Figure:
    figure, axes = plt.subplots(figsize=(9, 2.8))
    for entry in entries:
        error = tracking_error_mm(entry.run.position, entry.run.reference)
        axes.plot(entry.run.t_s, error, color=entry.colour, lw=1.0, label=entry.label)
    axes.set(xlabel="time, s", ylabel="tracking error, mm", ylim=(0, None))
    axes.legend(loc="upper right", ncols=2)
    return figure


def draw_commands(entries: Sequence[Entry]) -> plt.Figure:
    experiment = entries[0].run.experiment
    names = experiment["command_names"]
    figure, rows = plt.subplots(
        len(names), 1, figsize=(9, 1.9 * len(names)), sharex=True, squeeze=False
    )
    for i, axes in enumerate(rows[:, 0]):
        for limit in (experiment["command_min"][i], experiment["command_max"][i]):
            axes.axhline(np.degrees(limit), color="#a33", lw=1.0, ls=":")
        for entry in entries:
            axes.plot(
                entry.run.t_s,
                np.degrees(entry.run.commands[:, i]),
                color=entry.colour,
                lw=1.0,
                label=entry.label,
            )
        axes.set_ylabel(f"{names[i]}, deg")
    rows[-1, 0].set_xlabel("time, s")
    rows[0, 0].legend(loc="upper right", ncols=2)
    return figure


def draw_step_cost(entries: Sequence[Entry]) -> plt.Figure:
    figure, axes = plt.subplots(figsize=(9, 2.6))
    axes.set(xlabel="cost of a control step", ylabel="samples")
    for entry in entries:
        costs = [int(s["step_cost"]) for s in entry.run.solver if s["step_cost_unit"] != "none"]
        if costs:
            axes.hist(costs, bins=60, color=entry.colour, alpha=0.7, label=entry.label)
            axes.set_xlabel(f"cost of a control step, {entry.run.solver[0]['step_cost_unit']}")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper right")
    else:
        axes.text(
            0.5,
            0.5,
            "no run of this report measured it (sil does not)",
            ha="center",
            transform=axes.transAxes,
        )
    return figure


FIGURES = {
    "Path in the plane": draw_plane,
    "Path in time": draw_time,
    "Tracking error": draw_error,
    "Commands and their limits": draw_commands,
    "Step cost": draw_step_cost,
}


def as_svg(figure: plt.Figure) -> str:
    """The figure as an SVG element, the same bytes each time."""
    text = io.StringIO()
    figure.savefig(text, format="svg", bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)
    return text.getvalue().partition("<svg")[1] + text.getvalue().partition("<svg")[2]
