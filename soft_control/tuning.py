"""Finds the PID's gains on a simulated rig, in process, and writes them as its parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from scipy.optimize import differential_evolution

from soft_control import pid
from soft_control.references import Reference
from soft_control.rigs import Rig, make_rig
from soft_control.summary import SETTLE_S, error_figures, tracking_error_mm

TUNING_GAINS = (1.0, 0.8, 1.25)
"""Of the rigs that the optimiser sees: tuned on the nominal one alone, the loop cycles as soon as a
rig answers a little more strongly."""
STEP_REFERENCE = "fixed"
"""The optimiser sees it too: gains for a smooth reference alone cycle by centimetres on a step."""
BOUNDS = {"kp": (0.0, 1.5), "ki": (0.0, 40.0), "kd": (0.0, 0.1)}


def tune_pid(
    rig_name: str,
    reference: Reference,
    rate_hz: float,
    duration_s: float,
    generations: int,
    seed: int,
    progress: Callable[[float], None] = lambda best_mm: None,
) -> tuple[dict[str, Any], float]:
    """Gains of each command with the least mean RMSE; (parameters, mm).

    The mean is over the tuning rigs and over `reference` and a step to its far corner.

    Differential evolution over kp, ki and kd of every command.
    """
    rigs = [make_rig(rig_name, seed=seed, gain=gain) for gain in TUNING_GAINS]
    neutral = (rigs[0].command_min + rigs[0].command_max) / 2
    decoupling = decouple(rigs[0], neutral, delta=(rigs[0].command_max - neutral) / 4)
    commands = neutral.size

    def config(gains: np.ndarray) -> pid.PidConfig:
        kp, ki, kd = gains.reshape(len(BOUNDS), commands)
        return pid.PidConfig(
            decoupling, kp, ki, kd, neutral, rigs[0].command_min, rigs[0].command_max
        )

    def rmse_mm(gains: np.ndarray) -> float:
        errors = [
            track_rmse_mm(rig, config(gains), wanted, rate_hz, duration_s)
            for rig in rigs
            for wanted in (reference, replace(reference, shape=STEP_REFERENCE))
        ]
        return float(np.mean(errors))

    found = differential_evolution(
        rmse_mm,
        [bound for bound in BOUNDS.values() for _ in range(commands)],
        seed=seed,
        maxiter=generations,
        popsize=6,
        polish=False,
        callback=lambda intermediate_result: progress(float(intermediate_result.fun)),
    )
    kp, ki, kd = found.x.reshape(len(BOUNDS), commands).tolist()
    parameters = {"decoupling": decoupling.ravel().tolist(), "kp": kp, "ki": ki, "kd": kd}
    return parameters, float(found.fun)


def track_rmse_mm(
    rig: Rig, config: pid.PidConfig, reference: Reference, rate_hz: float, duration_s: float
) -> float:
    """Tracking error after SETTLE_S of the PID on `rig`, mm."""
    rig.reset()
    state = pid.reset(config)
    t_s = np.arange(round(duration_s * rate_hz)) / rate_hz
    wanted = reference.position(t_s)
    tips = np.empty_like(wanted)
    for k, target in enumerate(wanted):
        tips[k] = rig.tip_position()
        command = pid.step(config, state, target, rig.measure().position, 1 / rate_hz)
        rig.step(command, 1 / rate_hz)
    settled = t_s >= SETTLE_S
    return error_figures(tracking_error_mm(tips[settled], wanted[settled]))[0]


def decouple(rig: Rig, neutral: np.ndarray, delta: np.ndarray, settle_s: float = 20) -> np.ndarray:
    """Commands per m (m, 3) from the settled tip at `neutral` ± `delta` of each command."""
    slopes = np.empty((3, neutral.size))
    for i, step in enumerate(np.diag(delta)):
        tips = []
        for command in (neutral + step, neutral - step):
            rig.reset()
            rig.step(command, settle_s)
            tips.append(rig.tip_position())
        slopes[:, i] = (tips[0] - tips[1]) / (2 * delta[i])
    return np.linalg.pinv(slopes)


def write_parameters(
    path: Path, node: str, parameters: dict[str, Any], comment: Sequence[str]
) -> None:
    """A ROS parameter file, with how it came about at its head."""
    head = "".join(f"# {line}\n" for line in comment)
    body = yaml.safe_dump({node: {"ros__parameters": parameters}}, sort_keys=False)
    path.write_text(head + body)
