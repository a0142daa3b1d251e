"""Simulated tendon rig: two servos bend a soft block through tendons, light guides feel it.

One command goes through the rig in this order:

    transport delay -> servo (counts, stops, rate limit) -> tendon slack -> lag -> hysteresis
    -> creep -> quadratic map -> tip position;   bending -> contacts of the light guides -> counts

Every stage before the map passes a constant angle unchanged, so at rest the tip is the map of the
two commands, but for slack and hysteresis. The stages advance on a fixed grid of `SUBSTEP_S`. No
command acts before the delay has passed, so the grid may run up to one substep ahead of the clock
and the instruments interpolate: what they read does not depend on how time was cut into steps.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field, model_validator

from soft_control.rigs.parameters import (
    Fraction,
    NotNegative,
    Positive,
    RigParameters,
    Share,
    Strict,
)
from soft_control.rigs.simulated import SimulatedRig
from soft_control.robots.description import RobotDescription

SUBSTEP_S = 1.0 / 960.0
"""Eight a sample at 120 Hz. Within it the servo is exact, the filters are exact for a ramp."""

CHANNELS = 11
"""LightLace channels of the rig; those without a `LaceChannel` read 0, as on the real one."""

Quadratic = tuple[float, float, float, float, float]
"""Coefficients of b0, b1 (mm/deg), b0², b0·b1, b1² (mm/deg²); b = bending, deg about mid-range."""


class Contact(Strict):
    """Two light guides that touch as the block bends: a smooth step in one bending direction."""

    depth_counts: float
    """Change of the channel from open to closed contact."""
    direction_deg: float
    """Direction of bending that closes it, in the plane of (b0, b1), from b0."""
    closing_deg: float
    """Bending in that direction at which the contact is half closed."""
    width_deg: Positive
    """Bending over which it closes: e-fold of the logistic step."""


class LaceChannel(Strict):
    """One live channel: counts = open_counts + sum of the contacts, rounded, at least 0."""

    open_counts: NotNegative
    """Reading with every contact open."""
    contacts: tuple[Contact, ...]
    """The contacts that change its reading."""


class TendonParameters(RigParameters):
    """Parameters of the simulated rig; config/tendon.yaml says which are fitted, which assumed."""

    rig_name: ClassVar[str] = "tendon"

    command_min_deg: tuple[float, float]
    """Lower stop of each servo."""
    command_max_deg: tuple[float, float]
    """Upper stop of each servo."""
    delay_s: Annotated[float, Field(ge=SUBSTEP_S)]
    """Transport delay from command to servo; any real number of at least one substep."""
    servo_rate_deg_per_s: Positive
    """Top speed of the servo."""
    servo_resolution_deg: Positive
    """One count of the servo's goal position; smaller changes of a command may be lost."""
    slack_deg: NotNegative
    """Servo travel lost when the tendon changes direction: full width of the backlash."""
    lag_s: Positive
    """Time constant of the block's first-order lag."""
    hysteresis_width_deg: tuple[NotNegative, ...]
    """Full widths of the Prandtl-Ishlinskii plays."""
    hysteresis_weight: tuple[Fraction, ...]
    """Share of the bending that goes through each play; the rest is free of hysteresis."""
    creep_fraction: tuple[Fraction, Fraction]
    """Share of a step that arrives late, by branch."""
    creep_s: tuple[Positive, Positive]
    """Time constant of each creep branch."""
    x_mm_of_deg: Quadratic
    """Tip x from the bending."""
    y_mm_of_deg: Quadratic
    """Tip y from the bending."""
    z_mm_of_deg: Quadratic
    """Tip z from the bending."""
    lace: dict[Annotated[int, Field(ge=0, lt=CHANNELS)], LaceChannel]
    """Live channels by number."""
    lace_noise_counts: NotNegative
    """Standard deviation of a live channel before rounding."""
    dead_channels: tuple[int, ...] = ()
    """Mismatch: live channels that read 0 from now on."""
    supply: Share = 1.0
    """Mismatch: supply voltage, as a share of what it should be, to which the servos' top speed is
    proportional."""
    supply_after_s: NotNegative = 0.0
    """When it sags."""

    @model_validator(mode="after")
    def _consistent(self) -> TendonParameters:
        if any(a >= b for a, b in zip(self.command_min_deg, self.command_max_deg, strict=True)):
            raise ValueError("command_min_deg must be below command_max_deg")
        if len(self.hysteresis_width_deg) != len(self.hysteresis_weight):
            raise ValueError("hysteresis_width_deg and hysteresis_weight differ in length")
        if sum(self.hysteresis_weight) >= 1.0 or sum(self.creep_fraction) >= 1.0:
            raise ValueError("hysteresis_weight and creep_fraction must each add up to less than 1")
        return self


