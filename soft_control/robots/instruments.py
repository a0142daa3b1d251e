"""The sensor and the actuators of a robot: which they are, and what they can give and bear.

A robot's description has them below `instruments`; a firmware is built with the drivers of these
two and no other, and the nodes of a run that reads and drives them itself take their settings from
here as well. docs/instruments.md has the bytes of each.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from soft_control.robots.recording_format import Strict
from soft_control.safe_output import SafeOutput

COUNT_MAX = 2_147_483_647
"""Of a sensor's channel: counts are of 32 bits."""


HIGH_VOLTAGE = ("hasel_driver",)
"""Kinds of actuators that nobody may find driven again without having asked for it."""


class Sensor(Strict):
    """What gives the signals, all channels at once."""

    kind: Literal["lightlace", "magnetic"] = "lightlace"
    """A name of link.instruments.SENSORS."""
    baud: Annotated[int, Field(gt=0)] = 2_000_000
    """Of its serial line."""
    signed: bool = True
    """lightlace: whether counts may be negative."""
    format: Literal["plain", "bracketed"] = "plain"
    """lightlace: what a simulated one writes; both are read."""
    median: Literal[1, 3, 5] = 1
    """magnetic: counts are medians over so many samples."""
    start_samples: Annotated[int, Field(ge=0, le=64)] = 0
    """magnetic: the mean of the first so many is taken off all later ones; 0: nothing is."""
    count_min: Annotated[int, Field(ge=-COUNT_MAX, le=COUNT_MAX)] = -COUNT_MAX
    """Of any channel; what is below is no reading."""
    count_max: Annotated[int, Field(ge=-COUNT_MAX, le=COUNT_MAX)] = COUNT_MAX
    """And what is above."""
    count_step_max: Annotated[int, Field(ge=0, le=COUNT_MAX)] = 0
    """Largest change of a channel from sample to sample; 0: any."""
    frozen_samples: Annotated[int, Field(ge=0, le=65_535)] = 0
    """So many samples that are equal in all channels are tolerated; 0: any number."""


class Actuators(Strict):
    """What is told the commands."""

    kind: Literal["dynamixel", "hasel_driver", "analogue"] = "analogue"
    """A name of link.instruments.ACTUATORS."""
    baud: Annotated[int, Field(gt=0)] = 1_000_000
    """Of their serial line."""
    ids: tuple[Annotated[int, Field(ge=0, le=253)], ...] = ()
    """dynamixel: of each servo, in the order of the commands; by default 1, 2, …"""
    full_steps: Annotated[int, Field(ge=1, le=65_535)] = 1_000
    """hasel_driver: steps of full duty."""
    safe_output: SafeOutput = "hold"
    """Where a run ends that something has stopped: the last command, the neutral one at the speed
    that the robot bears, or let go."""
    errors: Annotated[int, Field(ge=0, le=255)] = 0b0010_0101
    """Bits of the actuators' errors that end a run; of a servo: voltage, overheating, overload."""
    voltage_min: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] = 0.0
    """Of the supply, V."""
    voltage_max: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] = 1e6
    """Of the supply, V."""
    temperature_max: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] = 1e6
    """Of the hottest actuator, degrees C."""
    silence_samples: Annotated[int, Field(ge=0, le=65_535)] = 0
    """So many samples without an answer are tolerated; 0: any number."""
    mean_max: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] | None = None
    """Largest mean of (command - its lower limit), in the unit of the commands; None: any."""
    mean_s: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] = 10.0
    """Time constant of that mean, s."""
    rearm: bool | None = None
    """Whether a robot in the middle of a run may be driven again by itself, where its actuators or
    its microcontroller have gone and come back; None: it may, but not with high voltage."""

    @property
    def may_rearm(self) -> bool:
        """The same as yes or no."""
        return self.kind not in HIGH_VOLTAGE if self.rearm is None else self.rearm


class Instruments(Strict):
    """Of a robot; by default lines of counts, and frames of commands."""

    sensor: Sensor = Sensor()
    """Where the signals come from."""
    actuators: Actuators = Actuators()
    """Where the commands go to."""
