"""The serial bridge to the MCU: a sample goes to the firmware, its command comes back."""

from __future__ import annotations

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from geometry_msgs.msg import PointStamped
from nav_msgs.msg import Path
from sensor_msgs.msg import JointState

from soft_control.learning.dataset import AXES
from soft_control.link.messages import Command, SolverStatus, StepCostUnit
from soft_control.firmware_build import read_build
from soft_control.link.session import open_session
from soft_control.nodes._node import (
    Join,
    RigNode,
    from_path,
    from_point,
    joint_state,
    point,
    to_stamp,
)
from soft_control.nodes._node import main as run


class Mcu(RigNode):
    """Untethered by default: the firmware starts from the neutral point and never sees a measured
    position. Tethered it sees one each sample, for its estimate of a constant offset."""

    def __init__(self) -> None:
        super().__init__(
            "mcu",
            target="pil",
            firmware="",
            port="",
            clock="lockstep",
            rate_hz=120.0,
            command_names=[""],
            command_neutral=[0.0],
            signal_names=[""],
            axes=list(range(len(AXES))),
            answer_timeout_s=2.0,
            host_timeout_ms=200,
            tethered=False,
        )
        self.names = self.value("command_names")
        self.axes = self.value("axes")
        self.live = [name for name in self.value("signal_names") if name]
        self.period_ns = round(1e9 / self.value("rate_hz"))
        # The emulator's clock stands still between samples of a lockstep run; a board's does not.
        realtime = self.value("clock") == "realtime"
        self.host_timeout_ms = self.value("host_timeout_ms") if realtime else 0
        self.session = open_session(
            self.value("target"),
            read_build(self.value("firmware")),
            self.value("port"),
            timeout_s=self.value("answer_timeout_s"),
        )
        self.unit = StepCostUnit(self.session.info.step_cost_unit).name.lower()
        self.k = 0
        self.command = self.publish_on(JointState, "/command")
        self.predicted = self.publish_on(PointStamped, "/predicted_position")
        self.solver = self.publish_on(DiagnosticArray, "/solver")
        topics = ["signals", "reference"]
        if self.value("tethered"):
            topics.append("position")
            self.listen(PointStamped, "/tip_position", lambda m: join.put("position", m))
        join = Join(topics, self.on_sample)
        self.listen(JointState, "/signals/calibrated", lambda m: join.put("signals", m))
        self.listen(Path, "/reference", lambda m: join.put("reference", m))
        self.present()

    def on_sample(
        self,
        now_ns: int,
        signals: JointState,
        reference: Path,
        position: PointStamped | None = None,
    ) -> None:
        ahead = from_path(reference)[:, self.axes]
        if self.k == 0:
            self.session.reset(
                self.vector("command_neutral"),
                np.zeros(len(self.axes)),
                ahead[:-1],
                host_timeout_ms=self.host_timeout_ms,
            )
        calibrated = dict(zip(signals.name, signals.position, strict=True))
        live = [calibrated[name] for name in self.live]
        if position is not None:
            self.session.position(self.k, from_point(position)[self.axes])
        answer = self.session.sample(self.k, live, ahead[-1])
        self.command.publish(joint_state(now_ns, self.names, answer.command))
        # Stamped with the time that it is for.
        predicted = np.zeros(len(AXES))
        predicted[self.axes] = answer.predicted
        self.predicted.publish(point(now_ns + self.period_ns, predicted))
        self.solver.publish(self.diagnosis(now_ns, answer))
        self.k += 1

    def diagnosis(self, now_ns: int, answer: Command) -> DiagnosticArray:
        values = {
            "cost": f"{answer.cost:.9g}",
            "iterations": answer.iterations,
            "step_cost": answer.step_cost,
            "step_cost_unit": self.unit,
            "supervisor": answer.supervisor,
        }
        bad = answer.status == SolverStatus.NOT_FINITE or answer.supervisor
        status = DiagnosticStatus(
            level=DiagnosticStatus.WARN if bad else DiagnosticStatus.OK,
            name="mpc",
            hardware_id=self.session.info.board,
            message=SolverStatus(answer.status).name.lower(),
            values=[KeyValue(key=key, value=str(value)) for key, value in values.items()],
        )
        message = DiagnosticArray(status=[status])
        message.header.stamp = to_stamp(now_ns)
        return message

    def close(self) -> None:
        if hasattr(self, "session"):
            self.session.close()


def main() -> None:
    run(Mcu)


if __name__ == "__main__":
    main()
