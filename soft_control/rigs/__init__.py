"""Simulated rigs: pure, seeded, no ROS.

A rig takes actuator commands, moves, and answers with a sample, as the real one does. A new rig is
one file here, one line in `RIGS`, its description in config/robots/ and its values in config/:
docs/tutorials/new_rig.md.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from soft_control import robots
from soft_control.robots.description import RobotDescription

RIGS = {
    "tendon": "soft_control.rigs.tendon:TendonRig",
    "hasel": "soft_control.rigs.hasel:HaselRig",
    "mass_spring_damper": "soft_control.rigs.mass_spring_damper:MassSpringDamperRig",
}
"""Name to module:class, imported on demand: one rig does not need the packages of another."""


@dataclass(frozen=True)
class Sample:
    """What the instruments read at one instant."""

    position: np.ndarray
    """Tip position (3,), m, in rig_base about the neutral point, with tracking noise."""
    signals: np.ndarray
    """Raw sensor signals (p,), integer counts."""


class Rig(Protocol):
    """What the rest of the project knows of a rig."""

    description: RobotDescription
    """The robot that it simulates: names, units, limits, calibration."""
    command_names: tuple[str, ...]
    """m names, as in the description."""
    command_min: np.ndarray
    """(m,), in the description's units."""
    command_max: np.ndarray
    """(m,), in the description's units."""
    signal_names: tuple[str, ...]
    """p names, as in the description."""

    def reset(self, seed: int | None = None) -> None:
        """Back to rest at the neutral point, command at mid-range; `seed` None repeats the last."""

    def step(self, command: np.ndarray, duration_s: float) -> None:
        """Hold `command` (m,) for `duration_s`; beyond the limits the actuators saturate."""

    def tip_position(self) -> np.ndarray:
        """True tip position (3,), m, in rig_base about the neutral point."""

    def measure(self) -> Sample:
        """The instruments at this instant; each call draws new noise."""

    def save(self) -> dict[str, Any]:
        """Complete state, noise generator included, as a plain dict that JSON can hold."""

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from `save()`: the same commands then give the same bits."""


def make_rig(name: str, **options: Any) -> Rig:
    """Rig by name; `options` go to its constructor: seed, and parameters to change (gain=1.2).

    Raises ValueError for an unknown name or parameter.
    """
    if name not in RIGS:
        raise ValueError(f"unknown rig '{name}': choose one of {', '.join(sorted(RIGS))}")
    module, _, cls = RIGS[name].partition(":")
    return getattr(importlib.import_module(module), cls)(**options)


def describe(name: str) -> RobotDescription:
    """The description of the robot `name`: a simulated rig's own one, or else that of
    config/robots/<name>.yaml.

    Raises ValueError in one line for a robot that is neither, or a file that cannot be used.
    """
    if name in RIGS:
        return make_rig(name).description
    return robots.load(name)
