"""Three ways to a microcontroller, one interface: bytes out, bytes in.

sil   the firmware as a library, called in process
pil   the board's ELF under qemu-system-arm
hil   a board on a serial port
"""

from __future__ import annotations

import contextlib
import ctypes
import enum
import errno
import fcntl
import functools
import math
import os
import select
import shutil
import signal
import subprocess
import tempfile
import termios
import threading
import time
import tty
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import serial

from soft_control.link.returning import USB, PortFinder
from soft_control.processes import die_with_parent


class Port(enum.IntEnum):
    """Of the firmware."""

    HOST = 0
    SENSOR = 1
    ACTUATOR = 2


BAUD = 2_000_000
READ_SIZE = 4096
MACHINE = "netduinoplus2"
TICK_S = 0.001
"""So often a firmware in this process looks at its clock."""
BOOT_S = 2.0
"""An emulator has started within so long, on a machine where five wait for each processor too."""
PIPE_SIZE = 1 << 20
"""What Linux lets any user have."""


class TransportError(RuntimeError):
    """The other end cannot be reached, or is gone."""


class NothingMore(TransportError):
    """Nothing has come, and nothing will before the next write."""


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

    def crash(self, cause: int) -> None:
        """A fault of the processor, of that cause: the firmware starts again and knows it."""
        self._library.sil_crash(self._sil, ctypes.c_uint32(cause))

    def restart(self) -> None:
        """A reset: the firmware starts again and knows nothing of before."""
        self._library.sil_start(self._sil, self._microseconds())

    def read(self, timeout_s: float) -> bytes:
        """All that will ever come is there already: never waits. Raises NothingMore."""
        data = self.read_from(Port.HOST)
        if not data:
            raise NothingMore(f"no answer: {self.advice}")
        return data

    def close(self) -> None:
        pass

    def _microseconds(self) -> ctypes.c_uint32:
        return ctypes.c_uint32(int(self._clock() * 1e6) & 0xFFFFFFFF)


class WiredSil(SilTransport):
    """The same with its sensor's and its actuators' line at terminals, pseudo or real. What comes
    on them is taken, and time passes for the firmware, while somebody reads."""

    advice = "nothing comes from the sensor: see what is at the other end of its line"

    def __init__(self, library: str | Path, sensor: Path, actuator: Path) -> None:
        """Raises TransportError."""
        super().__init__(library)
        self._lock = threading.Lock()
        self._lines: dict[int, Port] = {}
        for terminal in (sensor, actuator):
            _make_raw(terminal)
        for port, terminal in ((Port.SENSOR, sensor), (Port.ACTUATOR, actuator)):
            line = os.open(terminal, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
            self._lines[line] = port
        self._poll = select.poll()
        for line in self._lines:
            self._poll.register(line, select.POLLIN)

    def write(self, data: bytes) -> None:
        with self._lock:
            super().write(data)

    def read(self, timeout_s: float) -> bytes:
        deadline = time.monotonic() + timeout_s
        ready: list[tuple[int, int]] = []
        while True:
            with self._lock:
                data = self._turn(ready)
            left_s = deadline - time.monotonic()
            if data or left_s <= 0:
                return data
            ready = self._poll.poll(1e3 * min(left_s, TICK_S))

    def _turn(self, ready: list[tuple[int, int]]) -> bytes:
        """What comes on the lines goes in, what the firmware says goes out; its bytes for the host
        are returned."""
        for line, _ in ready:
            with contextlib.suppress(BlockingIOError):
                try:
                    self.write_to(self._lines[line], os.read(line, READ_SIZE))
                except OSError as error:  # its other end is gone: nothing more ever comes
                    if error.errno != errno.EIO:
                        raise
                    self._poll.unregister(line)
        if not ready:
            self.write_to(Port.HOST, b"")  # the firmware looks at the clock
        for line, port in self._lines.items():
            if told := self.read_from(port):
                with contextlib.suppress(OSError):  # nobody listens
                    os.write(line, told)
        return self.read_from(Port.HOST)

    def close(self) -> None:
        while self._lines:
            os.close(self._lines.popitem()[0])


class PilTransport:
    """The board's ELF under QEMU, at the other end of two pipes.

    Pipes and not a socket pair: a socket keeps a buffer for every write and QEMU writes byte by
    byte, so that it was full after 277 bytes and QEMU stood still. These hold 1 MB: a host that
    does not read does not stop the emulator for 80 s of telemetry at 12 kB/s.

    QEMU dies with the thread that made this object, however that ends, and with `close`.
    """

    name = "pil"
    advice = "the emulated firmware hangs; run it in sil to see why"

    def __init__(
        self,
        elf: str | Path,
        qemu: str = "qemu-system-arm",
        machine: str | None = None,
        sensor: Path | None = None,
        actuator: Path | None = None,
        realtime: bool = False,
    ) -> None:
        """machine is QEMU's name of what models the board, None: that of the STM32F405. sensor and
        actuator are terminals, pseudo or real, that become the board's second and third serial
        line; they are made raw. Without one nothing ever comes on that line, and what is sent is
        lost. A terminal whose other end is not read holds some kB, then QEMU waits for it.

        realtime: the board's clock is this machine's. Otherwise a tick of it is an instruction, so
        that the board counts those of its step; its second then takes a fifth or more longer than
        ours.

        Raises TransportError."""
        elf = Path(elf)
        program = shutil.which(qemu)
        if program is None:
            raise TransportError(f"{qemu} is not installed: apt install qemu-system-arm")
        if not elf.is_file():
            raise TransportError(f"{elf} is missing; build the firmware first")
        for terminal in filter(None, (sensor, actuator)):
            _make_raw(terminal)
        self._process: subprocess.Popen | None = None
        self._boots = True
        self._errors = tempfile.TemporaryFile()
        # QEMU opens the two ends by name, as line.in and line.out, once it has started; those that
        # it inherits say from the first moment on, and until it ends, that there is somebody.
        their_in, self._out = os.pipe()
        self._in, their_out = os.pipe()
        self._links = tempfile.TemporaryDirectory(prefix="pil-")
        line = Path(self._links.name) / "line"
        line.with_suffix(".in").symlink_to(f"/proc/self/fd/{their_in}")
        line.with_suffix(".out").symlink_to(f"/proc/self/fd/{their_out}")
        count = [] if realtime else ["-icount", "shift=0"]
        board = ["-M", machine or MACHINE, *count, "-kernel", str(elf)]
        quiet = ["-display", "none", "-monitor", "none", "-parallel", "none"]
        host = ["-chardev", f"pipe,id=host,path={line}", "-serial", "chardev:host"]
        ports = [*_serial_line("sensor", sensor), *_serial_line("actuator", actuator)]
        try:
            for end in (self._out, self._in):
                _enlarge(end)
            self._process = subprocess.Popen(
                [program, *board, *quiet, *host, *ports],
                stdin=subprocess.DEVNULL,
                stdout=self._errors,
                stderr=self._errors,
                pass_fds=[their_in, their_out],
                preexec_fn=_apart(die_with_parent(), on_one_core=realtime),
            )
        except OSError as error:
            self.close()
            raise TransportError(f"{program}: {error}") from error
        finally:
            os.close(their_in)
            os.close(their_out)

    @property
    def pid(self) -> int | None:
        """Of QEMU."""
        return self._process.pid if self._process else None

    def write(self, data: bytes) -> None:
        """The first bytes wait until the firmware has said something: before it has turned its
        receiver on they would be lost."""
        try:
            if self._boots and self._process is not None:
                self._readable(BOOT_S)
                self._boots = False
            while data:
                data = data[os.write(self._out, data) :]
        except OSError as error:
            raise self._gone() from error

    def read(self, timeout_s: float) -> bytes:
        if self._process is None:
            raise self._gone()
        if not self._readable(timeout_s):
            return b""
        data = os.read(self._in, READ_SIZE)
        if not data:
            raise self._gone()
        self._links.cleanup()  # QEMU has opened them; nothing is left of them if we are killed
        return data

    def _readable(self, timeout_s: float) -> bool:
        """Whether something has come within the time, if only the end of QEMU."""
        poll = select.poll()
        poll.register(self._in, select.POLLIN)
        return bool(poll.poll(math.ceil(max(timeout_s, 0.0) * 1000.0)))

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        for end in (self._out, self._in):
            if end >= 0:
                os.close(end)
        self._out = self._in = -1
        self._links.cleanup()
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


def _apart(first: Callable[[], None], on_one_core: bool) -> Callable[[], None]:
    """A preexec_fn: a group of its own, for Ctrl-C is for us, who stop QEMU in our own time. No
    session of its own: a terminal that it opens would become the session's, and end it by SIGHUP
    when its other end goes.

    on_one_core: for each byte QEMU's two threads hand over to one another several times. Between
    two cores of which others use both, that took 4.3 ms a sample of the demo, on one 3.5 ms, and a
    third less of a processor.
    """

    def begin() -> None:
        first()
        os.setpgid(0, 0)
        if on_one_core:
            cores = sorted(os.sched_getaffinity(0))
            os.sched_setaffinity(0, {cores[os.getpid() % len(cores)]})

    return begin


def _enlarge(pipe: int) -> None:
    """To PIPE_SIZE. A user who has many large pipes is refused: this one then keeps its 64 kB."""
    with contextlib.suppress(PermissionError):
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_SIZE)


