"""Open-loop commands that make a rig show itself: what `softctl collect` records."""

from __future__ import annotations

import numpy as np
from pydantic import Field, model_validator
from sensor_msgs.msg import JointState

from soft_control.experiment.ros_messages import joint_state, to_ns
from soft_control.learning.excitation import excitation
from soft_control.nodes._node import Names, NodeParameters, RigNode, check_lengths
from soft_control.nodes._node import main as run
from soft_control.topics import COMMAND_ASKED, SIGNALS


class ExcitationParameters(NodeParameters):
    seed: int = Field(0, ge=0, description="Of what is drawn at random.")
    rate_hz: float = Field(120.0, gt=0, description="Commands a second.")
    duration_s: float = Field(60.0, gt=0, description="Length of the run.")
    command_names: Names = Field(min_length=1, description="Of the commands.")
    command_min: list[float] = Field(description="Of each command, its unit.")
    command_max: list[float] = Field(description="Of each command, its unit.")
    move_max: list[float] = Field(description="Largest move of each command in one sample.")
    pace: float = Field(1.0, gt=0, description="How much faster than a soft block it moves.")

    @model_validator(mode="after")
    def a_value_a_command(self) -> ExcitationParameters:
        vectors = {key: getattr(self, key) for key in ("command_min", "command_max", "move_max")}
        check_lengths(self.command_names, "command", **vectors)
        return self


class Excitation(RigNode):
    NAME = "excitation"
    Parameters = ExcitationParameters

    def __init__(self) -> None:
        super().__init__()
        p: ExcitationParameters = self.parameters
        self.commands = excitation(
            p.duration_s,
            p.rate_hz,
            np.array(p.command_min),
            np.array(p.command_max),
            np.array(p.move_max),
            p.seed,
            p.pace,
        )
        self.k = 0
        self.command = self.publish_on(JointState, COMMAND_ASKED)
        self.listen(JointState, SIGNALS, self.on_sample)
        self.present()

    def on_sample(self, message: JointState) -> None:
        names = self.parameters.command_names
        command = self.commands[min(self.k, len(self.commands) - 1)]
        self.command.publish(joint_state(to_ns(message.header.stamp), names, command))
        self.k += 1


def main() -> None:
    run(Excitation)


if __name__ == "__main__":
    main()
