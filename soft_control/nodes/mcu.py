"""The serial bridge to the MCU.

wiring host   a sample goes to the firmware, its command comes back, and other nodes have the
              instruments
wiring mcu    the firmware has the instruments and needs nobody: what it reports is published here
"""

from __future__ import annotations

import math
import threading
import time
from pathlib import Path
from typing import Literal

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from pydantic import Field, model_validator
from rclpy.duration import Duration
from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectory

from soft_control.control.sampled_reference import read_reference
from soft_control.experiment.ros_messages import (
    Join,
    by_name,
    from_trajectory,
    joint_state,
    to_ns,
    to_stamp,
    trajectory,
)
from soft_control.experiment.trajectory import ToldReference
from soft_control.firmware_files import read_build
from soft_control.link.codes import (
    Cause,
    Clock,
    HostLost,
    SolverStatus,
    Source,
    State,
    StepCostUnit,
    Wiring,
)
from soft_control.link.lace_line import WARNING_EVERY_S
from soft_control.link.mcu_clock import McuClock
from soft_control.link.messages import Info, Telemetry
from soft_control.link.opening import open_session
from soft_control.link.session import LinkError, TooLate
from soft_control.nodes._node import Names, NodeParameters, RigNode, check_lengths
from soft_control.nodes._node import main as run
from soft_control.topics import (
    COMMAND,
    COMMAND_ASKED,
    FIRST_NS,
    MCU,
    OUTPUTS,
    PREDICTED_OUTPUTS,
    REFERENCE,
    SIGNALS,
    SOLVER,
)

AGE_MAX_SAMPLES = 2
"""Realtime: the firmware refuses messages that were sent longer ago."""
GAP_MAX = 100
"""Samples that the firmware bridges in one go (firmware/src/loop/control_loop.h)."""
CHECK_S = 0.05
HEARTBEAT_S = 0.05
QUIET_S = 0.2
"""So long after the last telemetry of a run nothing is under way any more."""


class McuParameters(NodeParameters):
    target: Literal["sil", "pil", "hil"] = Field("pil", description="Where the firmware runs.")
    firmware: str = Field(min_length=1, description="Directory that `softctl build` wrote.")
    port: str = Field("", description="Serial port of the board, hil only.")
    wiring: Literal["host", "mcu"] = Field(
        "host", description="Where sensor and actuators are: at the host's nodes, or at the MCU."
    )
    source: Literal["mpc", "host"] = Field(
        "mpc",
        description="Wiring mcu: who finds the commands; those of the host come on /command/asked.",
    )
    sensor_port: str = Field("", description="Wiring mcu in sil and pil: the sensor's port.")
    actuator_port: str = Field("", description="Wiring mcu in sil and pil: that of the actuators.")
    port_timeout_s: float = Field(10.0, ge=0, description="Ports may appear within, s.")
    clock: Literal["lockstep", "realtime"] = Field("lockstep", description="What paces the run.")
    rate_hz: float = Field(120.0, gt=0, description="Control rate.")
    trajectory: str = Field(
        "",
        description="CSV file, t_s and the outputs, that the MCU is told before the run; empty: it "
        "is told what comes on /reference.",
    )
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
        description="After so long without a message the host is lost to the MCU; 0: never.",
    )
    host_lost: Literal["continue", "hold", "stop"] = Field(
        "continue", description="Wiring mcu: what the MCU does then."
    )
    sensor_timeout_ms: int = Field(
        50,
        ge=0,
        le=65535,
        description="Wiring mcu, realtime: a sensor silent for so long stops the robot; 0: never.",
    )
    tethered: bool = Field(False, description="Whether it is told the measured outputs.")
    cut_from_s: float = Field(0.0, ge=0, description="When the line to the MCU is cut, s.")
    cut_for_s: float = Field(0.0, ge=0, description="For how long, s; 0: it is not.")

    @model_validator(mode="after")
    def fits_together(self) -> McuParameters:
        check_lengths(self.command_names, "command", command_neutral=self.command_neutral)
        if self.output_rest:
            check_lengths(self.output_names, "output", output_rest=self.output_rest)
        if self.wiring == "mcu" and self.target != "hil":
            if not (self.sensor_port and self.actuator_port):
                raise ValueError("sensor_port, actuator_port: wiring mcu needs both")
        if self.wiring == "mcu" and self.source == "mpc" and not self.trajectory:
            raise ValueError("trajectory: in wiring mcu the MPC is told its reference in a file")
        return self

    @property
    def cut(self) -> range:
        """Samples that nobody hears of."""
        first = round(self.cut_from_s * self.rate_hz)
        return range(first, first + round(self.cut_for_s * self.rate_hz))

    @property
    def rest(self) -> list[float]:
        return self.output_rest or [0.0] * len(self.output_names)


