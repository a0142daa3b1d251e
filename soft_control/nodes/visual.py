"""What viewers such as RViz and Foxglove draw: joints of the links, markers, frames of the points.

It looks on: the roll call does not know it, nobody waits for it, and it may come and go while a run
goes on. Thirty times a second it says how things are then, however fast samples come.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field
from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectory
from visualization_msgs.msg import MarkerArray

from soft_control.control.sampled_reference import read_reference
from soft_control.experiment.ros_messages import (
    GLANCE,
    LATEST_SAMPLE,
    by_name,
    from_trajectory,
    joint_state,
    to_ns,
)
from soft_control.experiment.scene import Scene
from soft_control.link.sensor_reader import WARNING_EVERY_S
from soft_control.nodes._markers import markers, transforms
from soft_control.nodes._node import NodeParameters, RigNode
from soft_control.nodes._node import main as run
from soft_control.rigs import describe
from soft_control.robots.links import LINKS
from soft_control.topics import (
    COMMAND,
    JOINT_STATES,
    MARKERS,
    OUTPUTS,
    PREDICTED_OUTPUTS,
    REFERENCE,
    TF,
    relative,
)

try:
    from tf2_msgs.msg import TFMessage
except ImportError:  # has no wheel; where viewers are installed it is
    TFMessage = None


class VisualParameters(NodeParameters):
    robot: str = Field(
        "tendon", description="Whom to draw: a rig, the directory of a twin, or a description."
    )
    frame_prefix: str = Field(
        "", description="Before the names of all frames, as that of robot_state_publisher: left/."
    )
    draw_hz: float = Field(30.0, gt=0, le=120, description="Pictures a second.")
    trail_s: float = Field(10.0, ge=0, description="How long the way of a point stays, s.")
    trajectory: str = Field(
        "", description="CSV file of the reference; empty: what is seen of it is drawn."
    )
    horizon: int = Field(
        0, ge=0, description="Samples of it that the controller sees, where it is told beforehand."
    )
    rate_hz: float = Field(0.0, ge=0, description="Control rate; 0: the robot's.")


class Visual(RigNode):
    NAME = "visual"
    Parameters = VisualParameters

    def __init__(self) -> None:
        super().__init__()
        p: VisualParameters = self.parameters
        self.robot = robot = describe(p.robot)
        curve = read_reference(Path(p.trajectory), robot.output_names) if p.trajectory else None
        self.scene = Scene(robot, p.trail_s, curve, p.horizon, p.rate_hz or None)
        self.frame = p.frame_prefix + robot.frame
        self.links = LINKS.get(robot.name)
        self.commands: dict[str, float] = {}
        self.now_ns: int | None = None
        self.drawn_ns: int | None = None

        # Reliable, which RViz asks of markers by default; whoever is slow gets the newest.
        self.markers = self.create_publisher(MarkerArray, relative(MARKERS), LATEST_SAMPLE)
        self.joints = self.create_publisher(JointState, relative(JOINT_STATES), LATEST_SAMPLE)
        self.frames = self.create_publisher(TFMessage, TF, 100) if TFMessage else None
        for message, topic, callback in (
            (JointState, OUTPUTS, self.on_outputs),
            (JointState, PREDICTED_OUTPUTS, self.on_predicted),
            (JointState, COMMAND, self.on_command),
            (JointTrajectory, REFERENCE, self.on_reference),
        ):
            self.create_subscription(message, relative(topic), self.glanced(callback), GLANCE)
        self.create_timer(1 / p.draw_hz, self.draw)
        self.present()
        parts = ["points"] + ["links"] * bool(self.links) + ["frames"] * bool(self.frames)
        self.get_logger().info(f"draws {robot.name}: {', '.join(parts)}")

    def glanced(self, callback: Callable[[Any], None]) -> Callable[[Any], None]:
        """What cannot be drawn is left out; the node that acts on it says what is wrong with it."""

        def on_message(message: Any) -> None:
            try:
                callback(message)
            except ValueError as error:
                self.get_logger().warning(
                    f"not drawn: {error}", throttle_duration_sec=WARNING_EVERY_S
                )

        return on_message

    def on_outputs(self, message: JointState) -> None:
        seen = self.outputs_of(message, OUTPUTS)
        self.now_ns = to_ns(message.header.stamp)
        self.scene.on_outputs(self.now_ns, seen)

    def on_predicted(self, message: JointState) -> None:
        self.scene.on_predicted(self.outputs_of(message, PREDICTED_OUTPUTS))

    def outputs_of(self, message: JointState, topic: str) -> np.ndarray:
        return by_name(message, self.robot.output_names, topic, others=True, frame=self.robot.frame)

    def on_reference(self, message: JointTrajectory) -> None:
        ahead = from_trajectory(message, self.robot.output_names, frame=self.robot.frame)
        self.scene.on_reference(to_ns(message.header.stamp), ahead)

    def on_command(self, message: JointState) -> None:
        self.commands = dict(zip(message.name, message.position, strict=False))

    def draw(self) -> None:
        """Where nothing new was measured there is nothing new to draw."""
        if self.now_ns is None or self.now_ns == self.drawn_ns:
            return
        now_ns = self.drawn_ns = self.now_ns
        points = self.scene.points()
        self.markers.publish(markers(points, now_ns, self.frame))
        if self.links and points and points[0].tip is not None:
            joints = self.links.of_tip(points[0].tip)
            for name in self.links.commanded:
                joints[name] = self.commands.get(name, 0.0)
            self.joints.publish(joint_state(now_ns, list(joints), list(joints.values())))
        if self.frames:
            prefix = self.parameters.frame_prefix
            self.frames.publish(
                TFMessage(transforms=transforms(points, now_ns, self.frame, prefix))
            )


def main() -> None:
    run(Visual)


if __name__ == "__main__":
    main()
