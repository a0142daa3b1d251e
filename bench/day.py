"""A day of a robot in sil: does its time drift, does anything grow, do counters wrap rightly?

    day.py build/tendon [SAMPLES]

Sensor, actuators and host are real bytes on the firmware's three lines, and its own timer is the
clock. The number of the sample passes 2^32 in the middle of the run, its counters begin just before
it, its clock goes round every 71 minutes. For half of the time the sensor is as fast as the control
rate, and sets the phase; for the other half it is eight times slower, and the timer is alone. The
host's clock runs 40 ppm fast; for a fifth of the time the host says nothing, which is longer than
the clock needs to go round.

Every sample is looked at. Exit code 1: something was not as it has to be.
"""

from __future__ import annotations

import ctypes
import resource
import struct
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import host_build
import numpy as np

from soft_control.experiment.rig_device import RigDevice
from soft_control.firmware_files import FirmwareBuild, read_build
from soft_control.link.codes import Clock, HostLost, Source, State, Supervisor, Wiring
from soft_control.link.framing import FrameDecoder, encode_frame
from soft_control.link.messages import (
    Arm,
    Error,
    Heartbeat,
    Hello,
    Info,
    Measurement,
    Message,
    Sizes,
    Stop,
    Telemetry,
    Trajectory,
    TrajectoryEnd,
    decode,
    points_max,
)
from soft_control.link.transport import Port
from soft_control.rigs import make_rig

ENTRANCE = Path(__file__).with_name("near_wrap.c")
DAY = 86_400 * 120
WRAP = 1 << 32
SPEED_LEAST = 30.0
"""Times of real time, by the processor's clock: wanted."""
GROWTH_MAX_MB = 2.0
"""Of resident memory after a tenth of the run: Python's allocator takes it in pieces of 1 MB."""
CYCLE = 512
"""Samples of the reference: a power of two, so that its step in 2^-32 of the way is exact."""
WAKE_UPS = 9
"""Of a board in a control period: SUBTICKS_OF of boards/board.h."""
ALONE = 8
"""Control periods between samples of a sensor that does not set the phase."""
BEAT, MEASURED, OLD = 12, 60, 5400
"""Samples between heartbeats, measured outputs, and messages that are too old."""
SILENCE_MS, AGE_MAX_MS, TOO_OLD_US = 500, 50, 500_000
HOST_PPM = 40
CLOCK_US, HOST_US = WRAP - 7_000_000, WRAP - 3_000_000
"""Where both clocks begin: a few seconds before they go round."""
LEFT = 900
"""Of what is counted, until its counter goes round."""
HEAD = struct.Struct("<BIIIBBH")
"""The first fields of TELEMETRY."""
LATE_MAX_US = 1200
"""That a sample may be taken after its time: until the next wake-up."""


@dataclass
class Findings:
    """Of a run."""

    samples: int = 0
    problems: Counter[str] = field(default_factory=Counter)
    """What was wrong, how often."""
    first: dict[str, int] = field(default_factory=dict)
    """Of which sample first."""
    drift_us: float = 0.0
    """How far the timer alone has come from the true time, from its first to its last sample."""
    resident_mb: list[float] = field(default_factory=list)
    info: Info | None = None
    wall_s: float = 0.0
    processor_s: float = 0.0

    def wrong(self, what: str, k: int) -> None:
        if what not in self.first:
            print(f"WRONG: {what}: first at sample {k:,}", flush=True)
        self.problems[what] += 1
        self.first.setdefault(what, k)

    @property
    def growth_mb(self) -> float:
        return self.resident_mb[-1] - self.resident_mb[0] if self.resident_mb else 0.0


