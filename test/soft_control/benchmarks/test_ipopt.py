"""The judge judged: its cost against a plain roll-out, its optimum against scipy; then the C solver
against it on few problems. `softctl benchmark ipopt` does the same on hundreds."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

casadi = pytest.importorskip("casadi", reason="pip install soft_control[test]")

from nn4mc_codegen.importers import read_model  # noqa: E402
from soft_control.benchmarks.ipopt import Problem, graph_network  # noqa: E402
from soft_control.benchmarks.pages import write_page  # noqa: E402
from soft_control.benchmarks.solver_comparison import (  # noqa: E402
    Findings,
    Subject,
    cells,
    compare,
    limits,
    subjects,
)
from soft_control.control.problem import Sizes, Start, Weights  # noqa: E402

PROBLEMS = 16
"""Of each network and setting; half of them with tight bounds."""

SIZES = Sizes(
    commands=2,
    outputs=3,
    signals=2,
    input_lags=2,
    output_lags=2,
    input_delay=1,
    horizon=6,
    control_horizon=3,
    first_cost_stage=2,
)


class Net:
    """y = y_0 + B tanh(A x), in NumPy and in CasADi."""

    def __init__(self, rng: np.random.Generator, s: Sizes) -> None:
        inputs = s.input_lags * s.commands + s.output_lags * s.outputs + s.signals
        self.newest = slice(s.input_lags * s.commands, s.input_lags * s.commands + s.outputs)
        self.a = rng.normal(0, 1 / np.sqrt(inputs), (6, inputs))
        self.b = rng.normal(0, 0.3, (s.outputs, 6))

    def step(self, x: np.ndarray) -> np.ndarray:
        return x[self.newest] + self.b @ np.tanh(self.a @ x)

    def network(self, x, state):
        hidden = casadi.tanh(casadi.mtimes(casadi.DM(self.a), x))
        return x[self.newest] + casadi.mtimes(casadi.DM(self.b), hidden), state


def problem(rng: np.random.Generator, s: Sizes) -> tuple[Weights, Start]:
    m, n = s.commands, s.outputs
    weights = Weights(
        command_min=np.full(m, -0.7),
        command_max=np.full(m, 0.8),
        move_max=np.full(m, 0.4),
        output_weight=rng.uniform(0.5, 2, n),
        terminal_weight=rng.uniform(2, 5, n),
        output_min=np.full(n, -0.2),
        output_max=np.full(n, 0.3),
        bound_weight=rng.uniform(1, 3, n),
        move_weight=rng.uniform(0.01, 0.1, m),
        command_weight=rng.uniform(0.01, 0.1, m),
        command_reference=rng.uniform(-0.2, 0.2, m),
        output_gain=np.eye(n) + rng.normal(0, 0.2, (n, n)),
        output_offset=rng.normal(0, 0.1, n),
    )
    start = Start(
        commands=rng.uniform(-0.5, 0.5, (s.input_delay + s.input_lags, m)),
        outputs=rng.normal(0, 0.2, (s.output_lags, n)),
        signals=rng.normal(size=s.signals),
        reference=rng.normal(0, 0.5, (s.horizon, n)),
        state=np.zeros(0),
    )
    return weights, start


def plain_cost(net: Net, s: Sizes, w: Weights, start: Start, plan: np.ndarray) -> float:
    """The cost that mpc.h states, word for word."""
    sent = list(plan)
    while len(sent) < s.horizon - s.input_delay:
        move = plan[-1] - (plan[-2] if len(plan) > 1 else start.commands[0])
        sent.append(
            np.clip(sent[-1] + move, w.command_min, w.command_max) if s.tail_continues else sent[-1]
        )
    command = {j: u for j, u in enumerate(sent)} | {-1 - i: u for i, u in enumerate(start.commands)}
    output = {-i: y for i, y in enumerate(start.outputs)}
    cost = 0.0
    for j in range(s.horizon):
        lags = [command[j - s.input_delay - i] for i in range(s.input_lags)]
        lags += [output[j - i] for i in range(s.output_lags)]
        y = output[j + 1] = net.step(np.concatenate([*lags, start.signals]))
        if j + 1 >= s.first_cost_stage:
            q = w.terminal_weight if j + 1 == s.horizon else w.output_weight
            z = w.output_gain @ y + w.output_offset
            cost += q @ (z - start.reference[j]) ** 2
            excess = np.maximum(z - w.output_max, 0) + np.maximum(w.output_min - z, 0)
            cost += w.bound_weight @ excess**2
    for j in range(s.control_horizon):
        cost += w.move_weight @ (command[j] - command[j - 1]) ** 2
    for u in sent:
        cost += w.command_weight @ (u - w.command_reference) ** 2
    return float(cost)


@pytest.mark.parametrize("tail_continues", [False, True])
def test_the_cost_is_what_the_header_says(tail_continues: bool):
    rng = np.random.default_rng(0)
    sizes = replace(SIZES, tail_continues=tail_continues)
    net = Net(rng, sizes)
    judge = Problem(net.network, sizes)
    for _ in range(10):
        weights, start = problem(rng, sizes)
        plan = rng.uniform(-0.7, 0.8, (3, 2))
        wanted = plain_cost(net, sizes, weights, start, plan)
        assert judge.cost(weights, start, plan) == pytest.approx(wanted, rel=1e-12)


def test_derivatives_are_those_of_the_cost():
    """Central differences, h = 1e-5: 1e-6 off by truncation and rounding."""
    rng = np.random.default_rng(1)
    judge = Problem(Net(rng, SIZES).network, SIZES)
    weights, start = problem(rng, SIZES)
    plan = rng.uniform(-0.5, 0.5, (3, 2))
    gradient, hessian = judge.gradient(weights, start, plan), judge.hessian(weights, start, plan)
    for v, unit in enumerate(1e-5 * np.eye(6)):
        step = unit.reshape(plan.shape)
        ahead, behind = (judge.cost(weights, start, plan + sign * step) for sign in (1, -1))
        assert gradient[v] == pytest.approx((ahead - behind) / 2e-5, rel=1e-5, abs=1e-6)
        ahead, behind = (judge.gradient(weights, start, plan + sign * step) for sign in (1, -1))
        np.testing.assert_allclose(hessian[v], (ahead - behind) / 2e-5, rtol=1e-5, atol=1e-5)


def test_ipopt_holds_the_bounds_and_scipy_finds_nothing_better():
    from scipy.optimize import LinearConstraint, minimize

    rng = np.random.default_rng(2)
    judge = Problem(Net(rng, SIZES).network, SIZES)
    at_bounds = 0
    for _ in range(5):
        weights, start = problem(rng, SIZES)
        held = np.tile(start.commands[0], (3, 1))
        best = judge.solve(weights, start, held)
        assert best.converged
        moves = np.diff(np.vstack([start.commands[0], best.plan]), axis=0)
        assert (np.abs(moves) <= weights.move_max + 1e-9).all()  # IPOPT's tolerance
        at_bounds += (np.abs(moves) > weights.move_max - 1e-6).any()
        differences = np.kron(np.eye(3) - np.eye(3, k=-1), np.eye(2))
        offset = np.concatenate([start.commands[0], np.zeros(4)])
        other = minimize(
            lambda z, w=weights, s=start: judge.cost(w, s, z),
            best.plan.ravel(),
            jac=lambda z, w=weights, s=start: judge.gradient(w, s, z),
            bounds=[(-0.7, 0.8)] * 6,
            constraints=LinearConstraint(differences, offset - 0.4, offset + 0.4),
            method="SLSQP",
        )
        assert other.fun >= best.cost - 1e-7 * abs(best.cost)
    assert at_bounds


def test_the_quadratic_model_is_solved_exactly():
    """Against scipy's SLSQP on the same model by the judge's own derivatives: a linear network's
    cost is its model. SLSQP stops at 1e-12 of the cost, where a step is off by the root of that."""
    from scipy.optimize import LinearConstraint, minimize

    rng = np.random.default_rng(4)
    a = rng.normal(0, 0.3, (3, 12))
    judge = Problem(lambda x, state: (casadi.DM(a) @ x, state), SIZES)
    differences = np.kron(np.eye(3) - np.eye(3, k=-1), np.eye(2))
    at_bounds = 0
    for _ in range(5):
        weights, start = problem(rng, SIZES)
        weights = replace(weights, output_min=np.full(3, -9.0), output_max=np.full(3, 9.0))
        held = np.tile(start.commands[0], (3, 1))
        plan = held + judge.gauss_newton_step(weights, start, held)
        moves = np.diff(np.vstack([start.commands[0], plan]), axis=0)
        assert (np.abs(moves) <= weights.move_max + 1e-9).all()
        at_bounds += (np.abs(moves) > weights.move_max - 1e-9).any()
        offset = np.concatenate([start.commands[0], np.zeros(4)])
        wanted = minimize(
            lambda z, w=weights, s=start: judge.cost(w, s, z),
            held.ravel(),
            jac=lambda z, w=weights, s=start: judge.gradient(w, s, z),
            bounds=[(-0.7, 0.8)] * 6,
            constraints=LinearConstraint(differences, offset - 0.4, offset + 0.4),
            method="SLSQP",
            options={"ftol": 1e-12},
        )
        assert judge.cost(weights, start, plan) <= wanted.fun + 1e-9
        np.testing.assert_allclose(plan.ravel(), wanted.x, rtol=0, atol=1e-5)
    assert at_bounds


PUBLISHED = Path(__file__).resolve().parents[4] / "shared" / "data" / "published_models"


@pytest.mark.skipif(shutil.which("gcc") is None, reason="the solver is built with gcc")
@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("tanh", (5, 2)),
        ("tanh", (10, 2)),
        ("hasel_published", (5, 2)),
        ("hasel_published", (10, 2)),
        ("tendon_gru_published", (5, 2)),
        ("tendon_gru_published", (10, 5)),
    ],
)
def test_the_c_solver_comes_close_to_ipopt(name: str, setting: tuple[int, int], tmp_path: Path):
    """The project's own limits, on a few problems of each network; `softctl benchmark ipopt` does
    it on hundreds. A median over so few scatters; on these networks it is well below its limit."""
    if name == "tanh":
        model = increment_model(tmp_path)
        network = graph_network(read_model(model)[0])
        subject = Subject(name, model, network, 2, 3, 4, 3, 3, True)
    else:
        subject = published(name)
    found = compare(subject, *setting, problems=PROBLEMS, seed=0, folder=tmp_path)
    limit = limits(subject.smooth, *setting)
    assert found.gradient_relative <= limit.gradient
    assert found.hessian_relative <= limit.hessian  # NaN, and so a failure, if none was whole
    assert found.rose == 0
    assert np.mean(found.active) == pytest.approx(0.5, abs=0.15)
    assert np.mean(found.converged) > (0.8 if subject.smooth else 0.5)
    assert found.median_gap(1) <= (limit.first or 0.02)
    assert found.median_gap(5) <= limit.fifth
    # What is solved exactly leaves no more, but for a problem or two where a worse step is luckier.
    assert np.median(found.exact_gap) <= found.median_gap(1) + 1e-4


@pytest.mark.skipif(shutil.which("gcc") is None, reason="the solver is built with gcc")
def test_ten_steps_of_a_gru_leave_the_gradient_exact(tmp_path: Path):
    """The longest horizon of the only network whose state adds up errors; 300 problems."""
    subject = published("tendon_gru_published")
    found = compare(subject, 10, 2, problems=300, seed=0, folder=tmp_path, starts=0)
    assert found.gradient_relative <= limits(subject.smooth, 10, 2).gradient


def published(name: str) -> Subject:
    if not PUBLISHED.is_dir():
        pytest.skip(f"{PUBLISHED} is not there")
    return next(s for s in subjects(PUBLISHED, []) if s.name == name)


def increment_model(folder: Path) -> Path:
    """A tendon-like increment network with random weights, as `softctl train` saves it."""
    keras = pytest.importorskip("keras", reason="the test network is made with Keras")
    keras.utils.set_random_seed(5)
    sizes = {"commands": 6, "output": 3, "past_outputs": 6, "signals": 4}
    inputs = {name: keras.Input((size,), name=name) for name, size in sizes.items()}
    hidden = keras.layers.Dense(12, activation="tanh")(
        keras.layers.Concatenate()(list(inputs.values()))
    )
    small = keras.initializers.RandomNormal(stddev=0.05)
    increment = keras.layers.Dense(3, kernel_initializer=small)(hidden)
    output = keras.layers.Add()([inputs["output"], increment])
    path = folder / "fk.keras"
    keras.Model(list(inputs.values()), output).save(path)
    return path


def test_pages_render_what_was_found(tmp_path: Path):
    found = Findings(
        smooth=True,
        gradient_error=[2e-7],
        gradient_size=[2.0],
        hessian_error=[2e-6],
        hessian_whole=[True],
        gap={1: [0.004], 5: [1e-6]},
        exact_gap=[0.003],
        unbounded=[True],
        converged=[True],
        active=[False],
    )
    page = write_page(tmp_path, "solver_comparison", rows=cells({("n_x", 5, 2): found}), starts=3)
    row = (
        "| n x | 5/2 | 1 | 100 % | 0 % | 1.0e-07 | 2.0e-06 (100 %) | 0.300 % | 0.400 % | 0.400 % |"
    )
    row += " 0.0001 % | 0 | 0 |"
    assert row in page.read_text().splitlines()
    assert page.read_text().count("**") == 0
    beyond = replace(found, gradient_error=[3e-5], gap={1: [0.0051], 5: [2e-4]}, rose=1)
    (cells_of,) = cells({("n_x", 5, 2): beyond})
    assert [c for c in cells_of if "*" in c] == [
        "**1.5e-05**",
        "**0.510 %**",
        "**0.0200 %**",
        "**1**",
    ]
    (cells_of,) = cells({("n_x", 10, 5): replace(beyond, smooth=False)})
    assert [c for c in cells_of if "*" in c] == ["**1.5e-05**", "**1**"]
