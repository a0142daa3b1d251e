"""The C solver against IPOPT on random problems: derivatives, gap to the optimum, local optima.

A problem is a moment of a closed loop: the network has followed smooth commands to where it is, and
is asked for outputs that other commands would reach, a little off. The start is to hold the last
command, with nothing known from a sample before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import casadi as ca
import numpy as np

from nn4mc_codegen.importers import read_model
from soft_control.benchmarks.host_solver import HostSolver
from soft_control.benchmarks.ipopt import Network, Problem, graph_network
from soft_control.control.problem import Sizes, Start, Weights
from soft_control.learning.model import NETWORK_FILE, load_card

OFFSET = 0.03
"""Of the reference from what can be reached, normalised, each axis."""
SIGNALS = 0.1
"""Standard deviation of the normalised signals, which no position explains here."""
SETTLE = 30
"""Samples that the network runs before a problem begins."""
TIGHT = 0.01, 0.1
"""Range of the largest move in a sample, normalised, where bounds are tight; a command has half as
much room again to each side. Drawn for each command by itself, so that some bounds are active and
others are not."""
NEGLIGIBLE = 1e-6
"""Share of the start's cost below which there is no gap to close: float32 sums resolve no less."""
CONVERGED = 0
NEWTON_SHARES = (1.0, 0.5, 0.25, 0.0)
"""Of the second derivatives that the solver takes, the largest that leaves it positive definite."""
MANY = 50
"""Iterations after which the solver counts as done."""
TRIALS = 4
"""Of its line search, as host_solver builds it."""
STARTS = 3
"""Random plans from which IPOPT starts as well."""
BETTER = 1e-3
"""Share of the gap by which another local optimum must be better to count."""


@dataclass(frozen=True)
class Subject:
    """A network under test."""

    name: str
    model: Path
    """Its file."""
    network: Network
    commands: int
    outputs: int
    signals: int
    input_lags: int
    output_lags: int
    smooth: bool
    """Whether its second derivatives exist everywhere."""
    states: int = 0

    def sizes(self, horizon: int, control_horizon: int) -> Sizes:
        return Sizes(
            commands=self.commands,
            outputs=self.outputs,
            signals=self.signals,
            input_lags=self.input_lags,
            output_lags=self.output_lags,
            input_delay=0,
            horizon=horizon,
            control_horizon=control_horizon,
            first_cost_stage=1,
            states=self.states,
        )


@dataclass
class Findings:
    """Of one subject at one N and Nc; lists have an entry a problem."""

    smooth: bool
    """Of the subject."""
    gradient_error: list[float] = field(default_factory=list)
    """Of the largest component, absolute."""
    gradient_size: list[float] = field(default_factory=list)
    """Largest component."""
    hessian_error: list[float] = field(default_factory=list)
    """Of the exact Hessian: largest, relative to the largest component."""
    hessian_whole: list[bool] = field(default_factory=list)
    """Whether the solver took second derivatives as they are; else it took a part of them, so that
    the Hessian is positive definite, and that part is what is compared."""
    gap: dict[int, list[float]] = field(default_factory=lambda: {1: [], 5: []})
    """Share of the way to IPOPT's optimum that is left after so many iterations; only of problems
    on which IPOPT converges and finds anything to gain."""
    exact_gap: list[float] = field(default_factory=list)
    """What Gauss and Newton's model, solved exactly in float64 and with the same line search, would
    leave after one iteration, of the same problems."""
    unbounded: list[bool] = field(default_factory=list)
    """Whether no bound is active at IPOPT's end, of the same problems."""
    converged: list[bool] = field(default_factory=list)
    """IPOPT."""
    active: list[bool] = field(default_factory=list)
    """Whether a bound is active at IPOPT's end."""
    rose: int = 0
    """How often a plan cost more than the one that it started from."""
    better_elsewhere: int = 0
    """How often IPOPT, from several starts, found a better local optimum than the solver's."""

    @property
    def gradient_relative(self) -> float:
        """Largest error, relative to the largest component of its problem. Float32 has no relative
        error where a gradient nearly vanishes: no less than a tenth of the median one counts."""
        size = np.array(self.gradient_size)
        return float(np.max(self.gradient_error / np.maximum(size, 0.1 * np.median(size))))

    @property
    def hessian_relative(self) -> float:
        """Largest error of those that were taken whole; NaN if there are none."""
        whole = np.array(self.hessian_error)[np.array(self.hessian_whole, dtype=bool)]
        return float(np.max(whole)) if len(whole) else float("nan")

    def median_gap(self, iterations: int) -> float:
        return _median(self.gap[iterations])

    @property
    def median_gap_unbounded(self) -> float:
        """After one iteration, where no bound is active."""
        gaps = zip(self.gap[1], self.unbounded, strict=True)
        return _median([gap for gap, unbounded in gaps if unbounded])


