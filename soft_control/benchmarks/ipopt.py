"""The problem of firmware/src/solver/mpc.h in CasADi, and its optimum by IPOPT, in float64.

An independent judge: built from the documented cost and from the meaning of the network's graph,
it shares no code with mpc.py or the generated C. Needs casadi (soft_control[test]).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import casadi as ca
import numpy as np

from nn4mc_codegen.graph.ir import Graph
from soft_control.control.problem import Sizes, Start, Weights, shape_of

Network = Callable[[ca.SX, ca.SX], tuple[ca.SX, ca.SX]]
"""Flat input (inputs,) and state (states,) -> output (n,) and the next state."""

ACTIVATIONS: dict[str, Callable[..., ca.SX]] = {
    "linear": lambda x: x,
    "relu": lambda x: ca.fmax(x, 0.0),
    "leaky_relu": lambda x, a: ca.if_else(x > 0, x, a * x),
    "elu": lambda x, a: ca.if_else(x > 0, x, a * ca.expm1(x)),
    "tanh": ca.tanh,
    "sigmoid": lambda x: 0.5 + 0.5 * ca.tanh(0.5 * x),
    "softplus": lambda x: ca.log1p(ca.exp(x)),
    "softsign": lambda x: x / (1 + ca.fabs(x)),
    "hard_sigmoid": lambda x, a: ca.fmin(ca.fmax(a * x + 0.5, 0.0), 1.0),
}


@dataclass(frozen=True)
class Optimum:
    """Where IPOPT ended."""

    plan: np.ndarray
    """(Nc, m) commands."""
    cost: float
    converged: bool
    iterations: int


def graph_network(graph: Graph) -> Network:
    """The expressions of a graph. Raises ValueError for an operator unknown here."""

    def network(x: ca.SX, state: ca.SX) -> tuple[ca.SX, ca.SX]:
        ends = np.cumsum([0, *(t.size for t in graph.inputs)])
        parts = zip(graph.inputs, ends[:-1], ends[1:], strict=True)
        values = {t: x[int(a) : int(b)] for t, a, b in parts}
        carried, at = [], 0
        for node in graph.nodes:
            inputs = [values[t] for t in node.inputs]
            if type(node.op).__name__ == "GRU":
                units = len(node.op.recurrent)
                values[node.output] = _gru(node.op, inputs[0], state[at : at + units])
                carried.append(values[node.output])
                at += units
            else:
                values[node.output] = _apply(node.op, inputs)
        return values[graph.output], ca.vertcat(*carried)

    return network


def _apply(op: object, inputs: Sequence[ca.SX]) -> ca.SX:
    kind = type(op).__name__
    if kind == "Dense":
        return _activate(op.activation, _matrix(op.kernel) @ inputs[0] + _matrix(op.bias))
    if kind == "Activation":
        return _activate(op, inputs[0])
    if kind == "Add":
        return sum(inputs[1:], inputs[0])
    if kind in ("Concatenate", "Flatten", "Reshape"):
        return ca.vertcat(*inputs)
    raise ValueError(f"no CasADi expression for operator {kind}")


def _gru(op: object, x: ca.SX, h: ca.SX) -> ca.SX:
    """One step, as Keras defines it: gates z, r and the candidate, side by side in the weights."""
    biases = np.reshape(op.bias, (-1, np.shape(op.kernel)[1]))
    sums = ca.vertsplit(_matrix(op.kernel) @ x + _matrix(biases[0]), len(op.recurrent))
    own = _matrix(op.recurrent) @ h + (_matrix(biases[1]) if len(biases) == 2 else 0)
    own = ca.vertsplit(own, len(op.recurrent))
    z, r = (_activate(op.recurrent_activation, sums[i] + own[i]) for i in range(2))
    if op.reset_after:
        inner = r * own[2]
    else:
        inner = _matrix(op.recurrent[:, 2 * len(op.recurrent) :]) @ (r * h)
    return z * h + (1 - z) * _activate(op.activation, sums[2] + inner)


def _matrix(values: np.ndarray) -> ca.DM:
    """Of a kernel as Keras stores it, transposed; of a bias, a column."""
    values = np.asarray(values, dtype=float)
    return ca.DM(values.T) if values.ndim == 2 else ca.DM(values)


def _activate(activation: object, x: ca.SX) -> ca.SX:
    return ACTIVATIONS[activation.name](x, **dict(activation.parameters))


class Problem:
    """One solver's problem, for any weights and start."""

    def __init__(self, network: Network, sizes: Sizes, symbol: type = ca.SX) -> None:
        """`symbol`: ca.MX keeps matrices whole, which suits large networks."""
        self.sizes = s = sizes
        plan = symbol.sym("plan", s.commands, s.control_horizon)  # a column a sample
        weights = {f.name: _symbol(symbol, f.name, s) for f in fields(Weights)}
        commands = symbol.sym("commands", s.commands, s.input_delay + s.input_lags)
        outputs = symbol.sym("outputs", s.outputs, max(s.output_lags, 1))
        signals = symbol.sym("signals", s.signals)
        reference = symbol.sym("reference", s.outputs, s.horizon)
        state = symbol.sym("state", s.states)

        sent = _commands(s, weights, plan, commands)
        of_network = _predict(network, s, sent, commands, outputs, signals, state)
        predicted = [weights["output_gain"].T @ y + weights["output_offset"] for y in of_network]
        residuals = _residuals(s, weights, sent, predicted, commands[:, 0], reference)
        cost = ca.sumsqr(residuals) + _excess_cost(s, weights, predicted)
        moves = plan - ca.horzcat(commands[:, 0], plan[:, :-1])

        z = ca.vec(plan)
        known = [*weights.values(), commands, outputs, signals, reference, state]
        p = ca.vertcat(*map(ca.vec, known))
        self.residuals = residuals, z, p
        """r, plan and all that is known, as symbols: the cost is r'r but for the soft bounds."""
        hessian, gradient = ca.hessian(cost, z)
        self._functions = {
            name: ca.Function(name, [z, p], [value])
            for name, value in (
                ("cost", cost),
                ("gradient", gradient),
                ("hessian", hessian),
                ("slopes", ca.jacobian(residuals, z)),
                ("moves", ca.vec(moves)),
            )
        }
        by_plan = ca.jacobian(ca.vec(moves), z)
        self._quadratic = ca.conic(
            "quadratic",
            "daqp",
            {"h": ca.Sparsity.dense(z.numel(), z.numel()), "a": by_plan.sparsity()},
        )
        self._moves_by_plan = ca.evalf(by_plan)
        self._solver = ca.nlpsol(
            "solver",
            "ipopt",
            {"x": z, "p": p, "f": cost, "g": ca.vec(moves)},
            {
                "print_time": False,
                "calc_lam_p": False,  # nobody asks, and the root of a weight of 0 has no slope
                "ipopt": {
                    "print_level": 0,
                    "sb": "yes",
                    "tol": 1e-10,
                    "acceptable_tol": 1e-8,
                    "max_iter": 200,
                    # Bounds as the solver holds them, not relaxed by 1e-8.
                    "bound_relax_factor": 0.0,
                },
            },
        )

    def cost(self, weights: Weights, start: Start, plan: np.ndarray) -> float:
        """Of the commands `plan` (Nc, m)."""
        return float(self._functions["cost"](np.ravel(plan), _known(weights, start)))

    def gradient(self, weights: Weights, start: Start, plan: np.ndarray) -> np.ndarray:
        """(Nc*m,) by the commands, a sample after the other."""
        return np.array(self._functions["gradient"](np.ravel(plan), _known(weights, start))).ravel()

    def hessian(self, weights: Weights, start: Start, plan: np.ndarray) -> np.ndarray:
        """(Nc*m, Nc*m)"""
        return np.array(self._functions["hessian"](np.ravel(plan), _known(weights, start)))

    def flat(self, weights: Weights, start: Start, plan: np.ndarray) -> np.ndarray:
        """Plan and all that is known, in the order of `residuals`."""
        return np.concatenate([np.ravel(plan), _known(weights, start)])

    def solve(self, weights: Weights, start: Start, plan: np.ndarray) -> Optimum:
        """The local optimum that IPOPT finds from `plan` (Nc, m)."""
        stages = self.sizes.control_horizon
        found = self._solver(
            x0=np.ravel(plan),
            p=_known(weights, start),
            lbx=np.tile(weights.command_min, stages),
            ubx=np.tile(weights.command_max, stages),
            lbg=np.tile(-weights.move_max, stages),
            ubg=np.tile(weights.move_max, stages),
        )
        stats = self._solver.stats()
        return Optimum(
            np.array(found["x"]).reshape(stages, -1),
            float(found["f"]),
            bool(stats["success"]),
            int(stats["iter_count"]),
        )

    def gauss_newton_step(self, weights: Weights, start: Start, plan: np.ndarray) -> np.ndarray:
        """(Nc, m) from `plan` to where Gauss and Newton's quadratic model is lowest within the
        bounds, found by an active-set method (DAQP). No soft bound may be exceeded: the model
        does not know them. Raises RuntimeError where DAQP fails."""
        z, known, stages = np.ravel(plan), _known(weights, start), self.sizes.control_horizon
        slopes = np.array(self._functions["slopes"](z, known))
        moves = np.array(self._functions["moves"](z, known)).ravel()
        move_max = np.tile(weights.move_max, stages)
        found = self._quadratic(
            h=2.0 * slopes.T @ slopes,
            g=self.gradient(weights, start, plan),
            a=self._moves_by_plan,
            lbx=np.tile(weights.command_min, stages) - z,
            ubx=np.tile(weights.command_max, stages) - z,
            lba=-move_max - moves,
            uba=move_max - moves,
        )
        return np.array(found["x"]).reshape(stages, -1)


