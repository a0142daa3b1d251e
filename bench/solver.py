"""One Gauss-Newton iteration on the emulated Cortex-M4F: this solver, and CasADi's generated C.

`make bench` runs it after run.py. Ours is a whole iteration: roll-out, Jacobians, assembly, bounds,
factorisation and line search. CasADi's is what it can generate: the Gauss-Newton step by symbolic
Cholesky, without bounds and without a line search. Both are built with the same flags and run on
the same random problems. Measures whole firmwares, too. Adds "solver" to bench/results.json, and
its section to docs/benchmarks.md.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import casadi as ca
import numpy as np
import report
import solver_networks
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from run import PUBLISHED, ROOT

from nn4mc_codegen.trial.qemu import Measurement, QemuError, measure, missing_tools, versions
from soft_control.benchmarks.host_solver import compile_network, write_config
from soft_control.benchmarks.ipopt import Problem
from soft_control.benchmarks.solver_comparison import Subject, random_problems
from soft_control.experiment.node_parameters import mpc_settings
from soft_control.firmware_build import build
from soft_control.paths import share

PROBLEMS = 200
TRIALS = 4
"""The most that a line search makes."""
NETWORKS = {
    "hasel": "published HASEL network, dense 36-10-5-3, relu and tanh",
    "hasel_tanh": "the same, tanh for relu",
    "tendon": "tendon network, dense 26-8-3, relu, random weights",
}


@dataclass(frozen=True)
class Setting:
    network: str
    """Key of NETWORKS."""
    horizon: int
    control_horizon: int
    limit: int
    """Instructions that the project allows the worst problem."""
    casadi: bool = True
    """Whether CasADi is asked for C."""


SETTINGS = (
    Setting("hasel", 5, 2, 20_000),
    Setting("hasel", 10, 2, 36_000),
    Setting("hasel", 10, 5, 75_000, casadi=False),  # gcc takes too long over 2.3 MB of straight C
    Setting("hasel", 1, 1, 4_050),
    Setting("hasel_tanh", 5, 2, 24_000),
    Setting("tendon", 5, 2, 11_000),
    Setting("tendon", 10, 5, 31_000),
)
FLASH_LIMIT = 17 << 10
"""Of solver and network together, at 5/2: a sixteenth of it for what the robot of today is like."""
RAM_LIMIT = 4 << 10
FIRMWARE_FLASH_LIMIT = 40 << 10
"""With what learns the robot of today, the observer, the tests of sensors, what outlasts the power,
and the image's header."""
FIRMWARES = {
    "tendon": ("dense 26-8-3", 3, 11, (8,)),
    "hasel": ("dense 36-10-5-3", 2, 18, (10, 5)),
}
"""By rig: the network, its lags, signals, and hidden layers; all of tanh, as `softctl train` makes
them."""

# Of our C files; the network's own is split by function.
PARTS = {
    "quadratic.c": "assembly",
    "linsolve.c": "factorisation",
    "bounded_step.c": "step",
    "plan.c": "plan",
}
# The generated functions that take derivatives: fk_jacobian…, fk_d_<layer>…
DERIVATIVES = re.compile(r"fk_(d_|jacobian)")

# The solver's call, which the harness gets as one flat array.
HAND_OVER = """
#include "solver.h"
#include "solver/mpc.h"
void solver_step(const float x[SOLVER_INPUTS], float y[SOLVER_OUTPUTS])
{
    static mpc_config_t config;
    static mpc_state_t state;
    const float *reference = x + (sizeof config + sizeof state) / sizeof(float);
    memcpy(&config, x, sizeof config);
    memcpy(&state, x + sizeof config / sizeof(float), sizeof state);
"""
OWN = (
    HAND_OVER
    + """
    const mpc_result_t result = mpc_step(&config, &state, (const float (*)[OUTPUTS])reference, 0);
    y[0] = (float)result.trials;
    memcpy(y + 1, state.plan, sizeof state.plan);
}
"""
)
# What of it is not the solver's: the same without it.
HANDED_OVER = (
    HAND_OVER
    + """
    y[0] = config.command_min[0] + reference[0];
    memcpy(y + 1, state.plan, sizeof state.plan);
}
"""
)
PEER = """
#include "solver.h"
#include "step.h"
void solver_step(const float x[SOLVER_INPUTS], float y[SOLVER_OUTPUTS])
{
    static float work[step_SZ_W + 1];
    static casadi_int integers[step_SZ_IW + 1];
    const float *arguments[step_SZ_ARG] = {x};
    float *results[step_SZ_RES] = {y};
    step(arguments, results, integers, work, 0);
}
"""


