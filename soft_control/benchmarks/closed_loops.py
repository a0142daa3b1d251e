"""Closed loops in process: the firmware against IPOPT; the worth of delay and offset estimate."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict

from nn4mc_codegen.importers import read_model
from soft_control.benchmarks.host_solver import SolverLoop, weights_of
from soft_control.benchmarks.ipopt import Problem, graph_network
from soft_control.control.mpc_settings import MpcSettings
from soft_control.control.observer import observer_config
from soft_control.control.problem import Start, Weights
from soft_control.experiment.closed_loop import (
    Controller,
    Firmware,
    Trace,
    run,
)
from soft_control.experiment.node_parameters import mpc_settings
from soft_control.experiment.record import SETTLE_S
from soft_control.experiment.settings import Experiment
from soft_control.experiment.setup import reference_curve
from soft_control.experiment.summary import error_figures
from soft_control.firmware_build import build
from soft_control.learning.model import CARD_FILE, NETWORK_FILE, ModelCard, load_card, load_model
from soft_control.rigs import make_rig

ESTIMATES = ("measured position", "signals", "none")
"""What the offset estimate learns from."""
EXCESS_MAX = 0.05
"""Of the C solver's cost above IPOPT's."""
SPEEDS = (1.0, 2.0)
"""Of the reference, at which the parts are compared: what a delay costs grows with it."""

Progress = Callable[[str, int, int], None]
"""What is being done, samples done, samples in all."""


class _Report(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)


class AgainstIpopt(_Report):
    """One rig, one reference, one seed, one model; two solvers."""

    rig: str
    reference: str
    cost: float
    """Of the firmware: `total_cost`."""
    ipopt_cost: float
    """Of IPOPT, converged at every sample."""
    rmse_mm: float
    ipopt_rmse_mm: float
    ipopt_unconverged: int
    """Samples at which IPOPT did not converge and its best point was taken."""
    samples: int

    @property
    def excess(self) -> float:
        """Cost above IPOPT's, as a share of it; negative where it is lower."""
        return self.cost / self.ipopt_cost - 1.0


class Variant(_Report):
    """The controller with or without a part. Tracking errors, RMSE in mm."""

    delay: bool
    """Whether it knows of the transport delay."""
    estimate: str
    """One of ESTIMATES."""
    before_mm: float
    """After SETTLE_S, before the load."""
    after_mm: float
    """From the load on."""


class WorthOfParts(_Report):
    """All variants on one rig, where a constant load comes on in mid-run."""

    rig: str
    reference: str
    speed: float
    """Of the reference, times its usual one."""
    load_mm: tuple[float, ...]
    load_after_s: float
    variants: list[Variant]

    def of(self, delay: bool, estimate: str) -> Variant:
        (found,) = (v for v in self.variants if (v.delay, v.estimate) == (delay, estimate))
        return found


def against_ipopt(
    model_dir: Path,
    folder: Path,
    reference: str,
    duration_s: float,
    seed: int,
    progress: Progress = lambda *_: None,
) -> AgainstIpopt:
    """Run the model's rig twice from the same seed; `folder` takes what is compiled."""
    model = load_model(model_dir)
    card, settings = model.card, mpc_settings(model.card.robot)
    loop = SolverLoop(model, settings)
    problem = Problem(graph_network(read_model(model_dir / NETWORK_FILE)[0]), loop.sizes)
    build(model_dir, settings, folder / "firmware", boards=("host",))
    firmware = Firmware(folder / "firmware", card)
    unconverged = 0

    def ipopt(weights: Weights, start: Start, plan: np.ndarray) -> np.ndarray:
        nonlocal unconverged
        found = problem.solve(weights, start, plan)
        unconverged += not found.converged
        return found.plan

    other = loop.controller(
        settings, observer=observer_config(card, settings.observer), solve=ipopt
    )
    controllers = {"firmware": firmware, "IPOPT": other}
    traces = [
        _follow(card, controller, reference, duration_s, seed, f"{card.rig}, {name}", progress)
        for name, controller in controllers.items()
    ]
    firmware.close()
    costs = [total_cost(card, settings, trace) for trace in traces]
    settled_s = min(SETTLE_S, duration_s / 2)
    return AgainstIpopt(
        rig=card.rig,
        reference=reference,
        cost=costs[0],
        ipopt_cost=costs[1],
        rmse_mm=_rmse_mm(traces[0], settled_s, np.inf),
        ipopt_rmse_mm=_rmse_mm(traces[1], settled_s, np.inf),
        ipopt_unconverged=unconverged,
        samples=len(traces[1].t_s),
    )


