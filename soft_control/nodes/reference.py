"""Reference generation: for every sample, where the tip shall be now and over the horizon."""

from __future__ import annotations

from typing import Literal

import numpy as np
from geometry_msgs.msg import PointStamped
from nav_msgs.msg import Path
from pydantic import Field
from sensor_msgs.msg import JointState

from soft_control.control.references import REFERENCE_KEYS, Reference
from soft_control.experiment.ros_messages import path, to_ns
from soft_control.nodes._node import NodeParameters, RigNode
from soft_control.nodes._node import main as run
from soft_control.topics import REFERENCE, SIGNALS, TIP_POSITION

TRIGGERS = {SIGNALS: JointState, TIP_POSITION: PointStamped}


class ReferenceParameters(NodeParameters):
    shape: str = Field("figure_eight", description="A name of control/references.SHAPES.")
    amplitude_x: float = Field(0.0, description="On top of the surface, m.")
    amplitude_y: float = Field(0.0, description="m")
    amplitude_z: float = Field(0.0, description="m")
    center_x: float = Field(0.0, description="On top of the surface, m.")
    center_y: float = Field(0.0, description="m")
    center_z: float = Field(0.0, description="m")
    angular_rate: float = Field(0.0, description="Of the phase, rad/s.")
    surface: list[float] = Field([0.0], description="Coefficients of x(y, z), m.")
    preview: int = Field(0, ge=0, description="Samples ahead: the controller's horizon.")
    rate_hz: float = Field(120.0, gt=0, description="Control rate.")
    trigger: Literal[tuple(TRIGGERS)] = Field(
        SIGNALS, description="The topic whose samples the controller acts on."
    )


class ReferenceGenerator(RigNode):
    """Answers each message on the trigger topic, the one whose samples the controller acts on."""

    NAME = "reference"
    Parameters = ReferenceParameters

    def __init__(self) -> None:
        super().__init__()
        p: ReferenceParameters = self.parameters
        self.reference = Reference(
            shape=p.shape,
            surface=tuple(p.surface),
            **{key: getattr(p, key) for key in REFERENCE_KEYS},
        )
        self.ahead_s = np.arange(p.preview + 1) / p.rate_hz
        self.period_ns = round(1e9 / p.rate_hz)
        self.start_ns: int | None = None
        self.wanted = self.publish_on(Path, REFERENCE)
        self.listen(TRIGGERS[p.trigger], p.trigger, self.on_sample)
        self.present()

    def on_sample(self, message: JointState | PointStamped) -> None:
        now_ns = to_ns(message.header.stamp)
        if self.start_ns is None:
            self.start_ns = now_ns
        positions = self.reference.position((now_ns - self.start_ns) / 1e9 + self.ahead_s)
        self.wanted.publish(path(now_ns, self.period_ns, positions))


def main() -> None:
    run(ReferenceGenerator)


if __name__ == "__main__":
    main()
