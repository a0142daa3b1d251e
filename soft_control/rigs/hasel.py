"""Simulated HASEL rig: two layers of three electrohydraulic actuators lift and tilt a mast.

One command goes through the rig in this order:

    transport delay -> PWM steps -> duty to height, at rest -> second-order lag -> three branches
    that rise faster than they fall, and retained charge -> heights -> two tilted plates -> tip;
    plates -> field of two magnets at six sensors -> counts

Each layer is three actuators at 120 degrees between two plates, the upper layer turned by 60
degrees. Under each lifted plate sits a magnet, and three magnetometers below look up at it. The
stages advance on a fixed grid of `SUBSTEP_S`; a command acts from the substep on that begins after
its delay.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field, model_validator

from soft_control.rigs.magnet import cuboid_field
from soft_control.rigs.parameters import Fraction, NotNegative, Positive, RigParameters, Share
from soft_control.rigs.simulated import SimulatedRig
from soft_control.robots.description import RobotDescription

SUBSTEP_S = 1.0 / 960.0
"""Eight a sample at 120 Hz."""
ACTUATORS = 6
SENSORS = 6
LSB_PER_GAUSS = 1711.0
"""LIS3MDL at its range of 16 gauss, data sheet."""
SENSOR_RANGE_GAUSS = 16.0
ANGLES = np.radians([0.0, 120.0, 240.0])
UPPER_TURN = math.radians(60.0)

Branches = tuple[Positive, Positive, Positive]


class HaselParameters(RigParameters):
    """config/hasel.yaml has the values and where they come from."""

    rig_name: ClassVar[str] = "hasel"

    delay_s: NotNegative
    """Transport delay from command to voltage."""
    pwm_steps: Annotated[int, Field(gt=1)]
    """Of the duty from 0 to 1."""
    height_min_mm: Positive
    """Of an actuator without voltage."""
    stroke_mm: Positive
    """From duty 0 to duty 1, at rest."""
    bow: Fraction
    """Height at half duty above the straight line, as a quarter of the stroke."""
    natural_rad_per_s: Positive
    """Of the second-order lag of the actuator."""
    damping_ratio: Annotated[float, Field(gt=0.0, lt=1.0)]
    """Of the same lag; 1 would not overshoot."""
    branch_weight: tuple[Fraction, Fraction, Fraction]
    """Share of a step that goes through each branch; they add up to 1."""
    rise_s: Branches
    """Time constant of each branch on the way up."""
    fall_s: Branches
    """And on the way down."""
    retention: Fraction
    """Share of the stroke that charge left in the dielectric adds in the long run."""
    retention_s: Positive
    """Time in which that charge builds up and leaks away."""
    actuator_radius_mm: Positive
    """From the axis to each actuator."""
    plate_mm: Positive
    """Thickness of the lower layer's plate."""
    mast_mm: Positive
    """From the upper plate to the tip."""
    magnet_mm: tuple[Positive, Positive, Positive]
    """Edges of each magnet."""
    magnet_gauss: Positive
    """Its polarisation, along the mast."""
    sensor_radius_mm: Positive
    """From the axis to each magnetometer."""
    earth_gauss: tuple[float, float, float]
    """Field of the surroundings, in rig_base."""
    sensor_noise_gauss: NotNegative
    """Standard deviation, each axis."""
    magnet_strength: Positive = 1.0
    """Mismatch: factor on the polarisation of both magnets."""
    interference_gauss: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Mismatch: a field that somebody brings near, in rig_base, the same at all magnetometers."""
    interference_after_s: NotNegative = 0.0
    """When it is brought."""
    supply: Share = 1.0
    """Mismatch: supply voltage, as a share of what it should be, to which the height above that
    of no voltage is proportional."""
    supply_after_s: NotNegative = 0.0
    """When it sags."""

    @model_validator(mode="after")
    def _consistent(self) -> HaselParameters:
        if not math.isclose(sum(self.branch_weight), 1.0, abs_tol=1e-9):
            raise ValueError("branch_weight must add up to 1")
        if any(up > down for up, down in zip(self.rise_s, self.fall_s, strict=True)):
            raise ValueError("rise_s must not be above fall_s")
        return self


class HaselRig(SimulatedRig):
    """The HASEL rig; commands are duties about one half, -0.5 to 0.5, positions in m.

    Parameters to change are, for example, gain=1.2, magnet_strength=0.99.
    """

    Parameters = HaselParameters
    state = ("_substeps", "_goal", "_motion", "_branches", "_charge")

    def describe(self) -> RobotDescription:
        """Six actuators, the tip in space, six magnetometers of three channels."""
        return super().describe().calibrated(self.parameters.full_scale_counts)

    def _prepare(self) -> None:
        p = self.parameters
        # The lag on its substep grid, exact for a duty that holds: x' = A x + (0, w²) u.
        w, zeta = p.natural_rad_per_s, p.damping_ratio
        self._lag = _second_order(w, zeta, SUBSTEP_S)
        self._weights = np.array(p.branch_weight)[:, None]
        self._rise = -np.expm1(-SUBSTEP_S / np.array(p.rise_s))[:, None]
        self._fall = -np.expm1(-SUBSTEP_S / np.array(p.fall_s))[:, None]
        self._leak = -math.expm1(-SUBSTEP_S / p.retention_s)
        angles = np.stack([ANGLES, ANGLES + UPPER_TURN])
        self._tilt = 2.0 / (3.0 * p.actuator_radius_mm) * np.stack([np.cos(angles), np.sin(angles)])
        sensors = p.sensor_radius_mm * np.stack([np.cos(angles), np.sin(angles), 0 * angles], -1)
        self._sensors = sensors  # (layer, sensor, axis), in the frame of the plate below
        self._neutral_mm = self._tip_mm(self._heights_mm(np.full(ACTUATORS, self._at_rest(0.5))))

    def _rest(self) -> None:
        self._substeps = 0
        rest = self._at_rest(0.5)
        self._goal = np.full(ACTUATORS, rest)
        self._motion = np.zeros((2, ACTUATORS))  # lagged goal and its speed
        self._motion[0] = rest
        self._branches = np.full((3, ACTUATORS), rest)
        self._charge = np.full(ACTUATORS, rest)

    def _at_rest(self, duty: Any) -> Any:
        """Share of the stroke at rest for a duty of 0 to 1."""
        return duty + self.parameters.bow * duty * (1.0 - duty)

    def _advance(self, end_s: float) -> None:
        # The rounding of a summed-up clock must not cost a whole substep: a millionth is forgiven.
        for _ in range(math.floor(end_s / SUBSTEP_S + 1e-6) - self._substeps):
            self._substep()

    def _substep(self) -> None:
        now = (self._substeps + 1e-6) * SUBSTEP_S
        self._substeps += 1
        while self._line.next_s <= now:
            steps = self.parameters.pwm_steps
            duty = np.rint((np.array(self._line.take()) + 0.5) * steps) / steps
            self._goal = self._at_rest(np.clip(duty, 0.0, 1.0))
        keep, push = self._lag
        p = self.parameters
        goal = p.supply * self._goal if now >= p.supply_after_s else self._goal
        self._motion = keep @ self._motion + push * goal
        way = self._motion[0] - self._branches
        self._branches += np.where(way > 0.0, self._rise, self._fall) * way
        self._charge += self._leak * (self._motion[0] - self._charge)

    def heights_mm(self) -> np.ndarray:
        """Height (2, 3) of the actuators of both layers."""
        p = self.parameters
        share = (self._weights * self._branches).sum(axis=0) + p.retention * (
            self._charge - self._at_rest(0.5)
        )
        return self._heights_mm(share)

    def _heights_mm(self, share: np.ndarray) -> np.ndarray:
        p = self.parameters
        middle = self._at_rest(0.5)
        share = middle + p.gain * (share - middle)
        return (p.height_min_mm + p.stroke_mm * share).reshape(2, 3)

    def _plates(self, heights_mm: np.ndarray) -> tuple[np.ndarray, ...]:
        """Position (3,), mm, and orientation (3, 3) of the lower and of the upper plate."""
        slopes = np.einsum("alk,lk->la", self._tilt, heights_mm)
        lift = heights_mm.mean(axis=1)
        first = _tilted(slopes[0])
        lower = np.array([0.0, 0.0, lift[0]])
        upper = lower + first[:, 2] * (self.parameters.plate_mm + lift[1])
        return lower, first, upper, first @ _tilted(slopes[1])

    def _tip_mm(self, heights_mm: np.ndarray) -> np.ndarray:
        _, _, upper, turn = self._plates(heights_mm)
        return upper + self.parameters.mast_mm * turn[:, 2]

    def outputs(self) -> np.ndarray:
        """True tip position (3,), m, in rig_base about the neutral point."""
        position = 1e-3 * (self._tip_mm(self.heights_mm()) - self._neutral_mm)
        return position + self._load(self.parameters.fall_s[0])

    def field_gauss(self) -> np.ndarray:
        """Field (6, 3) at the magnetometers, each in the frame of the plate that it sits on."""
        p = self.parameters
        lower, first, upper, second = self._plates(self.heights_mm())
        base, plate = self._sensors
        on_plate = lower + p.plate_mm * first[:, 2] + plate @ first.T
        points = np.vstack([base, on_plate])
        size = np.array(p.magnet_mm)
        strength = p.magnet_gauss * p.magnet_strength
        field = np.tile(p.earth_gauss, (SENSORS, 1))
        if self._time_s >= p.interference_after_s:
            field += p.interference_gauss
        for at, turn in ((lower, first), (upper, second)):
            centre = at + 0.5 * size[2] * turn[:, 2]
            field += cuboid_field((points - centre) @ turn, size, strength) @ turn.T
        field[3:] = field[3:] @ first
        return field

    def _counts(self, noise: np.ndarray) -> np.ndarray:
        gauss = self.field_gauss().ravel() + self.parameters.sensor_noise_gauss * noise
        gauss = np.clip(gauss, -SENSOR_RANGE_GAUSS, SENSOR_RANGE_GAUSS)
        return np.rint(LSB_PER_GAUSS * gauss).astype(int)


def _second_order(w: float, zeta: float, h: float) -> tuple[np.ndarray, np.ndarray]:
    """x' = [0 1; -w² -2 zeta w] x + [0; w²] u over `h` with u held: x -> keep @ x + push * u."""
    decay, wd = zeta * w, w * math.sqrt(1.0 - zeta * zeta)
    e, c, s = math.exp(-decay * h), math.cos(wd * h), math.sin(wd * h)
    keep = e * np.array([[c + decay / wd * s, s / wd], [-w * w / wd * s, c - decay / wd * s]])
    return keep, np.array([[1.0 - keep[0, 0]], [-keep[1, 0]]])


def _tilted(slopes: np.ndarray) -> np.ndarray:
    """Rotation (3, 3) without twist that gives a level plate the slopes dz/dx and dz/dy."""
    a, b = slopes
    cosine = 1.0 / math.sqrt(1.0 + a * a + b * b)
    x, y = -a * cosine, -b * cosine  # of the plate's normal
    k = 1.0 / (1.0 + cosine)
    return np.array(
        [[1.0 - k * x * x, -k * x * y, x], [-k * x * y, 1.0 - k * y * y, y], [-x, -y, cosine]]
    )
