"""The node mcu where the firmware has the instruments: it publishes what that reports."""

from __future__ import annotations

import threading
import time

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.duration import Duration
from sensor_msgs.msg import JointState

from soft_control.experiment.ros_messages import by_name, joint_state, to_ns
from soft_control.link.codes import Cause, HostLost, Source, State, Wiring, in_words
from soft_control.link.mcu_clock import McuClock
from soft_control.link.messages import Info, Telemetry
from soft_control.link.session import LinkError
from soft_control.nodes._mcu import McuNode, McuParameters
from soft_control.topics import COMMAND_ASKED, FIRST_NS, MCU, OUTPUTS, SIGNALS

CHECK_S = 0.05
HEARTBEAT_S = 0.05
QUIET_S = 0.2
"""So long after the last telemetry of a run nothing is under way any more."""
GRACE_S = 3.0
"""At the end of a run the simulated sensor goes a moment before this node is told to stop."""
AT_REST = State.STOPPED, State.FAULT
"""The safe output is told by the firmware's own timer."""


class InMaterial:
    """A thread of the node takes in what the firmware reports, and publishes it; the firmware needs
    neither."""

    def __init__(self, node: McuNode) -> None:
        """Adds its publishers and subscriptions to the node."""
        self.node, self.session = node, node.session
        p: McuParameters = node.parameters
        self.signals = node.publish_on(JointState, SIGNALS) if p.signal_names else None
        self.counted = node.publish_on(DiagnosticArray, MCU)
        self.mcu_clock = McuClock()
        self.k: int | None = None
        self.last_ns = 0
        self.state, self.cause = int(State.ARMED), int(Cause.NONE)
        self.silent: Telemetry | None = None
        self.silent_s = 0.0
        self.ended: BaseException | None = None
        self.closing = threading.Event()
        self.thread = threading.Thread(target=self.follow, daemon=True)
        if p.tethered:
            node.listen(JointState, OUTPUTS, self.on_measured)
        if p.source == "host":
            node.listen(JointState, COMMAND_ASKED, self.on_asked)
        node.create_timer(CHECK_S, self.check)
        if not node.realtime:  # its first sample may come before this node knows that all are there
            self.arm()

    def on_everyone_matched(self) -> None:
        if self.node.realtime:
            self.arm()

    def arm(self) -> None:
        p: McuParameters = self.node.parameters
        self.node.arm(
            [],
            wiring=Wiring.MCU,
            source=Source[p.source.upper()],
            tethered=p.tethered,
            host_lost=HostLost[p.host_lost.upper()],
            host_timeout_ms=p.host_timeout_ms,
            sensor_timeout_ms=p.sensor_timeout_ms if self.node.realtime else 0,
        )
        self.thread.start()

    def stamp_ns(self, told: Telemetry) -> int:
        """When the sample was taken, by the clock of the run."""
        if not self.node.realtime:
            return FIRST_NS + told.k * self.node.period_ns
        return self.mcu_clock.host_ns(told.time_us, self.node.get_clock().now().nanoseconds)

    def sample_of(self, message: JointState) -> int:
        """The number of the sample that a message is about; in realtime, of the next one."""
        if self.node.realtime:
            return 0 if self.k is None else self.k + 1
        return (to_ns(message.header.stamp) - FIRST_NS) // self.node.period_ns

    def on_measured(self, message: JointState) -> None:
        p: McuParameters = self.node.parameters
        seen = by_name(message, p.output_names, OUTPUTS, others=True, frame=p.frame)
        self.session.measurement(self.sample_of(message), seen)

    def on_asked(self, message: JointState) -> None:
        command = by_name(message, self.node.parameters.command_names, COMMAND_ASKED)
        self.session.drive(self.sample_of(message), command)

    def follow(self) -> None:
        """The thread: telemetry in, heartbeats out, of which the firmware counts the time between
        them in samples where these are its clock, however fast they come."""
        beat_s, beat_k = time.monotonic(), 0
        every = max(1, round(HEARTBEAT_S * self.node.parameters.rate_hz))
        try:
            while not self.closing.is_set():
                if (told := self.session.telemetry(HEARTBEAT_S)) is not None:
                    self.on_telemetry(told)
                k = self.k or 0
                if time.monotonic() - beat_s >= HEARTBEAT_S or k - beat_k >= every:
                    beat_s, beat_k = time.monotonic(), k
                    self.session.heartbeat()
        except BaseException as ended:
            self.ended = ended

    def on_telemetry(self, told: Telemetry) -> None:
        now_ns = self.stamp_ns(told)
        self.k, self.last_ns = told.k, now_ns
        if self.signals:
            names = self.node.parameters.signal_names
            self.signals.publish(joint_state(now_ns, names, told.signals))
        self.node.publish(now_ns, told)
        self.node.send_ahead(told.k)
        if told.state == self.state:
            return
        if told.cause != Cause.SENSOR_SILENT:
            self.say_state(told)
        elif self.silent is None:
            self.silent, self.silent_s = told, time.monotonic()

    def say_state(self, told: Telemetry) -> None:
        """To whoever watches; a run goes on to its end in its safe place."""
        self.state, self.cause = told.state, told.cause
        words = f"the microcontroller is {in_words(State, told.state)} from sample {told.k} on"
        if told.cause:
            words += f": {in_words(Cause, told.cause)}"
        if told.state in (State.ARMED, State.RUNNING):
            self.node.get_logger().info(words)
        else:
            self.node.get_logger().warning(words)

    def check(self) -> None:
        """Raises what has ended the thread."""
        if self.ended is not None:
            raise self.ended
        if self.silent and time.monotonic() - self.silent_s > GRACE_S:
            silent, self.silent = self.silent, None
            self.say_state(silent)

    def leave(self) -> None:
        """What is still under way is published, the robot is stopped, and what the microcontroller
        has counted is told."""
        until_s = time.monotonic() + QUIET_S
        while (told := self.session.telemetry(QUIET_S)) is not None:
            self.on_telemetry(told)
            # Samples of a sensor that is gone come to an end; those of a timer never do.
            if (self.node.realtime or told.state in AT_REST) and time.monotonic() > until_s:
                break
        self.session.heartbeat()
        self.counted.publish(self.counters(self.session.hello()))
        self.counted.wait_for_all_acked(Duration(seconds=2))
        self.session.stop()

    def counters(self, info: Info) -> DiagnosticArray:
        """What INFO counts, and the state at the end, but for a sensor that has ended the run."""
        first = list(Info.__dataclass_fields__).index("missed_samples")
        names = list(Info.__dataclass_fields__)[first:]
        values = {
            "state": State(self.state).name.lower(),
            "cause": Cause(self.cause).name.lower(),
            **{name: getattr(info, name) for name in names},
            "telemetry_missing": self.session.lost,
        }
        bad = self.state in AT_REST
        level = DiagnosticStatus.ERROR if bad else DiagnosticStatus.OK
        return self.node.diagnostics(self.last_ns, level, "mcu", values["state"], values)

    def close(self) -> None:
        """Ends the thread, for nobody may publish on a node that is gone, and the run."""
        if not self.thread.is_alive():
            return
        self.closing.set()
        self.thread.join()
        try:
            if self.ended is None:
                self.leave()
        except LinkError as error:
            self.node.get_logger().warning(f"how the run ended was not told: {error}")
