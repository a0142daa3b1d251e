"""The tendon rig in MuJoCo: a silicone block as a chain of segments, two servos with four lines.

One command goes through the rig in this order:

    transport delay -> servo (counts, stops, a motor whose speed falls with its load) -> backlash
    -> drum -> line (elastic, rubs, pulls only) -> block (bends, sags, creeps, swings)
    -> tip position;   strain along each light guide -> light lost -> counts

The block runs along x from a clamp to the tip, with a rod in its axis that keeps its length. It is
cut into pieces of equal length h; in the middle of each are two hinges as stiff as the beam of one
piece, EI/h. Servo 0 turns a drum with the lines above and below the axis, servo 1 one with those in
front and behind: where one line is wound up, the other is let out. A positive angle of servo 0
pulls the lower line, one of servo 1 the one in front.
"""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field, model_validator

from soft_control.rigs.mujoco_rig import GRAVITY, SUBSTEP_S, Damped, MujocoRig
from soft_control.rigs.parameters import Fraction, NotNegative, Positive, RigParameters, Strict
from soft_control.robots.description import RobotDescription

COUNTS_MAX = 4095
"""Of the converter behind a light guide: 12 bits."""
LINES = ("below", "above", "front", "behind")
"""A servo's two lines are neighbours; the first is the one that a positive angle pulls."""


class LightGuide(Strict):
    """One light guide: it runs straight along the block, from one end to the other or in part."""

    y_mm: float
    """Where it runs, forward of the block's axis."""
    z_mm: float
    """And above it."""
    start: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Share of the block's length at which it begins."""
    end: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """And ends."""

    @model_validator(mode="after")
    def _ends_later(self) -> LightGuide:
        if self.start >= self.end:
            raise ValueError("start must be below end")
        return self


class MujocoTendonParameters(RigParameters):
    """config/mujoco_tendon.yaml has the values and where they come from."""

    rig_name: ClassVar[str] = "mujoco_tendon"

    command_min_deg: tuple[float, float]
    """Lower stop of each servo."""
    command_max_deg: tuple[float, float]
    """Upper stop of each servo."""
    delay_s: NotNegative
    """Transport delay from command to servo."""
    servo_rate_deg_per_s: Positive
    """Speed of the servo without a load."""
    servo_stall_nm: Positive
    """Torque at which it stands still."""
    servo_resolution_deg: Positive
    """One count of the servo's goal position."""
    servo_slope_deg: Positive
    """Distance from the goal from which on the servo slows down."""
    backlash_deg: NotNegative
    """Of the servo's gears, full width."""
    drum_mm: Positive
    """Radius on which a line is wound."""
    line_n_per_m: Positive
    """Stiffness of a line with its knots."""
    line_damping_s: Damped
    """Its damping over its stiffness."""
    line_friction: Fraction
    """Share of its pull that a line loses in the block on the way in, and keeps on the way out."""
    friction_way_mm: Positive
    """Way of a line on which its friction grows from none to all."""
    line_offset_mm: Positive
    """From the block's axis to each line."""
    pretension_n: NotNegative
    """Of each line at mid-range."""
    length_mm: Positive
    """Of the block, from the clamp to the tip."""
    width_mm: Positive
    """And height."""
    rod_mm: NotNegative
    """Diameter of the rod in its axis."""
    rod_modulus_mpa: Positive
    """Young's modulus of the rod."""
    pieces: Annotated[int, Field(ge=3, le=40)]
    """Number of hinges along the block."""
    density_kg_m3: Positive
    """Of the silicone."""
    modulus_mpa: Positive
    """Young's modulus of the silicone after long."""
    damping_s: Damped
    """Viscosity of the silicone over its modulus."""
    creep_share: tuple[Fraction, ...]
    """By how much of its modulus the silicone is stiffer at once than after long, by branch."""
    creep_s: tuple[Positive, ...]
    """Time constant of each branch."""
    payload_g: NotNegative = 0.0
    """Mismatch: a mass at the tip; where it takes the tip at rest, there is the neutral point."""
    guides: tuple[LightGuide, ...]
    """One for each signal."""
    guide_open_counts: Positive
    """Reading of a guide that is not strained."""
    guide_db_per_strain: Positive
    """Light that a guide loses where it is stretched to twice its length, dB."""
    guide_noise_counts: NotNegative
    """Standard deviation before rounding."""
    dead_channels: tuple[int, ...] = ()
    """Mismatch: channels that read 0 from now on."""

    @model_validator(mode="after")
    def _consistent(self) -> MujocoTendonParameters:
        if any(a >= b for a, b in zip(self.command_min_deg, self.command_max_deg, strict=True)):
            raise ValueError("command_min_deg must be below command_max_deg")
        if len(self.creep_share) != len(self.creep_s):
            raise ValueError("creep_share and creep_s differ in length")
        if any(not 0 <= channel < len(self.guides) for channel in self.dead_channels):
            raise ValueError(
                f"dead_channels must be numbers of guides, 0 to {len(self.guides) - 1}"
            )
        if 2.0 * self.line_offset_mm > self.width_mm:
            raise ValueError("line_offset_mm must be within the block, half of width_mm")
        return self