def main() -> None:
    console = Console()
    if problem := missing_tools():
        raise SystemExit(problem)
    if not PUBLISHED.is_dir():
        raise SystemExit(f"the published network is not in {PUBLISHED}")
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    with tempfile.TemporaryDirectory() as folder, Progress(*columns, console=console) as progress:
        jobs = list(all_jobs(Path(folder)))
        task = progress.add_task("solvers", total=len(jobs) + len(FIRMWARES))
        rows, firmwares = [], []
        for description, job in jobs:
            progress.update(task, description=description)
            rows.append(job())
            progress.advance(task)
        for rig in FIRMWARES:
            progress.update(task, description=f"firmware of the {rig} rig")
            firmwares.append(firmware_row(rig, Path(folder)))
            progress.advance(task)
    limits = {"flash_bytes": FLASH_LIMIT, "ram_bytes": RAM_LIMIT}
    found = {"networks": NETWORKS, "limits": limits, "rows": rows, "firmwares": firmwares}
    report.write(report.read(ROOT) | {"toolchain": versions(), "solver": found}, ROOT)
    for row in rows:
        console.print(report.solver_summary(row), highlight=False, soft_wrap=True, markup=False)
    for row in firmwares:
        console.print(report.firmware_summary(row), highlight=False, soft_wrap=True, markup=False)


def all_jobs(folder: Path) -> list[tuple[str, Callable[[], dict]]]:
    """What makes each row, with a few words on it; `folder` takes the networks' files."""
    networks = {
        "hasel": solver_networks.hasel(PUBLISHED),
        "hasel_tanh": solver_networks.hasel_twin(PUBLISHED, folder),
        "tendon": solver_networks.tendon(folder),
    }
    jobs = []
    for setting, tool in combinations():
        name = f"{setting.network} {setting.horizon}/{setting.control_horizon}: {tool}"
        jobs.append((name, partial(row_of, networks[setting.network], setting, tool)))
    return jobs


def combinations() -> Iterator[tuple[Setting, str]]:
    """Settings and tools, a row each."""
    for setting in SETTINGS:
        yield setting, report.OWN_SOLVER
        if setting.casadi:
            yield setting, report.CASADI


def row_of(subject: Subject, setting: Setting, tool: str) -> dict:
    row = {
        "network": setting.network,
        "horizon": setting.horizon,
        "control_horizon": setting.control_horizon,
        "tool": tool,
        "version": ca.__version__ if tool == report.CASADI else "",
        "limit": setting.limit,
        **dict.fromkeys(report.SOLVER_COSTS),
        "failure": None,
    }
    costs = own_costs if tool == report.OWN_SOLVER else casadi_costs
    try:
        return row | costs(subject, setting.horizon, setting.control_horizon, PROBLEMS)
    except QemuError as error:
        return row | {"failure": str(error)}


def own_costs(subject: Subject, horizon: int, control_horizon: int, count: int) -> dict:
    """Of our solver on `count` problems, less what handing them over costs."""
    sizes = subject.sizes(horizon, control_horizon)
    problems = random_problems(subject, sizes, np.random.default_rng(0), count)
    x = np.array(
        [
            np.concatenate(
                [
                    *(np.ravel(v) for v in vars(weights).values()),
                    np.ravel(start.commands),
                    np.ravel(start.outputs),
                    start.signals if sizes.signals else np.zeros(1),
                    np.tile(start.commands[0], control_horizon),
                    np.ravel(start.reference),
                ]
            )
            for weights, start in problems
        ]
    )
    source = share() / "firmware" / "src"
    parts = sorted((source / "solver").glob("*.c"))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_config(folder, sizes, iterations=1)
        compile_network(subject.model, folder, sizes)
        write_header(folder, x.shape[1], 1 + sizes.commands * control_horizon)

        def run(program: str, samples: np.ndarray, cycles: bool = False) -> Measurement:
            (folder / "solver.c").write_text(program)
            sources = [folder / "solver.c", folder / "fk.c", *parts]
            flags = [f"-I{source}"]
            return measure(folder, "solver", samples, cycles=cycles, sources=sources, flags=flags)

        full = run(OWN, x)
        each = full.instructions_each - run(HANDED_OVER, x).instructions_each
        trials = full.outputs["y"][:, 0].astype(int)
        worst = int(np.argmax(np.where(trials <= 1, each, 0)))
        traced = run(OWN, x[[worst]], cycles=True)
    one_trial = each[trials <= 1]
    return {
        "instructions": int(each[worst]),
        "instructions_median": int(np.median(each[trials == 1])),
        "instructions_all_trials": int(each.max()),
        "cycles": traced.cycles,
        "flash_bytes": full.flash_bytes,
        "ram_bytes": full.ram_bytes + full.stack_bytes,
        "trials": np.bincount(trials, minlength=TRIALS + 1).tolist(),
        "parts": split(traced.profile, int(one_trial.max())),
    }


