"""Finds gains and weights on a simulated rig, in process, and writes them as parameters.

The search is optuna's CMA-ES, which for a handful of continuous values found better ones in as many
trials than its Tree-structured Parzen Estimator. The same seed on the same machine finds the same.
"""

from __future__ import annotations

import importlib
import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from soft_control import paths
from soft_control.control import pid
from soft_control.control.controllers import CONTROLLERS, controller
from soft_control.control.mpc_settings import MpcSettings
from soft_control.experiment.checks import rig_for
from soft_control.experiment.closed_loop import Firmware, PidController, Trace, run
from soft_control.experiment.node_parameters import mpc_settings, sees_position
from soft_control.experiment.record import SETTLE_S
from soft_control.experiment.settings import Experiment
from soft_control.experiment.setup import reference_curve, robot_of
from soft_control.firmware_build import build
from soft_control.learning.model import ModelCard, load_card
from soft_control.plain_text import printable
from soft_control.rigs import Rig, check_no_opinion, make_rig
from soft_control.robots.description import RobotDescription
from soft_control.small_files import write_whole

TUNING_GAINS = (1.0, 0.8, 1.25)
"""Of the rigs that the optimiser sees: tuned on the nominal one alone, the loop cycles as soon as a
rig answers a little more strongly."""
STEP_REFERENCE = "fixed"
"""The optimiser sees it too: gains for a smooth reference alone cycle by centimetres on a step."""
WORST = 1e9
"""Score of values that cannot be scored: a loop that diverged."""

Wanted = Callable[[np.ndarray], np.ndarray]
"""Reference (T, n) at times (T,), s."""
Score = Callable[[Trace], float]
"""The smaller, the better."""


@dataclass(frozen=True)
class Range:
    """Of one value; `log` where its size is what is searched for."""

    low: float
    high: float
    log: bool = False


@dataclass(frozen=True)
class Found:
    """The best point of a search."""

    values: dict[str, float]
    score: float
    trials: int
    """Points tried."""
    unit: str = ""
    """Of the score, as it follows a number; nothing where several units or none went into it."""


@dataclass(frozen=True)
class Tuned:
    """What a tuner of control.controllers found for a model's robot."""

    parameters: dict[str, Any]
    """Of the controller's node."""
    found: Found
    gains: Sequence[float]
    """Of the rigs that it was tuned on, times the nominal one."""
    comment: Sequence[str] = ()
    """Lines for the head of the parameter file: units."""


