"""A motion tracker's poses or points become the measured outputs of the robot, in its frame."""

from __future__ import annotations

import time
from functools import partial
from typing import Any, Literal

import numpy as np
from geometry_msgs.msg import PointStamped, PoseStamped, TransformStamped
from pydantic import Field, model_validator
from sensor_msgs.msg import JointState

from soft_control.experiment.health import Health, SensorWatch
from soft_control.experiment.ros_messages import joint_state, point, to_ns
from soft_control.link.sensor_reader import WARNING_EVERY_S
from soft_control.link.tracker import Placement, Tracker, rotate
from soft_control.nodes._diagnostics import Diagnostics
from soft_control.nodes._node import Names, NodeParameters, RigNode, check_lengths
from soft_control.nodes._node import main as run
from soft_control.robots.description import AXES
from soft_control.topics import OUTPUTS, point_topic

TYPES = {
    "geometry_msgs/msg/PointStamped": PointStamped,
    "geometry_msgs/msg/PoseStamped": PoseStamped,
    "geometry_msgs/msg/TransformStamped": TransformStamped,
}


class TrackerParameters(NodeParameters):
    points: Names = Field(min_length=1, description="Of the robot that the tracker sees.")
    topics: list[str] = Field(
        description="Of each point the topic on which the tracker says it, a blank, and its type: "
        f"{', '.join(TYPES)}."
    )
    output_names: Names = Field(min_length=1, description="Outputs of the robot that are tracked.")
    output_points: list[str] = Field(description="Of each output the point it belongs to.")
    output_axes: list[Literal["x", "y", "z"]] = Field(
        description="Of each output the axis of the robot's frame along which it lies."
    )
    frame: str = Field("rig_base", description="Of the robot.")
    tracker_frame: str = Field("", description="That messages must be in; empty: any.")
    translation: list[float] = Field(
        [0.0, 0.0, 0.0],
        min_length=3,
        max_length=3,
        description="Of the tracker's origin in the robot's frame, m.",
    )
    rotation: list[float] = Field(
        [0.0, 0.0, 0.0, 1.0],
        min_length=4,
        max_length=4,
        description="From the tracker's frame to the robot's: quaternion x, y, z, w.",
    )
    scale: float = Field(1.0, gt=0, description="m in a unit of the tracker: 0.001 for mm.")
    body_offset: list[float] = Field(
        [0.0, 0.0, 0.0],
        min_length=3,
        max_length=3,
        description="Of poses: where the point is on the tracked body, in its axes and the "
        "tracker's unit.",
    )
    stamp: Literal["tracker", "arrival"] = Field(
        "tracker",
        description="What stamps an output: the tracker's stamp, or the time at which it came, "
        "where the tracker's clock is not this machine's.",
    )
    timeout_s: float = Field(
        0.1,
        gt=0,
        description="A point that has not been seen for so long is lost: no outputs are published "
        "until all are seen again.",
    )

    @model_validator(mode="after")
    def fits_together(self) -> TrackerParameters:
        check_lengths(self.points, "point", topics=self.topics)
        check_lengths(
            self.output_names,
            "output",
            output_points=self.output_points,
            output_axes=self.output_axes,
        )
        for entry in self.topics:
            if len(entry.split()) != 2 or entry.split()[1] not in TYPES:
                raise ValueError(
                    f"topics has '{entry}': wanted a topic, a blank and one of {', '.join(TYPES)}"
                )
        if unknown := set(self.output_points) - set(self.points):
            raise ValueError(f"output_points has {', '.join(sorted(unknown))}: no point of points")
        Placement(tuple(self.translation), tuple(self.rotation), self.scale)
        return self


