"""The paper's benchmark: MPC against an optimiser-tuned PID on the mass-spring-damper.

Everything is declared in config/msd_benchmark.yaml. The network is learned from the rig's own
recorded data, the MPC is the firmware's solver built for this machine, and both controllers are
tuned by the same optimiser with the same score on the same references within the same bounds; the
figures come from noise that no tuning has seen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import matplotlib
import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from soft_control import paths
from soft_control.benchmarks import step_response
from soft_control.benchmarks.host_solver import HostSolver, SolverLoop, sizes_of
from soft_control.benchmarks.pages import write_page
from soft_control.benchmarks.step_response import StepFigures
from soft_control.experiment.closed_loop import (
    Controller,
    ModelController,
    PidController,
    Trace,
    record,
    run,
)
from soft_control.experiment.node_parameters import mpc_settings
from soft_control.experiment.settings import Experiment
from soft_control.experiment.setup import reference_curve
from soft_control.experiment.tuning import Found, Range, pid_config, search, tune_pid
from soft_control.learning.model import NETWORK_FILE, Model, load_model
from soft_control.learning.training import TrainingSettings, train
from soft_control.plain_text import first_fault
from soft_control.rigs import make_rig
from soft_control.robots.config_files import read_yaml

matplotlib.use("Agg")  # files only, no display
from matplotlib import pyplot as plt  # noqa: E402  the backend must be chosen first

RIG = "mass_spring_damper"
AXIS = 0  # x, along which the mass moves
SHOWN_S = {"step": (0.6, 2.0), "multi_level": (3.6, 6.8)}
"""Of each run, in the figure: a few steps of the reference, large enough to be told apart."""
COLOURS = {"MPC": "#0b6bb8", "MPC with preview": "#3d8f45", "PID": "#d9711a"}
MPC_SPACE = {
    "move_weight": Range(1e-3, 10.0, log=True),
    "terminal": Range(0.1, 30.0, log=True),
    "offset_gain": Range(5e-3, 0.5, log=True),
    "output_gain": Range(0.05, 1.0),
}
"""move_weight in 1/N²; terminal: weight of the horizon's last sample over that of the others."""
PREVIEWS = {"MPC": False, "MPC with preview": True}
"""Whether each of them knows the reference over its horizon."""
MPC_START = {"move_weight": 0.1, "terminal": 1.0, "offset_gain": 0.1, "output_gain": 0.7}

Progress = Callable[[str, int, int], None]
"""What is being done, steps done, steps in all."""


Positive = Annotated[float, Field(gt=0.0)]
Trials = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


class RecordSettings(_Strict):
    """The recordings that the network learns from."""

    seeds: Annotated[list[Seed], Field(min_length=2)]
    """One run each; the last one validates."""
    duration_s: Positive
    """Length of each run."""


class TuningSettings(_Strict):
    """The search for the parameters of each controller, on the nominal rig."""

    overshoot_weight: Annotated[float, Field(ge=0.0)]
    """Score = RMSE, mm, + this x mean overshoot, %."""
    pid_trials: Trials
    """Points that the optimiser tries for the PID."""
    mpc_trials: Trials
    """The same for each MPC."""
    seed: Seed
    """Of the search and of the rig's noise in it."""


class Benchmark(_Strict):
    """All that `softctl benchmark msd` runs."""

    rate_hz: Positive
    """Control rate."""
    record: RecordSettings
    """Recordings to learn from."""
    training: dict[str, Any]
    """As `softctl train --settings`."""
    references: dict[str, Positive]
    """Shape: for how long it is followed, s."""
    tuning: TuningSettings
    """How both controllers are tuned."""
    evaluation_seeds: Annotated[list[Seed], Field(min_length=1)]
    """Of the rig's noise in the runs that are measured."""

    @model_validator(mode="after")
    def _can_be_done(self) -> Benchmark:
        try:
            self.training_settings()
        except ValidationError as error:
            raise ValueError(f"training: {first_fault(error)}") from None
        for shape in sorted(self.references.keys() - SHOWN_S.keys()):
            raise ValueError(f"references: {shape}: choose from {', '.join(SHOWN_S)}")
        return self

    def training_settings(self) -> TrainingSettings:
        """How the network is trained."""
        return TrainingSettings.model_validate(
            self.training | {"rig": RIG, "rate_hz": self.rate_hz}
        )


