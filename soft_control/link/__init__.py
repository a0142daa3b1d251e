"""The host's end of the wire to the microcontroller. docs/protocol.md is the specification."""

from __future__ import annotations

from soft_control.link.codes import SolverStatus, Supervisor
from soft_control.link.messages import Info, Telemetry
from soft_control.link.opening import open_session
from soft_control.link.session import (
    LinkError,
    McuSession,
    ModelMismatch,
    VersionError,
)
from soft_control.link.transport import HilTransport, PilTransport, SilTransport

__all__ = [
    "HilTransport",
    "Info",
    "LinkError",
    "McuSession",
    "ModelMismatch",
    "PilTransport",
    "SilTransport",
    "SolverStatus",
    "Supervisor",
    "Telemetry",
    "VersionError",
    "open_session",
]
