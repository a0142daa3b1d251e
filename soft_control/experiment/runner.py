"""Starts the processes of a graph, watches over them, and leaves none behind."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from soft_control.experiment.fork_server import Forked, fork_server
from soft_control.experiment.outcome import RunFailed, ending_node, failure
from soft_control.network import DISCOVERY, keep_to_loopback
from soft_control.processes import cpu_seconds
from soft_control.run_domains import NAME
from soft_control.security.enclaves import enclave_words

if TYPE_CHECKING:
    from soft_control.experiment.bringup import NodeSpec

POLL_S = 0.1
PATIENCE_S = 5.0
"""A node has so long to end after SIGINT, and again after SIGTERM."""
WRITING_SHARE = 0.1
"""Of a core: a logger that uses more is still writing or summing up; one that waits uses 0.04."""
WRITING_LIMIT_S = 600.0
"""No logger gets more time than this."""


def reserve_domain() -> tuple[int, socket.socket]:
    """A ROS domain that no other run on this machine uses, whoever its user; it is taken until the
    socket is closed. Raises RuntimeError where all are taken."""
    for domain in range(1, 101):  # 0 is everyone's default; from 102 on ports become ephemeral ones
        lock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            # An abstract name is seen by all users, as the domain's UDP ports are, and is no
            # file: nothing to follow, to truncate or to leave behind. It goes with the process.
            lock.bind(f"\0{NAME}{domain}")
        except OSError as error:
            lock.close()
            if error.errno != errno.EADDRINUSE:
                raise
            continue
        return domain, lock
    raise RuntimeError("100 runs are under way on this machine: no ROS domain is free")


@contextlib.contextmanager
def ros_domain() -> Iterator[int]:
    """A domain of `reserve_domain`, on the loopback only, for what starts meanwhile."""
    domain, lock = reserve_domain()
    with lock, _environment():
        os.environ |= {"ROS_DOMAIN_ID": str(domain), DISCOVERY: "LOCALHOST"}
        keep_to_loopback(os.environ)
        yield domain


@contextlib.contextmanager
def given_domain() -> Iterator[None]:
    """The domain that the environment names, where nodes of others are, such as a motion tracker's;
    on the loopback only unless the environment says otherwise."""
    with _environment():
        keep_to_loopback(os.environ)
        yield


@contextlib.contextmanager
def _environment() -> Iterator[None]:
    """It is afterwards what it was."""
    before = dict(os.environ)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def run(nodes: list[NodeSpec], run_dir: Path, on_poll: Callable[[], None] = lambda: None) -> None:
    """Runs the graph until its last sample has been taken; calls `on_poll` ten times a second.

    Logs go to <run_dir>/log, parameters to <run_dir>/parameters. Raises RunFailed with what the
    first failing node said, and KeyboardInterrupt after Ctrl-C; whatever happens, all processes are
    gone when this returns. For the main thread, which gets the signals.
    """
    (run_dir / "log").mkdir()
    processes: dict[str, Forked] = {}
    needed = [node.name for node in nodes if not node.looks_on]
    with interrupts_counted() as interrupts:
        try:
            for node in nodes:
                processes[node.name] = start(node, run_dir)
            while not (ended := [name for name in needed if processes[name].poll() is not None]):
                if interrupts:
                    raise KeyboardInterrupt
                on_poll()
                time.sleep(POLL_S)
        finally:
            stop(processes, run_dir)
    codes = {name: processes[name].returncode for name in needed}
    if why := failure(codes, ended, ending_node(nodes), run_dir):
        raise RunFailed(why)


@contextlib.contextmanager
def interrupts_counted() -> Iterator[list[int]]:
    """Ctrl-C only makes an entry in the list: as an exception it could come between the start of a
    process and the line that remembers it."""
    interrupts: list[int] = []
    before = signal.signal(signal.SIGINT, lambda signum, frame: interrupts.append(signum))
    try:
        yield interrupts
    finally:
        signal.signal(signal.SIGINT, before)


class _ForRos(yaml.SafeDumper):
    """ROS refuses the anchors and aliases that YAML writes for a list that stands twice, and takes
    a y without quotation marks for true."""

    def ignore_aliases(self, data: object) -> bool:
        return True


_ForRos.add_representer(
    str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"')
)


def parameter_file(node: NodeSpec) -> str:
    """The parameters of a node as ROS reads them."""
    return yaml.dump({node.full_name: {"ros__parameters": node.parameters}}, Dumper=_ForRos)


def write_parameters(node: NodeSpec, run_dir: Path) -> Path:
    """Writes the parameters of a node to <run_dir>/parameters, and says where."""
    file = run_dir / "parameters" / f"{node.name}.yaml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(parameter_file(node))
    return file


def start(node: NodeSpec, run_dir: Path) -> Forked:
    """The process of a node, of its own session: Ctrl-C reaches this process alone, which then
    stops the nodes in order; SIGINT to it waits until it can be handled."""
    parameters = write_parameters(node, run_dir)
    name = ["-r", f"__ns:={node.namespace}"] if node.namespace else []
    with open(run_dir / "log" / f"{node.name}.log", "w") as log:
        words = ["--params-file", str(parameters), *name, *enclave_words(node.name, node.namespace)]
        return fork_server().start(node.name, ["--ros-args", *words], log)


def stop(processes: dict[str, Forked], run_dir: Path) -> None:
    """Ends all, the logger last so that it sees the others' last words."""
    logger = processes.get("logger")
    # Nobody is left to say that what the killed one was told has come.
    killed = any((process.poll() or 0) < 0 for process in processes.values())
    end([process for process in processes.values() if process is not logger], hurried=killed)
    if logger is None:
        return
    if (run_dir / "bag").exists():
        logger.send_signal(signal.SIGINT)
        let_write(logger)
    end([logger])


def end(processes: list[Forked], hurried: bool = False) -> None:
    """SIGINT, then SIGTERM, by which a node waits for nobody any more, then SIGKILL, each to those
    that are still there; hurried: the first two at once."""
    for how in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        for process in processes:
            process.send_signal(how)  # does nothing where it has ended
            if hurried and how == signal.SIGINT:
                process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + PATIENCE_S
        for process in processes:
            # Nobody waits in vain for a process that was killed.
            timeout = None if how == signal.SIGKILL else max(0.0, deadline - time.monotonic())
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout)


def let_write(logger: Forked) -> None:
    """Waits while the logger is busy: it may have minutes of samples to write and to sum up."""
    limit = time.monotonic() + WRITING_LIMIT_S
    used = cpu_seconds(logger.pid)
    while time.monotonic() < limit:
        with contextlib.suppress(subprocess.TimeoutExpired):
            logger.wait(PATIENCE_S)
            return
        before, used = used, cpu_seconds(logger.pid)
        if used - before < WRITING_SHARE * PATIENCE_S:
            return
