"""What a search found: tables of all designs, a page and a figure of the front."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from soft_control.benchmarks.pages import write_page
from soft_control.design.front import figures, front, worthy
from soft_control.design.measure import Final, Screened, Task
from soft_control.design.settings import Budget
from soft_control.design.study import Study, Trial
from soft_control.experiment.energy import microcontrollers

TABLE = "designs"
"""Name of the tables of all designs."""
PAGE = "design"
"""Name of the page and its figure."""


@dataclass(frozen=True)
class Row:
    """One design."""

    trial: Trial
    final: Final | None
    on_front: bool
    beyond: str
    """Which limits it exceeds, by its last measurement; empty: none."""
    failed: str

    @property
    def name(self) -> str:
        return self.trial.name

    @property
    def measured(self) -> Final | Screened | None:
        """The better look at it."""
        return self.final or self.trial.screened

    @property
    def verdict(self) -> str:
        """In words, for a table."""
        if self.failed:
            return f"failed: {self.failed}"
        if self.beyond:
            untrained = self.final is None and self.measured.error is None
            return f"beyond the budget{', untrained' * untrained}: {self.beyond}"
        if self.on_front:
            return "on the front"
        return "another is better" if self.final else "screened only"


def rows_of(study: Study, budget: Budget) -> list[Row]:
    """All designs, each once: those on the front first, the cheapest first; then what was measured
    in full; then the rest by number."""
    rows = []
    within = []
    finals = {n: one.final for n, one in study.finalists.items() if one.final}
    for number, final in finals.items():
        if not budget.beyond(final.costs):
            within.append((number, figures(final.error, final.costs)))
    chosen = set(front(worthy(within)))
    seen = set()
    for number, trial in sorted(study.trials.items()):
        final = finals.get(number)
        if trial.design in seen:
            continue
        seen.add(trial.design)
        measured = final or trial.screened
        failed = trial.failed
        if number in study.finalists and final is None:
            failed = study.finalists[number].failed
        beyond = budget.beyond(measured.costs) if measured else ""
        rows.append(Row(trial, final, number in chosen, beyond, failed))

    def order(row: Row) -> tuple[int, int, int]:
        if row.on_front:
            return 0, row.final.costs.instructions, row.trial.number
        return (1 if row.final else 2), 0, row.trial.number

    return sorted(rows, key=order)


def unit_of(task: Task) -> str:
    """Of errors: that of all points and outputs, or nothing where there are several, or none."""
    units = {group.unit for group in task.robot.groups} - {"1"}
    return units.pop() if len(units) == 1 else ""


def table(task: Task, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """One flat record a design; an error's column says its unit."""
    unit = f"_{unit_of(task)}" if unit_of(task) else ""
    records = []
    for row in rows:
        trial, final, screened = row.trial, row.final, row.trial.screened
        costs = row.measured.costs if row.measured else None
        named = {
            f"rmse{unit}": final.error if final else None,
            f"max{unit}": final.worst if final else None,
            f"rmse_of_others{unit}": final.error_of_judges if final else None,
            f"screened_rmse_of_others{unit}": screened.error if screened else None,
        }
        spent = ("instructions", "instructions_max", "flash_bytes", "ram_bytes", "power_mw")
        design = trial.design.model_dump() | {"hidden": "+".join(map(str, trial.design.hidden))}
        records.append(
            {
                "design": row.name,
                "on_front": row.on_front,
                "verdict": row.verdict,
                **design,
                **named,
                **{name: getattr(costs, name) if costs else None for name in spent},
                "model": f"designs/{row.name}/model" if final else None,
                "firmware": f"designs/{row.name}/build" if final else None,
            }
        )
    return records


def write(task: Task, study: Study) -> list[Row]:
    """Writes OUT/designs.csv, designs.parquet, design.md and design.svg; returns all designs."""
    import pyarrow
    from pyarrow import parquet

    rows = rows_of(study, task.budget)
    records = table(task, rows)
    with (task.out / f"{TABLE}.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, records[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(records)
    parquet.write_table(pyarrow.Table.from_pylist(records), task.out / f"{TABLE}.parquet")
    (task.out / f"{PAGE}.svg").write_text(draw(task, rows) + "\n", encoding="utf-8")
    write_page(
        task.out,
        PAGE,
        task=task,
        budget=task.budget.line(),
        part=microcontrollers().part(task.part).title,
        unit=unit_of(task),
        measured=[row for row in rows if row.final],
        left_out=[row for row in rows if not row.final and (row.beyond or row.failed)],
        screened=sum(not row.final and not row.beyond and not row.failed for row in rows),
        trials=len(study.trials),
    )
    return rows


def draw(task: Task, rows: Sequence[Row]) -> str:
    """The front, and what else was measured in full, as an SVG element: error over each cost, with
    the budget's limits."""
    from soft_control.experiment.figures import STYLE, as_svg, plt

    panels = (
        ("instructions", "instructions a step, median", 1e-3, "thousand "),
        ("flash_bytes", "flash, KiB", 1 / 1024, ""),
        ("power_mw", "power, mW (estimate)", 1.0, ""),
    )
    kinds = (
        ("on the front", "#1f77b4", "o", lambda row: row.on_front),
        ("another is better", "#999999", "o", lambda row: not row.on_front and not row.beyond),
        ("beyond the budget", "#b22222", "x", lambda row: bool(row.beyond)),
    )
    found = [row for row in rows if row.final]
    unit = f", {unit_of(task)}" if unit_of(task) else ""
    with plt.rc_context(STYLE):
        figure, all_axes = plt.subplots(1, len(panels), figsize=(10, 3.6), sharey=True)
        for axes, (name, label, factor, prefix) in zip(all_axes, panels, strict=True):
            for kind, colour, marker, chosen in kinds:
                these = [row for row in found if chosen(row)]
                x = [factor * getattr(row.final.costs, name) for row in these]
                y = [row.final.error for row in these]
                axes.scatter(x, y, c=colour, marker=marker, s=26, label=kind, zorder=3)
                for at, error, row in zip(x, y, these, strict=True):
                    axes.annotate(
                        row.name, (at, error), xytext=(3, 3), textcoords="offset points", size=7
                    )
            limit = getattr(task.budget, name)
            if limit is not None:
                axes.axvline(factor * limit, color="#b22222", lw=1.0, ls=":")
            axes.set_xlabel(f"{prefix}{label}")
        all_axes[0].set_ylabel(f"RMSE on {task.reference.replace('_', ' ')}{unit}")
        handles, kinds_shown = all_axes[0].get_legend_handles_labels()
        figure.legend(handles, kinds_shown, loc="lower center", bbox_to_anchor=(0.5, 0.92), ncols=3)
        return as_svg(figure)
