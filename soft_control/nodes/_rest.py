"""What the nodes share that invert the network where the robot rests."""

from __future__ import annotations

import numpy as np
from pydantic import Field, model_validator

from soft_control.control.static_inverse import StaticInverseConfig
from soft_control.learning.rest import RestingNetwork, read_rest
from soft_control.nodes._controller import ControllerParameters
from soft_control.nodes._node import LIVE, Names, check_lengths


class RestParameters(ControllerParameters):
    output_names: Names = Field(min_length=1, description="Of the outputs.")
    frame: str = Field("", description="Of points among the outputs; empty: any.")
    command_min: list[float] = Field(description="Of each command, its unit.")
    command_max: list[float] = Field(description="Of each command, its unit.")
    rest: str = Field(
        min_length=1, description="File with the network where the robot rests: rest.json of a run."
    )
    lead_s: float = Field(
        0.0,
        ge=0,
        description="How far the reference that is inverted is ahead of the sample, s.",
        json_schema_extra=LIVE,
    )
    preview: int = Field(
        0, ge=0, description="Samples ahead that the reference is told: as far as any lead."
    )

    @model_validator(mode="after")
    def a_limit_a_command(self) -> RestParameters:
        limits = {key: getattr(self, key) for key in ("command_min", "command_max")}
        check_lengths(self.command_names, "command", **limits)
        return self

    @model_validator(mode="after")
    def a_lead_that_is_told(self) -> RestParameters:
        reach_s = self.preview / self.rate_hz
        if self.lead_s > reach_s * (1 + 1e-9):
            raise ValueError(
                f"lead_s = {self.lead_s:g}: the reference is told {self.preview} samples ahead, "
                f"{reach_s:g} s: choose a shorter lead, or start with a longer preview"
            )
        return self

    def network(self) -> RestingNetwork:
        """Raises ValueError where it cannot be read, or is of another robot."""
        found = read_rest(self.rest)
        sizes = len(found.command_offset), len(found.output_offset)
        if sizes != (len(self.command_names), len(self.output_names)):
            raise ValueError(
                f"{self.rest}: of a robot of {sizes[0]} commands and {sizes[1]} outputs, not of "
                f"{len(self.command_names)} and {len(self.output_names)}"
            )
        return found

    def inverse(self, network: RestingNetwork) -> StaticInverseConfig:
        """The same as the law takes it."""
        limits = np.array(self.command_min), np.array(self.command_max)
        return StaticInverseConfig(network, *limits, lead_s=self.lead_s)
