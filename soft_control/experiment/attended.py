"""A prepared run from its first process to its last, with a look at it while it goes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from soft_control.experiment.bringup import NodeSpec
from soft_control.experiment.record import read_record
from soft_control.experiment.runner import RunFailed, ros_domain, run

if TYPE_CHECKING:
    from soft_control.experiment.live import View


def watch(nodes: list[NodeSpec], run_dir: Path, on_view: Callable[[View], None]) -> None:
    """Runs what `bringup.prepare` made, in a ROS domain of its own; `on_view` gets the newest View
    ten times a second, from the first sample on.

    Raises RunFailed where a node fails in mid-run; after that, as after KeyboardInterrupt, what was
    recorded until then is in `run_dir`.
    """
    robot = read_record(run_dir).robot
    with ros_domain():
        # ROS is imported within the domain, and only by who runs something.
        from soft_control.experiment.live import Live

        with Live(robot) as live:

            def poll() -> None:
                view = live.poll()
                if view.t_s > 0:
                    on_view(view)

            try:
                run(nodes, run_dir.absolute(), poll)
            except RunFailed as failure:
                raise RunFailed(
                    f"{failure}; what was recorded until then is in {run_dir}"
                ) from None
