"""The problem of firmware/src/solver/mpc.h as data, in the network's normalised units.

One sample's problem is sizes, weights and a start; `host_solver` hands it to the C, `ipopt` to an
independent judge. The oracle, mpc_oracle, has the same weights.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Sizes:
    """Compile-time sizes of a solver, as in controller_config.h."""

    commands: int
    outputs: int
    signals: int
    input_lags: int
    output_lags: int
    input_delay: int
    horizon: int
    control_horizon: int
    first_cost_stage: int
    tail_continues: bool = False
    states: int = 0


@dataclass(frozen=True)
class Weights:
    """Bounds and weights, mpc_config_t; arrays normalised."""

    command_min: np.ndarray
    """(m,)"""
    command_max: np.ndarray
    """(m,)"""
    move_max: np.ndarray
    """(m,) largest change of a command in one sample."""
    output_weight: np.ndarray
    """(n,) Q, of a squared tracking error in one sample."""
    terminal_weight: np.ndarray
    """(n,) Q of the last sample of the horizon."""
    output_min: np.ndarray
    """(n,) soft, at a quadratic penalty."""
    output_max: np.ndarray
    """(n,) soft."""
    bound_weight: np.ndarray
    """(n,) of a squared excess over output_min, output_max in one sample."""
    move_weight: np.ndarray
    """(m,) R, of a squared move."""
    command_weight: np.ndarray
    """(m,) S, of a squared distance from command_reference."""
    command_reference: np.ndarray
    """(m,) u_ref"""
    output_gain: np.ndarray = field(default=None, kw_only=True)
    """(n, n) of the robot's outputs over the network's; by default the identity: the robot is as it
    was recorded."""
    output_offset: np.ndarray = field(default=None, kw_only=True)
    """(n,) of the robot's outputs, by default 0."""

    def __post_init__(self) -> None:
        outputs = len(self.output_weight)
        if self.output_gain is None:
            object.__setattr__(self, "output_gain", np.eye(outputs))
        if self.output_offset is None:
            object.__setattr__(self, "output_offset", np.zeros(outputs))

    def robot_output(self, y: np.ndarray) -> np.ndarray:
        """(n,) z, what the robot puts out where the network predicts y (n,)."""
        return self.output_gain @ y + self.output_offset


def shape_of(name: str, commands: int, outputs: int) -> tuple[int, ...]:
    """Of the field of Weights."""
    if name == "output_gain":
        return outputs, outputs
    return (outputs if name.startswith(("output", "terminal", "bound")) else commands,)


@dataclass(frozen=True)
class Start:
    """What is known at sample k; lags newest first."""

    commands: np.ndarray
    """(d + nd, m)"""
    outputs: np.ndarray
    """(max(dd, 1), n)"""
    signals: np.ndarray
    """(p,)"""
    reference: np.ndarray
    """(N, n)"""
    state: np.ndarray
    """(states,) of a recurrent network, before it predicts y(k+1)."""
