"""How a run ended, in one sentence: why it failed, or what came of it."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from soft_control.plain_text import printable

if TYPE_CHECKING:
    from soft_control.experiment.bringup import NodeSpec

SHORT = 0.9
"""A realtime run may miss a sample or two of its length, and is not broken off for that."""

OFF_RATE = 1.2
"""Times the rate of a run: a machine that is busy takes a sample late, or misses a few."""
NO_SPACE = 1 << 16
"""Bytes: where fewer are free in a run's folder, a node that ended has failed to write."""


class RunFailed(RuntimeError):
    """A node failed in mid-run; the message is what it said."""


def ending_node(nodes: Sequence[NodeSpec]) -> str:
    """The node whose end is the run's: the one that has the samples."""
    return next(node.name for node in nodes if node.ends_run)


def failure(
    codes: Mapping[str, int], first: Sequence[str], ending: str, run_dir: Path
) -> str | None:
    """Why a run failed; None where it did not.

    codes: exit codes of all nodes that the run needs. first: those that had ended when the others
    were told to. The end of `ending` is the run's, any other node that ended first has broken it
    off. The logger ends last and may still fail to write.
    """
    complete = ending in first and codes[ending] == 0
    for name in ["logger"] if complete else [*first, *codes]:
        if codes[name] != 0 or name in first:
            return reason(name, codes[name], run_dir)
    return None


def reason(name: str, code: int, run_dir: Path) -> str:
    """What a node said last, for the user."""
    log = run_dir / "log" / f"{name}.log"
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    said = next((line for line in reversed(lines) if line.startswith("error: ")), None)
    if said:
        return said.removeprefix("error: ")
    if code < 0:  # what it said before is no reason
        return f"{name} was killed by {_signal(-code)} (what it said until then is in {log})"
    last = lines[-1] if lines else "it said nothing"
    full = "; no space is left there" if shutil.disk_usage(run_dir).free < NO_SPACE else ""
    return f"{name} ended with code {code}: {last} (all of it is in {log}{full})"


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def broken_off(summary: Mapping[str, Any] | None, duration_s: float) -> str | None:
    """Of a run whose nodes all ended well: why it is none all the same, as where somebody told the
    rig to stop. `summary` is None where nothing was recorded."""
    if summary is None:
        return "nothing was recorded"
    lockstep, taken_s = summary["clock"] == "lockstep", summary["duration_s"]
    if summary["complete"] or (not lockstep and taken_s > SHORT * duration_s):
        return None
    return f"the run ended after {taken_s:.4g} of {duration_s:g} s"


def in_a_line(summary: Mapping[str, Any], title: str, run_dir: Path) -> str:
    """What came of a run: the errors of its points and outputs, or that there is a recording."""
    samples = f"{summary['samples']} samples in {run_dir}"
    if not summary["errors"]:
        return printable(f"{title}: recorded {samples}")
    errors = (
        f"{error['of']} RMSE {error['rmse']:.3g}, maximum {error['max']:.3g} {error['unit']}"
        for error in summary["errors"]
    )
    return printable(f"{title}: {'; '.join(errors)}; {samples}")


def off_rate(summary: Mapping[str, Any]) -> str | None:
    """What is wrong with the rate of a sensor whose samples nobody but itself has timed; None where
    it is about that of the run."""
    wanted_hz, until_s = summary["rate_hz"], summary["last_sample_s"]
    between = summary["samples"] + summary["lost_samples"] - 1
    if summary["sim"] or until_s <= 0.0:
        return None
    if 1 / OFF_RATE <= between / until_s / wanted_hz <= OFF_RATE:
        return None
    return (
        f"the sensor gave {between / until_s:.4g} samples a second, where the run has "
        f"{wanted_hz:g}: the controller takes each for one period, so let it send at that rate"
    )
