"""The runner: a ROS domain for each run, an end for every process."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time

import pytest
import yaml

from soft_control.experiment import runner
from soft_control.experiment.bringup import NodeSpec
from soft_control.experiment.outcome import RunFailed
from soft_control.processes import cpu_seconds

ASK_FOR_DOMAIN = """
import socket, sys
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as lock:
    try:
        lock.bind(f"\\0soft_control/ros_domain/{sys.argv[1]}")
    except OSError as error:
        print(error.strerror)
"""


def test_two_runs_take_two_domains_and_give_them_back():
    before = dict(os.environ)
    with runner.ros_domain() as first, runner.ros_domain() as second:
        assert first != second
        assert os.environ["ROS_DOMAIN_ID"] == str(second)
        assert os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "LOCALHOST"
    assert os.environ == before
    with runner.ros_domain() as again:
        assert again <= first


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")
def test_another_user_does_not_take_a_domain_that_is_in_use():
    with runner.ros_domain() as domain:
        command = ["/usr/bin/env", "python3", "-I", "-c", ASK_FOR_DOMAIN, str(domain)]
        other = subprocess.run(command, user=65534, cwd="/", capture_output=True, text=True)
        assert other.stdout == "Address already in use\n", other.stderr
    # Another test's run, at the same time, may have taken it meanwhile, for so long as that takes.
    deadline = time.monotonic() + 120.0
    while other.stdout and time.monotonic() < deadline:
        other = subprocess.run(command, user=65534, cwd="/", capture_output=True, text=True)
    assert other.stdout == "", "the domain is not given back"


def test_a_domain_is_reserved_without_a_file(tmp_path, monkeypatch):
    """Lock files in the shared temporary folder were truncated through symlinks that another user
    had put there, hung on FIFOs, and locked out every user but the first."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with runner.ros_domain():
        assert list(tmp_path.iterdir()) == []


def test_when_all_domains_are_taken_it_says_so():
    held = []
    try:
        for domain in range(1, 101):
            lock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            try:
                lock.bind(f"\0soft_control/ros_domain/{domain}")
            except OSError:  # another run's
                lock.close()
            else:
                held.append(lock)
        with pytest.raises(RuntimeError, match="no ROS domain is free"), runner.ros_domain():
            pass
    finally:
        for lock in held:
            lock.close()


def test_a_list_that_stands_twice_is_written_twice():
    """ROS's parser of parameter files does not support aliases."""
    limits = [1.0, 2.0]
    text = runner.parameter_file(NodeSpec("pid", {"kp": limits, "ki": limits}))
    assert "*" not in text and "&" not in text
    assert yaml.safe_load(text) == {"pid": {"ros__parameters": {"kp": limits, "ki": limits}}}


DEAF = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.SIG_DFL)  # at once, where Python's own answer takes its time
for name in sys.argv[1:]:
    signal.signal(getattr(signal, name), signal.SIG_IGN)
print(flush=True)
time.sleep(600)
"""


def child(*ignored: str, code: str = DEAF) -> subprocess.Popen:
    process = subprocess.Popen(
        [sys.executable, "-c", code, *ignored],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    process.stdout.readline()  # its handlers stand
    return process


def test_who_does_not_hear_is_told_louder(monkeypatch):
    monkeypatch.setattr(runner, "PATIENCE_S", 2.0)  # the machine may be busy with other tests
    processes = [child(), child("SIGINT"), child("SIGINT", "SIGTERM")]
    began = time.monotonic()
    runner.end(processes)
    assert time.monotonic() - began < 30
    codes = [process.returncode for process in processes]
    assert codes == [-signal.SIGINT, -signal.SIGTERM, -signal.SIGKILL]


def test_a_logger_that_writes_is_waited_for_and_one_that_hangs_is_not(monkeypatch, tmp_path):
    monkeypatch.setattr(runner, "PATIENCE_S", 0.5)
    monkeypatch.setattr(runner, "WRITING_SHARE", 0.02)  # the machine may be busy with other tests
    (tmp_path / "bag").mkdir()
    busy = (
        "import signal, sys, time\n"
        "def write(*_):\n"
        "    while time.process_time() < 1.2: pass\n"
        "    sys.exit(0)\n"
        "signal.signal(signal.SIGINT, write)\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print(flush=True)\n"
        "time.sleep(600)\n"
    )
    writing = child(code=busy)
    runner.stop({"logger": writing}, tmp_path)
    assert writing.returncode == 0
    hanging = child("SIGINT", "SIGTERM")
    assert cpu_seconds(hanging.pid) < 0.3
    runner.stop({"logger": hanging}, tmp_path)
    assert hanging.returncode == -signal.SIGKILL


def test_ctrl_c_while_processes_start_leaves_none_behind(monkeypatch, tmp_path):
    """It may come after a process has started and before anybody knows of it."""
    monkeypatch.setattr(runner, "PATIENCE_S", 2.0)
    started = []

    def start(node: NodeSpec, run_dir) -> subprocess.Popen:
        started.append(child())
        os.kill(os.getpid(), signal.SIGINT)
        return started[-1]

    monkeypatch.setattr(runner, "start", start)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        runner.run([NodeSpec("rig", {}, ends_run=True), NodeSpec("pid", {})], tmp_path)
    assert len(started) == 2 and all(process.returncode is not None for process in started)
    assert signal.getsignal(signal.SIGINT) == before


def test_the_first_to_fail_is_named_with_what_it_said(monkeypatch, tmp_path):
    def start(node: NodeSpec, run_dir) -> subprocess.Popen:
        code = "import sys; print('x\\nerror: pid: no gains\\n'); sys.exit(1)"
        command = ["-c", code if node.name == "pid" else "import time; time.sleep(600)"]
        with open(run_dir / "log" / f"{node.name}.log", "w") as log:
            return subprocess.Popen([sys.executable, *command], stdout=log, stderr=log)

    monkeypatch.setattr(runner, "start", start)
    nodes = [NodeSpec("rig", {}, ends_run=True), NodeSpec("pid", {}), NodeSpec("logger", {})]
    with pytest.raises(RunFailed, match=r"^pid: no gains$"):
        runner.run(nodes, tmp_path)
