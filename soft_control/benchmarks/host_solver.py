"""The C solver of firmware/src with any network, built for this machine and called in process.

Nothing of the link or the control loop is in between: problems in, plans out, normalised units.
"""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np

from nn4mc_codegen import compile_model
from soft_control.control.mpc_settings import MpcSettings, physical_settings
from soft_control.control.observer import ObserverConfig
from soft_control.control.problem import Sizes, Start, Weights, shape_of
from soft_control.experiment.closed_loop import ModelController
from soft_control.firmware_build import lag_sums
from soft_control.learning.model import Model, ModelCard
from soft_control.paths import share
from soft_control.rigs import make_rig

FLAGS = ("-std=c99", "-O2", "-ffp-contract=off", "-fno-math-errno", "-Wall", "-Werror", "-fPIC")

# Gauss-Newton's and the exact model of the cost, which the solver keeps to itself.
PROBE = """
#include "solver/quadratic.h"
float probe_model(const mpc_config_t *config, const mpc_state_t *state,
                  const float reference[HORIZON][OUTPUTS], float gradient[VARIABLES],
                  float hessian[VARIABLES][VARIABLES])
{
    static plan_t plan;
    static network_t network;
    static quadratic_t model;
    plan_start(config, state, &plan, &network);
    plan_bound(config, &plan);
    quadratic_build(config, reference, &network, &plan, &model);
    for (int v = 0; v < VARIABLES; ++v) { /* newest first in the solver */
        const int at = VARIABLE_OF(v / COMMANDS) + v % COMMANDS;
        gradient[v] = model.gradient[at];
        for (int w = 0; w < VARIABLES; ++w) {
            hessian[v][w] = model.hessian[at][VARIABLE_OF(w / COMMANDS) + w % COMMANDS];
        }
    }
    return plan.cost;
}
"""


@dataclass(frozen=True)
class Step:
    """Answer of `mpc_step`."""

    status: int
    iterations: int
    trials: int
    cost: float
    command: np.ndarray
    """(m,)"""
    plan: np.ndarray
    """(Nc, m)"""


