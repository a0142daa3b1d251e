"""Reference generation: for every sample, what the outputs shall be now and over the horizon."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field
from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectory

from soft_control.control.live_reference import LiveReference
from soft_control.control.references import SHAPES, Reference
from soft_control.control.sampled_reference import SampledReference, read_reference
from soft_control.experiment.ros_messages import (
    EVERY_SAMPLE,
    LATEST_SAMPLE,
    to_ns,
    trajectory,
)
from soft_control.learning.surface import Surface
from soft_control.nodes._node import LIVE, Names, NodeParameters, RigNode
from soft_control.nodes._node import main as run
from soft_control.topics import OUTPUTS, REFERENCE, SIGNALS


class ReferenceParameters(NodeParameters):
    output_names: Names = Field(min_length=1, description="Of the outputs.")
    frame: str = Field("", description="Of points among the outputs.")
    shape: Literal[tuple(SHAPES)] = Field(
        "figure_eight", description="Of the curve.", json_schema_extra=LIVE
    )
    amplitude: list[float] = Field(
        [], description="Of each output, its unit.", json_schema_extra=LIVE
    )
    centre: list[float] = Field([], description="Of each output, its unit.", json_schema_extra=LIVE)
    component: list[int] = Field([], description="Of the shape that each output takes, from 0.")
    angular_rate: float = Field(0.0, description="Of the phase, rad/s.", json_schema_extra=LIVE)
    file: str = Field("", description="CSV file with t_s and the outputs, in place of a shape.")
    leading: Names = Field([], description="Outputs that others follow; empty: all are free.")
    factors: list[float] = Field([], description="Of each leading output in the polynomial.")
    degree: int = Field(0, ge=0, description="Of the polynomial.")
    following: Names = Field([], description="Outputs on top of a polynomial of the leading ones.")
    coefficients: list[float] = Field([], description="(following x terms), row by row.")
    preview: int = Field(0, ge=0, description="Samples ahead: the controller's horizon.")
    rate_hz: float = Field(120.0, gt=0, description="Control rate.")
    trigger: Literal[SIGNALS, OUTPUTS] = Field(
        SIGNALS, description="The topic whose samples the controller acts on."
    )

    clock: Literal["lockstep", "realtime"] = Field("lockstep", description="What paces the run.")
    may_change: bool = Field(
        True,
        description="Whether the shape may be changed while it is followed: not where a firmware "
        "has been told the same reference before the run.",
    )

    def surface(self) -> Surface | None:
        """What the outputs that cannot be chosen freely follow."""
        if not self.leading:
            return None
        rows = np.reshape(self.coefficients, (len(self.following), -1)).tolist()
        return Surface(
            leading=self.leading,
            factors=self.factors,
            degree=self.degree,
            following=dict(zip(self.following, rows, strict=True)),
        )

    def reference(self) -> Reference | SampledReference:
        """The shape, or what the file holds. Raises ValueError for what cannot be."""
        if self.file:
            return read_reference(Path(self.file), self.output_names, self.surface())
        return Reference(
            outputs=tuple(self.output_names),
            shape=self.shape,
            amplitude=tuple(self.amplitude),
            centre=tuple(self.centre),
            component=tuple(self.component),
            angular_rate=self.angular_rate,
            surface=self.surface(),
        )


class ReferenceGenerator(RigNode):
    """Answers each message on the trigger topic, the one whose samples the controller acts on."""

    NAME = "reference"
    Parameters = ReferenceParameters

    def __init__(self) -> None:
        super().__init__()
        p: ReferenceParameters = self.parameters
        self.reference = p.reference()
        self.live: LiveReference | None = None
        if isinstance(self.reference, Reference):
            self.live = LiveReference(self.reference, 1 / p.rate_hz)
        self.ahead_s = np.arange(p.preview + 1) / p.rate_hz
        self.period_ns = round(1e9 / p.rate_hz)
        self.start_ns: int | None = None
        self.wanted = self.publish_on(JointTrajectory, REFERENCE)
        # In lockstep the robot need not wait for it, and each of its samples has a reference.
        queue = EVERY_SAMPLE if p.clock == "lockstep" else LATEST_SAMPLE
        self.listen(JointState, p.trigger, self.on_sample, queue)
        self.present()

    def on_parameters(self, new: ReferenceParameters) -> None:
        if self.live is None:
            raise ValueError("the reference comes from a file: its samples are as they are")
        if not new.may_change:
            raise ValueError(
                "the firmware has been told this reference before the run, and would not follow "
                "another one: choose --wiring host with --standby pid, in lockstep"
            )
        self.live.change(new.reference())

    def on_sample(self, message: JointState) -> None:
        p: ReferenceParameters = self.parameters
        now_ns = to_ns(message.header.stamp)
        if self.start_ns is None:
            self.start_ns = now_ns
        now_s = (now_ns - self.start_ns) / 1e9
        if self.live:
            ahead = self.live.values(now_s, p.preview)
        else:
            ahead = self.reference.values(now_s + self.ahead_s)
        self.wanted.publish(trajectory(now_ns, self.period_ns, p.output_names, ahead, p.frame))


def main() -> None:
    run(ReferenceGenerator)


if __name__ == "__main__":
    main()
