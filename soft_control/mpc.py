"""Newton-Raphson model-predictive control: the slow, obvious form of firmware/src/mpc.c.

It solves the same problem by the same steps, in float64 and forward in time, so that the C can be
compared with it iterate by iterate. Everything is in the network's normalised units:
normalised = (physical - offset) / scale.

Gauss-Newton after Soloway and Haley, "Neural generalized predictive control: a Newton-Raphson
implementation", 1996; bounds after Bertsekas, "Projected Newton methods for optimization problems
with simple constraints", 1982.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

import numpy as np
from scipy.optimize import nnls

BOUND_TOLERANCE = 1e-5
COST_TOLERANCE = 1e-6
DAMPING = 1e-5


class ForwardKinematics(Protocol):
    """The network on its flat input x = [u lags, y lags, signals], lags newest first."""

    def step(self, x: np.ndarray) -> np.ndarray:
        """y (n,)"""

    def jacobian(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """y (n,) and dy/dx (n, nd*m + dd*n) for the command and output lags."""


class Status(IntEnum):
    """Values of mpc_status_t."""

    CONVERGED = 0
    MAX_ITERATIONS = 1
    NOT_FINITE = 2


@dataclass(frozen=True)
class MpcConfig:
    """Sizes, bounds and weights; arrays normalised."""

    command_min: np.ndarray
    """(m,)"""
    command_max: np.ndarray
    """(m,)"""
    move_max: np.ndarray
    """(m,) largest change of a command in one sample."""
    output_weight: np.ndarray
    """(n,) Q, of a squared tracking error in one sample."""
    move_weight: np.ndarray
    """(m,) R, of a squared move."""
    input_lags: int
    """nd"""
    output_lags: int
    """dd"""
    input_delay: int
    """d, samples"""
    horizon: int
    """N, samples"""
    control_horizon: int
    """Nc, moves"""
    first_cost_stage: int
    """First j whose output counts; d + 1 is the first that a move reaches."""
    iterations: int = 2
    line_search_trials: int = 4
    tail_continues: bool = True
    """The last move is repeated up to the horizon; else the last command is held."""

    @property
    def commands(self) -> int:
        """m"""
        return len(self.command_min)

    @property
    def outputs(self) -> int:
        """n"""
        return len(self.output_weight)


@dataclass
class MpcState:
    """What the network remembers, and the plan to start from; lags newest first, normalised."""

    commands: np.ndarray
    """(d + nd, m): u(k-1), u(k-2), …"""
    outputs: np.ndarray
    """(dd, n): y(k), y(k-1), …"""
    signals: np.ndarray
    """(p,) of sample k; the caller sets them before each step."""
    moves: np.ndarray
    """(Nc, m): Δ_0 … Δ_Nc-1"""


@dataclass(frozen=True)
class MpcResult:
    status: Status
    iterations: int
    """Linearisations made."""
    trials: int
    """Plans tried by the line searches of all iterations."""
    cost: float
    command: np.ndarray
    """(m,) u(k), normalised, within its bounds."""


@dataclass(frozen=True)
class Plan:
    """Moves within their bounds, and what they lead to."""

    moves: np.ndarray
    """(Nc, m)"""
    commands: np.ndarray
    """(N - d, m): u_0 … u_N-1-d, the commands that reach an output within the horizon."""
    stop: np.ndarray
    """(m,) first j > Nc-1 whose command the bound stops, else N - d."""
    outputs: np.ndarray
    """(N, n): y_1 … y_N"""
    cost: float


@dataclass(frozen=True)
class Quadratic:
    """cost/2 + g·z + z·H z/2 in a step z (Nc*m,), which is 0 where not free."""

    gradient: np.ndarray
    """g (Nc*m,)"""
    hessian: np.ndarray
    """H (Nc*m, Nc*m)"""
    free: np.ndarray
    """(Nc*m,) bool"""
    moves_of: np.ndarray
    """T (Nc*m, Nc*m): moves change by T z; identity but for commands that stay on a bound."""


def reset(config: MpcConfig, command: np.ndarray, output: np.ndarray, signals: int = 0) -> MpcState:
    """Rest at `command` (m,) and `output` (n,), `signals` zeros, no move planned."""
    return MpcState(
        commands=np.tile(command, (config.input_delay + config.input_lags, 1)),
        outputs=np.tile(output, (config.output_lags, 1)),
        signals=np.zeros(signals),
        moves=np.zeros((config.control_horizon, config.commands)),
    )


def step(
    config: MpcConfig, fk: ForwardKinematics, state: MpcState, reference: np.ndarray
) -> MpcResult:
    """Improve `state.moves` from sample k and return the command u(k).

    `reference` (N, n): row j is the wanted output of sample k+j+1.
    """
    known = (state.commands, state.outputs, state.signals, state.moves, reference)
    if not all(np.isfinite(part).all() for part in known):
        return _hold_command(config, state, iterations=0, trials=0)

    plan = predict(config, fk, state, reference, state.moves)
    status, iterations, trials = Status.MAX_ITERATIONS, 0, 0
    while iterations < config.iterations:
        model = linearise(config, fk, state, reference, plan)
        move, promise = newton_step(config, plan, model)
        iterations += 1
        if not np.isfinite(plan.cost) or not np.isfinite(move).all():
            return _hold_command(config, state, iterations, trials)
        if promise <= COST_TOLERANCE * plan.cost:
            status = Status.CONVERGED
            break
        for halving in range(config.line_search_trials):
            moves = plan.moves + 0.5**halving * move.reshape(plan.moves.shape)
            trial = predict(config, fk, state, reference, moves)
            trials += 1
            if trial.cost < plan.cost:
                plan = trial
                break
        else:
            break
    state.moves = plan.moves
    return MpcResult(status, iterations, trials, plan.cost, plan.commands[0])


def advance(config: MpcConfig, fk: ForwardKinematics, state: MpcState, command: np.ndarray) -> bool:
    """Apply u(k) (m,): shift the lags with y(k+1) = fk(…), and the warm start.

    False if the command or the prediction is not finite; its predecessor then stands in for it.
    """
    good_command = bool(np.isfinite(command).all())
    command = command if good_command else state.commands[0]
    state.commands = np.vstack([command, state.commands[:-1]])
    lags = state.commands[config.input_delay :]
    x = np.concatenate([lags.ravel(), state.outputs.ravel(), state.signals])
    y = fk.step(x)
    good_output = bool(np.isfinite(x).all() and np.isfinite(y).all())
    state.outputs = np.vstack([y if good_output else state.outputs[0], state.outputs[:-1]])
    last = state.moves[-1] if config.tail_continues else np.zeros(config.commands)
    state.moves = np.vstack([state.moves[1:], last])
    return good_command and good_output


def predict(
    config: MpcConfig,
    fk: ForwardKinematics,
    state: MpcState,
    reference: np.ndarray,
    moves: np.ndarray,
) -> Plan:
    """The plan of `moves` (Nc, m), brought within the bounds, rolled out, with its cost."""
    moves, commands, stop = _bounded_commands(config, state.commands[0], moves)
    outputs: list[np.ndarray] = []
    for j in range(config.horizon):
        outputs.append(fk.step(_input(config, state, commands, outputs, j)))
    errors = np.array(outputs) - reference
    cost = (config.output_weight * errors[config.first_cost_stage - 1 :] ** 2).sum()
    cost += (config.move_weight * moves**2).sum()
    return Plan(moves, commands, stop, np.array(outputs), float(cost))


def linearise(
    config: MpcConfig,
    fk: ForwardKinematics,
    state: MpcState,
    reference: np.ndarray,
    plan: Plan,
) -> Quadratic:
    """Half the cost around `plan` to second order (Gauss-Newton), with the bounds to hold.

    A command that stands on a bound, pushed against it by its gradient, stays there and cuts the
    effect of earlier moves: its own move takes them back. Hence from the last move to the first:
    each gradient knows which later commands stay.
    """
    m, variables = config.commands, plan.moves.size
    jacobians = [
        fk.jacobian(_input(config, state, plan.commands, list(plan.outputs), j))[1]
        for j in range(config.horizon)
    ]
    costed = slice(config.first_cost_stage - 1, config.horizon)
    error = (plan.outputs - reference)[costed].ravel()
    q = np.tile(config.output_weight, len(error) // config.outputs)
    r = np.tile(config.move_weight, config.control_horizon)
    sensitivity = np.zeros((len(error), variables))
    moves_of = np.eye(variables)
    free = np.ones(variables, dtype=bool)
    stop = plan.stop.copy()
    for v in reversed(range(variables)):
        i, c = divmod(v, m)
        slope = _command_slope(config, plan, i, c, stop[c])
        sensitivity[:, v] = _output_slope(config, jacobians, slope)[costed].ravel()
        if stop[c] < config.control_horizon:
            moves_of[stop[c] * m + c, v] = -1.0
        gradient = sensitivity[:, v] @ (q * error) + moves_of[:, v] @ (r * plan.moves.ravel())

        bound = config.command_max[c] if gradient < 0 else config.command_min[c]
        if abs(bound - plan.commands[i, c]) <= BOUND_TOLERANCE:
            free[v] = False
            stop[c] = i

    hessian = sensitivity.T @ np.diag(q) @ sensitivity + moves_of.T @ np.diag(r) @ moves_of
    free &= np.diag(hessian) > 0
    return Quadratic(
        gradient=sensitivity.T @ (q * error) + moves_of.T @ (r * plan.moves.ravel()),
        hessian=hessian + DAMPING * np.diag(np.diag(hessian)),
        free=free,
        moves_of=moves_of,
    )


def newton_step(config: MpcConfig, plan: Plan, model: Quadratic) -> tuple[np.ndarray, float]:
    """Change of the moves (Nc*m,) that minimises `model` within the bounds, and by how much it
    promises to lower the cost; NaN if the model has no finite minimum.

    With x = L'z + L⁻¹g, H = LL', it is the shortest x within limits G x >= h: the least distance
    problem of Lawson and Hanson, Solving Least Squares Problems, 1974, chapter 23.
    """
    free, gradient = model.free, model.gradient[model.free]
    nothing = np.full(len(free), np.nan), np.nan
    if not np.isfinite(model.hessian).all() or not np.isfinite(gradient).all():
        return nothing
    try:
        factor = np.linalg.cholesky(model.hessian[np.ix_(free, free)])
    except np.linalg.LinAlgError:
        return nothing
    newest_last = np.tril(np.ones((config.control_horizon, config.control_horizon)))
    moves_of = model.moves_of[:, free]
    commands_of = np.kron(newest_last, np.eye(config.commands)) @ moves_of
    move, command = plan.moves.ravel(), plan.commands[: config.control_horizon].ravel()

    def tiled(bound: np.ndarray) -> np.ndarray:
        return np.tile(bound, config.control_horizon)

    limited = np.vstack([moves_of, -moves_of, commands_of, -commands_of])
    room = np.concatenate(
        [
            tiled(config.move_max) - move,
            tiled(config.move_max) + move,
            tiled(config.command_max) - command,
            command - tiled(config.command_min),
        ]
    )
    inverse = np.linalg.inv(factor)
    g = -limited @ inverse.T
    h = -np.maximum(room, 0.0) - limited @ inverse.T @ inverse @ gradient
    target = np.append(np.zeros(g.shape[1]), 1.0)
    multipliers, _ = nnls(np.vstack([g.T, h]), target)
    residual = np.vstack([g.T, h]) @ multipliers - target
    x = -residual[:-1] / residual[-1]
    step = np.zeros(len(free))
    step[free] = inverse.T @ (x - inverse @ gradient)
    return model.moves_of @ step, float(-model.gradient @ step)


def _command_slope(config: MpcConfig, plan: Plan, i: int, c: int, stop: int) -> np.ndarray:
    """∂u_j/∂Δ_i of channel c (N - d, m): 1 from j = i to `stop`; a continued last move adds up."""
    slope = np.zeros_like(plan.commands)
    slope[i:stop, c] = 1.0
    if config.tail_continues and i == config.control_horizon - 1:
        slope[i:stop, c] = np.arange(1, stop - i + 1)
    return slope


def _output_slope(
    config: MpcConfig, jacobians: list[np.ndarray], command_slope: np.ndarray
) -> np.ndarray:
    """∂y_j/∂Δ (N, n) for j = 1 … N by the chain rule through the lags."""
    m, n = config.commands, config.outputs
    slopes = np.zeros((config.horizon, n))
    for j, jacobian in enumerate(jacobians):
        for lag in range(config.input_lags):
            t = j - config.input_delay - lag
            if t >= 0:
                slopes[j] += jacobian[:, lag * m : (lag + 1) * m] @ command_slope[t]
        for lag in range(config.output_lags):
            column = config.input_lags * m + lag * n
            if j - lag - 1 >= 0:
                slopes[j] += jacobian[:, column : column + n] @ slopes[j - lag - 1]
    return slopes


def _bounded_commands(
    config: MpcConfig, last_command: np.ndarray, moves: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Moves and commands within their bounds, and from where on a bound stops a continued tail.

    A move ends where the bound stops its command.
    """
    planned = config.horizon - config.input_delay
    moves = np.clip(moves, -config.move_max, config.move_max)
    commands = np.zeros((planned, config.commands))
    stop = np.full(config.commands, planned)
    command = last_command
    for j in range(planned):
        if j < config.control_horizon:
            move = moves[j]
        elif not config.tail_continues:
            move = np.zeros(config.commands)
        wanted = command + move
        bounded = np.clip(wanted, config.command_min, config.command_max)
        if j < config.control_horizon:
            moved = np.clip(bounded - command, -config.move_max, config.move_max)
            move = moves[j] = np.where(bounded == wanted, move, moved)
        else:
            stopped = np.abs(wanted - bounded) > BOUND_TOLERANCE
            stop = np.where(stopped, np.minimum(stop, j), stop)
        command = commands[j] = bounded
    return moves, commands, stop


def _input(
    config: MpcConfig,
    state: MpcState,
    commands: np.ndarray,
    outputs: list[np.ndarray],
    j: int,
) -> np.ndarray:
    """Flat input of stage j, which predicts y_j+1, from u_0 … and y_1 … of a plan."""

    def command(t: int) -> np.ndarray:
        return commands[t] if t >= 0 else state.commands[-t - 1]

    def output(t: int) -> np.ndarray:
        return outputs[t - 1] if t >= 1 else state.outputs[-t]

    newest = j - config.input_delay
    return np.concatenate(
        [command(newest - lag) for lag in range(config.input_lags)]
        + [output(j - lag) for lag in range(config.output_lags)]
        + [state.signals]
    )


def _hold_command(config: MpcConfig, state: MpcState, iterations: int, trials: int) -> MpcResult:
    """Answer to what cannot be computed: the last command, no plan."""
    last = np.where(np.isfinite(state.commands[0]), state.commands[0], 0.0)
    command = np.clip(last, config.command_min, config.command_max)
    state.moves = np.zeros_like(state.moves)
    return MpcResult(Status.NOT_FINITE, iterations, trials, 0.0, command)
