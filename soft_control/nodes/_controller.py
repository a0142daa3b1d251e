"""What the nodes of controllers share that take turns with others."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field
from sensor_msgs.msg import JointState
from std_msgs.msg import Header

from soft_control.control.turns import Turns
from soft_control.experiment.ros_messages import (
    EVERY_SAMPLE,
    LATCHED,
    LATEST_SAMPLE,
    by_name,
    header_ns,
    joint_state,
    named_header,
)
from soft_control.nodes._node import LIVE, Names, NodeParameters, RigNode
from soft_control.topics import (
    COMMAND,
    COMMAND_ASKED,
    CONTROLLER,
    CONTROLLER_ASKED,
    CONTROLLER_RELEASED,
    FIRST_NS,
)


class ControllerParameters(NodeParameters):
    rate_hz: float = Field(120.0, gt=0, description="Control rate.")
    command_names: Names = Field(min_length=1, description="Of the commands.")
    clock: Literal["lockstep", "realtime"] = Field("lockstep", description="What paces the run.")
    sample_age_max: float = Field(
        2.0,
        ge=0,
        description="Realtime: a sample that was taken more than so many control periods ago is "
        "passed over; 0: none is.",
        json_schema_extra=LIVE,
    )
    standby: bool = Field(
        False,
        description="Whether it is silent until it is chosen on /controller, and meanwhile follows "
        "what others command; else each sample is its own.",
    )


class ControllerNode(RigNode, ABC):
    """A controller says what it wants on /command/asked, at samples of its own turn. One derives
    from it with an `answer`, which returns the command (m,) of a sample, and a `follow`, which is
    told that of another; both get what `turns.sample` is given."""

    TITLE: ClassVar[str]
    """By which the graph chooses it: one of control.controllers.CHOICES."""

    def __init__(self) -> None:
        super().__init__()
        p: ControllerParameters = self.parameters
        # In lockstep nobody waits for one that follows, and it shall miss no sample.
        self.queue = EVERY_SAMPLE if p.clock == "lockstep" else LATEST_SAMPLE
        self.turns = Turns(
            p.clock == "lockstep",
            round(1e9 / p.rate_hz),
            self._on_own,
            self.follow,
            None if p.standby else 0,
        )
        self.command = self.publish_on(JointState, COMMAND_ASKED)
        if p.standby:
            self._recalled_ns: int | None = None
            self.released = self.publish_on(Header, CONTROLLER_RELEASED)
            self.listen(Header, CONTROLLER, self._on_controller, LATCHED)
            self.listen(Header, CONTROLLER_ASKED, self._on_asked, EVERY_SAMPLE)
            self.listen(JointState, COMMAND, self._on_command, self.queue)

    @abstractmethod
    def answer(self, now_ns: int, *inputs: Any) -> np.ndarray:
        """The command (m,) of a sample of its own."""

    def follow(self, now_ns: int, command: np.ndarray, *inputs: Any) -> None:
        """Somebody else has found the command (m,) of this sample."""

    def _on_own(self, now_ns: int, *inputs: Any) -> None:
        p: ControllerParameters = self.parameters
        if p.clock == "realtime" and self.is_too_old(now_ns, p.sample_age_max / p.rate_hz):
            return
        names = self.parameters.command_names
        self.command.publish(joint_state(now_ns, names, self.answer(now_ns, *inputs)))

    def _on_command(self, message: JointState) -> None:
        told = by_name(message, self.parameters.command_names, COMMAND)
        self.turns.told(header_ns(message.header), told)

    def _on_controller(self, chosen: Header) -> None:
        from_ns = header_ns(chosen)
        if chosen.frame_id != self.TITLE:
            self.turns.end()
        elif from_ns == self._recalled_ns:
            self._release(from_ns)
        else:
            self.turns.begin(from_ns)

    def _on_asked(self, asked: Header) -> None:
        """Another one shall have the turn that began with this stamp; that it began may come here
        later."""
        if asked.frame_id == self.TITLE:
            return
        if self.turns.from_ns is None:
            self._recalled_ns = header_ns(asked)
        else:
            self._release(self.turns.end())

    def _release(self, first_ns: int) -> None:
        self.released.publish(named_header(max(first_ns, FIRST_NS), self.TITLE))
