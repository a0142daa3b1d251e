"""The static inverse: for every reference, the command at which the network rests there."""

from __future__ import annotations

import numpy as np
from trajectory_msgs.msg import JointTrajectory

from soft_control.control import static_inverse
from soft_control.control.controllers import CONTROLLERS
from soft_control.experiment.ros_messages import from_trajectory, header_ns
from soft_control.nodes._controller import ControllerNode
from soft_control.nodes._node import main as run
from soft_control.nodes._rest import RestParameters
from soft_control.topics import REFERENCE


class StaticInverse(ControllerNode):
    """It hears of the reference alone, which comes once a sample. Another lead, as another
    controller before it, is taken over from without a step."""

    NAME = "static_inverse"
    TITLE = CONTROLLERS["static_inverse"].name
    Parameters = RestParameters

    def __init__(self) -> None:
        super().__init__()
        p: RestParameters = self.parameters
        self.network = p.network()
        self.config = self.next_config = p.inverse(self.network)
        self.state = static_inverse.reset(self.config)
        self.period_s = 1 / p.rate_hz
        self.listen(
            JointTrajectory,
            REFERENCE,
            lambda m: self.turns.sample(header_ns(m.header), m),
            self.queue,
        )
        self.present()

    def on_parameters(self, new: RestParameters) -> None:
        self.next_config = new.inverse(self.network)

    def answer(self, now_ns: int, reference: JointTrajectory) -> np.ndarray:
        p: RestParameters = self.parameters
        ahead = from_trajectory(reference, p.output_names, frame=p.frame)
        command = static_inverse.step(self.config, self.state, ahead, self.period_s)
        if self.config is not self.next_config:
            self.follow(now_ns, command, reference)
        return command

    def follow(self, now_ns: int, command: np.ndarray, reference: JointTrajectory) -> None:
        p: RestParameters = self.parameters
        self.config = self.next_config
        ahead = from_trajectory(reference, p.output_names, frame=p.frame)
        static_inverse.track(self.config, self.state, command, ahead, self.period_s)


def main() -> None:
    run(StaticInverse)


if __name__ == "__main__":
    main()
