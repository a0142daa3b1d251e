"""Bounds of the learned network's derivatives over a whole box of inputs, by interval arithmetic.

    y(k+1) = y(k) + W2' tanh(W1' x + b1) + b2        J = [dy/dy(k)] + W2' diag(1 - tanh^2(z)) W1'

x in a box gives each z an interval, that an interval of 1 - tanh^2(z), and these give one of every
entry of J (Moore, "Interval analysis", 1966). No x of the box has an entry outside: sums of
intervals forget what their terms have in common, so the bound is above what any x reaches. To lose
less, lags are given as the newest value and the moves before it, which are small, and what is asked
of several lags together is bounded as one direction. Halving the box into 16,384 pieces took 2 s
and lowered no bound of the demo by more than 0.02 percent: each unit still goes from one end of its
tanh to the other.

Numbers are float64; what rounding may add is added (ROUNDING). The firmware computes in float32,
and differs from this by some 1e-6 of the scale of an output.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from soft_control.control.mpc_settings import MpcSettings, first_cost_stage, physical_settings
from soft_control.learning.model import IncrementNetwork, Model, ModelCard

ROUNDING = 1e-9
"""Of each bound, and as such: float64 rounds a sum of thousands of terms by less than 1e-12 of
them."""
HEADROOM = 0.05
"""Of the recorded range of outputs and signals, by which the box is larger on either side."""
OUTPUT_MOVE = 0.05
"""Of that range, by which an output moves from a sample to the next at most. In the four recordings
that the demo's model was trained on it was 0.020."""
UNRECORDED = 1.5
"""Scales on either side of the offset, where a card does not say how far its recordings went."""


@dataclass(frozen=True)
class Box:
    """Inputs of the network x (inputs,) = basis (inputs, q) v, v between low and high (q,): for
    each channel its newest value and, for each older one, by how much it was another one than the
    one after it. All normalised."""

    low: np.ndarray
    high: np.ndarray
    basis: np.ndarray


def box_of(card: ModelCard) -> Box:
    """Commands within the robot's limits and its limits of speed; outputs and signals as far as the
    recordings went and HEADROOM beyond, outputs no faster than OUTPUT_MOVE a sample. Slow means of
    the commands are anywhere within their limits."""
    robot, m = card.robot, len(card.command_names)
    commands = card.normalised_command(np.array([robot.command_min, robot.command_max]))
    span = commands[1] - commands[0]
    speeds = [c.speed_max for c in robot.commands]
    moves = np.array([
        min(speed / card.rate_hz / scale, full) if speed is not None else full
        for speed, scale, full in zip(speeds, card.command_scale, span, strict=True)
    ])  # fmt: skip
    if card.trained is None:
        outputs = UNRECORDED * np.outer([-1.0, 1.0], np.ones(len(card.output_names)))
        signals = UNRECORDED * np.outer([-1.0, 1.0], np.ones(len(card.signal_names)))
    else:
        outputs = _wider(card.normalised_output(np.array(card.trained.outputs).T))
        ranges = np.array(card.trained.signals).reshape(-1, 2).T
        signals = _wider(card.normalised_signal(ranges))
    output_moves = OUTPUT_MOVE * (outputs[1] - outputs[0])
    parts = [commands, *(_either_way(moves) for _ in range(card.input_lags - 1)), outputs]
    parts += [*(_either_way(output_moves) for _ in range(card.output_lags - 1)), signals]
    parts += [commands] * len(card.memory_s)
    low, high = np.hstack(parts)
    basis = np.zeros((len(low), len(low)))
    for first, lags, channels in (
        (0, card.input_lags, m),
        (card.command_columns, card.output_lags, len(card.output_names)),
        (
            card.command_columns + card.output_columns,
            1,
            len(card.signal_names) + card.memory_columns,
        ),
    ):
        size = lags * channels
        below = np.kron(np.tril(np.ones((lags, lags))), np.eye(channels))
        basis[first : first + size, first : first + size] = below
    return Box(low, high, basis)


def _either_way(moves: np.ndarray) -> np.ndarray:
    return np.array([-moves, moves])


def _wider(ranges: np.ndarray) -> np.ndarray:
    more = HEADROOM * (ranges[1] - ranges[0])
    return ranges + np.array([[-1.0], [1.0]]) * more


@dataclass(frozen=True)
class JacobianBound:
    """Bounds of derivatives of the next output, (n, …), normalised."""

    card: ModelCard
    by_lags: np.ndarray
    """(2, n, columns): least and most by each command and output lag."""
    by_held: np.ndarray
    """(2, n, m + n): by a command that all its lags are, and by an output that is that in all of
    its."""

    @property
    def lipschitz(self) -> float:
        """Of the next output by all lags, in the 2-norm of normalised values."""
        return float(np.linalg.norm(_magnitude(self.by_lags), 2))

    @property
    def command_gain(self) -> np.ndarray:
        """(n, m): how far an output moves at the next sample, by a command that all lags are, at
        most; in the output's unit over the command's."""
        m = len(self.card.command_names)
        return _magnitude(self.by_held)[:, :m] * self._units

    @property
    def forgetting(self) -> float:
        """The largest sum of magnitudes of the derivatives of one output by all past ones. Below 1
        a free run forgets where it began, however it began."""
        return float(_magnitude(self.by_lags)[:, self.card.command_columns :].sum(axis=1).max())

    def horizon_gain(self, samples: int) -> np.ndarray:
        """(n, m): how far an output moves within `samples`, by a command held from the first on, at
        most; in the output's unit over the command's.

        |dy(k+t)/du| <= sum over lags of |J_u| + sum over lags l of |J_y,l| |dy(k+t-l)/du|
        """
        m, n = len(self.card.command_names), len(self.card.output_names)
        magnitude, columns = _magnitude(self.by_lags), self.card.command_columns
        by_command = magnitude[:, :columns].reshape(n, -1, m)
        by_output = magnitude[:, columns:].reshape(n, -1, n)
        past = [np.zeros((n, m)) for _ in range(self.card.output_lags)]
        most = np.zeros((n, m))
        for t in range(samples):
            now = by_command[:, : t + 1].sum(axis=1)
            now = now + sum(by_output[:, lag] @ past[lag] for lag in range(len(past)))
            past = [now, *past[:-1]]
            most = np.maximum(most, now)
        return most * self._units

    @property
    def loop_gain(self) -> float:
        """How far the next output moves at most for each unit that the command is moved by, all
        lags of it: normalised, in the 2-norm. Times the gain of a controller this bounds the gain
        of the loop."""
        m = len(self.card.command_names)
        return float(np.linalg.norm(_magnitude(self.by_held)[:, :m], 2))

    @property
    def _units(self) -> np.ndarray:
        return np.divide.outer(np.array(self.card.output_scale), np.array(self.card.command_scale))


