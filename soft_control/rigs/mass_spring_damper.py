"""Simulated mass-spring-damper: a mass on a rail, pushed by a force, on a spring that hardens.

    m x'' + c x' + k x + k3 x³ = gain · u(t - delay) + load,   |u| <= force_max

The benchmark of Soloway and Haley, "Neural generalized predictive control", 1996, in its usual
form. The mass moves along x; y and z are zero. Two sensors sit on the rail: a strain gauge on the
spring and a tachometer, both read as counts of a 12-bit converter.
"""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
from pydantic import Field

from soft_control.rigs.delay_line import DelayLine
from soft_control.rigs.parameters import NotNegative, Positive, RigParameters
from soft_control.rigs.simulated import SimulatedRig
from soft_control.robots.description import RobotDescription

SUBSTEP_S = 1.0 / 500.0
"""Longest step of the integration (Runge-Kutta 4): its error stays below 1 µm of 0.1 m."""
COUNTS = 4096
"""Of the converter; a sensor at rest reads half of them."""


class MassSpringDamperParameters(RigParameters):
    """config/mass_spring_damper.yaml has the values."""

    rig_name: ClassVar[str] = "mass_spring_damper"

    mass_kg: Positive
    """Of what moves."""
    damping: NotNegative
    """N s/m"""
    stiffness: Positive
    """N/m, of the spring at rest."""
    cubic_stiffness: NotNegative
    """N/m³, by which the spring hardens."""
    force_max: Positive
    """N, the same in both directions."""
    delay_s: NotNegative
    """From command to force."""
    strain_counts_per_m: float
    """Of the strain gauge, by which the mass's place is felt."""
    tachometer_counts_per_m_s: float
    """Of the tachometer, by which its speed is felt."""
    signal_noise_counts: NotNegative = Field(description="Of both sensors, before rounding.")


class MassSpringDamperRig(SimulatedRig):
    """The mass-spring-damper; commands in N, positions in m, along x only.

    Parameters to change are, for example, gain=1.2, load_offset=(1e-3, 0, 0), load_after_s=5.
    """

    Parameters = MassSpringDamperParameters
    state = ("_x", "_v", "_force")

    def describe(self) -> RobotDescription:
        """One force, one coordinate, two sensors."""
        p = self.parameters
        robot = super().describe().limited([-p.force_max], [p.force_max])
        return robot.calibrated(p.full_scale_counts)

    def _prepare(self) -> None:
        self._load_n = self.parameters.stiffness * self.parameters.load_offset[0]

    def _rest(self) -> None:
        self._x = self._v = 0.0
        self._force = 0.0

    def _line_at_rest(self) -> DelayLine:
        """A force of 0 has acted for ever: giving it at the start changes nothing."""
        return DelayLine(self.parameters.delay_s, held=[0.0])

    def _advance(self, end_s: float) -> None:
        force_max = self.parameters.force_max
        while self._line.next_s <= end_s:
            self._move(self._line.next_s)
            (force,) = self._line.take()
            self._force = min(max(force, -force_max), force_max)
        self._move(end_s)

    def _move(self, end_s: float) -> None:
        """On to `end_s` under the present force; the load comes on where it is due."""
        p = self.parameters
        if self._load_n and self._time_s < p.load_after_s < end_s:
            self._integrate(p.load_after_s)
        self._integrate(end_s)

    def _integrate(self, end_s: float) -> None:
        way = end_s - self._time_s
        if way <= 0.0:
            return
        p = self.parameters
        push = p.gain * self._force + (self._load_n if self._time_s >= p.load_after_s else 0.0)
        steps = max(1, math.ceil(way / SUBSTEP_S - 1e-9))
        h = way / steps
        inverse, c, k, k3 = 1.0 / p.mass_kg, p.damping, p.stiffness, p.cubic_stiffness
        x, v = self._x, self._v
        for _ in range(steps):
            a1 = (push - c * v - (k + k3 * x * x) * x) * inverse
            v2, x2 = v + 0.5 * h * a1, x + 0.5 * h * v
            a2 = (push - c * v2 - (k + k3 * x2 * x2) * x2) * inverse
            v3, x3 = v + 0.5 * h * a2, x + 0.5 * h * v2
            a3 = (push - c * v3 - (k + k3 * x3 * x3) * x3) * inverse
            v4, x4 = v + h * a3, x + h * v3
            a4 = (push - c * v4 - (k + k3 * x4 * x4) * x4) * inverse
            x += h / 6.0 * (v + 2.0 * (v2 + v3) + v4)
            v += h / 6.0 * (a1 + 2.0 * (a2 + a3) + a4)
        self._x, self._v, self._time_s = x, v, end_s

    def tip_position(self) -> np.ndarray:
        """True position (3,), m, in rig_base about the neutral point."""
        return np.array([self._x, 0.0, 0.0])

    def _counts(self, noise: np.ndarray) -> np.ndarray:
        p = self.parameters
        counts = COUNTS / 2 + p.signal_noise_counts * noise
        counts += [p.strain_counts_per_m * self._x, p.tachometer_counts_per_m_s * self._v]
        return np.clip(np.rint(counts), 0, COUNTS - 1).astype(int)
