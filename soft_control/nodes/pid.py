"""The PID baseline: stands in for the MCU, but is given the measured outputs."""

from __future__ import annotations

import dataclasses

import numpy as np
from pydantic import Field, model_validator
from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectory

from soft_control.control import pid
from soft_control.control.controllers import CONTROLLERS
from soft_control.experiment.ros_messages import Join, by_name, from_trajectory
from soft_control.nodes._controller import ControllerNode, ControllerParameters
from soft_control.nodes._node import LIVE, Names, check_lengths
from soft_control.nodes._node import main as run
from soft_control.topics import OUTPUTS, REFERENCE

VECTORS = ("kp", "ki", "kd", "command_neutral", "command_min", "command_max")


class PidParameters(ControllerParameters):
    output_names: Names = Field(min_length=1, description="Of the outputs.")
    frame: str = Field("", description="Of points among the outputs; empty: any.")
    decoupling: list[float] = Field(
        description="(commands x outputs), row by row, unit of a command over that of an output.",
        json_schema_extra=LIVE,
    )
    kp: list[float] = Field(description="Of each command, 1.", json_schema_extra=LIVE)
    ki: list[float] = Field(description="Of each command, 1/s.", json_schema_extra=LIVE)
    kd: list[float] = Field(description="Of each command, s.", json_schema_extra=LIVE)
    command_neutral: list[float] = Field(description="Of each command, its unit.")
    command_min: list[float] = Field(description="Of each command, its unit.")
    command_max: list[float] = Field(description="Of each command, its unit.")
    derivative_time_constant: float = Field(
        0.02, ge=0, description="Of its filter, s.", json_schema_extra=LIVE
    )
    proportional_setpoint: float = Field(
        1.0, description="Share of the reference that it sees.", json_schema_extra=LIVE
    )
    derivative_setpoint: float = Field(
        1.0, description="Share of the reference that it sees.", json_schema_extra=LIVE
    )

    @model_validator(mode="after")
    def a_value_a_command(self) -> PidParameters:
        check_lengths(self.command_names, "command", **{key: getattr(self, key) for key in VECTORS})
        each = [f"{c}/{output}" for c in self.command_names for output in self.output_names]
        check_lengths(each, "command/output", decoupling=self.decoupling)
        return self

    def config(self) -> pid.PidConfig:
        """The same as the law takes it."""
        return pid.PidConfig(
            decoupling=np.array(self.decoupling).reshape(len(self.command_names), -1),
            **{name: getattr(self, name) for name in pid.SCALARS},
            **{name: np.array(getattr(self, name)) for name in VECTORS},
        )


class Pid(ControllerNode):
    """Other gains, as another controller before it, are taken over from without a step."""

    NAME = "pid"
    TITLE = CONTROLLERS["pid"].name
    Parameters = PidParameters

    def __init__(self) -> None:
        super().__init__()
        p: PidParameters = self.parameters
        self.config = self.next_config = p.config()
        self.period_s = 1 / p.rate_hz
        self.state = pid.reset(self.config)
        self.join = Join((OUTPUTS, REFERENCE), self.turns.sample)
        for kind, topic in ((JointState, OUTPUTS), (JointTrajectory, REFERENCE)):
            self.listen(kind, topic, lambda m, topic=topic: self.join.put(topic, m), self.queue)
        self.load()
        self.present()

    def load(self) -> None:
        """What else it needs before it says that it is there."""

    def on_parameters(self, new: PidParameters) -> None:
        self.next_config = new.config()

    def inputs(
        self, outputs: JointState, reference: JointTrajectory
    ) -> tuple[np.ndarray, np.ndarray]:
        """Reference (H + 1, n) of a sample and those after it, and its outputs (n,)."""
        p: PidParameters = self.parameters
        ahead = from_trajectory(reference, p.output_names, frame=p.frame)
        return ahead, by_name(outputs, p.output_names, OUTPUTS, others=True, frame=p.frame)

    def forward(self, ahead: np.ndarray) -> np.ndarray | None:
        """The feed-forward (m,) of a sample; None: it has none."""
        return None

    def adopt(self) -> None:
        """The parameters that were set last are those from now on."""
        self.config = self.next_config

    def answer(self, now_ns: int, outputs: JointState, reference: JointTrajectory) -> np.ndarray:
        ahead, seen = self.inputs(outputs, reference)
        before = dataclasses.replace(self.state)
        command = pid.step(
            self.config, self.state, ahead[0], seen, self.period_s, self.forward(ahead)
        )
        if self.config is not self.next_config:
            self.state = before
            self.take_over(command, ahead, seen)
        return command

    def follow(
        self, now_ns: int, command: np.ndarray, outputs: JointState, reference: JointTrajectory
    ) -> None:
        self.take_over(command, *self.inputs(outputs, reference))

    def take_over(self, command: np.ndarray, ahead: np.ndarray, seen: np.ndarray) -> None:
        """The next command goes on from this one, with the parameters that were set last."""
        self.adopt()
        forward = self.forward(ahead)
        pid.track(self.config, self.state, command, ahead[0], seen, self.period_s, forward)


def main() -> None:
    run(Pid)


if __name__ == "__main__":
    main()
