"""The high-voltage driver of HASEL actuators: a frame each way a sample.

To it: type 0x20, flags u8 (bit 0: arm), counter u8, duty u16 an actuator. Back: type 0x21, state
u8, faults u8, supply u16 in V, temperature i16 in 0.1 degrees C; all little-endian. The same as
firmware/src/instruments/hasel_driver.c.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from soft_control.link.actuator_status import ActuatorStatus
from soft_control.link.framing import CONTENT_MAX, FrameDecoder, encode_frame

DUTY, STATUS = 0x20, 0x21
ARM = 0x01
DISARMED, ARMED, FAULT = 0, 1, 2
SILENCE_S = 0.05
"""Without a good frame for so long the driver disarms by itself."""
STATUS_CONTENT = struct.Struct("<BBBHh")


class HaselDriver:
    """The master's end."""

    def __init__(self, config: Mapping[str, Any], commands: int) -> None:
        """config: hasel_driver_config_t."""
        self.status = ActuatorStatus()
        self._steps_per_unit = np.float32(config["steps_per_unit"])
        self._zero_steps = np.float32(config["zero_steps"])
        self._full_steps = np.float32(config["full_steps"])
        self._commands, self._counter = commands, 0
        self._decoder = FrameDecoder()

    def drive(self, command: Sequence[float]) -> bytes:
        """The bytes of a sample that arm the driver and set the duties of command (commands,)."""
        values = np.asarray(command, dtype=np.float32)
        with np.errstate(over="ignore", invalid="ignore"):
            exact = self._zero_steps + values * self._steps_per_unit
            rounded = np.floor(exact + np.float32(0.5))
        # NaN is not above zero, and becomes no voltage.
        duty = np.where(rounded >= 0, np.fmin(rounded, self._full_steps), 0)
        return self._frame(ARM, duty.astype("<u2"))

    def disarm(self) -> bytes:
        """The bytes of a sample that take the voltage away."""
        return self._frame(0, np.zeros(self._commands, dtype="<u2"))

    def _frame(self, flags: int, duty: np.ndarray) -> bytes:
        content = bytes((DUTY, flags, self._counter)) + duty.tobytes()
        self._counter = (self._counter + 1) % 256
        return encode_frame(content)

    def feed(self, data: bytes) -> bool:
        """Takes answers into `status`; True if one was complete."""
        answers, bad = self.status.answers, self._decoder.bad_frames
        for content in self._decoder.feed(data):
            if len(content) != STATUS_CONTENT.size or content[0] != STATUS:
                self.status.bad += 1
                continue
            _, _, self.status.errors, voltage, tenths = STATUS_CONTENT.unpack(content)
            self.status.voltage = float(voltage)
            self.status.temperature = float(np.float32(tenths) * np.float32(0.1))
            self.status.answers += 1
        self.status.bad += self._decoder.bad_frames - bad
        return self.status.answers > answers


class HaselDriverDevice:
    """The driver's end. supply_v, temperature_c and faults are what it measures."""

    def __init__(self, config: Mapping[str, Any], commands: int) -> None:
        """config: hasel_driver_config_t."""
        self.command: np.ndarray | None = None
        """(commands,) asked for last; None: none yet."""
        self.armed = False
        self.completed = 0
        """Samples."""
        self.supply_v, self.temperature_c, self.faults = 0.0, 25.0, 0
        self._steps_per_unit, self._zero_steps = config["steps_per_unit"], config["zero_steps"]
        self._size = 3 + 2 * commands
        self._heard_s = 0.0
        self._decoder = FrameDecoder(max(CONTENT_MAX, self._size))

    @property
    def bad(self) -> int:
        """Frames that were damaged."""
        return self._decoder.bad_frames

    def feed(self, data: bytes, now_s: float) -> bytes:
        """Takes bytes of the master that came at now_s, or none; returns what it answers."""
        if now_s - self._heard_s >= SILENCE_S:
            self._let_go()
        answer = b""
        for content in self._decoder.feed(data):
            if len(content) != self._size or content[0] != DUTY:
                continue
            self._heard_s = now_s
            if content[1] & ARM and self.faults == 0:
                self.armed = True
                duty = np.frombuffer(content[3:], dtype="<u2")
                self.command = (duty - self._zero_steps) / self._steps_per_unit
            else:
                self._let_go()
            self.completed += 1
            answer += self._answer()
        return answer

    def _let_go(self) -> None:
        """No voltage on any actuator."""
        self.armed = False
        if self.command is not None:
            self.command = np.full(len(self.command), -self._zero_steps / self._steps_per_unit)

    def _answer(self) -> bytes:
        state = FAULT if self.faults else ARMED if self.armed else DISARMED
        volts = min(max(round(self.supply_v), 0), 0xFFFF)
        tenths = min(max(round(10 * self.temperature_c), -0x8000), 0x7FFF)
        return encode_frame(STATUS_CONTENT.pack(STATUS, state, self.faults, volts, tenths))