def worth_of_parts(
    model_dir: Path,
    folder: Path,
    reference: str,
    duration_s: float,
    seed: int,
    speed: float = 1.0,
    progress: Progress = lambda *_: None,
) -> WorthOfParts:
    """The firmware with and without delay compensation, and with each source of an offset estimate.

    The load comes half-way. `folder` takes what is compiled. A model without signals has no
    variants of theirs. Raises ValueError for a rig whose parameters name no load.
    """
    card, half = load_card(model_dir), duration_s / 2
    rig = make_rig(card.rig)
    load_mm = rig.parameters.test_load
    if not any(load_mm):
        raise ValueError(f"config/{card.rig}.yaml: test_load must say which load to put on")
    offset = np.array(load_mm) / rig.description.output_factors
    load = {"load_offset": tuple(offset.tolist()), "load_after_s": half}
    variants = []
    for delay in (True, False):
        directory = model_dir if delay else _taken_for_undelayed(model_dir, folder / "at_once")
        for estimate in ESTIMATES:
            if estimate == "signals" and card.signal_model is None:
                continue
            signals = estimate == "signals"
            settings = mpc_settings(card.robot)
            if not signals:
                settings = settings.model_copy(update={"observer": 0.0})
            where = folder / f"delay_{delay}_signals_{signals}"
            made = build(directory, settings, where, boards=("host",))
            firmware = Firmware(made.directory, card, tethered=estimate == "measured position")
            what = f"{card.rig} x{speed:g}, {'delay, ' if delay else ''}{estimate}"
            trace = _follow(
                card, firmware, reference, duration_s, seed, what, progress, speed, **load
            )
            firmware.close()
            variants.append(
                Variant(
                    delay=delay,
                    estimate=estimate,
                    before_mm=_rmse_mm(trace, SETTLE_S, half),
                    after_mm=_rmse_mm(trace, half, np.inf),
                )
            )
    return WorthOfParts(
        rig=card.rig,
        reference=reference,
        speed=speed,
        load_mm=load_mm,
        load_after_s=half,
        variants=variants,
    )


def _taken_for_undelayed(model_dir: Path, folder: Path) -> Path:
    """The same network, taken for one whose commands act at once; in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(model_dir / NETWORK_FILE, folder)
    undelayed = load_card(model_dir).model_copy(update={"input_delay": 0})
    (folder / CARD_FILE).write_text(undelayed.model_dump_json(), encoding="utf-8")
    return folder


def total_cost(card: ModelCard, settings: MpcSettings, trace: Trace) -> float:
    """Of a whole run, normalised: squared errors of the true outputs and squared moves, at the
    weights of the controller."""
    weights = weights_of(card, settings)
    error = (trace.outputs - trace.reference) / np.array(card.output_scale)
    moves = np.diff(card.normalised_command(trace.commands), axis=0)
    return float(np.sum(error**2 @ weights.output_weight) + np.sum(moves**2 @ weights.move_weight))


def _follow(
    card: ModelCard,
    controller: Controller,
    reference: str,
    duration_s: float,
    seed: int,
    what: str,
    progress: Progress,
    speed: float = 1.0,
    **rig_options: object,
) -> Trace:
    curve = reference_curve(Experiment(rig=card.rig, reference=reference), card)
    samples = round(duration_s * card.rate_hz)
    return run(
        make_rig(card.rig, seed=seed, **rig_options),
        controller,
        lambda t_s: curve.values(speed * t_s),
        card.rate_hz,
        duration_s,
        lambda sample: progress(what, sample, samples),
    )


def _rmse_mm(trace: Trace, from_s: float, to_s: float) -> float:
    chosen = (trace.t_s >= from_s) & (trace.t_s < to_s)
    error = trace.robot.groups[0].distance(trace.outputs[chosen] - trace.reference[chosen])
    return error_figures(error)[0]
