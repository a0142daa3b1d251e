"""What the node mcu has in both wirings: parameters, a session, what it says of a sample."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any, Literal

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from pydantic import Field, model_validator
from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectory

from soft_control.control.controllers import CHOICES, MCU_NODE
from soft_control.control.sampled_reference import read_reference
from soft_control.experiment.learned_file import read_learned, write_learned
from soft_control.experiment.returning_session import ReturningSession
from soft_control.experiment.ros_messages import joint_state, to_stamp, trajectory
from soft_control.experiment.trajectory import ToldReference
from soft_control.firmware_files import read_build
from soft_control.link.codes import TETHERED, Cause, Clock, SolverStatus, State, StepCostUnit
from soft_control.link.learned_map import LearnedMap
from soft_control.link.messages import Telemetry
from soft_control.link.session import ACTIVE
from soft_control.nodes._absence import Absence
from soft_control.nodes._managed import ManagedNode, ManagedParameters
from soft_control.nodes._mcu_health import McuHealth
from soft_control.nodes._mpc_parameters import MpcParameters, asked, configuration
from soft_control.nodes._node import LIVE, Names, check_lengths
from soft_control.nodes._port import ReturningParameters
from soft_control.nodes._restart import returning_session
from soft_control.nodes._swap import Swap
from soft_control.topics import COMMAND, COMMAND_ASKED, PREDICTED_OUTPUTS, REFERENCE, SOLVER


class McuParameters(MpcParameters, ManagedParameters, ReturningParameters):
    target: Literal["sil", "pil", "hil"] = Field("pil", description="Where the firmware runs.")
    firmware: str = Field(min_length=1, description="Directory that `softctl build` wrote.")
    port: str = Field(
        "",
        description="Serial port of the board, hil only: a path or a link, or a USB serial number, "
        "such as usb:066DFF.",
    )
    wiring: Literal["host", "mcu"] = Field(
        "host", description="Where sensor and actuators are: at the host's nodes, or at the MCU."
    )
    controller: Literal[CHOICES] = Field(
        MCU_NODE.name,
        description="Who finds the commands: the MPC of the firmware; a node of the graph, on "
        "/command/asked; or hold, the last one stays. It may be set while the robot moves.",
        json_schema_extra=LIVE,
    )
    sensor_port: str = Field("", description="Wiring mcu in sil and pil: the sensor's port.")
    actuator_port: str = Field("", description="Wiring mcu in sil and pil: that of the actuators.")
    duration_s: float = Field(
        0.0,
        ge=0,
        description="Wiring mcu: ends the run so long after its first sample, s; 0: others do.",
    )
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
    rearm: bool = Field(
        True,
        description="Whether a microcontroller that has started again in mid-run is armed again; "
        "else the run ends.",
    )
    sensor_timeout_ms: int = Field(
        50,
        ge=0,
        le=65535,
        description="Wiring mcu, realtime: a sensor silent for so long stops the robot; 0: never.",
    )
    sample_age_max: float = Field(
        2.0,
        ge=0,
        description="Realtime: samples, and messages to the firmware, of more than so many control "
        "periods ago are refused; 0: none is.",
    )
    tethered: bool = Field(False, description="Whether it is told the measured outputs.")
    adapts: bool = Field(
        True,
        description="Whether the measured outputs that it is told also teach it what the robot of "
        "today is like.",
    )
    calibrate_s: float = Field(
        0.0,
        ge=0,
        le=1e5,
        description="So long from the start of the run it is told them and learns, s, and then is "
        "tethered no more; 0: it does not begin so.",
    )
    adaptation: str = Field(
        "",
        description="File with what an earlier run has learned of the robot of today; empty: the "
        "run begins with the robot as it was recorded.",
    )
    learned_file: str = Field(
        "", description="Where that is written at the end, if it has learned; empty: nowhere."
    )
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
        if self.wiring == "mcu" and self.controller == "mpc" and not self.trajectory:
            raise ValueError("trajectory: in wiring mcu the MPC is told its reference in a file")
        return self

    @property
    def cut(self) -> range:
        """Samples that nobody hears of."""
        first = round(self.cut_from_s * self.rate_hz)
        return range(first, first + round(self.cut_for_s * self.rate_hz))

    @property
    def told_samples(self) -> float:
        """In so many samples from the start the firmware is told the measured outputs."""
        return math.inf if self.tethered else round(self.calibrate_s * self.rate_hz)

    @property
    def learns(self) -> bool:
        return self.calibrate_s > 0 or (self.adapts and self.tethered)

    @property
    def rest(self) -> list[float]:
        return self.output_rest or [0.0] * len(self.output_names)


class McuNode(ManagedNode):
    """Untethered by default: the firmware never sees measured outputs. Tethered it sees them each
    sample, for its estimate of an offset; where it adapts, they teach it what the robot of today
    is like, which stays when the tether is cut."""

    NAME = "mcu"
    Parameters = McuParameters

    def __init__(self) -> None:
        super().__init__()
        p: McuParameters = self.parameters
        self.realtime = p.clock == "realtime"
        self.owns_instruments = p.wiring == "mcu"
        self.period_ns = round(1e9 / p.rate_hz)
        self.build = read_build(p.firmware)
        self.session: ReturningSession
        self.absence = Absence(self)
        self.unit: str
        self.known_doubted = 0
        self.health: McuHealth | None = None
        self.reference: ToldReference | None = None

        topic = COMMAND if self.owns_instruments else COMMAND_ASKED
        self.command = self.publish_on(JointState, topic)
        self.predicted = self.publish_on(JointState, PREDICTED_OUTPUTS)
        self.solver = self.publish_on(DiagnosticArray, SOLVER)
        self.swap: Swap
        self.wanted = None
        if p.trajectory:
            if "reference" not in {peer.rpartition("/")[2] for peer in p.peers}:
                self.wanted = self.publish_on(JointTrajectory, REFERENCE)
            self.table = read_reference(Path(p.trajectory), p.output_names)

    def open(self) -> None:
        """Starts the firmware, or reaches the board, and tells it what it was not built with."""
        p: McuParameters = self.parameters
        self.session = returning_session(self)
        self.absence.forget()
        unit = StepCostUnit(self.session.info.step_cost_unit)
        if p.target == "pil" and self.realtime:
            unit = StepCostUnit.NONE  # the emulator keeps our time, and counts no instructions
        self.unit = unit.name.lower()
        # A board may still have what it was told in another run.
        if asked(p) or (p.target == "hil" and self.build.mpc):
            self.session.configure(configuration(p, self.build))
        self.say_what_is_known()
        if self.realtime and self.health is None:
            self.health = McuHealth(self)

    def say_what_is_known(self) -> None:
        """Of the robot of today. A board may still know what another run has learned, and be in
        the middle of one that its host has left."""
        p: McuParameters = self.parameters
        if not (p.adaptation or p.target == "hil"):
            return
        if p.wiring == "host" and self.session.info.state in ACTIVE:
            self.session.stop()
        known = LearnedMap.as_recorded(len(p.output_names))
        if p.adaptation:
            known = read_learned(Path(p.adaptation), p.output_names, self.build.model_hash)
        self.session.adapt(known)

    def keep_learned(self) -> None:
        """At the end of a run."""
        p: McuParameters = self.parameters
        if p.learns and p.learned_file:
            learned = self.session.adaptation()
            path = Path(p.learned_file)
            write_learned(path, learned, p.output_names, self.session.info.model_hash)

    def begin(self) -> None:
        p: McuParameters = self.parameters
        if self.presented and not self.realtime:
            raise RuntimeError("a run in lockstep does not go on where it was broken off")
        if p.trajectory:
            self.reference = ToldReference(self.session, self.table, p.rate_hz, np.array(p.rest))
        elif not self.owns_instruments:
            self.session.forget_trajectory()  # a board may have followed one in its last run

    def release(self) -> None:
        self.session.close()

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
            tethered_samples=TETHERED if p.tethered else int(p.told_samples),
            adapts=p.learns,
            age_max_ms=math.ceil(p.sample_age_max * 1e3 / p.rate_hz) if self.realtime else 0,
            **modes,
        )
        self.send_ahead(0)

    def on_parameters(self, new: McuParameters) -> None:
        old: McuParameters = self.parameters
        if new.controller != old.controller and not self.is_active:
            raise RuntimeError(f"controller {new.controller}: the node is not active")
        differs = asked(new) != asked(old)
        if differs:
            settings = configuration(new, self.build)
            if self.is_open:
                self.configure(settings)
        if new.controller == old.controller:
            return
        try:
            self.swap.change(new.controller)
        except RuntimeError:
            if differs:
                self.configure(configuration(old, self.build))
            raise

    def configure(self, settings: dict[str, Any]) -> None:
        """Tells the firmware; also while a run goes on."""
        self.session.configure(settings)

    def send_ahead(self, k: int) -> None:
        if self.reference:
            self.reference.send_ahead(k)

    def publish(self, now_ns: int, told: Telemetry) -> None:
        p: McuParameters = self.parameters
        self.command.publish(joint_state(now_ns, p.command_names, told.command))
        self.say_doubted(told)
        if self.health:
            self.health.on_sample(now_ns, told)
        if self.wanted:
            here = np.array([told.reference])
            self.wanted.publish(trajectory(now_ns, self.period_ns, p.output_names, here, p.frame))
        if told.status == SolverStatus.NONE and self.swap.at(now_ns) != MCU_NODE.name:
            return
        # Stamped with the time that it is for.
        then_ns = now_ns + self.period_ns
        self.predicted.publish(joint_state(then_ns, p.output_names, told.predicted, p.frame))
        self.solver.publish(self.diagnosis(now_ns, told))

    def doubted(self, told: Telemetry) -> list[str]:
        """Names of the signals that the firmware does not believe."""
        names = [name for name in self.parameters.signal_names if name]
        return [name for i, name in enumerate(names) if told.doubted >> i & 1]

    def say_doubted(self, told: Telemetry) -> None:
        """To whoever watches, when it has changed."""
        if told.doubted == self.known_doubted:
            return
        self.known_doubted = told.doubted
        names = self.doubted(told)
        if names:
            words = f"not believed from sample {told.k} on: {', '.join(names)}"
            self.get_logger().warning(words)
        else:
            self.get_logger().info(f"all signals are believed from sample {told.k} on")

    def diagnosis(self, now_ns: int, told: Telemetry) -> DiagnosticArray:
        values = {
            "cost": f"{told.cost:.9g}",
            "iterations": told.iterations,
            "step_cost": told.step_cost,
            "step_cost_unit": self.unit,
            "supervisor": told.flags,
            "doubted": ",".join(self.doubted(told)),
        }
        if any(told.uncertainty):  # 0: the firmware has no observer
            named = zip(self.parameters.output_names, told.uncertainty, strict=True)
            values |= {f"uncertainty_{name}": f"{value:.3g}" for name, value in named}
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
