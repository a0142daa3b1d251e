"""Open-loop commands that make a rig show itself: what `softctl collect` records."""

from __future__ import annotations

from sensor_msgs.msg import JointState

from soft_control.learning.excitation import excitation
from soft_control.nodes._node import RigNode, joint_state, to_ns
from soft_control.nodes._node import main as run


class Excitation(RigNode):
    def __init__(self) -> None:
        super().__init__(
            "excitation",
            seed=0,
            rate_hz=120.0,
            duration_s=60.0,
            command_names=[""],
            command_min=[0.0],
            command_max=[0.0],
            move_max=[0.0],
            pace=1.0,
        )
        self.names = self.value("command_names")
        self.commands = excitation(
            self.value("duration_s"),
            self.value("rate_hz"),
            self.vector("command_min"),
            self.vector("command_max"),
            self.vector("move_max"),
            self.value("seed"),
            self.value("pace"),
        )
        self.k = 0
        self.command = self.publish_on(JointState, "/command")
        self.listen(JointState, "/signals/calibrated", self.on_sample)
        self.present()

    def on_sample(self, message: JointState) -> None:
        command = self.commands[min(self.k, len(self.commands) - 1)]
        self.command.publish(joint_state(to_ns(message.header.stamp), self.names, command))
        self.k += 1


def main() -> None:
    run(Excitation)


if __name__ == "__main__":
    main()
