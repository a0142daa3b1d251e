"""The PID baseline: stands in for the MCU, but is given the measured outputs."""

from __future__ import annotations

import numpy as np
from pydantic import Field, model_validator
from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectory

from soft_control.control import pid
from soft_control.experiment.ros_messages import Join, by_name, from_trajectory, joint_state
from soft_control.nodes._node import Names, NodeParameters, RigNode, check_lengths
from soft_control.nodes._node import main as run
from soft_control.topics import COMMAND_ASKED, OUTPUTS, REFERENCE

VECTORS = ("kp", "ki", "kd", "command_neutral", "command_min", "command_max")


class PidParameters(NodeParameters):
    rate_hz: float = Field(120.0, gt=0, description="Control rate.")
    command_names: Names = Field(min_length=1, description="Of the commands.")
    output_names: Names = Field(min_length=1, description="Of the outputs.")
    frame: str = Field("", description="Of points among the outputs; empty: any.")
    decoupling: list[float] = Field(
        description="(commands x outputs), row by row, unit of a command over that of an output."
    )
    kp: list[float] = Field(description="Of each command, 1.")
    ki: list[float] = Field(description="Of each command, 1/s.")
    kd: list[float] = Field(description="Of each command, s.")
    command_neutral: list[float] = Field(description="Of each command, its unit.")
    command_min: list[float] = Field(description="Of each command, its unit.")
    command_max: list[float] = Field(description="Of each command, its unit.")
    derivative_time_constant: float = Field(0.02, ge=0, description="Of its filter, s.")
    proportional_setpoint: float = Field(1.0, description="Share of the reference that it sees.")
    derivative_setpoint: float = Field(1.0, description="Share of the reference that it sees.")

    @model_validator(mode="after")
    def a_value_a_command(self) -> PidParameters:
        check_lengths(self.command_names, "command", **{key: getattr(self, key) for key in VECTORS})
        each = [f"{c}/{output}" for c in self.command_names for output in self.output_names]
        check_lengths(each, "command/output", decoupling=self.decoupling)
        return self


class Pid(RigNode):
    NAME = "pid"
    Parameters = PidParameters

    def __init__(self) -> None:
        super().__init__()
        p: PidParameters = self.parameters
        self.config = pid.PidConfig(
            decoupling=np.array(p.decoupling).reshape(len(p.command_names), -1),
            **{name: getattr(p, name) for name in pid.SCALARS},
            **{name: np.array(getattr(p, name)) for name in VECTORS},
        )
        self.state = pid.reset(self.config)
        self.command = self.publish_on(JointState, COMMAND_ASKED)
        self.join = Join((OUTPUTS, REFERENCE), self.on_sample)
        self.listen(JointState, OUTPUTS, lambda m: self.join.put(OUTPUTS, m))
        self.listen(JointTrajectory, REFERENCE, lambda m: self.join.put(REFERENCE, m))
        self.present()

    def on_sample(self, now_ns: int, outputs: JointState, reference: JointTrajectory) -> None:
        p: PidParameters = self.parameters
        wanted = from_trajectory(reference, p.output_names, frame=p.frame)[0]
        seen = by_name(outputs, p.output_names, OUTPUTS, others=True, frame=p.frame)
        command = pid.step(self.config, self.state, wanted, seen, 1 / p.rate_hz)
        self.command.publish(joint_state(now_ns, p.command_names, command))


def main() -> None:
    run(Pid)


if __name__ == "__main__":
    main()
