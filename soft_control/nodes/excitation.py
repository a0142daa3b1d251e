"""Open-loop commands that make a rig show itself: what `softctl collect` records."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field, model_validator
from sensor_msgs.msg import JointState

from soft_control.control.controllers import CONTROLLERS
from soft_control.experiment.ros_messages import header_ns
from soft_control.learning.excitation import excitation
from soft_control.nodes._controller import ControllerNode, ControllerParameters
from soft_control.nodes._node import check_lengths
from soft_control.nodes._node import main as run
from soft_control.topics import OUTPUTS, SIGNALS


class ExcitationParameters(ControllerParameters):
    seed: int = Field(0, ge=0, description="Of what is drawn at random.")
    duration_s: float = Field(60.0, gt=0, description="Length of the run.")
    trigger: Literal[SIGNALS, OUTPUTS] = Field(
        SIGNALS, description="The topic each of whose samples has a command."
    )
    command_min: list[float] = Field(description="Of each command, its unit.")
    command_max: list[float] = Field(description="Of each command, its unit.")
    move_max: list[float] = Field(description="Largest move of each command in one sample.")
    pace: float = Field(1.0, gt=0, description="How much faster than a soft block it moves.")

    @model_validator(mode="after")
    def a_value_a_command(self) -> ExcitationParameters:
        vectors = {key: getattr(self, key) for key in ("command_min", "command_max", "move_max")}
        check_lengths(self.command_names, "command", **vectors)
        return self


class Excitation(ControllerNode):
    """Where it takes over from another controller it goes from the last command to its own at
    `move_max`."""

    NAME = "excitation"
    TITLE = CONTROLLERS["excitation"].name
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
        self.last: np.ndarray | None = None
        self.listen(
            JointState, p.trigger, lambda m: self.turns.sample(header_ns(m.header)), self.queue
        )
        self.present()

    def answer(self, now_ns: int) -> np.ndarray:
        command = self.commands[min(self.k, len(self.commands) - 1)]
        self.k += 1
        if self.last is not None:
            move_max = np.array(self.parameters.move_max)
            self.last = command = self.last + np.clip(command - self.last, -move_max, move_max)
        return command

    def follow(self, now_ns: int, command: np.ndarray) -> None:
        self.last = command


def main() -> None:
    run(Excitation)


if __name__ == "__main__":
    main()
