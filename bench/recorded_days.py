"""docs/recorded_days.md from what `make recorded-days` has made: a network of each of three days of
the recorded tendon rig, and what a firmware of each makes of the other two."""

from __future__ import annotations

import itertools
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from soft_control import robots
from soft_control.benchmarks.pages import write_page
from soft_control.control.adaptation import Adaptation
from soft_control.experiment.node_parameters import model_settings
from soft_control.experiment.replay import counted_from, replay
from soft_control.firmware_build import build
from soft_control.firmware_files import FirmwareBuild
from soft_control.learning.dataset import read_recording
from soft_control.learning.errors import rmse
from soft_control.learning.model import Model, free_run, load_model
from soft_control.learning.recording import Recording, RecordingWarning
from soft_control.learning.suitability import suited
from soft_control.link.opening import open_session

ROOT = Path(__file__).resolve().parents[1]
DAYS = {
    "09-23": "2020-09-23_cdc6946",
    "09-28": "2020-09-28_13417d5",
    "09-17": "2020-09-17_4edb702",
}
"""By what the page calls it, the recording."""


def main(data: Path, models: Path) -> None:
    warnings.simplefilter("ignore", RecordingWarning)
    robot = robots.load("tendon_recorded")
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for trained, other in itertools.permutations(DAYS, 2):
            folder = models / DAYS[trained]
            firmware = build(
                folder, model_settings(folder, robot), Path(scratch) / trained, ["host"]
            )
            model = load_model(folder)
            run = suited(model.card, read_recording(data / f"{DAYS[other]}.csv", robot))
            rows.append({"trained": trained, "day": other} | free_runs(model, firmware, run))
    print(write_page(ROOT / "docs", "recorded_days", rows=rows, card=model.card))


def free_runs(model: Model, firmware: FirmwareBuild, run: Recording) -> dict[str, Any]:
    """RMSE over the second half, mm: of a firmware that was told nothing, of one that was told the
    first half, and of what maps without curves and the best of all maps would have made of it."""
    card = model.card
    told_s = float(run.t_s[-1] - run.t_s[0]) / 2
    first = counted_from(run, told_s)
    measured = run.output(card.output_names)

    def error(predicted: np.ndarray) -> float:
        return rmse(card.robot, (predicted - measured)[first:])[0]

    def replayed(calibrate_s: float) -> float:
        with open_session("sil", firmware) as session:
            return error(replay(session, card, run, calibrate_s=calibrate_s).predicted)

    network = card.normalised_output(free_run(model, run))
    known = card.normalised_output(measured)
    maps = {name: Adaptation.of(card) for name in ("affine", "curved")}
    maps["affine"] = Adaptation(3, card.rate_hz, card.output_groups, [False])
    best = {}
    for name, day in maps.items():
        features = np.array([day.features(0, y) for y in network])
        own, left = features[first:], (known - network)[first:]
        added = features @ np.linalg.lstsq(own, left, rcond=None)[0]
        best[name] = error(card.outputs(network + added))
    affine = maps["affine"]
    for y, z in zip(network[:first], known[:first], strict=True):
        affine.update(y, z)
    return {
        "told_s": told_s,
        "nothing": replayed(0.0),
        "told": replayed(told_s),
        "affine": error(card.outputs(np.array([affine.output(y) for y in network]))),
        "best_affine": best["affine"],
        "best_curved": best["curved"],
    }


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
