"""Where faults are tried: the table of stands, and what a campaign makes for them once."""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from soft_control.faults import graph_stand, pil_stand, session_stand, sil_stand
from soft_control.faults.fault import Fault, Supervised
from soft_control.faults.once import Once
from soft_control.faults.outcome import Outcome
from soft_control.faults.preparation import prepare
from soft_control.faults.processes import kill_all
from soft_control.faults.sil import Bench
from soft_control.learning.card import load_card
from soft_control.rigs import check_rig

CHECKS = {
    "graph": graph_stand.check,
    "pil": pil_stand.check,
    "session": session_stand.check,
    "sil": sil_stand.check,
}
"""The slowest first: a campaign ends when its last fault does."""
Chosen = tuple[Fault, Supervised]
"""A fault, and what its file changes in the robot."""


def check(fault: Fault) -> None:
    """Raises ValueError where its stand knows no such fault."""
    CHECKS[fault.stand](fault)


def at_once() -> int:
    """How many faults are tried at once: one more than there are processors, for runs that start or
    end also wait."""
    return len(os.sched_getaffinity(0)) + 1


def _board(fault: Fault) -> str:
    """That a firmware is needed for."""
    if fault.stand == "pil":
        return pil_stand.board_of(fault)
    return graph_stand.board_of(fault) if fault.stand == "graph" else "host"


class Stands:
    """Tries faults of one model; what they share is built once."""

    def __init__(self, model: Path, rig: str, folder: Path) -> None:
        self._model, self._rig, self._folder = model, rig, folder
        self._benches = Once()
        self._numbers = itertools.count(1)

    def try_fault(self, fault: Fault, changes: Supervised) -> Outcome:
        """Its outcome. Raises BuildError, ModelError, and ValueError for what cannot be tried."""
        return self._try([(fault, changes)])[0]

    @contextlib.contextmanager
    def trying(
        self, chosen: Sequence[Chosen], jobs: int
    ) -> Iterator[dict[str, Callable[[], Outcome]]]:
        """Tries all of them, so many at once, while the context lasts. By the name of each fault,
        in the order in which they begin, what waits for its outcome; raises as `try_fault`."""
        pool = ThreadPoolExecutor(jobs, thread_name_prefix="fault")
        waiting: dict[str, Callable[[], Outcome]] = {}
        try:
            for group in _groups(chosen):
                tried = pool.submit(self._try, group)
                for i, (fault, _) in enumerate(group):
                    waiting[fault.name] = _one_of(tried, i)
            yield waiting
        except BaseException:
            kill_all()  # nobody waits for the end of runs whose outcome nobody wants
            raise
        finally:
            pool.shutdown(cancel_futures=True)

    def _try(self, group: Sequence[Chosen]) -> list[Outcome]:
        """Of faults that share a run, or of one; one after another where a shared run is not as
        expected, for then it does not say which of them it is."""
        (fault, changes), *others = group
        begun_s = time.monotonic()
        bench = self._bench(fault, changes)
        folder = self._folder / f"trial_{next(self._numbers)}"
        folder.mkdir()
        if fault.stand == "pil":
            outcomes = [pil_stand.try_fault(bench, fault, folder)]
        elif fault.stand == "graph":
            if importlib.util.find_spec("rclpy") is None:
                raise ValueError(
                    "faults of whole runs need ROS 2: pip install soft_control[ros], or leave them "
                    "out by --stand sil,pil,session"
                )
            outcomes = graph_stand.try_together(bench, [one for one, _ in group], folder)
        elif fault.stand == "session":
            outcomes = [session_stand.try_fault(bench, fault)]
        else:
            outcomes = [sil_stand.try_fault(bench, fault)]
        if others and not all(outcome.passed for outcome in outcomes):
            return [self.try_fault(*one) for one in group]
        for outcome in outcomes:
            outcome.took_s = (time.monotonic() - begun_s) / len(group)
        return outcomes

    def _bench(self, fault: Fault, changes: Supervised) -> Bench:
        board = _board(fault)

        def make() -> Bench:
            folder = self._folder / f"bench_{next(self._numbers)}"
            folder.mkdir()
            rig = self._rig or load_card(self._model).robot.name
            return prepare(self._model, changes, check_rig(rig), folder, (board,))

        return self._benches((board, changes.model_dump_json()), make)


def _groups(chosen: Sequence[Chosen]) -> list[list[Chosen]]:
    """Faults that are tried together, those of slow stands and large groups first."""
    groups: dict[object, list[Chosen]] = {}
    for fault, changes in chosen:
        shared = graph_stand.shared_run(fault) if fault.stand == "graph" else None
        key = (shared, changes.model_dump_json()) if shared else fault.name
        groups.setdefault(key, []).append((fault, changes))
    order = list(CHECKS)
    return sorted(groups.values(), key=lambda group: (order.index(group[0][0].stand), -len(group)))


def _one_of(tried: Future[list[Outcome]], i: int) -> Callable[[], Outcome]:
    return lambda: tried.result()[i]


@contextlib.contextmanager
def stands(model: Path, rig: str) -> Iterator[Stands]:
    """Stands for faults of that model with that rig; nothing of them is left."""
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        yield Stands(model, rig, Path(folder))
