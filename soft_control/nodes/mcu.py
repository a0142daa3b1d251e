"""The serial bridge to the MCU: a sample goes to the firmware, its command comes back."""

from __future__ import annotations

from typing import Literal

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from geometry_msgs.msg import PointStamped
from nav_msgs.msg import Path
from pydantic import Field, model_validator
from sensor_msgs.msg import JointState

from soft_control.experiment.ros_messages import (
    Join,
    by_name,
    from_path,
    from_point,
    joint_state,
    point,
    to_ns,
    to_stamp,
)
from soft_control.firmware_files import read_build
from soft_control.learning.dataset import AXES
from soft_control.link.messages import Command, SolverStatus, StepCostUnit
from soft_control.link.session import open_session
from soft_control.nodes._node import Names, NodeParameters, RigNode, check_lengths
from soft_control.nodes._node import main as run
from soft_control.topics import (
    COMMAND,
    PREDICTED_POSITION,
    REFERENCE,
    SIGNALS,
    SOLVER,
    TIP_POSITION,
)

GAP_MAX = 100
"""Samples that the firmware bridges in one go (firmware/src/loop/control_loop.h)."""


class McuParameters(NodeParameters):
    target: Literal["sil", "pil", "hil"] = Field("pil", description="Where the firmware runs.")
    firmware: str = Field(min_length=1, description="Directory that `softctl build` wrote.")
    port: str = Field("", description="Serial port of the board, hil only.")
    clock: Literal["lockstep", "realtime"] = Field("lockstep", description="What paces the run.")
    rate_hz: float = Field(120.0, gt=0, description="Control rate.")
    command_names: Names = Field(min_length=1, description="In the order of the model.")
    command_neutral: list[float] = Field(description="At which a run starts, each its unit.")
    signal_names: Names = Field([], description="Of the model's signals, in its order.")
    axes: list[int] = Field(
        list(range(len(AXES))), min_length=1, description="Which of x, y, z the model knows."
    )
    answer_timeout_s: float = Field(2.0, gt=0, description="An MCU silent for so long is gone.")
    host_timeout_ms: int = Field(
        200,
        ge=0,
        le=65535,
        description="Realtime: after so long without a sample the MCU holds its command; 0: never.",
    )
    tethered: bool = Field(False, description="Whether it is told the measured position.")

    @model_validator(mode="after")
    def fits_together(self) -> McuParameters:
        check_lengths(self.command_names, "command", command_neutral=self.command_neutral)
        if sorted(set(self.axes)) != self.axes or not set(self.axes) <= set(range(len(AXES))):
            raise ValueError(f"axes = {self.axes}: wanted some of 0, 1, 2 in this order")
        return self


class Mcu(RigNode):
    """Untethered by default: the firmware starts from the neutral point and never sees a measured
    position. Tethered it sees one each sample, for its estimate of a constant offset."""

    NAME = "mcu"
    Parameters = McuParameters

    def __init__(self) -> None:
        super().__init__()
        p: McuParameters = self.parameters
        self.realtime = p.clock == "realtime"
        self.period_ns = round(1e9 / p.rate_hz)
        self.session = open_session(
            p.target, read_build(p.firmware), p.port, timeout_s=p.answer_timeout_s
        )
        self.unit = StepCostUnit(self.session.info.step_cost_unit).name.lower()
        self.k: int | None = None
        self.last_ns = 0
        self.seen: PointStamped | None = None

        self.command = self.publish_on(JointState, COMMAND)
        self.predicted = self.publish_on(PointStamped, PREDICTED_POSITION)
        self.solver = self.publish_on(DiagnosticArray, SOLVER)
        # In realtime the tracker stamps with a clock of its own: no stamp is that of the signals.
        joins_position = p.tethered and not self.realtime
        self.join = Join(
            (SIGNALS, REFERENCE, TIP_POSITION) if joins_position else (SIGNALS, REFERENCE),
            self.on_sample,
        )
        if p.tethered:
            self.listen(PointStamped, TIP_POSITION, self.on_position)
        self.listen(JointState, SIGNALS, lambda m: self.join.put(SIGNALS, m))
        self.listen(Path, REFERENCE, lambda m: self.join.put(REFERENCE, m))
        self.present()

    def on_position(self, message: PointStamped) -> None:
        if self.realtime:
            self.seen = message
        else:
            self.join.put(TIP_POSITION, message)

    def on_sample(
        self,
        now_ns: int,
        signals: JointState,
        reference: Path,
        position: PointStamped | None = None,
    ) -> None:
        p: McuParameters = self.parameters
        ahead = from_path(reference)[:, p.axes]
        live = by_name(signals, p.signal_names, SIGNALS, others=True)
        missed = 0
        if self.k is None:
            self.k = 0
            # The emulator's clock stands still between samples of a lockstep run.
            host_timeout_ms = p.host_timeout_ms if self.realtime else 0
            self.session.reset(
                p.command_neutral, np.zeros(len(p.axes)), ahead[:-1], 0, host_timeout_ms
            )
        else:
            if self.realtime:
                missed = min((now_ns - self.last_ns) // self.period_ns - 1, GAP_MAX)
            self.k += 1 + max(missed, 0)
        if self.seen and abs(to_ns(self.seen.header.stamp) - now_ns) <= self.period_ns:
            position = self.seen
        if position is not None:
            self.session.measurement(self.k, from_point(position)[p.axes])
        answer = self.session.sample(self.k, live, ahead[-1])
        self.last_ns = now_ns
        self.publish(now_ns, answer)
        if missed > 0:
            # The firmware held its command for the samples that never came, and it lacks the points
            # that these would have brought.
            self.session.preload(self.k + 1, ahead[1:-1])

    def publish(self, now_ns: int, answer: Command) -> None:
        p: McuParameters = self.parameters
        self.command.publish(joint_state(now_ns, p.command_names, answer.command))
        predicted = np.zeros(len(AXES))
        predicted[p.axes] = answer.predicted
        # Stamped with the time that it is for.
        self.predicted.publish(point(now_ns + self.period_ns, predicted))
        self.solver.publish(self.diagnosis(now_ns, answer))

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
        self.session.close()


def main() -> None:
    run(Mcu)


if __name__ == "__main__":
    main()
