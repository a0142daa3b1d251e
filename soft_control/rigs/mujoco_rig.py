"""What the rigs in MuJoCo share: the library, the model, its grid of time, and its saved state.

They are second opinions (docs/second_opinions.md): bodies, springs and forces that an engine moves
which this project did not write, where the other rigs are formulas. No parameter of theirs is
fitted to a recording, and nothing is tuned on them.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from types import ModuleType
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from soft_control.rigs.simulated import SimulatedRig

SUBSTEP_S = 1.0 / 960.0
"""Eight a sample at 120 Hz. The damping of springs is implicit, so that they are stable however
stiff they are, if only their damping is at least half a substep times the stiffness."""
GRAVITY = 9.81
"""m/s²"""
SETTLING_S = 20.0
"""The longest that a rig may take to come to rest at mid-range, before its first run."""
STILL, MOVING = 1e-6, 1e-3
"""m/s and rad/s, of what is at rest, and of what never comes to rest."""
Damped = Annotated[float, Field(ge=5.3e-4)]
"""Damping over stiffness, s, of a spring that may be stiff: just above half a substep."""


def library(rig: str) -> ModuleType:
    """MuJoCo. Raises ValueError in one line where it is not installed."""
    try:
        import mujoco
    except ImportError as error:
        raise ValueError(
            f"the rig {rig} needs MuJoCo, which cannot be imported ({error}): "
            "pip install 'soft_control[mujoco]'"
        ) from None
    return mujoco


class MujocoRig(SimulatedRig):
    """A rig says its model (`mjcf`), what a command means (`_drive`), and what moves the model and
    is no part of it (`_before_step`); `state` includes "_substeps" and "_mechanics"."""

    @abstractmethod
    def mjcf(self) -> str:
        """The model as MuJoCo's XML, with a site `tip`."""

    @abstractmethod
    def _rest_of_drives(self) -> None:
        """What is no part of the model, at rest at mid-range."""

    @abstractmethod
    def _drive(self, command: list[float]) -> None:
        """A command (m,), in the description's units, has arrived."""

    @abstractmethod
    def _before_step(self) -> None:
        """Moves the drives by a substep and tells the model what they do."""

    def _relaxed(self) -> None:  # noqa: B027  a rig may have nothing that creeps
        """Ends all creep where the rig stands, while it comes to rest."""

    # ------------------------------------------------------------------ what is the same for both

    def _prepare(self) -> None:
        self._mujoco = library(self.parameters.rig_name)
        self._model = self._mujoco.MjModel.from_xml_string(self.mjcf())
        self._model.opt.timestep = SUBSTEP_S
        self._data = self._mujoco.MjData(self._model)
        self._kind = self._mujoco.mjtState.mjSTATE_INTEGRATION
        self._size = self._mujoco.mj_stateSize(self._model, self._kind)
        self._settle()

    def _settle(self) -> None:
        """Finds rest at mid-range. Raises ValueError for parameters that leave the rig none."""
        self._rest_of_drives()
        moving = 0.0
        for step in range(round(SETTLING_S / SUBSTEP_S)):
            self._before_step()
            self._mujoco.mj_step(self._model, self._data)
            self._relaxed()
            # It passes through standing still, too: asked for over a tenth of a second.
            moving = max(moving, np.abs(self._data.qvel).max())
            if step % 96 == 95:
                if moving < STILL:
                    break
                moving = 0.0
        if np.abs(self._data.qvel).max() > MOVING or self._diverged():
            raise ValueError(
                f"the rig {self.parameters.rig_name} does not come to rest at mid-range within "
                f"{SETTLING_S:g} s: its parameters make it unstable"
            )
        self._data.qvel[:] = 0.0
        self._data.time = 0.0
        self._at_rest = self._mechanics
        self._mujoco.mj_kinematics(self._model, self._data)
        self._neutral = self._data.site("tip").xpos.copy()

    def _diverged(self) -> bool:
        """Whether MuJoCo had to begin anew because something was not finite, or huge."""
        kinds = ("BADQPOS", "BADQVEL", "BADQACC")
        numbers = [getattr(self._mujoco.mjtWarning, f"mjWARN_{kind}") for kind in kinds]
        return any(self._data.warning[number].number for number in numbers)

    @property
    def _mechanics(self) -> np.ndarray:
        """All that the next step of the model depends on."""
        values = np.empty(self._size)
        self._mujoco.mj_getState(self._model, self._data, values, self._kind)
        return values

    @_mechanics.setter
    def _mechanics(self, values: np.ndarray) -> None:
        self._mujoco.mj_setState(self._model, self._data, values, self._kind)
        self._mujoco.mj_forward(self._model, self._data)

    def _rest(self) -> None:
        self._substeps = 0
        self._rest_of_drives()
        self._mechanics = self._at_rest

    def _advance(self, end_s: float) -> None:
        # The rounding of a summed-up clock must not cost a whole substep: a millionth is forgiven.
        substeps = math.floor(end_s / SUBSTEP_S + 1e-6) - self._substeps
        for _ in range(substeps):
            now = (self._substeps + 1e-6) * SUBSTEP_S
            self._substeps += 1
            while self._line.next_s <= now:
                self._drive(self._line.take())
            self._before_step()
            self._mujoco.mj_step(self._model, self._data)
        if substeps > 0:
            # A step leaves the places of bodies as they were before it.
            self._mujoco.mj_kinematics(self._model, self._data)

    def _moved(self) -> np.ndarray:
        """(3,) how far the tip is from where it rests, m."""
        return self._data.site("tip").xpos - self._neutral

    def energy(self) -> tuple[float, float]:
        """Potential (of springs and weight) and kinetic energy of the model now, J."""
        options = self._model.opt
        flags = options.enableflags
        options.enableflags = flags | int(self._mujoco.mjtEnableBit.mjENBL_ENERGY)
        self._mujoco.mj_forward(self._model, self._data)
        options.enableflags = flags
        potential, kinetic = self._data.energy
        return float(potential), float(kinetic)

    def _named(self, kind: str, names: list[str]) -> np.ndarray:
        """Numbers of elements of the model, by name."""
        number_of: Any = self._mujoco.mj_name2id
        of_kind = getattr(self._mujoco.mjtObj, f"mjOBJ_{kind}")
        return np.array([number_of(self._model, of_kind, name) for name in names])
