"""Newton-Raphson model-predictive control: the slow, obvious form of firmware/src/solver/mpc.c.

It solves the same problem by the same steps, in float64 and forward in time, so that the C can be
compared with it iterate by iterate. Everything is in the network's normalised units:
normalised = (physical - offset) / scale. The problem itself is stated in firmware/src/solver/mpc.h.

Method after Soloway and Haley, "Neural generalized predictive control: a Newton-Raphson
implementation", 1996; bounds after Bertsekas, "Projected Newton methods for optimization problems
with simple constraints", 1982.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Literal, Protocol

import numpy as np

from soft_control.control.problem import Weights

BOUND_TOLERANCE = 1e-5
COST_TOLERANCE = 1e-6
DAMPING = 1e-5
TINY = 1e-30
BARRIER_EDGE = 1e-3

Method = Literal["gauss_newton", "newton", "soloway"]


class ForwardKinematics(Protocol):
    """The network on its flat input x = [u lags, y lags, signals], lags newest first.

    One with a state of its own h (s,) takes it as a second argument, after x: step then returns y
    and the new state, one after the other (n + s,), and so the derivatives have n + s rows, and
    columns for h after those of the lags.
    """

    def step(self, x: np.ndarray) -> np.ndarray:
        """y (n,)"""

    def jacobian(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """y (n,) and dy/dx (n, nd*m + dd*n) for the command and output lags."""

    def curvature(self, x: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Second derivatives of weights·y by the command and output lags (nd*m + dd*n,) squared.

        Only for the methods newton and soloway."""


class Status(IntEnum):
    """Values of mpc_status_t."""

    CONVERGED = 0
    MAX_ITERATIONS = 1
    NOT_FINITE = 2
    DEADLINE = 3
    INFEASIBLE_PROBLEM = 4


@dataclass(frozen=True)
class MpcConfig(Weights):
    """Bounds and weights, with the sizes and the method."""

    input_lags: int
    """nd"""
    output_lags: int
    """dd"""
    input_delay: int
    """d, samples"""
    horizon: int
    """N, samples"""
    control_horizon: int
    """Nc, planned commands"""
    first_cost_stage: int
    """First j whose output counts; d + 1 is the first that a command reaches."""
    iterations: int = 2
    line_search_trials: int = 4
    tail_continues: bool = True
    """The last move is repeated up to the horizon; else the last command is held."""
    method: Method = "gauss_newton"
    barrier: float = 0.0
    """s of the method soloway."""

    @property
    def commands(self) -> int:
        """m"""
        return len(self.command_min)

    @property
    def outputs(self) -> int:
        """n"""
        return len(self.output_weight)

    @property
    def planned(self) -> int:
        """N - d: commands that reach an output within the horizon."""
        return self.horizon - self.input_delay

    def stage_weight(self, j: int) -> np.ndarray:
        """Q of y_j (n,), zero before the first stage that counts."""
        if j < self.first_cost_stage:
            return np.zeros(self.outputs)
        return self.terminal_weight if j == self.horizon else self.output_weight


@dataclass
class MpcState:
    """What the network remembers, and the plan to start from; lags newest first, normalised."""

    commands: np.ndarray
    """(d + nd, m): u(k-1), u(k-2), …"""
    outputs: np.ndarray
    """(dd, n): y(k), y(k-1), …"""
    signals: np.ndarray
    """(p,) of sample k; the caller sets them before each step."""
    plan: np.ndarray
    """(Nc, m): u_0 … u_Nc-1"""
    network: np.ndarray = field(default_factory=lambda: np.zeros(0))
    """(s,) state of a recurrent network, before it predicts y(k+1)."""


@dataclass(frozen=True)
class MpcResult:
    status: Status
    iterations: int
    """Linearisations made."""
    trials: int
    """Plans tried by the line searches of all iterations."""
    cost: float
    """Of the plan; 0 where it is not known."""
    command: np.ndarray
    """(m,) u(k), normalised, within its bounds."""


@dataclass(frozen=True)
class Plan:
    """Commands within their bounds, and what they lead to."""

    commands: np.ndarray
    """(N - d, m): u_0 … u_N-1-d, the planned ones first."""
    stop: np.ndarray
    """(m,) first j of a continued tail whose command its bound stops, else N - d."""
    outputs: np.ndarray
    """(N, n): y_1 … y_N"""
    cost: float


