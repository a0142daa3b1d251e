"""The ways to control that a campaign compares: one table.

A new one is one entry, whose function makes a controller of experiment.closed_loop.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from soft_control.benchmarks.host_solver import sizes_of, weights_of
from soft_control.campaign.stands import Stand
from soft_control.control.calibration_motion import CALIBRATION_SHAPES
from soft_control.control.observer import observer_config
from soft_control.control.problem import Sizes, Start, Weights
from soft_control.control.static_inverse import StaticInverseConfig
from soft_control.experiment.closed_loop import (
    Controller,
    Firmware,
    ModelController,
    PidController,
    PidFeedforwardController,
    StaticInverseController,
)
from soft_control.experiment.tuning import pid_config
from soft_control.learning.model import NETWORK_FILE
from soft_control.learning.rest import resting_network
from soft_control.plain_text import printable
from soft_control.rigs import Sample, make_rig

CALIBRATE_S = 20.0


@dataclass(frozen=True)
class Way:
    """One line of the table."""

    title: str
    """For tables and figures."""
    make: Callable[[Stand, str], Controller]
    """Called for each run, with its reference's name. What it makes may have `close`, which is
    called after the run."""
    sees_outputs: bool = False
    """Whether it is told the measured outputs."""
    entry: str = ""
    """Of control.controllers, whose parameters it takes from the stand's kit; empty: none."""
    package: str = ""
    """That the workers need for it, besides those of soft_control."""
    head_s: float = 0.0
    """Before the part of a run that counts, so long it follows `head`, to get ready."""
    head: tuple[str, ...] = CALIBRATION_SHAPES


def _firmware(stand: Stand, reference: str, **told: Any) -> Firmware:
    return Firmware(stand.build_dir, stand.model.card, **told)


def _pid(stand: Stand, reference: str) -> PidController:
    config = pid_config(stand.kit.parameters["pid"], make_rig(stand.rig))
    return PidController(config, stand.rate_hz)


class _Along:
    """A law that sees nothing, along a reference: its commands are the same in every run.

    Each costs several times as much as all else of a sample, so they are found once.
    """

    def __init__(self, law: Controller, commands: list[np.ndarray]) -> None:
        """`law` has found `commands`, of the first samples, and goes on from there."""
        self.preview = law.preview
        self._law, self._commands, self._k = law, commands, 0

    def step(self, seen: Sample, signals: np.ndarray, ahead: np.ndarray) -> np.ndarray:
        """Command (m,): see Controller."""
        if self._k == len(self._commands):
            self._commands.append(self._law.step(seen, signals, ahead))
        self._k += 1
        return self._commands[self._k - 1]


def _static_inverse(stand: Stand, reference: str, entry: str = "static_inverse") -> _Along:
    """What a node `entry` looks ahead with."""
    robot, lead_s = stand.kit.robot, stand.kit.parameters[entry]["lead_s"]
    if (entry, reference) not in stand.found:
        config = StaticInverseConfig(
            resting_network(stand.model), robot.command_min, robot.command_max, lead_s
        )
        law = StaticInverseController(config, stand.rate_hz)
        stand.found[entry, reference] = law, []
    return _Along(*stand.found[entry, reference])


def _pid_feedforward(stand: Stand, reference: str) -> PidFeedforwardController:
    config = pid_config(stand.kit.parameters["pid_feedforward"], make_rig(stand.rig))
    forward = _static_inverse(stand, reference, "pid_feedforward")
    return PidFeedforwardController(config, forward, stand.rate_hz)


class _Ipopt(ModelController):
    """The firmware's own problem, each sample's solved until it converges, in float64."""

    def __init__(self, stand: Stand, reference: str) -> None:
        card, settings = stand.model.card, stand.kit.mpc
        sizes, robot = sizes_of(card, settings), stand.kit.robot
        self.iterations: list[int] = []
        """Of each sample."""

        def solve(weights: Weights, start: Start, plan: np.ndarray) -> np.ndarray:
            problem = _problem(stand.model_dir / NETWORK_FILE, sizes)
            found = problem.solve(weights, start, plan)
            self.iterations.append(found.iterations)
            return found.plan

        super().__init__(
            stand.model,
            solve,
            sizes,
            weights_of(card, settings),
            robot.command_neutral,
            [robot.signal_names.index(name) for name in card.signal_names],
            observer=observer_config(card, settings.observer),
        )


@functools.lru_cache(maxsize=4)
def _problem(network: Path, sizes: Sizes):  # noqa: ANN202  its module needs casadi
    """Made once a worker: its derivatives take a second."""
    from nn4mc_codegen.importers import read_model
    from soft_control.benchmarks.ipopt import Problem, graph_network

    return Problem(graph_network(read_model(network)[0]), sizes)


WAYS: dict[str, Way] = {
    "mpc": Way("MPC untethered", _firmware),
    "mpc_tethered": Way(
        "MPC tethered",
        functools.partial(_firmware, tethered=True, adapts=True),
        sees_outputs=True,
    ),
    "mpc_calibrated": Way(
        f"MPC calibrated {CALIBRATE_S:g} s, then untethered",
        functools.partial(_firmware, calibrate_s=CALIBRATE_S),
        head_s=CALIBRATE_S,
    ),
    "pid": Way("PID", _pid, sees_outputs=True, entry="pid"),
    "pid_feedforward": Way(
        "PID with lead and feed-forward", _pid_feedforward, True, "pid_feedforward"
    ),
    "static_inverse": Way("static inverse", _static_inverse, entry="static_inverse"),
    "ipopt": Way("IPOPT on the same model", _Ipopt, package="casadi"),
}
"""By the name that a plan says."""


def way(name: str) -> Way:
    """The entry `name`. Raises ValueError where there is none, or its package is missing."""
    if name not in WAYS:
        raise ValueError(f"unknown controller '{printable(name)}': choose of {', '.join(WAYS)}")
    found = WAYS[name]
    if found.package and importlib.util.find_spec(found.package) is None:
        raise ValueError(f"the controller {name} needs {found.package}: pip install it")
    return found
