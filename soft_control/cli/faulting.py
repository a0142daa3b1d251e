"""softctl faults: what must follow when something goes wrong, tried."""

from __future__ import annotations

import fnmatch
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from soft_control.cli.options import file_option
from soft_control.cli.terminal import FAILED, progress_bar, say, say_json, warn

if TYPE_CHECKING:
    from soft_control.faults.fault import Fault, Supervised

STANDS = ("sil", "pil", "session", "graph")


def faults(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Faults by name, with * for anything, or YAML files of one's own; default: all of "
            "config/faults/."
        ),
    ] = None,
    model: Annotated[
        Path, typer.Option(help="Directory of `train`, whose firmware is built for them.")
    ] = Path("models/tendon"),
    rig: Annotated[
        str,
        typer.Option(
            help="Simulated rig, or a directory of `twin`; default: that of the model's robot."
        ),
    ] = "",
    stand: Annotated[
        str,
        typer.Option(
            help="Only faults of these stands, with commas: sil in simulated time, pil under QEMU, "
            "session the host's end of the wire, graph all processes of a run."
        ),
    ] = ",".join(STANDS),
    jobs: Annotated[
        int | None,
        typer.Option(min=1, help="Faults tried at once; default: one more than processors."),
    ] = None,
    listed: Annotated[
        bool, typer.Option("--list", help="Say which faults there are, and try none.")
    ] = False,
    page: Annotated[
        Path | None, file_option("Markdown file for the table, one line a fault.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="All that was seen, as JSON.")] = False,
) -> None:
    """Let things go wrong on wires, processes, files and clocks of a run: what follows?

    Each fault is data: what, where, when, for how long, and what must follow. Exit code 1 where
    something else does: another state or cause, the safe output later than 20 ms after what is
    tolerated, a command beyond a limit, a sample lost and not counted. docs/faults.md has the
    table, and says how to add a fault of one's own robot.

    \b
    softctl faults --list
    softctl faults 'sensor_*'
    softctl faults --stand sil,pil --json > faults.json
    softctl faults strain.yaml --model models/finger --rig twins/finger
    """
    chosen = _chosen(names or [], _stands(stand))
    if listed:
        _list(chosen)
        return
    from soft_control.faults.report import in_a_line, write_page
    from soft_control.faults.stands import at_once, stands

    begun_s = time.monotonic()
    found = {}
    with stands(model, rig) as ready, progress_bar("{task.fields[note]}") as bar:
        task = bar.add_task("faults", total=len(chosen), note="building")
        with ready.trying(chosen, jobs or at_once()) as waiting:
            for name, outcome_of in waiting.items():
                bar.update(task, note=name)
                found[name] = outcome_of()
                bar.update(task, advance=1)
    outcomes = [found[fault.name] for fault, _ in chosen]
    took_s = time.monotonic() - begun_s
    if page is not None:
        write_page(page, outcomes)
    if as_json:
        say_json([one.as_json() for one in outcomes])
    wrong = [one for one in outcomes if not one.passed]
    for one in wrong:
        warn(f"{one.fault.name}: {'; '.join(one.failures)}")
    if not as_json:
        say(in_a_line(outcomes, took_s))
    if wrong:
        raise typer.Exit(FAILED)


def _stands(text: str) -> list[str]:
    wanted = [name.strip() for name in text.split(",")]
    for name in wanted:
        if name not in STANDS:
            raise typer.BadParameter(f"--stand: {name!r} is none of {', '.join(STANDS)}")
    return wanted


def _chosen(names: list[str], wanted: list[str]) -> list[tuple[Fault, Supervised]]:
    """Faults of those stands by name; a name that ends in .yaml is a file that is read instead."""
    from soft_control.faults.reading import fault_files, read_faults

    files = [Path(name) for name in names if name.endswith((".yaml", ".yml"))]
    patterns = [name for name in names if not name.endswith((".yaml", ".yml"))]
    there = read_faults(files or fault_files())
    for pattern in patterns:
        if not any(fnmatch.fnmatchcase(fault.name, pattern) for fault, _ in there):
            raise ValueError(f"no fault {pattern!r}: `softctl faults --list` says which there are")
    chosen = [
        (fault, changes)
        for fault, changes in there
        if fault.stand in wanted
        and (not patterns or any(fnmatch.fnmatchcase(fault.name, p) for p in patterns))
    ]
    if not chosen:
        raise ValueError(f"none of these faults is of the stands {', '.join(wanted)}")
    return chosen


def _list(chosen: list[tuple[Fault, Supervised]]) -> None:
    from soft_control.faults.report import expected, what, where

    for fault, _ in chosen:
        place = f" ({where(fault)})" if where(fault) else ""
        say(f"{fault.stand} {fault.name}: {what(fault)}{place} {fault.when} -> {expected(fault)}")
    say(f"{len(chosen)} faults")
