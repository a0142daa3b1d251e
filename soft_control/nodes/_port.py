"""The serial port of an instrument: opened as soon as it is there, missed when it goes."""

from __future__ import annotations

import termios
import time
from pathlib import Path

import serial

from soft_control.nodes._node import RigNode

CHECK_S = 0.5
GRACE_S = 1.0
"""At the end of a run a simulated port goes a moment before its node is told to stop."""
WRITE_S = 0.05
"""A wire takes its bytes at once; a terminal that nobody reads is full at some time."""


class InstrumentPort:
    """The port that the parameters of a node name."""

    def __init__(self, node: RigNode, whose: str, timeout_s: float) -> None:
        """whose: of the sensor, in messages to the user. timeout_s: of a read; 0: none waits.

        Raises RuntimeError where it cannot be opened within the node's port_timeout_s.
        """
        p = node.parameters
        self.where = f"{whose} on '{p.port}'"
        self._failure: BaseException | None = None
        self._failed_s = 0.0
        deadline = time.monotonic() + p.port_timeout_s
        while not Path(p.port).exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        try:
            self.serial = serial.Serial(
                p.port, p.baud, timeout=timeout_s, write_timeout=WRITE_S, exclusive=True
            )
        except (serial.SerialException, termios.error, ValueError) as error:
            raise RuntimeError(f"{self.where} cannot be reached: {error}") from error

    @property
    def failed(self) -> bool:
        """Whether nothing comes or goes any more."""
        return self._failure is not None

    def fail(self, failure: BaseException) -> None:
        """Remembers the first that has ended the use of the port."""
        if self._failure is None:
            self._failure, self._failed_s = failure, time.monotonic()

    def check(self, after: str) -> None:
        """Raises RuntimeError where the use of the port has ended `after` so much; at the end of a
        run the node is told to stop before that."""
        if self.failed and time.monotonic() - self._failed_s > GRACE_S:
            what = f"{type(self._failure).__name__}: {self._failure}"
            raise RuntimeError(f"{self.where} is gone after {after}: {what}") from self._failure