def _median(values: Sequence[float]) -> float:
    return float(np.median(values)) if len(values) else float("nan")


def compare(
    subject: Subject,
    horizon: int,
    control_horizon: int,
    problems: int,
    seed: int,
    folder: Path,
    starts: int = STARTS,
    progress: Callable[[int], None] = lambda problem: None,
) -> Findings:
    """Solve `problems` problems both ways; every second one has tight bounds.

    IPOPT starts where the solver does, and from `starts` random plans as well. `folder` takes what
    is compiled.
    """
    sizes = subject.sizes(horizon, control_horizon)
    judge = Problem(subject.network, sizes)
    # A library is loaded once by its path: each has its own.
    folder = folder / f"{subject.name}_{horizon}_{control_horizon}"
    solver = HostSolver(subject.model, sizes, folder / "gauss_newton", probe=True)
    newton = HostSolver(subject.model, sizes, folder / "newton", method="MPC_NEWTON", probe=True)
    found = Findings(subject.smooth)
    rng = np.random.default_rng(seed)
    for i, (weights, start) in enumerate(random_problems(subject, sizes, rng, problems)):
        held = np.tile(start.commands[0], (control_horizon, 1))
        _derivatives(found, judge, solver, newton, weights, start, rng)
        _gaps(found, judge, solver, weights, start, held, rng, starts)
        progress(i + 1)
    return found


def _derivatives(found, judge, solver, newton, weights, start, rng) -> None:
    """The gradient at a random plan, anywhere, the Hessian where the solver starts; which bounds
    there are is no matter to derivatives."""
    m = len(weights.move_max)
    weights = replace(
        weights,
        command_min=np.full(m, -1.0),
        command_max=np.full(m, 1.0),
        move_max=np.full(m, 2.0),
    )
    plan = rng.uniform(-0.9, 0.9, (judge.sizes.control_horizon, m))
    plan = plan.astype(np.float32).astype(float)
    gradient = judge.gradient(weights, start, plan)
    _, got, _ = solver.model(weights, start, plan)
    found.gradient_error.append(float(np.abs(got - gradient).max()))
    found.gradient_size.append(float(np.abs(gradient).max()))
    # Far away the exact Hessian is seldom positive definite; where the solver starts it often is.
    plan = np.tile(start.commands[0], (judge.sizes.control_horizon, 1))
    _, _, gauss_newton = solver.model(weights, start, plan)
    second = judge.hessian(weights, start, plan) - gauss_newton
    _, _, got = newton.model(weights, start, plan)
    errors = {
        share: float(
            np.abs(got - gauss_newton - share * second).max() / np.abs(gauss_newton + second).max()
        )
        for share in NEWTON_SHARES
    }
    share = min(errors, key=errors.get)
    found.hessian_error.append(errors[share])
    found.hessian_whole.append(share == 1.0)


