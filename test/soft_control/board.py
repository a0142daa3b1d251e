"""A board that can be unplugged and can lose power: a firmware in this process behind a port."""

from __future__ import annotations

import contextlib
import threading

from soft_control.link.transport import SilTransport, TransportError, WiredSil

from .plug import Plug


class Board(threading.Thread):
    """A firmware at the other end of the host's line, which can be unplugged and can lose power."""

    def __init__(self, plug: Plug, library, ports=()) -> None:
        super().__init__(daemon=True)
        self.plug, self._library, self._ports = plug, library, ports
        self._doing = threading.Lock()
        self._ended = threading.Event()
        self.firmware = None
        self.power(True)
        self.start()

    def power(self, on: bool) -> None:
        """Without it the firmware is gone; with it, another one begins."""
        with self._doing:
            if self.firmware is not None:
                self.firmware.close()
            make = WiredSil if self._ports else SilTransport
            self.firmware = make(self._library, *self._ports) if on else None

    def pull(self) -> None:
        with self._doing:
            self.plug.unplug()

    def put_in(self) -> None:
        with self._doing:
            self.plug.plug()

    def run(self) -> None:
        while not self._ended.wait(0.0005):
            with self._doing:
                self._serve()

    def _serve(self) -> None:
        plugged = self.plug.controller >= 0
        data = self.plug.read() if plugged else b""
        if self.firmware is None:
            return
        if data:
            self.firmware.write(data)
        with contextlib.suppress(TransportError, BlockingIOError):
            told = self.firmware.read(0.001)  # in which it takes what comes on its own lines
            if plugged:
                self.plug.write(told)

    def close(self) -> None:
        self._ended.set()
        self.join()
        if self.firmware is not None:
            self.firmware.close()
        self.plug.close()