def discard_input(terminal: Path) -> None:
    """Throws away what has come there and nobody has read. Raises TransportError."""
    try:
        descriptor = os.open(terminal, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError as error:
        raise TransportError(f"{terminal}: {error.strerror}") from error
    try:
        termios.tcflush(descriptor, termios.TCIFLUSH)
    except termios.error as error:
        raise TransportError(f"{terminal} is no terminal") from error
    finally:
        os.close(descriptor)


def _make_raw(terminal: Path) -> None:
    """No byte is changed, echoed or waited for on its way through. Raises TransportError."""
    try:
        descriptor = os.open(terminal, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError as error:
        raise TransportError(f"{terminal}: {error.strerror}") from error
    try:
        tty.setraw(descriptor)
    except termios.error as error:
        raise TransportError(f"{terminal} is no terminal") from error
    finally:
        os.close(descriptor)


def _serial_line(name: str, terminal: Path | None) -> list[str]:
    """QEMU's words for one. In its options a comma ends a value, two are one."""
    if terminal is None:
        return ["-serial", "null"]
    path = str(terminal).replace(",", ",,")
    return ["-chardev", f"serial,id={name},path={path}", "-serial", f"chardev:{name}"]


class HilTransport:
    """A board on a serial port, or anything else that pyserial can open by URL."""

    name = "hil"
    advice = "check the board's power and cable, and that its firmware is flashed"

    def __init__(self, port: str, baud: int = BAUD) -> None:
        """port: a path, a URL, or a USB serial number such as usb:066DFF. It is ours alone: of two
        hosts each would take half of the answers. Raises TransportError."""
        try:
            path = PortFinder(port).find() if port.startswith(USB) else port
            self._serial = serial.serial_for_url(path or port, baudrate=baud, exclusive=True)
        except (OSError, ValueError, termios.error) as error:
            if getattr(error, "errno", None) == errno.EAGAIN:
                raise TransportError(f"{port} is in use by another host: end it first") from error
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
