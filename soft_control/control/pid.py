"""PID baseline: fixed decoupling, filtered derivative, conditional integration, bumpless takeover.

It sees the measured outputs and stands in for the MCU on the same topics. Alone it has no preview;
with a feed-forward, such as that of static_inverse, it finds what this one does not know.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PidConfig:
    """Gains act on the decoupled error (m,), which has the unit of the commands."""

    decoupling: np.ndarray
    """(m, n) commands per output: inverse of the robot's slopes at the neutral point."""
    kp: np.ndarray
    """(m,) 1"""
    ki: np.ndarray
    """(m,) 1/s"""
    kd: np.ndarray
    """(m,) s"""
    command_neutral: np.ndarray
    """(m,)"""
    command_min: np.ndarray
    """(m,)"""
    command_max: np.ndarray
    """(m,)"""
    derivative_time_constant: float = 0.02
    """s, of the first-order filter on the derivative."""
    proportional_setpoint: float = 1.0
    """Share of the reference that the proportional term sees; less than 1 softens steps."""
    derivative_setpoint: float = 1.0
    """Share of the reference that the derivative sees; 0 is a derivative of the measurement."""


SCALARS = ("derivative_time_constant", "proportional_setpoint", "derivative_setpoint")
"""Fields of PidConfig that are one number."""


@dataclass
class PidState:
    """What the law remembers, and terms worth plotting; all (m,) in the unit of the commands."""

    integral: np.ndarray
    weighted_error: np.ndarray | None = None
    """What the derivative is taken of."""
    derivative: np.ndarray | None = None


def reset(config: PidConfig) -> PidState:
    """The state at rest."""
    return PidState(integral=np.zeros_like(config.command_neutral))


def step(
    config: PidConfig,
    state: PidState,
    reference: np.ndarray,
    outputs: np.ndarray,
    dt: float,
    forward: np.ndarray | None = None,
) -> np.ndarray:
    """Command (m,) for the `outputs` (n,) and their `reference` (n,), `dt` s after the last; its
    terms are added to the feed-forward (m,), without one to the neutral command.

    A command at its limit stops integrating in the direction that holds it there, and the reference
    is weighted (Åström and Hägglund, Advanced PID Control, 2006, sections 3.5 and 3.4).
    """
    error = config.decoupling @ (reference - outputs)
    without_integral = _without_integral(config, state, reference, outputs, dt, forward)
    integral = state.integral + config.ki * error * dt
    wanted = without_integral + integral
    command = np.clip(wanted, config.command_min, config.command_max)
    winding = (wanted - command) * error > 0
    state.integral = np.where(winding, state.integral, integral)
    return command


def track(
    config: PidConfig,
    state: PidState,
    command: np.ndarray,
    reference: np.ndarray,
    outputs: np.ndarray,
    dt: float,
    forward: np.ndarray | None = None,
) -> None:
    """In place of `step` while somebody else finds the `command` (m,) of these outputs: the
    integral becomes the one with which the law would have found it, within its limits, so that the
    first step of its own goes on from there.

    It moves by what error and derivative have changed by then, and by ki error dt (ibid., section
    3.6, bumpless transfer).
    """
    applied = np.clip(command, config.command_min, config.command_max)
    state.integral = applied - _without_integral(config, state, reference, outputs, dt, forward)


def _without_integral(
    config: PidConfig,
    state: PidState,
    reference: np.ndarray,
    outputs: np.ndarray,
    dt: float,
    forward: np.ndarray | None,
) -> np.ndarray:
    """The other terms of the command; the filter of the derivative goes on by a sample."""
    near = config.decoupling @ (config.proportional_setpoint * reference - outputs)
    weighted = config.decoupling @ (config.derivative_setpoint * reference - outputs)
    before = weighted if state.weighted_error is None else state.weighted_error
    slope = (weighted - before) / dt
    blend = dt / (config.derivative_time_constant + dt)
    last = np.zeros_like(weighted) if state.derivative is None else state.derivative
    state.derivative = last + blend * (slope - last)
    state.weighted_error = weighted
    base = config.command_neutral if forward is None else forward
    return base + config.kp * near + config.kd * state.derivative
