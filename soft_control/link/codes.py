"""Codes: the small numbers in messages that stand for words, as in firmware/src/wire/message.h."""

from __future__ import annotations

import enum

TETHERED = 0xFFFFFFFF
"""tethered_samples of a run that is tethered to its end."""


def in_words(kind: type[enum.IntEnum], value: int) -> str:
    """The name of a code, which may be one that this host does not know."""
    try:
        return kind(value).name.lower().replace("_", " ")
    except ValueError:
        return f"{kind.__name__} {value}"


class SolverStatus(enum.IntEnum):
    """How the MPC came to its command."""

    CONVERGED = 0
    MAX_ITERATIONS = 1
    NOT_FINITE = 2
    DEADLINE = 3
    INFEASIBLE_PROBLEM = 4
    NONE = 255
    """It was not asked: the sample was observed."""


class Supervisor(enum.IntFlag):
    """What a command went through."""

    NOT_FINITE = 0x01
    LIMITED = 0x02
    HOST_STALE = 0x04
    GAP = 0x08
    LOST_POINT = 0x10
    SENSOR_HELD = 0x20
    LATE = 0x40


class State(enum.IntEnum):
    """Of the firmware; the table of docs/protocol.md says what leads from one to another."""

    BOOT = 0
    IDLE = 1
    ARMED = 2
    RUNNING = 3
    HOLDING = 4
    STOPPED = 5
    FAULT = 6


class Cause(enum.IntEnum):
    """Why the state is what it is."""

    NONE = 0
    ASKED = 1
    HOST_LOST = 2
    SENSOR_SILENT = 3
    SENSOR_DAMAGED = 4
    SENSOR_RANGE = 5
    SENSOR_RATE = 6
    SENSOR_FROZEN = 7
    SOLVER_FAILED = 8
    DEADLINE_MISSED = 9
    ACTUATOR_ERROR = 10
    ACTUATOR_VOLTAGE = 11
    ACTUATOR_TEMPERATURE = 12
    ACTUATOR_SILENT = 13
    CRASHED = 14
    IMAGE_DAMAGED = 15
    """Of the firmware itself; left by a restart only, as the next is."""
    IMAGE_OF_OTHER_BOARD = 16


class Clock(enum.IntEnum):
    """What a control period is measured by."""

    SAMPLES = 0
    TIMER = 1


class Wiring(enum.IntEnum):
    """Where sensor and actuators are."""

    HOST = 0
    MCU = 1


class Source(enum.IntEnum):
    """Where commands come from."""

    MPC = 0
    HOST = 1
    HOLD = 2
    """The one that was told last stays."""


class HostLost(enum.IntEnum):
    """What the firmware does when the host has been silent for too long."""

    CONTINUE = 0
    HOLD = 1
    STOP = 2


class Keep(enum.IntEnum):
    """What KEEP wants of what outlasts the power."""

    ASK = 0
    STORE = 1
    FORGET = 2


class ErrorCode(enum.IntEnum):
    """Why the microcontroller refused a frame."""

    UNKNOWN_TYPE = 1
    BAD_LENGTH = 2
    WRONG_STATE = 3
    OUT_OF_ORDER = 4
    BAD_VALUE = 5
    TOO_OLD = 6
    INCOMPLETE = 7
    WRONG_IMAGE = 8
    NOT_KEPT = 9


class ResetCause(enum.IntEnum):
    """Why the microcontroller started."""

    UNKNOWN = 0
    POWER_ON = 1
    PIN = 2
    SOFTWARE = 3
    WATCHDOG = 4
    FAULT = 5


class StepCostUnit(enum.IntEnum):
    """What step_cost counts."""

    NONE = 0
    INSTRUCTIONS = 1
    CYCLES = 2