def split(profile: dict[tuple[str, str], int], total: int) -> dict[str, int]:
    """Instructions by part, of `total` in all; calls of the C library go to the rest."""
    parts = dict.fromkeys(report.PARTS, 0)
    for (source, function), count in profile.items():
        if source == "fk.c":
            parts["derivatives" if DERIVATIVES.match(function) else "network"] += count
        elif source in PARTS:
            parts[PARTS[source]] += count
    parts["rest"] = total - sum(parts.values())
    return parts


def casadi_costs(subject: Subject, horizon: int, control_horizon: int, count: int) -> dict:
    sizes = subject.sizes(horizon, control_horizon)
    judge = Problem(subject.network, sizes)
    problems = random_problems(subject, sizes, np.random.default_rng(0), count)
    x = np.array(
        [
            judge.flat(weights, start, np.tile(start.commands[0], (control_horizon, 1)))
            for weights, start in problems
        ]
    )
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        generator = ca.CodeGenerator(
            "step.c", {"casadi_real": "float", "casadi_int": "int", "with_header": True}
        )
        generator.add(gauss_newton_step(judge))
        generator.generate(f"{folder}/")
        write_header(folder, x.shape[1], sizes.commands * control_horizon)
        (folder / "solver.c").write_text(PEER)
        # Its calls of libm are those of double: single ones suit it better.
        text = (folder / "step.c").read_text()
        (folder / "step.c").write_text(re.sub(r"\b(tanh|sqrt|fmax|fmin|exp|fabs)\(", r"\1f(", text))
        sources = [folder / "solver.c", folder / "step.c"]
        found = measure(folder, "solver", x, sources=sources)
        worst = int(np.argmax(found.instructions_each))
        traced = measure(folder, "solver", x[[worst]], cycles=True, sources=sources)
    return {
        "instructions": found.instructions,
        "instructions_median": int(np.median(found.instructions_each)),
        "cycles": traced.cycles,
        "flash_bytes": found.flash_bytes,
        "ram_bytes": found.ram_bytes + found.stack_bytes,
    }


def gauss_newton_step(judge: Problem) -> ca.Function:
    """step(z, p) = -(J'J)^-1 J'r by Cholesky, everything symbolic: no loops, no calls."""
    residuals, z, p = judge.residuals
    jacobian = ca.jacobian(residuals, z)
    hessian = ca.densify(ca.mtimes(jacobian.T, jacobian))
    upper = ca.chol(hessian)
    gradient = ca.densify(ca.mtimes(jacobian.T, residuals))
    y = ca.SX(gradient)
    n = z.numel()
    for i in range(n):
        for j in range(i):
            y[i] -= upper[j, i] * y[j]
        y[i] /= upper[i, i]
    for i in reversed(range(n)):
        for j in range(i + 1, n):
            y[i] -= upper[i, j] * y[j]
        y[i] /= upper[i, i]
    return ca.Function("step", [ca.vertcat(z, p)], [-y])


def firmware_row(rig: str, folder: Path) -> dict:
    """The whole firmware of a network in the shape of `softctl train`, with the settings of its rig
    in config/ but N/Nc 5/2; `folder` takes what is made."""
    network, lags, signals, hidden = FIRMWARES[rig]
    model, out = folder / rig / "model", folder / rig / "build"
    solver_networks.write_model(model, rig, lags, signals, hidden)
    settings = mpc_settings(rig).model_copy(update={"horizon": 5, "control_horizon": 2})
    built = build(model, settings, out, ("stm32f405",))
    return {
        "rig": rig,
        "network": network,
        "flash_bytes": built.flash_bytes,
        "ram_bytes": built.ram_bytes,
        "limit": FIRMWARE_FLASH_LIMIT,
    }


def write_header(folder: Path, inputs: int, outputs: int) -> None:
    (folder / "solver.h").write_text(
        f"#define SOLVER_INPUTS {inputs}\n#define SOLVER_OUTPUTS {outputs}\n"
        "void solver_step(const float x[SOLVER_INPUTS], float y[SOLVER_OUTPUTS]);\n"
    )


if __name__ == "__main__":
    main()
