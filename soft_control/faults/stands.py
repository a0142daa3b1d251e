"""Where faults are tried: the table of stands, and what a campaign makes for them once."""

from __future__ import annotations

import contextlib
import importlib.util
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from soft_control.faults import graph_stand, pil_stand, session_stand, sil_stand
from soft_control.faults.fault import Fault, Supervised
from soft_control.faults.outcome import Outcome
from soft_control.faults.preparation import prepare
from soft_control.faults.sil import Bench
from soft_control.learning.card import load_card
from soft_control.rigs import check_rig

CHECKS = {
    "sil": sil_stand.check,
    "pil": pil_stand.check,
    "session": session_stand.check,
    "graph": graph_stand.check,
}


def check(fault: Fault) -> None:
    """Raises ValueError where its stand knows no such fault."""
    CHECKS[fault.stand](fault)


def _boards(fault: Fault) -> tuple[str, ...]:
    """That a firmware is needed for."""
    if fault.stand == "pil":
        return ("host", pil_stand.board_of(fault))
    return ("host", pil_stand.BOARD) if fault.stand == "graph" else ("host",)


class Stands:
    """Tries faults of one model; what they share is built once."""

    def __init__(self, model: Path, rig: str, folder: Path) -> None:
        self._model, self._rig, self._folder = model, rig, folder
        self._benches: dict[str, Bench] = {}
        self._tried = 0

    def try_fault(self, fault: Fault, changes: Supervised) -> Outcome:
        """Its outcome. Raises BuildError, ModelError, and ValueError for what cannot be tried."""
        bench = self._bench(fault, changes)
        self._tried += 1
        folder = self._folder / f"trial_{self._tried}"
        folder.mkdir()
        begun_s = time.monotonic()
        if fault.stand == "pil":
            outcome = pil_stand.try_fault(bench, fault, folder)
        elif fault.stand == "graph":
            if importlib.util.find_spec("rclpy") is None:
                raise ValueError(
                    "faults of whole runs need ROS 2: pip install soft_control[ros], or leave them "
                    "out by --stand sil,pil,session"
                )
            outcome = graph_stand.try_fault(bench, fault, folder)
        elif fault.stand == "session":
            outcome = session_stand.try_fault(bench, fault)
        else:
            outcome = sil_stand.try_fault(bench, fault)
        outcome.took_s = time.monotonic() - begun_s
        return outcome

    def _bench(self, fault: Fault, changes: Supervised) -> Bench:
        boards = _boards(fault)
        key = f"{boards} {changes.model_dump_json()}"
        if key not in self._benches:
            folder = self._folder / f"bench_{len(self._benches)}"
            folder.mkdir()
            rig = self._rig or load_card(self._model).robot.name
            self._benches[key] = prepare(self._model, changes, check_rig(rig), folder, boards)
        return self._benches[key]


@contextlib.contextmanager
def stands(model: Path, rig: str) -> Iterator[Stands]:
    """Stands for faults of that model with that rig; nothing of them is left."""
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        yield Stands(model, rig, Path(folder))