class HostSolver:
    """mpc.c for one network and one set of sizes.

    The network's flat input is [u lags, y lags, signals] as network.h wants it. Raises
    CalledProcessError with the compiler's words where it does not build.
    """

    def __init__(
        self,
        model: Path,
        sizes: Sizes,
        folder: Path,
        iterations: int = 1,
        method: str = "MPC_GAUSS_NEWTON",
        probe: bool = False,
        push: bool = False,
    ) -> None:
        """`probe`: whether `model` can be called; `push`: as `compile_network` has it."""
        self.sizes = s = sizes
        folder.mkdir(parents=True, exist_ok=True)
        compile_network(model, folder, s, second=method != "MPC_GAUSS_NEWTON", push=push)
        write_config(folder, s, iterations, method)
        (folder / "probe.c").write_text(PROBE if probe else "typedef int nothing;\n")
        source = share() / "firmware" / "src"
        parts = (source / "solver").glob("*.c")
        library = folder / "solver.so"
        has_fma = "fma" in Path("/proc/cpuinfo").read_text().split()
        command = ["gcc", *FLAGS, *(["-mfma"] if has_fma else []), "-shared", "-Wl,-Bsymbolic"]
        command += [f"-I{folder}", f"-I{source}", *map(str, sorted(parts))]
        command += [str(folder / "fk.c"), str(folder / "probe.c"), "-o", str(library), "-lm"]
        subprocess.run(command, check=True, capture_output=True, text=True)
        self._library = ctypes.CDLL(str(library))
        if probe:
            self._library.probe_model.restype = ctypes.c_float

        def array(*shape: int) -> type:
            kind = ctypes.c_float
            for length in reversed(shape):
                kind = kind * length
            return kind

        def structure(**members: type) -> type:
            return type("Struct", (ctypes.Structure,), {"_fields_": list(members.items())})

        self._config = structure(
            **{f.name: array(*shape_of(f.name, s.commands, s.outputs)) for f in fields(Weights)}
        )
        network = {"network": array(s.states)} if s.states else {}
        self._state = structure(
            commands=array(s.input_delay + s.input_lags, s.commands),
            outputs=array(max(s.output_lags, 1), s.outputs),
            signals=array(max(s.signals, 1)),
            plan=array(s.control_horizon, s.commands),
            **network,
        )
        self._reference = array(s.horizon, s.outputs)
        self._library.mpc_step.restype = structure(
            status=ctypes.c_int,
            iterations=ctypes.c_uint8,
            trials=ctypes.c_uint8,
            cost=ctypes.c_float,
            command=array(s.commands),
        )

    def step(self, weights: Weights, start: Start, plan: np.ndarray) -> Step:
        """One `mpc_step` from `plan` (Nc, m), which is not changed."""
        config, state, reference = self._arguments(weights, start, plan)
        got = self._library.mpc_step(
            ctypes.byref(config), ctypes.byref(state), reference, ctypes.c_void_p(None)
        )
        return Step(
            got.status,
            got.iterations,
            got.trials,
            got.cost,
            np.array(got.command, dtype=float),
            np.array(state.plan, dtype=float),
        )

    def model(
        self, weights: Weights, start: Start, plan: np.ndarray
    ) -> tuple[float, np.ndarray, np.ndarray]:
        """Cost, its gradient (Nc*m,) and the solver's Hessian (Nc*m, Nc*m) of the cost."""
        config, state, reference = self._arguments(weights, start, plan)
        size = self.sizes.control_horizon * self.sizes.commands
        gradient = (ctypes.c_float * size)()
        hessian = (ctypes.c_float * size * size)()
        cost = self._library.probe_model(
            ctypes.byref(config), ctypes.byref(state), reference, gradient, hessian
        )
        full = np.array(hessian, dtype=float)
        full = np.tril(full) + np.tril(full, -1).T
        return cost, 2.0 * np.array(gradient, dtype=float), 2.0 * full

    def _arguments(self, weights: Weights, start: Start, plan: np.ndarray) -> tuple:
        config = _filled(
            self._config, **{f.name: getattr(weights, f.name) for f in fields(weights)}
        )
        state = _filled(
            self._state,
            commands=start.commands,
            outputs=start.outputs,
            signals=start.signals,
            plan=plan,
            **({"network": start.state} if self.sizes.states else {}),
        )
        reference = self._reference()
        np.ctypeslib.as_array(reference)[:] = start.reference
        return config, state, reference


def compile_network(
    model: Path, folder: Path, sizes: Sizes, second: bool = False, push: bool = False
) -> None:
    """fk with what network.h wants: derivatives by command lags, output lags and states, and where
    the last command is held those along all its lags; signals folded. `second`: the second
    derivatives, too. `push`: no derivatives but fk_push, for all planned commands."""
    if push:
        directions = sizes.control_horizon * sizes.commands
        compile_model(model, folder, name="fk", push=directions)
        return
    lags = sizes.input_lags * sizes.commands + sizes.output_lags * sizes.outputs
    columns = [*range(lags), *(["state"] if sizes.states else [])]
    signals = range(lags, lags + sizes.signals)
    # A recurrent network's columns are made one by one: their sums cost more than the solver saves.
    wanted = not sizes.states
    sums = lag_sums(sizes.commands, sizes.input_lags, sizes.tail_continues) if wanted else []
    compile_model(
        model,
        folder,
        name="fk",
        jacobian=[*columns, *sums],
        jacobian_range=True,
        hvp=columns if second else None,
        fold=list(signals) or None,
    )


