"""Newton-Raphson model-predictive control: the slow, obvious form of firmware/src/solver/mpc.c.

It solves the same problem by the same steps, in float64 and forward in time, so that the C can be
compared with it iterate by iterate. Everything is in the network's normalised units:
normalised = (physical - offset) / scale. Its parts are named as the firmware's: `oracle_plan`,
`oracle_quadratic`, `oracle_bounded_step`.

Method after Soloway and Haley, "Neural generalized predictive control: a Newton-Raphson
implementation", 1996.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from soft_control.control.oracle_bounded_step import newton_step
from soft_control.control.oracle_plan import (
    ForwardKinematics,
    Method,
    MpcConfig,
    MpcState,
    Plan,
    arguments,
    bounded,
    feasible,
    predict,
)
from soft_control.control.oracle_quadratic import Quadratic, linearise

__all__ = [
    "ForwardKinematics", "Method", "MpcConfig", "MpcResult", "MpcState", "Plan", "Quadratic",
    "Status", "advance", "bounded", "linearise", "newton_step", "predict", "reset", "step",
]  # fmt: skip

COST_TOLERANCE = 1e-6
"""Share of the cost that a step must promise, or the plan counts as converged."""


class Status(IntEnum):
    """Values of mpc_status_t."""

    CONVERGED = 0
    MAX_ITERATIONS = 1
    NOT_FINITE = 2
    DEADLINE = 3
    INFEASIBLE_PROBLEM = 4


@dataclass(frozen=True)
class MpcResult:
    """What a step came to."""

    status: Status
    iterations: int
    """Linearisations made."""
    trials: int
    """Plans tried by the line searches of all iterations."""
    cost: float
    """Of the plan; 0 where it is not known."""
    command: np.ndarray
    """(m,) u(k), normalised, within its bounds."""


def reset(config: MpcConfig, command: np.ndarray, output: np.ndarray, signals: int = 0) -> MpcState:
    """Rest at `command` (m,) and `output` (n,), `signals` zeros, the plan to stay."""
    return MpcState(
        commands=np.tile(command, (config.input_delay + config.input_lags, 1)),
        outputs=np.tile(output, (config.output_lags, 1)),
        signals=np.zeros(signals),
        plan=np.tile(command, (config.control_horizon, 1)),
    )


def step(
    config: MpcConfig,
    fk: ForwardKinematics,
    state: MpcState,
    reference: np.ndarray,
    in_time: Callable[[], bool] = lambda: True,
) -> MpcResult:
    """Improve `state.plan` from sample k and return the command u(k).

    `reference` (N, n): row j is the wanted output of sample k+j+1. `in_time` is asked before each
    iteration.
    """
    known = (
        state.commands,
        state.outputs,
        state.signals,
        state.plan,
        state.network,
    )
    if not all(np.isfinite(part).all() for part in known):  # the reference is seen in the cost
        return _hold_command(config, state, Status.NOT_FINITE, 0, 0)
    if not feasible(config, state.commands[0]):
        return _hold_command(config, state, Status.INFEASIBLE_PROBLEM, 0, 0)

    plan = predict(config, fk, state, reference, bounded(config, state.commands[0], state.plan))
    status, iterations, trials = Status.MAX_ITERATIONS, 0, 0
    while iterations < config.iterations:
        if not in_time():
            status = Status.DEADLINE
            break
        model = linearise(config, fk, state, reference, plan)
        planned = plan.commands[: config.control_horizon]
        enough = COST_TOLERANCE * plan.cost
        aim, promise = newton_step(config, state.commands[0], planned, model, enough)
        iterations += 1
        if not np.isfinite(plan.cost) or not np.isfinite(promise):
            return _hold_command(config, state, Status.NOT_FINITE, iterations, trials)
        if promise <= enough:
            status = Status.CONVERGED
            break
        for halving in range(config.line_search_trials):
            commands = planned + 0.5**halving * (aim - planned)
            trial = predict(config, fk, state, reference, commands)
            trials += 1
            if trial.cost < plan.cost:
                plan = trial
                break
        else:
            break
    state.plan = plan.commands[: config.control_horizon].copy()
    cost = plan.cost if iterations else 0.0
    return MpcResult(status, iterations, trials, cost, state.plan[0].copy())


def advance(config: MpcConfig, fk: ForwardKinematics, state: MpcState, command: np.ndarray) -> bool:
    """Apply u(k) (m,): shift the lags with y(k+1) = fk(…), and the warm start.

    False if the command or the prediction is not finite; its predecessor then stands in for it.
    """
    good_command = bool(np.isfinite(command).all())
    command = command if good_command else state.commands[0]
    state.commands = np.vstack([command, state.commands[:-1]])
    lags = state.commands[config.input_delay :]
    outputs = state.outputs[: config.output_lags]
    x = np.concatenate([lags.ravel(), outputs.ravel(), state.signals])
    handed = fk.step(*arguments(x, state.network))
    good_output = bool(np.isfinite(x).all() and np.isfinite(handed).all())
    y = handed[: config.outputs] if good_output else state.outputs[0]
    state.outputs = np.vstack([y, state.outputs[:-1]])
    if good_output:
        state.network = handed[config.outputs :]
    last = state.plan[-1]
    if config.tail_continues and config.control_horizon > 1:
        last = 2 * last - state.plan[-2]
    state.plan = np.vstack([state.plan[1:], last])
    return good_command and good_output


def _hold_command(
    config: MpcConfig, state: MpcState, status: Status, iterations: int, trials: int
) -> MpcResult:
    """Answer to what cannot be solved: the last command, as far as it is within the bounds."""
    last = np.where(np.isfinite(state.commands[0]), state.commands[0], 0.0)
    command = np.clip(last, config.command_min, config.command_max)
    state.plan = np.tile(command, (config.control_horizon, 1))
    return MpcResult(status, iterations, trials, 0.0, command)
