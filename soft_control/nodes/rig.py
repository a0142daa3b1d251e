"""The simulated rig: takes commands, moves, and speaks as the real one does.

Its sensor and its actuators are at the ends of two pseudo-terminals, to which the nodes of these
instruments connect, or the microcontroller. The measured outputs (what a motion tracker would see)
go out on /outputs, and for viewers each point of them on /points/<name>. In lockstep it is the
metronome: sample k+1 is taken when the actuators have been told what to do in sample k, and ROS
time is what it says on /clock.
"""

from __future__ import annotations

import os
import select
import threading
import time
import tty
from pathlib import Path
from typing import Literal

from geometry_msgs.msg import PointStamped
from pydantic import Field, model_validator
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import JointState
from std_srvs.srv import Trigger

from soft_control.experiment.rig_device import RigDevice
from soft_control.experiment.ros_messages import joint_state, point, to_stamp
from soft_control.nodes._node import NodeParameters, RigNode
from soft_control.nodes._node import main as run
from soft_control.rigs import make_rig
from soft_control.topics import CLOCK, FIRST_NS, OUTPUTS, point_topic

CHECK_S = 0.05
READ_SIZE = 4096


class RigParameters(NodeParameters):
    rig: str = Field("tendon", description="Which one: a name of soft_control/rigs, or a twin's.")
    seed: int = Field(0, ge=0, description="Of its noise.")
    rate_hz: float = Field(120.0, gt=0, description="Samples a second.")
    duration_s: float = Field(20.0, gt=0, description="Length of the run, at least one sample.")
    clock: Literal["lockstep", "realtime"] = Field("lockstep", description="What paces the run.")
    sensor_port: str = Field(min_length=1, description="Path at which the sensor's port appears.")
    actuator_port: str = Field(
        min_length=1, description="Path at which the port of the actuators appears."
    )
    command_timeout_s: float = Field(
        30.0, gt=0, description="Lockstep: actuators that are told nothing for so long, s."
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
        rig = make_rig(p.rig, seed=p.seed, **load if p.load_offset else {})
        self.device = RigDevice(rig)
        self.robot = rig.description
        self.lockstep = p.clock == "lockstep"
        self.period_ns = round(1e9 / p.rate_hz)
        self.k = 0
        self.now_ns: int | None = None
        self.told_s = 0.0
        self.line = b""
        self.sensor = PseudoTerminal(Path(p.sensor_port))
        self.actuators = PseudoTerminal(Path(p.actuator_port))

        self.outputs = self.publish_on(JointState, OUTPUTS)
        self.points = [
            (group, self.publish_on(PointStamped, point_topic(group.name)))
            for group in self.robot.groups
            if group.is_point
        ]
        if self.lockstep:
            self.clock = self.publish_on(Clock, CLOCK)
        # The executor cannot wait for a terminal, so a thread does; what ends it is told to the
        # node. Bytes that come before the first sample wait in the terminal.
        self.ended: BaseException | None = None
        self.closing = threading.Event()
        self.moving = threading.Lock()
        self.thread = threading.Thread(target=self.follow, daemon=True)
        self.create_timer(CHECK_S, self.check)
        if self.lockstep:
            self.create_service(Trigger, "~/repeat", self.on_repeat)
        self.present()

    def on_everyone_matched(self) -> None:
        self.told_s = time.monotonic()
        if self.lockstep:
            self.sample(FIRST_NS)
        else:
            self.create_timer(self.period_ns / 1e9, self.on_tick)
        self.thread.start()

    def follow(self) -> None:
        """The thread: what comes for the actuators, until the run ends."""
        try:
            while not self.closing.is_set():
                if data := self.actuators.read(CHECK_S):
                    self.on_bytes(data)
        except BaseException as ended:
            self.ended = ended

    def on_bytes(self, data: bytes) -> None:
        """The actuators answer; in lockstep what they are told brings the next sample."""
        with self.moving:
            before = self.device.completed
            self.actuators.write(self.device.drive(data))
            if self.device.completed > before:
                self.told_s = time.monotonic()
            while self.lockstep and self.device.completed > self.k:
                self.step(1 / self.parameters.rate_hz)
                self.sample(self.now_ns + self.period_ns)

    def on_tick(self) -> None:
        """Realtime: one more sample, whatever has come; the rig has moved since the last one for as
        long as it really took, which is longer than a period where a tick was skipped."""
        with self.moving:
            now_ns = self.get_clock().now().nanoseconds
            if self.now_ns is not None:
                self.step(max(now_ns - self.now_ns, 0) / 1e9)
            self.sample(now_ns)

    def step(self, duration_s: float) -> None:
        """From sample k to k+1 under the last command; the run ends after its last sample."""
        self.device.step(duration_s)
        self.k += 1
        if self.k >= self.parameters.samples:
            raise SystemExit

    def sample(self, now_ns: int) -> None:
        """Everything that can be seen of the rig at this instant."""
        self.now_ns = now_ns
        if self.lockstep:
            self.clock.publish(Clock(clock=to_stamp(now_ns)))
        seen, self.line = self.device.sample()
        robot = self.robot
        self.sensor.write(self.line)
        self.outputs.publish(joint_state(now_ns, robot.output_names, seen.outputs, robot.frame))
        for group, publisher in self.points:
            publisher.publish(point(now_ns, group.place(seen.outputs), robot.frame))

    def on_repeat(self, request: Trigger.Request, answer: Trigger.Response) -> Trigger.Response:
        """Lockstep: the sensor says the sample again that nobody has answered. Whoever listens to
        it from now on, such as a microcontroller that has started again, has the end of a line
        before it."""
        with self.moving:
            self.sensor.write(self.device.line_end + self.line)
            answer.success, answer.message = True, f"sample {self.k}"
        return answer

    def check(self) -> None:
        """Raises what has ended the thread, and RuntimeError where nobody drives the actuators."""
        if self.ended is not None:
            raise self.ended
        silent_s = time.monotonic() - self.told_s
        if self.lockstep and self.now_ns and silent_s > self.parameters.command_timeout_s:
            raise RuntimeError(
                f"no command for sample {self.k} within {self.parameters.command_timeout_s:g} s: "
                "the controller is gone or stuck, see its log"
            )

    def close(self) -> None:
        # The ports themselves go with the process: whoever reads one must not lose it before all
        # can see that the rig has ended.
        self.closing.set()
        if self.thread.is_alive():
            self.thread.join()
        self.sensor.unlink()
        self.actuators.unlink()


class PseudoTerminal:
    """A serial port that the rig pretends to be; `link` names its other end."""

    def __init__(self, link: Path) -> None:
        # The rig keeps the other end open too, or writing fails until a reader comes.
        self.controller, self.port = os.openpty()
        tty.setraw(self.port)
        os.set_blocking(self.controller, False)
        if link.is_symlink():  # left behind by a rig that was killed; anything else stays
            link.unlink()
        link.symlink_to(os.ttyname(self.port))
        self.link = link

    def read(self, timeout_s: float) -> bytes:
        """What has come, after at most timeout_s; b"" if nothing has."""
        if not select.select([self.controller], [], [], timeout_s)[0]:
            return b""
        return os.read(self.controller, READ_SIZE)

    def write(self, data: bytes) -> None:
        """A wire never waits: what nobody reads is lost, once the terminal is full."""
        try:
            os.write(self.controller, data)
        except BlockingIOError:
            pass

    def unlink(self) -> None:
        self.link.unlink(missing_ok=True)


def main() -> None:
    run(RigSimulation)


if __name__ == "__main__":
    main()
