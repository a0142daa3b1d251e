"""The node mcu where other nodes have the instruments: samples go to the firmware, commands back.

Where another controller has its turn, the firmware is told what that one has found, so that its
model goes on.
"""

from __future__ import annotations

import time

import numpy as np
from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectory

from soft_control.control.controllers import HOLD
from soft_control.control.turns import Turns
from soft_control.experiment.returning_session import GAP_MAX, ReturningSession
from soft_control.experiment.ros_messages import (
    EVERY_SAMPLE,
    LATEST_SAMPLE,
    Join,
    by_name,
    from_trajectory,
    joint_state,
    to_ns,
)
from soft_control.link.errors import Gone
from soft_control.link.messages import Telemetry
from soft_control.link.sensor_reader import WARNING_EVERY_S
from soft_control.link.session import LinkError, TooLate
from soft_control.nodes._mcu import McuNode, McuParameters
from soft_control.nodes._swap import OWN, Swap
from soft_control.topics import COMMAND, FIRST_NS, OUTPUTS, REFERENCE, SIGNALS

CHECK_S = 0.05


class AtHost:
    """Answers each sample, or observes it."""

    def __init__(self, node: McuNode) -> None:
        """Adds its subscriptions to the node."""
        self.node = node
        p: McuParameters = node.parameters
        self.k: int | None = None
        self.answered_k = 0
        self.last_ns = 0
        self.seen: JointState | None = None
        self.applied = np.array(p.command_neutral)
        """That the actuators were told last, as far as is known."""
        self.turns = Turns(
            not node.realtime,
            node.period_ns,
            self.answer,
            self.observe,
            0 if p.controller in OWN else None,
        )
        node.swap = Swap(node, self.take_over, lambda: self.last_ns, self.reason_against)
        # In realtime the tracker stamps with a clock of its own: no stamp is that of the signals.
        joins_outputs = bool(p.told_samples) and not node.realtime
        topics = [SIGNALS] if p.trajectory else [SIGNALS, REFERENCE]
        self.join = Join(topics + [OUTPUTS] * joins_outputs, self.on_sample)
        # In lockstep nobody waits for it where others command, and it shall miss no sample.
        waits = node.realtime or not node.swap.others
        queue = LATEST_SAMPLE if waits else EVERY_SAMPLE
        if p.told_samples:
            node.listen(JointState, OUTPUTS, self.on_outputs, queue)
        node.listen(JointState, SIGNALS, lambda m: self.join.put(SIGNALS, m), queue)
        if not p.trajectory:
            node.listen(JointTrajectory, REFERENCE, lambda m: self.join.put(REFERENCE, m), queue)
        if node.swap.others:
            node.listen(JointState, COMMAND, self.on_command, queue)
            node.create_timer(CHECK_S, node.swap.check_release)
        if node.realtime:
            node.create_timer(CHECK_S, self.look)

    def look(self) -> None:
        """For a microcontroller that has gone; raises as `Absence.look`."""
        if self.node.is_active and self.node.absence.lasts:
            self.node.absence.look(self.k + 1)

    @property
    def session(self) -> ReturningSession:
        return self.node.session

    def begin(self) -> None:
        """The next sample is the first."""
        self.k, self.last_ns = None, 0

    def halt(self) -> None:
        """Without a sample the firmware says nothing, and the gate of the actuators misses it."""
        try:
            if self.k is not None:
                self.node.keep_learned()
        except LinkError as error:
            self.node.get_logger().warning(f"what was learned is not kept: {error}")

    def on_everyone_matched(self) -> None:
        node = self.node
        first_ns = node.get_clock().now().nanoseconds if node.realtime else FIRST_NS
        node.swap.tell(node.parameters.controller, first_ns)

    # ------------------------------------------------------------------ whose turn it is

    def take_over(self, name: str, free_ns: int | None) -> int:
        """As `Swap` says."""
        first_ns = self.turns.end() if free_ns is None else free_ns
        self.node.swap.tell(name, first_ns)
        if name in OWN:
            self.turns.begin(first_ns)
        return first_ns

    def reason_against(self, name: str) -> str:
        """Nothing that this node knows of."""
        return ""

    def on_command(self, message: JointState) -> None:
        told = by_name(message, self.node.parameters.command_names, COMMAND)
        self.turns.told(to_ns(message.header.stamp), told)

    # ------------------------------------------------------------------ samples

    def on_outputs(self, message: JointState) -> None:
        self.node.swap.saw(message)
        if self.node.realtime:
            self.seen = message
        else:
            self.join.put(OUTPUTS, message)

    def on_sample(self, now_ns: int, signals: JointState, *others: object) -> None:
        p: McuParameters = self.node.parameters
        if not self.node.is_active:
            return
        if self.node.realtime and self.node.is_too_old(now_ns, p.sample_age_max / p.rate_hz):
            return
        live = by_name(signals, p.signal_names, SIGNALS, others=True)
        horizon: list[list[float]] = []
        if not p.trajectory:
            reference, *others = others
            told = from_trajectory(reference, p.output_names, frame=p.frame)
            # Others may look farther ahead.
            horizon = told[: self.session.info.horizon + 1].tolist()
        self.turns.sample(now_ns, live, horizon, others[0] if others else None)

    def answer(
        self, now_ns: int, live: np.ndarray, horizon: list[list[float]], outputs: JointState | None
    ) -> None:
        """A sample of the firmware's turn, or one at which the last command stays."""
        p: McuParameters = self.node.parameters
        holds = self.node.swap.at(now_ns) == HOLD
        told = self.step(now_ns, live, horizon, outputs, self.applied if holds else None)
        if told is None:
            return
        if holds:
            held = joint_state(now_ns, p.command_names, self.applied)
            self.node.command.publish(held)
        else:
            self.applied = np.array(told.command)
            self.node.publish(now_ns, told)

    def observe(
        self,
        now_ns: int,
        command: np.ndarray,
        live: np.ndarray,
        horizon: list[list[float]],
        outputs: JointState | None,
    ) -> None:
        """A sample of another one's turn."""
        self.applied = command
        self.step(now_ns, live, horizon, outputs, command)

    def step(
        self,
        now_ns: int,
        live: np.ndarray,
        horizon: list[list[float]],
        outputs: JointState | None,
        command: np.ndarray | None,
    ) -> Telemetry | None:
        """Of the firmware; with a command that somebody else has found, or None. Returns None for a
        sample that nobody answers: it has become too old on its way, or the firmware has gone."""
        node, absence = self.node, self.node.absence
        if self.k is None:
            self.k, self.answered_k = 0, -1
            # The emulator's clock stands still between samples of a lockstep run.
            timeout_ms = node.parameters.host_timeout_ms if node.realtime else 0
            node.arm(horizon[:-1], host_timeout_ms=timeout_ms)
        else:
            missed = 0
            if node.realtime:
                missed = max((now_ns - self.last_ns) // node.period_ns - 1, 0)
            absence.lost_samples += missed
            self.k += 1 + min(missed, GAP_MAX)
        self.last_ns = now_ns
        told = None if absence.lasts else self.tell(now_ns, live, horizon, outputs, command)
        if told is None:
            absence.lost_samples += 1
            return None
        missed, self.answered_k = self.k - self.answered_k - 1, self.k
        if missed > 0 and horizon:
            # The firmware held its command for the samples that never came, and it lacks the points
            # that these would have brought.
            self.session.preload(self.k + 1, horizon[1:-1])
        node.send_ahead(self.k)
        return told

    def tell(
        self,
        now_ns: int,
        live: np.ndarray,
        horizon: list[list[float]],
        outputs: JointState | None,
        command: np.ndarray | None,
    ) -> Telemetry | None:
        """What the firmware answers to all that is known of the sample; None: nothing in time."""
        node = self.node
        try:
            self.measure(now_ns, outputs)
            return self.ask(live, horizon, command)
        except TooLate as refused:
            # The firmware holds its command for this sample, as for one that never came.
            node.get_logger().warning(str(refused), throttle_duration_sec=WARNING_EVERY_S)
            if node.health:
                node.health.on_too_late()
            return None
        except Gone as gone:
            node.absence.begin(gone)
        while node.absence.lasts:
            self.look()
            if node.realtime:
                return None  # who comes back later than that has newer samples to answer
            time.sleep(CHECK_S)
        return self.tell(now_ns, live, horizon, outputs, command)

    def ask(
        self, live: np.ndarray, horizon: list[list[float]], command: np.ndarray | None
    ) -> Telemetry:
        if command is not None:
            self.session.preload(self.k + len(horizon) - 1, horizon[-1:])
            return self.session.observe(self.k, live, command)
        if horizon:
            return self.session.sample(self.k, live, horizon[-1])
        last = self.node.reference.at(self.k + self.session.info.horizon)
        return self.session.sample(self.k, live, last)

    def measure(self, now_ns: int, outputs: JointState | None) -> None:
        """Tells what was measured, if it is of this sample."""
        p: McuParameters = self.node.parameters
        if self.seen and abs(to_ns(self.seen.header.stamp) - now_ns) <= self.node.period_ns:
            outputs = self.seen
        if outputs is not None and self.k < p.told_samples:
            seen = by_name(outputs, p.output_names, OUTPUTS, others=True, frame=p.frame)
            self.session.measurement(self.k, seen)