def search(
    space: dict[str, Range],
    score: Callable[[dict[str, float]], float],
    trials: int,
    seed: int,
    start: dict[str, float],
    progress: Callable[[int, float], None] = lambda trial, best: None,
) -> Found:
    """The best of `trials` points of `space`, sought from `start` on, which is tried first.

    `progress` gets the number of trials made and the best score so far.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # A third of each range at first, restarted with a larger population where it stands still.
    sampler = optuna.samplers.CmaEsSampler(
        x0=start, sigma0=0.3, seed=seed, warn_independent_sampling=False
    )
    study = optuna.create_study(sampler=sampler)
    study.enqueue_trial(start)

    def objective(trial: optuna.Trial) -> float:
        value = score(
            {n: trial.suggest_float(n, r.low, r.high, log=r.log) for n, r in space.items()}
        )
        return value if math.isfinite(value) else WORST

    for made in range(1, trials + 1):
        study.optimize(objective, n_trials=1)
        progress(made, study.best_value)
    return Found(dict(study.best_params), study.best_value, trials)


def rmse(trace: Trace) -> float:
    """Tracking error after SETTLE_S, RMSE over time and over the robot's points and outputs, each
    in its unit on paper, in which the weights of the MPC count them too."""
    settled = trace.t_s >= SETTLE_S
    difference = trace.outputs[settled] - trace.reference[settled]
    errors = [group.distance(difference) for group in trace.robot.groups]
    return float(np.sqrt(np.mean(np.square(errors))))


# --------------------------------------------------------------------------------------------- PID


def pid_space(commands: int) -> dict[str, Range]:
    """kp, ki and kd of every command; the filter and the weights of the reference for all."""
    gains = {"kp": (0.02, 5.0), "ki": (0.1, 100.0), "kd": (1e-4, 0.3)}
    space = {f"{k}_{i}": Range(*gains[k], log=True) for k in gains for i in range(commands)}
    return space | {
        "derivative_time_constant": Range(2e-3, 0.1, log=True),
        "proportional_setpoint": Range(0.0, 1.0),
        "derivative_setpoint": Range(0.0, 1.0),
    }


def middle_of(space: dict[str, Range]) -> dict[str, float]:
    """Where the search of a PID begins."""
    return {
        name: math.sqrt(r.low * r.high) if r.log else 0.5 * (r.low + r.high)
        for name, r in space.items()
    }


def pid_parameters(values: dict[str, float], decoupling: np.ndarray) -> dict[str, Any]:
    """Parameters of the pid node from a point of `pid_space`."""
    commands = len(decoupling)
    vectors = {k: [values[f"{k}_{i}"] for i in range(commands)] for k in ("kp", "ki", "kd")}
    scalars = {key: values[key] for key in pid.SCALARS}
    return {"decoupling": decoupling.ravel().tolist()} | vectors | scalars


def pid_config(parameters: dict[str, Any], rig: Rig) -> pid.PidConfig:
    """The law that the pid node makes of its parameters."""
    commands = rig.command_min.size
    return pid.PidConfig(
        decoupling=np.reshape(parameters["decoupling"], (commands, -1)),
        **{key: np.array(parameters[key]) for key in ("kp", "ki", "kd")},
        command_neutral=(rig.command_min + rig.command_max) / 2,
        command_min=rig.command_min,
        command_max=rig.command_max,
        **{key: parameters[key] for key in pid.SCALARS if key in parameters},
    )


def tune_pid(
    rig_name: str,
    references: Sequence[tuple[Wanted, float]],
    rate_hz: float,
    trials: int,
    seed: int,
    gains: Sequence[float] = TUNING_GAINS,
    score: Score = rmse,
    progress: Callable[[int, float], None] = lambda trial, best: None,
) -> tuple[dict[str, Any], Found]:
    """Parameters of the pid node with the least mean score over rigs of these gains and references.

    `references` are pairs of a reference and how long, in s, it is followed.
    """
    rigs = [make_rig(rig_name, seed=seed, gain=gain) for gain in gains]
    decoupling = decouple_at_rest(rigs[0])

    def mean_score(values: dict[str, float]) -> float:
        config = pid_config(pid_parameters(values, decoupling), rigs[0])
        return float(
            np.mean(
                [
                    score(run(rig, PidController(config, rate_hz), wanted, rate_hz, length))
                    for rig in rigs
                    for wanted, length in references
                ]
            )
        )

    space = pid_space(len(decoupling))
    found = search(space, mean_score, trials, seed, middle_of(space), progress)
    return pid_parameters(found.values, decoupling), found


# --------------------------------------------------------------------------------------------- MPC


def mpc_space(settings: MpcSettings) -> dict[str, Range]:
    """The weight of a move of each command, a hundredth to a hundred times what is set now."""
    return {
        f"move_weight_{i}": Range(0.01 * weight, 100.0 * weight, log=True)
        for i, weight in enumerate(settings.move_weight)
    }


def mpc_tuning_gains(robot: RobotDescription) -> tuple[float, ...]:
    """Gains of the rigs that the MPC is tuned on: where it never sees a measured position, other
    gains than the nominal one cost it millimetres that no weight can win back."""
    return TUNING_GAINS if sees_position("mpc", robot) else TUNING_GAINS[:1]


def mpc_parameters(values: dict[str, float]) -> dict[str, Any]:
    """Parameters of the mcu node from a point of `mpc_space`."""
    weights = [values[f"move_weight_{i}"] for i in range(len(values))]
    return {"mpc": {"move_weight": weights}}


def tune_mpc(
    model_dir: Path,
    references: Sequence[tuple[Wanted, float]],
    trials: int,
    seed: int,
    gains: Sequence[float] | None = None,
    score: Score = rmse,
    progress: Callable[[int, float], None] = lambda trial, best: None,
    rig: str | None = None,
    robot: RobotDescription | None = None,
) -> tuple[dict[str, Any], Found]:
    """Parameters of the mcu node with the least mean score, as `tune_pid` finds those of the PID.

    The firmware is built once and runs as sil; each trial sends it other weights. The rig is by
    default that of the model's robot; `robot` is a later description of it.
    """
    card = load_card(model_dir)
    robot = robot or card.robot
    gains = gains or mpc_tuning_gains(robot)
    rigs = [make_rig(rig or card.rig, seed=seed, gain=gain) for gain in gains]
    settings = mpc_settings(robot)
    with tempfile.TemporaryDirectory() as folder:
        build(model_dir, settings, folder, boards=("host",))
        firmware = Firmware(Path(folder), card, sees_position("mpc", robot))

        def mean_score(values: dict[str, float]) -> float:
            chosen = settings.model_copy(update=mpc_parameters(values)["mpc"])
            return float(
                np.mean(
                    [
                        score(
                            run(
                                rig,
                                firmware.restart(chosen),
                                wanted,
                                card.rate_hz,
                                length,
                            )
                        )
                        for rig in rigs
                        for wanted, length in references
                    ]
                )
            )

        space = mpc_space(settings)
        start = {f"move_weight_{i}": weight for i, weight in enumerate(settings.move_weight)}
        found = search(space, mean_score, trials, seed, start, progress)
        firmware.close()
    return mpc_parameters(found.values), found


def decouple_at_rest(rig: Rig) -> np.ndarray:
    """Commands per output (m, n) about mid-range, over a quarter of the way to either limit."""
    neutral = (rig.command_min + rig.command_max) / 2
    return decouple(rig, neutral, delta=(rig.command_max - neutral) / 4)


def decouple(rig: Rig, neutral: np.ndarray, delta: np.ndarray, settle_s: float = 20) -> np.ndarray:
    """Commands per output (m, n) from the outputs settled at `neutral` ± `delta` of each
    command."""
    slopes = np.empty((len(rig.description.outputs), neutral.size))
    for i, step in enumerate(np.diag(delta)):
        settled = []
        for command in (neutral + step, neutral - step):
            rig.reset()
            rig.step(command, settle_s)
            settled.append(rig.outputs())
        slopes[:, i] = (settled[0] - settled[1]) / (2 * delta[i])
    return np.linalg.pinv(slopes)


# ----------------------------------------------------------------------------- any controller

Followed = Sequence[tuple[Wanted, float]]
"""References, and how long, in s, each is followed."""
Progress = Callable[[int, float], None]
"""Gets the number of trials made and the best score so far."""


def pid_for_model(
    card: ModelCard,
    model_dir: Path,
    rig: str,
    followed: Followed,
    trials: int,
    seed: int,
    progress: Progress,
) -> Tuned:
    """The PID's gains, on rigs of several gains."""
    parameters, found = tune_pid(rig, followed, card.rate_hz, trials, seed, progress=progress)
    return Tuned(parameters, found, TUNING_GAINS, [pid_units(card.robot)])


