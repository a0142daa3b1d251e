"""The oracle's step: where a quadratic is lowest within the bounds of commands and moves, nearly.

Bounds after Bertsekas, "Projected Newton methods for optimization problems with simple
constraints", 1982. The host's slow form of firmware/src/solver/bounded_step.c, which says why it is
done this way.
"""

from __future__ import annotations

import numpy as np

from soft_control.control.oracle_plan import BOUND_TOLERANCE, MpcConfig
from soft_control.control.oracle_quadratic import Quadratic, cholesky


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

    Three things happen in turn, as in firmware/src/solver/bounded_step.c, which says why: commands
    that a limit holds together become one variable, the quadratic is solved in those variables with
    each command cut off at its bounds as it is found, and where that cut something off, coordinate
    descent within the bounds makes up for it.

    The variables stand newest first, as in C: with Nc = 3 planned commands of two channels a, b

        number     0    1    2    3    4    5
        variable   a_2  b_2  a_1  b_1  a_0  b_0      behind them a_-1, b_-1, which are past
    """
    m = config.commands
    order = np.arange(planned.size).reshape(planned.shape)[::-1].ravel()
    way = _Way(config, planned.ravel()[order], last)
    g, h = model.gradient[order], model.hessian[np.ix_(order, order)]
    moving, leader = _groups(way, -g)
    # One column a group: 1 for each of its members. What is in no group stays where it is.
    tie = np.zeros((planned.size, planned.size))
    for group in moving:
        tie[group, group[0]] = 1.0
    unmoved = [v for v in range(planned.size) if leader[v] != v]
    reduced = tie.T @ h @ tie
    reduced[unmoved, unmoved] = 1.0
    factor = cholesky(reduced[::-1, ::-1])
    if factor is None or not np.isfinite(g).all():
        return np.full(planned.shape, np.nan), np.nan
    # A = L' L with L lower triangular, so that the newest command is known first.
    factor = factor[::-1, ::-1].T
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
        # A step whose ends were cut off may lead uphill: the descent then starts at the plan.
        if -g @ way.z <= enough:
            for v in range(planned.size):
                way.put(v, way.start[v], 0.0)
        elif turn > 0:
            break
        _sweep(way, g, h)
    return way.to[: planned.size].reshape(planned.shape)[::-1].copy(), float(-g @ way.z)


class _Way:
    """From where to where the planned commands go, newest first, and behind them the last past one,
    which stays."""

    def __init__(self, config: MpcConfig, start: np.ndarray, last: np.ndarray) -> None:
        self.config, self.m, self.size = config, config.commands, len(start)
        self.start = np.append(start, last)
        self.to = self.start.copy()
        self.z = np.zeros(self.size)
        """to - start, without the rounding of that difference where nothing was cut off."""
        moves = np.arange(self.size // self.m, 0, -1)[:, None] * config.move_max
        self.low = np.maximum(config.command_min, last - moves).ravel()
        """The lowest that is reached from the last past command in as many moves as there are."""
        self.high = np.minimum(config.command_max, last + moves).ravel()

    def put(self, v: int, command: float, step: float) -> None:
        """Lets variable `v` go to `command`, which is `step` away unless a bound cut it off."""
        self.to[v] = command
        self.z[v] = step if command == self.start[v] + step else command - self.start[v]

    def on_move_limit(self, v: int) -> bool:
        """Whether the move from v to the command after it is at its limit."""
        after = v - self.m
        limit = self.config.move_max[v % self.m] - BOUND_TOLERANCE
        return after >= 0 and abs(self.to[after] - self.to[v]) >= limit


def _groups(way: _Way, push: np.ndarray) -> tuple[list[list[int]], list[int | None]]:
    """The groups of commands that move together, each from its newest to its oldest member; and for
    each variable the first of its group, None if a bound holds it.

    A command on its move limit that is pushed (`push`, minus the gradient) against that limit can
    only move together with the command before it: they become one group, pushed by the sum. A
    command on a bound and pushed against it is held, and its group with it.
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
    """Coordinate descent in place, once through: each channel's commands from the newest to the
    oldest, each by itself.

    A command that its move limit stopped pulls the one after it along: it is moved again together
    with that one, then with two, for as long as the moves between them are at their limits.
    """
    config, m = way.config, way.m

    def move(group: list[int]) -> bool:
        """Moves the commands of `group` by one step to where the quadratic is lowest; whether a
        bound or a move limit at either end of the group stopped them."""
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