class _Lag:
    """First-order lag, exact for an input that is straight over a substep (first-order hold)."""

    __slots__ = ("_keep", "_old", "_new", "value")

    def __init__(self, time_constant_s: float) -> None:
        self._keep = math.exp(-SUBSTEP_S / time_constant_s)
        mean = time_constant_s / SUBSTEP_S * (1.0 - self._keep)
        self._old, self._new = mean - self._keep, 1.0 - mean
        self.value = 0.0

    def advance(self, old: float, new: float) -> float:
        """The output a substep later, while the input went from `old` to `new`."""
        self.value = value = self._keep * self.value + self._old * old + self._new * new
        return value


class _Tendon:
    """One servo, its tendon and the bending that it causes; angles in rad about mid-range."""

    def __init__(self, p: TendonParameters, axis: int) -> None:
        low, high = math.radians(p.command_min_deg[axis]), math.radians(p.command_max_deg[axis])
        self._middle = 0.5 * (low + high)
        self._reach = 0.5 * (high - low)
        self._rate = math.radians(p.servo_rate_deg_per_s)
        self._count = math.radians(p.servo_resolution_deg)
        self._half_slack = 0.5 * math.radians(p.slack_deg)
        self._half_widths = [0.5 * math.radians(width) for width in p.hysteresis_width_deg]
        self._weights = p.hysteresis_weight
        self._free = 1.0 - sum(p.hysteresis_weight)
        self._fractions = p.creep_fraction
        self._prompt = 1.0 - sum(p.creep_fraction)
        self._lag = _Lag(p.lag_s)
        self._creep = [_Lag(time_constant) for time_constant in p.creep_s]
        self.goal = self.servo = self._slack = self._strain = 0.0
        self._plays = [0.0] * len(self._weights)
        self.previous_bending = self.bending = 0.0

    def command(self, command: float) -> None:
        """New goal: the servo knows whole counts of its own circle only, and its stops."""
        goal = round(command / self._count) * self._count - self._middle
        self.goal = min(max(goal, -self._reach), self._reach)

    def turn(self, duration_s: float) -> None:
        """The servo turns towards its goal at top speed."""
        travel = self._rate * duration_s
        self.servo += min(max(self.goal - self.servo, -travel), travel)

    def bend(self) -> None:
        """The servo has turned over one substep: tendon and block follow."""
        old_slack, lagged = self._slack, self._lag
        slack = _play(old_slack, self.servo, self._half_slack)
        bent = lagged.advance(old_slack, slack)
        strain = self._free * bent
        plays = self._plays
        for i, half_width in enumerate(self._half_widths):
            plays[i] = play = _play(plays[i], bent, half_width)
            strain += self._weights[i] * play
        bending = self._prompt * strain
        for fraction, branch in zip(self._fractions, self._creep, strict=True):
            bending += fraction * branch.advance(self._strain, strain)
        self._slack, self._strain = slack, strain
        self.previous_bending, self.bending = self.bending, bending

    def save(self) -> dict[str, Any]:
        """Complete state, as JSON can hold it."""
        return {
            "goal": self.goal,
            "servo": self.servo,
            "slack": self._slack,
            "lag": self._lag.value,
            "plays": list(self._plays),
            "strain": self._strain,
            "creep": [branch.value for branch in self._creep],
            "bending": [self.previous_bending, self.bending],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from `save()`."""
        self.goal, self.servo, self._slack = state["goal"], state["servo"], state["slack"]
        self._lag.value = state["lag"]
        self._plays = list(state["plays"])
        self._strain = state["strain"]
        for branch, value in zip(self._creep, state["creep"], strict=True):
            branch.value = value
        self.previous_bending, self.bending = state["bending"]


def _play(held: float, pulled: float, half_width: float) -> float:
    """Backlash: what is held moves only when the gap on one side is used up."""
    low = pulled - half_width
    if held < low:
        return low
    high = pulled + half_width
    return high if held > high else held


class TendonRig(SimulatedRig):
    """The tendon rig; commands in rad, positions in m.

    Parameters to change are, for example, gain=1.2, load_offset=(0, 0, 1e-3), dead_channels=(5,).
    """

    Parameters = TendonParameters
    state = ("_substeps",)

    def describe(self) -> RobotDescription:
        """Two servos, the tip in space, eleven light guides."""
        p = self.parameters
        low, high = np.radians(p.command_min_deg), np.radians(p.command_max_deg)
        return super().describe().limited(low, high).calibrated(p.full_scale_counts)

    def _prepare(self) -> None:
        p = self.parameters
        # mm/deg and mm/deg² to m/rad and m/rad²
        per_rad = math.degrees(1.0)
        to_si = 1e-3 * p.gain * np.array([per_rad, per_rad, per_rad**2, per_rad**2, per_rad**2])
        self._map = np.array([p.x_mm_of_deg, p.y_mm_of_deg, p.z_mm_of_deg]) * to_si

    def _rest(self) -> None:
        self._tendons = [_Tendon(self.parameters, axis) for axis in range(2)]
        self._substeps = 0

    def _advance(self, end_s: float) -> None:
        # The rounding of a summed-up clock must not cost a whole substep: a billionth is forgiven.
        for _ in range(math.ceil(end_s / SUBSTEP_S - 1e-9) - self._substeps):
            self._substep()

    def _substep(self) -> None:
        """One substep: the servos, whose goal changes when a command arrives, then the block."""
        first, second = self._tendons
        now = self._substeps * SUBSTEP_S
        self._substeps += 1
        end = self._substeps * SUBSTEP_S
        p = self.parameters
        speed = p.supply if now >= p.supply_after_s else 1.0  # as a share of the servos' top one
        while self._line.next_s < end:
            arrival = self._line.next_s
            u0, u1 = self._line.take()
            first.turn(speed * (arrival - now))
            second.turn(speed * (arrival - now))
            first.command(u0)
            second.command(u1)
            now = arrival
        first.turn(speed * (end - now))
        second.turn(speed * (end - now))
        first.bend()
        second.bend()

    def bending(self) -> np.ndarray:
        """Bending (2,) that the two tendons cause now, rad about mid-range."""
        # The grid is up to one substep ahead of the clock: back along a straight line.
        ahead = self._substeps - self._time_s / SUBSTEP_S
        return np.array(
            [t.bending - ahead * (t.bending - t.previous_bending) for t in self._tendons]
        )

    def tip_at(self, bending: np.ndarray) -> np.ndarray:
        """Tip position (..., 3), m, at rest with `bending` (..., 2), rad about mid-range."""
        bending = np.asarray(bending, dtype=float)
        b0, b1 = bending[..., 0], bending[..., 1]
        terms = np.stack([b0, b1, b0 * b0, b0 * b1, b1 * b1], axis=-1)
        return terms @ self._map.T + self._load(self.parameters.lag_s)

    def outputs(self) -> np.ndarray:
        """True tip position (3,), m, in rig_base about the neutral point."""
        return self.tip_at(self.bending())

    def _counts(self, noise: np.ndarray) -> np.ndarray:
        p = self.parameters
        signals = np.zeros(CHANNELS, dtype=int)
        b0_deg, b1_deg = np.degrees(self.bending()).tolist()
        for channel, guide in p.lace.items():
            if channel not in p.dead_channels:
                counts = lace_counts(guide, b0_deg, b1_deg)
                signals[channel] = max(0, round(counts + p.lace_noise_counts * noise[channel]))
        return signals

    def save(self) -> dict[str, Any]:
        """Complete state: what every rig saves, and both tendons."""
        return super().save() | {"tendons": [tendon.save() for tendon in self._tendons]}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from `save()` of a rig with the same parameters: same commands, same bits."""
        super().restore(state)
        for tendon, saved in zip(self._tendons, state["tendons"], strict=True):
            tendon.restore(saved)


def lace_counts(guide: LaceChannel, b0_deg: float, b1_deg: float) -> float:
    """Noise-free reading of a channel at a bending in degrees about mid-range."""
    counts = guide.open_counts
    for contact in guide.contacts:
        direction = math.radians(contact.direction_deg)
        along_deg = math.cos(direction) * b0_deg + math.sin(direction) * b1_deg
        closing = (along_deg - contact.closing_deg) / contact.width_deg
        counts += 0.5 * contact.depth_counts * (1.0 + math.tanh(0.5 * closing))
    return counts
