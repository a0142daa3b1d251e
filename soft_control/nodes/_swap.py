"""Of the node mcu: which controller is active, and how another one takes over during a run."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from sensor_msgs.msg import JointState
from std_msgs.msg import Header

from soft_control.control.controllers import CONTROLLERS, HOLD, MCU_NODE, MEASURED, ControllerEntry
from soft_control.experiment.ros_messages import EVERY_SAMPLE, LATCHED, header_ns, named_header
from soft_control.nodes._node import RigNode
from soft_control.topics import (
    COMMAND_ASKED,
    CONTROLLER,
    CONTROLLER_ASKED,
    CONTROLLER_RELEASED,
    OUTPUTS,
    relative,
)

OWN = MCU_NODE.name, HOLD
"""Choices that need no other node."""
FRESH_PERIODS = 5
FRESH_S = 0.1
"""Measured outputs of so long ago count as there, in lockstep and in real time."""
RELEASE_S = 1.0
"""A node that has not let go within so long is taken to be gone."""


@dataclass
class Change:
    """One that waits until the node that is active lets go."""

    name: str
    until_s: float


class Swap:
    """Nodes of controllers know by /controller whose turn it is. Where one node takes over from
    another, that one lets go first and says from which sample on, so that each sample has one
    answer; where the microcontroller finds commands or drives, it decides itself."""

    def __init__(
        self,
        node: RigNode,
        take_over: Callable[[str, int | None], int],
        newest_ns: Callable[[], int],
        reason_against: Callable[[str], str],
    ) -> None:
        """take_over(name, free_ns): the named one begins, at free_ns where that is known; it is
        told, and the stamp of its first sample is returned. newest_ns: the
        newest sample that is known, 0: none. reason_against: what speaks against a choice there,
        empty: nothing."""
        self._node, self._take_over = node, take_over
        self._newest_ns, self._reason_against = newest_ns, reason_against
        p = node.parameters
        self._lockstep = p.clock == "lockstep"
        self._period_ns = round(1e9 / p.rate_hz)
        self.active = p.controller
        self.since_ns = 0
        self._turns = [(0, p.controller)]
        self._change: Change | None = None
        self._seen_ns, self._seen_s = 0, 0.0
        names = {peer.rpartition("/")[2] for peer in p.peers}
        self.others: dict[str, ControllerEntry] = {
            entry.name: entry
            for entry in CONTROLLERS.values()
            if entry is not MCU_NODE and entry.node in names
        }
        """Of other nodes that take part in the run, by name."""
        self._told = node.publish_on(Header, CONTROLLER, LATCHED)
        if self.others:
            self._asked = node.publish_on(Header, CONTROLLER_ASKED)
            node.listen(Header, CONTROLLER_RELEASED, self._on_released, EVERY_SAMPLE)
        if self.needs_outputs:
            node.listen(JointState, OUTPUTS, self.saw)

    @property
    def needs_outputs(self) -> bool:
        """Whether it must know of the measured outputs, and nobody else listens to them."""
        acts = any(entry.trigger == MEASURED for entry in self.others.values())
        return acts and not self._node.parameters.told_samples

    def saw(self, outputs: JointState) -> None:
        """Measured outputs have come."""
        self._seen_ns, self._seen_s = header_ns(outputs.header), time.monotonic()

    @property
    def by_host(self) -> bool:
        """Whether another node finds the commands."""
        return self.active not in OWN

    def tell(self, name: str, first_ns: int) -> None:
        """It is active from that sample on."""
        self.active, self.since_ns = name, first_ns
        self._turns.append((first_ns, name))
        self._told.publish(named_header(first_ns, name))

    def at(self, now_ns: int) -> str:
        """Which one is active at a sample."""
        return next(name for from_ns, name in reversed(self._turns) if from_ns <= now_ns)

    def change(self, name: str) -> None:
        """As `ros2 param set` asks. Raises RuntimeError with the reason where it would be unsafe;
        then nothing has changed."""
        self._check(name)
        material = self._node.parameters.wiring == "mcu"
        if self.by_host and not (material and name in OWN):
            self._change = Change(name, time.monotonic() + RELEASE_S)
            self._asked.publish(named_header(self.since_ns, name))
        else:
            self._begin(name, None)

    def check_release(self) -> None:
        """To be called now and then."""
        if self._change and time.monotonic() > self._change.until_s:
            self._node.get_logger().warning(
                f"{self.active} has not let go within {RELEASE_S:g} s: {self._change.name} goes on "
                "without it"
            )
            self._release(self._newest_ns() + self._period_ns)

    def _on_released(self, released: Header) -> None:
        if self._change and released.frame_id == self.active:
            self._release(header_ns(released))

    def _release(self, first_ns: int) -> None:
        name, self._change = self._change.name, None
        self._begin(name, first_ns)

    def _begin(self, name: str, free_ns: int | None) -> None:
        before = self.active
        first_ns = self._take_over(name, free_ns)
        self._node.get_logger().info(f"{before} hands over to {name} at {first_ns * 1e-9:.6f} s")

    def _check(self, name: str) -> None:
        if self._change:
            raise RuntimeError(f"controller: {self._change.name} is about to take over, ask again")
        if not self._newest_ns():
            raise RuntimeError(f"controller {name}: the run has not begun")
        if reason := self._reason_against(name):
            raise RuntimeError(f"controller {name}: {reason}")
        if name in OWN:
            return
        entry = self.others.get(name)
        if entry is None or not self._is_there(entry.node):
            node = next(e.node for e in CONTROLLERS.values() if e.name == name)
            raise RuntimeError(
                f"controller {name}: its node '{node}' is not in the graph: start the run with "
                f"standby:={name}"
            )
        if entry.trigger == MEASURED and not self._outputs_are_fresh():
            raise RuntimeError(
                f"controller {name}: no measured outputs have come on {OUTPUTS} for "
                f"{FRESH_PERIODS} periods, and it acts on them"
            )

    def _is_there(self, node: str) -> bool:
        """Whether a node of that name can be heard."""
        full = self._node.roll_call.full_name(node)
        topic = self._node.resolve_topic_name(relative(COMMAND_ASKED))
        return any(
            f"{endpoint.node_namespace.rstrip('/')}/{endpoint.node_name}" == full
            for endpoint in self._node.get_publishers_info_by_topic(topic)
        )

    def _outputs_are_fresh(self) -> bool:
        if self._lockstep:
            return self._newest_ns() - self._seen_ns <= FRESH_PERIODS * self._period_ns
        wanted_s = max(FRESH_S, FRESH_PERIODS * self._period_ns * 1e-9)
        return time.monotonic() - self._seen_s <= wanted_s
