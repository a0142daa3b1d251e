"""The serial port of an instrument: opened as soon as it is there, found again when it has gone."""

from __future__ import annotations

import contextlib
import termios
import time

import serial
from pydantic import BaseModel, Field

from soft_control.link.returning import Backoff, PortFinder
from soft_control.nodes._node import RigNode

CHECK_S = 0.5
GRACE_S = 1.0
"""At the end of a run a simulated port goes a moment before its node is told to stop."""
WRITE_S = 0.05
"""A wire takes its bytes at once; a terminal that nobody reads is full at some time."""
LOOK_S = 0.01


class ReturningParameters(BaseModel):
    """Of a node whose device may go and come back."""

    reconnect_s: float = Field(
        30.0,
        ge=0,
        description="Realtime: what is unplugged may come back within so long, under whatever "
        "name, s; 0: the run ends with it.",
    )


class InstrumentPort:
    """The port that the parameters of a node name."""

    def __init__(self, node: RigNode, whose: str, timeout_s: float, may_return: bool) -> None:
        """whose: of the sensor, in messages to the user. timeout_s: of a read; 0: none waits.
        may_return: whether to look for it when it goes, for as long as the node's reconnect_s says.

        Raises RuntimeError where it cannot be opened within the node's port_timeout_s.
        """
        p = node.parameters
        self.where = f"{whose} on '{p.port}'"
        self.reconnections = 0
        """How often it has gone and come back."""
        self.gone_s = 0.0
        """How long it was away the last time that it came back, s."""
        self._node = node
        self._finder = PortFinder(p.port)
        self._baud, self._timeout_s = p.baud, timeout_s
        self._patience_s = p.reconnect_s if may_return else 0.0
        self._backoff = Backoff()
        self._failure: BaseException | None = None
        self._failed_s = 0.0
        self._said = False
        deadline = time.monotonic() + p.port_timeout_s
        try:
            while self._finder.find() is None and time.monotonic() < deadline:
                time.sleep(LOOK_S)
            self.serial = self._opened(self._finder.find() or p.port)
        except (OSError, termios.error, ValueError) as error:
            raise RuntimeError(f"{self.where} cannot be reached: {error}") from error

    def _opened(self, path: str) -> serial.Serial:
        wire = serial.Serial(
            path, self._baud, timeout=self._timeout_s, write_timeout=WRITE_S, exclusive=True
        )
        self._finder.opened(path)
        return wire

    @property
    def failed(self) -> bool:
        """Whether nothing comes or goes now."""
        return self._failure is not None

    @property
    def may_return(self) -> bool:
        """Whether it is worth to look for it."""
        lost = isinstance(self._failure, (OSError, type(None)))
        return self._patience_s > 0 and lost

    def away_s(self, now_s: float) -> float:
        """For how long nothing has come or gone, s; 0: it is there."""
        return now_s - self._failed_s if self.failed else 0.0

    def fail(self, failure: BaseException) -> None:
        """Remembers the first that has ended the use of the port."""
        if self._failure is None:
            self._failure, self._failed_s = failure, time.monotonic()
            self._backoff, self._said = Backoff(), False
            if self.may_return:
                with contextlib.suppress(OSError):
                    self.serial.close()  # or its name would not be free for it

    def came_back(self) -> bool:
        """Looks for a port that has failed, if it is time to; whether it has been opened again."""
        now_s = time.monotonic()
        if not (self.may_return and self._backoff.is_due(now_s)):
            return False
        try:
            path = self._finder.find()
            if path is None:
                return False
            self.serial = self._opened(path)
        except (OSError, termios.error, ValueError):
            return False  # it is there, but not ready: permissions may still be missing
        self.reconnections += 1
        self.gone_s, self._failure = time.monotonic() - self._failed_s, None
        return True

    def discard_input(self) -> None:
        """What has come and nobody has read; whether the port is still there is seen when it is
        read."""
        with contextlib.suppress(OSError, termios.error):
            self.serial.reset_input_buffer()

    def cancel_read(self) -> None:
        """A thread that waits for bytes waits no more; it may just have found the port gone."""
        with contextlib.suppress(OSError, TypeError):
            self.serial.cancel_read()

    @property
    def wait_s(self) -> float:
        """Until it is worth to look again, s."""
        return self._backoff.wait_s

    def check(self, after: str, is_over: bool = False) -> None:
        """Raises RuntimeError where the use of the port has ended `after` so much, and it has not
        come back in time: before the run `is_over`, if the node has the run's length. Else it is
        told to stop before that."""
        away_s = self.away_s(time.monotonic())
        if away_s <= GRACE_S:
            return
        what = f"{self.where} is gone after {after}: {type(self._failure).__name__}: "
        what += " ".join(str(self._failure).split())
        if is_over or not self.may_return or away_s > self._patience_s:
            raise RuntimeError(what) from self._failure
        if not self._said:
            self._said = True
            self._node.get_logger().warning(
                f"{what}; it may come back within {self._patience_s:g} s"
            )
