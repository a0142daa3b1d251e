"""A search whose measurements are made up. Run as a program it is slow, and waits to be killed:

python made_up.py OUT
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from soft_control.design.measure import Final, Screened, Task
from soft_control.design.search import about, search
from soft_control.design.settings import Budget, Costs, Design, DesignSettings
from soft_control.design.study import Study
from soft_control.design.workers import Answer, Job
from soft_control.learning.recording import Recording
from soft_control.rigs import describe

BUDGET = Budget(instructions=15_000)
TRIALS = 7
RIG = "mass_spring_damper"


def made_up_run() -> Recording:
    """Half a second in which everything moves; nobody learns from it."""
    robot = describe(RIG)
    moves = np.linspace(0.0, 1.0, 25)[:, None]
    return Recording(
        source="made up",
        t_s=np.arange(25) / robot.rate_hz,
        commands=moves,
        outputs=moves,
        signals=np.hstack([moves, moves]),
        reference=None,
        command_names=robot.command_names,
        output_names=robot.output_names,
        signal_names=robot.signal_names,
        robot=robot,
    )


def made_up_task(out: Path, budget: Budget = BUDGET, **settings: Any) -> Task:
    """A search that `Made` measures."""
    run = made_up_run()
    return Task(
        robot=run.robot,
        training=(run,),
        validation=(run,),
        rig=RIG,
        reference="figure_eight",
        judges=("pringle",),
        duration_s=20.0,
        seed=3,
        part="stm32f405",
        settings=DesignSettings(**{"batch": 2, "finalists": 3, **settings}),
        budget=budget,
        out=out,
    )


def made_up_costs(design: Design) -> Costs:
    """Dearer with every unit and every sample of the horizon."""
    instructions = 100 * sum(design.hidden) * design.horizon
    return Costs(
        flash_bytes=20_000 + 100 * sum(design.hidden),
        ram_bytes=20_000,
        instructions=instructions,
        instructions_max=instructions + 100,
        power_mw=5.0 + instructions / 1e4,
    )


class Made:
    """Measures nothing: better with every unit, as long as nothing is different from that. Keeps
    what it was asked."""

    def __init__(self, each_s: float = 0.0) -> None:
        self.jobs: list[Job] = []
        self._each_s = each_s

    def __call__(self, jobs: Iterable[Job]) -> Iterator[Answer]:
        for job in list(jobs):
            time.sleep(self._each_s)
            self.jobs.append(job)
            yield self.answer(job)

    def answer(self, job: Job) -> Answer:
        error = 0.5 + 10.0 / sum(job.design.hidden) + 1.0 / job.design.horizon
        costs = made_up_costs(job.design)
        if job.folder is None:
            error = None if BUDGET.beyond(costs) else error
            return Answer(job, Screened(error=error, costs=costs))
        final = Final(
            error=error, worst=2 * error, error_of_judges=error, costs=costs,
            model_hash="0" * 16, build_id="0" * 16,
        )  # fmt: skip
        return Answer(job, final)


def carry_out(
    out: Path, measure: Made | None = None, trials: int = TRIALS, budget: Budget = BUDGET
) -> tuple[Task, Study]:
    """A search from its study file on, to its end."""
    task = made_up_task(out, budget)
    with Study(out, about(task)) as study:
        search(task, study, trials, measure or Made())
    return task, study


if __name__ == "__main__":
    carry_out(Path(sys.argv[1]), Made(each_s=0.2))
