"""Child processes that never outlive their parent and never miss a signal to stop."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from collections.abc import Callable, Iterator

PR_SET_PDEATHSIG = 1

PARENT = "SOFT_CONTROL_PARENT"
"""Pid of the process with which nodes end that start in this environment; empty: with none."""

_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent(how: signal.Signals = signal.SIGKILL) -> Callable[[], None]:
    """A preexec_fn for subprocess.Popen: the child gets the signal `how` when its parent ends.

    The parent is the thread that starts the child (Linux, prctl(2) PR_SET_PDEATHSIG).
    """
    parent = os.getpid()

    def ask_for_signal() -> None:
        _libc.prctl(PR_SET_PDEATHSIG, how)
        if os.getppid() != parent:  # it ended before the line above
            os._exit(1)

    return ask_for_signal


def end_with_parent(how: signal.Signals = signal.SIGINT) -> None:
    """The same for a child that others start, such as `ros2 launch`, where PARENT says who that is:
    `how` comes at once where that one is gone already. For the main thread."""
    parent = os.environ.get(PARENT, "")
    if not parent.isdecimal():
        return
    _libc.prctl(PR_SET_PDEATHSIG, how)
    try:
        os.kill(int(parent), 0)
    except ProcessLookupError:
        os.kill(os.getpid(), how)
    except PermissionError:
        pass  # it is there, and another user's


@contextlib.contextmanager
def interrupt_held() -> Iterator[None]:
    """For starting children that handle SIGINT: one that is sent to such a child waits until it
    calls `release_interrupt`.

        parent   |-- held: Popen --|
        child          fork, exec, Python starts, imports for a second | handler | release | runs
        SIGINT            ^ waits .................................................^ handled

    A child inherits the signals that its parent holds back, across exec. Without that a SIGINT in
    the first second raises KeyboardInterrupt wherever Python happens to be; in a callback of the
    import system Python reports it as ignored and goes on: in 2 of 90 failing runs a node went deaf
    in that way. SIGTERM is not held: until a handler stands it ends the child at once.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def release_interrupt() -> None:
    """In a child: SIGINT comes from now on, first one that came before."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])


def yield_to_others(nice: int = 10) -> None:
    """All threads of this process wait where others want the processor, and those that they start
    (Linux, setpriority(2): it is of a thread)."""
    for thread in os.listdir("/proc/self/task"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            os.setpriority(os.PRIO_PROCESS, int(thread), nice)


def cpu_seconds(pid: int) -> float:
    """What the process has used of processors so far (Linux, proc(5)); 0 where there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # After the name, which is in brackets and may hold anything: state is field 3, utime
            # and stime are 14 and 15.
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
