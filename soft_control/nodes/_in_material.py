"""The node mcu where the firmware has the instruments: it publishes what that reports."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotInTime
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from sensor_msgs.msg import JointState

from soft_control.control.controllers import HOLD, MCU_NODE
from soft_control.experiment.returning_session import ReturningSession
from soft_control.experiment.ros_messages import by_name, joint_state, to_ns
from soft_control.firmware_instruments import telemetry_every
from soft_control.link.codes import Cause, HostLost, Source, State, Wiring, in_words
from soft_control.link.errors import Gone
from soft_control.link.mcu_clock import McuClock
from soft_control.link.messages import Info, Telemetry
from soft_control.link.session import LinkError
from soft_control.nodes._diagnostics import EVERY_S
from soft_control.nodes._mcu import McuNode, McuParameters
from soft_control.nodes._mcu_health import COUNTERS
from soft_control.nodes._run_length import RunLength
from soft_control.nodes._swap import Swap
from soft_control.topics import COMMAND_ASKED, FIRST_NS, MCU, OUTPUTS, SIGNALS

NO_SAMPLE = "a sample of the microcontroller: it hears nothing from the sensor"
CHECK_S = 0.05
HEARTBEAT_S = 0.05
QUIET_S = 0.2
"""So long after the last telemetry of a run nothing is under way any more."""
GRACE_S = 3.0
"""At the end of a run the simulated sensor goes a moment before this node is told to stop."""
AT_REST = State.STOPPED, State.FAULT
"""The safe output is told by the firmware's own timer."""


def source_of(controller: str) -> Source:
    """Where the firmware takes the commands of a controller from."""
    return {MCU_NODE.name: Source.MPC, HOLD: Source.HOLD}.get(controller, Source.HOST)


class Request:
    """What the thread is asked to do, and what came of it."""

    def __init__(self, action: Callable[[], Any]) -> None:
        self.action = action
        self.found: Future[Any] = Future()

    def carry_out(self) -> None:
        try:
            self.found.set_result(self.action())
        except Exception as error:
            self.found.set_exception(error)


