"""Faults tried on all processes of `softctl run`: signals to nodes, and storage that is none.

In lockstep a run in which a process stood still is the same run, to the last bit: so faults that
must leave a run as it is share one, one after another.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from soft_control.experiment.bag_recovery import recover
from soft_control.faults.beside import END_S, START_S, Build, own_robot
from soft_control.faults.fault import Expected, Fault, check_settings
from soft_control.faults.outcome import Loss, Outcome
from soft_control.faults.processes import descendants, left_behind, softctl
from soft_control.faults.sil import Bench
from soft_control.learning.recording import RecordingError
from soft_control.rigs.parameters import Strict
from soft_control.run_domains import domain_of

UNDER_WAY_BYTES = 20_000
"""Of the bag, when a fault may come."""
BETWEEN_S = 0.05
"""A run goes on for so long before its next fault."""
GONE_S = 30.0
"""Patience with the processes of a run that has ended."""
LONG_S = 600.0
"""A run that the fault has to end."""
EACH_S = 1.0
"""By so much a run is longer for each fault that shares it."""
LONGER = (1, 4, 16)
"""Times as long as it says is a run, when one was over before its faults had come: in lockstep it
is as fast as the machine, and who disturbs it may get no processor meanwhile."""
BOARD = "stm32f405"


class Graph(Strict):
    """The run, beside what a fault does to it."""

    rig: str = ""
    """Another one than that of the model, which then takes no part; its controller needs none."""
    controller: str = "mpc"
    wiring: Literal["host", "mcu"] = "host"
    clock: Literal["lockstep", "realtime"] = "lockstep"
    target: Literal["sil", "pil"] = "sil"
    duration_s: float = 4.0
    visual: bool = False
    """Whether the node that says what viewers draw takes part."""
    own_robot: bool = False
    """Whether the robot is one's own, in real time, and a motion tracker sees it."""
    codegen: bool = False
    """Whether a firmware is made beside it when the fault comes."""

    def arguments(self, bench: Bench) -> list[object]:
        """Of `softctl run`, but for where the robot is."""
        known: list[object] = []
        if not self.rig:
            known = ["--model", bench.model, "--firmware", bench.build.directory]
        return [
            *known, "--controller", self.controller, "--target", self.target,
            "--clock", self.clock, "--wiring", self.wiring, "--duration-s", self.duration_s,
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


def run_of(fault: Fault) -> Graph:
    """Its run."""
    return KINDS[fault.what].model_validate(fault.settings)


def board_of(fault: Fault) -> str:
    """The board that a fault needs a firmware for."""
    return BOARD if run_of(fault).target == "pil" else "host"


def shared_run(fault: Fault) -> str | None:
    """Of a fault that must leave its run as it is: what the run of another one has to be like, to
    be the same; None: it has a run of its own."""
    if not fault.expect.same:
        return None
    return json.dumps(run_of(fault).model_dump(include=set(Graph.model_fields) - {"duration_s"}))


class _OverBefore(Exception):
    """A run was over before the fault, as its message says."""


class _Trial:
    """One run of `softctl run`, `longer` times as long as it says, and the faults that come into
    it."""

    def __init__(self, bench: Bench, faults: Sequence[Fault], folder: Path, longer: int) -> None:
        self.bench, self.folder, self.out = bench, folder, folder / "run"
        # Who is killed comes last, and writes that are slow until the end.
        self.faults = sorted(faults, key=lambda one: (one.for_s == 0, one.for_s))
        runs = [run_of(fault) for fault in self.faults]
        length_s = max(run.duration_s for run in runs) + EACH_S * (len(runs) - 1)
        self.is_endless = length_s >= LONG_S
        self.run = runs[0].model_copy(update={"duration_s": length_s * longer})
        self.outcomes = [Outcome(fault) for fault in faults]
        self.builds: dict[str, Build] = {}
        """By what is done to the node that has asked for it."""

    @property
    def expected(self) -> Expected:
        """Of the run: the same of all its faults."""
        return self.faults[0].expect

    def fail_unless(self, right: bool, otherwise: str) -> None:
        for outcome in self.outcomes:
            outcome.fail_unless(right, otherwise)

    @contextlib.contextmanager
    def robot(self) -> Iterator[tuple[dict[str, str], list[object]]]:
        """Environment and arguments of a run with it."""
        rig = self.run.rig or self.bench.rig
        if self.run.own_robot:
            with own_robot(rig, self.folder / "robot") as told:
                yield told
        else:
            yield {}, ["--rig", rig]

    def try_(self) -> None:
        """Raises _OverBefore."""
        storage = self.faults[0].what == "storage_read_only"
        out = Path("/proc/soft_control_run") if storage else self.out
        seen = ["--visual"] if self.run.visual else []
        with self.robot() as (environment, robot):
            arguments = ["run", "--out", out, *robot, *self.run.arguments(self.bench), *seen]
            process = softctl(*arguments, **environment)
            said, below = self.watch(process, disturbs=not storage)
        for outcome in self.outcomes:
            outcome.said = " ".join(said.split())
        left = left_behind(list(below.values()), GONE_S)
        names = [name for name, pid in below.items() if pid in left]
        self.fail_unless(not left, f"left behind: {', '.join(names)}")
        wanted = self.expected.exit_code
        self.fail_unless(
            wanted is None or process.returncode == wanted,
            f"exit code {process.returncode}, not {wanted}: {said[-200:]}",
        )
        self.fail_unless("Traceback" not in said, f"said {said[-400:]!r}")
        if not storage:
            self.judge()

    def watch(self, process: subprocess.Popen, disturbs: bool) -> tuple[str, dict[str, int]]:
        """The run to its end: what it said, and its processes, name -> pid. Raises _OverBefore."""
        said, below = "", {}
        try:
            if disturbs and self.is_under_way(process):
                below = descendants(process.pid)
                for fault in self.faults:
                    self.disturb(fault, process, below | {"softctl": process.pid})
                    time.sleep(BETWEEN_S)
            said, _ = process.communicate(timeout=END_S)
            for what, build in self.builds.items():
                build.judge(self.outcomes, killed=what == "killed")
        except subprocess.TimeoutExpired:
            self.fail_unless(False, f"the run did not end within {END_S:g} s")
        except ProcessLookupError as error:
            raise _OverBefore("a process was gone") from error
        finally:
            process.kill()  # its nodes go with it
            process.wait()
            for build in self.builds.values():
                build.end()
        return said, below

    @property
    def bag_size(self) -> int:
        bag = self.out / "bag" / "bag.mcap"
        return bag.stat().st_size if bag.exists() else 0

    def is_under_way(self, process: subprocess.Popen) -> bool:
        """When its bag has something; False, and noted, where that does not come about. Raises
        _OverBefore."""
        deadline = time.monotonic() + START_S
        while self.bag_size < UNDER_WAY_BYTES:
            if process.poll() == 0:
                raise _OverBefore("it had ended")
            if process.returncode is not None or time.monotonic() > deadline:
                self.fail_unless(False, "the run did not get under way")
                process.send_signal(signal.SIGINT)
                return False
            time.sleep(0.02)
        return True

    def disturb(self, fault: Fault, process: subprocess.Popen, pids: dict[str, int]) -> None:
        def pid_of(name: str) -> int:
            if name not in pids:
                raise _OverBefore(f"{fault.name}: no process {name} among {', '.join(pids)}")
            return pids[name]

        what, where = fault.what, fault.where
        if self.run.codegen:
            pids = pids | {"codegen": self.begin_build(what, process.pid, pid_of("rig"))}
        if what == "killed":
            os.kill(pid_of(where), signal.SIGKILL)
        elif what == "interrupted":
            process.send_signal(signal.SIGINT)
        elif what == "stopped":
            with _still(pid_of(where)):
                time.sleep(fault.for_s)
        elif what == "storage_full":
            resource.prlimit(pid_of("logger"), resource.RLIMIT_FSIZE, (self.bag_size,) * 2)
        elif what == "storage_slow":
            _slow_down(pid_of("logger"), fault.for_s, run_of(fault).share)

    def begin_build(self, what: str, pid: int, rig: int) -> int:
        """Its pid; the rig waits for it, as the run might else be over."""
        folder = self.folder / f"build_{len(self.builds)}"
        with _still(rig):
            domain = domain_of(pid)
            if domain is None:
                raise ProcessLookupError
            model, firmware = self.bench.model, self.bench.build.directory
            self.builds[what] = Build(model, firmware, folder, domain)
        return self.builds[what].pid

    # ------------------------------------------------------------------ what came of it

    def judge(self) -> None:
        """The bag holds what was recorded, and the summary says what is missing."""
        try:
            messages = recover(self.out / "bag").messages
        except RecordingError as error:
            self.fail_unless(False, f"the bag is lost: {error}")
            return
        self.fail_unless(messages > 20, f"the bag has {messages} messages alone")
        summary = _summary(self.out)
        beyond = summary.get("commands_outside_bounds", 0)
        self.fail_unless(not beyond, f"{beyond} commands beyond a limit")
        whole = not self.is_endless
        self.fail_unless(
            summary.get("complete", whole) == whole or self.run.own_robot,
            f"the summary says that the run was {'not ' * whole}complete",
        )
        if self.expected.same:
            rig = ["--rig", self.run.rig or self.bench.rig]
            arguments = [*rig, *self.run.arguments(self.bench)]
            whole = self.bench.remembered(str(arguments), lambda: self.undisturbed(arguments))
            self.fail_unless(
                summary.get("commands_sha256") == whole["commands_sha256"],
                "the commands are not those of the run without it",
            )
            lost = whole["samples"] - summary.get("samples", 0)
            for outcome in self.outcomes:
                outcome.losses.append(Loss("samples", lost, summary.get("deadline_misses", 0)))

    def undisturbed(self, arguments: Sequence[object]) -> dict:
        """The summary of that run where nothing is wrong, and nobody looks on."""
        out = self.folder / "undisturbed"
        process = softctl("run", "--out", out, *arguments)
        said, _ = process.communicate(timeout=END_S)
        if process.returncode != 0:
            raise ValueError(f"a run without a fault failed: {' '.join(said.split())[-300:]}")
        return _summary(out)


@contextlib.contextmanager
def _still(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def _slow_down(pid: int, for_s: float, share: float) -> None:
    """It stands still for such a share of the time; it may be done with its work before that."""
    end_s = time.monotonic() + for_s
    os.kill(pid, 0)
    with contextlib.suppress(ProcessLookupError):
        while time.monotonic() < end_s:
            with _still(pid):
                time.sleep(0.5 * share)
            time.sleep(0.5 * (1 - share))


def _summary(out: Path) -> dict:
    file = out / "summary.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def try_together(bench: Bench, faults: Sequence[Fault], folder: Path) -> list[Outcome]:
    """A run with these faults, of one `shared_run`, judged; a folder for what it writes."""
    for longer in LONGER:
        trial = _Trial(bench, faults, folder / f"of_length_{longer}", longer)
        trial.folder.mkdir()
        try:
            trial.try_()
            break
        except _OverBefore as error:
            too_short = f"the run was over before the fault: {error}"
    else:
        trial.fail_unless(False, too_short)
    for outcome in trial.outcomes:
        outcome.judge()
    return trial.outcomes