class MotionTracker(RigNode):
    NAME = "tracker"
    Parameters = TrackerParameters

    def __init__(self) -> None:
        super().__init__()
        p: TrackerParameters = self.parameters
        self.placement = Placement(tuple(p.translation), tuple(p.rotation), p.scale)
        self.tracker = Tracker(tuple(p.points), round(p.timeout_s * 1e9))
        self.seen_s = time.monotonic()
        self.lost = True
        self.is_awaited = not p.peers
        """Whether outputs are published: those of a run when all can hear them."""
        self.outputs = self.publish_on(JointState, OUTPUTS)
        self.placed = {name: self.publish_on(PointStamped, point_topic(name)) for name in p.points}
        for name, entry in zip(p.points, p.topics, strict=True):
            topic, type_name = entry.split()
            self.hear(TYPES[type_name], topic, partial(self.on_message, name, topic))
        self.create_timer(p.timeout_s, self.check)
        self.samples = self.dropped = 0
        self.watch = SensorWatch()
        self.diagnostics = Diagnostics(self, ", ".join(p.points), self.judge)
        self.present()

    def on_everyone_matched(self) -> None:
        self.is_awaited = True

    def on_message(self, name: str, topic: str, message: Any) -> None:
        """A point as the tracker sees it."""
        p: TrackerParameters = self.parameters
        frame = message.header.frame_id
        if p.tracker_frame and frame != p.tracker_frame:
            raise ValueError(f"{topic} is in frame '{frame}': wanted '{p.tracker_frame}'")
        by_arrival = p.stamp == "arrival"
        at_ns = self.get_clock().now().nanoseconds if by_arrival else to_ns(message.header.stamp)
        try:
            placed = self.placement.place(position(message, np.array(p.body_offset)))
            self.tracker.see(name, at_ns, placed)
        except ValueError as error:
            self.dropped += 1
            self.get_logger().warning(f"{topic}: {error}", throttle_duration_sec=WARNING_EVERY_S)
            return
        if (complete := self.tracker.complete()) is not None:
            self.publish(*complete)

    def publish(self, now_ns: int, positions: dict[str, np.ndarray]) -> None:
        p: TrackerParameters = self.parameters
        self.samples += 1
        self.seen_s = time.monotonic()
        if self.lost:
            self.lost = False
            self.get_logger().info(f"sees {', '.join(p.points)}")
        if not self.is_awaited:
            return
        values = [
            positions[of][AXES.index(axis)]
            for of, axis in zip(p.output_points, p.output_axes, strict=True)
        ]
        self.outputs.publish(joint_state(now_ns, p.output_names, values, p.frame))
        for name, publisher in self.placed.items():
            publisher.publish(point(now_ns, positions[name], p.frame))

    def judge(self, elapsed_s: float) -> Health:
        """Of the last second."""
        silent_s = time.monotonic() - self.seen_s
        counts = {"samples": self.samples, "dropped": self.dropped}
        return self.watch.judge(elapsed_s, counts, silent_s)

    def check(self) -> None:
        """Says once when the points are lost."""
        if not self.lost and time.monotonic() - self.seen_s > self.parameters.timeout_s:
            self.lost = True
            self.get_logger().warning(
                f"has not seen all of {', '.join(self.parameters.points)} for "
                f"{self.parameters.timeout_s:g} s: no outputs until it does"
            )


def position(message: Any, body_offset: np.ndarray) -> np.ndarray:
    """(3,) of a point, or of a place on a body that is seen, in the tracker's frame and unit.
    Raises ValueError for an orientation that is none."""
    if isinstance(message, PointStamped):
        seen = message.point
        return np.array([seen.x, seen.y, seen.z])
    if isinstance(message, PoseStamped):
        seen, turned = message.pose.position, message.pose.orientation
    else:
        seen, turned = message.transform.translation, message.transform.rotation
    here = np.array([seen.x, seen.y, seen.z])
    if not np.any(body_offset):
        return here
    quaternion = np.array([turned.x, turned.y, turned.z, turned.w])
    if not 0.0 < np.linalg.norm(quaternion) < np.inf:
        raise ValueError(f"orientation {quaternion.tolist()} is none")
    return here + rotate(quaternion, body_offset)


def main() -> None:
    run(MotionTracker)


if __name__ == "__main__":
    main()
