"""docs/trunk.md from what `make trunk` has made: a model, a twin, replays and runs of the trunk."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from step_cycles import step_cycles

from soft_control.benchmarks.pages import write_page
from soft_control.experiment.node_parameters import model_settings
from soft_control.experiment.run_samples import read_run
from soft_control.firmware_files import read_build
from soft_control.learning.dataset import read_recording, resample
from soft_control.learning.errors import rmse
from soft_control.learning.model import free_run, least_squares_baseline, load_model
from soft_control.learning.recording import RecordingWarning
from soft_control.learning.suitability import suited
from soft_control.rigs import make_rig

ROOT = Path(__file__).resolve().parents[1]
RECORDED = {"2": "run 2", "1_100g": "run 1 with 100 g", "1_300g": "run 1 with 300 g"}
"""By the end of its file's name, what was replayed."""
CLOSED = {
    "recorded": "first 20 s of run 2, nothing measured",
    "tethered": "the same, outputs measured",
    "figure_eight": "figure eight, nothing measured",
}
"""By its folder, what was followed."""
CYCLES_MAX = 1.4e6


def main(data: Path, model: Path, firmware: Path, twin: Path, runs: Path) -> None:
    warnings.simplefilter("ignore", RecordingWarning)
    settings = model_settings(model)
    network, build = load_model(model), read_build(firmware)
    trained_on = read_recording(data / "observations_1.csv", network.card.robot)
    step = step_cycles(model, settings, resample(trained_on, network.card.rate_hz))
    closed = [closed_loop(title, runs / name) for name, title in CLOSED.items()]
    # The solver is nearly all of a control step; the rest is counted at the solver's rate.
    whole = max(c["step_instructions_max"] for c in closed) * step["cycles"] / step["instructions"]
    page = write_page(
        ROOT / "docs",
        "trunk",
        card=network.card,
        settings=settings,
        build=build,
        step=step,
        whole=whole,
        fits=whole <= CYCLES_MAX,
        twin=make_rig(str(twin)).card,
        open_runs=[
            row
            for name, title in RECORDED.items()
            for row in replays(
                title, data / f"observations_{name}.csv", name, network, trained_on, runs
            )
        ],
        closed=closed,
    )
    print(page)


def replays(
    title: str, file: Path, name: str, network: Any, trained_on: Any, runs: Path
) -> list[dict[str, Any]]:
    """Free runs over a recording: RMSE of each body by the network in float64, by the firmware, and
    by least squares."""
    card = network.card
    recorded = suited(card, read_recording(file, card.robot))
    outputs = recorded.output(card.output_names)
    found = {"network, float64": rmse(card.robot, free_run(network, recorded) - outputs)}
    for target in ("sil", "pil"):
        summary = json.loads((runs / f"replay_{name}_{target}" / "summary.json").read_text())
        found[f"firmware, {target}"] = [each["rmse"] for each in summary["free_run"]]
    squares = least_squares_baseline([trained_on], recorded, card.rate_hz)
    found["least squares on lagged commands"] = rmse(card.robot, squares - outputs)
    return [{"run": title, "by": by, "errors": errors} for by, errors in found.items()]


def closed_loop(title: str, folder: Path) -> dict[str, Any]:
    """Figures of a run, and its fastest command over its limit."""
    run = read_run(folder)
    moves = np.abs(np.diff(run.commands, axis=0)) * run.record.rate_hz
    fastest = moves / [command.speed_max for command in run.record.robot.commands]
    summary = json.loads((folder / "summary.json").read_text())
    return {"title": title, "fastest": float(fastest.max()), **summary}


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
