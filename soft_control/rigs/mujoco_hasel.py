"""The HASEL rig in MuJoCo: two plates on springs and dampers, lifted by electrostatic forces.

One command goes through the rig in this order:

    transport delay -> PWM steps -> charge of each actuator (soon up, later down, some of it stays)
    -> force of its pouches -> two plates that lift, tilt, shear and turn -> tip;
    plates -> field of two magnets at six sensors -> counts

A pouch that is stretched from its flat height by s pushes with

    F (1 - s/S) v² - k s - c s'

where v is the share of the full voltage, F the force that blocks it there, S the stroke at which
its electrodes have closed, and k and c are those of film and liquid: the linear form of the
quasi-static models of Kellaris et al., "An analytical model for the design of Peano-HASEL
actuators", 2019. Each layer is three stacks of pouches at 120 degrees, the upper layer turned by 60
degrees and standing on the plate of the lower one. A stack gives way to the side, too.
"""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field, model_validator

from soft_control.rigs.magnet import cuboid_field
from soft_control.rigs.mujoco_rig import GRAVITY, SUBSTEP_S, Damped, MujocoRig
from soft_control.rigs.parameters import Fraction, NotNegative, Positive, RigParameters
from soft_control.robots.description import RobotDescription

ACTUATORS = 6
LSB_PER_GAUSS = 1711.0
"""LIS3MDL at its range of 16 gauss, data sheet."""
SENSOR_RANGE_GAUSS = 16.0
ANGLES = np.radians([0.0, 120.0, 240.0, 60.0, 180.0, 300.0])
PLATES = ("lower", "upper")


class MujocoHaselParameters(RigParameters):
    """config/mujoco_hasel.yaml has the values and where they come from."""

    rig_name: ClassVar[str] = "mujoco_hasel"

    delay_s: NotNegative
    """Transport delay from command to amplifier."""
    pwm_steps: Annotated[int, Field(gt=1)]
    """Of the duty from 0 to 1."""
    charge_s: Positive
    """Time constant with which the voltage of an actuator rises."""
    discharge_s: Positive
    """And falls, through a resistor."""
    absorbed_share: tuple[Fraction, ...]
    """Share of the voltage that builds up late in the dielectric and leaves it late, by branch."""
    absorbed_s: tuple[Positive, ...]
    """Time constant of each branch."""
    flat_mm: Positive
    """Height of a stack of pouches without voltage and load."""
    closed_mm: Positive
    """Stroke at which the electrodes have closed and the voltage pushes no more."""
    blocked_n: Positive
    """Force of a stack under full voltage that must not move."""
    film_n_per_m: Positive
    """Stiffness of a stack without voltage."""
    liquid_n_s_per_m: Positive
    """Damping of a stack by the liquid that is pressed through it."""
    shear_n_per_m: Positive
    """Stiffness of a stack against a push to the side."""
    shear_damping_s: Damped
    """The damping of that over its stiffness."""
    actuator_radius_mm: Positive
    """From the axis to each stack."""
    plate_mm: Positive
    """Thickness of each plate."""
    plate_radius_mm: Positive
    """Of each plate."""
    plate_g: Positive
    """Mass of each plate."""
    magnet_g: Positive
    """Mass of each magnet."""
    mast_mm: Positive
    """From the upper plate to the tip."""
    mast_g: Positive
    """Mass of the mast."""
    payload_g: NotNegative = 0.0
    """Mismatch: a mass at the tip; where it takes the tip at rest, there is the neutral point."""
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

    @model_validator(mode="after")
    def _consistent(self) -> MujocoHaselParameters:
        if len(self.absorbed_share) != len(self.absorbed_s):
            raise ValueError("absorbed_share and absorbed_s differ in length")
        if sum(self.absorbed_share) >= 1.0:
            raise ValueError("absorbed_share must add up to less than 1")
        return self