class Day:
    """A firmware with counters near their end, and the other ends of its lines."""

    def __init__(self, build: FirmwareBuild, library: Path) -> None:
        robot = build.robot
        assert robot is not None
        self._robot, self._sizes = robot, Sizes(0, 0, 0)
        self._lib = ctypes.CDLL(str(library))
        self._lib.sil_size.restype = self._lib.sil_read.restype = ctypes.c_size_t
        self._lib.sil_write.argtypes = [ctypes.c_void_p, *[ctypes.c_uint32] * 2]
        self._lib.sil_write.argtypes += [ctypes.c_char_p, ctypes.c_size_t]
        self._sil = (ctypes.c_uint64 * (-(-self._lib.sil_size() // 8)))()
        self._at = ctypes.addressof(self._sil)
        self._out = (ctypes.c_uint8 * 4096)()
        self._decoder = FrameDecoder()
        self.now_us = 0
        """True time of the run."""
        self._lib.sil_start(self._sil, ctypes.c_uint32(CLOCK_US))
        self._device = RigDevice(make_rig(robot.name, seed=0))
        self._lines = self._sensor_lines()
        self._answers: dict[bytes, bytes] = {}

    def _sensor_lines(self) -> list[bytes]:
        """Of a rig that stands still, one cycle of its noise."""
        lines = []
        for _ in range(CYCLE + 1):
            lines.append(self._device.sample()[1])
            self._device.step(1 / self._robot.rate_hz)
        self.write(Port.SENSOR, lines.pop(0))  # that begins with the end of a torn one
        return lines

    # ------------------------------------------------------------------ lines

    def write(self, port: Port, data: bytes, later_us: int = 0) -> None:
        us = (CLOCK_US + self.now_us + later_us) % WRAP
        self._lib.sil_write(self._at, port, us, data, len(data))

    def _read(self, port: Port) -> bytes:
        size = self._lib.sil_read(self._sil, port, self._out, ctypes.c_size_t(4096))
        return bytes(self._out[:size]) if size else b""

    def contents(self) -> list[bytes]:
        """Of the frames that the firmware has sent."""
        return self._decoder.feed(self._read(Port.HOST))

    def tell(self, *messages: Message) -> list[Message]:
        """Returns the answers."""
        self.write(Port.HOST, self.frames(*messages))
        return [decode(content, self._sizes) for content in self.contents()]

    def frames(self, *messages: Message) -> bytes:
        return b"".join(encode_frame(message.encode(self._sizes)) for message in messages)

    def host_us(self, age_us: int = 0) -> int:
        true_us = self.now_us - age_us
        return (HOST_US + true_us + true_us * HOST_PPM // 1_000_000) % WRAP

    def answer_actuators(self) -> None:
        """A millisecond later, what they say to a question once they say to it always."""
        told = self._read(Port.ACTUATOR)
        if told:
            question = told[-8:]
            if question not in self._answers:
                self._answers[question] = self._device.drive(told)
            self.write(Port.ACTUATOR, self._answers[question], 1000)

    # ------------------------------------------------------------------ the run

    def begin(self, k: int) -> None:
        robot = self._robot
        (info,) = (m for m in self.tell(Hello()) if isinstance(m, Info))
        self._sizes = info.sizes
        rest = np.array(robot.output_rest)
        angles = 2 * np.pi * np.arange(CYCLE) / CYCLE
        points = [tuple(map(float, rest + 0.004 * np.sin(a))) for a in angles]
        pieces = points_max(self._sizes)
        for first in range(0, CYCLE, pieces):
            self.tell(Trajectory(first, tuple(points[first : first + pieces])))
        self.tell(TrajectoryEnd(CYCLE, 1, WRAP // CYCLE, (float("inf"),) * rest.size))
        self.tell(
            Arm(
                k, self.host_us(), Clock.TIMER, Wiring.MCU, Source.MPC, 1, HostLost.CONTINUE, 0,
                SILENCE_MS, 0, AGE_MAX_MS, tuple(robot.command_neutral), tuple(rest),
            )
        )  # fmt: skip
        self._lib.sil_near_wrap(self._sil, ctypes.c_uint32(LEFT))

    def run(self, samples: int) -> Findings:
        """A run of so many control periods."""
        found = Findings()
        first_k = (WRAP - samples // 2) % WRAP
        self.begin(first_k)
        half, quiet = samples // 2, range(samples * 3 // 10, samples // 2)
        after = samples // 10
        watch = Watch(self, found, first_k)
        wall_s, processor_s = time.perf_counter(), time.process_time()
        for n in range(samples):
            # The rate is 120 Hz: a period is 25000 / 3 us.
            self.now_us = n * 25_000 // 3
            alone = n >= half
            if n not in quiet:
                self._speak(n, watch)
            if not alone or n % ALONE == 3:
                watch.lines += 1
                self.write(Port.SENSOR, self._lines[n % CYCLE], 100)
            self.answer_actuators()
            for wake in range(1, WAKE_UPS):
                self.write(Port.HOST, b"", wake * 25_000 // (3 * WAKE_UPS))
            self.answer_actuators()
            for content in self.contents():
                watch.see(content, alone, n)
            if n >= after and n % max(1, samples // 24) == 0:
                found.resident_mb.append(resident_mb())
                print(f"{n:,} samples, {found.resident_mb[-1]:.1f} MB", flush=True)
        found.wall_s = time.perf_counter() - wall_s
        found.processor_s = time.process_time() - processor_s
        found.resident_mb.append(resident_mb())
        watch.end(samples)
        return found

    def _speak(self, n: int, watch: Watch) -> None:
        """What the host says in this period."""
        if n % BEAT == 0:
            beat = Heartbeat(self.host_us(), (watch.received - LEFT) % WRAP)
            self.write(Port.HOST, self.frames(beat))
            watch.heard_us = self.now_us
        if n % MEASURED == 0 and watch.predicted:
            told = Measurement(watch.k, self.host_us(n % 3 * 1000), watch.predicted)
            self.write(Port.HOST, self.frames(told))
        if n % OLD == OLD - 1 and watch.predicted:
            told = Measurement(watch.k, self.host_us(TOO_OLD_US), watch.predicted)
            self.write(Port.HOST, self.frames(told))
            watch.heard_us = self.now_us
            watch.refusals += 1


class Watch:
    """What each TELEMETRY must say."""

    def __init__(self, day: Day, found: Findings, first_k: int) -> None:
        self._day, self._found = day, found
        self._first_k = self.k = first_k
        """k: of the next sample."""
        self._sizes = day._sizes
        self.received = self.lines = self.refusals = 0
        self.heard_us = 0
        self.predicted: tuple[float, ...] = ()
        self._refused = 0
        self._held = 0
        self._alone: tuple[int, int] | None = None
        self._references: dict[int, bytes] = {}
        sizes = self._sizes
        self._outputs = struct.Struct(f"<{sizes.outputs}f")
        self._predicted_at = HEAD.size + 4 + 4 * (sizes.signals + sizes.commands)

    def see(self, content: bytes, alone: bool, n: int) -> None:
        found, day = self._found, self._day
        if content[0] == Error.TYPE:
            self._refused += 1
        if content[0] != Telemetry.TYPE:
            return
        _, k, time_us, number, state, cause, flags = HEAD.unpack_from(content)
        if k != self.k:
            found.wrong("the number of a sample is not that of the one before and one", k)
        if number != (self.received - LEFT) % WRAP:
            found.wrong("the number of a TELEMETRY is not that of the one before and one", k)
        if (state, cause) != (State.RUNNING, 0):
            found.wrong(f"state {state}, cause {cause}", k)
        taken_us = (time_us - CLOCK_US - day.now_us) % WRAP
        self._flags(flags, taken_us, k, alone)
        if alone:
            self._timer(n, taken_us, k)
        elif taken_us != 100:
            found.wrong("in step with the sensor, but not taken with its line", k)
        at = self._predicted_at
        self.predicted = self._outputs.unpack_from(content, at)
        said = content[at + self._outputs.size : at + 2 * self._outputs.size]
        phase = (k - self._first_k) % CYCLE
        if self.received >= CYCLE and self._references.setdefault(phase, said) != said:
            found.wrong("the reference is not what it was a cycle before", k)
        self.k = (k + 1) % WRAP
        self.received += 1

    def _flags(self, flags: int, taken_us: int, k: int, alone: bool) -> None:
        silent_us = self._day.now_us + taken_us - self.heard_us
        stale = bool(flags & Supervisor.HOST_STALE)
        if stale != (silent_us > 1000 * SILENCE_MS) and abs(silent_us - 1000 * SILENCE_MS) > 2000:
            self._found.wrong("a host that is silent counts as heard, or the reverse", k)
        self._held += bool(flags & Supervisor.SENSOR_HELD)
        if flags & Supervisor.SENSOR_HELD and not alone:
            self._found.wrong("a line of the sensor did not count", k)
        if flags & (Supervisor.GAP | Supervisor.LATE | Supervisor.LOST_POINT):
            self._found.wrong(f"flags {flags:#x}", k)

    def _timer(self, n: int, taken_us: int, k: int) -> None:
        """The timer alone: each sample as far from its time as the first one was."""
        if self._alone is None:
            if n % ALONE == 0 and self._held > 2 * ALONE:
                self._alone = (taken_us, k)
            return
        drift_us = taken_us - self._alone[0]
        self._found.drift_us = drift_us
        if abs(drift_us) > LATE_MAX_US:
            self._found.wrong(f"the timer has drifted by more than {LATE_MAX_US} us", k)

    def end(self, samples: int) -> None:
        """The counters of INFO."""
        found, day = self._found, self._day
        found.samples = self.received
        info = next(m for m in reversed(day.tell(Hello())) if isinstance(m, Info))
        found.info = info
        day.tell(Stop())
        wanted = {
            "telemetry_sent": self.received - LEFT,
            "telemetry_dropped": -LEFT,
            "missed_samples": -LEFT,
            "refused": self.refusals - LEFT,
            "bad_frames": -LEFT,
            "sensor_samples": self.lines - LEFT,
            "sensor_dropped": -LEFT,
            "actuator_bad": -LEFT,
            "lost_points": 0,
        }
        for name, value in wanted.items():
            if getattr(info, name) != value % WRAP:
                what = f"{name} is {getattr(info, name):,}, not {value % WRAP:,}"
                found.wrong(what, self.k)
        if self._refused != self.refusals:
            found.wrong(f"{self.refusals} old messages, {self._refused} refused", self.k)
        if abs(self.received - samples) > 1:
            found.wrong(f"{self.received:,} samples in {samples:,} control periods", self.k)
        if info.telemetry_lost > BEAT + 1:
            found.wrong(f"telemetry_lost is {info.telemetry_lost}", self.k)


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def run(build: FirmwareBuild, samples: int) -> Findings:
    with tempfile.TemporaryDirectory() as folder:
        library = host_build.library(build, Path(folder), ENTRANCE)
        return Day(build, library).run(samples)


def main() -> None:
    build, samples = read_build(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else DAY
    found = run(build, samples)
    seconds = samples / 120
    speed, by_clock = seconds / found.processor_s, seconds / found.wall_s
    for what, count in found.problems.items():
        print(f"WRONG: {what}: {count:,} times")
    print(
        f"{found.samples:,} samples of {seconds / 3600:.2f} h: {len(found.problems)} things wrong; "
        f"timer alone: {found.drift_us:+.0f} us in {seconds / 7200:.2f} h; resident memory "
        f"{found.resident_mb[-1]:.1f} MB, {found.growth_mb:+.2f} MB; {speed:.0f} times real time "
        f"by the processor's clock ({by_clock:.0f} by the wall's)"
    )
    kept = speed >= SPEED_LEAST and found.growth_mb <= GROWTH_MAX_MB and not found.problems
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()
