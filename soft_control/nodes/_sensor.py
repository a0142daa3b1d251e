"""What the nodes of sensors share: bytes on a serial port become raw and calibrated signals."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import JointState

from soft_control.experiment.health import INACTIVE, Health, SensorWatch
from soft_control.experiment.ros_messages import EVERY_SAMPLE, GLANCE, joint_state, to_ns
from soft_control.learning.calibration import Calibration
from soft_control.link.instruments import SENSORS
from soft_control.link.rhythm import Rhythm
from soft_control.nodes._diagnostics import Diagnostics
from soft_control.nodes._managed import ManagedNode, ManagedParameters
from soft_control.nodes._node import Names, check_lengths
from soft_control.nodes._port import CHECK_S, InstrumentPort, ReturningParameters
from soft_control.nodes._run_length import RunLength
from soft_control.topics import CLOCK, COMMAND, SIGNALS, SIGNALS_RAW

NO_SAMPLE = "a valid sample of the sensor"
NO_COMMAND = (
    "a command: the controller has not heard what it waits for, such as the outputs of a tracker "
    "that does not see its points"
)


class SensorParameters(ManagedParameters, ReturningParameters):
    port: str = Field(
        min_length=1,
        description="Of the sensor board: a path or a link, such as /dev/ttyUSB0, or a USB serial "
        "number, such as usb:A50285BI.",
    )
    baud: int = Field(2_000_000, gt=0, description="Of the port.")
    clock: Literal["lockstep", "realtime"] = Field(
        "realtime", description="What stamps a sample: /clock, or the time at which it came."
    )
    full_scale_counts: list[float] = Field(
        [],
        description="Calibration maximum of each channel; 0 for a dead one. Empty, of a robot "
        "without signals: samples have no counts and only beat time.",
    )
    signal_names: Names = Field([], description="Of the channels; by default they are numbered.")
    port_timeout_s: float = Field(10.0, ge=0, description="The port may appear within, s.")
    duration_s: float = Field(
        0.0, ge=0, description="Ends the run so long after its first command, s; 0: others do."
    )
    silence_timeout_s: float = Field(
        30.0, gt=0, description="Without a valid sample for so long the sensor has failed, s."
    )

    @model_validator(mode="after")
    def a_name_a_channel(self) -> SensorParameters:
        if self.signal_names:
            check_lengths(self.signal_names, "signal", full_scale_counts=self.full_scale_counts)
        return self


class SensorNode(ManagedNode):
    """NAME is that of the sensor in link.instruments.SENSORS."""

    CHANNEL: ClassVar[str]
    """Begins the name of a channel that has none."""

    def __init__(self) -> None:
        super().__init__()
        p: SensorParameters = self.parameters
        self.calibration = Calibration(tuple(p.full_scale_counts))
        channels = len(p.full_scale_counts)
        self.names = p.signal_names or [f"{self.CHANNEL}_{i:02d}" for i in range(channels)]
        self.lockstep = p.clock == "lockstep"
        self.clock_ns: deque[int] = deque()
        self.counts: deque[list[int]] = deque()
        self.pairing = threading.Lock()
        self.run_length = RunLength(p.duration_s)
        self.is_awaited = not p.duration_s
        """Whether samples are published: those of a run when all can hear them, else some nodes
        would act on what others and the bag have missed."""
        self.rhythm = Rhythm()
        self.lost = 0
        """Samples that have passed while the port was away."""

        self.raw = self.publish_on(JointState, SIGNALS_RAW)
        self.calibrated = self.publish_on(JointState, SIGNALS)
        if p.duration_s:
            self.listen(JointState, COMMAND, lambda command: self.run_length.begin(), GLANCE)
        if self.lockstep:
            # Not the latest tick only: a PID does not wait for the signals of a sample.
            self.listen(Clock, CLOCK, self.on_clock, EVERY_SAMPLE)
        else:
            self.watch = SensorWatch()
            self.diagnostics = Diagnostics(self, p.port, self.judge)
        self.start()

    def on_everyone_matched(self) -> None:
        self.run_length.expect()
        self.is_awaited = True

    def open(self) -> None:
        # In lockstep the samples after one that is lost would belong to other times.
        self.port = InstrumentPort(self, "the sensor", CHECK_S, may_return=not self.lockstep)

    def begin(self) -> None:
        """The executor cannot wait for a serial port, so a thread does, and publishes itself:
        waking the executor for each line with a guard condition loses one wake-up in some ten
        thousand."""
        p: SensorParameters = self.parameters
        self.reader = SENSORS[self.NAME](
            len(p.full_scale_counts), p.silence_timeout_s, time.monotonic(), **self.settings()
        )
        if self.presented:
            self.port.discard_input()  # of the time when nobody wanted to know
        self.closing = threading.Event()
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()
        self.checking = self.create_timer(CHECK_S, self.check)

    def settings(self) -> dict[str, Any]:
        """Of the sensor's reader, beside channels and time-out; by default there are none."""
        return {}

    def read(self) -> None:
        """The reading thread; what ends it is told to the node."""
        try:
            while not self.closing.is_set():
                if self.port.failed:
                    self.wait_for_port()
                    continue
                try:
                    data = self.port.serial.read(max(1, self.port.serial.in_waiting))
                except OSError as error:
                    self.port.fail(error)
                    if not self.port.may_return:
                        return
                    continue
                for counts in self.reader.feed(data, time.monotonic()):
                    self.on_sample(counts)
        except BaseException as error:
            self.port.fail(error)

    def wait_for_port(self) -> None:
        """One look for it; what comes then may begin in the middle of a sample."""
        if self.port.came_back():
            self.reader.rejoin()
            self.rhythm.interrupt()
        else:
            self.closing.wait(self.port.wait_s)

    def check(self) -> None:
        """Raises RuntimeError where the sensor is gone or what it sends is of no use, SystemExit at
        the end of the run."""
        length, samples = self.run_length, self.reader.samples
        self.port.check(f"{samples} samples", length.is_over or length.is_late)
        length.check(NO_COMMAND if samples else NO_SAMPLE)
        if self.port.failed:
            return
        now_s = time.monotonic()
        if said := self.reader.warning(now_s):
            self.get_logger().warning(said)
        if reason := self.reader.failure(now_s):
            raise RuntimeError(f"{self.port.where} at {self.parameters.baud} baud: {reason}")

    def judge(self, elapsed_s: float) -> Health:
        """Of the last second."""
        if not self.is_active:
            return INACTIVE
        reader, now_s = self.reader, time.monotonic()
        counts = {
            "samples": reader.samples,
            "dropped": reader.dropped,
            "reconnections": self.port.reconnections,
            "lost": self.lost,
        }
        return self.watch.judge(elapsed_s, counts, reader.silent_s(now_s), self.port.away_s(now_s))

    def on_sample(self, counts: list[int]) -> None:
        passed = self.rhythm.sample(time.monotonic())
        if passed is not None:
            self.lost += passed
            self.get_logger().warning(
                f"{self.port.where} was away for {self.port.gone_s:.2f} s and is back on "
                f"{self.port.serial.port}: {passed} samples lost"
            )
        if self.lockstep:
            self.counts.append(counts)
            self.pair()
        elif self.is_awaited:
            self.publish(self.get_clock().now().nanoseconds, counts)

    def on_clock(self, message: Clock) -> None:
        self.clock_ns.append(to_ns(message.clock))
        self.pair()

    def pair(self) -> None:
        """Lockstep: the n-th sample belongs to the n-th tick of the clock."""
        with self.pairing:
            while self.clock_ns and self.counts:
                self.publish(self.clock_ns.popleft(), self.counts.popleft())

    def publish(self, now_ns: int, counts: list[int]) -> None:
        self.raw.publish(joint_state(now_ns, self.names, counts))
        self.calibrated.publish(joint_state(now_ns, self.names, self.calibration.apply(counts)))

    def close(self) -> None:
        """The last word on what was counted is that of the end."""
        if self.is_active and not self.lockstep:
            self.diagnostics.say_last()
        super().close()

    def halt(self) -> None:
        """Ends the thread: it publishes, which nobody may do on a node that is gone."""
        self.closing.set()
        self.port.cancel_read()
        self.thread.join(2 * CHECK_S)
        self.destroy_timer(self.checking)

    def release(self) -> None:
        self.port.serial.close()
