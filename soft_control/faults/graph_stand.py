"""Faults tried on all processes of `softctl run`: signals to nodes, and storage that is none.

In lockstep a run in which a process stood still is the same run, to the last bit.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import time
from pathlib import Path
from typing import Literal

from soft_control.experiment.bag_recovery import recover
from soft_control.faults.fault import Fault, check_settings
from soft_control.faults.outcome import Loss, Outcome
from soft_control.faults.processes import descendants, left_behind, softctl
from soft_control.faults.sil import Bench
from soft_control.learning.recording import RecordingError
from soft_control.rigs.parameters import Strict

UNDER_WAY_BYTES = 20_000
"""Of the bag, when a fault may come."""
START_S, END_S, GONE_S = 120.0, 180.0, 30.0
"""Patience with a run that starts, with one that ends, and with its processes."""
LONG_S = 600.0
"""A run that the fault has to end."""


class Graph(Strict):
    """The run, beside what a fault does to it."""

    rig: str = ""
    """Another one than that of the model, which then takes no part; its controller needs none."""
    controller: str = "mpc"
    wiring: Literal["host", "mcu"] = "host"
    clock: Literal["lockstep", "realtime"] = "lockstep"
    target: Literal["sil", "pil"] = "sil"
    duration_s: float = 8.0
    visual: bool = False
    """Whether the node that says what viewers draw takes part."""

    def arguments(self, bench: Bench) -> list[object]:
        """Of `softctl run`."""
        rig: list[object] = ["--rig", self.rig or bench.rig]
        if not self.rig:
            rig += ["--model", bench.model, "--firmware", bench.build.directory]
        if self.visual:
            rig.append("--visual")
        return [
            *rig, "--controller", self.controller, "--target", self.target, "--clock", self.clock,
            "--wiring", self.wiring, "--duration-s", self.duration_s,
        ]  # fmt: skip


class Killed(Graph):
    """A process is killed, as by a crash or for want of memory."""

    duration_s: float = LONG_S


class Interrupted(Killed):
    """Somebody types Ctrl-C."""


class Stopped(Graph):
    """A process stands still for a while, and goes on."""


class StorageSlow(Graph):
    """Each write takes a long time: whoever writes stands still for most of it."""

    share: float = 0.8
    """Of the time."""


class StorageFull(Killed):
    """No file may grow any more."""


class StorageReadOnly(Graph):
    """The run is to be written where nothing can be."""


KINDS: dict[str, type[Graph]] = {
    "killed": Killed,
    "interrupted": Interrupted,
    "stopped": Stopped,
    "storage_slow": StorageSlow,
    "storage_full": StorageFull,
    "storage_read_only": StorageReadOnly,
}
"""By the name that a fault has for them; `where` is a node, or softctl."""


def check(fault: Fault) -> None:
    """Raises ValueError where this stand knows no such fault."""
    check_settings(fault, KINDS)
    if fault.what in ("killed", "stopped") and not fault.where:
        raise ValueError("where is missing: a node, or softctl")


class _Trial:
    """One run of `softctl run`."""

    def __init__(self, bench: Bench, fault: Fault, folder: Path) -> None:
        self.bench, self.fault = bench, fault
        self.run = KINDS[fault.what].model_validate(fault.settings)
        self.out = folder / "run"
        self.outcome = Outcome(fault)

    def start(self, out: Path) -> subprocess.Popen:
        return softctl("run", "--out", out, *self.run.arguments(self.bench))

    def try_(self) -> None:
        fault = self.fault
        out = Path("/proc/soft_control_run") if fault.what == "storage_read_only" else self.out
        process = self.start(out)
        below: dict[str, int] = {}
        try:
            if fault.what != "storage_read_only" and self.is_under_way(process):
                below = descendants(process.pid)
                self.disturb(process, below | {"softctl": process.pid})
            self.outcome.said, _ = process.communicate(timeout=END_S)
        except subprocess.TimeoutExpired:
            self.outcome.failures.append(f"the run did not end within {END_S:g} s")
        except ProcessLookupError:
            self.outcome.failures.append("the run was over before the fault: try a longer one")
        finally:
            process.kill()  # its nodes go with it
            process.wait()
        self.outcome.said = " ".join(self.outcome.said.split())
        left = left_behind(list(below.values()), GONE_S)
        names = [name for name, pid in below.items() if pid in left]
        self.outcome.fail_unless(not left, f"left behind: {', '.join(names)}")
        wanted = fault.expect.exit_code
        self.outcome.fail_unless(
            wanted is None or process.returncode == wanted,
            f"exit code {process.returncode}, not {wanted}: {self.outcome.said[-200:]}",
        )
        self.judge()

    def is_under_way(self, process: subprocess.Popen) -> bool:
        """When its bag has something; False, and noted, where that does not come about."""
        bag = self.out / "bag" / "bag.mcap"
        deadline = time.monotonic() + START_S
        while not (bag.exists() and bag.stat().st_size > UNDER_WAY_BYTES):
            if process.poll() is not None or time.monotonic() > deadline:
                self.outcome.failures.append("the run did not get under way")
                process.send_signal(signal.SIGINT)
                return False
            time.sleep(0.02)
        return True

    def disturb(self, process: subprocess.Popen, pids: dict[str, int]) -> None:
        what, where = self.fault.what, self.fault.where
        if where and where not in pids:
            raise ValueError(f"{self.fault.name}: no process {where} among {', '.join(pids)}")
        if what == "killed":
            os.kill(pids[where], signal.SIGKILL)
        elif what == "interrupted":
            process.send_signal(signal.SIGINT)
        elif what == "stopped":
            _still(pids[where], self.fault.for_s)
        elif what == "storage_full":
            size = (self.out / "bag" / "bag.mcap").stat().st_size
            resource.prlimit(pids["logger"], resource.RLIMIT_FSIZE, (size, size))
        elif what == "storage_slow":
            end_s = time.monotonic() + self.fault.for_s
            while time.monotonic() < end_s:
                _still(pids["logger"], 0.5 * self.run.share)
                time.sleep(0.5 * (1 - self.run.share))

    # ------------------------------------------------------------------ what came of it

    def judge(self) -> None:
        """The bag holds what was recorded, and the summary says what is missing."""
        if self.fault.what == "storage_read_only":
            return
        try:
            messages = recover(self.out / "bag").messages
        except RecordingError as error:
            self.outcome.failures.append(f"the bag is lost: {error}")
            return
        self.outcome.fail_unless(messages > 20, f"the bag has {messages} messages alone")
        summary = _summary(self.out)
        if self.fault.expect.same:
            whole = self.bench.remembered(str(self.run.arguments(self.bench)), self.undisturbed)
            self.outcome.fail_unless(
                summary.get("commands_sha256") == whole["commands_sha256"],
                "the commands are not those of the run without it",
            )
            lost = whole["samples"] - summary.get("samples", 0)
            self.outcome.losses.append(Loss("samples", lost, summary.get("deadline_misses", 0)))

    def undisturbed(self) -> dict:
        """The summary of that run where nothing is wrong."""
        out = self.out.with_name("undisturbed")
        process = self.start(out)
        said, _ = process.communicate(timeout=END_S)
        if process.returncode != 0:
            raise ValueError(f"a run without a fault failed: {' '.join(said.split())[-300:]}")
        return _summary(out)


def _still(pid: int, for_s: float) -> None:
    os.kill(pid, signal.SIGSTOP)
    time.sleep(for_s)
    os.kill(pid, signal.SIGCONT)


def _summary(out: Path) -> dict:
    file = out / "summary.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def try_fault(bench: Bench, fault: Fault, folder: Path) -> Outcome:
    """A run with the fault, judged; a folder for what it writes."""
    trial = _Trial(bench, fault, folder)
    trial.try_()
    trial.outcome.judge()
    return trial.outcome