def _gaps(found, judge, solver, weights, start, held, rng, starts) -> None:
    at_start = judge.cost(weights, start, held)
    plan, costs = held, {}
    for iteration in range(1, MANY + 1):
        step = solver.step(weights, start, plan)
        plan = step.plan
        if iteration in found.gap:
            costs[iteration] = judge.cost(weights, start, plan)
        if step.status == CONVERGED:
            break
    final = judge.cost(weights, start, plan)
    costs = {iterations: costs.get(iterations, final) for iterations in found.gap}
    found.rose += any(cost > at_start * (1 + NEGLIGIBLE) for cost in (*costs.values(), final))

    best = judge.solve(weights, start, held)
    found.converged.append(best.converged)
    moves = np.diff(np.vstack([start.commands[0], best.plan]), axis=0)
    room = np.minimum(weights.command_max - best.plan, best.plan - weights.command_min)
    found.active.append(bool(np.minimum(room, weights.move_max - np.abs(moves)).min() < 1e-5))
    if best.converged and at_start - best.cost > NEGLIGIBLE * at_start:
        exact = _line_search(judge, weights, start, held, at_start)
        for gaps, cost in (
            *((found.gap[i], c) for i, c in costs.items()),
            (found.exact_gap, exact),
        ):
            gaps.append((cost - best.cost) / (at_start - best.cost))
        found.unbounded.append(not found.active[-1])
    others = [best]
    for _ in range(starts):
        plan = rng.uniform(weights.command_min, weights.command_max, held.shape)
        others.append(judge.solve(weights, start, plan))
    lowest = min((o.cost for o in others if o.converged), default=np.inf)
    found.better_elsewhere += final - lowest > BETTER * max(at_start - lowest, 0.0)


def _line_search(judge, weights, start, plan, at_start) -> float:
    """Cost at the end of the first of the steps 1, ½, ¼, ⅛ that lowers it."""
    step = judge.gauss_newton_step(weights, start, plan)
    costs = (judge.cost(weights, start, plan + 0.5**k * step) for k in range(TRIALS))
    return next((cost for cost in costs if cost < at_start), at_start)


def random_problems(
    subject: Subject, sizes: Sizes, rng: np.random.Generator, count: int
) -> Iterator[tuple[Weights, Start]]:
    """Moments of closed loops; every second one with bounds that the optimum runs into."""
    x = ca.SX.sym("x", _inputs(subject))
    h = ca.SX.sym("h", subject.states)
    step = ca.Function("step", [x, h], list(subject.network(x, h)))
    m, n = subject.commands, subject.outputs
    for i in range(count):
        signals = rng.normal(0, SIGNALS, subject.signals)
        base = rng.uniform(-0.6, 0.6, m)
        drift = rng.normal(0, 0.02, m)
        past = base - drift * np.arange(SETTLE + subject.input_lags)[:, None]  # newest first
        outputs, state = _follow(step, subject, past, np.zeros((1, n)), signals)
        goal = np.clip(base + rng.uniform(-0.3, 0.3, m), -0.9, 0.9)
        ahead = goal + (past[0] - goal) * np.linspace(1, 0, sizes.horizon + 1)[1:, None]
        ahead = np.vstack([ahead[::-1], past[: subject.input_lags]])
        reached, _ = _follow(step, subject, ahead, outputs, signals, state)
        reference = reached[: sizes.horizon][::-1] + OFFSET * rng.normal(size=n)
        tight = np.exp(rng.uniform(*np.log(TIGHT), m))
        reach = tight if i % 2 == 1 else np.ones(m)
        weights = Weights(
            command_min=np.minimum(base, np.maximum(-1.0, base - 2 * reach)),
            command_max=np.maximum(base, np.minimum(1.0, base + 2 * reach)),
            move_max=reach,
            output_weight=rng.uniform(0.5, 2.0, n),
            terminal_weight=rng.uniform(0.5, 4.0, n),
            output_min=np.full(n, -3.0),
            output_max=np.full(n, 3.0),
            bound_weight=np.full(n, 10.0),
            move_weight=10 ** rng.uniform(-2.5, -1.0, m),
            command_weight=10 ** rng.uniform(-4.0, -2.5, m),
            command_reference=np.zeros(m),
        )
        lags = max(subject.output_lags, 1)
        yield (
            _rounded(weights),
            _rounded(Start(past[: subject.input_lags], outputs[:lags], signals, reference, state)),
        )


def _inputs(subject: Subject) -> int:
    return (
        subject.input_lags * subject.commands
        + subject.output_lags * subject.outputs
        + subject.signals
    )


