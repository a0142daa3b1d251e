"""Closed loops in process: the firmware against IPOPT at every sample, and what the delay and the
offset estimate are worth."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict

from nn4mc_codegen.importers import read_model
from soft_control.bringup import Experiment, mpc_settings, reference_curve
from soft_control.closed_loop import Controller, Firmware, Trace, run
from soft_control.evaluation import CARD_FILE, NETWORK_FILE, ModelCard, load_card, load_model
from soft_control.firmware import MpcSettings, build
from soft_control.host_solver import SolverLoop, weights_of
from soft_control.ipopt import Problem, graph_network
from soft_control.problem import Start, Weights
from soft_control.references import Reference
from soft_control.rigs import make_rig
from soft_control.summary import SETTLE_S, error_figures, tracking_error_mm

DISTURBANCE_RATIO = 0.0026
"""A gain of 0.05: the estimate follows within 20 samples, slower than the loop."""
VARIANTS = {
    (True, True): "delay compensation and offset estimate",
    (True, False): "delay compensation alone",
    (False, True): "offset estimate alone",
    (False, False): "neither",
}
EXCESS_MAX = 0.05
"""Of the C solver's cost above IPOPT's."""
LOAD_MM = (0.0, 0.5, -2.0)
"""Displacement by the load: a weight on the tip of the tendon rig."""

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


class WorthOfParts(_Report):
    """Tracking error, RMSE in mm, before and after a constant load comes on in mid-run."""

    rig: str
    load_mm: tuple[float, float, float]
    load_after_s: float
    before_mm: dict[str, float]
    after_mm: dict[str, float]
    """Both by variant."""


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
    card, settings = model.card, mpc_settings(model.card.rig)
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

    controllers = {"firmware": firmware, "IPOPT": loop.controller(settings, solve=ipopt)}
    traces = [
        _follow(card, controller, reference, duration_s, seed, f"{card.rig}, {name}", progress)
        for name, controller in controllers.items()
    ]
    firmware.close()
    costs = [total_cost(card, settings, trace) for trace in traces]
    return AgainstIpopt(
        rig=card.rig,
        reference=reference,
        cost=costs[0],
        ipopt_cost=costs[1],
        rmse_mm=_rmse_mm(traces[0], SETTLE_S, np.inf),
        ipopt_rmse_mm=_rmse_mm(traces[1], SETTLE_S, np.inf),
        ipopt_unconverged=unconverged,
        samples=len(traces[1].t_s),
    )


def worth_of_parts(
    model_dir: Path,
    folder: Path,
    reference: str,
    duration_s: float,
    seed: int,
    load_mm: tuple[float, float, float],
    progress: Progress = lambda *_: None,
) -> WorthOfParts:
    """The firmware with and without delay compensation and offset estimate.

    The load comes half-way. `folder` takes what is compiled.
    """
    card = load_card(model_dir)
    settings = mpc_settings(card.rig).model_copy(update={"disturbance_ratio": DISTURBANCE_RATIO})
    # The same network, taken for one whose commands act at once.
    at_once = folder / "at_once"
    at_once.mkdir(parents=True)
    shutil.copy(model_dir / NETWORK_FILE, at_once)
    undelayed = card.model_copy(update={"input_delay": 0})
    (at_once / CARD_FILE).write_text(undelayed.model_dump_json(), encoding="utf-8")
    half = duration_s / 2
    load = {"load_offset": tuple(1e-3 * mm for mm in load_mm), "load_after_s": half}
    traces = {}
    for delay, directory in ((True, model_dir), (False, at_once)):
        made = build(directory, settings, folder / f"build_{delay}", boards=("host",))
        for offset in (True, False):
            name = VARIANTS[delay, offset]
            firmware = Firmware(made.directory, card, tethered=offset)
            traces[name] = _follow(
                card, firmware, reference, duration_s, seed, name, progress, **load
            )
            firmware.close()
    return WorthOfParts(
        rig=card.rig,
        load_mm=load_mm,
        load_after_s=half,
        before_mm={name: _rmse_mm(t, SETTLE_S, half) for name, t in traces.items()},
        after_mm={name: _rmse_mm(t, half, np.inf) for name, t in traces.items()},
    )


def total_cost(card: ModelCard, settings: MpcSettings, trace: Trace) -> float:
    """Of a whole run, normalised: squared errors of the true position and squared moves, at the
    weights of the controller."""
    weights = weights_of(card, settings)
    error = card.normalised_output(trace.position) - card.normalised_output(trace.reference)
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
    **rig_options: object,
) -> Trace:
    curve = Reference(**reference_curve(Experiment(rig=card.rig, reference=reference), card))
    samples = round(duration_s * card.rate_hz)
    return run(
        make_rig(card.rig, seed=seed, **rig_options),
        card.rig,
        controller,
        curve.position,
        card.rate_hz,
        duration_s,
        lambda sample: progress(what, sample, samples),
    )


def _rmse_mm(trace: Trace, from_s: float, to_s: float) -> float:
    chosen = (trace.t_s >= from_s) & (trace.t_s < to_s)
    return error_figures(tracking_error_mm(trace.position[chosen], trace.reference[chosen]))[0]