def write_config(
    folder: Path, sizes: Sizes, iterations: int, method: str = "MPC_GAUSS_NEWTON"
) -> None:
    """controller_config.h with all that the solver itself wants of it."""
    macros = {f.name.upper(): int(getattr(sizes, f.name)) for f in fields(Sizes)}
    del macros["STATES"]
    macros |= {
        "MEMORIES": 0,
        "MPC_ITERATIONS": iterations,
        "LINE_SEARCH_TRIALS": 4,
        "MPC_METHOD": method,
        "SIGNAL_SLOTS": max(sizes.signals, 1),
    }
    lines = [f"#define {name} {value}" for name, value in macros.items()]
    (folder / "controller_config.h").write_text("\n".join([*lines, ""]))


def _filled(kind: type, **values: np.ndarray) -> ctypes.Structure:
    result = kind()
    for name, value in values.items():
        if np.size(value):
            np.ctypeslib.as_array(getattr(result, name))[:] = value
    return result


def sizes_of(card: ModelCard, settings: MpcSettings) -> Sizes:
    """Compile-time sizes of the firmware that `softctl build` would make."""
    return Sizes(
        commands=len(card.command_names),
        outputs=len(card.output_offset),
        signals=len(card.signal_names) + card.memory_columns,  # to a solver, both stand still
        input_lags=card.input_lags,
        output_lags=card.output_lags,
        input_delay=card.input_delay,
        horizon=settings.horizon,
        control_horizon=settings.control_horizon,
        first_cost_stage=settings.first_cost_stage or card.input_delay + 1,
        tail_continues=settings.tail_continues,
    )


def weights_of(card: ModelCard, settings: MpcSettings) -> Weights:
    """Its bounds and weights, in the units of the network."""
    given = physical_settings(settings, card.robot)
    physical = {key: np.asarray(value) for key, value in given.items()}
    offset, scale = np.array(card.command_offset), np.array(card.command_scale)
    origin, unit = np.array(card.output_offset), np.array(card.output_scale)
    # A judge knows no infinity.
    physical |= {key: np.clip(physical[key], -1e6, 1e6) for key in ("output_min", "output_max")}
    return Weights(
        command_min=(physical["command_min"] - offset) / scale,
        command_max=(physical["command_max"] - offset) / scale,
        move_max=physical["move_max"] / scale,
        output_weight=physical["output_weight"] * unit**2,
        terminal_weight=physical["terminal_weight"] * unit**2,
        output_min=(physical["output_min"] - origin) / unit,
        output_max=(physical["output_max"] - origin) / unit,
        bound_weight=physical["bound_weight"] * unit**2,
        move_weight=physical["move_weight"] * scale**2,
        command_weight=physical["command_weight"] * scale**2,
        command_reference=(physical["command_reference"] - offset) / scale,
    )


class SolverLoop:
    """Makes controllers around a solver, with weights of their own; by default around the C."""

    def __init__(
        self, model: Model, settings: MpcSettings, solver: HostSolver | None = None
    ) -> None:
        """Sizes are those of `settings`, which the solver must have been built with."""
        self.model, self.sizes = model, sizes_of(model.card, settings)
        self._solver = solver
        rig = make_rig(model.card.rig)
        self._neutral = (rig.command_min + rig.command_max) / 2
        self._live = [rig.signal_names.index(name) for name in model.card.signal_names]

    def controller(
        self,
        settings: MpcSettings,
        offset_gain: float = 0.0,
        output_gain: float = 0.0,
        preview: bool = True,
        terminal: float = 1.0,
        observer: ObserverConfig | None = None,
        solve: Callable[[Weights, Start, np.ndarray], np.ndarray] | None = None,
    ) -> ModelController:
        """`terminal`: weight of the last output over that of the others; `solve`: in place of the
        C solver."""
        weights = weights_of(self.model.card, settings)
        return ModelController(
            self.model,
            solve or (lambda w, start, plan: self._solver.step(w, start, plan).plan),
            self.sizes,
            replace(weights, terminal_weight=terminal * weights.output_weight),
            self._neutral,
            self._live,
            offset_gain,
            output_gain,
            preview,
            observer,
        )
