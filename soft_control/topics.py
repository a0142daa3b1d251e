"""The names of the topics of the ROS graph, each once; knows no ROS."""

from __future__ import annotations

SIGNALS_RAW = "/signals/raw"
SIGNALS = "/signals/calibrated"
TIP_POSITION = "/tip_position"
REFERENCE = "/reference"
COMMAND = "/command"
PREDICTED_POSITION = "/predicted_position"
SOLVER = "/solver"
CLOCK = "/clock"
ROLL_CALL = "/roll_call"
