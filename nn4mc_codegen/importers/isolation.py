"""Work on a file that nobody vouches for: in a child process, with bounded time and memory.

The HDF5 library crashes on some damaged files, and a crash would take the caller with it.
"""

from __future__ import annotations

import faulthandler
import os
import pickle
import signal
import sys
import warnings
from collections.abc import Callable
from typing import TypeVar

from nn4mc_codegen.graph.check import ModelError

T = TypeVar("T")
# A large model takes a second of processor time and some hundred MB; damaged ones may loop.
MAX_SECONDS = 20
MAX_BYTES = 2 << 30


def isolated(work: Callable[[], T]) -> T:
    """What `work` returns or raises; `ModelError` if it crashes or takes too much.

    Where processes cannot be forked (Windows) it is done here.
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
    try:
        _limit()
        try:
            answer = pickle.dumps((True, work()))
        except Exception as error:
            answer = pickle.dumps((False, error))
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(answer)
        code = 0
    finally:
        os._exit(code)  # neither the caller's clean-up nor its buffers are the child's


def _limit() -> None:
    import resource  # not there on Windows

    faulthandler.disable()  # a crash is expected, and told in one line
    resource.setrlimit(resource.RLIMIT_CPU, (MAX_SECONDS, MAX_SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        with open("/proc/self/statm") as file:
            data_pages = int(file.read().split()[5])
        bound = data_pages * resource.getpagesize() + MAX_BYTES
        resource.setrlimit(resource.RLIMIT_DATA, (bound, bound))


def _end(status: int) -> str:
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGKILL):
        return f"takes more than {MAX_SECONDS} s"
    return "crashes"