class Result(BaseModel):
    """What was measured."""

    figures: dict[str, dict[str, dict[str, float]]]
    """By reference and controller: fields of StepFigures."""
    pid: dict[str, Any]
    """Parameters of the pid node."""
    mpc: dict[str, dict[str, float]]
    """Values of MPC_SPACE by controller."""
    scores: dict[str, float]
    """Of each controller on the tuning seed."""
    free_run_mm: float
    model_hash: str

    def mpc_wins(self, controller: str = "MPC") -> bool:
        """Whether it beats the PID in RMSE, rise time and overshoot, on every reference."""
        keys = ("rmse_mm", "rise_s", "overshoot_percent")
        return all(
            rows[controller][key] < rows["PID"][key]
            for rows in self.figures.values()
            for key in keys
        )


def load_benchmark(path: Path | None = None) -> Benchmark:
    """config/msd_benchmark.yaml or another file. Raises ValueError for what it cannot mean."""
    path = path or paths.config("msd_benchmark")
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    try:
        return Benchmark.model_validate(read_yaml(path))
    except ValidationError as error:
        raise ValueError(f"{path}: {first_fault(error)}") from None


def carry_out(benchmark: Benchmark, work: Path, out: Path, progress: Progress) -> Result:
    """Record, train, tune and measure; writes OUT/msd_benchmark.md, .svg and .json, the Result.

    WORK takes the model and what is compiled.
    """
    loops = _Loops(_learn(benchmark, work / "model", progress), benchmark, work)
    pid, found_pid = loops.tune_pid(progress)
    found = {name: loops.tune_mpc(name, progress) for name in PREVIEWS}
    mpc = {name: f.values for name, f in found.items()}
    traces = loops.follow_all(pid, mpc)
    result = Result(
        figures=loops.all_figures(traces),
        pid=pid,
        mpc=mpc,
        scores={"PID": found_pid.score} | {name: f.score for name, f in found.items()},
        free_run_mm=loops.model.card.metrics[0].free_run,
        model_hash=loops.model.card.model_hash,
    )
    out.mkdir(parents=True, exist_ok=True)
    (out / "msd_benchmark.json").write_text(result.model_dump_json(indent=2) + "\n")
    first = {shape: {name: t[0] for name, t in rows.items()} for shape, rows in traces.items()}
    _draw(first, loops.rig().command_max[0], out / "msd_benchmark.svg")
    write_page(
        out,
        "msd_benchmark",
        benchmark=benchmark,
        result=result,
        pid=_numbers(pid),
        horizon=loops.horizon,
    )
    return result


def measure(benchmark: Benchmark, work: Path, tuned: Result) -> Result:
    """The figures of the controllers that `tuned` found, with the model that is learned anew."""
    loops = _Loops(_learn(benchmark, work / "model", lambda *_: None), benchmark, work)
    card = loops.model.card
    return tuned.model_copy(
        update={
            "figures": loops.all_figures(loops.follow_all(tuned.pid, tuned.mpc)),
            "free_run_mm": card.metrics[0].free_run,
            "model_hash": card.model_hash,
        }
    )


def _learn(benchmark: Benchmark, folder: Path, progress: Progress) -> Model:
    """The network of the rig's own recordings, in `folder`."""
    runs = []
    for i, seed in enumerate(benchmark.record.seeds):
        progress("recording", i, len(benchmark.record.seeds))
        runs.append(record(RIG, seed, benchmark.record.duration_s, benchmark.rate_hz))
    train(
        runs[:-1],
        runs[-1:],
        benchmark.training_settings(),
        folder,
        lambda p: progress(f"training, {p.stage}", p.update, p.updates),
    )
    return load_model(folder)


