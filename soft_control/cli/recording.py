"""softctl collect: open-loop runs of a rig, for learning."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from soft_control.cli.options import described, folder_option, option, seed_option
from soft_control.cli.running import carry_out
from soft_control.cli.terminal import say
from soft_control.experiment.settings import Experiment


def collect(
    out: Annotated[Path, folder_option("Directory for the recorded runs.")] = Path("data/tendon"),
    rig: Annotated[str, described("rig")] = "tendon",
    runs: Annotated[
        int, typer.Option(min=1, help="How many runs; each has a seed of its own.")
    ] = 4,
    duration_s: Annotated[float, option("Length of each run, s.", min=1)] = 60.0,
    rate_hz: Annotated[float | None, described("rate_hz")] = None,
    seed: Annotated[int, seed_option("Seed of the first run; then one up.")] = 100,
) -> None:
    """Record a rig under open-loop commands: one rosbag2 bag a run, in OUT/run_SEED.

    The commands wander through their whole range at the speed that the actuators follow, so that a
    network can learn from them. Runs differ in their seed alone, and the same seed gives the same
    bag.

    \b
    softctl collect --out data/tendon
    softctl collect --rig hasel --runs 6 --duration-s 30 --out data/hasel
    """
    for i in range(runs):
        recorded = Experiment(
            rig=rig,
            controller="excitation",
            rate_hz=rate_hz,
            duration_s=duration_s,
            seed=seed + i,
            out=out / f"run_{seed + i}",
        )
        carry_out(recorded, f"recording {i + 1} of {runs}")
        say(f"recorded {recorded.out}/bag")
