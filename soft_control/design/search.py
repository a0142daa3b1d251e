"""The search from end to end: designs proposed, screened, the best measured; resumable."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from soft_control.design import sampling
from soft_control.design.front import figures, ranked, worthy
from soft_control.design.measure import Task
from soft_control.design.settings import Budget, Design
from soft_control.design.space import design_of, present
from soft_control.design.study import Finalist, Study, Trial
from soft_control.design.workers import Answer, Job
from soft_control.learning.dataset import live_signals
from soft_control.learning.settings import described_settings
from soft_control.paths import share
from soft_control.robots import said_in

UNTRAINED = 1e9
"""Error of a design beyond the budget, which the sampler ranks by its excess alone."""
Measure = Callable[[Iterable[Job]], Iterator[Answer]]
"""Answers to jobs, in any order."""


@dataclass(frozen=True)
class Stand:
    """Where a search stands."""

    stage: str
    """"screening" or "finalists"."""
    done: int
    total: int
    left_s: float
    """Seconds left of this stage, by how long what was done here took; NaN before anything was."""
    note: str = ""
    """What was found last."""


def about(task: Task) -> dict[str, Any]:
    """What a study is of: with anything else it is not gone on with."""
    return {
        "robot": task.robot.model_dump(mode="json"),
        "recordings": [_digest(run) for run in (*task.training, *task.validation)],
        "rig": task.rig,
        "reference": task.reference,
        "judges": list(task.judges),
        "duration_s": task.duration_s,
        "seed": task.seed,
        "part": task.part,
        "settings": task.settings.model_dump(mode="json", exclude={"finalists"}),
        "budget": task.budget.model_dump(mode="json"),
        "firmware": _firmware_digest(),
    }


def _digest(run: Any) -> str:
    """Of a recording's numbers."""
    digest = hashlib.sha256()
    for values in (run.t_s, run.commands, run.outputs, run.signals):
        digest.update(values.tobytes())
    return digest.hexdigest()[:16]


def _firmware_digest() -> str:
    """Of the firmware's sources: others cost otherwise."""
    folder, digest = share() / "firmware", hashlib.sha256()
    for path in sorted(folder.rglob("*.[ch]")):
        digest.update(f"{path.relative_to(folder)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def search(
    task: Task,
    study: Study,
    trials: int,
    measure: Measure,
    progress: Callable[[Stand], None] = lambda stand: None,
) -> None:
    """Fills `study`: `trials` designs screened, those that may be on the front measured.

    What is in it already is not done again. Same task, same machine: same study, whatever the
    number of workers, and wherever an earlier process was killed.
    """
    signals = bool(live_signals(task.training))
    delay = described_settings(task.robot, said_in(task.robot)).input_delay
    space = sampling.distributions(task.settings, signals)
    clock = _Clock("screening", trials, len(study.trials), progress)
    batch = task.settings.batch
    for first in range(0, trials, batch):
        count = min(batch, trials - first)
        told = [_told(study.trials[n], task.budget) for n in range(1, first)]
        points = sampling.propose(space, told, count, task.seed, first)
        proposed = {
            first + i: (values, design_of(values, delay)) for i, values in enumerate(points)
        }
        if first == 0:
            proposed[0] = ({}, present(task.robot, signals))
        _screen(study, proposed, measure, clock)
    jobs = [
        Job(trial.number, trial.design, task.out / "designs" / trial.name)
        for trial in finalists(study, task)
    ]
    open_jobs = [job for job in jobs if job.number not in study.finalists]
    clock = _Clock("finalists", len(jobs), len(jobs) - len(open_jobs), progress)
    for answer in measure(open_jobs):
        study.add(Finalist(number=answer.job.number, final=answer.found, failed=answer.failed))
        said = f"{answer.found.error:.2f}" if answer.found else answer.failed
        clock.step(f"d{answer.job.number:03d}: {said}")


def _screen(
    study: Study,
    proposed: dict[int, tuple[dict[str, Any], Design]],
    measure: Measure,
    clock: _Clock,
) -> None:
    """Screens what of a batch is not in the study, each design once."""
    known = {trial.design: trial for trial in study.trials.values()}
    jobs: dict[Design, Job] = {}
    for number, (_, design) in proposed.items():
        if number not in study.trials and design not in known:
            jobs.setdefault(design, Job(number, design))

    def keep(number: int, found: Any, failed: str) -> None:
        values, design = proposed[number]
        trial = Trial(number=number, values=values, design=design, screened=found, failed=failed)
        study.add(trial)
        known[design] = trial
        clock.step(f"{trial.name}: {_news(trial)}")

    for answer in measure(jobs.values()):
        keep(answer.job.number, answer.found, answer.failed)
    for number, (_, design) in proposed.items():
        if number not in study.trials:
            keep(number, known[design].screened, known[design].failed)


def _news(trial: Trial) -> str:
    if trial.screened is None:
        return trial.failed
    error = trial.screened.error
    return "beyond the budget" if error is None else f"{error:.2f}"


def _told(trial: Trial, budget: Budget) -> sampling.Told:
    if trial.screened is None:
        return sampling.Told(trial.values, None, {})
    costs = trial.screened.costs
    error = UNTRAINED if trial.screened.error is None else trial.screened.error
    objectives = (error, float(costs.instructions), float(costs.flash_bytes))
    return sampling.Told(trial.values, objectives, budget.excess(costs))


def finalists(study: Study, task: Task) -> list[Trial]:
    """Of those within the budget as many as asked for that may be on the front, by what the
    screening found; and last the present design."""
    distinct = {trial.design: trial for _, trial in sorted(study.trials.items(), reverse=True)}
    within = [
        (trial, figures(trial.screened.error, trial.screened.costs))
        for trial in distinct.values()
        if trial.screened and not task.budget.beyond(trial.screened.costs)
    ]
    chosen = sorted(ranked(worthy(within), task.settings.finalists), key=lambda t: t.number)
    return [*(trial for trial in chosen if trial.number), study.trials[0]]


class _Clock:
    """Tells how far a stage is."""

    def __init__(
        self, stage: str, total: int, done: int, progress: Callable[[Stand], None]
    ) -> None:
        self._stand = Stand(stage, min(done, total), total, math.nan)
        self._begun, self._before, self._progress = time.monotonic(), done, progress
        progress(self._stand)

    def step(self, note: str) -> None:
        done = self._stand.done + 1
        each = (time.monotonic() - self._begun) / (done - self._before)
        left = each * (self._stand.total - done)
        self._stand = replace(self._stand, done=done, left_s=left, note=note)
        self._progress(self._stand)
