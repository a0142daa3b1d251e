"""Simulated mass-spring-damper: a mass on a rail, pushed by a force, on a spring that hardens.

    m x'' + c x' + k x + k3 x³ = gain · u(t - delay) + load,   |u| <= force_max

The benchmark of Soloway and Haley, "Neural generalized predictive control", 1996, in its usual
form. The mass moves along x; y and z are zero. Two sensors sit on the rail: a strain gauge on the
spring and a tachometer, both read as counts of a 12-bit converter.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from soft_control.rigs import Sample
from soft_control.rigs.parameters import (
    NotNegative,
    Positive,
    RigParameters,
    check_step,
)

SUBSTEP_S = 1.0 / 500.0
"""Longest step of the integration (Runge-Kutta 4): its error stays below 1 µm of 0.1 m."""
COUNTS = 4096
"""Of the converter; a sensor at rest reads half of them."""


class MassSpringDamperParameters(RigParameters):
    """config/mass_spring_damper.yaml has the values."""

    rig_name: ClassVar[str] = "mass_spring_damper"

    mass_kg: Positive
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
    tracking_noise_mm: NotNegative
    """Standard deviation of the measured position."""
    strain_counts_per_m: float
    tachometer_counts_per_m_s: float
    signal_noise_counts: NotNegative = Field(description="Of both sensors, before rounding.")


class MassSpringDamperRig:
    """After the protocol `soft_control.rigs.Rig`; commands in N, positions in m.

    `changes` are parameters to change: gain=1.2, load_offset=(1e-3, 0, 0), load_after_s=5.
    """

    command_names = ("force",)
    signal_names = ("strain", "tachometer")

    def __init__(
        self,
        parameters: MassSpringDamperParameters | None = None,
        seed: int = 0,
        **changes: Any,
    ) -> None:
        self.parameters = p = MassSpringDamperParameters.chosen(parameters, **changes)
        self.command_min = np.array([-p.force_max])
        self.command_max = np.array([p.force_max])
        self._load_n = p.stiffness * p.load_offset[0]
        self._seed = seed
        self.reset()

    def reset(self, seed: int | None = None) -> None:
        """Rest at the neutral point, no force; `seed` None repeats the last seed."""
        self._seed = self._seed if seed is None else seed
        self._rng = np.random.default_rng(self._seed)
        self._time_s = 0.0
        self._x = self._v = 0.0
        self._force = 0.0
        self._command = 0.0
        self._in_flight: list[tuple[float, float]] = []  # arrival time, force

    def step(self, command: np.ndarray, duration_s: float) -> None:
        """Hold `command` (1,), N, for `duration_s`.

        Raises ValueError for a command that is not one finite force or a negative duration.
        """
        (u,) = check_step(command, 1, "force in N", duration_s)
        p = self.parameters
        if u != self._command:
            self._command = u
            force = min(max(u, -p.force_max), p.force_max)
            self._in_flight.append((self._time_s + p.delay_s, force))
        end = self._time_s + duration_s
        while self._in_flight and self._in_flight[0][0] <= end:
            arrival, force = self._in_flight.pop(0)
            self._move(arrival)
            self._force = force
        self._move(end)

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

    def measure(self) -> Sample:
        """Position with tracking noise, counts of both sensors; each call draws new noise."""
        p = self.parameters
        noise = self._rng.standard_normal(3)
        position = np.array([self._x + 1e-3 * p.tracking_noise_mm * noise[0], 0.0, 0.0])
        counts = COUNTS / 2 + p.signal_noise_counts * noise[1:]
        counts += [p.strain_counts_per_m * self._x, p.tachometer_counts_per_m_s * self._v]
        return Sample(position, np.clip(np.rint(counts), 0, COUNTS - 1).astype(int))

    def save(self) -> dict[str, Any]:
        """Complete state: clock, forces in flight, motion, noise generator."""
        return {
            "seed": self._seed,
            "time_s": self._time_s,
            "motion": [self._x, self._v],
            "force": self._force,
            "command": self._command,
            "in_flight": [list(entry) for entry in self._in_flight],
            "rng": self._rng.bit_generator.state,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from `save()` of a rig with the same parameters: same commands, same bits."""
        self.reset(state["seed"])
        self._time_s = state["time_s"]
        self._x, self._v = state["motion"]
        self._force, self._command = state["force"], state["command"]
        self._in_flight = [tuple(entry) for entry in state["in_flight"]]
        self._rng.bit_generator.state = state["rng"]
