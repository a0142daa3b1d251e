"""Writes a run: every topic, as it is on the wire, into a rosbag2 MCAP bag, and summary.json."""

from __future__ import annotations

import time
from importlib import import_module
from pathlib import Path

from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from soft_control.experiment.summary import summarise
from soft_control.learning.dataset import RecordingError
from soft_control.nodes._node import RigNode
from soft_control.nodes._node import main as run


class Logger(RigNode):
    def __init__(self) -> None:
        super().__init__("logger", run_dir="", topics=[""], clock="lockstep")
        self.run_dir = Path(self.value("run_dir"))
        self.lockstep = self.value("clock") == "lockstep"
        self.arrived = time.monotonic()
        self.writer = Writer(self.run_dir / "bag", version=9, storage_plugin=StoragePlugin.MCAP)
        self.writer.open()
        typestore = get_typestore(Stores.ROS2_KILTED)
        for entry in self.value("topics"):
            topic, type_name = entry.split()
            connection = self.writer.add_connection(topic, type_name, typestore=typestore)
            package, _, name = type_name.partition("/msg/")
            self.listen(
                getattr(import_module(f"{package}.msg"), name),
                topic,
                lambda data, connection=connection: self.write(connection, data),
                raw=True,
            )
        self.present()

    def write(self, connection: object, data: bytes) -> None:
        """Lockstep: logged at the stamp, so that equal runs are equal bags; else when it came."""
        self.arrived = time.monotonic()
        now_ns = stamp_ns(data) if self.lockstep else time.time_ns()
        self.writer.write(connection, now_ns, data)

    def close(self) -> None:
        """Takes what is still under way, closes the bag and sums the run up."""
        while time.monotonic() - self.arrived < 0.3:
            self.executor.spin_once(timeout_sec=0.05)
        self.writer.close()
        try:
            summarise(self.run_dir)
        except RecordingError as error:
            self.get_logger().warning(f"no summary.json: {error}")


def stamp_ns(data: bytes) -> int:
    """The stamp that every message of the graph begins with, from its CDR (4 bytes in: s, ns)."""
    order = "little" if data[1] & 1 else "big"
    seconds = int.from_bytes(data[4:8], order, signed=True)
    return seconds * 1_000_000_000 + int.from_bytes(data[8:12], order)


def main() -> None:
    run(Logger)


if __name__ == "__main__":
    main()