@dataclass(frozen=True)
class Quadratic:
    """cost/2 + g·z + z·H z/2 in a step z (Nc*m,) of u_0 … u_Nc-1."""

    gradient: np.ndarray
    """g (Nc*m,)"""
    hessian: np.ndarray
    """H (Nc*m, Nc*m)"""


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
    handed = fk.step(*_arguments(x, state.network))
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


def feasible(config: MpcConfig, last: np.ndarray) -> bool:
    """Whether any command is within its bounds and its move from `last` (m,)."""
    low, high, move_max = config.command_min, config.command_max, config.move_max
    reachable = (last + move_max >= low) & (last - move_max <= high)
    return bool(((low <= high) & (move_max >= 0) & reachable).all())


def bounded(config: MpcConfig, last: np.ndarray, commands: np.ndarray) -> np.ndarray:
    """`commands` (Nc, m) as near as the bounds let them be, each after the one before it."""
    result = np.zeros_like(commands)
    for i, wanted in enumerate(commands):
        near = np.clip(wanted, last - config.move_max, last + config.move_max)
        last = result[i] = np.clip(near, config.command_min, config.command_max)
    return result


def predict(
    config: MpcConfig,
    fk: ForwardKinematics,
    state: MpcState,
    reference: np.ndarray,
    planned: np.ndarray,
) -> Plan:
    """The plan of `planned` (Nc, m), which are within their bounds, rolled out, with its cost."""
    commands, stop = _extended(config, state.commands[0], planned)
    y, _ = _roll_out(config, fk, state, commands)
    cost = sum(
        (config.stage_weight(j) * (y[j - 1] - reference[j - 1]) ** 2).sum()
        + (config.bound_weight * _excess(config, y[j - 1]) ** 2).sum()
        * (j >= config.first_cost_stage)
        for j in range(1, config.horizon + 1)
    )
    moves = np.diff(np.vstack([state.commands[0], planned]), axis=0)
    cost += (config.move_weight * moves**2).sum()
    cost += (config.command_weight * (commands - config.command_reference) ** 2).sum()
    if config.method == "soloway":
        cost += _barrier(config, planned)[0].sum()
    return Plan(commands, stop, y, float(cost))


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
    _, inputs = _roll_out(config, fk, state, plan.commands)
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
        s, y = sensitivities[j - 1, :n], plan.outputs[j - 1]
        excess = _excess(config, y)
        output_slopes[j - 1] = (
            config.stage_weight(j) * (y - reference[j - 1]) + config.bound_weight * excess
        )
        weight = config.stage_weight(j) + config.bound_weight * (excess != 0)
        gradient += s.T @ output_slopes[j - 1]
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
        _, slope, curvature = _barrier(config, planned)
        gradient += slope.ravel()
        hessian += np.diag(curvature.ravel())
    adjoints = _adjoints(config, jacobians, output_slopes)
    second = sum(
        d.T @ fk.curvature(*x, adjoint) @ d
        for d, x, adjoint in zip(directions, inputs, adjoints, strict=True)
    )
    for share in (1.0, 0.5, 0.25, 0.0):  # as much of it as leaves the sum positive definite
        if _factor(hessian + share * second) is not None:
            break
    return Quadratic(gradient, hessian + share * second)


# --------------------------------------------------------------------------- the step


