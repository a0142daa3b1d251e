"""The problem of firmware/src/mpc.h as data, in the network's normalised units.

One sample's problem is sizes, weights and a start; `host_solver` hands it to the C, `ipopt` to an
independent judge.
"""

from __future__ import annotations

from dataclasses import dataclass

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
    """mpc_config_t: m or n values each, normalised."""

    command_min: np.ndarray
    command_max: np.ndarray
    move_max: np.ndarray
    output_weight: np.ndarray
    terminal_weight: np.ndarray
    output_min: np.ndarray
    output_max: np.ndarray
    bound_weight: np.ndarray
    move_weight: np.ndarray
    command_weight: np.ndarray
    command_reference: np.ndarray


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
