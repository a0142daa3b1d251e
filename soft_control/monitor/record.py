"""The description of a robot, out of the record of the run that a node says it is part of."""

from __future__ import annotations

import json
from pathlib import Path

from soft_control.robots.description import RobotDescription, described

RECORD_BYTES_MAX = 10_000_000


def described_in(path: Path) -> RobotDescription | None:
    """The robot of RUN_DIR/experiment.json; None where this machine has no such file, or no robot
    is in it: then topics and parameters have to do."""
    try:
        if not path.is_file() or path.stat().st_size > RECORD_BYTES_MAX:
            return None
        values = json.loads(path.read_text(encoding="utf-8"))
        return described(values["robot"], str(path))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
