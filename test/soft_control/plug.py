"""A serial port that can be unplugged and plugged in again, under another name."""

from __future__ import annotations

import os
import tty
from pathlib import Path


class Plug:
    """The device's end of a pseudo-terminal, which a link names as udev's links do."""

    def __init__(self, link: Path) -> None:
        self.link = link
        self.names: list[str] = []
        """Of the port, from first to last."""
        self._kept: list[int] = []
        self.controller = self.port = -1
        self.plug()

    def plug(self) -> None:
        """The kernel gives the lowest free number: the one before is kept taken."""
        taken, (self.controller, self.port) = self._kept, os.openpty()
        if self.names and os.ttyname(self.port) == self.names[-1]:
            self._kept = [self.controller, self.port]
            self.controller, self.port = os.openpty()
        else:
            self._kept = []
        for end in taken:
            os.close(end)
        tty.setraw(self.port)
        os.set_blocking(self.controller, False)
        self.names.append(os.ttyname(self.port))
        # No moment without a link: it is replaced.
        new = self.link.with_suffix(".new")
        new.symlink_to(self.names[-1])
        new.replace(self.link)

    def unplug(self) -> None:
        self.link.unlink()
        for end in (self.controller, self.port):
            os.close(end)
        self.controller = self.port = -1

    def write(self, data: bytes) -> None:
        os.write(self.controller, data)

    def read(self) -> bytes:
        """What has come; b"" if nothing has."""
        try:
            return os.read(self.controller, 4096)
        except BlockingIOError:
            return b""

    def close(self) -> None:
        for end in (self.controller, self.port, *self._kept):
            if end >= 0:
                os.close(end)
