"""Half the oracle's cost around a plan, to second order: gradient and Hessian by the method chosen.

Sensitivities go forward in time, stage by stage, which is slower than the firmware's way and easier
to see through. The host's slow form of firmware/src/solver/quadratic.c and curvature.c.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from soft_control.control.oracle_plan import (
    ForwardKinematics,
    MpcConfig,
    MpcState,
    Plan,
    barrier,
    over_bounds,
    roll_out,
)

DAMPING = 1e-5
"""Share of its diagonal that is added to a Hessian, as in firmware/src/solver/linsolve.c."""
TINY = 1e-30
"""Added to a diagonal, so that a Hessian of zeros has a factor."""


@dataclass(frozen=True)
class Quadratic:
    """cost/2 + g·z + z·H z/2 in a step z (Nc*m,) of u_0 … u_Nc-1."""

    gradient: np.ndarray
    """g (Nc*m,)"""
    hessian: np.ndarray
    """H (Nc*m, Nc*m)"""


def linearise(
    config: MpcConfig,
    fk: ForwardKinematics,
    state: MpcState,
    reference: np.ndarray,
    plan: Plan,
) -> Quadratic:
    """Half the cost around `plan` to second order, by the method of `config`."""
    m, n, nc = config.commands, config.outputs, config.control_horizon
    slopes = np.array([_command_slope(config, plan, v) for v in range(nc * m)])  # (V, N - d, m)
    _, inputs = roll_out(config, fk, state, plan.commands)
    jacobians = [fk.jacobian(*x)[1] for x in inputs]
    rows, columns = jacobians[0].shape
    directions = np.zeros((config.horizon, columns, nc * m))
    sensitivities = np.zeros((config.horizon, rows, nc * m))
    for j in range(config.horizon):
        for lag in range(config.input_lags):
            t = j - config.input_delay - lag
            if t >= 0:
                directions[j, lag * m : (lag + 1) * m] = slopes[:, t].T
        for lag in range(config.output_lags):
            column = config.input_lags * m + lag * n
            if j - lag - 1 >= 0:
                directions[j, column : column + n] = sensitivities[j - lag - 1, :n]
        if j > 0:
            directions[j, columns - (rows - n) :] = sensitivities[j - 1, n:]
        sensitivities[j] = jacobians[j] @ directions[j]

    gradient, hessian = np.zeros(nc * m), np.zeros((nc * m, nc * m))
    output_slopes = np.zeros((config.horizon, n))
    for j in range(config.first_cost_stage, config.horizon + 1):
        s = config.output_gain @ sensitivities[j - 1, :n]  # of the robot's outputs
        z = config.robot_output(plan.outputs[j - 1])
        excess = over_bounds(config, z)
        slope = config.stage_weight(j) * (z - reference[j - 1]) + config.bound_weight * excess
        weight = config.stage_weight(j) + config.bound_weight * (excess != 0)
        output_slopes[j - 1] = slope @ config.output_gain
        gradient += s.T @ slope
        hessian += s.T @ (weight[:, None] * s)

    planned = plan.commands[:nc]
    moves = np.diff(np.vstack([state.commands[0], planned]), axis=0)
    to_moves = np.eye(nc * m) - np.eye(nc * m, k=-m)
    r = np.tile(config.move_weight, nc)
    gradient += to_moves.T @ (r * moves.ravel())
    hessian += to_moves.T @ (r[:, None] * to_moves) + TINY * np.eye(nc * m)
    of_commands = slopes.reshape(nc * m, -1)
    s = np.tile(config.command_weight, config.planned)
    gradient += of_commands @ (s * (plan.commands - config.command_reference).ravel())
    hessian += of_commands @ (s[:, None] * of_commands.T)
    if config.method == "gauss_newton":
        return Quadratic(gradient, hessian)

    if config.method == "soloway":
        _, slope, curvature = barrier(config, planned)
        gradient += slope.ravel()
        hessian += np.diag(curvature.ravel())
    adjoints = _adjoints(config, jacobians, output_slopes)
    second = sum(
        d.T @ fk.curvature(*x, adjoint) @ d
        for d, x, adjoint in zip(directions, inputs, adjoints, strict=True)
    )
    for share in (1.0, 0.5, 0.25, 0.0):  # as much of it as leaves the sum positive definite
        if cholesky(hessian + share * second) is not None:
            break
    return Quadratic(gradient, hessian + share * second)


def _command_slope(config: MpcConfig, plan: Plan, v: int) -> np.ndarray:
    """∂u_j/∂u_i of the channel of v (N - d, m): 1 for u_i itself; the last planned command, and in
    a continued tail the one before it, also move what follows, until a bound stops that."""
    i, c = divmod(v, config.commands)
    nc, slope = config.control_horizon, np.zeros_like(plan.commands)
    slope[i, c] = 1.0
    after = np.arange(1, config.planned - nc + 1)
    if not config.tail_continues:
        slope[nc:, c] = float(i == nc - 1)
    elif i == nc - 1:
        slope[nc:, c] = after + 1.0
    elif i == nc - 2:
        slope[nc:, c] = -after
    if config.tail_continues:
        slope[plan.stop[c] :, c] = 0.0
    return slope


def _adjoints(
    config: MpcConfig, jacobians: list[np.ndarray], slopes: np.ndarray
) -> list[np.ndarray]:
    """Half the cost by what each stage hands on, y_j+1 and the network's state, with all that
    follows from it: N of (n + s,)."""
    m, n = config.commands, config.outputs
    rows, columns = jacobians[0].shape
    adjoints = np.zeros((config.horizon, rows))
    adjoints[:, :n] = slopes
    for j in reversed(range(config.horizon)):
        for lag in range(config.output_lags):
            later = j + 1 + lag
            if later < config.horizon:
                column = config.input_lags * m + lag * n
                adjoints[j, :n] += jacobians[later][:, column : column + n].T @ adjoints[later]
        if j + 1 < config.horizon:
            adjoints[j, n:] += jacobians[j + 1][:, columns - (rows - n) :].T @ adjoints[j + 1]
    return list(adjoints)


def cholesky(hessian: np.ndarray) -> np.ndarray | None:
    """Cholesky factor of the damped Hessian; None if it has none."""
    damped = hessian + DAMPING * np.diag(np.diag(hessian)) + TINY * np.eye(len(hessian))
    if not np.isfinite(damped).all():
        return None
    try:
        return np.linalg.cholesky(damped)
    except np.linalg.LinAlgError:
        return None
