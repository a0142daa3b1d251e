"""Static inverse: the command at which the trained network rests at the reference.

It is feed-forward. Alone it is a controller that needs no measured outputs; what it does not know,
the load and gain of the day, friction, creep, it does not correct. With a lead it takes the
reference of later, by about what delay and lag of the robot come to.

The network rests where its increment g(u, y) = 0 (learning/rest.py). Of such pairs the nearest to
the reference r is wanted, within the limits of the commands:

    minimise  |W (y - r)|² + RESERVE |u|²    with  g(u, y) = 0,  u_min <= u <= u_max

by Newton's method on g and Gauss-Newton's on the sum, both in one step: g + G_u du + G_y dy = 0,

    dy = -G_y⁻¹ g - G_y⁻¹ G_u du

is put into the sum, which then is a quadratic in du with bounds (Nocedal and Wright, Numerical
Optimization, 2006, sections 10.3 and 18.1). The step begins where the one of the sample before
ended, so that the commands are as continuous as the reference, even where a robot has more commands
than outputs; only where another of the rests tabulated at first is better than what is found so,
as after a step of the reference, it begins there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from soft_control.learning.rest import RestingNetwork

RESERVE = 1e-6
"""Weight of the commands' distance from where they are normalised about, mid-range: it chooses
among commands that rest at the same outputs, and costs a millionth of the range else."""
TRUST = 0.25
"""Largest move of a normalised command in one step: an eighth of its range."""
STEPS = 50
"""Of one sample at most; along a curve two or three are enough."""
SETTLED = 1e-6
"""Normalised: a step that moves less is the last. What is left of g then is of its square."""
ROUNDING = 1e-12
"""Of the sum that is minimised: a step that raises it by no more is none too far."""
TURNS = 50
"""Of a quadratic's minimum within bounds: sets of commands that are tried at their limits."""
TABLED = 1024
"""Rests that are tabulated at most, but for robots of so many commands that a grid has more."""
GRID = 100
"""Of them along each command at most."""
ROUNDS = 3000
"""Samples for which a network may move until it rests; those of the rigs need 160."""
RESTS = 1e-6
"""Normalised: what moves less in a sample is at rest."""


class NeverRests(ValueError):
    """A network that settles under no command."""


@dataclass(frozen=True)
class StaticInverseConfig:
    """What the law works with; (m,) in the units of the commands."""

    network: RestingNetwork
    command_min: np.ndarray
    """(m,)"""
    command_max: np.ndarray
    """(m,)"""
    lead_s: float = 0.0
    """How far the reference is ahead of the sample."""
    takeover_s: float = 0.3
    """Time constant with which what another controller's last command was off goes away."""


@dataclass
class StaticInverseState:
    """What the law remembers; normalised."""

    tabled: tuple[np.ndarray, np.ndarray]
    """Commands (K, m) and outputs (K, n) at which the network rests."""
    command: np.ndarray
    """(m,)"""
    outputs: np.ndarray
    """(n,) at which it rests under that command."""
    off: np.ndarray | None = None
    """(m,) in the units of the commands: what is left of another controller's command."""


def reset(config: StaticInverseConfig) -> StaticInverseState:
    """Tabulates rests, some tenths of a second; the first sample begins at the nearest of them.

    Raises NeverRests where there is none.
    """
    low, high = limits(config)
    commands, outputs = settle(config.network, grid(low, high))
    if not len(commands):
        raise NeverRests("the network settles under no command: train it again")
    middle = np.argmin(np.sum((commands - (low + high) / 2) ** 2, axis=1))
    return StaticInverseState((commands, outputs), commands[middle], outputs[middle])


def step(
    config: StaticInverseConfig, state: StaticInverseState, ahead: np.ndarray, period_s: float
) -> np.ndarray:
    """Command (m,) for the references (H + 1, n) of this sample and those after it, a period
    apart. A lead beyond the last of them takes the last; one that is not finite moves nothing."""
    command = forward(config, state, ahead, period_s)
    if state.off is None:
        return command
    state.off = state.off * math.exp(-period_s / config.takeover_s)
    return np.clip(command + state.off, config.command_min, config.command_max)


def track(
    config: StaticInverseConfig,
    state: StaticInverseState,
    command: np.ndarray,
    ahead: np.ndarray,
    period_s: float,
) -> None:
    """In place of `step` while somebody else finds the `command` (m,) of these references: the
    first step of its own goes on from there."""
    state.off = command - forward(config, state, ahead, period_s)


def forward(
    config: StaticInverseConfig, state: StaticInverseState, ahead: np.ndarray, period_s: float
) -> np.ndarray:
    """The command (m,) of `step`, whoever has found the one before: what a controller that sees the
    outputs adds its own to."""
    network, numbers = config.network, config.network.numbers
    wanted = at_lead(ahead, config.lead_s, period_s)
    wanted = (wanted - numbers["output_offset"]) / numbers["output_scale"]
    if np.isfinite(wanted).all():
        found = _nearest(network, state.command, state.outputs, wanted, limits(config))
        commands, outputs = state.tabled
        costs = _cost(network, commands, outputs, wanted)
        best = int(np.argmin(costs))
        if not _cost(network, *found, wanted) <= costs[best]:
            found = _nearest(network, commands[best], outputs[best], wanted, limits(config))
        if all(np.isfinite(values).all() for values in found):
            state.command, state.outputs = found
    physical = state.command * numbers["command_scale"] + numbers["command_offset"]
    return np.clip(physical, config.command_min, config.command_max)


