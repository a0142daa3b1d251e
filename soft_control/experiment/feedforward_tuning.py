"""Finds leads, and the gains of a PID with feed-forward, by the search of the plain PID's."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from soft_control.control import static_inverse
from soft_control.experiment.closed_loop import Controller, PidFeedforwardController, run
from soft_control.experiment.tuning import (
    TUNING_GAINS,
    Followed,
    Progress,
    Range,
    Tuned,
    Wanted,
    decouple_at_rest,
    middle_of,
    pid_config,
    pid_parameters,
    pid_space,
    pid_units,
    rmse,
    search,
)
from soft_control.learning.card import ModelCard
from soft_control.learning.model import load_model
from soft_control.learning.rest import resting_network
from soft_control.rigs import Rig, Sample, make_rig

LEAD_MAX_S = 0.25
"""Delay and lag of the tendon rig, the slowest, come to 0.07 s, and its creep asks for more."""
LEAD = {"lead_s": Range(0.0, LEAD_MAX_S)}


def lead_parameters(values: dict[str, float], rate_hz: float) -> dict[str, Any]:
    """Parameters of a node that looks ahead; its reference is told as far as any lead may be."""
    return {"lead_s": values["lead_s"], "preview": math.ceil(LEAD_MAX_S * rate_hz)}


@dataclass(frozen=True)
class Forward:
    """A reference, and what the static inverse finds for it without a lead, sample by sample."""

    wanted: Wanted
    length_s: float
    commands: np.ndarray
    """(T + H, m) for the samples of so long and for those of the longest lead after it."""

    def with_lead(self, lead_s: float, rate_hz: float) -> Tabled:
        """A controller for one run along the reference."""
        return Tabled(self.commands, lead_s, rate_hz)


class Tabled:
    """The static inverse with a lead, from what it has found without one. It costs a trial a fifth
    of the law itself, which between two samples inverts the reference's straight line and not the
    commands': on the tendon rig they differ by less than 1e-5 rad."""

    def __init__(self, commands: np.ndarray, lead_s: float, rate_hz: float) -> None:
        self.preview = math.ceil(lead_s * rate_hz)
        self._commands, self._lead_s, self._dt = commands, lead_s, 1 / rate_hz
        self._k = 0

    def step(self, seen: Sample, signals: np.ndarray, ahead: np.ndarray) -> np.ndarray:
        """Command (m,): see Controller."""
        rows = self._commands[self._k : self._k + self.preview + 1]
        self._k += 1
        return static_inverse.at_lead(rows, self._lead_s, self._dt)


def forwards(card: ModelCard, model_dir: Path, followed: Followed) -> list[Forward]:
    """Of each reference. Raises ModelError as `resting_network`."""
    network = resting_network(load_model(model_dir))
    robot, rate_hz = card.robot, card.rate_hz
    config = static_inverse.StaticInverseConfig(network, robot.command_min, robot.command_max)
    found = []
    for wanted, length_s in followed:
        samples = round(length_s * rate_hz) + math.ceil(LEAD_MAX_S * rate_hz) + 1
        state = static_inverse.reset(config)
        rows = wanted(np.arange(samples) / rate_hz)[:, None]
        commands = [static_inverse.step(config, state, row, 1 / rate_hz) for row in rows]
        found.append(Forward(wanted, length_s, np.array(commands)))
    return found


def mean_score(
    rigs: Sequence[Rig],
    followed: Sequence[Forward],
    rate_hz: float,
    make: Callable[[Forward], Controller],
) -> float:
    """Of a controller made anew for each rig and each reference."""
    scores = [
        rmse(run(rig, make(one), one.wanted, rate_hz, one.length_s))
        for rig in rigs
        for one in followed
    ]
    return float(np.mean(scores))


def static_inverse_for_model(
    card: ModelCard,
    model_dir: Path,
    rig: str,
    followed: Followed,
    trials: int,
    seed: int,
    progress: Progress,
) -> Tuned:
    """The lead, on the nominal rig alone: whoever sees nothing can do nothing about other gains."""
    rate_hz = card.rate_hz
    along = forwards(card, model_dir, followed)
    rigs = [make_rig(rig, seed=seed)]

    def score(values: dict[str, float]) -> float:
        lead_s = values["lead_s"]
        return mean_score(rigs, along, rate_hz, lambda one: one.with_lead(lead_s, rate_hz))

    found = search(LEAD, score, trials, seed, middle_of(LEAD), progress)
    return Tuned(lead_parameters(found.values, rate_hz), found, (1.0,))


def pid_feedforward_for_model(
    card: ModelCard,
    model_dir: Path,
    rig: str,
    followed: Followed,
    trials: int,
    seed: int,
    progress: Progress,
) -> Tuned:
    """Gains and lead, on the rigs of several gains that the plain PID is tuned on."""
    rate_hz = card.rate_hz
    along = forwards(card, model_dir, followed)
    rigs = [make_rig(rig, seed=seed, gain=gain) for gain in TUNING_GAINS]
    decoupling = decouple_at_rest(rigs[0])

    def score(values: dict[str, float]) -> float:
        config = pid_config(pid_parameters(values, decoupling), rigs[0])

        def make(one: Forward) -> Controller:
            forward = one.with_lead(values["lead_s"], rate_hz)
            return PidFeedforwardController(config, forward, rate_hz)

        return mean_score(rigs, along, rate_hz, make)

    space = pid_space(len(decoupling)) | LEAD
    found = search(space, score, trials, seed, middle_of(space), progress)
    parameters = pid_parameters(found.values, decoupling)
    parameters |= lead_parameters(found.values, rate_hz)
    return Tuned(parameters, found, TUNING_GAINS, [pid_units(card.robot)])