def _symbol(symbol: type, name: str, s: Sizes) -> ca.SX:
    """Of a weight. CasADi counts a matrix by columns and NumPy by rows: it is the transpose."""
    return symbol.sym(name, *reversed(shape_of(name, s.commands, s.outputs)))


def _known(weights: Weights, start: Start) -> np.ndarray:
    parts = [getattr(weights, f.name) for f in fields(Weights)]
    parts += [start.commands, start.outputs, start.signals, start.reference, start.state]
    return np.concatenate([np.ravel(part) for part in parts])


def _commands(s: Sizes, weights: dict, plan: ca.SX, past: ca.SX) -> list[ca.SX]:
    """u_0 … u_N-1-d: the plan and its tail."""
    sent = [plan[:, j] for j in range(s.control_horizon)]
    before = sent[-2] if s.control_horizon > 1 else past[:, 0]
    move = sent[-1] - before
    while len(sent) < s.horizon - s.input_delay:
        following = sent[-1]
        if s.tail_continues:
            following = ca.fmax(
                ca.fmin(following + move, weights["command_max"]), weights["command_min"]
            )
        sent.append(following)
    return sent


def _predict(
    network: Network,
    s: Sizes,
    sent: list[ca.SX],
    commands: ca.SX,
    outputs: ca.SX,
    signals: ca.SX,
    state: ca.SX,
) -> list[ca.SX]:
    """y_1 … y_N."""
    predicted: list[ca.SX] = []
    for j in range(s.horizon):
        lags = []
        for lag in range(s.input_lags):
            t = j - s.input_delay - lag
            lags.append(sent[t] if t >= 0 else commands[:, -t - 1])
        for lag in range(s.output_lags):
            t = j - lag
            lags.append(predicted[t - 1] if t >= 1 else outputs[:, -t])
        y, state = network(ca.vertcat(*lags, signals), state)
        predicted.append(y)
    return predicted