class MujocoTendonRig(MujocoRig):
    """The tendon rig in MuJoCo; commands in rad, positions in m.

    Parameters to change are, for example, gain=1.2, payload_g=20, dead_channels=(5,).
    """

    Parameters = MujocoTendonParameters
    # What the lines pulled with in the last substep comes after the mechanics, which find it anew.
    state = ("_substeps", "_goal", "_servo", "_drum", "_rubbed", "_crept", "_mechanics", "_forces")

    def describe(self) -> RobotDescription:
        """Two servos, the tip in space, eleven light guides."""
        p = self.parameters
        low, high = np.radians(p.command_min_deg), np.radians(p.command_max_deg)
        robot = super().describe().limited(low, high).calibrated(p.full_scale_counts)
        if len(p.guides) != len(robot.signals):
            raise ValueError(
                f"guides of the rig {robot.name} are {len(p.guides)}, but its description has "
                f"{len(robot.signals)} signals"
            )
        return robot

    def _prepare(self) -> None:
        p = self.parameters
        low, high = np.radians(p.command_min_deg), np.radians(p.command_max_deg)
        self._middle, self._reach = 0.5 * (low + high), 0.5 * (high - low)
        self._count = math.radians(p.servo_resolution_deg)
        self._rate = math.radians(p.servo_rate_deg_per_s)
        self._slope = math.radians(p.servo_slope_deg)
        self._half_backlash = 0.5 * math.radians(p.backlash_deg)
        self._radius = 1e-3 * p.drum_mm
        self._share = np.array(p.creep_share)[:, None]
        self._towards = -np.expm1(-SUBSTEP_S / np.array(p.creep_s))[:, None]
        # The rod does not creep: what its stiffness is of the piece's does not either.
        self._creeping = self._of_silicone()
        self._strain_of = self._strains()
        super()._prepare()

    def _settle(self) -> None:
        self._mujoco.mj_forward(self._model, self._data)
        self._relaxed()
        super()._settle()

    def _of_silicone(self) -> float:
        """Stiffness of one piece's silicone against bending, N m/rad: E w⁴/12 over its length."""
        p = self.parameters
        return 1e6 * p.modulus_mpa * (1e-3 * p.width_mm) ** 4 / 12.0 / self._piece_m()

    def _of_rod(self) -> float:
        """Stiffness of one piece of the rod, N m/rad: E pi d⁴/64 over its length."""
        p = self.parameters
        return 1e6 * p.rod_modulus_mpa * math.pi * (1e-3 * p.rod_mm) ** 4 / 64.0 / self._piece_m()

    def _piece_m(self) -> float:
        return 1e-3 * self.parameters.length_mm / self.parameters.pieces

    def _strains(self) -> np.ndarray:
        """(guides, joints): mean strain of each light guide by the hinges of the block.

        A piece that turns by a about y and b about z strains what runs at (y, z) by (a z - b y)/h.
        """
        p = self.parameters
        edges = np.linspace(0.0, 1.0, p.pieces + 1)
        rows = []
        for guide in p.guides:
            inside = np.minimum(edges[1:], guide.end) - np.maximum(edges[:-1], guide.start)
            share = np.maximum(inside, 0.0) / (guide.end - guide.start)
            rows.append(np.outer(share, [1e-3 * guide.z_mm, -1e-3 * guide.y_mm]).ravel())
        return np.array(rows) * p.pieces / (1e-3 * p.length_mm)

    # ------------------------------------------------------------------------------- the model

    def mjcf(self) -> str:
        """The block as a chain, its lines as spatial tendons with an actuator each."""
        p = self.parameters
        width, piece = 1e-3 * p.width_mm, self._piece_m()
        stiffness = self._of_silicone() + self._of_rod()
        joints = "".join(
            f'<joint axis="{axis}" stiffness="{stiffness}" damping="{stiffness * p.damping_s}"/>'
            for axis in ("0 1 0", "0 0 1")
        )
        chain = ""
        for i in reversed(range(p.pieces)):
            # Between this hinge and the next; the last one ends at the tip, half a piece on.
            last = i == p.pieces - 1
            long = piece / 2 if last else piece
            end = f'<site name="tip" pos="{long} 0 0"/>{self._payload(long)}' if last else ""
            chain = (
                f'<body pos="{piece if i else piece / 2} 0 0">{joints}'
                f'<geom type="box" pos="{long / 2} 0 0" '
                f'size="{long / 2} {width / 2} {width / 2}" density="{p.density_kg_m3}"/>'
                f"{end}{self._holes(i + 1, long if last else long / 2)}{chain}</body>"
            )
        lines = "".join(
            f'<spatial name="{name}">'
            + "".join(f'<site site="{name}_{i}"/>' for i in range(p.pieces + 1))
            + "</spatial>"
            for name in LINES
        )
        k, c = p.line_n_per_m, p.line_n_per_m * p.line_damping_s
        pulls = "".join(
            f'<general name="{name}" tendon="{name}" gainprm="{k}" biastype="affine" '
            f'biasprm="0 {-k} {-c}" forcelimited="true" forcerange="-1000 0"/>'
            for name in LINES
        )
        return (
            f'<mujoco model="{p.rig_name}"><compiler angle="radian"/>'
            f'<option integrator="implicitfast" gravity="0 0 {-GRAVITY}">'
            '<flag contact="disable"/></option>'
            f"<worldbody>{self._holes(0, 0.0)}{chain}</worldbody>"
            f"<tendon>{lines}</tendon><actuator>{pulls}</actuator></mujoco>"
        )

    def _holes(self, number: int, along: float) -> str:
        """Where the four lines pass a piece of the block, `along` m from its hinge."""
        aside = 1e-3 * self.parameters.line_offset_mm
        places = ((0.0, -aside), (0.0, aside), (aside, 0.0), (-aside, 0.0))
        return "".join(
            f'<site name="{name}_{number}" pos="{along} {y} {z}"/>'
            for name, (y, z) in zip(LINES, places, strict=True)
        )

    def _payload(self, along: float) -> str:
        mass = 1e-3 * self.parameters.payload_g
        if not mass:
            return ""
        return f'<geom type="sphere" pos="{along} 0 0" size="0.005" mass="{mass}"/>'

    # ------------------------------------------------------------------------------- its drives

    def _rest_of_drives(self) -> None:
        self._goal, self._servo, self._drum = np.zeros(2), np.zeros(2), np.zeros(2)
        self._rubbed = np.zeros(2)
        self._crept = np.zeros((len(self.parameters.creep_s), 2 * self.parameters.pieces))
        self._crept[:] = self._joints_at_rest

    def _drive(self, command: list[float]) -> None:
        counts = np.rint(np.array(command) / self._count) * self._count
        self._goal = np.clip(counts - self._middle, -self._reach, self._reach)

    def _before_step(self) -> None:
        p, data = self.parameters, self._data
        pull = -data.actuator_force
        load = self._radius * (pull[::2] - pull[1::2])
        # A motor's speed falls from its largest without load to none at its stall torque.
        drive = np.clip((self._goal - self._servo) / self._slope, -1.0, 1.0)
        self._servo = self._servo + SUBSTEP_S * self._rate * (drive - load / p.servo_stall_nm)
        low, high = self._servo - self._half_backlash, self._servo + self._half_backlash
        before, self._drum = self._drum, np.minimum(np.maximum(self._drum, low), high)
        # Dry friction of a line in its guide: -1 to 1, all of it after a short way to one side.
        # MuJoCo's frictionloss, a soft constraint, yields to springs with as much damping.
        way = p.gain * self._radius * (self._drum - before) / (1e-3 * p.friction_way_mm)
        self._rubbed = np.clip(self._rubbed + way, -1.0, 1.0)
        wound = p.gain * self._radius * self._drum
        lost = p.line_friction * self._rubbed / p.line_n_per_m
        data.ctrl[::2] = self._slack[::2] - wound + lost * pull[::2]
        data.ctrl[1::2] = self._slack[1::2] + wound - lost * pull[1::2]
        joints = data.qpos
        self._crept += self._towards * (joints - self._crept)
        data.qfrc_applied[:] = self._creeping * (self._share * (self._crept - joints)).sum(axis=0)

    def _relaxed(self) -> None:
        """While it settles, creep is over, lines are tight as they shall be, and servos stand."""
        p = self.parameters
        self._slack = self._data.ten_length - p.pretension_n / p.line_n_per_m
        self._joints_at_rest = self._data.qpos.copy()
        self._rest_of_drives()

    @property
    def _forces(self) -> np.ndarray:
        """(4,) of the lines in the last substep, N; a pull is negative."""
        return self._data.actuator_force.copy()

    @_forces.setter
    def _forces(self, values: np.ndarray) -> None:
        self._data.actuator_force[:] = values

    def outputs(self) -> np.ndarray:
        """True tip position (3,), m, in rig_base about the neutral point."""
        return self._moved() + self._load(self.parameters.damping_s)

    def strains(self) -> np.ndarray:
        """Mean strain of each light guide now, (guides,)."""
        return self._strain_of @ self._data.qpos

    def _counts(self, noise: np.ndarray) -> np.ndarray:
        p = self.parameters
        light = p.guide_open_counts * 10.0 ** (-0.1 * p.guide_db_per_strain * self.strains())
        counts = np.rint(light + p.guide_noise_counts * noise)
        counts[list(p.dead_channels)] = 0.0
        return np.clip(counts, 0, COUNTS_MAX).astype(int)
