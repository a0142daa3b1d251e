"""A prepared run from its first process to its last, with a look at it while it goes."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from soft_control.experiment.bringup import NodeSpec
from soft_control.experiment.outcome import RunFailed, broken_off
from soft_control.experiment.record import RunRecord, read_record
from soft_control.experiment.runner import given_domain, ros_domain, run
from soft_control.experiment.summary import finish
from soft_control.shared_memory import SETTLED_S, clear_shared_memory

if TYPE_CHECKING:
    from soft_control.experiment.live import View


def watch(nodes: list[NodeSpec], run_dir: Path, on_view: Callable[[View], None]) -> None:
    """Runs what `bringup.prepare` made, in a ROS domain of its own, and sums it up; `on_view` gets
    the newest View ten times a second, from the first sample on.

    Raises RunFailed where a node fails in mid-run, or the run ends early; after that, as after
    KeyboardInterrupt, what was recorded until then is in `run_dir`, and summed up.
    """
    record = read_record(run_dir)
    kept = f"what was recorded until then is in {run_dir}"
    try:
        _run(nodes, run_dir, record, on_view)
    except RunFailed as failure:
        time.sleep(SETTLED_S)  # what a killed node leaves may be too young to be cleared up
        raise RunFailed(f"{failure}; {kept}") from None
    finally:
        # When the node of the live view has left it too, which happens when it is collected.
        gc.collect()
        clear_shared_memory()
        # The logger has no time for it: whoever stops a graph waits for its nodes to end.
        summary = finish(run_dir)
    if why := broken_off(summary, record.duration_s):
        raise RunFailed(f"{why}; {kept}")


def _run(
    nodes: list[NodeSpec], run_dir: Path, record: RunRecord, on_view: Callable[[View], None]
) -> None:
    with ros_domain() if record.sim else given_domain():
        # ROS is imported within the domain, and only by who runs something.
        from soft_control.experiment.live import Live

        with Live(record.robot, record.namespace, record.settled_s) as live:

            def poll() -> None:
                view = live.poll()
                if view.t_s > 0:
                    on_view(view)

            run(nodes, run_dir.absolute(), poll)
