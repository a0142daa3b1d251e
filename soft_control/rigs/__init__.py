"""Simulated rigs: pure, seeded, no ROS.

A rig takes actuator commands, moves, and answers with a sample, as the real one does. A new rig is
one file here, one line in `RIGS`, its description in config/robots/ and its values in config/:
docs/tutorials/new_rig.md. Those that begin with mujoco_ need the package of that name. Where the
name of one is taken, the directory of a twin may stand that `softctl twin` learned from recordings.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from soft_control import robots
from soft_control.plain_text import printable
from soft_control.rigs.twin_files import CARD_FILE, is_twin
from soft_control.robots.description import RobotDescription

RIGS = {
    "tendon": "soft_control.rigs.tendon:TendonRig",
    "hasel": "soft_control.rigs.hasel:HaselRig",
    "mass_spring_damper": "soft_control.rigs.mass_spring_damper:MassSpringDamperRig",
    "mujoco_tendon": "soft_control.rigs.mujoco_tendon:MujocoTendonRig",
    "mujoco_hasel": "soft_control.rigs.mujoco_hasel:MujocoHaselRig",
}
"""Name to module:class, imported on demand: one rig does not need the packages of another."""

OPINIONS = {"mujoco_tendon": "tendon", "mujoco_hasel": "hasel"}
"""Rigs that are a second opinion, and on which: nothing is fitted to them or tuned on them."""

LEARNED = "soft_control.rigs.learned:LearnedRig"
"""Of all twins; its first argument is the directory."""


@dataclass(frozen=True)
class Sample:
    """What the instruments read at one instant."""

    outputs: np.ndarray
    """(n,) measured outputs, in the description's units, with noise."""
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

    def outputs(self) -> np.ndarray:
        """(n,) true outputs, in the description's units; positions about the neutral point."""

    def measure(self) -> Sample:
        """The instruments at this instant; each call draws new noise."""

    def save(self) -> dict[str, Any]:
        """Complete state, noise generator included, as a plain dict that JSON can hold."""

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from `save()`: the same commands then give the same bits."""


def make_rig(name: str, **options: Any) -> Rig:
    """Rig by name, or a twin by its directory; `options` go to its constructor: seed, and
    parameters to change (gain=1.2).

    Raises ValueError for an unknown name or parameter, and for a twin that cannot be used.
    """
    check_rig(name)
    directory = () if name in RIGS else (name,)
    return rig_class(name)(*directory, **options)


def rig_class(name: str) -> Any:
    """The class of a rig by name, or of twins; no rig is made, so that no engine need be there."""
    module, _, cls = RIGS.get(name, LEARNED).partition(":")
    return getattr(importlib.import_module(module), cls)


def check_rig(name: str) -> str:
    """`name` itself. Raises ValueError for what is neither a rig nor a twin's directory."""
    if name not in RIGS and not is_twin(name):
        raise ValueError(
            f"unknown rig '{printable(name)}': choose one of {', '.join(sorted(RIGS))}, or a "
            f"directory with {CARD_FILE} that `softctl twin` wrote"
        )
    return name


def check_no_opinion(name: str) -> str:
    """`name` itself. Raises ValueError for a second opinion: what was tuned on it could not be
    judged by it."""
    if name in OPINIONS:
        raise ValueError(
            f"nothing is tuned on the rig {name}, which is a second opinion on {OPINIONS[name]}: "
            f"tune on that one, see docs/second_opinions.md"
        )
    return name


def describe(name: str) -> RobotDescription:
    """The description of the robot `name`: that of a simulated rig or of a twin's directory, or
    else of config/robots/<name>.yaml.

    Raises ValueError in one line for what is none of them, or a file that cannot be used.
    """
    if name in RIGS or is_twin(name):
        return make_rig(name).description
    return robots.load(name)
