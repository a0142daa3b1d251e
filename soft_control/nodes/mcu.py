"""The serial bridge to the MCU: a sample goes to the firmware, its command comes back."""

from __future__ import annotations

import math
from typing import Literal

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from pydantic import Field, model_validator
from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectory

from soft_control.experiment.ros_messages import (
    Join,
    by_name,
    from_trajectory,
    joint_state,
    to_ns,
    to_stamp,
)
from soft_control.firmware_files import read_build
from soft_control.link.messages import Clock, SolverStatus, StepCostUnit, Telemetry
from soft_control.link.session import open_session
from soft_control.nodes._node import Names, NodeParameters, RigNode, check_lengths
from soft_control.nodes._node import main as run
from soft_control.topics import COMMAND, OUTPUTS, PREDICTED_OUTPUTS, REFERENCE, SIGNALS, SOLVER

AGE_MAX_SAMPLES = 2
"""Realtime: the firmware refuses samples that were sent longer ago."""
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
    output_names: Names = Field(min_length=1, description="In the order of the model.")
    output_rest: list[float] = Field(
        [], description="At which a run starts, each its unit; empty: 0."
    )
    frame: str = Field("", description="Of points among the outputs; empty: any.")
    answer_timeout_s: float = Field(2.0, gt=0, description="An MCU silent for so long is gone.")
    host_timeout_ms: int = Field(
        200,
        ge=0,
        le=65535,
        description="Realtime: after so long without a sample the MCU holds its command; 0: never.",
    )
    tethered: bool = Field(False, description="Whether it is told the measured outputs.")

    @model_validator(mode="after")
    def fits_together(self) -> McuParameters:
        check_lengths(self.command_names, "command", command_neutral=self.command_neutral)
        if self.output_rest:
            check_lengths(self.output_names, "output", output_rest=self.output_rest)
        return self


class Mcu(RigNode):
    """Untethered by default: the firmware starts from the neutral point and never sees measured
    outputs. Tethered it sees them each sample, for its estimate of a constant offset."""

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
        self.seen: JointState | None = None

        self.command = self.publish_on(JointState, COMMAND)
        self.predicted = self.publish_on(JointState, PREDICTED_OUTPUTS)
        self.solver = self.publish_on(DiagnosticArray, SOLVER)
        # In realtime the tracker stamps with a clock of its own: no stamp is that of the signals.
        joins_outputs = p.tethered and not self.realtime
        self.join = Join(
            (SIGNALS, REFERENCE, OUTPUTS) if joins_outputs else (SIGNALS, REFERENCE),
            self.on_sample,
        )
        if p.tethered:
            self.listen(JointState, OUTPUTS, self.on_outputs)
        self.listen(JointState, SIGNALS, lambda m: self.join.put(SIGNALS, m))
        self.listen(JointTrajectory, REFERENCE, lambda m: self.join.put(REFERENCE, m))
        self.present()

    def on_outputs(self, message: JointState) -> None:
        if self.realtime:
            self.seen = message
        else:
            self.join.put(OUTPUTS, message)

    def on_sample(
        self,
        now_ns: int,
        signals: JointState,
        reference: JointTrajectory,
        outputs: JointState | None = None,
    ) -> None:
        p: McuParameters = self.parameters
        ahead = from_trajectory(reference, p.output_names, frame=p.frame)
        live = by_name(signals, p.signal_names, SIGNALS, others=True)
        missed = 0
        if self.k is None:
            self.k = 0
            # The emulator's clock stands still between samples of a lockstep run.
            host_timeout_ms = p.host_timeout_ms if self.realtime else 0
            rest = p.output_rest or [0.0] * len(p.output_names)
            self.session.arm(
                p.command_neutral,
                rest,
                ahead[:-1],
                clock=Clock.TIMER if self.realtime else Clock.SAMPLES,
                host_timeout_ms=host_timeout_ms,
                age_max_ms=math.ceil(AGE_MAX_SAMPLES * 1e3 / p.rate_hz) if self.realtime else 0,
            )
        else:
            if self.realtime:
                missed = min((now_ns - self.last_ns) // self.period_ns - 1, GAP_MAX)
            self.k += 1 + max(missed, 0)
        if self.seen and abs(to_ns(self.seen.header.stamp) - now_ns) <= self.period_ns:
            outputs = self.seen
        if outputs is not None:
            seen = by_name(outputs, p.output_names, OUTPUTS, others=True, frame=p.frame)
            self.session.measurement(self.k, seen)
        answer = self.session.sample(self.k, live, ahead[-1])
        self.last_ns = now_ns
        self.publish(now_ns, answer)
        if missed > 0:
            # The firmware held its command for the samples that never came, and it lacks the points
            # that these would have brought.
            self.session.preload(self.k + 1, ahead[1:-1])

    def publish(self, now_ns: int, answer: Telemetry) -> None:
        p: McuParameters = self.parameters
        self.command.publish(joint_state(now_ns, p.command_names, answer.command))
        # Stamped with the time that it is for.
        then_ns = now_ns + self.period_ns
        self.predicted.publish(joint_state(then_ns, p.output_names, answer.predicted, p.frame))
        self.solver.publish(self.diagnosis(now_ns, answer))

    def diagnosis(self, now_ns: int, answer: Telemetry) -> DiagnosticArray:
        values = {
            "cost": f"{answer.cost:.9g}",
            "iterations": answer.iterations,
            "step_cost": answer.step_cost,
            "step_cost_unit": self.unit,
            "supervisor": answer.flags,
        }
        bad = answer.status == SolverStatus.NOT_FINITE or answer.flags
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
