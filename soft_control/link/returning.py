"""A device that goes and comes back: under which name it is now, and when to look for it again.

A cable that is pulled and put in again, or a hub that resets, gives a serial port another name: who
had /dev/ttyUSB0 is /dev/ttyUSB1, and /dev/ttyUSB0 may by then be somebody else. So a port is known
by what does not change:

    usb:A50285BI        the USB serial number, and usb:A50285BI:1.1 one of several ports behind it
    a path              /dev/ttyUSB0: when it is opened, whose USB serial number that is
    a link              /dev/serial/by-id/…: whatever it points to

A device that has no serial number is known by its path alone; a link from /dev/serial/by-path names
the socket that it is in.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from serial.tools.list_ports import comports

USB = "usb:"
FIRST_S = 0.02
"""Between the first two looks for a device that has gone; each one after that waits longer by
half,"""
LAST_S = 0.5
"""but never longer than this: who is back has been found within half a second."""


class Listed(Protocol):
    """A port as pyserial lists it."""

    device: str
    vid: int | None
    pid: int | None
    serial_number: str | None
    location: str | None


class Identity(NamedTuple):
    """What a port keeps wherever it is put in."""

    vid: int | None
    pid: int | None
    serial_number: str
    interface: str
    """Of one device's several ports, such as 1.1; empty: it has one."""


def identity(port: Listed) -> Identity | None:
    """Of a port; None: it says nothing that would tell it from others."""
    if not port.serial_number:
        return None
    _, _, interface = (port.location or "").partition(":")
    return Identity(port.vid, port.pid, port.serial_number, interface)


class PortFinder:
    """Where a port is."""

    def __init__(self, name: str, listed: Callable[[], Iterable[Listed]] = comports) -> None:
        """name: as above. listed: all ports that there are now."""
        self.name, self._listed = name, listed
        self._known: Identity | None = None

    def find(self) -> str | None:
        """The path at which it can be opened now; None: it is not there. Raises ValueError for a
        serial number that several ports have."""
        if self._known is not None:
            there = [port.device for port in self._listed() if identity(port) == self._known]
            return there[0] if there else None
        if self.name.startswith(USB):
            return self._by_number(self.name.removeprefix(USB))
        return os.path.realpath(self.name) if os.path.exists(self.name) else None

    def opened(self, path: str) -> None:
        """It is the one at `path`: from now on it is looked for by its serial number, if it has
        one."""
        self._known = next((identity(p) for p in self._listed() if p.device == path), None)

    def _by_number(self, said: str) -> str | None:
        number, _, interface = said.partition(":")
        there = {}
        for port in self._listed():
            found = identity(port)
            if found and found.serial_number == number and interface in ("", found.interface):
                there[port.device] = found.interface
        if len(there) > 1:
            choices = " or ".join(f"{USB}{number}:{each}" for each in sorted(there.values()))
            raise ValueError(
                f"{self.name} is {', '.join(sorted(there))}: say which one, such as {choices}"
            )
        return next(iter(there), None)


@dataclass
class Backoff:
    """When to look again for what has gone; time is an argument, s."""

    wait_s: float = field(default=FIRST_S, init=False)
    """Until the next look, from the last one on."""
    _last_s: float | None = field(default=None, init=False)

    def is_due(self, now_s: float) -> bool:
        """Whether to look now; the next time then is farther."""
        if self._last_s is not None:
            if now_s - self._last_s < self.wait_s:
                return False
            self.wait_s = min(1.5 * self.wait_s, LAST_S)
        self._last_s = now_s
        return True
