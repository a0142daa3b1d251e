"""Fit the simulated tendon rig to recorded runs: `python -m soft_control.rigs.fit_tendon DATA_DIR`.

DATA_DIR holds the runs as CSV files (columns t_s, u0_deg, u1_deg, lace_00.., x_m, y_m, z_m). What
they identify goes into config/tendon.yaml, in place of the values there; config/tendon_fit.json
keeps the residuals, what each run says by itself, and why the other parameters stay assumed. Every
stage is simulated by the rig itself.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import least_squares

from soft_control.paths import config
from soft_control.rigs.tendon import (
    CHANNELS,
    LaceChannel,
    TendonParameters,
    TendonRig,
    lace_counts,
)

FIT_RUNS = ("2020-09-23_cdc6946", "2020-09-28_13417d5")
"""The best runs: fastest sampling, both servos over their whole figure, nothing clipped."""
CHECK_RUNS = ("2020-09-14_463e5be", "2020-09-17_4edb702", "2020-09-21_1bb83a4")
"""Other September runs that are not stuck at a limit: residuals only."""
LACE_RUN = FIT_RUNS[1]
"""The calibration of the lace changes from run to run, so one run is fitted: the latest."""

NEUTRAL_DEG = np.array([-45.0, 15.0])
"""Recorded command that becomes mid-range of the simulated rig, as if its servo horns were mounted
further on. As recorded, mid-range is near the end of the surface: 25 mm up and down are not there.
"""
RIDGE = 0.3
"""Weight of the quadratic terms (mm at 45 deg) against the residual (mm). The runs cover two thirds
of the range; without it the surface folds just outside and the figure-eight is out of reach."""
SETTLE_S = 20.0
"""Rest at the first command before a replay: the runs do not record what came before."""
FULL_SCALE_COUNTS = {0: 42, 5: 140, 6: 167, 10: 14}
"""Calibration maxima of the live channels: reciprocal of the quantum of the recorded values."""

ASSUMED = {
    "command_min_deg, command_max_deg": "stops recorded in June (September: servo_1 at 50 deg)",
    "delay_s, lag_s": "poorly identified: slow runs, a compressed clock, and the two trade against "
    "each other (see dynamics); design figures 41-52 ms and 5-34 ms",
    "servo_rate_deg_per_s, servo_resolution_deg": "data sheet of the AX-12A",
    "hysteresis_width_deg, hysteresis_weight": "small; the runs do not tell it from slack",
    "creep_fraction, creep_s": "not identified: a figure takes 14 s of a compressed clock (see "
    "dynamics); design figures 20-24 % in all, 0.2-0.3 s and 4.5 s; the split is a choice",
}

DYNAMICS = ("delay_s", "lag_s", "slack_deg", "creep_fraction_0", "creep_fraction_1")


class RecordedDataError(ValueError):
    """The data folder or a run in it cannot be used."""


@dataclass(frozen=True)
class Run:
    """One recorded run in the units of the fit."""

    name: str
    t_s: np.ndarray
    """(T,)"""
    command_deg: np.ndarray
    """(T, 2) as the simulated rig takes it: NEUTRAL_DEG is at mid-range."""
    position_mm: np.ndarray
    """(T, 3)"""
    lace: np.ndarray
    """(T, 11) channel / its calibration maximum."""


def read_run(folder: Path, name: str, parameters: TendonParameters) -> Run:
    """Read folder/`name`.csv. Raises RecordedDataError if it is missing or lacks a column."""
    path = folder / f"{name}.csv"
    try:
        table = np.genfromtxt(path, delimiter=",", names=True)
        command = np.stack([table["u0_deg"], table["u1_deg"]], axis=1)
        position = np.stack([table["x_m"], table["y_m"], table["z_m"]], axis=1)
        lace = np.stack([table[f"lace_{channel:02d}"] for channel in range(CHANNELS)], axis=1)
        time = table["t_s"]
    except (OSError, ValueError) as error:
        raise RecordedDataError(
            f"{path}: {error}; DATA_DIR must hold the recorded tendon runs"
        ) from error
    middle = 0.5 * (np.array(parameters.command_min_deg) + parameters.command_max_deg)
    return Run(name, time, command - NEUTRAL_DEG + middle, 1e3 * position, lace)


def replay(parameters: TendonParameters, run: Run) -> np.ndarray:
    """Bending (T, 2), deg about mid-range, of the simulated rig under the commands of `run`."""
    rig = TendonRig(parameters)
    command = np.radians(run.command_deg)
    rig.step(command[0], SETTLE_S)
    bending = [rig.bending()]
    for row, duration_s in enumerate(np.diff(run.t_s)):
        rig.step(command[row], duration_s)
        bending.append(rig.bending())
    return np.degrees(bending)


def quadratic_terms(bending_deg: np.ndarray) -> np.ndarray:
    """(T, 5): b0, b1, b0², b0·b1, b1²."""
    b0, b1 = bending_deg.T
    return np.stack([b0, b1, b0 * b0, b0 * b1, b1 * b1], axis=1)


def fit_map(runs: list[Run], bendings: list[np.ndarray]) -> np.ndarray:
    """Coefficients (5, 3), mm per deg and deg²: one map for all runs, an origin for each."""
    rows, targets = [], []
    for i, (run, bending) in enumerate(zip(runs, bendings, strict=True)):
        origin = np.zeros((len(bending), len(runs)))
        origin[:, i] = 1.0
        weight = len(bending) ** -0.5
        rows.append(weight * np.hstack([origin, quadratic_terms(bending)]))
        targets.append(weight * run.position_mm)
    ridge = np.zeros((3, len(runs) + 5))
    ridge[:, -3:] = RIDGE * 45.0**2 * np.eye(3)
    rows.append(ridge)
    targets.append(np.zeros((3, 3)))
    return np.linalg.lstsq(np.vstack(rows), np.vstack(targets), rcond=None)[0][len(runs) :]


def residual_mm(parameters: TendonParameters, run: Run, bending_deg: np.ndarray) -> np.ndarray:
    """Simulated minus measured position (T, 3), mm, less its mean: the origins differ by day."""
    rig = TendonRig(parameters)
    difference = 1e3 * rig.tip_at(np.radians(bending_deg)) - run.position_mm
    return difference - difference.mean(axis=0)


def fit_dynamics(parameters: TendonParameters, run: Run) -> dict[str, float]:
    """What `run` by itself says of the parameters DYNAMICS, with a static map of fifth order.

    The quadratic map errs by more than the dynamics move, so it would be fitted with their help.
    """

    def with_values(values: np.ndarray) -> TendonParameters:
        delay, lag, slack, *creep = values
        changes = {"delay_s": delay, "lag_s": lag, "slack_deg": slack, "creep_fraction": creep}
        return parameters.model_copy(update=changes)

    def residuals(values: np.ndarray) -> np.ndarray:
        b0, b1 = replay(with_values(values), run).T / 45.0
        terms = np.stack([b0**i * b1**j for i in range(6) for j in range(6 - i)], axis=1)
        fitted = np.linalg.lstsq(terms, run.position_mm, rcond=None)[0]
        return (terms @ fitted - run.position_mm).ravel()

    found = least_squares(
        residuals,
        x0=[0.046, 0.02, 1.0, 0.05, 0.05],
        bounds=([0.002, 0.002, 0.0, 0.0, 0.0], [0.3, 0.3, 12.0, 0.4, 0.4]),
        x_scale=[0.02, 0.02, 1.0, 0.1, 0.1],
        diff_step=2e-2,  # the servo's counts make smaller steps noisy
        max_nfev=12,
    )
    values = dict(zip(DYNAMICS, found.x, strict=True))
    return {**values, "distance_mm": 3.0**0.5 * rms(found.fun)}


def fit_channel(bending_deg: np.ndarray, counts: np.ndarray, full_scale: float) -> LaceChannel:
    """Least squares over two contacts, best of a few seeded starts."""
    names = ("depth_counts", "direction_deg", "closing_deg", "width_deg")
    unit = np.array([full_scale, 180.0, 40.0, 20.0])

    def contacts(values: np.ndarray) -> np.ndarray:
        return values[1:].reshape(2, 4) * unit

    def residuals(values: np.ndarray) -> np.ndarray:
        depth, direction_deg, closing, width = contacts(values).T
        direction = np.radians(direction_deg)
        along = bending_deg @ np.stack([np.cos(direction), np.sin(direction)])
        steps = 0.5 * depth * (1.0 + np.tanh(0.5 * (along - closing) / width))
        return values[0] * full_scale + steps.sum(axis=1) - counts

    # Depths so bounded that the figure's surroundings, too, stay near the recorded full scale.
    low = np.array([0.0, *[-0.6, -2.0, -1.5, 0.15] * 2])
    high = np.array([1.2, *[0.6, 2.0, 1.5, 2.0] * 2])
    starts = low + (high - low) * np.random.default_rng(0).random((12, low.size))
    fits = [least_squares(residuals, start, bounds=(low, high)) for start in starts]
    best = min(fits, key=lambda found: found.cost).x
    rows = contacts(best)
    rows[:, 1] = (rows[:, 1] + 180.0) % 360.0 - 180.0
    return LaceChannel.model_validate(
        {
            "open_counts": rounded(best[0] * full_scale),
            "contacts": [dict(zip(names, map(rounded, row), strict=True)) for row in rows],
        }
    )


def rounded(value: float, digits: int = 4) -> float:
    """`value` to significant digits, as it stands in the YAML."""
    return float(f"{value:.{digits}g}")


def rms(values: np.ndarray) -> float:
    """Root mean square of `values`."""
    return float(np.sqrt(np.mean(np.square(values))))


def noise_std(samples: np.ndarray) -> np.ndarray:
    """White noise of each column from its third differences, which a slow motion does not reach."""
    return np.std(np.diff(samples, n=3, axis=0), axis=0) / np.sqrt(20.0)


def fit(folder: Path, say: Callable[[str], None] = print) -> dict[str, Any]:
    """The report for tendon_fit.json; its "fitted" holds the values for tendon.yaml."""
    parameters = TendonParameters.load()
    runs = {name: read_run(folder, name, parameters) for name in FIT_RUNS + CHECK_RUNS}
    best = [runs[name] for name in FIT_RUNS]

    dynamics = {}
    for run in best:
        say(f"{run.name}: dynamics by itself (about a minute) …")
        found = fit_dynamics(parameters, run)
        dynamics[run.name] = {key: rounded(value, 3) for key, value in found.items()}
        say(f"  {dynamics[run.name]}")
    slack = float(np.mean([values["slack_deg"] for values in dynamics.values()]))
    fitted: dict[str, Any] = {"slack_deg": round(slack, 1)}
    parameters = parameters.model_copy(update=fitted)

    say("replaying the runs …")
    bendings = {name: replay(parameters, run) for name, run in runs.items()}
    coefficients = fit_map(best, [bendings[run.name] for run in best])
    for axis, column in zip("xyz", coefficients.T, strict=True):
        fitted[f"{axis}_mm_of_deg"] = tuple(map(rounded, column))
    noise = [noise_std(run.position_mm) for run in best]
    fitted["output_noise"] = [round(rms(noise), 3)] * 3

    lace, lace_residual, lace_noise = {}, {}, []
    run, bending = runs[LACE_RUN], bendings[LACE_RUN]
    for number, full_scale in FULL_SCALE_COUNTS.items():
        say(f"{run.name}: lace channel {number} …")
        counts = full_scale * run.lace[:, number]
        lace[number] = guide = fit_channel(bending[::5], counts[::5], full_scale)
        levels = np.array([lace_counts(guide, *row) for row in bending])
        lace_residual[number] = round(rms(levels - counts), 2)
        lace_noise.append(noise_std(counts) ** 2 - 1.0 / 12.0)  # less the rounding to counts
    fitted["lace_noise_counts"] = round(float(np.sqrt(np.mean(lace_noise))), 2)
    parameters = parameters.model_copy(update={**fitted, "lace": lace})

    residuals = {}
    for name, run in runs.items():
        error = residual_mm(parameters, run, bendings[name])
        axes = {axis: round(rms(column), 3) for axis, column in zip("xyz", error.T, strict=True)}
        distance = round(rms(np.linalg.norm(error, axis=1)), 3)
        residuals[name] = {**axes, "distance": distance, "fitted": name in FIT_RUNS}
        say(f"{name}: residual in mm {residuals[name]}")
    both = " and ".join(FIT_RUNS)
    return {
        "fitted_to": {
            "slack_deg": f"{both}, each with a static map of fifth order; their mean",
            "x_mm_of_deg, y_mm_of_deg, z_mm_of_deg, output_noise": both,
            "lace, lace_noise_counts": LACE_RUN,
        },
        "assumed": ASSUMED,
        "neutral_recorded_deg": NEUTRAL_DEG.tolist(),
        "ridge": RIDGE,
        "fitted": {**fitted, "lace": {n: guide.model_dump() for n, guide in lace.items()}},
        "dynamics": dynamics,
        "residual_rms_mm": residuals,
        "lace_residual_rms_counts": lace_residual,
    }


def replace_values(text: str, values: dict[Any, Any]) -> str:
    """YAML `text`, one value a line, with `values` in place of what it holds; comments stay."""
    for key, value in values.items():
        flow = json.dumps(value).replace('"', "")  # plain keys: flow style of YAML
        text, count = re.subn(rf"(?m)^( *{key}: ).*$", rf"\g<1>{flow}", text)
        if count != 1:
            raise RuntimeError(f"config/tendon.yaml: expected one line '{key}: …', found {count}")
    return text


def main() -> int:
    """Fits, writes both files, and says what went wrong in one line."""
    if len(sys.argv) != 2:
        print("usage: python -m soft_control.rigs.fit_tendon DATA_DIR", file=sys.stderr)
        return 2
    try:
        report = fit(Path(sys.argv[1]))
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    values = {key: value for key, value in report["fitted"].items() if key != "lace"}
    path = config("tendon")
    text = replace_values(path.read_text(encoding="utf-8"), {**values, **report["fitted"]["lace"]})
    path.write_text(text, encoding="utf-8")
    path.with_name("tendon_fit.json").write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    print(f"wrote {path} and tendon_fit.json")
    return 0


if __name__ == "__main__":
    sys.exit(main())
