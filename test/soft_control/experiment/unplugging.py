"""Whole runs in real time whose devices are unplugged, again and again."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import threading
import time
import tty
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from soft_control.experiment.bringup import NodeSpec, prepare
from soft_control.experiment.run_samples import Run, read_run
from soft_control.experiment.runner import ros_domain, run
from soft_control.experiment.settings import Experiment
from soft_control.experiment.summary import finish
from soft_control.learning.bag_messages import TYPES, read_topics
from soft_control.topics import OUTPUTS, SIGNALS_RAW

from ..board import Board
from ..plug import Plug

AWAY_S = 0.4
"""A device is out for so long."""
BEGINS_S = 7.0
"""After the rig has started: discovery takes up to 3 s, and the run has settled by then."""
TOPICS = {SIGNALS_RAW: TYPES[OUTPUTS]}


@dataclass
class Times:
    """Of one device, ns since 1970."""

    gone: list[int] = field(default_factory=list)
    there: list[int] = field(default_factory=list)
    """It could be opened again."""


class Cable(threading.Thread):
    """Between a port of the rig and the node that has the instrument at its other end: all bytes
    get through, both ways, while it is plugged in."""

    def __init__(self, far: Path, near: Path) -> None:
        """far: the rig's port, which may appear later. near: the node's."""
        super().__init__(daemon=True)
        self.far, self.near, self.times = far, near, Times()
        self._ended, self._pulled = threading.Event(), threading.Event()
        self._due_s = 0.0

    def pull(self) -> None:
        """It is unplugged, and put in again AWAY_S later."""
        self._pulled.set()

    def close(self) -> None:
        self._ended.set()
        self.join()

    def run(self) -> None:
        while not self.far.exists():
            if self._ended.wait(0.01):
                return
        rig = os.open(self.far, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        tty.setraw(rig)
        plug = Plug(self.near)
        try:
            while not self._ended.is_set():
                self._move(plug)
                self._pass_on(rig, plug)
        except OSError:
            pass  # the rig has ended
        finally:
            plug.close()
            os.close(rig)

    def _move(self, plug: Plug) -> None:
        if plug.controller >= 0 and self._pulled.is_set():
            plug.unplug()
            self.times.gone.append(time.time_ns())
            self._due_s = time.monotonic() + AWAY_S
            self._pulled.clear()
        elif plug.controller < 0 and time.monotonic() >= self._due_s:
            plug.plug()
            self.times.there.append(time.time_ns())

    def _pass_on(self, rig: int, plug: Plug) -> None:
        ends = [rig] + [plug.controller] * (plug.controller >= 0)
        for end in select.select(ends, [], [], 0.02)[0]:
            data = os.read(end, 4096)
            if end == rig and plug.controller >= 0:
                with contextlib.suppress(BlockingIOError):
                    plug.write(data)
            elif end != rig:
                os.write(rig, data)


def emulators(log: Path) -> list[int]:
    """Those of the node that writes this log, by their ids."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes().split(b"\0")
            if b"qemu-system-arm" not in words[0]:
                continue
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            files = Path(f"/proc/{parent}/fd")
            if str(log) in {os.readlink(file) for file in files.iterdir()}:
                found.append(int(entry.name))
    return found


class Waiting:
    """How long the emulators of a node have waited for a processor that others had, as the kernel
    counts it for each of their threads (Linux, Documentation/scheduler/sched-stats.rst)."""

    def __init__(self, log: Path) -> None:
        """log: of the node."""
        self.log = log
        self._looks: list[tuple[int, int, float]] = []
        """When, ns since 1970; whose; s since that one has started."""

    def look(self) -> None:
        """To be called ten times a second."""
        known = self._looks[-1][1] if self._looks else None
        waited_s = self._waited_s(known)
        if waited_s is None:
            known = next(iter(emulators(self.log)), None)
            waited_s = self._waited_s(known)
        if waited_s is not None:
            self._looks.append((time.time_ns(), known, waited_s))

    @staticmethod
    def _waited_s(pid: int | None) -> float | None:
        """Of a process the thread that has waited longest, s; None: there is none."""
        try:
            threads = list(Path(f"/proc/{pid}/task").iterdir())
            return max(int((t / "schedstat").read_text().split()[1]) for t in threads) / 1e9
        except (OSError, IndexError, ValueError):
            return None

    def until_s(self, at_ns: int, since_ns: int = 0) -> float:
        """Of the one that was there at that time, since another one or since its start, s."""
        after = next((look for look in self._looks if look[0] >= at_ns), None)
        if after is None:
            return 0.0
        before = [look[2] for look in self._looks if look[0] <= since_ns and look[1] == after[1]]
        return after[2] - (before[-1] if before else 0.0)


