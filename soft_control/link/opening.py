"""A session with a build, wherever that runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

from soft_control.link.cut import CutTransport
from soft_control.link.session import LinkError, McuSession
from soft_control.link.transport import (
    HilTransport,
    PilTransport,
    SilTransport,
    Transport,
    TransportError,
    WiredSil,
)
from soft_control.supply.image import ImageError, read_image

REHEARSED = 4
"""Samples: from the third on a step takes no longer than any later one."""


class FirmwareFiles(Protocol):
    """What a session has to know of a build: its files, and what they say of themselves."""

    @property
    def library(self) -> Path:
        """For sil."""

    @property
    def elf(self) -> Path:
        """For pil."""

    @property
    def machine(self) -> str | None:
        """QEMU's name of what models its board."""

    @property
    def model_hash(self) -> str:
        """As INFO has it."""

    @property
    def build_id(self) -> str:
        """As INFO has it."""


def open_session(
    target: Literal["sil", "pil", "hil"],
    firmware: FirmwareFiles,
    port: str | None = None,
    timeout_s: float = 2.0,
    instruments: tuple[Path, Path] | None = None,
    cut: range = range(0),
    realtime: bool = False,
    start_timeout_s: float = 10.0,
) -> McuSession:
    """A session with a build, as `firmware_files.read_build` finds it; hil needs the port of the
    board that runs it.

    instruments: terminals of sensor and actuators that sil and pil own in wiring `mcu`; a board has
    its own. cut: samples that nobody hears of, as CutTransport says. realtime: as PilTransport
    says. start_timeout_s: it may take so long to start.

    Raises LinkError, also for an image that is damaged or another's, VersionError, ModelMismatch;
    ValueError for an unknown target.
    """
    check_image(target, firmware)
    try:
        if target == "sil" and instruments:
            transport: Transport = WiredSil(firmware.library, *instruments)
        elif target == "sil":
            transport = SilTransport(firmware.library)
        elif target == "pil":
            sensor, actuator = instruments or (None, None)
            transport = PilTransport(
                firmware.elf,
                machine=firmware.machine,
                sensor=sensor,
                actuator=actuator,
                realtime=realtime,
            )
        elif target == "hil" and port:
            transport = HilTransport(port)
        elif target == "hil":
            raise ValueError("target hil needs the serial port of the board, such as /dev/ttyACM0")
        else:
            raise ValueError(f"unknown target {target!r}: sil, pil or hil")
    except TransportError as error:
        raise LinkError(f"{target}: {error}") from error
    return McuSession(
        CutTransport(transport, cut) if cut else transport,
        timeout_s=timeout_s,
        start_timeout_s=start_timeout_s,
        model_hash=firmware.model_hash,
        build_id=firmware.build_id,
    )


def rehearse(session: McuSession, command: Sequence[float], outputs: Sequence[float]) -> None:
    """A run of some samples in which nothing is moved; none may go on.

    An emulator translates code when it comes to it first: of the demo's samples, which were
    answered within 1.2 ms on a quiet machine and 4 on a busy one, the first took 8 to 30 ms and the
    second 2 to 10. Three late steps in a row end a run that has its own timer.

    command (m,), outputs (n,): at rest. Raises LinkError."""
    sizes = session.info.sizes
    session.arm(command, outputs, [outputs] * session.info.horizon)
    for k in range(REHEARSED):
        session.sample(k, [0.0] * sizes.signals, outputs)
    session.stop()


def check_image(target: str, firmware: FirmwareFiles) -> None:
    """Whether the file that sil or pil is about to run is whole and what the build says; a board
    sees to that itself, and says who it is. Raises LinkError."""
    path = {"sil": firmware.library, "pil": firmware.elf}.get(target)
    if path is None:
        return
    try:
        image = read_image(path)
        image.check(firmware.model_hash, firmware.build_id, ("host",) if target == "sil" else ())
    except ImageError as error:
        raise LinkError(f"{target}: {error}") from None
