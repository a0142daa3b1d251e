"""What every simulated rig is made of, but for its physics: clock, noise, delay, saved states.

A rig subclasses `SimulatedRig` and says four things: where it rests (`_rest`), how it moves
(`_advance`), where its tip is (`tip_position`) and what its sensors count (`_counts`); and it names
the attributes that are its physical state (`state`). What it is stands in config/robots/.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np

from soft_control import robots
from soft_control.rigs import Sample
from soft_control.rigs.delay_line import DelayLine
from soft_control.rigs.parameters import RigParameters
from soft_control.robots.description import RobotDescription


class SimulatedRig(ABC):
    """After the protocol `soft_control.rigs.Rig`. `changes` are parameters to change: gain=1.2."""

    Parameters: ClassVar[type[RigParameters]]
    """The rig's own parameters."""
    state: ClassVar[tuple[str, ...]]
    """Attributes that are the rig's physical state: numbers, lists or arrays."""

    parameters: Any
    """Of the type `Parameters`."""

    def __init__(
        self, parameters: RigParameters | None = None, seed: int = 0, **changes: Any
    ) -> None:
        self.parameters = self.Parameters.chosen(parameters, **changes)
        self.description = self.describe()
        self.command_names = self.description.command_names
        self.command_min = self.description.command_min
        self.command_max = self.description.command_max
        self.signal_names = self.description.signal_names
        self._axes = list(self.description.axes)
        self._seed = seed
        self._prepare()
        self.reset()

    # ------------------------------------------------------------------ what a rig says of itself

    def describe(self) -> RobotDescription:
        """The robot that the rig simulates, of config/robots/<rig_name>.yaml.

        A rig whose parameters have limits or calibration puts them over it.
        """
        return robots.load(self.parameters.rig_name)

    def _prepare(self) -> None:  # noqa: B027  a rig may have nothing of the kind
        """What follows from the parameters and never changes; called once."""

    @abstractmethod
    def _rest(self) -> None:
        """Sets the attributes of `state` to rest at mid-range."""

    @abstractmethod
    def _advance(self, end_s: float) -> None:
        """Moves from `self._time_s` to `end_s`, s, taking commands from `self._line`."""

    @abstractmethod
    def tip_position(self) -> np.ndarray:
        """True tip position (3,), m, in rig_base about the neutral point."""

    @abstractmethod
    def _counts(self, noise: np.ndarray) -> np.ndarray:
        """Raw signals (p,), integer, with `noise` (p,) of standard deviation 1."""

    def _line_at_rest(self) -> DelayLine:
        """The commands on their way at rest: none."""
        return DelayLine(self.parameters.delay_s)

    # ------------------------------------------------------------------ what is the same for all

    def reset(self, seed: int | None = None) -> None:
        """Rest at the neutral point, command at mid-range; `seed` None repeats the last seed."""
        self._seed = self._seed if seed is None else seed
        self._rng = np.random.default_rng(self._seed)
        self._time_s = 0.0
        self._line = self._line_at_rest()
        self._rest()

    def step(self, command: np.ndarray, duration_s: float) -> None:
        """Hold `command` (m,), in the description's units, for `duration_s`, s.

        Raises ValueError for a command that is not m finite values, or a negative duration.
        """
        self._line.give(self._checked(command, duration_s), self._time_s)
        end_s = self._time_s + duration_s
        self._advance(end_s)
        self._time_s = end_s

    def _checked(self, command: Any, duration_s: float) -> list[float]:
        values = [float(value) for value in command]
        commands = self.description.commands
        if len(values) != len(commands) or not all(map(math.isfinite, values)):
            wanted = ", ".join(f"{c.name} in {c.unit}" for c in commands)
            raise ValueError(f"command must be finite values for {wanted}; got {values}")
        if not 0.0 <= duration_s < math.inf:
            raise ValueError(f"duration_s must be finite and not negative, got {duration_s}")
        return values

    def _load(self, lag_s: float) -> np.ndarray:
        """Displacement (3,), m, by the constant load, which sinks in with the time constant
        `lag_s`, s; one that is on from the start has sunk in."""
        p = self.parameters
        if p.load_after_s == 0.0:
            return np.array(p.load_offset)
        since_s = max(self._time_s - p.load_after_s, 0.0)
        return -math.expm1(-since_s / lag_s) * np.array(p.load_offset)

    def measure(self) -> Sample:
        """Tip position with tracking noise, and the signals; each call draws new noise."""
        moving = len(self._axes)
        noise = self._rng.standard_normal(moving + len(self.signal_names))
        position = np.array(self.tip_position(), dtype=float)
        position[self._axes] += 1e-3 * self.parameters.tracking_noise_mm * noise[:moving]
        return Sample(position, self._counts(noise[moving:]))

    def save(self) -> dict[str, Any]:
        """Complete state, noise generator included, as a plain dict that JSON can hold."""
        return {
            "seed": self._seed,
            "time_s": self._time_s,
            "line": self._line.save(),
            "state": {name: np.asarray(getattr(self, name)).tolist() for name in self.state},
            "rng": self._rng.bit_generator.state,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from `save()` of a rig with the same parameters: same commands, same bits."""
        self.reset(state["seed"])
        self._time_s = state["time_s"]
        self._line.restore(state["line"])
        for name, value in state["state"].items():
            is_array = isinstance(getattr(self, name), np.ndarray)
            setattr(self, name, np.array(value) if is_array else value)
        self._rng.bit_generator.state = state["rng"]