class InMaterial:
    """A thread of the node takes in what the firmware reports, and publishes it; the firmware needs
    neither."""

    def __init__(self, node: McuNode) -> None:
        """Adds its publishers and subscriptions to the node."""
        self.node = node
        p: McuParameters = node.parameters
        self.signals = node.publish_on(JointState, SIGNALS) if p.signal_names else None
        self.counted = node.publish_on(DiagnosticArray, MCU)
        self.run_length = RunLength(p.duration_s)
        self.everyone_matched = False
        self.nothing_told()
        node.swap = Swap(node, self.take_over, lambda: self.last_ns, self.reason_against)
        if p.told_samples:
            node.listen(JointState, OUTPUTS, self.on_measured)
        if node.swap.others or node.swap.by_host:
            node.listen(JointState, COMMAND_ASKED, self.on_asked)
        node.create_timer(CHECK_S, self.check)

    @property
    def session(self) -> ReturningSession:
        return self.node.session

    def nothing_told(self) -> None:
        """Of a run that has not begun."""
        self.mcu_clock, self.generation = McuClock(), 0
        self.newest: Telemetry | None = None
        self.k: int | None = None
        self.every = 1
        """So many samples a TELEMETRY."""
        self.last_ns = 0
        self.state, self.cause = int(State.ARMED), int(Cause.NONE)
        self.info: Info | None = None
        self.asked_s = 0.0
        self.silent: Telemetry | None = None
        self.silent_s = 0.0
        self.ended: BaseException | None = None
        self.closing = threading.Event()
        self.thread = threading.Thread(target=self.follow, daemon=True)
        self.asked: queue.SimpleQueue[Request] = queue.SimpleQueue()

    def begin(self) -> None:
        """In lockstep at once: its first sample may come before this node knows that all are there.
        In realtime when they are."""
        if self.node.presented:
            self.nothing_told()
            while self.session.telemetry(0.0) is not None:
                pass  # of the time when nobody wanted to know
        if not self.node.realtime or self.everyone_matched:
            self.arm()

    def on_everyone_matched(self) -> None:
        self.everyone_matched = True
        self.run_length.expect()
        p: McuParameters = self.node.parameters
        if self.node.realtime and self.node.is_active:
            self.arm()
        first_ns = self.node.get_clock().now().nanoseconds if self.node.realtime else FIRST_NS
        self.node.swap.tell(p.controller, first_ns)

    def arm(self) -> None:
        p: McuParameters = self.node.parameters
        self.node.arm(
            [],
            wiring=Wiring.MCU,
            source=source_of(p.controller),
            host_lost=HostLost[p.host_lost.upper()],
            host_timeout_ms=p.host_timeout_ms,
            sensor_timeout_ms=p.sensor_timeout_ms if self.node.realtime else 0,
        )
        self.info = self.session.info
        length = Telemetry.length_min(self.info.sizes)
        self.every = telemetry_every(length, self.info.rate_hz)
        self.generation = self.session.generation
        self.thread.start()

    def stamp_ns(self, told: Telemetry) -> int:
        """When the sample was taken, by the clock of the run."""
        if not self.node.realtime:
            return FIRST_NS + told.k * self.node.period_ns
        if self.session.generation != self.generation:
            self.mcu_clock, self.generation = McuClock(), self.session.generation
        return self.mcu_clock.host_ns(told.time_us, self.node.get_clock().now().nanoseconds)

    def sample_of(self, message: JointState) -> int:
        """The number of the sample that a message is about; in realtime, of the next one."""
        if self.node.realtime:
            return 0 if self.k is None else self.k + 1
        return (to_ns(message.header.stamp) - FIRST_NS) // self.node.period_ns

    def take_over(self, name: str, free_ns: int | None) -> int:
        """As `Swap` says: from a sample of the firmware's choice, but where one node of the host
        takes over from another."""
        if free_ns is None:
            return self.ask(lambda: self.switch(name))
        self.node.swap.tell(name, free_ns)
        return free_ns

    def switch(self, name: str) -> int:
        """Before the telemetry of its first sample is published."""
        ahead = self.session.switch(source_of(name)) - self.k
        first_ns = self.last_ns + ahead * self.node.period_ns
        self.node.swap.tell(name, first_ns)
        return first_ns

    def reason_against(self, name: str) -> str:
        """What speaks against this choice now."""
        told = self.newest
        if told.state not in (State.ARMED, State.RUNNING):
            words = in_words(State, told.state), in_words(Cause, told.cause)
            return f"the microcontroller is {words[0]} ({words[1]})"
        if name == MCU_NODE.name and not self.node.parameters.trajectory:
            return "the firmware knows no reference: start the run with standby:=mpc"
        return ""

    def ask(self, action: Callable[[], Any]) -> Any:
        """What the thread finds, which alone may wait for answers while there is one. Raises what
        it raises."""
        if not self.thread.is_alive():
            return action()
        if self.node.absence.lasts:
            raise RuntimeError(f"the microcontroller is away ({self.node.absence.reason})")
        request = Request(action)
        self.asked.put(request)
        try:
            return request.found.result(self.node.parameters.answer_timeout_s + 1.0)
        except NotInTime:
            raise RuntimeError("the microcontroller has not answered in time") from None

    def on_measured(self, message: JointState) -> None:
        self.node.swap.saw(message)
        if not self.thread.is_alive():
            return
        p: McuParameters = self.node.parameters
        k = self.sample_of(message)
        if k < p.told_samples:
            seen = by_name(message, p.output_names, OUTPUTS, others=True, frame=p.frame)
            self.tell(lambda: self.session.measurement(k, seen))

    def on_asked(self, message: JointState) -> None:
        if not (self.node.swap.by_host and self.thread.is_alive()):
            return  # it came when another one had taken over
        command = by_name(message, self.node.parameters.command_names, COMMAND_ASKED)
        self.tell(lambda: self.session.drive(self.sample_of(message), command))

    def tell(self, action: Callable[[], None]) -> None:
        """The firmware, while it is there; the thread finds out that it is not."""
        if self.node.absence.lasts:
            return
        try:
            action()
        except Gone:
            if not self.node.absence.may_end:
                raise

    def follow(self) -> None:
        """The thread: what the firmware says, until the end; one that goes is looked for."""
        absence = self.node.absence
        try:
            while not self.closing.is_set():
                try:
                    self.listen()
                except Gone as gone:
                    absence.begin(gone)
                while absence.lasts and not self.closing.is_set():
                    if absence.look() is None:
                        self.closing.wait(absence.wait_s)
        except BaseException as ended:
            self.ended = ended

    def listen(self) -> None:
        """Telemetry in, heartbeats out, of which the firmware counts the time between them in
        samples where these are its clock, however fast they come. Raises Gone where it goes."""
        beat_s, beat_k = time.monotonic(), self.k or 0
        every = max(1, round(HEARTBEAT_S * self.node.parameters.rate_hz))
        self.heard_s = time.monotonic()
        while not self.closing.is_set():
            if (told := self.session.telemetry(HEARTBEAT_S)) is not None:
                self.on_telemetry(told)
            while not self.asked.empty():
                self.asked.get().carry_out()
            if self.node.realtime:
                self.count()
                self.check_silence()
            k = self.k or 0
            if time.monotonic() - beat_s >= HEARTBEAT_S or k - beat_k >= every:
                beat_s, beat_k = time.monotonic(), k
                self.session.heartbeat()

    def check_silence(self) -> None:
        """In a run it speaks each sample: one that does not is asked whether it is there. Raises
        Gone where it is not."""
        p: McuParameters = self.node.parameters
        silent_s = time.monotonic() - self.heard_s
        if self.newest is None or p.cut or silent_s < p.answer_timeout_s:
            return
        self.heard_s = time.monotonic()
        self.session.hello()

    def count(self) -> None:
        """Each second the microcontroller is asked for its counters, which are told as they come;
        in lockstep there are no seconds. Raises Gone where they are of one that knows no run."""
        p: McuParameters = self.node.parameters
        if time.monotonic() - self.asked_s >= EVERY_S:
            self.asked_s = time.monotonic()
            self.session.ask_info()
            if p.learns:
                self.session.ask_adaptation()
        if self.session.info is not self.info:
            self.info = self.session.info
            forgot = self.info.state == State.IDLE or self.info.cause == Cause.CRASHED
            if self.newest is not None and forgot:
                raise Gone(f"{p.target}: the microcontroller has started again unheard")
            self.counted.publish(self.counters(self.info))

    def on_telemetry(self, told: Telemetry) -> None:
        now_ns = self.stamp_ns(told)
        self.run_length.begin()
        if self.k is not None:
            self.node.absence.lost_samples += max((told.k - self.k) // self.every - 1, 0)
        self.newest, self.k, self.last_ns = told, told.k, now_ns
        self.heard_s = time.monotonic()
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
        """Raises what has ended the thread, SystemExit at the end of the run."""
        self.run_length.check(NO_SAMPLE)
        self.node.swap.check_release()
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
        self.node.keep_learned()
        self.session.stop()

    def counters(self, info: Info) -> DiagnosticArray:
        """What INFO counts, and the state at the end, but for a sensor that has ended the run."""
        values = {
            "state": State(self.state).name.lower(),
            "cause": Cause(self.cause).name.lower(),
            **{name: getattr(info, name) for name in COUNTERS},
            "telemetry_missing": self.session.lost,
            **self.node.absence.counts(),
        }
        bad = self.state in AT_REST
        level = DiagnosticStatus.ERROR if bad else DiagnosticStatus.OK
        return self.node.diagnostics(self.last_ns, level, "mcu", values["state"], values)

    def halt(self) -> None:
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
