"""Is a learned network fit for a controller? What can go wrong with one, measured before it moves.

The compiled C against the network's meaning, units that do nothing, prediction errors by horizon
against recordings, the free run, and whether the network's gains point where the rig goes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict

from nn4mc_codegen import compile_model
from nn4mc_codegen.graph.ir import Graph
from nn4mc_codegen.importers import read_model
from nn4mc_codegen.trial.host import HostCode, build_library
from nn4mc_codegen.trial.oracle import make_cases
from soft_control.learning.card import ModelCard
from soft_control.learning.dataset import Recording
from soft_control.learning.errors import rmse
from soft_control.learning.model import (
    NETWORK_FILE,
    Model,
    RecurrentModel,
    card_samples,
    card_windows,
    free_run,
    load_model,
    normalised_windows,
    rollouts,
)
from soft_control.learning.suitability import check_long_enough, suited

HORIZONS = (1, 2, 5, 10, 20, 40)
"""Samples."""
COMPARED = 300
"""Samples of the recordings, on which the compiled C is compared; of a recurrent network the first
ones, one after the other."""
PUSHED = 8
"""Directions at once in which the compiled C of a recurrent network differentiates."""
UNIT_SAMPLES = 3000
"""Of the recordings, on which units are watched."""
LINEARISED_SAMPLES = 60
"""Of the recordings, at which the network is linearised."""
SATURATED = 0.99
"""Size from which on a tanh unit hardly tells inputs apart, and share of samples at that size."""
STEP_TOLERANCE = 1e-5
"""Of an output of order 1: rounding of float32, and of a tanh good to a millionth, in each unit."""
JACOBIAN_TOLERANCE = 5e-5
"""Relative to the largest derivative: the same, once more multiplied by weights."""
IDLE_SHARE_MAX = 0.5
"""Of a layer's units: a network with more idle ones is not what was asked for."""
USEFUL_SHARE = 0.8
"""Of the error of standing still: a prediction must be better than that."""
FREE_RUN_SHARE_MAX = 0.5
"""Of the spread of the recorded outputs: a free run that is further off has lost the rig."""
RADIUS_MAX = 1.02
"""Of the linearised free run, at the median: small errors would double within 35 samples."""
GAIN_SHARE = 0.3
"""Of an output's largest gain: smaller ones are too uncertain for their sign to tell anything."""


class _Report(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)


class Units(_Report):
    """Of one layer."""

    layer: str
    activation: str
    units: int
    idle: list[int]
    """Units that are the same over all the recordings: relu never active, tanh always saturated."""


class Rollout(_Report):
    """Errors of a group at the end of rollouts over so many samples, RMSE."""

    samples: int
    group: str
    """Of outputs: a point, or an output that is no coordinate."""
    unit: str
    """Of the errors."""
    live: float
    """Signals as recorded."""
    held: float
    """Signals held, as in the MPC's horizon."""
    standing_still: float
    """Of the prediction that nothing moves."""


class FreeRun(_Report):
    """Of a group over whole recordings."""

    group: str
    unit: str
    error: float
    """RMSE."""
    spread: float
    """RMS distance of the recorded outputs from their mean."""


class ModelReport(_Report):
    """What `check` found; `unfit` says why not, empty if fit."""

    model_hash: str
    recordings: list[str]
    step_error: float
    """Largest, of the compiled C against the network's meaning."""
    jacobian_error: float
    """Largest, relative to the largest entry."""
    c_agrees: bool
    layers: list[Units]
    rollouts: list[Rollout]
    """One for each number of samples and group."""
    free_runs: list[FreeRun]
    spectral_radius_median: float
    spectral_radius_max: float
    """Of the free run, linearised along the recordings; from 1 on errors grow."""
    gain_signs_agree: float
    """Share of the larger gains that have the sign that the recordings show."""
    unfit: list[str]

    @property
    def fit(self) -> bool:
        return not self.unfit