def pid_units(robot: RobotDescription) -> str:
    """Of the parameters of a PID, a line for the head of their file."""
    units = [
        " or ".join(dict.fromkeys(quantity.unit for quantity in quantities))
        for quantities in (robot.commands, robot.outputs)
    ]
    return f"decoupling: (commands x outputs) in {units[0]} over {units[1]}; kp: 1; ki: 1/s; kd: s."


def mpc_for_model(
    card: ModelCard,
    model_dir: Path,
    rig: str,
    followed: Followed,
    trials: int,
    seed: int,
    progress: Progress,
) -> Tuned:
    """The MPC's weights of moves."""
    parameters, found = tune_mpc(
        model_dir, followed, trials, seed, progress=progress, rig=rig, robot=card.robot
    )
    return Tuned(parameters, found, mpc_tuning_gains(card.robot))


def tune(
    name: str,
    model_dir: Path,
    reference: str,
    duration_s: float,
    trials: int,
    seed: int,
    out: Path | None = None,
    progress: Progress = lambda trial, best: None,
    rig: str | None = None,
    robot: str | None = None,
) -> tuple[Found, Path]:
    """Tunes the controller `name` on a rig, by default that of the model's robot, for the named
    reference and a step, each followed for `duration_s`, and writes the parameters, by default into
    config/tuned/. `robot` names a later description of that robot.

    Raises ValueError for a controller that is not tuned, and for the rig or the description of
    another robot. Returns what was found, and the file.
    """
    entry = controller(name)
    if not entry.tuner:
        can = [known for known, other in CONTROLLERS.items() if other.tuner]
        raise ValueError(f"controller '{name}' is not tuned: choose {' or '.join(can)}")
    card = load_card(model_dir)
    shapes = (reference, STEP_REFERENCE)
    rig = check_no_opinion(rig_for(card, model_dir, rig))
    asked = [Experiment(rig=rig, reference=shape, robot=robot or "") for shape in shapes]
    curves = [reference_curve(experiment, card) for experiment in asked]
    if robot:
        card = card.model_copy(update={"robot": robot_of(asked[0])})
    followed = [(curve.values, duration_s) for curve in curves]
    module, _, function = entry.tuner.partition(":")
    tuner = getattr(importlib.import_module(module), function)
    tuned: Tuned = tuner(card, model_dir, rig, followed, trials, seed, progress)
    place = "" if rig == card.rig else f" {rig}"
    comment = [
        f"Written by `softctl tune` for the {card.rig} rig{place}, {reference} and a step, "
        f"{card.rate_hz:g} Hz, seed {seed}, {trials} trials:",
        f"mean RMSE {tuned.found.score:.3f}{_unit(card.robot)} over rigs whose gain is "
        f"{', '.join(f'{gain:g}' for gain in tuned.gains)} times the nominal one.",
        *tuned.comment,
    ]
    path = out or paths.tuned(card.rig, entry.node)
    write_parameters(path, entry.node, tuned.parameters, comment)
    return replace(tuned.found, unit=_unit(card.robot)), path


def _unit(robot: RobotDescription) -> str:
    """Of a score, as it follows a number; nothing where several units or none went into it."""
    units = {group.unit for group in robot.groups} - {"1"}
    return f" {units.pop()}" if len(units) == 1 else ""


def write_parameters(
    path: Path, node: str, parameters: dict[str, Any], comment: Sequence[str]
) -> None:
    """A ROS parameter file, with how it came about at its head, one comment a line."""
    head = "".join(f"# {printable(line, 400)}\n" for line in comment)
    body = yaml.safe_dump({node: {"ros__parameters": parameters}}, sort_keys=False)
    write_whole(path, head + body)
