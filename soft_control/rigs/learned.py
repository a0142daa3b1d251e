"""A rig learned from recordings: a twin of a robot that nobody has a physical model of.

`softctl twin` makes its directory. A few networks predict one sample ahead, each in a state of its
own; the twin is their mean, for networks that differ by their seeds alone err differently:

    z(k+1) = z(k) + network(u(k-d) … u(k-d-nd+1), z(k) … z(k-dd+1)),   z = outputs, moving signals

Commands saturate at the limits and are sampled on the networks' own grid. No command acts before
the next instant of the grid, so the state may run up to one sample ahead of the clock and the
instruments interpolate: what they read does not depend on how time was cut into steps.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from soft_control.rigs.delay_line import DelayLine
from soft_control.rigs.parameters import RigParameters
from soft_control.rigs.simulated import SimulatedRig
from soft_control.rigs.twin_files import (
    CARD_FILE,
    REST_TOLERANCE,
    Layers,
    TwinCard,
    read_card,
    read_layers,
)
from soft_control.robots.description import RobotDescription

LOAD_LAG_S = 0.02
"""With which a load sinks in: no recording tells; that of the tendon rig's block."""
ON_GRID = 1e-3
"""Of a sample: the rounding of a summed-up clock is less, a command that comes late is more."""


class LearnedParameters(RigParameters):
    """Noise as measured, and the mismatches that every rig has. A gain moves the outputs about
    their rest, not the signals."""

    rig_name: ClassVar[str] = "learned"


class Networks:
    """K networks of a twin, each stepping a state of its own."""

    def __init__(self, card: TwinCard, layers: Layers) -> None:
        self._layers = layers
        self._commands = card.input_lags
        self._offset, self._scale = np.array(card.command_offset), np.array(card.command_scale)

    def step(self, commands: np.ndarray, lags: np.ndarray) -> np.ndarray:
        """Commands (nd, m) that act, in their units, and normalised states (K, dd, z), both newest
        first -> states a sample later, (K, dd, z)."""
        networks = len(lags)
        acting = ((commands - self._offset) / self._scale).ravel()
        seen = np.hstack([np.tile(acting, (networks, 1)), lags.reshape(networks, -1)])
        a = seen[:, None, :]
        for kernel, bias in self._layers[:-1]:
            a = np.tanh(a @ kernel + bias)
        kernel, bias = self._layers[-1]
        newest = lags[:, :1] + (a @ kernel + bias)
        return np.concatenate([newest, lags[:, :-1]], axis=1)


class LearnedRig(SimulatedRig):
    """A twin, after its directory; commands, outputs and signals in the units of its robot.

    Parameters to change are, for example, gain=1.2, load_offset=(0, 0, 1e-3), load_after_s=5,
    output_noise=().
    """

    Parameters = LearnedParameters
    state = ("_samples", "_held", "_commands", "_lags", "_before")

    def __init__(self, directory: str | Path, seed: int = 0, **changes: Any) -> None:
        """Raises ValueError in one line for a directory that holds no twin, naming file and field,
        and for a parameter that is unknown or bad."""
        self.card = read_card(directory)
        self._networks = Networks(self.card, read_layers(directory, self.card))
        robot = self.card.robot
        paper = robot.output_factors * self.card.noise[: len(robot.outputs)]
        super().__init__(self.Parameters(output_noise=paper.tolist()), seed, **changes)
        moved = self._networks.step(self._commands[: self.card.input_lags], self._lags)
        if np.max(np.abs(moved - self._lags)) > REST_TOLERANCE:
            raise ValueError(f"{Path(directory) / CARD_FILE}: rest: the networks do not rest there")

    def describe(self) -> RobotDescription:
        """The robot that the twin stands in for."""
        return self.card.robot

    def _prepare(self) -> None:
        card, robot = self.card, self.card.robot
        outputs = len(robot.outputs)
        self._offset, self._scale = np.array(card.state_offset), np.array(card.state_scale)
        self._rest_output = card.at_rest[:outputs]
        self._columns = [robot.signal_names.index(name) for name in card.moving]
        self._still = np.array([card.still.get(name, 0.0) for name in robot.signal_names])
        self._signal_noise = np.array(card.noise[outputs:])
        self._counts_each = np.array(robot.full_scale_counts)

    def _rest(self) -> None:
        card = self.card
        self._samples = 0
        self._held = self.description.command_neutral
        self._commands = np.tile(self._held, (card.input_delay + card.input_lags, 1))
        self._lags = np.repeat(np.array(card.rest)[:, None], card.state_lags, axis=1)
        self._before = self._physical(self._lags)

    def _line_at_rest(self) -> DelayLine:
        """The delay is the networks'; mid-range commands have acted for ever."""
        return DelayLine(0.0, held=self.description.command_neutral.tolist())

    def _advance(self, end_s: float) -> None:
        rate_hz, low, high = self.card.rate_hz, self.command_min, self.command_max
        for _ in range(math.ceil(end_s * rate_hz - ON_GRID) - self._samples):
            while self._line.next_s * rate_hz <= self._samples + ON_GRID:
                self._held = np.clip(self._line.take(), low, high)
            self._commands = np.vstack([self._held, self._commands[:-1]])
            self._before = self._physical(self._lags)
            acting = self._commands[self.card.input_delay :]
            self._lags = self._networks.step(acting, self._lags)
            self._samples += 1

    def _physical(self, lags: np.ndarray) -> np.ndarray:
        """(z,) mean of the newest of states (K, …, z), in units."""
        return lags[:, 0].mean(axis=0) * self._scale + self._offset

    def _now(self) -> np.ndarray:
        """(z,) state at the clock's time: the grid may be ahead of it, back along a straight
        line."""
        ahead = max(self._samples - self._time_s * self.card.rate_hz, 0.0)
        newest = self._physical(self._lags)
        return newest if ahead < ON_GRID else newest - ahead * (newest - self._before)

    def outputs(self) -> np.ndarray:
        """True outputs (n,), in the description's units, where the recordings had them."""
        rest = self._rest_output
        moved = self._now()[: len(rest)] - rest
        return rest + self.parameters.gain * moved + self._load(LOAD_LAG_S)

    def _counts(self, noise: np.ndarray) -> np.ndarray:
        signals = self._still.copy()
        felt = self._now()[len(self._rest_output) :]
        signals[self._columns] = felt + self._signal_noise * noise[self._columns]
        return np.rint(signals * self._counts_each).astype(int)