def check(model_dir: Path, recordings: Sequence[Recording], seed: int = 0) -> ModelReport:
    """Check the model of `softctl train` against recordings that it was not trained on.

    Raises ModelError, RecordingError and HostError for what cannot be read, compared or compiled.
    """
    model = load_model(model_dir)
    card = model.card
    runs = [suited(card, run) for run in recordings]
    for run in runs:
        check_long_enough(run, max(_gain_lag(model), max(HORIZONS)) + card_samples(card))
    graph, _ = read_model(model_dir / NETWORK_FILE)
    moments = _moments(model, graph, runs)
    rng = np.random.default_rng(seed)
    compiled = _compiled_recurrent if graph.states else _compiled
    chosen = moments[:COMPARED] if graph.states else _some(moments, COMPARED, rng)
    step_error, jacobian_error = compiled(
        model_dir / NETWORK_FILE, graph, chosen[:, : graph.input_size]
    )
    radii = _radii(card, graph, _some(moments, LINEARISED_SAMPLES, rng))
    free = np.vstack([free_run(model, run) - run.outputs for run in runs])
    outputs = np.vstack([run.outputs for run in runs])
    robot = card.robot
    spreads = zip(
        robot.groups, rmse(robot, free), rmse(robot, outputs - outputs.mean(axis=0)), strict=True
    )
    report = ModelReport(
        model_hash=card.model_hash,
        recordings=[run.source for run in runs],
        step_error=step_error,
        jacobian_error=jacobian_error,
        c_agrees=step_error < STEP_TOLERANCE and jacobian_error < JACOBIAN_TOLERANCE,
        layers=_layers(graph, _some(moments, UNIT_SAMPLES, rng)),
        rollouts=[found for samples in HORIZONS for found in _rollouts(model, runs, samples)],
        free_runs=[
            FreeRun(group=group.name, unit=group.unit, error=error, spread=spread)
            for group, error, spread in spreads
        ],
        spectral_radius_median=float(np.median(radii)),
        spectral_radius_max=float(np.max(radii)),
        gain_signs_agree=_gain_signs(model, runs),
        unfit=[],
    )
    return report.model_copy(update={"unfit": reasons(report)})


def reasons(report: ModelReport) -> list[str]:
    """Why the network is unfit, one sentence each."""
    found = []
    if not report.c_agrees:
        found.append(
            f"the compiled C differs from the network: outputs by {report.step_error:.1e}, "
            f"derivatives by {report.jacobian_error:.1e}"
        )
    for layer in report.layers:
        if len(layer.idle) > IDLE_SHARE_MAX * layer.units:
            found.append(f"{len(layer.idle)} of {layer.units} units of {layer.layer} do nothing")
    furthest = max((rollout.samples for rollout in report.rollouts), default=0)
    for far in (rollout for rollout in report.rollouts if rollout.samples == furthest):
        for name, error in (("live", far.live), ("held", far.held)):
            if not error < USEFUL_SHARE * far.standing_still:
                found.append(
                    f"over {far.samples} samples, signals {name}, {far.group} errs by {error:.2f} "
                    f"{far.unit}, no better than standing still ({far.standing_still:.2f})"
                )
    for free in report.free_runs:
        if not free.error < FREE_RUN_SHARE_MAX * free.spread:
            found.append(
                f"the free run of {free.group} is off by {free.error:.2f} {free.unit}, of outputs "
                f"that spread over {free.spread:.2f} {free.unit}"
            )
    if not report.spectral_radius_median < RADIUS_MAX:
        found.append(
            f"its free run is unstable: spectral radius {report.spectral_radius_median:.3f}"
        )
    if report.gain_signs_agree < 1.0:
        found.append(
            f"{100 * (1 - report.gain_signs_agree):.0f} % of its larger gains point the wrong way"
        )
    return found


def _compiled(path: Path, graph: Graph, inputs: np.ndarray) -> tuple[float, float]:
    """Largest error of the C's outputs, and of its derivatives relative to the largest of them."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        compile_model(path, folder, name="fk", jacobian="all")
        build_library([folder / "fk.c"], folder / "fk.so")
        code = HostCode(folder / "fk.so", folder / "fk.h")
        step_errors, jacobian_errors, largest = [], [], []
        for x in inputs.astype(np.float32):
            y, jacobian = code.jacobian(x)
            wanted = graph.jacobian(x)
            step_errors.append(np.max(np.abs(y - graph.evaluate(x))))
            jacobian_errors.append(np.max(np.abs(jacobian - wanted)))
            largest.append(np.max(np.abs(wanted)))
    # np.max, unlike max, does not lose a NaN.
    return float(np.max(step_errors)), float(np.max(jacobian_errors) / np.max(largest))


def _compiled_recurrent(path: Path, graph: Graph, inputs: np.ndarray) -> tuple[float, float]:
    """The same along a sequence, of the derivatives that the solver takes: those of directions that
    are pushed through the cell."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        compile_model(path, folder, name="fk", push=PUSHED)
        build_library([folder / "fk.c"], folder / "fk.so")
        code = HostCode(folder / "fk.so", folder / "fk.h")
        errors = {}
        for case in make_cases(graph, (folder / "fk.h").read_text(), "fk", {}, inputs):
            how = {"resets": case.resets, "state": case.state, **case.inputs}
            found = case.errors(code.run(how.pop("x"), case.short_name, **how))
            errors[case.short_name] = found
    step = float(np.max([*errors.pop("step").values()]))
    return step, float(np.max([value for found in errors.values() for value in found.values()]))


def _moments(model: Model, graph: Graph, runs: Sequence[Recording]) -> np.ndarray:
    """(S, inputs + states), normalised: each window of the runs, and the state before it."""
    found = []
    for run in runs:
        x, _, k = card_windows(model.card, run)
        x = normalised_windows(model.card, x)
        states = np.zeros((len(x), 0))
        if isinstance(model, RecurrentModel):
            states = model.states_before(x, k)
        found.append(np.hstack([x, states]))
    return np.vstack(found)


