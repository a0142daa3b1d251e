"""softctl energy: what a run's controller would need on microcontrollers, estimated."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from soft_control.cli.options import option
from soft_control.cli.terminal import say, show_table, warn


def energy(
    run: Annotated[Path, typer.Argument(help="Directory of a run that counted instructions.")],
    part: Annotated[
        str, typer.Option(help="Only this microcontroller, at each of its clocks.")
    ] = "",
    rate_hz: Annotated[
        float | None,
        option("Another control rate, Hz; by default the run's.", min=0.01, max=1e5),
    ] = None,
    line_bytes: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=1_000_000,
            help="Bytes a sample on all lines, both ways; default: by the robot's sizes.",
        ),
    ] = None,
) -> None:
    """Estimate the power of a run's controller at its control rate, on five microcontrollers.

    From the instructions that the run counted, modelled cycles, and currents of data sheets awake
    and asleep; for each part the clock that needs least. Nothing is measured on silicon. Numbers
    and their sources stand in config/microcontrollers.yaml, the model in docs/energy.md.

    \b
    softctl energy runs/mpc
    softctl energy runs/mpc --part stm32f405 --rate-hz 240
    """
    from dataclasses import replace

    from soft_control.experiment.energy import (
        arithmetic,
        best,
        cheapest,
        estimate,
        estimates,
        microcontrollers,
        read_work,
    )

    data = microcontrollers()
    chosen = data.part(part) if part else None
    work = read_work(run)
    if rate_hz is not None:
        work = replace(work, rate_hz=rate_hz)
    if line_bytes is not None:
        work = replace(work, line_bytes=line_bytes)
    if chosen:
        found = [estimate(chosen, clock, work, data.model) for clock in chosen.clocks]
        shown = cheapest(chosen, work, data.model)
    else:
        found = estimates(work, data)
        shown = best(found)
    rows = [
        (
            f"{one.part.title}{'' if one.part.verified else ' *'}",
            f"{one.clock.mhz:g}",
            f"{100 * one.duty:.1f}",
            f"{one.clock.run_ma:g}/{one.clock.sleep_ma:g}/{one.clock.extra_ma:g}",
            f"{one.part.voltage_v:g}",
            # What is awake all the time and late still has no power that would mean anything.
            f"{one.power_mw:.1f}{' **' if one.why_not else ''}" if one.duty < 1.0 else "- **",
        )
        for one in found
    ]
    show_table(
        "part",
        "MHz",
        "awake %",
        "run/sleep/extra mA",
        "V",
        "estimate, mW",
        rows=[*rows, (data.paper.title, "", "", "", "", f"{data.paper.power_mw:g}, reported")],
        title=(
            f"estimated power at {work.rate_hz:g} Hz: {work.instructions:,} instructions a step, "
            f"at most {work.instructions_max:,}, {work.line_bytes} bytes on the lines"
        ),
    )
    if not all(one.part.verified for one in found):
        say("*  some of its numbers were not read in their source, which --part lists")
    for one in found:
        if one.why_not:
            say(f"** no choice: {one.part.title} at {one.clock.mhz:g} MHz: {one.why_not}")
    if shown is None:
        warn("no part will do")
        return
    if chosen and shown.why_not:
        warn(f"{shown.part.title} will not do: {shown.why_not}")
    say(f"{shown.part.title} at {shown.clock.mhz:g} MHz, an estimate:")
    for line in arithmetic(shown, work, data.model):
        say(f"  {line}")
    if chosen:
        for name, source in chosen.sources.items():
            say(f"{name}{'' if source.verified else ', not verified'}: {source.text}")
        say(chosen.note)
