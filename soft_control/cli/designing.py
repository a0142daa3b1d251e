"""softctl design: networks, horizons and solvers chosen under a budget."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Annotated

import typer

from soft_control.cli.options import described, folder_option, from_json, option, seed_option
from soft_control.cli.terminal import INTERRUPTED, progress_bar, say, show_table, warn


def design(
    recordings: Annotated[
        list[Path],
        typer.Argument(help="Bags of `collect` (or directories of them) and CSV files."),
    ],
    robot: Annotated[
        Path | None,
        typer.Option(help="File that describes the robot; default: what the bags' runs say."),
    ] = None,
    flash: Annotated[float | None, option("Most flash, bytes.", min=1)] = None,
    ram: Annotated[float | None, option("Most RAM, bytes.", min=1)] = None,
    instructions: Annotated[
        float | None, option("Most instructions of a control step, the longest.", min=1)
    ] = None,
    mw: Annotated[float | None, option("Most estimated power, mW.", min=1e-6)] = None,
    part: Annotated[
        str, typer.Option(help="Microcontroller of config/microcontrollers.yaml for --mw.")
    ] = "stm32f405",
    rig: Annotated[
        str | None,
        described("rig", "Rig or directory of a twin to track on; default: the robot's own rig."),
    ] = None,
    reference: Annotated[
        str, described("reference", "Reported; the search is judged by other curves.")
    ] = "figure_eight",
    duration_s: Annotated[float, option("Length of a reported run, s.", min=4)] = 20.0,
    validation: Annotated[
        list[Path] | None,
        typer.Option(help="Runs to choose the best weights by; default: as `train` does."),
    ] = None,
    trials: Annotated[int, typer.Option(min=1, max=100_000, help="Designs to screen.")] = 60,
    workers: Annotated[
        int | None, typer.Option(min=1, max=1024, help="Processes; default: one a core.")
    ] = None,
    seed: Annotated[int, seed_option("Of search, trainings and noise.")] = 0,
    settings: Annotated[
        str, typer.Option(help="More settings as JSON, e.g. '{\"units\": [4, 16]}'.")
    ] = "{}",
    out: Annotated[Path, folder_option("Directory for the study and its designs.")] = Path(
        "designs/robot"
    ),
) -> None:
    """Search networks, horizons and solver settings, and show which are worth their cost.

    Each design is trained shortly and tracks curves in sil; those that may be on the Pareto front
    of error against instructions, flash and power are trained in full and run in pil. A design
    beyond the budget is on no front. OUT gets a page, a figure, tables of all designs, and for each
    that was measured its model and its firmware. Stopped or killed, the same command goes on where
    it was. --settings takes every field of DesignSettings, see docs/reference/configuration.md.

    \b
    softctl design data/tendon --instructions 25000 --out designs/tendon
    softctl design data/tendon --flash 32768 --ram 24576 --mw 15 --trials 100 --out designs/small
    softctl design observations_1.csv --robot trunk.yaml --rig twins/trunk --out designs/trunk
    """
    from soft_control.design.preparation import prepare
    from soft_control.design.report import unit_of, write
    from soft_control.design.search import about, search
    from soft_control.design.settings import Budget, DesignSettings
    from soft_control.design.study import Study
    from soft_control.design.workers import Workers

    chosen = from_json(DesignSettings, settings, "--settings")
    budget = Budget(flash_bytes=flash, ram_bytes=ram, instructions=instructions, power_mw=mw)
    task = prepare(
        recordings,
        validation or [],
        robot,
        rig,
        reference,
        duration_s,
        seed,
        part,
        chosen,
        budget,
        out,
    )
    with (
        Study(out, about(task)) as study,
        Workers(workers or len(os.sched_getaffinity(0)), task) as measure,
        progress_bar("{task.fields[note]}") as bar,
    ):
        tasks: dict[str, int] = {}

        def show(stand) -> None:
            if stand.stage not in tasks:
                tasks[stand.stage] = bar.add_task(stand.stage, total=stand.total, note="")
            left = "" if math.isnan(stand.left_s) else f"{stand.left_s:.0f} s left; "
            bar.update(tasks[stand.stage], completed=stand.done, note=left + stand.note)

        try:
            search(task, study, trials, measure, show)
        except KeyboardInterrupt:
            bar.stop()
            warn(f"stopped; the same command goes on where this one was, by {study.path}")
            raise typer.Exit(INTERRUPTED) from None
    rows = write(task, study)
    unit = f", {unit_of(task)}" if unit_of(task) else ""
    show_table(
        "design",
        "network; N/Nc, solver",
        f"RMSE{unit}",
        "instructions",
        "flash, B",
        "mW",
        rows=[
            (
                row.name,
                row.trial.design.line(),
                f"{row.final.error:.2f}",
                f"{row.final.costs.instructions:,}",
                f"{row.final.costs.flash_bytes:,}",
                f"{row.final.costs.power_mw:.1f}",
            )
            for row in rows
            if row.on_front
        ],
        title=f"Pareto front on {reference}; budget: {budget.line()}",
    )
    beyond = sum(bool(row.beyond) for row in rows)
    if beyond:
        say(f"{beyond} of {len(rows)} designs are beyond the budget, and on no front")
    if not any(row.on_front for row in rows):
        warn("no design is within the budget")
    say(f"written to {out}/design.md; models and firmware in {out}/designs")
