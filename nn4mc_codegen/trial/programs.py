"""Other programs, run for a bounded time: the emulator, frameworks, peers of the benchmark."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from typing import Any


def run_bounded(
    words: Sequence[str], timeout_s: float, error: type[Exception], slow: str, **how: Any
) -> subprocess.CompletedProcess:
    """What a program printed and its exit code; `how` is as for `subprocess.run`.

    It gets no input unless `how` gives some. Raises `error("<slow> within <timeout_s> s")` for one
    that does not end.
    """
    if "input" not in how:
        how["stdin"] = subprocess.DEVNULL
    try:
        return subprocess.run(words, capture_output=True, check=False, timeout=timeout_s, **how)
    except subprocess.TimeoutExpired:
        raise error(f"{slow} within {timeout_s} s") from None