def _some(rows: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    return rows[rng.choice(len(rows), min(count, len(rows)), replace=False)]


def _layers(graph: Graph, moments: np.ndarray) -> list[Units]:
    """Units of every layer with relu or tanh, watched over `moments` (S, inputs + states)."""
    watched: dict[str, tuple[str, list[np.ndarray]]] = {}
    for moment in moments:
        values, _ = graph.values(*np.split(moment, [graph.input_size]))
        for node in graph.nodes:
            # The activation is an operator of its own or the last act of another.
            name = getattr(getattr(node.op, "activation", node.op), "name", None)
            if name in ("relu", "tanh"):
                seen = watched.setdefault(node.name, (name, []))[1]
                seen.append(values[node.output].ravel())
    found = []
    for layer, (name, seen) in watched.items():
        values = np.array(seen)
        if name == "relu":
            idle = ~np.any(values > 0.0, axis=0)
        else:
            idle = np.mean(np.abs(values) > SATURATED, axis=0) > SATURATED
        numbers = np.flatnonzero(idle).tolist()
        found.append(Units(layer=layer, activation=name, units=values.shape[1], idle=numbers))
    return found


def _rollouts(model: Model, runs: Sequence[Recording], samples: int) -> list[Rollout]:
    robot = model.card.robot

    def errors(held: bool) -> list[float]:
        return rmse(robot, np.vstack([rollouts(model, run, samples, held) for run in runs]))

    still = np.vstack(
        [
            segment.outputs[samples:] - segment.outputs[:-samples]
            for run in runs
            for segment in run.segments()
        ]
    )
    found = zip(robot.groups, errors(False), errors(True), rmse(robot, still), strict=True)
    return [
        Rollout(
            samples=samples,
            group=group.name,
            unit=group.unit,
            live=live,
            held=held,
            standing_still=standing_still,
        )
        for group, live, held, standing_still in found
    ]


def _radii(card: ModelCard, graph: Graph, moments: np.ndarray) -> list[float]:
    """Spectral radius of the linearised free run at each of `moments` (S, inputs + states): from
    the output lags, newest first, and the network's own state to the next ones."""
    n, lags = len(card.output_offset), card.output_columns
    first = card.command_columns
    carried = [*range(first, first + lags), *range(graph.input_size, moments.shape[1])]
    radii = []
    for moment in moments:
        jacobian = graph.full_jacobian(*np.split(moment, [graph.input_size]))[:, carried]
        older = np.eye(len(carried))[: lags - n]
        companion = np.vstack([jacobian[:n], older, jacobian[n:]])
        radii.append(float(np.max(np.abs(np.linalg.eigvals(companion)))))
    return radii


def _gain_signs(model: Model, runs: Sequence[Recording]) -> float:
    """Share of the larger settled gains, at the mean command, with the sign of a linear fit."""
    card, lag = model.card, _gain_lag(model)
    segments = [segment for run in runs for segment in run.segments()]
    commands = np.vstack(
        [card.normalised_command(s.command(card.command_names))[:-lag] for s in segments]
    )
    outputs = np.vstack([card.normalised_output(s.outputs)[lag:] for s in segments])
    terms = np.column_stack([commands, np.ones(len(commands))])
    shown = np.linalg.lstsq(terms, outputs, rcond=None)[0][:-1].T
    m = commands.shape[1]
    learned = np.empty_like(shown)
    for i in range(m):
        step = 0.3 * np.eye(m)[i]
        ends = [_settled(model, commands.mean(axis=0) + sign * step) for sign in (1.0, -1.0)]
        learned[:, i] = ends[0] - ends[1]
    large = np.abs(shown) > GAIN_SHARE * np.max(np.abs(shown), axis=1, keepdims=True)
    if not np.any(large):
        return 0.0  # the recordings show no gain at all
    return float(np.mean(np.sign(shown[large]) == np.sign(learned[large])))


def _gain_lag(model: Model) -> int:
    """Samples after which a command shows in the outputs."""
    card = model.card
    return card.input_delay + card.input_lags + round(0.05 * card.rate_hz)


def _settled(model: Model, command: np.ndarray, settle_s: float = 1.0) -> np.ndarray:
    """Output (n,) after `settle_s` of one command, from the middle, with mean signals; slow means
    of the commands have settled."""
    card = model.card
    n = len(card.output_offset)
    lags = np.zeros(card.output_columns)
    fixed, signals = np.tile(command, card.input_lags), np.zeros(len(card.signal_names))
    beside = np.concatenate([signals, np.tile(command, len(card.memory_s))])
    if isinstance(model, RecurrentModel):
        model.start(np.concatenate([fixed, lags, beside]))
    for _ in range(round(settle_s * card.rate_hz)):
        y = model.step(np.concatenate([fixed, lags, beside]))
        lags = np.concatenate([y, lags[:-n]])
    return lags[:n]