def at_lead(ahead: np.ndarray, lead_s: float, period_s: float) -> np.ndarray:
    """Of rows (H + 1, n), a period apart, the one (n,) a lead after the first: in straight lines
    between two rows, and the last beyond it."""
    place = min(lead_s / period_s, len(ahead) - 1.0)
    before = min(int(place), max(len(ahead) - 2, 0))
    share = place - before
    return ahead[before] + share * (ahead[before + 1] - ahead[before]) if share else ahead[before]


def limits(config: StaticInverseConfig) -> tuple[np.ndarray, np.ndarray]:
    """Of the commands, (m,) each, normalised."""
    numbers = config.network.numbers
    offset, scale = numbers["command_offset"], numbers["command_scale"]
    return (config.command_min - offset) / scale, (config.command_max - offset) / scale


def grid(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Commands (K, m) all over the limits (m,): evenly, or drawn at random (seeded) where three
    along each command are too many."""
    commands = len(low)
    along = min(GRID, int(TABLED ** (1 / commands) + 1e-9))
    if along < 3:
        return np.random.default_rng(0).uniform(low, high, (TABLED, commands))
    axes = [np.linspace(a, b, along) for a, b in zip(low, high, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, commands)


def settle(network: RestingNetwork, commands: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Those of the normalised commands (K, m) under which the network comes to rest when it sets
    out from the mean of what it was trained on, and the outputs (K, n) there."""
    outputs = np.zeros((len(commands), len(network.output_offset)))
    signals = network.at_rest(commands)
    with np.errstate(over="ignore", invalid="ignore"):  # some may run away
        for _ in range(ROUNDS):
            increment = network.increment(commands, outputs, signals)
            outputs = outputs + increment
            moving = np.max(np.abs(increment), axis=1)
            if not np.any(moving > RESTS):
                break
    rests = moving <= RESTS
    return commands[rests], outputs[rests]


def _cost(
    network: RestingNetwork, command: np.ndarray, outputs: np.ndarray, wanted: np.ndarray
) -> np.ndarray:
    """(…) of commands (…, m) and outputs (…, n)."""
    missed = network.numbers["output_weight"] * (outputs - wanted)
    return np.sum(missed**2, axis=-1) + RESERVE * np.sum(command**2, axis=-1)


def _nearest(
    network: RestingNetwork,
    command: np.ndarray,
    outputs: np.ndarray,
    wanted: np.ndarray,
    bounds: tuple[np.ndarray, np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
    """The rest nearest to what is wanted, by the module's steps from another one."""
    low, high = bounds
    weight = network.numbers["output_weight"]
    here = None
    trust, least, move = TRUST, np.inf, np.zeros(len(command))
    for _ in range(STEPS):
        increment, by_command, by_output = network.jacobian(command, outputs)
        try:
            solved = np.linalg.solve(by_output, np.column_stack([increment, by_command]))
        except np.linalg.LinAlgError:
            break  # no rest is near: the caller has others to begin from
        straight, slopes = -solved[:, 0], -solved[:, 1:]
        cost = _cost(network, command, outputs + straight, wanted)
        if cost <= least + ROUNDING:
            here, least = (command, outputs, straight, slopes), cost
        elif here is None:
            break
        else:  # too far, where rests bend away: from the last one less far
            trust = 0.5 * np.max(np.abs(move))
        command, outputs, straight, slopes = here
        missed, weighted = weight * (outputs + straight - wanted), weight[:, None] * slopes
        move = bounded_minimum(
            weighted.T @ weighted + RESERVE * np.eye(len(command)),
            weighted.T @ missed + RESERVE * command,
            np.maximum(low - command, -trust),
            np.minimum(high - command, trust),
        )
        change = straight + slopes @ move
        command, outputs = command + move, outputs + change
        if max(np.max(np.abs(move)), np.max(np.abs(change))) < SETTLED:
            break
    return command, outputs


def bounded_minimum(
    curvature: np.ndarray, gradient: np.ndarray, low: np.ndarray, high: np.ndarray
) -> np.ndarray:
    """x (m,) within low and high that minimises x·curvature·x / 2 + gradient·x.

    Those that would go beyond a limit are put there, and the one that pulls away most is let go,
    until neither happens (Kunisch and Rendl, SIAM J. Optim. 14, 2003). On the HASEL rig, which has
    more commands than outputs, coordinate descent took 11 ms a sample at a limit, this 0.7 ms.
    """
    at = np.zeros(len(gradient), dtype=int)  # -1, 1: held at its lower, upper limit
    for _ in range(TURNS):
        x = np.where(at < 0, low, np.where(at > 0, high, 0.0))
        free = at == 0
        if free.any():
            pull = gradient + curvature @ x
            x[free] = np.linalg.solve(curvature[np.ix_(free, free)], -pull[free])
        beyond = np.where(free, (x > high).astype(int) - (x < low), 0)
        if beyond.any():
            at += beyond
            continue
        pull = at * (gradient + curvature @ x)
        if not np.any(pull > 0):
            return x
        at[np.argmax(pull)] = 0
    return np.clip(x, low, high)