class _Loops:
    """The rig under one controller or another."""

    def __init__(self, model: Model, benchmark: Benchmark, work: Path) -> None:
        self.model, self.benchmark = model, benchmark
        self._settings = mpc_settings(RIG)
        self.horizon = self._settings.horizon
        solver = HostSolver(
            work / "model" / NETWORK_FILE,
            sizes_of(model.card, self._settings),
            work / "solver",
            iterations=self._settings.iterations,
        )
        self._loop = SolverLoop(model, self._settings, solver)

    def rig(self, seed: int | None = None):
        return make_rig(RIG, seed=self.benchmark.tuning.seed if seed is None else seed)

    def reference(self, shape: str) -> Callable[[np.ndarray], np.ndarray]:
        return reference_curve(Experiment(rig=RIG, reference=shape), self.model.card).values

    def mpc(self, values: dict[str, float], preview: bool) -> ModelController:
        settings = self._settings.model_copy(update={"move_weight": [values["move_weight"]]})
        return self._loop.controller(
            settings,
            offset_gain=values["offset_gain"],
            output_gain=values["output_gain"],
            preview=preview,
            terminal=values["terminal"],
        )

    def follow(self, shape: str, controller: Controller, seed: int) -> Trace:
        length = self.benchmark.references[shape]
        return run(
            self.rig(seed), controller, self.reference(shape), self.benchmark.rate_hz, length
        )

    def figures(self, trace: Trace) -> StepFigures:
        return step_response.figures(trace, AXIS, self.horizon / self.benchmark.rate_hz)

    def score(self, trace: Trace) -> float:
        """What both controllers are tuned for."""
        found = self.figures(trace)
        return found.rmse_mm + self.benchmark.tuning.overshoot_weight * found.overshoot_percent

    def tune_pid(self, progress: Progress) -> tuple[dict[str, Any], Found]:
        tuning = self.benchmark.tuning
        return tune_pid(
            RIG,
            [(self.reference(s), length) for s, length in self.benchmark.references.items()],
            self.benchmark.rate_hz,
            tuning.pid_trials,
            tuning.seed,
            gains=(1.0,),
            score=self.score,
            progress=lambda made, best: progress(
                f"tuning PID, score {best:.3f}", made, tuning.pid_trials
            ),
        )

    def follow_all(
        self, pid: dict[str, Any], mpc: dict[str, dict[str, float]]
    ) -> dict[str, dict[str, list[Trace]]]:
        """By reference and controller: a run a seed that no tuning has seen."""

        def make(name: str) -> Controller:
            if name == "PID":
                return PidController(pid_config(pid, self.rig()), self.benchmark.rate_hz)
            return self.mpc(mpc[name], PREVIEWS[name])

        seeds = self.benchmark.evaluation_seeds
        return {
            shape: {
                name: [self.follow(shape, make(name), seed) for seed in seeds] for name in COLOURS
            }
            for shape in self.benchmark.references
        }

    def all_figures(
        self, traces: dict[str, dict[str, list[Trace]]]
    ) -> dict[str, dict[str, dict[str, float]]]:
        """Means over the seeds."""
        return {
            shape: {
                name: asdict(step_response.mean([self.figures(t) for t in several]))
                for name, several in rows.items()
            }
            for shape, rows in traces.items()
        }

    def tune_mpc(self, name: str, progress: Progress) -> Found:
        tuning = self.benchmark.tuning

        def mean_score(values: dict[str, float]) -> float:
            runs = [
                self.follow(shape, self.mpc(values, PREVIEWS[name]), tuning.seed)
                for shape in self.benchmark.references
            ]
            return float(np.mean([self.score(trace) for trace in runs]))

        return search(
            MPC_SPACE,
            mean_score,
            tuning.mpc_trials,
            tuning.seed,
            MPC_START,
            lambda made, best: progress(
                f"tuning {name}, score {best:.3f}", made, tuning.mpc_trials
            ),
        )


def _draw(traces: dict[str, dict[str, Trace]], force_max: float, path: Path) -> None:
    """Position and force over time, a column a reference."""
    from soft_control.experiment.figures import STYLE

    # Text as text, and no points that a line within a pixel passes anyway: a third of the bytes.
    small = {"svg.fonttype": "none", "path.simplify": True, "path.simplify_threshold": 1.0}
    with plt.rc_context(STYLE | small):
        figure, rows = plt.subplots(
            2, len(traces), figsize=(11, 5.2), height_ratios=(3, 2), squeeze=False
        )
        for column, (shape, by_name) in enumerate(traces.items()):
            position, force = rows[:, column]
            for name, trace in by_name.items():
                first, last = SHOWN_S.get(shape, (0.0, np.inf))
                shown = (trace.t_s >= first) & (trace.t_s <= last)
                t_s, style = trace.t_s[shown], {"color": COLOURS[name], "lw": 1.1}
                position.plot(t_s, 1e3 * trace.outputs[shown, AXIS], label=name, **style)
                force.step(t_s, trace.commands[shown, 0], where="post", **style)
            wanted = 1e3 * trace.reference[shown, AXIS]
            position.plot(t_s, wanted, "k--", lw=1.0, zorder=1, label="reference")
            for limit in (-force_max, force_max):
                force.axhline(limit, color="#a33", lw=1.0, ls=":")
            position.set(title=shape.replace("_", " "), ylabel="x, mm")
            force.set(xlabel="time, s", ylabel="force, N")
        rows[0, 0].legend(loc="lower right")
        figure.savefig(path, bbox_inches="tight", metadata={"Date": None})
        plt.close(figure)


def _numbers(parameters: dict[str, Any]) -> dict[str, float]:
    """Parameters of the pid node of one command, but for its decoupling, as plain numbers."""
    return {
        key: value[0] if isinstance(value, list) else value
        for key, value in parameters.items()
        if key != "decoupling"
    }
