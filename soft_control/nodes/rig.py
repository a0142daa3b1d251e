"""The simulated rig: takes commands, moves, and speaks as the real one does.

LightLace lines go out on a pseudo-terminal, the tip position (what a motion tracker would see) on
/tip_position. In lockstep it is the metronome: sample k+1 is taken when the command of sample k
has come, and ROS time is what it says on /clock.
"""

from __future__ import annotations

import os
import tty
from pathlib import Path

import numpy as np
from geometry_msgs.msg import PointStamped
from rclpy.duration import Duration
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import JointState

from soft_control.link.lace_line import format_line
from soft_control.nodes._node import RigNode, point, to_ns, to_stamp
from soft_control.nodes._node import main as run
from soft_control.rigs import make_rig


class RigSimulation(RigNode):
    def __init__(self) -> None:
        super().__init__(
            "rig",
            rig="tendon",
            seed=0,
            rate_hz=120.0,
            duration_s=20.0,
            clock="lockstep",
            lace_port="",
            lace_format="plain",
            command_timeout_s=30.0,
            load_offset=[0.0, 0.0, 0.0],
            load_after_s=0.0,
        )
        load = {key: self.value(key) for key in ("load_offset", "load_after_s")}
        self.rig = make_rig(self.value("rig"), seed=self.value("seed"), **load)
        self.lockstep = self.value("clock") == "lockstep"
        self.period_ns = round(1e9 / self.value("rate_hz"))
        self.samples = round(self.value("duration_s") * self.value("rate_hz"))
        self.command = (self.rig.command_min + self.rig.command_max) / 2
        self.k = 0
        self.lace = PseudoTerminal(Path(self.value("lace_port")))

        self.tip = self.publish_on(PointStamped, "/tip_position")
        self.listen(JointState, "/command", self.on_command)
        if self.lockstep:
            self.clock = self.publish_on(Clock, "/clock")
            self.watch = self.create_timer(self.value("command_timeout_s"), self.on_silence)
        self.present()

    def on_everyone_matched(self) -> None:
        if self.lockstep:
            self.sample()
        else:
            self.create_timer(self.period_ns / 1e9, self.on_tick)

    def on_command(self, message: JointState) -> None:
        command = np.asarray(message.position)
        if command.shape != self.command.shape or not np.isfinite(command).all():
            raise ValueError(
                f"the command of sample {self.k} has {command.size} values, {command}; this rig "
                f"takes {self.command.size} finite ones"
            )
        self.command = command
        if self.lockstep:
            if to_ns(message.header.stamp) != self.now_ns:
                raise ValueError(f"a command came that does not answer sample {self.k}")
            self.advance()

    def on_tick(self) -> None:
        if self.k == 0:
            self.sample()
        else:
            self.rig.step(self.command, self.period_ns / 1e9)
            self.sample()
        self.k += 1
        if self.k >= self.samples:
            self.finish()

    def advance(self) -> None:
        """From sample k to k+1 under the command of sample k."""
        self.rig.step(self.command, 1 / self.value("rate_hz"))
        self.k += 1
        if self.k == self.samples:
            self.finish()
        self.watch.reset()
        self.sample()

    def sample(self) -> None:
        """Everything that can be seen of the rig at this instant."""
        if self.lockstep:
            # ROS takes a time of 0 for "no clock yet", so the first sample is at 1 s.
            self.now_ns = 1_000_000_000 + self.k * self.period_ns
            self.clock.publish(Clock(clock=to_stamp(self.now_ns)))
        else:
            self.now_ns = self.get_clock().now().nanoseconds
        seen = self.rig.measure()
        self.tip.publish(point(self.now_ns, seen.position))
        self.lace.write(format_line(seen.signals, self.value("lace_format")))

    def on_silence(self) -> None:
        if hasattr(self, "now_ns"):
            raise RuntimeError(
                f"no command for sample {self.k} within {self.value('command_timeout_s'):g} s: "
                "the controller is gone or stuck, see its log"
            )

    def finish(self) -> None:
        self.tip.wait_for_all_acked(Duration(seconds=5))
        raise SystemExit

    def close(self) -> None:
        self.lace.close()


class PseudoTerminal:
    """A serial port that the rig pretends to be; `link` names its other end."""

    def __init__(self, link: Path) -> None:
        if not link.name:
            raise ValueError("lace_port is empty: name the port at which the sensor shall appear")
        # The rig keeps the other end open too, or writing fails until a reader comes.
        self.controller, self.port = os.openpty()
        tty.setraw(self.port)
        link.unlink(missing_ok=True)
        link.symlink_to(os.ttyname(self.port))
        self.link = link

    def write(self, data: bytes) -> None:
        os.write(self.controller, data)

    def close(self) -> None:
        self.link.unlink(missing_ok=True)
        os.close(self.controller)
        os.close(self.port)


def main() -> None:
    run(RigSimulation)


if __name__ == "__main__":
    main()
