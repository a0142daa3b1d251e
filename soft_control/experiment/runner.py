"""Starts the processes of a graph, watches over them, and leaves none behind."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import yaml

from soft_control.experiment.bringup import NodeSpec
from soft_control.processes import die_with_parent

STOP_TIMEOUT_S = 60.0  # the logger may have much to write yet


class RunFailed(RuntimeError):
    """A node failed in mid-run; the message is what it said."""


@contextlib.contextmanager
def ros_domain() -> Iterator[int]:
    """A ROS domain that no other run on this machine uses, on the loopback only.

    Raises RuntimeError where all are taken.
    """
    for domain in range(1, 101):  # 0 is everyone's default; from 102 on ports become ephemeral ones
        lock = open(Path(tempfile.gettempdir()) / f"soft_control_domain_{domain}.lock", "w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            continue
        before = dict(os.environ)
        os.environ |= {
            "ROS_DOMAIN_ID": str(domain),
            "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        }
        try:
            yield domain
        finally:
            os.environ.clear()
            os.environ.update(before)
            lock.close()
        return
    raise RuntimeError("100 runs are under way on this machine: no ROS domain is free")


def run(nodes: list[NodeSpec], run_dir: Path, on_poll: Callable[[], None] = lambda: None) -> None:
    """Runs the graph until its rig has taken the last sample; calls `on_poll` ten times a second.

    Logs go to <run_dir>/log, parameters to <run_dir>/parameters. Raises RunFailed with what the
    first failing node said; whatever happens, all processes are gone when this returns.
    """
    (run_dir / "log").mkdir()
    (run_dir / "parameters").mkdir()
    processes: dict[str, subprocess.Popen] = {}
    try:
        for node in nodes:
            processes[node.name] = start(node, run_dir)
        while not (ended := [n for n, p in processes.items() if p.poll() is not None]):
            on_poll()
            time.sleep(0.1)
    finally:
        stop(processes)
    # The rig's end is the run's; any other node that ended first has broken it off. The logger
    # ends last and may still fail to write.
    complete = "rig" in ended and processes["rig"].returncode == 0
    suspects = ["logger"] if complete else [*ended, *processes]
    for name in suspects:
        if (code := processes[name].returncode) != 0 or name in ended:
            raise RunFailed(reason(name, code, run_dir))


def start(node: NodeSpec, run_dir: Path) -> subprocess.Popen:
    parameters = run_dir / "parameters" / f"{node.name}.yaml"
    parameters.write_text(yaml.safe_dump({node.name: {"ros__parameters": node.parameters}}))
    module = f"soft_control.nodes.{node.name}"
    with open(run_dir / "log" / f"{node.name}.log", "w") as log:
        return subprocess.Popen(
            [sys.executable, "-m", module, "--ros-args", "--params-file", str(parameters)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            # Ctrl-C reaches this process alone, which then stops the nodes in order.
            start_new_session=True,
            preexec_fn=die_with_parent(signal.SIGINT),
        )


def stop(processes: dict[str, subprocess.Popen]) -> None:
    """Tells all to end, the logger last so that it sees the others' last words."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        others = [p for name, p in processes.items() if name != "logger"]
        logger = [p for name, p in processes.items() if name == "logger"]
        for group in (others, logger):
            for process in group:
                if process.poll() is None:
                    process.send_signal(signal.SIGINT)
            for process in group:
                try:
                    process.wait(STOP_TIMEOUT_S)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
    finally:
        signal.signal(signal.SIGINT, before)


def reason(name: str, code: int, run_dir: Path) -> str:
    """What a node said last, for the user."""
    log = run_dir / "log" / f"{name}.log"
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    said = next((line for line in reversed(lines) if line.startswith("error: ")), None)
    if said:
        return said.removeprefix("error: ")
    last = lines[-1] if lines else "it said nothing"
    return f"{name} ended with code {code}: {last} (all of it is in {log})"
