"""docs/second_opinions.md from what `make second-opinions` has made: models and firmware of the
rigs in MuJoCo, and a run of each on the emulated microcontroller."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from soft_control.benchmarks.pages import write_page
from soft_control.experiment.closed_loop import Controller, Firmware, PidController, run
from soft_control.experiment.node_parameters import node_parameters
from soft_control.experiment.settings import Experiment
from soft_control.experiment.setup import reference_curve
from soft_control.experiment.tuning import pid_config
from soft_control.firmware_files import read_build
from soft_control.learning.card import ModelCard
from soft_control.learning.model import load_card
from soft_control.rigs import OPINIONS, make_rig

ROOT = Path(__file__).resolve().parents[1]
LIMITS_MM = {"mujoco_tendon": 1.5, "mujoco_hasel": 1.0}
"""RMSE that a controller which is trained there has to keep."""
REFERENCES = ("figure_eight", "swirl", "pringle", "diagonal")
SEEDS = range(5)
CHANGED = {
    "mujoco_tendon": {
        "gain 0.8": {"gain": 0.8},
        "gain 1.25": {"gain": 1.25},
        "20 g at the tip": {"payload_g": 20.0},
        "lace_00 dead": {"dead_channels": (0,)},
    },
    "mujoco_hasel": {
        "gain 0.8": {"gain": 0.8},
        "gain 1.25": {"gain": 1.25},
        "20 g at the tip": {"payload_g": 20.0},
        "magnets 1 % weaker": {"magnet_strength": 0.99},
    },
}
"""Rigs that are no longer as they were trained, along the first reference, with the first seed."""
DURATION_S, SETTLE_S = 20.0, 2.0
STEP = 0.4
"""Of half the range of the first command, for figures of the rigs themselves."""
PLACES = 90
"""Random commands at whose rest a map is fitted: three for each coefficient of six commands."""


def main(models: Path, builds: Path, runs: Path) -> None:
    rigs = [figures(name) for pair in OPINIONS.items() for name in reversed(pair)]
    followed, kept = [], True
    for name in OPINIONS:
        card = load_card(models / name)
        for reference in REFERENCES:
            row = {"rig": name, "reference": reference}
            row |= {by: track(card, builds / name, by, reference) for by in CONTROLLERS}
            followed.append(row)
            kept &= row["untethered"]["rmse"] <= LIMITS_MM[name]
            print(name, reference, {by: row[by] for by in CONTROLLERS}, flush=True)
    changed = [
        {"rig": name, "what": what}
        | {
            by: track(load_card(models / name), builds / name, by, REFERENCES[0], [0], **options)
            for by in ("untethered", "tethered")
        }
        for name in OPINIONS
        for what, options in CHANGED[name].items()
    ]
    summaries = {name: json.loads((runs / name / "summary.json").read_text()) for name in OPINIONS}
    page = write_page(
        ROOT / "docs",
        "second_opinions",
        tendon=make_rig("mujoco_tendon").parameters,
        step=STEP,
        rigs=rigs,
        followed=followed,
        changed=changed,
        limits=LIMITS_MM,
        seeds=len(SEEDS),
        runs=summaries,
        builds={name: read_build(builds / name) for name in OPINIONS},
        cards={name: load_card(models / name) for name in OPINIONS},
    )
    print(page)
    sys.exit(0 if kept else f"above {LIMITS_MM} mm: see the table")


# ----------------------------------------------------------------------------- what was tracked


def untethered(card: ModelCard, build: Path) -> Controller:
    """The firmware, which is told nothing but the signals."""
    return Firmware(build, card)


def tethered(card: ModelCard, build: Path) -> Controller:
    """The firmware, which is told the measured outputs."""
    return Firmware(build, card, tethered=True)


def with_pid(card: ModelCard, build: Path) -> Controller:
    """A PID with the gains of our own rig; it is told the measured outputs."""
    config = pid_config(node_parameters("pid", card.rig), make_rig(card.rig))
    return PidController(config, card.rate_hz)


CONTROLLERS = {"untethered": untethered, "tethered": tethered, "pid": with_pid}


def track(
    card: ModelCard,
    build: Path,
    by: str,
    reference: str,
    seeds: Sequence[int] = SEEDS,
    **options: Any,
) -> dict[str, float]:
    """Tracking error of the tip over seeds, mm: mean RMSE and its spread, worst maximum; `options`
    change the rig."""
    curve = reference_curve(Experiment(rig=card.rig, reference=reference), card)
    rmse, worst = [], []
    for seed in seeds:
        controller = CONTROLLERS[by](card, build)
        rig = make_rig(card.rig, seed=seed, **options)
        trace = run(rig, controller, curve.values, card.rate_hz, DURATION_S)
        if isinstance(controller, Firmware):
            controller.close()
        after = trace.t_s >= SETTLE_S
        error = trace.robot.groups[0].distance((trace.outputs - trace.reference)[after])
        rmse.append(float(np.sqrt(np.mean(error**2))))
        worst.append(float(error.max()))
    return {"rmse": float(np.mean(rmse)), "spread": float(np.ptp(rmse)), "max": max(worst)}


# ----------------------------------------------------------------------------- what the rigs are


def figures(name: str) -> dict[str, Any]:
    """Of a rig without noise: how a step of its first command arrives, how far it reaches, how much
    of where it stands depends on where it came from, how far from a quadratic map it is at rest."""
    rig = make_rig(name, output_noise=())
    middle = rig.description.command_neutral
    half = 0.5 * (rig.command_max - rig.command_min)
    first = np.eye(len(middle))[0] * half
    step_s = 1.0 / 480.0
    way = np.array([at_rest(rig, middle + STEP * first, step_s) for _ in range(480)])
    late = at_rest(rig, middle + STEP * first, 19.0)
    share = way @ way[-1] / (way[-1] @ way[-1])
    passed = {level: step_s * (1 + np.argmax(share > level)) for level in (0.02, 0.1, 0.9)}
    came = []
    for side in (1.0, -1.0):
        rig.reset()
        at_rest(rig, middle + side * first, 2.0)
        came.append(at_rest(rig, middle, 8.0))
    reach = []
    for side in (1.0, -1.0):
        rig.reset()
        reach.append(np.linalg.norm(at_rest(rig, middle + side * first, 2.0)))
    return {
        "name": name,
        "dead_ms": 1e3 * passed[0.02],
        "rise_ms": 1e3 * (passed[0.9] - passed[0.1]),
        "overshoot": 100.0 * max(share.max() - 1.0, 0.0),
        "creep": 100.0 * np.linalg.norm(late - way[-1]) / np.linalg.norm(late),
        "remains": 1e3 * np.linalg.norm(came[0] - came[1]),
        "reach": 1e3 * max(reach),
        "not_quadratic": 1e3 * not_quadratic(rig),
    }


def at_rest(rig: Any, command: np.ndarray, duration_s: float) -> np.ndarray:
    """Outputs (n,) when `command` has been held for so long."""
    rig.step(command, duration_s)
    return rig.outputs()


def not_quadratic(rig: Any) -> float:
    """RMSE, m, of the best quadratic map from commands to the tip at rest, over random commands."""
    rng = np.random.default_rng(0)
    asked = rng.uniform(rig.command_min, rig.command_max, (PLACES, rig.command_min.size))
    seen = []
    for command in asked:
        rig.reset()
        seen.append(at_rest(rig, command, 2.0))
    scaled = (asked - rig.description.command_neutral) / (rig.command_max - rig.command_min)
    pairs = np.triu_indices(scaled.shape[1])
    products = scaled[:, pairs[0]] * scaled[:, pairs[1]]
    terms = np.hstack([np.ones((PLACES, 1)), scaled, products])
    missed = np.array(seen) - terms @ np.linalg.lstsq(terms, np.array(seen), rcond=None)[0]
    # As many figures less as the map has coefficients: what it misses elsewhere.
    return float(np.sqrt(np.sum(missed**2) / (PLACES - terms.shape[1])))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
