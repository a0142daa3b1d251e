"""Nodes that a server forks are as those started afresh."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed: pip install soft_control[ros]")

from soft_control.experiment.fork_server import Forked, ForkServer, fork_server  # noqa: E402

MISSING = "softctl parameters reference"
"""What a node says that was started without its parameters; it needs no graph for that."""


@pytest.fixture(scope="module")
def server() -> ForkServer:
    return ForkServer()


def start(server: ForkServer, log: Path, *arguments: str, node: str = "reference") -> Forked:
    with open(log, "w") as file:
        return server.start(node, list(arguments), file)


def is_there(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def waits_for_parameters(server: ForkServer, tmp_path: Path) -> Forked:
    """A node that waits: its parameters come from a pipe into which nobody writes."""
    os.mkfifo(tmp_path / "never.yaml")
    return start(
        server, tmp_path / "log", "--ros-args", "--params-file", str(tmp_path / "never.yaml")
    )


def test_a_node_says_what_it_says_when_it_is_started_by_itself(server, tmp_path):
    node = start(server, tmp_path / "forked")
    assert node.wait(60) == node.poll() == node.returncode == 1
    alone = subprocess.run(
        [sys.executable, "-m", "soft_control.nodes.reference"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert alone.returncode == 1 and MISSING in alone.stderr
    assert (tmp_path / "forked").read_text() == alone.stderr


def test_it_has_its_own_folder_environment_title_and_session(server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FOR_THIS_ONE", "alone")
    node = waits_for_parameters(server, tmp_path)
    place = Path("/proc") / str(node.pid)
    deadline = time.monotonic() + 60
    while b"soft_control.nodes.reference" not in (place / "cmdline").read_bytes():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert (
        (place / "cmdline").read_bytes().endswith(f"--params-file {tmp_path}/never.yaml\0".encode())
    )
    assert (place / "cwd").resolve() == tmp_path
    assert os.getsid(node.pid) == node.pid
    assert node.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        node.wait(0.05)
    node.send_signal(signal.SIGKILL)
    assert node.wait(60) == -signal.SIGKILL
    node.send_signal(signal.SIGKILL)  # which nobody gets


def test_a_node_of_no_such_name_leaves_its_traceback(server, tmp_path):
    assert start(server, tmp_path / "log", node="crane").wait(60) == 1
    assert "No module named 'soft_control.nodes.crane'" in (tmp_path / "log").read_text()


def test_nodes_end_with_a_server_that_is_killed_and_the_next_gets_a_new_one(tmp_path):
    before = fork_server()
    node = waits_for_parameters(before, tmp_path)
    os.kill(before._process.pid, signal.SIGKILL)
    assert node.wait(60) == -signal.SIGKILL
    before._process.wait(60)
    with pytest.raises(RuntimeError, match="reference did not start"):
        start(before, tmp_path / "log")
    after = fork_server()
    assert after is not before and after is fork_server()
    assert start(after, tmp_path / "log").wait(60) == 1
    deadline = time.monotonic() + 60
    while is_there(node.pid):
        assert time.monotonic() < deadline, "it waits for its parameters, and nobody watches it"
        time.sleep(0.02)


def test_a_server_ends_with_who_started_it(tmp_path):
    program = (
        "from soft_control.experiment.fork_server import fork_server\n"
        "print(fork_server()._process.pid, flush=True)\n"
        "input()"
    )
    for how in (signal.SIGKILL, None):
        starter = subprocess.Popen(
            [sys.executable, "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        server = int(starter.stdout.readline())
        assert is_there(server)
        starter.send_signal(how) if how else starter.communicate("\n", timeout=60)
        starter.wait(60)
        deadline = time.monotonic() + 60
        while is_there(server):
            assert how and time.monotonic() < deadline, "tidily ended, it is gone at once"
            time.sleep(0.02)
