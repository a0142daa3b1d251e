"""docs/recurrent_mpc.md: a GRU of 59 units in the MPC, against IPOPT and in cycles of a Cortex-M4F.

`make recurrent` runs it. Networks of one and of two layers are trained on a simulated arm of five
joints (recurrent_networks.py). The solver, built for this machine, is compared with IPOPT on random
moments, where it knows no plan yet, and along a closed loop, where it goes on with its last one.
What it costs is counted by the emulator on the same problems, and modelled in cycles on the one
that takes most instructions.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import casadi as ca
import numpy as np
import recurrent_networks as networks
from solver import HANDED_OVER, OWN, write_header

from nn4mc_codegen import compile_model
from nn4mc_codegen.importers import read_model
from nn4mc_codegen.trial.qemu import measure, missing_tools, versions
from soft_control.benchmarks.host_solver import HostSolver, compile_network, write_config
from soft_control.benchmarks.ipopt import Problem, graph_network
from soft_control.benchmarks.pages import write_page
from soft_control.benchmarks.solver_comparison import Subject, random_problems
from soft_control.control.problem import Sizes, Start, Weights
from soft_control.paths import share

ROOT = Path(__file__).resolve().parents[1]
PROBLEMS = 200
HORIZON = 4
ITERATIONS = {1: (1, 2, 3), 2: (1, 2)}
"""By the number of layers: with two a third iteration is beyond the limit."""
MINUTES, EPOCHS = 20.0, 150
"""Of the recording, and of training."""
COUNTED = 20
"""Of the problems, whose instructions are counted: they hardly differ."""
MOST_TRACED = 10_000_000
"""Instructions of the step whose cycles are modelled."""
WITHIN = 0.01
LIMIT, AIM = 8.4e6, 4.2e6
"""Cycles a step: 20 Hz at 168 MHz, and half of it."""
SETTLE = 40
"""Samples of a closed loop that do not count."""
WEIGHTS = Weights(
    command_min=np.full(networks.COMMANDS, -1.0),
    command_max=np.full(networks.COMMANDS, 1.0),
    move_max=np.full(networks.COMMANDS, 0.3),
    output_weight=np.ones(networks.OUTPUTS),
    terminal_weight=np.ones(networks.OUTPUTS),
    output_min=np.full(networks.OUTPUTS, -3.0),
    output_max=np.full(networks.OUTPUTS, 3.0),
    bound_weight=np.full(networks.OUTPUTS, 10.0),
    move_weight=np.full(networks.COMMANDS, 0.005),
    command_weight=np.full(networks.COMMANDS, 1e-3),
    command_reference=np.zeros(networks.COMMANDS),
)
"""Of the closed loop; float32 rounds them alike on both sides."""


@dataclass(frozen=True)
class Moment:
    """A problem, and the plan that the solver starts from."""

    weights: Weights
    start: Start
    plan: np.ndarray
    """(Nc, m)"""


def main(out: Path) -> None:
    if problem := missing_tools():
        raise SystemExit(problem)
    rows, trained, derivatives = [], [], []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for layers in (1, 2):
            path, error = networks.train(folder / f"gru_{layers}", layers, MINUTES, EPOCHS)
            trained.append((layers, f"{1e3 * error:.1f}"))
            subject = subject_of(path, layers)
            derivatives.append((layers, *derivative_costs(path, folder / f"derivatives_{layers}")))
            rows += random_rows(subject, layers, folder)
            rows.append(closed_loop_row(subject, folder))
            print(f"{layers} layers done", flush=True)
    page = write_page(
        out,
        "recurrent_mpc",
        rows=rows,
        trained=trained,
        derivatives=derivatives,
        problems=PROBLEMS,
        counted=COUNTED,
        toolchain=versions(),
        minutes=MINUTES,
    )
    print(page)


def subject_of(path: Path, layers: int) -> Subject:
    network = graph_network(read_model(path)[0])
    m, n = networks.COMMANDS, networks.OUTPUTS
    name = f"gru_{layers}"
    return Subject(name, path, network, m, n, 0, 1, 1, True, layers * networks.UNITS)


def random_rows(subject: Subject, layers: int, folder: Path) -> list[list[str]]:
    """Random moments, as `softctl benchmark ipopt` draws them: the last command held, then so many
    iterations in one step."""
    sizes = subject.sizes(HORIZON, HORIZON)
    random = random_problems(subject, sizes, np.random.default_rng(0), PROBLEMS)
    moments = [Moment(w, s, np.tile(s.commands[0], (HORIZON, 1))) for w, s in random]
    judge = Problem(subject.network, sizes, ca.MX)
    best = [judge.solve(each.weights, each.start, each.plan) for each in moments]
    rows = []
    for iterations in ITERATIONS[layers]:
        work = folder / f"{subject.name}_{iterations}"
        solver = HostSolver(subject.model, sizes, work, iterations, push=True)
        excess = [
            judge.cost(m.weights, m.start, solver.step(m.weights, m.start, m.plan).plan) / b.cost
            for m, b in zip(moments, best, strict=True)
        ]
        converged = np.mean([b.converged for b in best])
        given = ["random moments", iterations]
        counted = costs(subject, sizes, iterations, moments[:COUNTED])
        rows.append(row_of(subject, given, np.array(excess) - 1, converged, counted))
    return rows


def closed_loop_row(subject: Subject, folder: Path) -> list[str]:
    """The simulated arm follows what other commands have made it do, by one iteration a sample."""
    sizes = subject.sizes(HORIZON, HORIZON)
    judge = Problem(subject.network, sizes, ca.MX)
    solver = HostSolver(subject.model, sizes, folder / f"{subject.name}_loop", push=True)
    x, h = ca.SX.sym("x", 15), ca.SX.sym("h", subject.states)
    network = ca.Function("step", [x, h], list(subject.network(x, h)))
    _, wanted = networks.recording(SETTLE + PROBLEMS + HORIZON, seed=3)
    wanted = wanted / networks.SCALE_RAD
    arm, state = networks.Arm(), np.zeros(subject.states)
    command = np.zeros(networks.COMMANDS)
    plan = np.zeros((HORIZON, networks.COMMANDS))
    moments, excess, converged, errors = [], [], [], []
    for k in range(SETTLE + PROBLEMS):
        y = arm.angle / networks.SCALE_RAD
        ahead = wanted[k + 1 : k + 1 + HORIZON]
        start = Start(command[None], y[None], np.zeros(0), ahead, state)
        step = solver.step(WEIGHTS, start, plan)
        if k >= SETTLE:
            best = judge.solve(WEIGHTS, start, plan)
            excess.append(judge.cost(WEIGHTS, start, step.plan) / best.cost - 1)
            converged.append(best.converged)
            moments.append(Moment(WEIGHTS, start, plan))
            errors.append(arm.angle - wanted[k] * networks.SCALE_RAD)
        command = step.command
        state = np.array(network(np.concatenate([command, y]), state)[1]).ravel()
        plan = np.vstack([step.plan[1:], step.plan[-1:]])
        arm.step(command)
    counted = costs(subject, sizes, 1, moments[:: PROBLEMS // COUNTED])
    rmse = 1e3 * float(np.sqrt(np.mean(np.square(errors))))
    given = [f"closed loop, {rmse:.0f} mrad", 1]
    return row_of(subject, given, np.array(excess), float(np.mean(converged)), counted)


def row_of(
    subject: Subject, given: list, excess: np.ndarray, converged: float, counted: dict
) -> list[str]:
    cycles = counted["cycles"]
    return [
        subject.name.removeprefix("gru_"),
        *map(str, given),
        f"{converged:.0%}".replace("%", " %"),
        f"{100 * np.median(excess):.3f} %",
        f"{100 * np.quantile(excess, 0.95):.2f} %",
        f"{100 * excess.max():.2f} %",
        f"{np.count_nonzero(excess <= WITHIN)} of {len(excess)}",
        f"{counted['instructions'] / 1e6:.2f}",
        f"{cycles / 1e6:.2f}" if cycles <= LIMIT else f"**{cycles / 1e6:.2f}**",
        f"{counted['flash_bytes'] / 1024:.0f}",
        f"{counted['ram_bytes'] / 1024:.0f}",
    ]


def costs(
    subject: Subject, sizes: Sizes, iterations: int, moments: Sequence[Moment]
) -> dict[str, int]:
    """Of one `mpc_step` on the emulated Cortex-M4F: most instructions, less what handing the
    problem over costs, modelled cycles of that problem, flash and RAM with the stack."""
    x = np.array([np.concatenate(list(map(np.ravel, _flat(each)))) for each in moments])
    source = share() / "firmware" / "src"
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_config(folder, sizes, iterations)
        compile_network(subject.model, folder, sizes, push=True)
        write_header(folder, x.shape[1], 1 + sizes.commands * sizes.control_horizon)
        sources = [folder / "solver.c", folder / "fk.c", *sorted((source / "solver").glob("*.c"))]

        def run(program: str, samples: np.ndarray, cycles: bool = False):
            (folder / "solver.c").write_text(program)
            how = {"sources": sources, "flags": [f"-I{source}"], "cycles": cycles}
            return measure(folder, "solver", samples, most_traced=MOST_TRACED, **how)

        full = run(OWN, x)
        each = full.instructions_each - run(HANDED_OVER, x[:1]).instructions_each[0]
        traced = run(OWN, x[[int(np.argmax(each))]], cycles=True)
    return {
        "instructions": int(each.max()),
        "cycles": traced.cycles,
        "flash_bytes": full.flash_bytes,
        "ram_bytes": full.ram_bytes + full.stack_bytes,
    }


def _flat(each: Moment) -> list[np.ndarray]:
    """mpc_config_t, mpc_state_t and the reference, in their order; one unused slot for signals."""
    start = each.start
    state = [start.commands, start.outputs, np.zeros(1), each.plan, start.state]
    return [*vars(each.weights).values(), *state, start.reference]


def derivative_costs(path: Path, folder: Path) -> list[str]:
    """Instructions and modelled cycles of the step, of pushing the 40 directions of a last stage
    both ways, and what the whole Jacobian takes."""
    n, m, count = networks.OUTPUTS, networks.COMMANDS, HORIZON * networks.COMMANDS
    compile_model(path, folder, push=count)
    states = read_model(path)[0].state_size
    rng = np.random.default_rng(0)
    x, state = rng.normal(size=m + n), 0.5 * rng.normal(size=states)
    dx, dstate = np.zeros((m + n, count)), np.zeros((states, count))
    carried = count - m
    dx[:m, carried:] = np.eye(m)
    dx[m:, :carried], dstate[:, :carried] = (
        rng.normal(size=(n, carried)),
        rng.normal(size=(states, carried)),
    )
    given = {"dx": dx.ravel(), "dstate": dstate.ravel(), "state": state}
    given |= {"directions": np.array([count]), "carried": np.array([carried])}
    found = []
    for function, more in (("step", {}), ("push", given), ("push_last", given)):
        found.append(cost_text(folder, x, function, more))
    found.append(jacobian_text(path, folder / "jacobian", (n + states) * (m + n + states)))
    return found


def jacobian_text(path: Path, folder: Path, size: int) -> str:
    """What the whole Jacobian, of so many elements, takes by the compiler's own count."""
    columns = [*range(networks.COMMANDS + networks.OUTPUTS), "state"]
    whole = compile_model(path, folder, jacobian=columns)
    kib = (whole.memory_bytes + 4 * size) / 1024
    return f"{whole.macs + whole.jacobian_macs:,} multiply-adds, {kib:.0f} KiB"


def cost_text(folder: Path, x: np.ndarray, function: str, given: dict) -> str:
    got = measure(folder, "fk", x, function, cycles=True, **given)
    return f"{got.instructions:,} ({got.cycles:,})"


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs")
