"""Starts nodes in a tenth of the time: a process that has imported what all nodes need forks.

    softctl --- request: node, arguments, environment, log --> fork server --- fork --> node
    softctl <-- pid ... exit code ----------------------------------'

rclpy, numpy and pydantic take a node half a second of a processor to import; a robot waits for the
last of its nodes. A node that is forked has them already and shares their memory. Each fork has its
own working directory, environment, arguments, log and session, as if it had been started afresh.
The server starts no thread of its own, for threads do not survive a fork. When the process that
started it ends, so do its nodes and then the server.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import select
import selectors
import signal
import socket
import subprocess
import sys
import time
import traceback
import weakref
from typing import IO

from setproctitle import getproctitle, setproctitle

from soft_control.processes import die_with_parent, interrupt_held
from soft_control.shared_memory import (
    SETTLED_S,
    clear_shared_memory,
    remove_own_shared_memory,
)

NODES = "soft_control.nodes"
PRELOADED = ("dynamixel", "lightlace", "logger", "magnetic", "mcu", "pid", "reference", "rig")
"""The nodes of a run; the others share most of what these import."""
REQUEST_MAX = 1 << 18
"""Bytes of a request, most of which is the environment."""
LEAVE_S = 3.0
"""The server has ended after so long, and mostly in 0.1 s."""
END_S = 20.0
"""A node has so long to end, a logger to write its bag, after who started it was killed."""


class Forked:
    """A node's process, with what subprocess.Popen has of it."""

    def __init__(self, pid: int, report: socket.socket) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._report = report
        self._process = os.pidfd_open(pid)
        weakref.finalize(self, os.close, self._process)

    def poll(self) -> int | None:
        """Exit code, minus the signal's number where one ended it; None while it is there."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0.0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Raises subprocess.TimeoutExpired where it is there for longer, in seconds."""
        if self.returncode is None:
            if not select.select([self._report], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout)
            # Without a word from it the server itself was killed, and its nodes end with it.
            self.returncode = int(self._report.recv(64) or -signal.SIGKILL)
            self._report.close()
        return self.returncode

    def send_signal(self, how: signal.Signals) -> None:
        """Does nothing where it has ended."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._process, how)


class ForkServer:
    """The server's process, seen from the one that starts it."""

    def __init__(self) -> None:
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs, interrupt_held():
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        weakref.finalize(self, _leave, self._channel, self._process)

    def is_there(self) -> bool:
        return self._process.poll() is None

    def start(self, node: str, arguments: list[str], log: IO) -> Forked:
        """`python -m soft_control.nodes.<node> <arguments>` in the present environment, its output
        to `log`; SIGINT to it waits until it can be handled. Raises RuntimeError where the server
        has ended."""
        report, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        request = {
            "node": node,
            "arguments": arguments,
            "environment": dict(os.environ),
            "folder": os.getcwd(),
        }
        with theirs, contextlib.suppress(OSError):  # then there is no answer either
            parts = [json.dumps(request).encode()]
            socket.send_fds(self._channel, parts, [log.fileno(), theirs.fileno()])
        if not (pid := report.recv(64)):
            report.close()
            raise RuntimeError(f"{node} did not start: the process that forks nodes has ended")
        return Forked(int(pid), report)


def _leave(channel: socket.socket, server: subprocess.Popen) -> None:
    channel.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        server.wait(LEAVE_S)


@functools.cache
def _of_process(pid: int) -> list[ForkServer]:
    return []


def fork_server() -> ForkServer:
    """That of this process, started where there is none yet; it gets ready in the background."""
    mine = _of_process(os.getpid())
    if not (mine and mine[-1].is_there()):
        mine.append(ForkServer())
    return mine[-1]


# ------------------------------------------------------------------------------- in the server


def serve(channel: socket.socket) -> tuple[str, list[str]] | None:
    """Forks as it is asked to. Returns in each node's process, with the node and its arguments; and
    None in the server, when the other end of the channel is closed and all nodes have ended."""
    reports: dict[int, tuple[int, socket.socket]] = {}
    """Of each node's process descriptor: pid, and where its exit code goes."""
    with selectors.DefaultSelector() as events:
        events.register(channel, selectors.EVENT_READ)
        while True:
            for key, _ in events.select():
                if key.fd == channel.fileno():
                    text, fds, _, _ = socket.recv_fds(channel, REQUEST_MAX, 2)
                    if not text:
                        _end([(pid, process) for process, (pid, _) in reports.items()])
                        return None
                    log, report = fds[0], socket.socket(fileno=fds[1])
                    request = json.loads(text)
                    become = die_with_parent(signal.SIGINT)
                    if (pid := os.fork()) == 0:
                        become()
                        report.close()
                        for _, other in reports.values():
                            other.close()
                        channel.close()
                        _take_place(request, log)
                        return request["node"], request["arguments"]
                    os.close(log)
                    process = os.pidfd_open(pid)
                    reports[process] = pid, report
                    events.register(process, selectors.EVENT_READ)
                    _tell(report, pid)
                else:
                    pid, report = reports.pop(key.fd)
                    events.unregister(key.fd)
                    os.close(key.fd)
                    _, status = os.waitpid(pid, 0)
                    _tell(report, os.waitstatus_to_exitcode(status))
                    report.close()


def _end(nodes: list[tuple[int, int]]) -> None:
    """Of whoever was killed: ends its nodes, pid and process descriptor of each, and clears up what
    it has left. Nobody else is left who would."""
    for pid, _ in nodes:
        os.kill(pid, signal.SIGINT)
    deadline_s = time.monotonic() + END_S
    for pid, process in nodes:
        if not select.select([process], [], [], max(0.0, deadline_s - time.monotonic()))[0]:
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    if nodes:
        time.sleep(SETTLED_S)  # some of it may be too young to be cleared up
        clear_shared_memory()


def _tell(report: socket.socket, number: int) -> None:
    with contextlib.suppress(OSError):  # nobody waits for it any more
        report.send(str(number).encode())


def _take_place(request: dict, log: int) -> None:
    """Makes a fork what a process started with this request would be."""
    os.setsid()
    for output in (1, 2):
        os.dup2(log, output)
    os.close(log)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])


def preload() -> None:
    """Imports what nodes import, and leaves it out of what is looked through for garbage, which
    would copy the memory that they share."""
    for node in PRELOADED:
        with contextlib.suppress(ImportError):  # a node that needs it says what is missing
            importlib.import_module(f"{NODES}.{node}")
    getproctitle()  # finds the place of the title, by the environment that it starts in
    gc.freeze()


def live(node: str, arguments: list[str]) -> int:
    """In a fork: runs the node to its end, and returns its exit code."""
    module = importlib.import_module(f"{NODES}.{node}")
    sys.argv = [module.__file__, *arguments]
    setproctitle(" ".join([sys.executable, "-m", f"{NODES}.{node}", *arguments]))
    try:
        module.main()
    except SystemExit as end:
        return end.code
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def main() -> None:
    """The server, and in turn each of the nodes that it forks."""
    preload()
    if (asked := serve(socket.socket(fileno=int(sys.argv[1])))) is None:
        return
    code = live(*asked)
    # LTTng, which ROS is linked to, ends its threads as the process ends, and crashes where a fork
    # has none of them. So nothing of C's own is done at the end, only what Python would do, and
    # what Fast DDS would.
    atexit._run_exitfuncs()
    remove_own_shared_memory()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
