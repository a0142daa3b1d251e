"""Reference generation: for every sample, where the tip shall be now and over the horizon."""

from __future__ import annotations

import numpy as np
from geometry_msgs.msg import PointStamped
from nav_msgs.msg import Path
from sensor_msgs.msg import JointState

from soft_control.control.references import REFERENCE_KEYS, Reference
from soft_control.nodes._node import RigNode, path, to_ns
from soft_control.nodes._node import main as run

TRIGGERS = {"/signals/calibrated": JointState, "/tip_position": PointStamped}


class ReferenceGenerator(RigNode):
    """Answers each message on the trigger topic, the one whose samples the controller acts on."""

    def __init__(self) -> None:
        super().__init__(
            "reference",
            shape="figure_eight",
            **dict.fromkeys(REFERENCE_KEYS, 0.0),
            surface=[0.0],
            preview=0,
            rate_hz=120.0,
            trigger="/signals/calibrated",
        )
        self.reference = Reference(
            **{key: self.value(key) for key in ("shape", *REFERENCE_KEYS)},
            surface=tuple(self.value("surface")),
        )
        self.ahead_s = np.arange(self.value("preview") + 1) / self.value("rate_hz")
        self.period_ns = round(1e9 / self.value("rate_hz"))
        self.start_ns: int | None = None
        self.wanted = self.publish_on(Path, "/reference")
        self.listen(TRIGGERS[self.value("trigger")], self.value("trigger"), self.on_sample)
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