class Mcu(RigNode):
    """Untethered by default: the firmware never sees measured outputs. Tethered it sees them each
    sample, for its estimate of a constant offset."""

    NAME = "mcu"
    Parameters = McuParameters

    def __init__(self) -> None:
        super().__init__()
        p: McuParameters = self.parameters
        self.realtime = p.clock == "realtime"
        self.owns_instruments = p.wiring == "mcu"
        self.period_ns = round(1e9 / p.rate_hz)
        self.session = open_session(
            p.target,
            read_build(p.firmware),
            p.port,
            timeout_s=p.answer_timeout_s,
            instruments=self.terminals() if self.owns_instruments else None,
            cut=p.cut,
        )
        self.unit = StepCostUnit(self.session.info.step_cost_unit).name.lower()
        self.k: int | None = None
        self.last_ns = 0

        self.command = self.publish_on(JointState, COMMAND)
        self.predicted = self.publish_on(JointState, PREDICTED_OUTPUTS)
        self.solver = self.publish_on(DiagnosticArray, SOLVER)
        self.reference: ToldReference | None = None
        if p.trajectory:
            self.wanted = self.publish_on(JointTrajectory, REFERENCE)
            table = read_reference(Path(p.trajectory), p.output_names)
            self.reference = ToldReference(self.session, table, p.rate_hz, np.array(p.rest))
        (self.attach if self.owns_instruments else self.serve)()
        self.present()

    def terminals(self) -> tuple[Path, Path]:
        """Sensor and actuators, as soon as both are there."""
        p: McuParameters = self.parameters
        ports = Path(p.sensor_port), Path(p.actuator_port)
        deadline = time.monotonic() + p.port_timeout_s
        while not all(port.exists() for port in ports) and time.monotonic() < deadline:
            time.sleep(0.01)
        return ports

    def arm(self, reference: list[list[float]], **modes: object) -> None:
        p: McuParameters = self.parameters
        self.session.arm(
            p.command_neutral,
            p.rest,
            reference,
            clock=Clock.TIMER if self.realtime else Clock.SAMPLES,
            age_max_ms=math.ceil(AGE_MAX_SAMPLES * 1e3 / p.rate_hz) if self.realtime else 0,
            **modes,
        )
        self.send_ahead(0)

    def send_ahead(self, k: int) -> None:
        if self.reference:
            self.reference.send_ahead(k)

    # ------------------------------------------------------------------------- wiring host

    def serve(self) -> None:
        """Samples come from nodes, and commands go to nodes."""
        p: McuParameters = self.parameters
        self.seen: JointState | None = None
        # In realtime the tracker stamps with a clock of its own: no stamp is that of the signals.
        joins_outputs = p.tethered and not self.realtime
        topics = [SIGNALS] if p.trajectory else [SIGNALS, REFERENCE]
        self.join = Join(topics + [OUTPUTS] * joins_outputs, self.on_sample)
        if p.tethered:
            self.listen(JointState, OUTPUTS, self.on_outputs)
        self.listen(JointState, SIGNALS, lambda m: self.join.put(SIGNALS, m))
        if not p.trajectory:
            self.listen(JointTrajectory, REFERENCE, lambda m: self.join.put(REFERENCE, m))

    def on_outputs(self, message: JointState) -> None:
        if self.realtime:
            self.seen = message
        else:
            self.join.put(OUTPUTS, message)

    def on_sample(self, now_ns: int, signals: JointState, *others: object) -> None:
        p: McuParameters = self.parameters
        live = by_name(signals, p.signal_names, SIGNALS, others=True)
        horizon: list[list[float]] = []
        if not p.trajectory:
            reference, *others = others
            horizon = from_trajectory(reference, p.output_names, frame=p.frame).tolist()
        outputs = others[0] if others else None
        missed = 0
        if self.k is None:
            self.k = 0
            # The emulator's clock stands still between samples of a lockstep run.
            self.arm(horizon[:-1], host_timeout_ms=p.host_timeout_ms if self.realtime else 0)
        else:
            if self.realtime:
                missed = min((now_ns - self.last_ns) // self.period_ns - 1, GAP_MAX)
            self.k += 1 + max(missed, 0)
        if self.seen and abs(to_ns(self.seen.header.stamp) - now_ns) <= self.period_ns:
            outputs = self.seen
        if outputs is not None:
            seen = by_name(outputs, p.output_names, OUTPUTS, others=True, frame=p.frame)
            self.session.measurement(self.k, seen)
        last = horizon[-1] if horizon else self.reference.at(self.k + self.session.info.horizon)
        self.last_ns = now_ns
        try:
            answer = self.session.sample(self.k, live, last)
        except TooLate as refused:
            # The firmware holds its command for this sample, as for one that never came.
            self.get_logger().warning(str(refused), throttle_duration_sec=WARNING_EVERY_S)
            return
        self.publish(now_ns, answer)
        if missed > 0 and horizon:
            # The firmware held its command for the samples that never came, and it lacks the points
            # that these would have brought.
            self.session.preload(self.k + 1, horizon[1:-1])
        self.send_ahead(self.k)

    # ------------------------------------------------------------------------- wiring mcu

    def attach(self) -> None:
        """The firmware has the instruments: a thread publishes what it reports."""
        p: McuParameters = self.parameters
        self.signals = self.publish_on(JointState, SIGNALS) if p.signal_names else None
        self.counted = self.publish_on(DiagnosticArray, MCU)
        self.mcu_clock = McuClock()
        self.state = int(State.ARMED)
        self.info: Info | None = None
        self.ended: BaseException | None = None
        self.closing = threading.Event()
        self.thread = threading.Thread(target=self.follow, daemon=True)
        if p.tethered:
            self.listen(JointState, OUTPUTS, self.on_measured)
        if p.source == "host":
            self.listen(JointState, COMMAND_ASKED, self.on_asked)
        self.create_timer(CHECK_S, self.check)
        if not self.realtime:  # its first sample may come before this node knows that all are there
            self.arm_instruments()

    def on_everyone_matched(self) -> None:
        if self.owns_instruments and self.realtime:
            self.arm_instruments()

    def arm_instruments(self) -> None:
        p: McuParameters = self.parameters
        self.arm(
            [],
            wiring=Wiring.MCU,
            source=Source[p.source.upper()],
            tethered=p.tethered,
            host_lost=HostLost[p.host_lost.upper()],
            host_timeout_ms=p.host_timeout_ms,
            sensor_timeout_ms=p.sensor_timeout_ms if self.realtime else 0,
        )
        self.thread.start()

    def stamp_ns(self, told: Telemetry) -> int:
        """When the sample was taken, by the clock of the run."""
        if not self.realtime:
            return FIRST_NS + told.k * self.period_ns
        return self.mcu_clock.host_ns(told.time_us, self.get_clock().now().nanoseconds)

    def sample_of(self, message: JointState) -> int:
        """The number of the sample that a message is about; in realtime, of the next one."""
        if self.realtime:
            return 0 if self.k is None else self.k + 1
        return (to_ns(message.header.stamp) - FIRST_NS) // self.period_ns

    def on_measured(self, message: JointState) -> None:
        p: McuParameters = self.parameters
        seen = by_name(message, p.output_names, OUTPUTS, others=True, frame=p.frame)
        self.session.measurement(self.sample_of(message), seen)

    def on_asked(self, message: JointState) -> None:
        command = by_name(message, self.parameters.command_names, COMMAND_ASKED)
        self.session.drive(self.sample_of(message), command)

    def follow(self) -> None:
        """The thread: telemetry in, heartbeats out."""
        beat_s = time.monotonic()
        try:
            while not self.closing.is_set():
                told = self.session.telemetry(HEARTBEAT_S)
                if time.monotonic() - beat_s >= HEARTBEAT_S:
                    beat_s = time.monotonic()
                    self.session.heartbeat()
                if told is not None:
                    self.on_telemetry(told)
        except BaseException as ended:
            self.ended = ended

    def on_telemetry(self, told: Telemetry) -> None:
        p: McuParameters = self.parameters
        now_ns = self.stamp_ns(told)
        self.k, self.last_ns = told.k, now_ns
        if self.signals:
            self.signals.publish(joint_state(now_ns, p.signal_names, told.signals))
        self.publish(now_ns, told)
        self.send_ahead(told.k)
        if told.state != self.state:
            self.say_state(told)

    def say_state(self, told: Telemetry) -> None:
        """To whoever watches; a run goes on to its end in its safe place."""
        self.state = told.state
        words = f"the microcontroller is {State(told.state).name.lower()} from sample {told.k} on"
        if told.cause:
            words += f": {Cause(told.cause).name.lower().replace('_', ' ')}"
        if told.state in (State.ARMED, State.RUNNING):
            self.get_logger().info(words)
        else:
            self.get_logger().warning(words)

    def check(self) -> None:
        """Raises what has ended the thread."""
        if self.ended is not None:
            raise self.ended

    def leave(self) -> None:
        """What is still under way is published, the robot is stopped, and what the microcontroller
        has counted is told."""
        quiet_s = time.monotonic() + QUIET_S
        while time.monotonic() < quiet_s:
            if (told := self.session.telemetry(HEARTBEAT_S)) is not None:
                self.on_telemetry(told)
                quiet_s = time.monotonic() + QUIET_S
        self.session.heartbeat()
        self.counted.publish(self.counters(self.session.hello()))
        self.counted.wait_for_all_acked(Duration(seconds=2))
        self.session.stop()

    def counters(self, info: Info) -> DiagnosticArray:
        """What INFO counts, and the state at the end."""
        first = list(Info.__dataclass_fields__).index("missed_samples")
        names = list(Info.__dataclass_fields__)[first:]
        values = {
            "state": State(info.state).name.lower(),
            "cause": Cause(info.cause).name.lower(),
            **{name: getattr(info, name) for name in names},
        }
        bad = info.state in (State.STOPPED, State.FAULT)
        level = DiagnosticStatus.ERROR if bad else DiagnosticStatus.OK
        return self.diagnostics(self.last_ns, level, "mcu", values["state"], values)

    # ------------------------------------------------------------------------- what is published

    def publish(self, now_ns: int, told: Telemetry) -> None:
        p: McuParameters = self.parameters
        self.command.publish(joint_state(now_ns, p.command_names, told.command))
        if p.source == "host":
            return
        # Stamped with the time that it is for.
        then_ns = now_ns + self.period_ns
        self.predicted.publish(joint_state(then_ns, p.output_names, told.predicted, p.frame))
        if p.trajectory:
            here = np.array([told.reference])
            self.wanted.publish(trajectory(now_ns, self.period_ns, p.output_names, here, p.frame))
        self.solver.publish(self.diagnosis(now_ns, told))

    def diagnosis(self, now_ns: int, told: Telemetry) -> DiagnosticArray:
        values = {
            "cost": f"{told.cost:.9g}",
            "iterations": told.iterations,
            "step_cost": told.step_cost,
            "step_cost_unit": self.unit,
            "supervisor": told.flags,
        }
        if self.owns_instruments:
            values |= {
                "state": State(told.state).name.lower(),
                "cause": Cause(told.cause).name.lower(),
                "latency_us": told.latency_us,
            }
        bad = told.status == SolverStatus.NOT_FINITE or told.flags
        level = DiagnosticStatus.WARN if bad else DiagnosticStatus.OK
        status = SolverStatus(told.status).name.lower()
        return self.diagnostics(now_ns, level, "mpc", status, values)

    def diagnostics(
        self, now_ns: int, level: bytes, name: str, said: str, values: dict[str, object]
    ) -> DiagnosticArray:
        status = DiagnosticStatus(
            level=level,
            name=name,
            hardware_id=self.session.info.board,
            message=said,
            values=[KeyValue(key=key, value=str(value)) for key, value in values.items()],
        )
        message = DiagnosticArray(status=[status])
        message.header.stamp = to_stamp(now_ns)
        return message

    def close(self) -> None:
        """The thread first: it publishes, which nobody may do on a node that is gone."""
        try:
            if self.owns_instruments and self.thread.is_alive():
                self.closing.set()
                self.thread.join()
                if self.ended is None:
                    self.leave()
        except LinkError as error:
            self.get_logger().warning(f"how the run ended was not told: {error}")
        finally:
            self.session.close()


def main() -> None:
    run(Mcu)


if __name__ == "__main__":
    main()
