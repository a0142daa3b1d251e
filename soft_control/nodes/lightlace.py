"""LightLace ingestion: ASCII lines on a serial port become raw and calibrated sensor signals."""

from __future__ import annotations

import threading
import time
from collections import deque
from pathlib import Path

import serial
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import JointState

from soft_control.learning.calibration import Calibration
from soft_control.link.lace_line import LaceLineError, parse_line
from soft_control.nodes._node import RigNode, joint_state, to_ns
from soft_control.nodes._node import main as run


class LightLace(RigNode):
    def __init__(self) -> None:
        super().__init__(
            "lightlace",
            port="",
            baud=2_000_000,
            clock="realtime",
            full_scale_counts=[0.0],
            signal_names=[""],
            signed=False,
            port_timeout_s=10.0,
            silence_timeout_s=30.0,
        )
        self.calibration = Calibration(tuple(self.value("full_scale_counts")))
        self.channels = len(self.calibration.full_scale_counts)
        self.signed = self.value("signed")
        given = [name for name in self.value("signal_names") if name]
        self.names = given or [f"lace_{i:02d}" for i in range(self.channels)]
        if len(self.names) != self.channels:
            raise ValueError(
                f"{len(self.names)} signal_names, but {self.channels} full_scale_counts"
            )
        self.lockstep = self.value("clock") == "lockstep"
        self.samples = 0
        self.torn = 0
        self.failure: Exception | None = None
        self.clock_ns: deque[int] = deque()
        self.lines: deque[list[int]] = deque()
        self.pairing = threading.Lock()

        self.raw = self.publish_on(JointState, "/signals/raw")
        self.calibrated = self.publish_on(JointState, "/signals/calibrated")
        if self.lockstep:
            self.listen(Clock, "/clock", self.on_clock)
        self.port = self.open_port()
        # The executor cannot wait for a serial port, so a thread does, and publishes itself: waking
        # the executor for each line with a guard condition loses one wake-up in some ten thousand.
        threading.Thread(target=self.read, daemon=True).start()
        self.create_timer(0.5, self.check)
        self.present()

    def open_port(self) -> serial.Serial:
        """Opens the port as soon as it exists."""
        path, deadline = self.value("port"), time.monotonic() + self.value("port_timeout_s")
        while not Path(path).exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        try:
            return serial.Serial(
                path, self.value("baud"), timeout=self.value("silence_timeout_s"), exclusive=True
            )
        except serial.SerialException as error:
            raise RuntimeError(f"cannot open the sensor's port '{path}': {error}") from error

    def read(self) -> None:
        try:
            if not self.lockstep:
                self.port.readline()  # a sensor that streams already: its first line may be torn
            while True:
                line = self.port.readline()
                if not line:
                    raise TimeoutError(f"silent for {self.value('silence_timeout_s'):g} s")
                self.on_line(line)
        except (OSError, TypeError) as error:  # pyserial: TypeError where the port was closed
            self.failure, self.failed_s = error, time.monotonic()

    def check(self) -> None:
        """Not at once: at the end of a run the port goes a moment before this node is told to."""
        if self.failure and time.monotonic() - self.failed_s > 1.0:
            raise RuntimeError(
                f"the sensor on '{self.value('port')}' is gone after {self.samples} samples: "
                f"{self.failure}"
            )

    def on_line(self, line: bytes) -> None:
        try:
            counts = parse_line(line, self.channels, self.signed)
        except LaceLineError as error:
            self.torn += 1
            self.get_logger().warning(f"line dropped ({self.torn} so far): {error}")
            return
        if self.lockstep:
            self.lines.append(counts)
            self.pair()
        else:
            self.publish(self.get_clock().now().nanoseconds, counts)

    def on_clock(self, message: Clock) -> None:
        self.clock_ns.append(to_ns(message.clock))
        self.pair()

    def pair(self) -> None:
        """Lockstep: the n-th line belongs to the n-th tick of the clock."""
        with self.pairing:
            while self.clock_ns and self.lines:
                self.publish(self.clock_ns.popleft(), self.lines.popleft())

    def publish(self, now_ns: int, counts: list[int]) -> None:
        self.raw.publish(joint_state(now_ns, self.names, counts))
        self.calibrated.publish(joint_state(now_ns, self.names, self.calibration.apply(counts)))
        self.samples += 1

    def close(self) -> None:
        if hasattr(self, "port"):
            self.port.close()


def main() -> None:
    run(LightLace)


if __name__ == "__main__":
    main()