def newton_step(
    config: MpcConfig,
    last: np.ndarray,
    planned: np.ndarray,
    model: Quadratic,
    enough: float = 0.0,
) -> tuple[np.ndarray, float]:
    """To where `model` is lowest within the bounds, nearly: the commands (Nc, m) after `planned`,
    and by how much half the model falls, to first order; no more than `enough` if nothing better
    is found. NaN if the model has no finite minimum.

    See firmware/src/solver/bounded_step.c for why it is done this way.
    """
    m = config.commands
    order = np.arange(planned.size).reshape(planned.shape)[::-1].ravel()  # newest first, as in C
    way = _Way(config, planned.ravel()[order], last)
    g, h = model.gradient[order], model.hessian[np.ix_(order, order)]
    moving, leader = _groups(way, -g)
    tie = np.zeros((planned.size, planned.size))
    for group in moving:
        tie[group, group[0]] = 1.0
    unmoved = [v for v in range(planned.size) if leader[v] != v]
    reduced = tie.T @ h @ tie
    reduced[unmoved, unmoved] = 1.0
    factor = _factor(reduced[::-1, ::-1])
    if factor is None or not np.isfinite(g).all():
        return np.full(planned.shape, np.nan), np.nan
    factor = factor[::-1, ::-1].T  # A = L' L, from the last row up
    y = np.linalg.solve(factor.T, tie.T @ -g)
    met = False
    for v in range(planned.size):
        step = 0.0
        if leader[v] == v:
            step = (y[v] - factor[v, :v] @ way.z[:v]) / factor[v, v]
        elif leader[v] is not None:
            step = way.z[leader[v]]
        low, high = way.low[v], way.high[v]
        if v >= m:
            after, move_max = way.to[v - m], config.move_max[v % m]
            low, high = max(low, after - move_max), min(high, after + move_max)
        wanted = way.start[v] + step
        way.put(v, min(max(wanted, low), high), step)
        met = met or way.to[v] != wanted
    for turn in range(2 if met or unmoved else 0):
        if -g @ way.z <= enough:  # ends cut off can lead uphill: from the plan itself, then
            for v in range(planned.size):
                way.put(v, way.start[v], 0.0)
        elif turn > 0:
            break
        _sweep(way, g, h)
    return way.to[: planned.size].reshape(planned.shape)[::-1].copy(), float(-g @ way.z)


