"""The oracle's problem, and what a plan leads to: commands rolled out through the network, cost.

Everything is in the network's normalised units. The host's slow form of firmware/src/solver/plan.c;
the problem itself is stated in firmware/src/solver/mpc.h.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np

from soft_control.control.problem import Weights

BOUND_TOLERANCE = 1e-5
"""A normalised command so near to a bound stands on it, as in firmware/src/solver/plan.h."""
BARRIER_EDGE = 1e-3
"""Share of a command's range: nearer to a bound than that the barrier rises no further."""

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


@dataclass(frozen=True)
class MpcConfig(Weights):
    """Bounds and weights, with the sizes and the method, of the controller to be compared with."""

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
class Plan:
    """Commands within their bounds, and what they lead to."""

    commands: np.ndarray
    """(N - d, m): u_0 … u_N-1-d, the planned ones first."""
    stop: np.ndarray
    """(m,) first j of a continued tail whose command its bound stops, else N - d."""
    outputs: np.ndarray
    """(N, n): y_1 … y_N"""
    cost: float


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
    y, _ = roll_out(config, fk, state, commands)
    z = [config.robot_output(of_stage) for of_stage in y]
    cost = sum(
        (config.stage_weight(j) * (z[j - 1] - reference[j - 1]) ** 2).sum()
        + (config.bound_weight * over_bounds(config, z[j - 1]) ** 2).sum()
        * (j >= config.first_cost_stage)
        for j in range(1, config.horizon + 1)
    )
    moves = np.diff(np.vstack([state.commands[0], planned]), axis=0)
    cost += (config.move_weight * moves**2).sum()
    cost += (config.command_weight * (commands - config.command_reference) ** 2).sum()
    if config.method == "soloway":
        cost += barrier(config, planned)[0].sum()
    return Plan(commands, stop, y, float(cost))


def _extended(
    config: MpcConfig, last: np.ndarray, planned: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """All commands (N - d, m) of a plan, and for each channel the first of a continued tail that a
    bound has stopped, (m,)."""
    commands, stop = list(planned), np.full(config.commands, config.planned)
    move = planned[-1] - (planned[-2] if len(planned) > 1 else last)
    for j in range(config.control_horizon, config.planned):
        wanted = commands[-1] + (move if config.tail_continues else 0.0)
        commands.append(np.clip(wanted, config.command_min, config.command_max))
        stopped = np.abs(wanted - commands[-1]) > BOUND_TOLERANCE
        stop = np.where(stopped, np.minimum(stop, j), stop)
    return np.array(commands), stop


def arguments(x: np.ndarray, network: np.ndarray) -> tuple[np.ndarray, ...]:
    """What the functions of a ForwardKinematics take."""
    return (x, network) if network.size else (x,)


def roll_out(
    config: MpcConfig, fk: ForwardKinematics, state: MpcState, commands: np.ndarray
) -> tuple[np.ndarray, list[tuple[np.ndarray, ...]]]:
    """y_1 … y_N (N, n) of u_0 … (N - d, m), and the arguments of fk at each stage."""
    known_commands = np.vstack([commands[::-1], state.commands])  # newest first
    outputs, network, inputs = list(state.outputs), state.network, []
    for j in range(config.horizon):
        newest = config.horizon - 1 - j
        lags = known_commands[newest : newest + config.input_lags]
        x = np.concatenate([lags.ravel(), *outputs[: config.output_lags], state.signals])
        inputs.append(arguments(x, network))
        handed = fk.step(*inputs[-1])
        outputs.insert(0, handed[: config.outputs])
        network = handed[config.outputs :]
    return np.array(outputs[: config.horizon][::-1]), inputs


def over_bounds(config: MpcConfig, z: np.ndarray) -> np.ndarray:
    """(n,) of the robot's outputs z (n,) over their soft bounds, signed."""
    return z - np.clip(z, config.output_min, config.output_max)


def barrier(config: MpcConfig, planned: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Soloway and Haley's barrier for each planned command, half its slope, half its curvature.

    It rises no further than at BARRIER_EDGE of the range from a bound.
    """
    s, extent = config.barrier, config.command_max - config.command_min
    below = np.maximum(planned - config.command_min, BARRIER_EDGE * extent)
    above = np.maximum(config.command_max - planned, BARRIER_EDGE * extent)
    cost = s / below + s / above - 4 * s / extent
    return cost, 0.5 * (s / above**2 - s / below**2), s / above**3 + s / below**3
