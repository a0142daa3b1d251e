"""The PID on top of the static inverse, which looks ahead in the reference."""

from __future__ import annotations

import numpy as np

from soft_control.control import static_inverse
from soft_control.control.controllers import CONTROLLERS
from soft_control.nodes._node import main as run
from soft_control.nodes._rest import RestParameters
from soft_control.nodes.pid import Pid, PidParameters


class PidFeedforwardParameters(RestParameters, PidParameters):
    pass


class PidFeedforward(Pid):
    """Another lead, as other gains, is taken over from without a step."""

    NAME = "pid_feedforward"
    TITLE = CONTROLLERS["pid_feedforward"].name
    Parameters = PidFeedforwardParameters

    def load(self) -> None:
        p: PidFeedforwardParameters = self.parameters
        self.network = p.network()
        self.inverse = self.next_inverse = p.inverse(self.network)
        self.rest = static_inverse.reset(self.inverse)

    def on_parameters(self, new: PidFeedforwardParameters) -> None:
        super().on_parameters(new)
        self.next_inverse = new.inverse(self.network)

    def adopt(self) -> None:
        super().adopt()
        self.inverse = self.next_inverse

    def forward(self, ahead: np.ndarray) -> np.ndarray:
        return static_inverse.forward(self.inverse, self.rest, ahead, self.period_s)


def main() -> None:
    run(PidFeedforward)


if __name__ == "__main__":
    main()
