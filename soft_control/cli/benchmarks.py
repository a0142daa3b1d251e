"""softctl benchmark: comparisons that anyone can repeat, each with its page."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress

from soft_control.cli.options import described, folder_option, option, seed_option
from soft_control.cli.terminal import FAILED, progress_bar, say, show_table


def msd(
    out: Annotated[Path, folder_option("Directory of the page and its figure.")] = Path("docs"),
    parameters: Annotated[
        Path | None, typer.Option(help="Parameters; default: config/msd_benchmark.yaml.")
    ] = None,
) -> None:
    """MPC against an optimiser-tuned PID on the mass-spring-damper: step and multi-level reference.

    Records the rig, learns it, tunes both controllers with the same optimiser and score, and
    measures rise time, overshoot, RMSE and effort within the same bounds. Takes some minutes.
    Exit code 1 if the MPC without preview, which knows no more than the PID, does not win in RMSE,
    rise time and overshoot on both references.

    \b
    softctl benchmark msd --out docs
    """
    from soft_control.benchmarks.mass_spring_damper import carry_out as carry_out_benchmark
    from soft_control.benchmarks.mass_spring_damper import load_benchmark

    with tempfile.TemporaryDirectory() as work, progress_bar() as bar:
        # What stands behind a comma is news of the stage.
        show = stages(bar, lambda what: what.partition(",")[0])
        result = carry_out_benchmark(load_benchmark(parameters), Path(work), out, show)
    rows = [
        (
            f"{shape.replace('_', ' ')}, {name}",
            f"{f['rmse_mm']:.2f}",
            f"{1e3 * f['rise_s']:.0f}",
            f"{f['overshoot_percent']:.1f}",
            f"{f['effort']:.2f}",
        )
        for shape, by_name in result.figures.items()
        for name, f in by_name.items()
    ]
    show_table("", "RMSE, mm", "rise, ms", "overshoot, %", "RMS force, N", rows=rows)
    won = result.mpc_wins()
    say(
        "The MPC is better than the tuned PID in RMSE, rise time and overshoot on both references."
        if won
        else "The MPC does not win in everything: see the table."
    )
    say(f"written to {out}/msd_benchmark.md")
    if not won:
        raise typer.Exit(FAILED)


def ipopt(
    models: Annotated[
        list[Path] | None, typer.Argument(help="Directories of `train`: their networks take part.")
    ] = None,
    published: Annotated[
        Path | None,
        typer.Option(help="Folder with the authors' hasel_dense_2022-06-06.hdf5: takes part too."),
    ] = None,
    problems: Annotated[int, typer.Option(min=2, help="Of each network at each N and Nc.")] = 300,
    seed: Annotated[int, seed_option("Of the problems.")] = 0,
    out: Annotated[Path, folder_option("Directory of the page.")] = Path("docs"),
) -> None:
    """The C solver against CasADi with IPOPT: derivatives, gap to the optimum, local optima.

    Builds the solver for this machine with each network at N/Nc 5/2, 5/5, 10/2 and 10/5 and solves
    random problems both ways. Some minutes for 300 problems each.

    \b
    softctl benchmark ipopt models/tendon models/hasel --out docs
    """
    from soft_control.benchmarks.pages import write_page
    from soft_control.benchmarks.solver_comparison import SETTINGS, STARTS, cells, compare, subjects

    chosen = subjects(published, models or [])
    if not chosen:
        raise ValueError("nothing to compare: name model directories or --published")
    found = {}
    with tempfile.TemporaryDirectory() as work, progress_bar() as bar:
        for subject in chosen:
            for horizon, control_horizon in SETTINGS:
                task = bar.add_task(f"{subject.name} {horizon}/{control_horizon}", total=problems)
                found[subject.name, horizon, control_horizon] = compare(
                    subject,
                    horizon,
                    control_horizon,
                    problems,
                    seed,
                    Path(work),
                    progress=lambda n, task=task: bar.update(task, completed=n),
                )
    rows = [
        (f"{name} {setting}", converged, first, fifth, rose)
        for name, setting, _, converged, *_, first, fifth, rose, _ in cells(found)
    ]
    columns = ("network, N/Nc", "IPOPT converged", "gap, 1 iteration", "gap, 5", "cost rose")
    show_table(*columns, rows=rows)
    path = write_page(out, "solver_comparison", rows=cells(found), starts=STARTS)
    say(f"written to {path}")


def closed_loop(
    models: Annotated[
        list[Path], typer.Argument(help="Directories of `train`: each runs on its own rig.")
    ],
    reference: Annotated[str, described("reference")] = "figure_eight",
    duration_s: Annotated[float, option("Length of each run, s.", min=4)] = 12.0,
    seed: Annotated[int, seed_option("Of the rig's noise.")] = 0,
    out: Annotated[Path, folder_option("Directory of the page.")] = Path("docs"),
) -> None:
    """The C solver in a closed loop against IPOPT, converged at every sample, on the same rig.

    It also measures what the delay compensation and the offset estimate are worth when a constant
    load comes on in mid-run. Exit code 1 if the C solver's total cost is more than 5 % above
    IPOPT's on any rig.

    \b
    softctl benchmark closed-loop models/tendon models/hasel --out docs
    """
    from soft_control.benchmarks.closed_loops import (
        EXCESS_MAX,
        SPEEDS,
        against_ipopt,
        worth_of_parts,
    )
    from soft_control.benchmarks.pages import write_page

    against, worth = [], []
    with tempfile.TemporaryDirectory() as work, progress_bar() as bar:
        show = stages(bar)
        for i, model in enumerate(models):
            folder = Path(work) / str(i)
            against.append(against_ipopt(model, folder, reference, duration_s, seed, show))
            worth += [
                worth_of_parts(model, folder, reference, 2 * duration_s, seed, speed, show)
                for speed in SPEEDS
            ]
    rows = [
        (
            a.rig,
            f"{100 * a.excess:+.2f} %",
            f"{a.rmse_mm:.2f}",
            f"{a.ipopt_rmse_mm:.2f}",
            f"{a.ipopt_unconverged} of {a.samples}",
        )
        for a in against
    ]
    show_table("", "cost above IPOPT's", "RMSE, mm", "IPOPT, mm", "IPOPT unconverged", rows=rows)
    for w in worth:
        rows = [
            (
                "yes" if v.delay else "no",
                v.estimate,
                f"{v.before_mm:.2f}",
                f"{v.after_mm:.2f}",
            )
            for v in w.variants
        ]
        columns = ("delay compensated", "offset from", "RMSE before load, mm", "after")
        show_table(*columns, rows=rows, title=f"{w.rig}, speed x{w.speed:g}")
    path = write_page(out, "closed_loop", seed=seed, against=against, worth=worth)
    say(f"written to {path}")
    if any(a.excess > EXCESS_MAX for a in against):
        raise typer.Exit(FAILED)


def stages(bar: Progress, stage_of: Callable[[str], str] = str) -> Callable[[str, int, int], None]:
    """A callback for what is being done, steps done, steps in all: each stage has a bar."""
    tasks: dict[str, int] = {}

    def show(what: str, done: int, total: int) -> None:
        stage = stage_of(what)
        if stage not in tasks:
            tasks[stage] = bar.add_task(what, total=total)
        bar.update(tasks[stage], description=what, completed=done, total=total)

    return show
