"""One Gauss-Newton iteration on the emulated Cortex-M4F: this solver, and CasADi's generated C.

`make bench` runs it after run.py. Ours is a whole iteration: roll-out, Jacobians, assembly, bounds,
factorisation and line search. CasADi's is what it can generate: the Gauss-Newton step by symbolic
Cholesky, without bounds and without a line search. Both are built with the same flags and run on
the same 200 random problems; the result goes into bench/results.json, under "solver".
"""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path

import casadi as ca
import numpy as np
from rich.console import Console
from rich.progress import Progress

from nn4mc_codegen.qemu import QemuError, measure, missing_tools
from soft_control.host_solver import NOT_THE_SOLVER, compile_network, write_config
from soft_control.ipopt import Problem
from soft_control.paths import share
from soft_control.solver_comparison import SETTINGS, Subject, random_problems, subjects

ROOT = Path(__file__).resolve().parents[1]
PUBLISHED = ROOT.parent / "shared" / "data" / "published_models"
PROBLEMS = 200
CASADI_SETTINGS = ((5, 2), (10, 2))
"""Its C for 10/5 is more than a megabyte: it does not fit into the flash."""

OWN = """
#include "mpc.h"
void solver_step(const float x[SOLVER_INPUTS], float y[SOLVER_OUTPUTS])
{
    static mpc_config_t config;
    static mpc_state_t state;
    const float *reference = x + (sizeof config + sizeof state) / sizeof(float);
    memcpy(&config, x, sizeof config);
    memcpy(&state, x + sizeof config / sizeof(float), sizeof state);
    const mpc_result_t result = mpc_step(&config, &state, (const float (*)[OUTPUTS])reference, 0);
    y[0] = (float)result.trials;
    memcpy(y + 1, state.plan, sizeof state.plan);
}
"""
HANDED_OVER = """
#include "mpc.h"
void solver_step(const float x[SOLVER_INPUTS], float y[SOLVER_OUTPUTS])
{
    static mpc_config_t config;
    static mpc_state_t state;
    memcpy(&config, x, sizeof config);
    memcpy(&state, x + sizeof config / sizeof(float), sizeof state);
    y[0] = config.command_min[0];
    memcpy(y + 1, state.plan, sizeof state.plan);
}
"""
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
    subject = subjects(PUBLISHED, [])[0]
    rows = []
    with Progress(console=console) as progress:
        task = progress.add_task("solvers", total=len(SETTINGS) + len(CASADI_SETTINGS))
        for settings, make in ((SETTINGS, own_row), (CASADI_SETTINGS, casadi_row)):
            for horizon, control_horizon in settings:
                try:
                    rows.append(make(subject, horizon, control_horizon))
                except QemuError as error:
                    rows.append({"tool": make.__name__, "failure": str(error)})
                progress.advance(task)
    path = ROOT / "bench" / "results.json"
    results = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps(results | {"solver": rows}, indent=1) + "\n")
    for row in rows:
        console.print(row, highlight=False)


def own_row(subject: Subject, horizon: int, control_horizon: int) -> dict:
    """Worst case over the problems, less what handing them over costs."""
    sizes = subject.sizes(horizon, control_horizon)
    problems = list(random_problems(subject, sizes, np.random.default_rng(0), PROBLEMS))
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
    parts = sorted(path for path in source.glob("*.c") if path.stem not in NOT_THE_SOLVER)
    costs = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_config(folder, sizes, iterations=1)
        compile_network(subject.model, folder, sizes)
        write_header(folder, x.shape[1], 1 + sizes.commands * control_horizon)
        for program in (OWN, HANDED_OVER):
            (folder / "solver.c").write_text('#include "solver.h"\n' + program)
            costs.append(
                measure(
                    folder,
                    "solver",
                    x,
                    cycles=program is OWN,
                    sources=[folder / "solver.c", folder / "fk.c", *parts],
                    flags=[f"-I{source}"],
                )
            )
    full, handed = costs
    trials = full.outputs["y"][:, 0]
    each = full.instructions_each - handed.instructions_each
    one_trial = each[trials <= 1]
    return {
        "tool": "soft_control",
        "network": subject.name,
        "horizon": horizon,
        "control_horizon": control_horizon,
        "instructions": int(one_trial.max()),
        "instructions_median": int(np.median(one_trial)),
        "instructions_all_trials": int(each.max()),
        "cycles": full.cycles,
        "flash_bytes": full.flash_bytes,
        "ram_bytes": full.ram_bytes + full.stack_bytes,
        "bounds": True,
        "line_search": True,
    }


def casadi_row(subject: Subject, horizon: int, control_horizon: int) -> dict:
    sizes = subject.sizes(horizon, control_horizon)
    judge = Problem(subject.network, sizes)
    problems = list(random_problems(subject, sizes, np.random.default_rng(0), PROBLEMS))
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
        found = measure(
            folder,
            "solver",
            x,
            cycles=True,
            sources=[folder / "solver.c", folder / "step.c"],
        )
    return {
        "tool": "casadi",
        "version": ca.__version__,
        "network": subject.name,
        "horizon": horizon,
        "control_horizon": control_horizon,
        "instructions": found.instructions,
        "instructions_median": int(np.median(found.instructions_each)),
        "cycles": found.cycles,
        "flash_bytes": found.flash_bytes,
        "ram_bytes": found.ram_bytes + found.stack_bytes,
        "bounds": False,
        "line_search": False,
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


def write_header(folder: Path, inputs: int, outputs: int) -> None:
    (folder / "solver.h").write_text(
        f"#define SOLVER_INPUTS {inputs}\n#define SOLVER_OUTPUTS {outputs}\n"
        "void solver_step(const float x[SOLVER_INPUTS], float y[SOLVER_OUTPUTS]);\n"
    )


if __name__ == "__main__":
    main()
