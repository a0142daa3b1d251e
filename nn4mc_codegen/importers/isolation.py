"""Work on a file that nobody vouches for: in a child process that is bounded and has no doors.

The HDF5 library crashes on some damaged files, and a crash would take the caller with it.
"""

from __future__ import annotations

import ctypes
import faulthandler
import gc
import os
import pickle
import signal
import struct
import sys
import time
import warnings
from collections.abc import Callable
from typing import TypeVar

from nn4mc_codegen.graph.check import ModelError

T = TypeVar("T")
# A large model takes a second of processor time and some hundred MB; damaged ones may loop.
MAX_SECONDS = 20
MAX_BYTES = 2 << 30

# Linux' interface to Landlock: system calls with the same numbers on every architecture, and how
# many kinds of access to files each version of it knows.
CREATE_RULESET, RESTRICT_SELF = 444, 446
FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
PR_SET_NO_NEW_PRIVS = 38


def isolated(work: Callable[[], T]) -> T:
    """What `work` returns or raises; `ModelError` if it crashes or takes too much.

    `work` can open nothing: modules that it needs must be imported before. Where processes cannot
    be forked (Windows) it is done here.
    """
    if not hasattr(os, "fork"):
        return work()
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        # Of threads that the child will not have: it reads a file and needs none of them.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        _answer(work, writing)
    os.close(writing)
    try:
        with os.fdopen(reading, "rb") as pipe:
            answer = pipe.read()
    finally:
        _, status = os.waitpid(child, 0)
    if status:
        raise ModelError(f"damaged: reading it {_end(status)}; save the model again")
    succeeded, value = pickle.loads(answer)  # of our own child, not of the file
    if not succeeded:
        raise value
    return value


def _answer(work: Callable[[], object], writing: int) -> None:
    """The child's whole life."""
    code = 1
    # What the caller has left for the collector is not ours to end: the end of TensorFlow's objects
    # waits for threads that this process does not have.
    gc.disable()
    try:
        bound_resources()
        close_doors()
        try:
            answer = pickle.dumps((True, work()))
        except Exception as error:
            answer = pickle.dumps((False, error))
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(answer)
        code = 0
    finally:
        os._exit(code)  # neither the caller's clean-up nor its buffers are the child's


def bound_resources() -> None:
    """From here on this process may take `MAX_SECONDS` of processor time and `MAX_BYTES` more."""
    import resource  # not there on Windows

    faulthandler.disable()  # a crash is expected, and told in one line
    seconds = int(time.process_time()) + MAX_SECONDS
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        # What this limit counts is VmData; the stack, which statm adds to it, is not among it.
        with open("/proc/self/status") as file:
            (kilobytes,) = (line.split()[1] for line in file if line.startswith("VmData:"))
        bound = int(kilobytes) * 1024 + MAX_BYTES
        resource.setrlimit(resource.RLIMIT_DATA, (bound, bound))


def close_doors() -> None:
    """From here on this process opens no file and no socket and writes into no file.

    What is open stays usable, pipes among it, and there is no way back. Any system that has
    resource limits keeps this much. Where Linux has Landlock (5.13, 2021), the calling thread can
    also neither start a program nor make, rename or delete a file.
    """
    import resource

    _shut_by_landlock()
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    # A new descriptor's number must be below this limit: there is none left.
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))


def _shut_by_landlock() -> None:
    """Give up every right that Landlock can take; nothing where the kernel has no Landlock."""
    if sys.platform != "linux":
        return
    system = ctypes.CDLL(None)
    version = system.syscall(CREATE_RULESET, None, ctypes.c_size_t(0), 1)
    if version < 1:
        return
    files = (1 << FILE_RIGHTS.get(version, max(FILE_RIGHTS.values()))) - 1
    # A ruleset names the rights that it handles, and without rules it grants none of them: access
    # to files; from version 4 on TCP's bind and connect; from version 6 on signals to others.
    rights = struct.pack("<QQQ", files, 0b11 if version >= 4 else 0, 0b11 if version >= 6 else 0)
    size = 8 if version < 4 else 16 if version < 6 else 24
    ruleset = system.syscall(CREATE_RULESET, rights, ctypes.c_size_t(size), 0)
    system.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if ruleset < 0 or system.syscall(RESTRICT_SELF, ruleset, 0) != 0:
        raise OSError("Landlock is there, but does not shut")
    os.close(ruleset)


def _end(status: int) -> str:
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGKILL):
        return f"takes more than {MAX_SECONDS} s"
    return "crashes"
