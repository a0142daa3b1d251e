"""Writes a run: every topic, as it is on the wire, into a rosbag2 MCAP bag, and summary.json."""

from __future__ import annotations

import time
from importlib import import_module
from pathlib import Path
from typing import Literal

from pydantic import Field
from rosbags.rosbag2 import StoragePlugin, Writer, WriterError
from rosbags.typesys import Stores, get_typestore

from soft_control.experiment.ros_messages import EVERY_SAMPLE
from soft_control.experiment.summary import summarise
from soft_control.learning.dataset import RecordingError
from soft_control.nodes._node import Names, NodeParameters, RigNode
from soft_control.nodes._node import main as run

POINT_TYPE = "geometry_msgs/msg/PointStamped"
QUIET_S = 0.3
"""So long after the last message nothing is under way any more."""


class LoggerParameters(NodeParameters):
    run_dir: str = Field(min_length=1, description="Directory of the run.")
    topics: list[str] = Field(description="What the bag holds: a topic, a blank, its type, each.")
    points: Names = Field([], description="Topics of the robot's points, which the bag holds too.")
    clock: Literal["lockstep", "realtime"] = Field(
        "lockstep",
        description="lockstep: logged at the stamp, so that equal runs are equal bags; "
        "realtime: when it came.",
    )


class Logger(RigNode):
    NAME = "logger"
    Parameters = LoggerParameters

    def __init__(self) -> None:
        super().__init__()
        points = [f"{topic} {POINT_TYPE}" for topic in self.parameters.points]
        types = [(entry, message_type(entry)) for entry in [*self.parameters.topics, *points]]
        self.run_dir = Path(self.parameters.run_dir)
        self.lockstep = self.parameters.clock == "lockstep"
        self.arrived = time.monotonic()
        try:
            self.writer = Writer(self.run_dir / "bag", version=9, storage_plugin=StoragePlugin.MCAP)
            self.writer.open()
        except WriterError as error:
            raise RuntimeError(f"cannot write a bag: {error}") from error
        typestore = get_typestore(Stores.ROS2_KILTED)
        for entry, kind in types:
            topic, type_name = entry.split()
            connection = self.writer.add_connection(topic, type_name, typestore=typestore)
            self.listen(
                kind,
                topic,
                lambda data, connection=connection: self.write(connection, data),
                EVERY_SAMPLE,
                raw=True,
            )
        self.present()

    def write(self, connection: object, data: bytes) -> None:
        self.arrived = time.monotonic()
        now_ns = stamp_ns(data) if self.lockstep else time.time_ns()
        self.writer.write(connection, now_ns, data)

    def close(self) -> None:
        """Takes what is still under way, closes the bag and sums the run up."""
        # Without an executor where it was stopped before the first message.
        while self.executor and time.monotonic() - self.arrived < QUIET_S:
            self.executor.spin_once(timeout_sec=0.05)
        self.writer.close()
        try:
            summarise(self.run_dir)
        except RecordingError as error:
            self.get_logger().warning(f"no summary.json: {error}")


def message_type(entry: str) -> type:
    """The type of the messages of an entry such as '/command sensor_msgs/msg/JointState'.

    Raises ValueError for anything else.
    """
    try:
        _, type_name = entry.split()
        package, _, name = type_name.partition("/msg/")
        return getattr(import_module(f"{package}.msg"), name)
    except (ValueError, ImportError, AttributeError):
        raise ValueError(
            f"parameter topics has '{entry}': wanted a topic and a type that is installed, such as "
            "/command sensor_msgs/msg/JointState"
        ) from None


def stamp_ns(data: bytes) -> int:
    """The stamp that every message of the graph begins with, from its CDR (4 bytes in: s, ns)."""
    order = "little" if data[1] & 1 else "big"
    seconds = int.from_bytes(data[4:8], order, signed=True)
    return seconds * 1_000_000_000 + int.from_bytes(data[8:12], order)


def main() -> None:
    run(Logger)


if __name__ == "__main__":
    main()
