"""Records a run: a rosbag2 MCAP bag of every topic as it is on the wire, and the tracking error.

The error is computed here because outputs and reference come together here anyway; it is published
too, for whoever looks on.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator
from rclpy.clock import Clock, ClockType
from rosbags.rosbag2 import WriterError
from sensor_msgs.msg import JointState

from soft_control.experiment.bag_writer import FLUSH_S, BagWriter
from soft_control.experiment.health import Health, WriterWatch
from soft_control.experiment.ros_messages import EVERY_SAMPLE
from soft_control.experiment.tracking_error import TrackingError
from soft_control.learning.cdr import (
    JOINT_STATE,
    JOINT_TRAJECTORY,
    NamedVectorReader,
    NamedVectorWriter,
    stamp_ns,
)
from soft_control.link.sensor_reader import WARNING_EVERY_S
from soft_control.nodes._diagnostics import Diagnostics
from soft_control.nodes._node import Names, NodeParameters, RigNode, check_lengths
from soft_control.nodes._node import main as run
from soft_control.processes import yield_to_others
from soft_control.topics import OUTPUTS, REFERENCE, STATISTICS, TRACKING_ERROR, relative

POINT_TYPE = "geometry_msgs/msg/PointStamped"
QUIET_S, QUIET_LOOKS = 0.3, 6
"""So long after the last message, and after so many looks in vain, nothing is under way any more.
Time alone says little where this process did not get a processor meanwhile."""
SENT_AGAIN_NS = 500_000_000
"""What was longer on its way has been lost and sent again."""
LAST_WORDS_S = 5.0
"""What comes later than so long after this node was told to stop is of another run. What came
before is written, however long that takes."""


class LoggerParameters(NodeParameters):
    run_dir: str = Field(min_length=1, description="Directory of the run.")
    topics: list[str] = Field(
        description="What the bag holds: a topic, a blank, its type, each; in realtime also what "
        "peers count, /<node>/statistics."
    )
    points: Names = Field([], description="Topics of the robot's points, which the bag holds too.")
    output_names: Names = Field(
        [], description="Outputs whose tracking error is published and recorded; empty: none."
    )
    output_points: list[str] = Field(
        [""], description="Of each of these outputs the point it belongs to; an empty text: none."
    )
    frame: str = Field("", description="Of points among the outputs.")
    rate_hz: float = Field(
        120.0,
        gt=0,
        description="Control rate. References more than 3 periods apart are the edges of a gap.",
    )
    clock: Literal["lockstep", "realtime"] = Field(
        "lockstep",
        description="lockstep: logged at the stamp, so that equal runs are equal bags; "
        "realtime: when it came.",
    )

    @model_validator(mode="after")
    def a_point_each(self) -> LoggerParameters:
        if self.output_names:
            check_lengths(self.output_names, "output", output_points=self.output_points)
        return self


class Logger(RigNode):
    NAME = "logger"
    BREAKS_OFF = False  # half a message in a bag makes all of its part unreadable
    Parameters = LoggerParameters

    def __init__(self) -> None:
        super().__init__()
        p: LoggerParameters = self.parameters
        points = [f"{topic} {POINT_TYPE}" for topic in p.points]
        self.lockstep = p.clock == "lockstep"
        self.written_ns: dict[int, int] = defaultdict(int)
        said = [] if self.lockstep else [f"/{peer}/{STATISTICS} {JOINT_STATE}" for peer in p.peers]
        types = [(entry, message_type(entry)) for entry in [*p.topics, *points, *said]]
        self.quiet_since, self.looks_in_vain = time.monotonic(), 0
        self.stopped_ns: int | None = None
        try:
            self.writer = BagWriter(Path(p.run_dir) / "bag")
        except WriterError as error:
            raise RuntimeError(f"cannot write a bag: {error}") from error
        self.tracked = Tracked(self) if p.output_names else None
        for entry, kind in types:
            topic, type_name = entry.split()
            # The bag has the names that the graph has, whatever namespace the node is in.
            connection = self.writer.add_topic(self.resolve_topic_name(relative(topic)), type_name)
            put = self.tracked.takes(topic, type_name) if self.tracked else None
            take = self.writes(connection, put)
            self.listen(kind, topic, take, EVERY_SAMPLE, with_info=True, raw=True)
        # A clock that nobody sets: what is lost when this process is killed is never more.
        self.create_timer(FLUSH_S, self.writer.flush, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self.written = self.written_bytes = 0
        if not self.lockstep:
            yield_to_others()
            self.watch = WriterWatch()
            self.diagnostics = Diagnostics(self, p.run_dir, self.judge)
        self.present()

    def judge(self, elapsed_s: float) -> Health:
        """Of the last second."""
        return self.watch.judge(elapsed_s, self.written, self.written_bytes)

    def writes(
        self, connection: object, put: Callable[[bytes, int], None] | None
    ) -> Callable[[bytes, dict[str, int]], None]:
        """What is done with a message of a topic; `put` also gets it."""

        def take(data: bytes, info: dict[str, int]) -> None:
            came_ns = published_ns(info)
            if self.stopped_ns and came_ns > self.stopped_ns:
                self.quiet_since, self.looks_in_vain = -math.inf, QUIET_LOOKS
                return
            self.quiet_since, self.looks_in_vain = time.monotonic(), 0
            self.write(connection, data, came_ns)
            if put:
                put(data, came_ns)

        return take

    def write(self, connection: Any, data: bytes, came_ns: int) -> None:
        """In lockstep at the stamp; in realtime a topic does not go back in time."""
        self.written += 1
        self.written_bytes += len(data)
        if self.lockstep:
            at_ns = stamp_ns(data)
        else:
            at_ns = self.written_ns[connection.id] = max(came_ns, self.written_ns[connection.id])
        self.writer.write(connection, at_ns, data)

    def close(self) -> None:
        """Takes what is still under way and closes the bag; `experiment.summary.finish` sums the
        run up, when this process has ended."""
        self.stopped_ns = time.time_ns() + round(LAST_WORDS_S * 1e9)
        # Without an executor where it was stopped before the first message.
        while self.executor and not self.is_quiet():
            self.looks_in_vain += 1
            self.executor.spin_once(timeout_sec=QUIET_S / QUIET_LOOKS)
        self.writer.close()

    def is_quiet(self) -> bool:
        """Whether nothing has come for long enough."""
        waited = time.monotonic() - self.quiet_since >= QUIET_S
        return waited and self.looks_in_vain >= QUIET_LOOKS


class Tracked:
    """The tracking error of a logger: computed where outputs and reference come together anyway."""

    def __init__(self, node: Logger) -> None:
        """Adds the topic to the node and its bag."""
        p: LoggerParameters = node.parameters
        self.node = node
        self.error = TrackingError(p.output_names, p.output_points, p.rate_hz)
        self.serialized = NamedVectorWriter(self.error.names, p.frame)
        self.publisher = node.publish_on(JointState, TRACKING_ERROR)
        self.connection = node.writer.add_topic(self.publisher.topic_name, JOINT_STATE)

    def takes(self, topic: str, type_name: str) -> Callable[[bytes, int], None] | None:
        """What takes the messages of a topic; None of one that the error does not need."""
        puts = {
            (OUTPUTS, JOINT_STATE): self.error.put_outputs,
            (REFERENCE, JOINT_TRAJECTORY): self.error.put_reference,
        }
        put = puts.get((topic, type_name))
        if put is None:
            return None
        read = NamedVectorReader(type_name, self.error.outputs)

        def take(data: bytes, came_ns: int) -> None:
            try:
                told = read(data)
                errors = put(told.stamp_ns, told.values)
            except ValueError as error:
                # The bag has it as it came; whoever acts on it says the same and ends the run.
                self.node.get_logger().warning(
                    f"no tracking error of this {topic}: {error}",
                    throttle_duration_sec=WARNING_EVERY_S,
                )
                return
            for at_ns, values in errors:
                serialized = self.serialized(at_ns, values)
                self.publisher.publish(serialized)
                self.node.write(self.connection, serialized, came_ns)

        return take


def published_ns(info: dict[str, int]) -> int:
    """When a message was published. One that was lost on its way and sent again counts when it
    came, after others that have waited for it."""
    sent_ns, came_ns = info["source_timestamp"], info["received_timestamp"]
    return sent_ns if 0 <= came_ns - sent_ns < SENT_AGAIN_NS else came_ns


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


def main() -> None:
    run(Logger)


if __name__ == "__main__":
    main()
