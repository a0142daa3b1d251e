"""The names of the topics of the ROS graph, each once; knows no ROS."""

from __future__ import annotations

import re

SIGNALS_RAW = "/signals/raw"
SIGNALS = "/signals/calibrated"
OUTPUTS = "/outputs"
REFERENCE = "/reference"
COMMAND = "/command"
PREDICTED_OUTPUTS = "/predicted_outputs"
SOLVER = "/solver"
CLOCK = "/clock"
ROLL_CALL = "/roll_call"

POINTS = "/points"
"""Below it each point of the robot, for viewers; what acts takes the outputs by name."""


def point_topic(point: str) -> str:
    """The topic of a point. Raises ValueError for a name of which ROS makes no topic."""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9]*(_[A-Za-z0-9]+)*", point):
        raise ValueError(
            f"point '{point}' makes no topic {POINTS}/{point}: letters, digits and single _ do, a "
            "letter first"
        )
    return f"{POINTS}/{point}"
