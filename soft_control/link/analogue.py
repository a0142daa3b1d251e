"""Actuators of any kind behind a converter of one's own: a frame of commands a sample.

Content: type 0x30, flags u8 (bit 0: enabled), counter u8, f32 a command, little-endian. They say
nothing back. The same as firmware/src/instruments/analogue.c.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from soft_control.link.actuator_status import ActuatorStatus
from soft_control.link.framing import CONTENT_MAX, FrameDecoder, encode_frame

TYPE = 0x30
ENABLED = 0x01


class Analogue:
    """The master's end."""

    def __init__(self, config: Mapping[str, Any], commands: int) -> None:
        """config: analogue_config_t, of which nothing is used."""
        self.status = ActuatorStatus()
        self._counter = 0
        self._command = np.zeros(commands, dtype="<f4")

    def drive(self, command: Sequence[float]) -> bytes:
        """The bytes of a sample that move to command (commands,)."""
        self._command[:] = command
        return self._frame(ENABLED)

    def disarm(self) -> bytes:
        """The bytes of a sample that let go."""
        return self._frame(0)

    def _frame(self, flags: int) -> bytes:
        content = bytes((TYPE, flags, self._counter)) + self._command.tobytes()
        self._counter = (self._counter + 1) % 256
        return encode_frame(content)

    def feed(self, data: bytes) -> bool:
        """Takes answers; there are none."""
        return False


class AnalogueDevice:
    """The converter's end."""

    def __init__(self, config: Mapping[str, Any], commands: int) -> None:
        """config: as of Analogue."""
        self.command: np.ndarray | None = None
        """(commands,) asked for last; None: none yet."""
        self.armed = False
        self.completed = 0
        """Samples."""
        self._size = 3 + 4 * commands
        self._decoder = FrameDecoder(max(CONTENT_MAX, self._size))

    @property
    def bad(self) -> int:
        """Frames that were damaged."""
        return self._decoder.bad_frames

    def feed(self, data: bytes, now_s: float = 0.0) -> bytes:
        """Takes bytes of the master; returns what it answers: nothing."""
        for content in self._decoder.feed(data):
            if len(content) == self._size and content[0] == TYPE:
                self.armed = bool(content[1] & ENABLED)
                if self.armed:
                    self.command = np.frombuffer(content[3:], dtype="<f4").astype(float)
                elif self.command is not None:  # they rest
                    self.command = np.zeros(len(self.command))
                self.completed += 1
        return b""
