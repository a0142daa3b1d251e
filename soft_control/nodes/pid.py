"""The PID baseline: stands in for the MCU, but is given the measured tip position."""

from __future__ import annotations

from geometry_msgs.msg import PointStamped
from nav_msgs.msg import Path
from sensor_msgs.msg import JointState

from soft_control.control import pid
from soft_control.nodes._node import Join, RigNode, from_path, from_point, joint_state
from soft_control.nodes._node import main as run


class Pid(RigNode):
    def __init__(self) -> None:
        super().__init__(
            "pid",
            rate_hz=120.0,
            command_names=[""],
            decoupling=[0.0],
            kp=[0.0],
            ki=[0.0],
            kd=[0.0],
            command_neutral=[0.0],
            command_min=[0.0],
            command_max=[0.0],
            derivative_time_constant=0.02,
            proportional_setpoint=1.0,
            derivative_setpoint=1.0,
        )
        self.names = self.value("command_names")
        vectors = ("kp", "ki", "kd", "command_neutral", "command_min", "command_max")
        self.config = pid.PidConfig(
            decoupling=self.vector("decoupling").reshape(len(self.names), 3),
            **{name: self.value(name) for name in pid.SCALARS},
            **{name: self.vector(name) for name in vectors},
        )
        self.state = pid.reset(self.config)
        self.period = 1 / self.value("rate_hz")
        self.command = self.publish_on(JointState, "/command")
        join = Join(("position", "reference"), self.on_sample)
        self.listen(PointStamped, "/tip_position", lambda message: join.put("position", message))
        self.listen(Path, "/reference", lambda message: join.put("reference", message))
        self.present()

    def on_sample(self, now_ns: int, position: PointStamped, reference: Path) -> None:
        command = pid.step(
            self.config, self.state, from_path(reference)[0], from_point(position), self.period
        )
        self.command.publish(joint_state(now_ns, self.names, command))


def main() -> None:
    run(Pid)


if __name__ == "__main__":
    main()
