"""softctl campaign: many runs on many cores, as one table and a report."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from soft_control.cli.options import folder_option
from soft_control.cli.terminal import (
    FAILED,
    INTERRUPTED,
    progress_bar,
    say,
    show_table,
    warn,
)

if TYPE_CHECKING:  # they take seconds to import
    import pyarrow as pa
    from rich.progress import Progress

    from soft_control.campaign.plan import Campaign
    from soft_control.campaign.runs import Row
    from soft_control.campaign.store import Store

PACKAGES = ("distributed", "pyarrow")


def campaign(
    file: Annotated[
        Path, typer.Argument(help="The plan, a YAML file, or the name of one in config/campaigns/.")
    ],
    scheduler: Annotated[
        str,
        typer.Option(
            help="Address of a dask scheduler whose workers take part, e.g. tcp://10.0.0.1:8786; "
            "default: the cores of this machine."
        ),
    ] = "",
    workers: Annotated[
        int, typer.Option(min=0, max=1024, help="Processes on this machine; 0: one a core.")
    ] = 0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be run, and run nothing.")
    ] = False,
    out: Annotated[
        Path | None,
        folder_option("Directory of rows, table and report; default: campaigns/NAME of the plan."),
    ] = None,
) -> None:
    """Run rigs x references x controllers x disturbances x seeds in process, and compare.

    Each row is written as it ends: a second call of the same plan does what is missing. The table
    is the same, row for row, whatever computed it. The report has the figures and tables that a
    paper prints. Exit code 1 if a run broke off. docs/campaigns.md says what stands in a plan.

    \b
    softctl campaign first.yaml
    softctl campaign paper.yaml --dry-run
    softctl campaign paper.yaml --scheduler tcp://127.0.0.1:8786 --out campaigns/paper
    """
    if scheduler and workers:
        raise typer.BadParameter("--workers are of this machine; --scheduler has its own")
    from soft_control.campaign.plan import prepare, read_plan

    planned = prepare(read_plan(file))
    for package in PACKAGES:
        if importlib.util.find_spec(package) is None:
            raise ValueError(f"a campaign needs {package}: pip install soft_control[campaign]")
    from soft_control.campaign.store import Store

    folder = out or Path("campaigns") / file.stem
    store = Store(folder)
    store.check(planned.identity)
    for skipped in planned.skipped:
        warn(f"left out: {skipped}")
    rows, missing = len(planned.rows), len(_missing(planned, store))
    there = f"{rows - missing:,} of them there, " if missing < rows else ""
    say(f"{rows:,} rows, {there}in {folder}")
    if dry_run:
        return
    if missing:
        _compute(planned, store, scheduler, min(workers or len(os.sched_getaffinity(0)), missing))
    with store.opened(planned.identity), progress_bar() as bar:
        table = store.finish(rows)
        _report(planned, table, folder, bar)


def _missing(planned: Campaign, store: Store) -> list[Row]:
    done = store.done()
    return [row for row in planned.rows if row.number not in done]


def _compute(planned: Campaign, store: Store, scheduler: str, workers: int) -> None:
    from soft_control.campaign.schedule import compute, connected

    with progress_bar("{task.fields[note]}") as bar:
        rows = len(planned.rows)
        task = bar.add_task(store.folder.name, total=rows, note="waiting for workers")

        def on_row(values: dict[str, Any], workers: int) -> None:
            store.put(values)
            left_s = bar.tasks[0].time_remaining
            note = f"{workers} workers" + (f", {left_s / 60:.0f} min to go" if left_s else "")
            bar.update(task, advance=1, note=note)

        try:
            # Whoever does not find his workers has nothing written.
            with connected(scheduler, workers) as client, store.opened(planned.identity):
                missing = _missing(planned, store)
                bar.update(task, completed=rows - len(missing))
                compute(client, planned, missing, on_row)
        except KeyboardInterrupt:
            bar.stop()
            warn(f"stopped; the same call goes on with what is in {store.folder}")
            raise typer.Exit(INTERRUPTED) from None


def _report(planned: Campaign, table: pa.Table, folder: Path, bar: Progress) -> None:
    from soft_control.campaign.report import cell_of, write_report
    from soft_control.campaign.results import Results

    task = bar.add_task("report", total=None)
    path = write_report(
        planned, table, folder, lambda done, total: bar.update(task, completed=done, total=total)
    )
    bar.stop()
    results = Results(table)
    for rig in planned.kits:
        controllers = [c for c in planned.compared if c in results.names("controller", rig)]
        rows = [
            (name, *(cell_of(results, rig, name, one) for one in controllers))
            for name in results.names("disturbance", rig)
        ]
        title = f"{rig}: mean RMSE / worst maximum, {results.unit(rig)}"
        show_table("", *controllers, rows=rows, title=title)
    say(f"table: {folder / 'table.parquet'}; report: {path}")
    faults = results.faults()
    if faults:
        warn(f"{len(faults)} of {table.num_rows} runs broke off; the report says why")
        raise typer.Exit(FAILED)
