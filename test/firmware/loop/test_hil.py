"""The serial port: a pseudo-terminal with the firmware library behind it stands in for a board."""

from __future__ import annotations

import os
import threading
import tty
from dataclasses import replace

import pytest

from soft_control.link.session import LinkError, McuSession
from soft_control.link.transport import HilTransport, SilTransport, TransportError

REST, ORIGIN = (-0.17, -0.4), (0.0, 0.0, 0.0)


class Board:
    """Bytes from the pseudo-terminal into the library and back, until the terminal is closed."""

    def __init__(self, library) -> None:
        self.terminal, follower = os.openpty()
        tty.setraw(follower)
        self.port, self._follower = os.ttyname(follower), follower
        self._firmware = SilTransport(library)
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                data = os.read(self.terminal, 4096)
            except OSError:
                return
            if data == b"unplug":
                os.close(self.terminal)
                return
            self._firmware.write(data)
            try:
                os.write(self.terminal, self._firmware.read(0.0))
            except TransportError:
                continue  # nothing to say

    def unplug(self) -> None:
        if self._thread.is_alive():
            os.write(self._follower, b"unplug")
            self._thread.join()
        os.close(self._follower)


def test_hil_speaks_like_sil_and_unplugging_is_an_error(firmware, open_target):
    board = Board(firmware.library)
    sil = open_target("sil")
    with McuSession(HilTransport(board.port), model_hash=firmware.model_hash) as hil:
        for session in (sil, hil):
            session.arm(REST, ORIGIN)
        for k in range(20):
            there, here = (s.sample(k, [0.5] * 4, (0, 0.01, 0)) for s in (hil, sil))
            assert replace(there, time_us=0) == replace(here, time_us=0)
        board.unplug()
        with pytest.raises(LinkError, match=r"hil: .*last good sample 19"):
            for k in range(20, 30):
                hil.sample(k, [0.5] * 4, ORIGIN)


def test_a_missing_port_is_named():
    with pytest.raises(TransportError, match="/dev/no-such-port"):
        HilTransport("/dev/no-such-port")
