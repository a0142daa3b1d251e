"""The simulated rig: takes commands, moves, and speaks as the real one does.

LightLace lines go out on a pseudo-terminal, the measured outputs (what a motion tracker would see)
on /outputs, and for viewers each point of them on /points/<name>. In lockstep it is the metronome:
sample k+1 is taken when the command of sample k has come, and ROS time is what it says on /clock.
"""

from __future__ import annotations

import os
import tty
from pathlib import Path
from typing import Literal

from geometry_msgs.msg import PointStamped
from pydantic import Field, model_validator
from rclpy.duration import Duration
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import JointState

from soft_control.experiment.ros_messages import by_name, joint_state, point, to_ns, to_stamp
from soft_control.link.lace_line import WARNING_EVERY_S, format_line
from soft_control.nodes._node import NodeParameters, RigNode
from soft_control.nodes._node import main as run
from soft_control.rigs import make_rig
from soft_control.topics import CLOCK, COMMAND, OUTPUTS, point_topic


class RigParameters(NodeParameters):
    rig: str = Field("tendon", description="Which one: a name of soft_control/rigs, or a twin's.")
    seed: int = Field(0, ge=0, description="Of its noise.")
    rate_hz: float = Field(120.0, gt=0, description="Samples a second.")
    duration_s: float = Field(20.0, gt=0, description="Length of the run, at least one sample.")
    clock: Literal["lockstep", "realtime"] = Field("lockstep", description="What paces the run.")
    lace_port: str = Field(min_length=1, description="Path at which the sensor's port appears.")
    lace_format: Literal["plain", "bracketed"] = Field(
        "plain", description="The two formats that LightLace boards write."
    )
    command_timeout_s: float = Field(
        30.0, gt=0, description="Lockstep: a controller silent for so long is gone, s."
    )
    command_age_max: float = Field(
        2.0,
        gt=0,
        description="Realtime: a command for a sample more than so many control periods ago is "
        "refused.",
    )
    load_offset: list[float] = Field(
        [],
        description="Displacement of each output by the load put on in mid-run, its unit; empty: "
        "no load.",
    )
    load_after_s: float = Field(0.0, ge=0, description="When that load is put on, s.")

    @property
    def samples(self) -> int:
        return round(self.duration_s * self.rate_hz)

    @model_validator(mode="after")
    def at_least_one_sample(self) -> RigParameters:
        if self.samples < 1:
            raise ValueError(
                f"duration_s = {self.duration_s:g} holds no sample at rate_hz = {self.rate_hz:g}: "
                f"wanted {1 / self.rate_hz:.3g} or more"
            )
        return self


class RigSimulation(RigNode):
    NAME = "rig"
    Parameters = RigParameters

    def __init__(self) -> None:
        super().__init__()
        p: RigParameters = self.parameters
        load = {"load_offset": p.load_offset, "load_after_s": p.load_after_s}
        self.rig = make_rig(p.rig, seed=p.seed, **load if p.load_offset else {})
        self.robot = self.rig.description
        self.lockstep = p.clock == "lockstep"
        self.period_ns = round(1e9 / p.rate_hz)
        self.command = (self.rig.command_min + self.rig.command_max) / 2
        self.k = 0
        self.now_ns: int | None = None
        self.refused = 0
        self.lace = PseudoTerminal(Path(p.lace_port))

        self.outputs = self.publish_on(JointState, OUTPUTS)
        self.points = [
            (group, self.publish_on(PointStamped, point_topic(group.name)))
            for group in self.robot.groups
            if group.is_point
        ]
        self.listen(JointState, COMMAND, self.on_command)
        if self.lockstep:
            self.clock = self.publish_on(Clock, CLOCK)
            self.watch = self.create_timer(p.command_timeout_s, self.on_silence)
        self.present()

    def on_everyone_matched(self) -> None:
        if self.lockstep:
            self.watch.reset()
            # ROS takes a time of 0 for "no clock yet", so the first sample is at 1 s.
            self.sample(1_000_000_000)
        else:
            self.create_timer(self.period_ns / 1e9, self.on_tick)

    def on_command(self, message: JointState) -> None:
        command = by_name(message, self.rig.command_names, COMMAND)
        if not self.lockstep and self.is_too_old(message):
            return
        self.command = command
        if self.lockstep:
            if to_ns(message.header.stamp) != self.now_ns:
                raise ValueError(f"a command came that does not answer sample {self.k}")
            self.watch.reset()
            self.step(1 / self.parameters.rate_hz)
            self.sample(self.now_ns + self.period_ns)

    def is_too_old(self, message: JointState) -> bool:
        """A controller that was stopped and goes on would have the robot make up for what it has
        missed."""
        age_s = (self.get_clock().now().nanoseconds - to_ns(message.header.stamp)) / 1e9
        if age_s <= self.parameters.command_age_max / self.parameters.rate_hz:
            return False
        self.refused += 1
        self.get_logger().warning(
            f"refused a command for a sample {age_s:.3f} s ago ({self.refused} so far)",
            throttle_duration_sec=WARNING_EVERY_S,
        )
        return True

    def on_tick(self) -> None:
        """Realtime: one more sample, whatever has come; the rig has moved since the last one for as
        long as it really took, which is longer than a period where a tick was skipped."""
        now_ns = self.get_clock().now().nanoseconds
        if self.now_ns is not None:
            self.step(max(now_ns - self.now_ns, 0) / 1e9)
        self.sample(now_ns)

    def step(self, duration_s: float) -> None:
        """From sample k to k+1 under the last command; the run ends after its last sample."""
        self.rig.step(self.command, duration_s)
        self.k += 1
        if self.k >= self.parameters.samples:
            self.outputs.wait_for_all_acked(Duration(seconds=5))
            raise SystemExit

    def sample(self, now_ns: int) -> None:
        """Everything that can be seen of the rig at this instant."""
        self.now_ns = now_ns
        if self.lockstep:
            self.clock.publish(Clock(clock=to_stamp(now_ns)))
        seen = self.rig.measure()
        robot = self.robot
        self.outputs.publish(joint_state(now_ns, robot.output_names, seen.outputs, robot.frame))
        for group, publisher in self.points:
            publisher.publish(point(now_ns, group.place(seen.outputs), robot.frame))
        self.lace.write(format_line(seen.signals, self.parameters.lace_format))

    def on_silence(self) -> None:
        if self.now_ns is not None:
            raise RuntimeError(
                f"no command for sample {self.k} within {self.parameters.command_timeout_s:g} s: "
                "the controller is gone or stuck, see its log"
            )

    def close(self) -> None:
        # The port itself goes with the process: whoever reads it must not lose it before all can
        # see that the rig has ended.
        self.lace.unlink()


class PseudoTerminal:
    """A serial port that the rig pretends to be; `link` names its other end."""

    def __init__(self, link: Path) -> None:
        # The rig keeps the other end open too, or writing fails until a reader comes.
        self.controller, self.port = os.openpty()
        tty.setraw(self.port)
        if link.is_symlink():  # left behind by a rig that was killed; anything else stays
            link.unlink()
        link.symlink_to(os.ttyname(self.port))
        self.link = link

    def write(self, data: bytes) -> None:
        os.write(self.controller, data)

    def unlink(self) -> None:
        self.link.unlink(missing_ok=True)


def main() -> None:
    run(RigSimulation)


if __name__ == "__main__":
    main()
