"""The names of the topics of the ROS graph, each once; knows no ROS."""

from __future__ import annotations

import re

SIGNALS_RAW = "/signals/raw"
SIGNALS = "/signals/calibrated"
OUTPUTS = "/outputs"
REFERENCE = "/reference"
COMMAND_ASKED = "/command/asked"
"""Of a controller: what it wants. It goes to the gate before the actuators, which is at the node of
the actuators, or in wiring mcu at the microcontroller."""
COMMAND = "/command"
"""What the actuators are told: it has passed that gate."""
PREDICTED_OUTPUTS = "/predicted_outputs"
SOLVER = "/solver"
ACTUATORS = "/actuators"
"""What the actuators say of themselves."""
MCU = "/mcu"
"""What the microcontroller has counted, said at the end of a run."""
CLOCK = "/clock"
ROLL_CALL = "/roll_call"

FIRST_NS = 1_000_000_000
"""Stamp of the first sample of a lockstep run: ROS takes a time of 0 for "no clock yet"."""

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