def _excess_cost(s: Sizes, weights: dict, predicted: list[ca.SX]) -> ca.SX:
    """Of outputs beyond their soft bounds."""
    cost = 0.0
    for y in predicted[s.first_cost_stage - 1 :]:
        excess = ca.fmax(y - weights["output_max"], 0) + ca.fmax(weights["output_min"] - y, 0)
        cost += ca.dot(weights["bound_weight"], excess * excess)
    return cost


def _residuals(
    s: Sizes,
    weights: dict,
    sent: list[ca.SX],
    predicted: list[ca.SX],
    last: ca.SX,
    reference: ca.SX,
) -> ca.SX:
    """Tracking errors, moves and distances from the preferred commands, each times the root of its
    weight."""
    parts = []
    for j in range(s.first_cost_stage, s.horizon + 1):
        weight = weights["terminal_weight" if j == s.horizon else "output_weight"]
        parts.append(ca.sqrt(weight) * (predicted[j - 1] - reference[:, j - 1]))
    for before, command in zip([last, *sent], sent[: s.control_horizon], strict=False):
        parts.append(ca.sqrt(weights["move_weight"]) * (command - before))
    for command in sent:
        away = command - weights["command_reference"]
        parts.append(ca.sqrt(weights["command_weight"]) * away)
    return ca.vertcat(*parts)