def _magnitude(bounds: np.ndarray) -> np.ndarray:
    return np.abs(bounds).max(axis=0)


def directions_of(card: ModelCard) -> np.ndarray:
    """(inputs, columns + m + n): each lag by itself; all lags of a command; all lags of an
    output."""
    m, n = len(card.command_names), len(card.output_names)
    columns = card.command_columns + card.output_columns
    directions = np.zeros((sum(card.input_sizes().values()), columns + m + n))
    directions[:columns, :columns] = np.eye(columns)
    for channel in range(m):
        directions[channel : card.command_columns : m, columns + channel] = 1.0
    for channel in range(n):
        directions[card.command_columns + channel : columns : n, columns + m + channel] = 1.0
    return directions


def bound_jacobian(model: Model, box: Box | None = None) -> JacobianBound:
    """Over the box, by default that of the card."""
    card, box = model.card, box or box_of(model.card)
    directions = directions_of(card)
    bounds = interval_jacobian(model.network, box, directions)
    bounds += directions[card.command_columns :][: len(card.output_names)]
    columns = card.command_columns + card.output_columns
    return JacobianBound(card, bounds[:, :, :columns], bounds[:, :, columns:])


def interval_jacobian(network: IncrementNetwork, box: Box, directions: np.ndarray) -> np.ndarray:
    """Least and most (2, n, k) of the layers' derivatives along directions (inputs, k); what y(k+1)
    has of y(k) besides the layers is not in them."""
    low, high, weights = box.low, box.high, box.basis.T @ network.layers[0][0]
    middle, spread = directions, np.zeros_like(directions)
    for number, (w, b) in enumerate(network.layers[:-1]):
        weights = w if number > 0 else weights
        z, r = (low + high) / 2 @ weights + b, (high - low) / 2 @ np.abs(weights)
        r = r + ROUNDING * (1.0 + np.abs(z))
        least, most = z - r, z + r
        # 1 - tanh^2 falls with |z|.
        nearest = np.where((least < 0) & (most > 0), 0.0, np.minimum(np.abs(least), np.abs(most)))
        steep = _slope(nearest)[:, None]
        flat = _slope(np.maximum(np.abs(least), np.abs(most)))[:, None]
        middle, spread = w.T @ middle, np.abs(w).T @ spread
        corners = [s * (middle + sign * spread) for s in (flat, steep) for sign in (-1, 1)]
        lower, upper = np.minimum.reduce(corners), np.maximum.reduce(corners)
        middle, spread = (lower + upper) / 2, (upper - lower) / 2
        low, high = np.tanh(least), np.tanh(most)
    w, _ = network.layers[-1]
    middle, spread = w.T @ middle, np.abs(w).T @ spread
    spread = spread + ROUNDING * (1.0 + np.abs(middle))
    return np.array([middle - spread, middle + spread])


def _slope(z: np.ndarray) -> np.ndarray:
    return 1.0 - np.tanh(z) ** 2


def mpc_gain(settings: MpcSettings, card: ModelCard) -> float:
    """How far the MPC moves its commands at most for an error that stays over the horizon;
    normalised, both in the 2-norm. Of one iteration, before its step meets a bound; infinite
    without a weight on moves.

    A Gauss-Newton step is (S'QS + R)^-1 S'Q e, e the errors over the stages that count. With R >= r
    I, K = (A'A + R)^-1 A' has K K' <= M^-1 - r M^-2 for M = A'A + R, whose eigenvalues are at most
    1 / (4 r), whatever A: the step is at most sqrt(q) / (2 sqrt(r)) |e|, whatever the network.
    """
    built = physical_settings(settings, card.robot)
    scale, output_scale = np.array(card.command_scale), np.array(card.output_scale)
    tracking = np.maximum(built["output_weight"], built["terminal_weight"])
    bounded = np.isfinite(built["output_min"]) | np.isfinite(built["output_max"])
    q = np.max((tracking + np.where(bounded, built["bound_weight"], 0.0)) * output_scale**2)
    # Moves of a plan from a command that is done: 2 - 2 cos(pi / (2 Nc + 1)) is the least
    # eigenvalue of the sum of their squares.
    least = 2.0 - 2.0 * np.cos(np.pi / (2 * settings.control_horizon + 1))
    r = np.min(np.array(built["move_weight"]) * scale**2) * least
    stages = settings.horizon - first_cost_stage(settings, card) + 1
    return float(np.sqrt(stages * q / r) / 2.0) if r > 0.0 else float("inf")
