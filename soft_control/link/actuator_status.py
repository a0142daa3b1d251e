"""What actuators say of themselves, as firmware/src/instruments/actuator_status.h has it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class ActuatorStatus:
    """Zero is "not known": all of it at the start, what an instrument does not measure for ever."""

    index: int = 0
    """Of the actuator that has spoken last."""
    errors: int = 0
    """Bits, as the instrument's own documents have them."""
    position: float = 0.0
    """In the unit of its command."""
    load: float = 0.0
    """Share of the largest, signed."""
    voltage: float = 0.0
    """V."""
    temperature: float = 0.0
    """Degrees C."""
    answers: int = 0
    bad: int = 0
    """Answers that were damaged."""