class _Way:
    """Where the planned commands are and will be, newest first; behind them u_-1."""

    def __init__(self, config: MpcConfig, start: np.ndarray, last: np.ndarray) -> None:
        self.config, self.m, self.size = config, config.commands, len(start)
        self.start = np.append(start, last)
        self.to = self.start.copy()
        self.z = np.zeros(self.size)
        """to - start"""
        moves = np.arange(self.size // self.m, 0, -1)[:, None] * config.move_max
        self.low = np.maximum(config.command_min, last - moves).ravel()
        """What u_-1 can reach in as many moves."""
        self.high = np.minimum(config.command_max, last + moves).ravel()

    def put(self, v: int, command: float, step: float) -> None:
        self.to[v] = command
        self.z[v] = step if command == self.start[v] + step else command - self.start[v]

    def on_move_limit(self, v: int) -> bool:
        """Whether the move from v to the command after it is at its limit."""
        after = v - self.m
        limit = self.config.move_max[v % self.m] - BOUND_TOLERANCE
        return after >= 0 and abs(self.to[after] - self.to[v]) >= limit


def _groups(way: _Way, push: np.ndarray) -> tuple[list[list[int]], list[int | None]]:
    """What moves together, the last command of each first; and for each variable the first of its
    group, None if it is held.

    What stands on its move limit and is pushed against it moves with the command before it; what
    stands on a bound and is pushed against that is held, with all that would move with it.
    """
    config, m = way.config, way.m
    moving: list[list[int]] = []
    leader: list[int | None] = [None] * way.size
    for c in range(m):
        members: list[int] = []
        held = False
        for v in range(c, way.size, m):
            members.append(v)
            total, u = push[members].sum(), way.start[v]
            move = u - way.start[v + m]
            if total > 0:
                held = held or u >= config.command_max[c] - BOUND_TOLERANCE
            elif total < 0:
                held = held or u <= config.command_min[c] + BOUND_TOLERANCE
            stopped = np.sign(total) * move >= config.move_max[c] - BOUND_TOLERANCE
            stopped = total != 0 and stopped
            if stopped and v + m < way.size:
                continue
            if not (stopped or held):
                moving.append(members)
                for w in members:
                    leader[w] = members[0]
            members, held = [], False
    return moving, leader


def _sweep(way: _Way, g: np.ndarray, h: np.ndarray) -> None:
    """Coordinate descent in place: the commands of each channel from the last to the first, each by
    itself, then, if something stopped it, together with so many of those after it as stand on the
    move limits between."""
    config, m = way.config, way.m

    def move(group: list[int]) -> bool:
        first, end = group[0], group[-1]
        c, move_max = first % m, config.move_max[first % m]
        lows = [config.command_min[c] - way.to[w] for w in group]
        highs = [config.command_max[c] - way.to[w] for w in group]
        neighbours = [way.to[first + m] - way.to[first]]
        if end >= m:
            neighbours.append(way.to[end - m] - way.to[end])
        low = max(*lows, *(n - move_max for n in neighbours))
        high = min(*highs, *(n + move_max for n in neighbours))
        curvature = h[np.ix_(group, group)].sum()
        wanted = -(g + h @ way.z)[group].sum() / curvature
        step = min(max(wanted, low), high)
        for w in group:
            way.put(w, way.to[w] + step, way.to[w] + step - way.start[w])
        return step != wanted

    for c in range(m):
        for v in range(c, way.size, m):
            group = [v]
            stopped = move(group)
            while stopped and way.on_move_limit(group[-1]):
                group.append(group[-1] - m)
                move(group)


def _factor(hessian: np.ndarray) -> np.ndarray | None:
    """Cholesky factor of the damped Hessian; None if it has none."""
    damped = hessian + DAMPING * np.diag(np.diag(hessian)) + TINY * np.eye(len(hessian))
    if not np.isfinite(damped).all():
        return None
    try:
        return np.linalg.cholesky(damped)
    except np.linalg.LinAlgError:
        return None


# --------------------------------------------------------------------------- parts of the problem


def _excess(config: MpcConfig, y: np.ndarray) -> np.ndarray:
    """(n,) of y (n,) over its soft bounds, signed."""
    return y - np.clip(y, config.output_min, config.output_max)


def _barrier(config: MpcConfig, planned: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Soloway and Haley's barrier for each planned command, half its slope, half its curvature.

    It rises no further than at BARRIER_EDGE of the range from a bound.
    """
    s, extent = config.barrier, config.command_max - config.command_min
    below = np.maximum(planned - config.command_min, BARRIER_EDGE * extent)
    above = np.maximum(config.command_max - planned, BARRIER_EDGE * extent)
    cost = s / below + s / above - 4 * s / extent
    return cost, 0.5 * (s / above**2 - s / below**2), s / above**3 + s / below**3


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


def _extended(
    config: MpcConfig, last: np.ndarray, planned: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """All commands (N - d, m) of a plan, and from where on a bound stops a continued tail."""
    commands, stop = list(planned), np.full(config.commands, config.planned)
    move = planned[-1] - (planned[-2] if len(planned) > 1 else last)
    for j in range(config.control_horizon, config.planned):
        wanted = commands[-1] + (move if config.tail_continues else 0.0)
        commands.append(np.clip(wanted, config.command_min, config.command_max))
        stopped = np.abs(wanted - commands[-1]) > BOUND_TOLERANCE
        stop = np.where(stopped, np.minimum(stop, j), stop)
    return np.array(commands), stop


def _arguments(x: np.ndarray, network: np.ndarray) -> tuple[np.ndarray, ...]:
    """What the functions of a ForwardKinematics take."""
    return (x, network) if network.size else (x,)


def _roll_out(
    config: MpcConfig, fk: ForwardKinematics, state: MpcState, commands: np.ndarray
) -> tuple[np.ndarray, list[tuple[np.ndarray, ...]]]:
    """y_1 … y_N (N, n) of u_0 … (N - d, m), and the arguments of fk at each stage."""
    known_commands = np.vstack([commands[::-1], state.commands])  # newest first
    outputs, network, inputs = list(state.outputs), state.network, []
    for j in range(config.horizon):
        newest = config.horizon - 1 - j
        lags = known_commands[newest : newest + config.input_lags]
        x = np.concatenate([lags.ravel(), *outputs[: config.output_lags], state.signals])
        inputs.append(_arguments(x, network))
        handed = fk.step(*inputs[-1])
        outputs.insert(0, handed[: config.outputs])
        network = handed[config.outputs :]
    return np.array(outputs[: config.horizon][::-1]), inputs


def _hold_command(
    config: MpcConfig, state: MpcState, status: Status, iterations: int, trials: int
) -> MpcResult:
    """Answer to what cannot be solved: the last command, as far as it is within the bounds."""
    last = np.where(np.isfinite(state.commands[0]), state.commands[0], 0.0)
    command = np.clip(last, config.command_min, config.command_max)
    state.plan = np.tile(command, (config.control_horizon, 1))
    return MpcResult(status, iterations, trials, 0.0, command)