def _follow(step, subject, commands, outputs, signals, state=None) -> tuple[np.ndarray, np.ndarray]:
    """Outputs (…, n), newest first, after the network has followed `commands`, newest first."""
    state = np.zeros(subject.states) if state is None else state
    lags = max(subject.output_lags, 1)
    outputs = list(outputs)
    outputs += [outputs[-1]] * (lags - len(outputs))
    for k in reversed(range(len(commands) - subject.input_lags)):
        u = commands[k : k + subject.input_lags].ravel()
        x = np.concatenate([u, np.ravel(outputs[: subject.output_lags]), signals])
        y, state = (np.array(value).ravel() for value in step(x, state))
        outputs.insert(0, y)
    return np.array(outputs), state


def _rounded(values):
    """What float32 can hold, so that both sides solve the same problem."""
    return type(values)(
        **{key: np.asarray(v, dtype=np.float32).astype(float) for key, v in vars(values).items()}
    )


# ------------------------------------------------------------------------------------- the subjects

SETTINGS = ((5, 2), (5, 5), (10, 2), (10, 5))
"""N and Nc."""


def subjects(published: Path | None, models: Sequence[Path]) -> list[Subject]:
    """The authors' networks in the folder `published`, and models of `softctl train`."""
    found = []
    if published is not None:
        path = published / "hasel_dense_2022-06-06.hdf5"
        network = graph_network(read_model(path)[0])
        found.append(Subject("hasel_published", path, network, 6, 3, 18, 2, 2, False))
        path = published / "tendon_gru.hdf5"
        network = graph_network(read_model(path)[0])
        found.append(Subject("tendon_gru_published", path, network, 2, 3, 11, 2, 2, True, 10))
    for folder in models:
        card = load_card(folder)
        graph, _ = read_model(folder / NETWORK_FILE)
        found.append(
            Subject(
                name=f"{card.rig}_{folder.name}",
                model=folder / NETWORK_FILE,
                network=graph_network(graph),
                commands=len(card.command_names),
                outputs=len(card.output_offset),
                signals=len(card.signal_names) + card.memory_columns,
                input_lags=card.input_lags,
                output_lags=card.output_lags,
                smooth=not any(
                    getattr(getattr(node.op, "activation", node.op), "name", "") == "relu"
                    for node in graph.nodes
                ),
            )
        )
    return found


@dataclass(frozen=True)
class Limits:
    """The project's own: relative errors, and shares of the gap."""

    gradient: float
    hessian: float
    first: float | None
    """Median after one iteration; none is set for plans of five commands."""
    fifth: float


def limits(smooth: bool, horizon: int, control_horizon: int) -> Limits:
    first = {(5, 2): 0.005, (10, 2): 0.02}.get((horizon, control_horizon))
    return Limits(gradient=1e-5, hessian=1e-4, first=first, fifth=1e-4 if smooth else 5e-3)


def cells(findings: dict[tuple[str, int, int], Findings]) -> list[list[str]]:
    """The table's rows, as Markdown: bold is what is beyond its limit."""
    rows = []
    for (name, horizon, control_horizon), f in findings.items():
        limit = limits(f.smooth, horizon, control_horizon)
        rows.append(
            [
                name.replace("_", " "),
                f"{horizon}/{control_horizon}",
                str(len(f.converged)),
                f"{100 * np.mean(f.converged):.0f} %",
                f"{100 * np.mean(f.active):.0f} %",
                _judged(f"{f.gradient_relative:.1e}", f.gradient_relative, limit.gradient),
                _judged(f"{f.hessian_relative:.1e}", f.hessian_relative, limit.hessian)
                + f" ({100 * np.mean(f.hessian_whole):.0f} %)",
                f"{100 * _median(f.exact_gap):.3f} %",
                f"{100 * f.median_gap_unbounded:.3f} %",
                _judged(f"{100 * f.median_gap(1):.3f} %", f.median_gap(1), limit.first),
                _judged(f"{100 * f.median_gap(5):.4f} %", f.median_gap(5), limit.fifth),
                _judged(str(f.rose), f.rose, 0),
                str(f.better_elsewhere),
            ]
        )
    return rows


def _judged(text: str, value: float, limit: float | None) -> str:
    return text if limit is None or value <= limit else f"**{text}**"