class MujocoHaselRig(MujocoRig):
    """The HASEL rig in MuJoCo; commands are duties about one half, -0.5 to 0.5, positions in m.

    Parameters to change are, for example, gain=1.2, payload_g=20, magnet_strength=0.99.
    """

    Parameters = MujocoHaselParameters
    state = ("_substeps", "_duty", "_voltage", "_absorbed", "_mechanics")

    def describe(self) -> RobotDescription:
        """Six actuators, the tip in space, six magnetometers of three channels."""
        return super().describe().calibrated(self.parameters.full_scale_counts)

    def _prepare(self) -> None:
        p = self.parameters
        self._rise = -math.expm1(-SUBSTEP_S / p.charge_s)
        self._fall = -math.expm1(-SUBSTEP_S / p.discharge_s)
        self._share = np.array(p.absorbed_share)[:, None]
        self._towards = -np.expm1(-SUBSTEP_S / np.array(p.absorbed_s))[:, None]
        self._at_once = 1.0 - sum(p.absorbed_share)
        turned = np.stack([np.cos(ANGLES), np.sin(ANGLES), np.zeros(ACTUATORS)], axis=-1)
        self._sensors = (1e-3 * p.sensor_radius_mm * turned).reshape(2, 3, 3)
        super()._prepare()

    # ------------------------------------------------------------------------------- the model

    def mjcf(self) -> str:
        """Two plates, each free in six directions on the one below, with three actuators each."""
        p = self.parameters
        upper = (
            f"{self._plate('upper')}"
            f'<geom type="capsule" fromto="0 0 0 0 0 {1e-3 * p.mast_mm}" size="0.004" '
            f'mass="{1e-3 * p.mast_g}"/>{self._payload()}'
            f'<site name="tip" pos="0 0 {1e-3 * p.mast_mm}"/></body>'
        )
        lower = f"{self._plate('lower')}{self._stands(1, 1e-3 * p.plate_mm)}{upper}</body>"
        stacks = "".join(
            f'<spatial name="stack_{i}" stiffness="{p.film_n_per_m}" '
            f'damping="{p.liquid_n_s_per_m}" springlength="{1e-3 * p.flat_mm}">'
            f'<site site="foot_{i}"/><site site="head_{i}"/></spatial>'
            for i in range(ACTUATORS)
        )
        # MuJoCo's affine gain: force = control (a + b · length). Here that is v² F (1 - s/S).
        slope = -p.blocked_n / (1e-3 * p.closed_mm)
        push = p.blocked_n - slope * 1e-3 * p.flat_mm
        forces = "".join(
            f'<general name="stack_{i}" tendon="stack_{i}" gaintype="affine" '
            f'gainprm="{push} {slope} 0" forcelimited="true" forcerange="0 1000"/>'
            for i in range(ACTUATORS)
        )
        return (
            f'<mujoco model="{p.rig_name}"><compiler angle="radian"/>'
            f'<option integrator="implicitfast" gravity="0 0 {-GRAVITY}">'
            '<flag contact="disable"/></option>'
            f"<worldbody>{self._stands(0, 0.0)}{lower}</worldbody>"
            f"<tendon>{stacks}</tendon><actuator>{forces}</actuator></mujoco>"
        )

    def _plate(self, name: str) -> str:
        """A plate's body, unclosed: its origin is the middle of its lower face, where its magnet is
        under the plate below it or the base."""
        p = self.parameters
        under = 1e-3 * (p.flat_mm + (p.plate_mm if name == "upper" else 0.0))
        side = 3.0 * p.shear_n_per_m
        twist = side * (1e-3 * p.actuator_radius_mm) ** 2
        loss = p.shear_damping_s
        joints = "".join(
            f'<joint type="slide" axis="{axis}" stiffness="{side}" damping="{side * loss}"/>'
            for axis in ("1 0 0", "0 1 0")
        )
        joints += (
            '<joint type="slide" axis="0 0 1"/><joint axis="1 0 0"/><joint axis="0 1 0"/>'
            f'<joint axis="0 0 1" stiffness="{twist}" damping="{twist * loss}"/>'
        )
        half = 5e-4 * p.plate_mm
        size = " ".join(str(5e-4 * edge) for edge in p.magnet_mm)
        first = 3 * PLATES.index(name)
        return (
            f'<body name="{name}" pos="0 0 {under}">{joints}'
            f'<geom type="cylinder" pos="0 0 {half}" size="{1e-3 * p.plate_radius_mm} {half}" '
            f'mass="{1e-3 * p.plate_g}"/>'
            f'<geom type="box" pos="0 0 {5e-4 * p.magnet_mm[2]}" size="{size}" '
            f'mass="{1e-3 * p.magnet_g}"/>' + self._sites("head", first, 0.0)
        )

    def _stands(self, layer: int, height: float) -> str:
        return self._sites("foot", 3 * layer, height)

    def _sites(self, kind: str, first: int, height: float) -> str:
        radius = 1e-3 * self.parameters.actuator_radius_mm
        return "".join(
            f'<site name="{kind}_{i}" '
            f'pos="{radius * math.cos(ANGLES[i])} {radius * math.sin(ANGLES[i])} {height}"/>'
            for i in range(first, first + 3)
        )

    def _payload(self) -> str:
        p = self.parameters
        if not p.payload_g:
            return ""
        return (
            f'<geom type="sphere" pos="0 0 {1e-3 * p.mast_mm}" size="0.005" '
            f'mass="{1e-3 * p.payload_g}"/>'
        )

    # ------------------------------------------------------------------------------- its drives

    def _rest_of_drives(self) -> None:
        self._duty = np.full(ACTUATORS, 0.5)
        self._voltage = np.full(ACTUATORS, 0.5)
        self._absorbed = np.full((len(self.parameters.absorbed_s), ACTUATORS), 0.5)

    def _drive(self, command: list[float]) -> None:
        steps = self.parameters.pwm_steps
        duty = np.clip(np.rint((np.array(command) + 0.5) * steps) / steps, 0.0, 1.0)
        self._duty = np.maximum(0.5 + self.parameters.gain * (duty - 0.5), 0.0)

    def _before_step(self) -> None:
        way = self._duty - self._voltage
        self._voltage = self._voltage + np.where(way > 0.0, self._rise, self._fall) * way
        self._absorbed += self._towards * (self._voltage - self._absorbed)
        share = self._at_once * self._voltage + (self._share * self._absorbed).sum(axis=0)
        self._data.ctrl[:] = share * share

    def heights_mm(self) -> np.ndarray:
        """Height (6,) of the stacks now."""
        feet, heads = (
            np.array([self._data.site(f"{kind}_{i}").xpos for i in range(ACTUATORS)])
            for kind in ("foot", "head")
        )
        return 1e3 * np.linalg.norm(heads - feet, axis=1)

    def outputs(self) -> np.ndarray:
        """True tip position (3,), m, in rig_base about the neutral point."""
        return self._moved() + self._load(self.parameters.discharge_s)

    def field_gauss(self) -> np.ndarray:
        """Field (6, 3) at the magnetometers, each in the frame of the plate that it sits on."""
        p = self.parameters
        size = 1e-3 * np.array(p.magnet_mm)
        strength = p.magnet_gauss * p.magnet_strength
        at = [self._data.body(name).xpos for name in PLATES]
        turn = [self._data.body(name).xmat.reshape(3, 3) for name in PLATES]
        on_plate = at[0] + 1e-3 * p.plate_mm * turn[0][:, 2] + self._sensors[1] @ turn[0].T
        points = np.vstack([self._sensors[0], on_plate])
        field = np.tile(p.earth_gauss, (len(points), 1))
        for place, turned in zip(at, turn, strict=True):
            centre = place + 0.5 * size[2] * turned[:, 2]
            field += cuboid_field((points - centre) @ turned, size, strength) @ turned.T
        field[3:] = field[3:] @ turn[0]
        return field

    def _counts(self, noise: np.ndarray) -> np.ndarray:
        gauss = self.field_gauss().ravel() + self.parameters.sensor_noise_gauss * noise
        gauss = np.clip(gauss, -SENSOR_RANGE_GAUSS, SENSOR_RANGE_GAUSS)
        return np.rint(LSB_PER_GAUSS * gauss).astype(int)
