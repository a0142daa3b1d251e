"""LightLace ingestion: ASCII lines on a serial port become raw and calibrated sensor signals."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from pathlib import Path

import serial
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import JointState

from soft_control.calibration import Calibration
from soft_control.link.lace_line import LaceLineError, parse_line
from soft_control.ros import RigNode, joint_state, to_ns
from soft_control.ros import main as run


class LightLace(RigNode):
    def __init__(self) -> None:
        super().__init__(
            "lightlace",
            port="",
            baud=2_000_000,
            clock="realtime",
            full_scale_counts=[0.0],
            port_timeout_s=10.0,
            silence_timeout_s=30.0,
        )
        self.calibration = Calibration(tuple(self.value("full_scale_counts")))
        self.channels = len(self.calibration.full_scale_counts)
        self.names = [f"lace_{i:02d}" for i in range(self.channels)]
        self.lockstep = self.value("clock") == "lockstep"
        self.samples = 0
        self.torn = 0
        self.clock_ns: deque[int] = deque()
        self.lines: deque[list[int]] = deque()

        self.raw = self.publish_on(JointState, "/signals/raw")
        self.calibrated = self.publish_on(JointState, "/signals/calibrated")
        if self.lockstep:
            self.listen(Clock, "/clock", self.on_clock)
        self.port = self.open_port()
        # The executor cannot wait for a serial port: a thread reads and wakes it for each line.
        self.arrived: queue.SimpleQueue[bytes | Exception] = queue.SimpleQueue()
        self.wake = self.create_guard_condition(self.on_lines)
        threading.Thread(target=self.read, daemon=True).start()
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
                self.arrived.put(line)
                self.wake.trigger()
        except (OSError, TypeError) as error:  # pyserial: TypeError where the port was closed
            self.arrived.put(error)
            self.wake.trigger()

    def on_lines(self) -> None:
        while not self.arrived.empty():
            line = self.arrived.get()
            if isinstance(line, Exception):
                # At the end of a run the port goes a moment before this node is told to stop.
                self.create_timer(1.0, lambda error=line: self.gone(error))
                return
            try:
                counts = parse_line(line, self.channels)
            except LaceLineError as error:
                self.torn += 1
                self.get_logger().warning(f"line dropped ({self.torn} so far): {error}")
                continue
            if self.lockstep:
                self.lines.append(counts)
            else:
                self.publish(self.get_clock().now().nanoseconds, counts)
        self.pair()

    def gone(self, error: Exception) -> None:
        raise RuntimeError(
            f"the sensor on '{self.value('port')}' is gone after {self.samples} samples: {error}"
        )

    def on_clock(self, message: Clock) -> None:
        self.clock_ns.append(to_ns(message.clock))
        self.pair()

    def pair(self) -> None:
        """Lockstep: the n-th line belongs to the n-th tick of the clock."""
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
