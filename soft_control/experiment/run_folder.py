"""The folder of a run: what stands in it, and whether another run may have it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from soft_control.experiment.learned_file import LEARNED_FILE
from soft_control.experiment.record import RECORD_FILE
from soft_control.robots.config_files import read_yaml

SENSOR_PORT, ACTUATOR_PORT = "sensor.port", "actuator.port"
"""Links in the run's folder to the ports of the simulated robot's instruments."""
REFERENCE_FILE = "reference.csv"
"""The samples of a reference that is no shape, in the run's folder."""
TRAJECTORY_FILE = "trajectory.csv"
"""The reference as the microcontroller is told it before the run, in the run's folder."""
REST_FILE = "rest.json"
"""The network where the robot rests, for nodes that invert it, in the run's folder."""
RUN_FILES = {
    RECORD_FILE,
    "bag",
    "log",
    "parameters",
    SENSOR_PORT,
    ACTUATOR_PORT,
    REFERENCE_FILE,
    TRAJECTORY_FILE,
    LEARNED_FILE,
    REST_FILE,
}
"""What a run has in its folder before it is summed up."""


def check_out(out: Path) -> None:
    """The run's folder: new, empty, or left behind by a run that never took a sample."""
    if out.is_dir():
        if any(out.iterdir()) and not never_started(out):
            raise ValueError(
                f"{out} is not empty: a run never overwrites another, choose another --out"
            )
    elif out.exists() or out.is_symlink():
        raise ValueError(f"{out} is no folder: choose another --out")
    parent = next(p for p in (out, *out.absolute().parents) if p.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise ValueError(f"{out} cannot be made: {parent} is no folder that you may write to")


def never_started(run_dir: Path) -> bool:
    """Whether a folder holds a run that ended before its first sample, and nothing else."""
    names = {path.name for path in run_dir.iterdir()}
    if RECORD_FILE not in names or not names <= RUN_FILES:
        return False
    bag = run_dir / "bag"
    if not bag.is_dir() or not any(bag.iterdir()):
        return True
    try:
        metadata = read_yaml(bag / "metadata.yaml")
        return metadata["rosbag2_bagfile_information"]["message_count"] == 0
    except (ValueError, KeyError, TypeError):
        return False


def clear(run_dir: Path) -> None:
    """Removes what a run that never took a sample has left; `check_out` has said that it is one."""
    for name in RUN_FILES if run_dir.is_dir() else ():
        path = run_dir / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
