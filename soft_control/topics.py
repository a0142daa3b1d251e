"""The names of the topics of the ROS graph, each once; knows no ROS.

They are those of a robot that is in no namespace. Nodes use them `relative`, so that a second robot
has its own below its namespace.
"""

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
TRACKING_ERROR = "/tracking_error"
"""Outputs less their reference at the same instant, and of each point the norm of that."""
PREDICTED_OUTPUTS = "/predicted_outputs"
SOLVER = "/solver"
ACTUATORS = "/actuators"
"""What the actuators say of themselves."""
MCU = "/mcu"
"""What the microcontroller has counted, said at the end of a run; in realtime each second, too."""
JOINT_STATES = "/joint_states"
"""Of the links that are drawn, for robot_state_publisher."""
MARKERS = "/markers"
"""What is drawn besides them: reference, horizon, tip and its trail."""
TF = "/tf"
"""One for all robots, whatever their namespace; their frames have prefixes."""
DIAGNOSTICS = "/diagnostics"
"""Of realtime runs: how each node is, once a second. One for all robots, as aggregators want it."""
STATISTICS = "statistics"
"""Below each node that owns something: the same numbers for plots, /mcu/statistics."""
CLOCK = "/clock"
ROLL_CALL = "/roll_call"

FIRMWARE = "/firmware"
"""By its build_id, which one runs, and the first sample from which it does."""
CONTROLLER = "/controller"
"""Which controller is active, and the first sample from which it is."""
CONTROLLER_ASKED = "/controller/asked"
"""Which one shall be: where the active one is another node, that one lets go first,"""
CONTROLLER_RELEASED = "/controller/released"
"""and says the first sample that it leaves to others."""

FIRST_NS = 1_653_004_800 * 10**9
"""Stamp of the first sample of every lockstep run: 2022-05-20, 0:00 UTC, in the month of arXiv
2205.10940. A date that viewers take for one, and always the same, so that equal runs are equal
bags. A float64 of seconds since 1970 resolves 0.24 us, of nanoseconds 256 ns: stamps are subtracted
as whole numbers, then scaled."""

POINTS = "/points"
"""Below it each point of the robot, for viewers; what acts takes the outputs by name."""


def field_topic(sensor: int) -> str:
    """Of a magnetometer's field; they are numbered."""
    return f"/magnetic/field_{sensor}"


def relative(topic: str) -> str:
    """As a node asks for it: below its own namespace."""
    return topic.lstrip("/")


def point_topic(point: str) -> str:
    """The topic of a point. Raises ValueError for a name of which ROS makes no topic."""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9]*(_[A-Za-z0-9]+)*", point):
        raise ValueError(
            f"point '{point}' makes no topic {POINTS}/{point}: letters, digits and single _ do, a "
            "letter first"
        )
    return f"{POINTS}/{point}"
