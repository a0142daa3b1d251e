"""softctl collect: open-loop runs of a rig, for learning."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from soft_control.cli.options import described
from soft_control.cli.running import carry_out
from soft_control.cli.terminal import say
from soft_control.experiment.bringup import Experiment


def collect(
    out: Annotated[Path, typer.Option(help="Directory for the recorded runs.")] = Path(
        "data/tendon"
    ),
    rig: Annotated[str, described("rig")] = "tendon",
    runs: Annotated[
        int, typer.Option(min=1, help="How many runs; each has a seed of its own.")
    ] = 4,
    duration_s: Annotated[float, typer.Option(min=1, help="Length of each run.")] = 60.0,
    rate_hz: Annotated[float, described("rate_hz")] = 120.0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the first run; then one up.")] = 100,
) -> None:
    """Record a rig under open-loop commands: one rosbag2 bag a run, in OUT/run_<seed>."""
    for i in range(runs):
        experiment = Experiment(
            rig=rig,
            controller="excitation",
            rate_hz=rate_hz,
            duration_s=duration_s,
            seed=seed + i,
            out=out / f"run_{seed + i}",
        )
        carry_out(experiment, f"recording {i + 1} of {runs}")
        say(f"recorded {experiment.out}/bag")
