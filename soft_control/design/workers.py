"""Processes that measure designs, one a core: TensorFlow is imported in each once.

They take a job at a time from a pipe and end with this process, however that ends. What they and
the libraries print goes to a file.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path

from soft_control.design.measure import Final, Screened, Task, finalise, screen
from soft_control.design.settings import Design
from soft_control.plain_text import one_line
from soft_control.processes import PARENT, end_with_parent

LOG_FILE = "workers.log"
ONE_THREAD = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1", "OMP_NUM_THREADS": "1"}
"""Each worker has a core of its own; and sums must not depend on how many there are."""


@dataclass(frozen=True)
class Job:
    """What is to be measured."""

    number: int
    design: Design
    folder: Path | None = None
    """Trained in full, and kept there; None: screened."""


@dataclass(frozen=True)
class Answer:
    """What came of a job."""

    job: Job
    found: Screened | Final | None
    failed: str = ""
    """Why nothing was found, in one line."""


def carry_out(task: Task, job: Job) -> Answer:
    """The job, here and now. A design that cannot be trained, built or run is an answer, too."""
    try:
        if job.folder is None:
            return Answer(job, screen(task, job.design))
        return Answer(job, finalise(task, job.design, job.folder))
    except (ValueError, RuntimeError) as error:
        return Answer(job, None, one_line(str(error)) or type(error).__name__)


class Workers:
    """As many processes as asked for; they start with the first jobs."""

    def __init__(self, count: int, task: Task) -> None:
        self._count, self._task = count, task
        self._context = multiprocessing.get_context("spawn")
        self._running: list[tuple[multiprocessing.process.BaseProcess, Connection]] = []

    def __call__(self, jobs: Iterable[Job]) -> Iterator[Answer]:
        """Answers as they come. Raises RuntimeError where a worker has died."""
        waiting, busy = list(jobs), 0
        while len(self._running) < min(self._count, len(waiting)):
            self._start()
        for _, line in self._running:
            if waiting:
                self._send(line, waiting.pop(0))
                busy += 1
        while busy:
            for line in wait([line for _, line in self._running]):
                try:
                    answer = line.recv()
                except (EOFError, OSError):
                    raise RuntimeError(self._died(line)) from None
                busy -= 1
                if waiting:
                    self._send(line, waiting.pop(0))
                    busy += 1
                yield answer

    def close(self) -> None:
        """Ends all, whatever they are at; a second call does nothing."""
        for process, line in self._running:
            process.kill()
            process.join()
            line.close()
        self._running = []

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self) -> None:
        ours, theirs = self._context.Pipe()
        log = self._task.out / LOG_FILE
        process = self._context.Process(
            target=_work, args=(theirs, self._task, log, os.getpid()), daemon=True
        )
        process.start()
        theirs.close()
        self._running.append((process, ours))

    def _send(self, line: Connection, job: Job) -> None:
        try:
            line.send(job)
        except OSError:
            raise RuntimeError(self._died(line)) from None

    def _died(self, line: Connection) -> str:
        process = next(process for process, other in self._running if other is line)
        process.join(1.0)
        return (
            f"a worker ended with exit code {process.exitcode} (what it said: "
            f"{self._task.out / LOG_FILE}); the same command goes on where this one stopped"
        )


def _work(line: Connection, task: Task, log: Path, parent: int) -> None:
    """A worker's life."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, who ends us
    os.environ[PARENT] = str(parent)
    end_with_parent(signal.SIGKILL)
    os.environ.update(ONE_THREAD)
    sys.stdout.flush()
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    while True:
        try:
            job = line.recv()
        except EOFError:
            return
        line.send(carry_out(task, job))
