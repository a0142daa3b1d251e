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

from soft_control.rigs import Sample
from soft_control.rigs.parameters import (
    Fraction,
    NotNegative,
    Positive,
    RigParameters,
    Strict,
    check_step,
)

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
    tracking_noise_mm: NotNegative
    """Standard deviation of the measured tip position, each axis."""
    lace: dict[Annotated[int, Field(ge=0, lt=CHANNELS)], LaceChannel]
    """Live channels by number."""
    lace_noise_counts: NotNegative
    """Standard deviation of a live channel before rounding."""
    dead_channels: tuple[int, ...] = ()
    """Mismatch: live channels that read 0 from now on."""

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
        """New goal: the servo knows whole counts only, and its stops."""
        goal = round((command - self._middle) / self._count) * self._count
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
        self.goal, self.servo, self._slack = state["goal"], state["servo"], state["slack"]
        self._lag.value = state["lag"]
        self._plays = list(state["plays"])
        self._strain = state["strain"]
        for branch, value in zip(self._creep, state["creep"], strict=True):
            branch.value = value
        self.previous_bending, self.bending = state["bending"]


def _play(held: float, pulled: float, half_width: float) -> float:
    """Backlash: what is held moves only when the gap on one side is used up."""
    return min(max(held, pulled - half_width), pulled + half_width)


class TendonRig:
    """The tendon rig after the protocol `soft_control.rigs.Rig`; commands in rad, positions in m.

    `changes` are parameters to change: gain=1.2, load_offset=(0, 0, 1e-3), dead_channels=(5,).
    """

    command_names = ("servo_0", "servo_1")
    signal_names = tuple(f"lace_{channel:02d}" for channel in range(CHANNELS))

    def __init__(
        self, parameters: TendonParameters | None = None, seed: int = 0, **changes: Any
    ) -> None:
        self.parameters = p = TendonParameters.chosen(parameters, **changes)
        self.command_min = np.radians(p.command_min_deg)
        self.command_max = np.radians(p.command_max_deg)
        # mm/deg and mm/deg² to m/rad and m/rad²
        per_rad = math.degrees(1.0)
        to_si = 1e-3 * p.gain * np.array([per_rad, per_rad, per_rad**2, per_rad**2, per_rad**2])
        self._map = np.array([p.x_mm_of_deg, p.y_mm_of_deg, p.z_mm_of_deg]) * to_si
        self._seed = seed
        self.reset()

    def reset(self, seed: int | None = None) -> None:
        """Rest at the neutral point, command at mid-range; `seed` None repeats the last seed."""
        self._seed = self._seed if seed is None else seed
        self._rng = np.random.default_rng(self._seed)
        self._tendons = [_Tendon(self.parameters, axis) for axis in range(2)]
        self._time_s = 0.0
        self._substeps = 0
        self._command: list[float] = []
        self._in_flight: list[tuple[float, float, float]] = []  # arrival time, two commands

    def step(self, command: np.ndarray, duration_s: float) -> None:
        """Hold `command` (2,), rad, for `duration_s`.

        Raises ValueError for a command that is not two finite angles or a negative duration.
        """
        u = check_step(command, 2, "angles in rad", duration_s)
        if u != self._command:
            self._command = u
            self._in_flight.append((self._time_s + self.parameters.delay_s, *u))
        self._time_s += duration_s
        # The rounding of a summed-up clock must not cost a whole substep: a billionth is forgiven.
        for _ in range(math.ceil(self._time_s / SUBSTEP_S - 1e-9) - self._substeps):
            self._advance()

    def _advance(self) -> None:
        """One substep: the servos, whose goal changes when a command arrives, then the block."""
        first, second = self._tendons
        now = self._substeps * SUBSTEP_S
        self._substeps += 1
        end = self._substeps * SUBSTEP_S
        while self._in_flight and self._in_flight[0][0] < end:
            arrival, u0, u1 = self._in_flight.pop(0)
            first.turn(arrival - now)
            second.turn(arrival - now)
            first.command(u0)
            second.command(u1)
            now = arrival
        first.turn(end - now)
        second.turn(end - now)
        first.bend()
        second.bend()

    def bending(self) -> np.ndarray:
        """Bending (2,) that the two tendons cause now, rad about mid-range."""
        ahead = self._substeps - self._time_s / SUBSTEP_S
        return np.array(
            [t.bending - ahead * (t.bending - t.previous_bending) for t in self._tendons]
        )

    def tip_at(self, bending: np.ndarray) -> np.ndarray:
        """Tip position (..., 3), m, at rest with `bending` (..., 2), rad about mid-range."""
        b0, b1 = np.moveaxis(np.asarray(bending, dtype=float), -1, 0)
        terms = np.stack([b0, b1, b0 * b0, b0 * b1, b1 * b1], axis=-1)
        return terms @ self._map.T + self._load()

    def _load(self) -> np.ndarray:
        """Displacement (3,) by the load, m, which sinks in with the block's own lag."""
        p = self.parameters
        if p.load_after_s == 0.0:
            return np.array(p.load_offset)
        since_s = max(self._time_s - p.load_after_s, 0.0)
        return -math.expm1(-since_s / p.lag_s) * np.array(p.load_offset)

    def tip_position(self) -> np.ndarray:
        """True tip position (3,), m, in rig_base about the neutral point."""
        return self.tip_at(self.bending())

    def measure(self) -> Sample:
        """Position with tracking noise and LightLace counts; each call draws new noise."""
        p = self.parameters
        noise = self._rng.standard_normal(3 + CHANNELS)
        position = self.tip_position() + 1e-3 * p.tracking_noise_mm * noise[:3]
        signals = np.zeros(CHANNELS, dtype=int)
        b0_deg, b1_deg = np.degrees(self.bending())
        for channel, guide in p.lace.items():
            if channel not in p.dead_channels:
                counts = lace_counts(guide, b0_deg, b1_deg)
                signals[channel] = max(0, round(counts + p.lace_noise_counts * noise[3 + channel]))
        return Sample(position, signals)

    def save(self) -> dict[str, Any]:
        """Complete state: clock, commands in flight, both tendons, noise generator."""
        return {
            "seed": self._seed,
            "time_s": self._time_s,
            "substeps": self._substeps,
            "command": list(self._command),
            "in_flight": [list(entry) for entry in self._in_flight],
            "tendons": [tendon.save() for tendon in self._tendons],
            "rng": self._rng.bit_generator.state,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from `save()` of a rig with the same parameters: same commands, same bits."""
        self.reset(state["seed"])
        self._time_s, self._substeps = state["time_s"], state["substeps"]
        self._command = list(state["command"])
        self._in_flight = [tuple(entry) for entry in state["in_flight"]]
        for tendon, saved in zip(self._tendons, state["tendons"], strict=True):
            tendon.restore(saved)
        self._rng.bit_generator.state = state["rng"]


def lace_counts(guide: LaceChannel, b0_deg: float, b1_deg: float) -> float:
    """Noise-free reading of a channel at a bending in degrees about mid-range."""
    counts = guide.open_counts
    for contact in guide.contacts:
        direction = math.radians(contact.direction_deg)
        along_deg = math.cos(direction) * b0_deg + math.sin(direction) * b1_deg
        closing = (along_deg - contact.closing_deg) / contact.width_deg
        counts += 0.5 * contact.depth_counts * (1.0 + math.tanh(0.5 * closing))
    return counts
