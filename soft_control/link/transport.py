"""Three ways to a microcontroller, one interface: bytes out, bytes in.

sil   the firmware as a library, called in process
pil   the board's ELF under qemu-system-arm
hil   a board on a serial port
"""

from __future__ import annotations

import ctypes
import enum
import functools
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import serial

from soft_control.processes import die_with_parent

class Port(enum.IntEnum):
    """Of the firmware."""

    HOST = 0
    SENSOR = 1
    ACTUATOR = 2


BAUD = 2_000_000
READ_SIZE = 4096


class TransportError(RuntimeError):
    """The other end cannot be reached, or is gone."""


class Transport(Protocol):
    """What a session needs."""

    name: str
    """For messages."""
    advice: str
    """What to do when the other end is silent."""

    def write(self, data: bytes) -> None:
        """Raises TransportError."""

    def read(self, timeout_s: float) -> bytes:
        """What has come, after at most timeout_s; b"" if nothing has. Raises TransportError."""

    def close(self) -> None:
        """Never raises; a second call does nothing."""


@functools.cache
def _load(library: Path, written_ns: int) -> ctypes.CDLL:
    """From a copy: the loader knows a library by its name and would not see a new build of it."""
    with tempfile.NamedTemporaryFile(suffix=".so") as copy:
        copy.write(library.read_bytes())
        copy.flush()
        loaded = ctypes.CDLL(copy.name)
    loaded.sil_size.restype = ctypes.c_size_t
    loaded.sil_read.restype = ctypes.c_size_t
    return loaded


class SilTransport:
    """The firmware in this process. Several may live side by side, each with its own state."""

    name = "sil"
    advice = "the firmware library does not answer; build it again"

    def __init__(self, library: str | Path, clock: Callable[[], float] = time.monotonic) -> None:
        """clock (s) is the firmware's clock. Raises TransportError."""
        library = Path(library).resolve()
        try:
            self._library = _load(library, library.stat().st_mtime_ns)
        except (OSError, AttributeError) as error:
            raise TransportError(f"{error}; build the firmware first") from error
        self._clock = clock
        # 8-byte aligned, as the compiler expects of any object.
        self._sil = (ctypes.c_uint64 * (-(-self._library.sil_size() // 8)))()
        self._out = (ctypes.c_uint8 * READ_SIZE)()
        self._library.sil_start(self._sil, self._microseconds())

    def write(self, data: bytes) -> None:
        self.write_to(Port.HOST, data)

    def write_to(self, port: Port, data: bytes) -> None:
        """Bytes come on one of the firmware's ports; none let its time pass."""
        size = ctypes.c_size_t(len(data))
        self._library.sil_write(self._sil, port, self._microseconds(), data, size)

    def read_from(self, port: Port) -> bytes:
        """What the firmware has written to one of its ports; never waits."""
        size = self._library.sil_read(self._sil, port, self._out, ctypes.c_size_t(READ_SIZE))
        return bytes(self._out[:size])

    def slow(self, step_us: int) -> None:
        """From now on the clock goes on by so much in each control step."""
        self._library.sil_slow(self._sil, step_us)

    def read(self, timeout_s: float) -> bytes:
        """All that will ever come is there already: never waits."""
        data = self.read_from(Port.HOST)
        if not data:
            raise TransportError(f"no answer: {self.advice}")
        return data

    def close(self) -> None:
        pass

    def _microseconds(self) -> ctypes.c_uint32:
        return ctypes.c_uint32(int(self._clock() * 1e6) & 0xFFFFFFFF)


class PilTransport:
    """The board's ELF under QEMU, at the other end of a socket pair.

    QEMU dies with the thread that made this object, however that ends, and with `close`.
    """

    name = "pil"
    advice = "the emulated firmware hangs; run it in sil to see why"

    def __init__(self, elf: str | Path, qemu: str = "qemu-system-arm") -> None:
        """Raises TransportError."""
        elf = Path(elf)
        program = shutil.which(qemu)
        if program is None:
            raise TransportError(f"{qemu} is not installed: apt install qemu-system-arm")
        if not elf.is_file():
            raise TransportError(f"{elf} is missing; build the firmware first")
        self._process: subprocess.Popen | None = None
        self._errors = tempfile.TemporaryFile()
        self._socket, theirs = socket.socketpair()
        with theirs:
            # A tick of the virtual clock is an instruction: the board counts its step with it.
            machine = ["-M", "netduinoplus2", "-icount", "shift=0", "-kernel", str(elf)]
            quiet = ["-display", "none", "-monitor", "none", "-parallel", "none"]
            line = ["-chardev", f"socket,id=line,fd={theirs.fileno()}", "-serial", "chardev:line"]
            try:
                self._process = subprocess.Popen(
                    [program, *machine, *quiet, *line],
                    stdin=subprocess.DEVNULL,
                    stdout=self._errors,
                    stderr=self._errors,
                    pass_fds=[theirs.fileno()],
                    preexec_fn=die_with_parent(),
                    start_new_session=True,  # Ctrl-C is for us: we stop it in our own time
                )
            except OSError as error:
                self.close()
                raise TransportError(f"{program}: {error}") from error

    @property
    def pid(self) -> int | None:
        """Of QEMU."""
        return self._process.pid if self._process else None

    def write(self, data: bytes) -> None:
        try:
            self._socket.settimeout(None)
            self._socket.sendall(data)
        except OSError as error:
            raise self._gone() from error

    def read(self, timeout_s: float) -> bytes:
        try:
            self._socket.settimeout(max(timeout_s, 1e-6))
            data = self._socket.recv(READ_SIZE)
        except TimeoutError:
            return b""
        except OSError as error:
            raise self._gone() from error
        if not data:
            raise self._gone()
        return data

    def close(self) -> None:
        self._socket.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        self._errors.close()

    def _gone(self) -> TransportError:
        if self._process is None:
            return TransportError("the link is closed")
        try:
            code = self._process.wait(1.0)
        except subprocess.TimeoutExpired:
            return TransportError("QEMU has closed its serial line")
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        self._errors.seek(0)
        words = " ".join(self._errors.read().decode(errors="replace").split())
        return TransportError(f"QEMU ended with {how}" + (f": {words}" if words else ""))


class HilTransport:
    """A board on a serial port, or anything else that pyserial can open by URL."""

    name = "hil"
    advice = "check the board's power and cable, and that its firmware is flashed"

    def __init__(self, port: str, baud: int = BAUD) -> None:
        """Raises TransportError."""
        try:
            self._serial = serial.serial_for_url(port, baudrate=baud)
        except (OSError, ValueError) as error:
            raise TransportError(f"{port}: {error}") from error

    def write(self, data: bytes) -> None:
        try:
            self._serial.write(data)
        except OSError as error:
            raise self._gone(error) from error

    def read(self, timeout_s: float) -> bytes:
        try:
            self._serial.timeout = timeout_s
            first = self._serial.read(1)
            return first + self._serial.read(self._serial.in_waiting) if first else b""
        except OSError as error:
            raise self._gone(error) from error

    def close(self) -> None:
        self._serial.close()

    def _gone(self, error: OSError) -> TransportError:
        return TransportError(f"{self._serial.port} is gone: {error}")