@dataclass
class Outcome:
    """What a run came to."""

    summary: dict
    run: Run
    times: dict[str, Times]
    """Of sensor, actuators, mcu, board."""
    signals_ns: list[int]
    """Stamps of the samples of the sensor."""
    commands_ns: list[int]
    outputs: int
    """Samples of the rig."""
    log: dict[str, str]


class Unplugging:
    """What `run` calls ten times a second: unplugs one device after another. A machine that is
    late does not make up for it: two that are away at once would be another test."""

    def __init__(
        self,
        actions: list[Callable[[], None]],
        period_s: float,
        begun: Path,
        look: Callable[[], None],
    ) -> None:
        """actions: what happens in turn, one each period_s, some time after that file is there.
        look: is called each time."""
        self._look = look
        self._actions, self._period_s, self._begun = list(actions), period_s, begun
        self._next_s: float | None = None

    def __call__(self) -> None:
        self._look()
        now_s = time.monotonic()
        if self._next_s is None:
            if self._begun.exists():
                self._next_s = now_s + BEGINS_S
        elif self._actions and now_s >= self._next_s:
            self._next_s = max(self._next_s + self._period_s, now_s + 0.9 * self._period_s)
            self._actions.pop(0)()


def unplugged(
    experiment: Experiment,
    devices: list[str],
    cycles: int,
    each_s: float,
    waiting: Waiting,
    board: Board | None = None,
) -> Outcome:
    """A run in which each of the devices is unplugged so often, one each each_s: sensor and
    actuators by their cables, mcu by ending the emulator, board by its own cable. waiting: of the
    node mcu."""
    out = experiment.out
    nodes = prepare(experiment)
    cables = {
        name: Cable(out / f"{name.removesuffix('s')}.port", out.parent / f"{name}.cable")
        for name in ("sensor", "actuators")
        if name in devices
    }
    for node in nodes:
        plug_in(node, cables)
        if node.name == "mcu":  # a loaded machine is no sensor board
            node.parameters["sensor_timeout_ms"] = 5000
    killed, unplugged_board = Times(), Times()

    def kill() -> None:
        for emulator in emulators(waiting.log):
            os.kill(emulator, signal.SIGKILL)
            killed.gone.append(time.time_ns())
            killed.there.append(killed.gone[-1])

    def put_in() -> None:
        board.put_in()
        unplugged_board.there.append(time.time_ns())

    def pull_board() -> None:
        board.pull()
        unplugged_board.gone.append(time.time_ns())
        threading.Timer(AWAY_S, put_in).start()

    acts: dict[str, Callable[[], None]] = {name: one.pull for name, one in cables.items()}
    acts |= {"mcu": kill, "board": pull_board}
    actions = [acts[name] for _ in range(cycles) for name in devices]
    for cable in cables.values():
        cable.start()
    try:
        with ros_domain():
            run(nodes, out, Unplugging(actions, each_s, out / "sensor.port", waiting.look))
    finally:
        for cable in cables.values():
            cable.close()
    times = {name: cable.times for name, cable in cables.items()}
    times |= {"mcu": killed, "board": unplugged_board}
    summary = finish(out)
    topics, _ = read_topics(out / "bag", (SIGNALS_RAW, "/command", OUTPUTS), TYPES | TOPICS)
    log = {node.name: (out / "log" / f"{node.name}.log").read_text() for node in nodes}
    return Outcome(
        summary,
        read_run(out),
        times,
        sorted(topics.get(SIGNALS_RAW, {})),
        sorted(topics["/command"]),
        len(topics[OUTPUTS]),
        log,
    )


def plug_in(node: NodeSpec, cables: dict[str, Cable]) -> None:
    """The node's port is the near end of its cable."""
    for name, far in (("sensor", "sensor.port"), ("actuators", "actuator.port")):
        port = node.parameters.get("port", "")
        if node.name != "rig" and name in cables and port.endswith(far):
            node.parameters["port"] = str(cables[name].near)


def recovery_s(times: Times, stamps_ns: list[int]) -> np.ndarray:
    """(C,) of each cycle, from when the device was there again to the first stamp after that, s."""
    stamps = np.array(stamps_ns)
    return np.array([stamps[stamps > there].min() - there for there in times.there]) / 1e9


def stopped_ns(log: Path) -> int:
    """When the robot was stopped, by the log of the node mcu, ns since 1970."""
    said = re.search(
        r"\[(\d+)\.(\d{9})\] \[[^]]*mcu\]: the microcontroller is fault", log.read_text()
    )
    return int(said[1] + said[2])
