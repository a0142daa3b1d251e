"""The solver of firmware/src, built for the host, against control/mpc_oracle.py and numpy."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import pytest

from soft_control.control import mpc_oracle as mpc
from soft_control.control.problem import Weights, shape_of

SOURCES = Path(__file__).parents[3] / "firmware" / "src"
SOLVER = sorted((SOURCES / "solver").glob("*.c"))
HAS_FMA = "fma" in Path("/proc/cpuinfo").read_text().split()
FLAGS = (
    "-std=c99 -O2 -ffp-contract=off -fno-math-errno "
    "-Wall -Wextra -Wpedantic -Wconversion -Wdouble-promotion -Werror"
).split() + (["-mfma"] if HAS_FMA else [])

NETWORK = Path(__file__).parents[1] / "network"
HIDDEN = 8
METHODS = ("gauss_newton", "newton", "soloway")


@dataclass(frozen=True)
class Sizes:
    """Macros of controller_config.h, and what the test's network is to be like."""

    commands: int = 2
    outputs: int = 3
    signals: int = 4
    input_lags: int = 3
    output_lags: int = 3
    input_delay: int = 5
    horizon: int = 12
    control_horizon: int = 3
    first_cost_stage: int = 6
    mpc_iterations: int = 1
    line_search_trials: int = 4
    tail_continues: int = 1
    mpc_method: int = 0
    states: int = 0
    fold: int = 0
    push: int = 0

    @property
    def inputs(self) -> int:
        return self.input_lags * self.commands + self.output_lags * self.outputs + self.signals

    @property
    def lag_inputs(self) -> int:
        return self.inputs - self.signals

    def write(self, folder: Path) -> None:
        lines = [f"#define {name.upper()} {value}" for name, value in vars(self).items()]
        lines.append(f"#define BARRIER {BARRIER}f")
        (folder / "controller_config.h").write_text("\n".join([*lines, ""]))
        for name in ("fk.h", "fk.c"):
            shutil.copy(NETWORK / name, folder / name)


BARRIER = 0.01
FIELDS = [f.name for f in fields(Weights)]  # of mpc_config_t, in its order


class Firmware:
    """The solver and the network of `folder` as a library, with the calls of mpc_oracle.py."""

    def __init__(self, folder: Path, sizes: Sizes) -> None:
        self.sizes = s = sizes
        library = folder / "mpc.so"
        sources = [*SOLVER, folder / "fk.c"]
        subprocess.run(
            ["gcc", *FLAGS, "-shared", "-fPIC", f"-I{folder}", f"-I{SOURCES}"]
            + [*map(str, sources), "-o", str(library), "-lm"],
            check=True,
        )
        self.library = ctypes.CDLL(str(library))

        def array(*shape: int) -> type:
            kind = ctypes.c_float
            for length in reversed(shape):
                kind = kind * length
            return kind

        class Config(ctypes.Structure):
            _fields_ = [(name, array(*shape_of(name, s.commands, s.outputs))) for name in FIELDS]

        class State(ctypes.Structure):
            _fields_ = [
                ("commands", array(s.input_delay + s.input_lags, s.commands)),
                ("outputs", array(max(s.output_lags, 1), s.outputs)),
                ("signals", array(max(s.signals, 1))),
                ("plan", array(s.control_horizon, s.commands)),
            ] + ([("network", array(s.states))] if s.states else [])

        class Result(ctypes.Structure):
            _fields_ = [
                ("status", ctypes.c_int),
                ("iterations", ctypes.c_uint8),
                ("trials", ctypes.c_uint8),
                ("cost", ctypes.c_float),
                ("command", array(s.commands)),
            ]

        self.config_type, self.state_type = Config, State
        self.reference_type = array(s.horizon, s.outputs)
        self.command_type = array(s.commands)
        self.library.mpc_step.restype = Result
        self.library.mpc_advance.restype = ctypes.c_bool

    def config(self, config: mpc.MpcConfig) -> ctypes.Structure:
        return _filled(self.config_type, config)

    def state(self, state: mpc.MpcState) -> ctypes.Structure:
        return _filled(self.state_type, state)

    def step(
        self,
        config: ctypes.Structure,
        state: ctypes.Structure,
        reference: np.ndarray,
        clock: Clock | None = None,
    ):
        points = self.reference_type()
        np.ctypeslib.as_array(points)[:] = reference
        given = None if clock is None else ctypes.byref(clock)
        return self.library.mpc_step(ctypes.byref(config), ctypes.byref(state), points, given)

    def advance(self, state: ctypes.Structure, command: np.ndarray) -> bool:
        values = self.command_type(*map(float, command))
        return self.library.mpc_advance(ctypes.byref(state), values)

    def set_network(self, network: Network) -> None:
        flat = np.concatenate(
            [part.ravel() for part in (network.a_matrix, network.a, network.b_matrix, network.b)]
        )
        weights = (ctypes.c_float * flat.size).in_dll(self.library, "weights")
        np.ctypeslib.as_array(weights)[:] = flat


NOW = ctypes.CFUNCTYPE(ctypes.c_uint32, ctypes.c_void_p)


class Clock(ctypes.Structure):
    """mpc_clock_t"""

    _fields_ = [("now", NOW), ("context", ctypes.c_void_p), ("budget", ctypes.c_uint32)]


def _filled(kind: type, values: object) -> ctypes.Structure:
    structure = kind()
    for name, _ in kind._fields_:
        wanted = getattr(values, name)
        if wanted.size:
            np.ctypeslib.as_array(getattr(structure, name))[:] = wanted
    return structure


def array_of(structure: ctypes.Structure, name: str) -> np.ndarray:
    return np.ctypeslib.as_array(getattr(structure, name)).astype(float)


@dataclass(frozen=True)
class Network:
    """The test's network in float64."""

    sizes: Sizes
    a_matrix: np.ndarray
    a: np.ndarray
    b_matrix: np.ndarray
    b: np.ndarray

    def _hidden(self, x: np.ndarray, h: tuple[np.ndarray, ...]) -> np.ndarray:
        return np.tanh(self.a_matrix @ np.concatenate([x, *h]) + self.a)

    def _columns(self) -> np.ndarray:
        s = self.sizes
        return np.r_[: s.lag_inputs, s.inputs : s.inputs + s.states]

    def step(self, x: np.ndarray, *h: np.ndarray) -> np.ndarray:
        s = self.sizes
        handed = self.b_matrix @ self._hidden(x, h) + self.b
        newest = s.input_lags * s.commands
        if s.output_lags:
            handed[: s.outputs] += x[newest : newest + s.outputs]
        return handed

    def jacobian(self, x: np.ndarray, *h: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        s = self.sizes
        hidden = self._hidden(x, h)
        jacobian = (self.b_matrix * (1 - hidden**2)) @ self.a_matrix
        newest = s.input_lags * s.commands
        if s.output_lags:
            jacobian[: s.outputs, newest : newest + s.outputs] += np.eye(s.outputs)
        return self.step(x, *h), jacobian[:, self._columns()]

    def curvature(self, x: np.ndarray, *rest: np.ndarray) -> np.ndarray:
        *h, weights = rest
        hidden = self._hidden(x, tuple(h))
        a = self.a_matrix[:, self._columns()]
        bend = (weights @ self.b_matrix) * -2 * hidden * (1 - hidden**2)
        return a.T @ (bend[:, None] * a)


def float32(values: np.ndarray) -> np.ndarray:
    """Values that both sides can hold exactly."""
    return np.asarray(values, dtype=np.float32).astype(float)


def random_network(rng: np.random.Generator, sizes: Sizes) -> Network:
    """Commands pull the outputs towards a curved function of them, at the pace of a soft rig."""
    s = sizes
    a_matrix = rng.normal(size=(HIDDEN, s.inputs + s.states)) / np.sqrt(s.inputs + s.states)
    b_matrix = rng.normal(size=(s.outputs + s.states, HIDDEN)) * 0.15
    b_matrix[s.outputs :] *= 3.0
    newest = s.input_lags * s.commands
    if s.output_lags:
        a_matrix[:, newest : s.inputs] *= 0.3
        a_matrix[:, newest : newest + s.outputs] -= 0.5 * b_matrix[: s.outputs].T
    return Network(
        s,
        float32(a_matrix),
        float32(0.3 * rng.normal(size=HIDDEN)),
        float32(b_matrix),
        float32(0.05 * rng.normal(size=s.outputs + s.states)),
    )


def config_of(sizes: Sizes, **values: np.ndarray) -> mpc.MpcConfig:
    s = sizes
    return mpc.MpcConfig(
        input_lags=s.input_lags,
        output_lags=s.output_lags,
        input_delay=s.input_delay,
        horizon=s.horizon,
        control_horizon=s.control_horizon,
        first_cost_stage=s.first_cost_stage,
        iterations=s.mpc_iterations,
        line_search_trials=s.line_search_trials,
        tail_continues=bool(s.tail_continues),
        method=METHODS[s.mpc_method],
        barrier=BARRIER,
        **values,
    )


def random_problem(
    rng: np.random.Generator, sizes: Sizes
) -> tuple[mpc.MpcConfig, mpc.MpcState, np.ndarray]:
    """A third each of interior, near-bound and saturated starts; tight to loose move limits; soft
    bounds of the outputs, a terminal weight and wanted commands in half of them; in half of them a
    robot that is no longer as it was recorded."""
    s = sizes
    more = float(rng.random() < 0.5)
    output_weight = float32(rng.uniform(0.5, 2.0, s.outputs))
    low, high = -rng.uniform(0.5, 1.0, s.commands), rng.uniform(0.5, 1.0, s.commands)
    reach = rng.choice([0.3, 1.0, 3.0])
    outputs = float32(rng.normal(size=(max(s.output_lags, 1), s.outputs)) * 0.5)
    middle = outputs[0] + rng.normal(size=s.outputs) * 0.1
    config = config_of(
        sizes,
        command_min=float32(low),
        command_max=float32(high),
        move_max=float32(10 ** rng.uniform(-1.5, 0, s.commands)),
        output_weight=output_weight,
        terminal_weight=float32(output_weight * (1 + 4 * more)),
        output_min=float32(middle - rng.uniform(0.05, 0.3, s.outputs)),
        output_max=float32(middle + rng.uniform(0.05, 0.3, s.outputs)),
        bound_weight=float32(more * rng.uniform(1, 10, s.outputs)),
        move_weight=float32(10 ** rng.uniform(-1.5, 0, s.commands)),
        command_weight=float32(more * 10 ** rng.uniform(-2, -1, s.commands)),
        command_reference=float32(rng.uniform(-0.5, 0.5, s.commands)),
    )
    commands = float32(
        np.clip(
            rng.normal(size=(s.input_delay + s.input_lags, s.commands)) * reach,
            config.command_min,
            config.command_max,
        )
    )
    moves = rng.normal(size=(s.control_horizon, s.commands)) * config.move_max
    state = mpc.MpcState(
        commands=commands,
        outputs=outputs,
        signals=float32(rng.normal(size=s.signals)),
        plan=float32(commands[0] + np.cumsum(moves, axis=0)),
        network=float32(rng.normal(size=s.states) * 0.3),
    )
    reference = float32(
        outputs[0] + np.cumsum(rng.normal(size=(s.horizon, s.outputs)) * 0.1, axis=0)
    )
    moved = float(rng.random() < 0.5)
    gain = np.eye(s.outputs) + moved * rng.normal(0, 0.2, (s.outputs, s.outputs))
    offset = moved * rng.normal(0, 0.2, s.outputs)
    config = replace(config, output_gain=float32(gain), output_offset=float32(offset))
    return config, state, reference


def sizes_to_try() -> list[Sizes]:
    """Every delay, both tails, and all numbers of lags, moves and commands, not their product."""
    rng = np.random.default_rng(1)
    sizes = [
        Sizes(
            commands=int(rng.choice([2, 6])),
            signals=4 * (delay // 2 % 2),
            input_lags=int(rng.integers(1, 4)),
            output_lags=int(rng.integers(1, 4)),
            input_delay=delay,
            horizon=int(rng.integers(delay + 3, 13)),
            control_horizon=int(rng.integers(1, 4)),
            first_cost_stage=int(rng.integers(delay + 1, delay + 3)),
            tail_continues=delay % 2,
            fold=delay // 2 % 2,
        )
        for delay in range(7)
    ]
    return [
        *sizes,
        Sizes(),
        Sizes(commands=6, input_delay=0, first_cost_stage=1, tail_continues=0, fold=1),
        Sizes(control_horizon=1, input_delay=0, first_cost_stage=1, tail_continues=0, fold=1),
        Sizes(input_delay=1, first_cost_stage=2, control_horizon=5),
        Sizes(commands=1, outputs=1, input_delay=2, first_cost_stage=3),
        Sizes(commands=7, control_horizon=1, input_delay=0, first_cost_stage=1, horizon=4),
        Sizes(states=4, output_lags=0, input_delay=1, first_cost_stage=2, fold=1),
        Sizes(states=3, output_lags=2, input_delay=0, first_cost_stage=1, tail_continues=0),
        Sizes(push=1, states=5, output_lags=1, input_lags=1, input_delay=0, first_cost_stage=1),
        Sizes(push=1, states=4, output_lags=2, input_delay=1, horizon=9, tail_continues=0),
        Sizes(push=1, input_delay=2, first_cost_stage=3, control_horizon=2),
        Sizes(mpc_method=1, horizon=9),
        Sizes(mpc_method=1, states=4, output_lags=0, input_delay=1, first_cost_stage=2),
        Sizes(mpc_method=2, horizon=8, tail_continues=0),
    ]


@pytest.fixture(params=sizes_to_try(), ids=lambda sizes: "-".join(map(str, vars(sizes).values())))
def tanh_firmware(request: pytest.FixtureRequest, tmp_path: Path) -> Firmware:
    request.param.write(tmp_path)
    return Firmware(tmp_path, request.param)


def assert_same_iterate(c_result, c_state, result: mpc.MpcResult, state: mpc.MpcState) -> None:
    """2e-4 in normalised units: what float32 leaves of H^-1 g on these problems. Where either says
    that no step promises a millionth of the cost, the other may still have taken it."""
    converged = mpc.Status.CONVERGED in (c_result.status, result.status)
    atol = 3e-3 if converged else 2e-4
    np.testing.assert_allclose(array_of(c_state, "plan"), state.plan, atol=atol)
    np.testing.assert_allclose(array_of(c_result, "command"), result.command, atol=atol)
    assert c_result.cost == pytest.approx(result.cost, rel=1e-5 if converged else 1e-3, abs=1e-6)


def test_iterates_as_the_numpy_form(tanh_firmware: Firmware) -> None:
    """Four iterates a problem, each from the C's last one."""
    rng = np.random.default_rng(2)
    sizes = tanh_firmware.sizes
    moved = bounded = 0
    for _ in range(20):
        network = random_network(rng, sizes)
        tanh_firmware.set_network(network)
        config, state, reference = random_problem(rng, sizes)
        c_config, c_state = tanh_firmware.config(config), tanh_firmware.state(state)
        for _ in range(4):
            state = replace(state, plan=array_of(c_state, "plan"))
            first = mpc.bounded(config, state.commands[0], state.plan)
            start = mpc.predict(config, network, state, reference, first).cost
            c_result = tanh_firmware.step(c_config, c_state, reference)
            result = mpc.step(config, network, state, reference)
            assert c_result.cost <= start * (1 + 1e-5)
            assert_same_iterate(c_result, c_state, result, state)
            moved += result.status == mpc.Status.MAX_ITERATIONS
            moves = np.diff(np.vstack([state.commands[0], state.plan]), axis=0)
            bounded += bool((np.abs(moves) > config.move_max - 1e-6).any())
    assert moved > 15 and bounded > 15


@pytest.fixture(scope="module")
def tendon_firmware(tmp_path_factory: pytest.TempPathFactory) -> Firmware:
    folder = tmp_path_factory.mktemp("tendon")
    sizes = Sizes(mpc_iterations=2)
    sizes.write(folder)
    return Firmware(folder, sizes)


def test_a_run_as_the_numpy_form(tendon_firmware: Firmware) -> None:
    """60 samples, model and plan running free in both; 1e-3: errors of single iterates add up."""
    rng = np.random.default_rng(3)
    sizes = tendon_firmware.sizes
    network = random_network(rng, sizes)
    tendon_firmware.set_network(network)
    config, state, _ = random_problem(rng, sizes)
    config = replace(config, move_max=np.full(2, 0.1), move_weight=np.full(2, 0.1))
    c_config, c_state = tendon_firmware.config(config), tendon_firmware.state(state)
    phases = 0.1 * np.arange(60 + sizes.horizon)[:, None] + np.arange(3)
    path = float32(state.outputs[0] + 0.3 * (np.sin(phases) - np.sin(np.arange(3))))
    for k in range(60):
        reference = path[k : k + sizes.horizon]
        c_result = tendon_firmware.step(c_config, c_state, reference)
        result = mpc.step(config, network, state, reference)
        assert tendon_firmware.advance(c_state, array_of(c_result, "command"))
        assert mpc.advance(config, network, state, result.command)
        np.testing.assert_allclose(array_of(c_state, "commands"), state.commands, atol=1e-3)
        np.testing.assert_allclose(array_of(c_state, "outputs"), state.outputs, atol=1e-3)


@dataclass(frozen=True)
class Hasel:
    """The published network in float64: 36 inputs, relu, relu, tanh; not in increment form."""

    layers: list[tuple[np.ndarray, np.ndarray]]

    def step(self, x: np.ndarray) -> np.ndarray:
        return self.jacobian(x)[0]

    def jacobian(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        jacobian = np.eye(36)[:, :18]
        for weights, bias in self.layers[:2]:
            x = x @ weights + bias
            jacobian = (weights.T @ jacobian) * (x > 0)[:, None]
            x = np.maximum(x, 0)
        weights, bias = self.layers[2]
        y = np.tanh(x @ weights + bias)
        return y, (weights.T @ jacobian) * (1 - y**2)[:, None]


def read_hasel(path: Path) -> Hasel:
    h5py = pytest.importorskip("h5py")
    with h5py.File(path) as file:
        groups = [file["model_weights"][name][name] for name in ("dense_1", "dense_2", "dense_3")]
        parts = [(group["kernel:0"][:], group["bias:0"][:]) for group in groups]
    return Hasel([(weights.astype(float), bias.astype(float)) for weights, bias in parts])


@pytest.mark.parametrize(("horizon", "control_horizon"), [(5, 2), (10, 5)])
def test_published_hasel_network(
    shared_data: Path, tmp_path: Path, horizon: int, control_horizon: int
) -> None:
    """The generated network under the solver. A relu's kink lies on one side in float32 and on the
    other in float64 for one problem in many hundreds: none of these."""
    codegen = pytest.importorskip("nn4mc_codegen")
    model = shared_data / "published_models" / "hasel_dense_2022-06-06.hdf5"
    sizes = Sizes(
        commands=6,
        signals=18,
        input_lags=2,
        output_lags=2,
        input_delay=0,
        horizon=horizon,
        control_horizon=control_horizon,
        first_cost_stage=1,
        tail_continues=0,
    )
    sizes.write(tmp_path)
    codegen.compile_model(model, tmp_path, name="fk", jacobian=18)
    firmware, network = Firmware(tmp_path, sizes), read_hasel(model)
    rng = np.random.default_rng(4)
    for _ in range(20):
        config, state, reference = random_problem(rng, sizes)
        c_config, c_state = firmware.config(config), firmware.state(state)
        for _ in range(3):
            state = replace(state, plan=array_of(c_state, "plan"))
            c_result = firmware.step(c_config, c_state, reference)
            result = mpc.step(config, network, state, reference)
            assert_same_iterate(c_result, c_state, result, state)


@pytest.mark.parametrize("where", ["commands", "outputs", "signals", "plan", "reference"])
@pytest.mark.parametrize("what", [np.nan, np.inf])
def test_what_is_not_finite_holds_the_command(
    tendon_firmware: Firmware, where: str, what: float
) -> None:
    rng = np.random.default_rng(5)
    tendon_firmware.set_network(random_network(rng, tendon_firmware.sizes))
    config, state, reference = random_problem(rng, tendon_firmware.sizes)
    held = state.commands[0].copy()
    (reference if where == "reference" else getattr(state, where))[-1] = what
    c_state = tendon_firmware.state(state)
    result = tendon_firmware.step(tendon_firmware.config(config), c_state, reference)
    assert result.status == mpc.Status.NOT_FINITE
    np.testing.assert_array_equal(array_of(result, "command"), held)
    np.testing.assert_array_equal(array_of(c_state, "plan"), np.tile(held, (3, 1)))


def test_overflow_in_the_weights_holds_the_command(tendon_firmware: Firmware) -> None:
    rng = np.random.default_rng(6)
    tendon_firmware.set_network(random_network(rng, tendon_firmware.sizes))
    config, state, reference = random_problem(rng, tendon_firmware.sizes)
    for weights in (
        {"output_weight": np.full(3, 3e38)},
        {"move_weight": np.full(2, np.nan)},
        {"command_weight": np.full(2, np.inf)},
        {"terminal_weight": np.full(3, np.nan)},
    ):
        c_state = tendon_firmware.state(state)
        c_config = tendon_firmware.config(replace(config, **weights))
        result = tendon_firmware.step(c_config, c_state, reference + 10)
        assert result.status == mpc.Status.NOT_FINITE
        np.testing.assert_array_equal(array_of(result, "command"), state.commands[0])


def test_a_last_command_that_is_not_finite_is_no_answer(tendon_firmware: Firmware) -> None:
    """The nearest to 0 within the bounds then, in the channel that has none."""
    rng = np.random.default_rng(5)
    tendon_firmware.set_network(random_network(rng, tendon_firmware.sizes))
    config, state, reference = random_problem(rng, tendon_firmware.sizes)
    config.command_min[:], config.command_max[:] = (-1.0, 0.25), (1.0, 1.0)
    for channel, wanted in ((0, 0.0), (1, 0.25)):
        for what in (np.nan, -np.inf):
            commands = np.full_like(state.commands, 0.5)
            commands[0, channel] = what
            c_state = tendon_firmware.state(replace(state, commands=commands))
            result = tendon_firmware.step(tendon_firmware.config(config), c_state, reference)
            assert result.status == mpc.Status.NOT_FINITE
            held = np.where(np.arange(2) == channel, wanted, 0.5)
            np.testing.assert_array_equal(array_of(result, "command"), held)


def test_an_infinite_curvature_holds_the_command(tendon_firmware: Firmware) -> None:
    """Of a plan that rests, whose moves cost nothing yet: the cost is finite."""
    rng = np.random.default_rng(6)
    tendon_firmware.set_network(random_network(rng, tendon_firmware.sizes))
    config, state, reference = random_problem(rng, tendon_firmware.sizes)
    resting = replace(state, plan=np.tile(state.commands[0], (3, 1)))
    for move_weight, wanted in ((1e30, mpc.Status.CONVERGED), (3e38, mpc.Status.NOT_FINITE)):
        c_config = tendon_firmware.config(replace(config, move_weight=np.full(2, move_weight)))
        result = tendon_firmware.step(c_config, tendon_firmware.state(resting), reference)
        assert result.status == wanted and result.iterations == 1
        np.testing.assert_array_equal(array_of(result, "command"), state.commands[0])


def test_no_command_within_the_bounds(tendon_firmware: Firmware) -> None:
    """The last command then, brought within the bounds on the commands if they leave any room."""
    rng = np.random.default_rng(7)
    tendon_firmware.set_network(random_network(rng, tendon_firmware.sizes))
    config, state, reference = random_problem(rng, tendon_firmware.sizes)
    last = state.commands[0]
    for bounds, wanted in (
        (
            {"command_min": last + 1.0, "command_max": last + 2.0, "move_max": [0.5, 0.5]},
            last + 1.0,
        ),
        ({"command_min": last + 1.0, "command_max": last - 1.0}, None),
        ({"move_max": np.array([-1.0, 1.0])}, last),
        ({"move_max": np.full(2, np.nan)}, last),
        ({"command_min": np.full(2, np.nan)}, last),
        ({"command_max": np.full(2, -np.inf), "command_min": np.full(2, -np.inf)}, last),
    ):
        bounds = {name: float32(np.array(value)) for name, value in bounds.items()}
        c_state = tendon_firmware.state(state)
        c_config = tendon_firmware.config(replace(config, **bounds))
        result = tendon_firmware.step(c_config, c_state, reference)
        assert result.status == mpc.Status.INFEASIBLE_PROBLEM
        command = array_of(result, "command")
        assert np.isfinite(command).all()
        if wanted is not None:
            np.testing.assert_array_equal(command, float32(wanted))
        np.testing.assert_array_equal(array_of(c_state, "plan"), np.tile(command, (3, 1)))


def test_advance_survives_a_bad_sample(tendon_firmware: Firmware) -> None:
    rng = np.random.default_rng(7)
    tendon_firmware.set_network(random_network(rng, tendon_firmware.sizes))
    _, state, _ = random_problem(rng, tendon_firmware.sizes)
    c_state = tendon_firmware.state(state)
    assert not tendon_firmware.advance(c_state, np.array([np.nan, 0.0]))
    np.testing.assert_array_equal(array_of(c_state, "commands")[0], state.commands[0])
    c_state.signals[0] = np.nan
    before = array_of(c_state, "outputs")
    assert not tendon_firmware.advance(c_state, np.zeros(2))
    np.testing.assert_array_equal(array_of(c_state, "outputs")[0], before[0])
    c_state.signals[0] = 0.0
    assert tendon_firmware.advance(c_state, np.zeros(2))
    before = array_of(c_state, "outputs")
    network = random_network(rng, tendon_firmware.sizes)
    network.b[1] = np.inf  # what comes of inputs that are finite
    tendon_firmware.set_network(network)
    assert not tendon_firmware.advance(c_state, np.zeros(2))
    np.testing.assert_array_equal(array_of(c_state, "outputs")[0], before[0])


def test_a_state_that_overflows_is_not_taken(tmp_path: Path) -> None:
    """The outputs do not look at it and stay finite; nor are they taken, which belong to it."""
    sizes = Sizes(states=4, output_lags=0)
    sizes.write(tmp_path)
    firmware, rng = Firmware(tmp_path, sizes), np.random.default_rng(14)
    network = random_network(rng, sizes)
    firmware.set_network(network)
    _, state, _ = random_problem(rng, sizes)
    c_state = firmware.state(state)
    assert firmware.advance(c_state, np.zeros(2))
    before = {name: array_of(c_state, name) for name in ("outputs", "network")}
    network.b_matrix[-1], network.b[-1] = 3e38, 3e38
    network.a_matrix[:], network.a[:] = 0.0, 5.0  # each hidden unit is nearly 1
    firmware.set_network(network)
    assert not firmware.advance(c_state, np.full(2, 0.25))
    for name, wanted in before.items():
        np.testing.assert_array_equal(array_of(c_state, name), wanted)
    np.testing.assert_array_equal(array_of(c_state, "commands")[0], [0.25, 0.25])


def test_a_plan_of_one_command_stays_where_it_is(tmp_path: Path) -> None:
    """It has no last move that could go on."""
    sizes = Sizes(control_horizon=1, tail_continues=1)
    sizes.write(tmp_path)
    firmware, rng = Firmware(tmp_path, sizes), np.random.default_rng(15)
    network = random_network(rng, sizes)
    firmware.set_network(network)
    config, state, _ = random_problem(rng, sizes)
    c_state, plan = firmware.state(state), state.plan.copy()
    assert firmware.advance(c_state, np.zeros(2))
    assert mpc.advance(config, network, state, np.zeros(2))
    np.testing.assert_array_equal(array_of(c_state, "plan"), plan)
    np.testing.assert_array_equal(state.plan, plan)


@pytest.mark.parametrize("sizes", [Sizes(states=4, output_lags=0), Sizes(states=3, fold=1)])
def test_a_run_of_a_recurrent_network(tmp_path: Path, sizes: Sizes) -> None:
    """As test_a_run_as_the_numpy_form, the network's own state with it."""
    rng = np.random.default_rng(12)
    sizes.write(tmp_path)
    firmware, network = Firmware(tmp_path, sizes), random_network(rng, sizes)
    firmware.set_network(network)
    config, state, reference = random_problem(rng, sizes)
    c_config, c_state = firmware.config(config), firmware.state(state)
    for _ in range(20):
        c_result = firmware.step(c_config, c_state, reference)
        result = mpc.step(config, network, state, reference)
        firmware.advance(c_state, array_of(c_result, "command"))
        mpc.advance(config, network, state, result.command)
        np.testing.assert_allclose(array_of(c_state, "network"), state.network, atol=1e-3)
        np.testing.assert_allclose(array_of(c_state, "outputs"), state.outputs, atol=1e-3)
        np.testing.assert_allclose(array_of(c_state, "plan"), state.plan, atol=1e-3)


class Ticking:
    """A clock that shows the next of `readings` whenever it is asked: at the start of a step, then
    before each iteration."""

    def __init__(self, readings: list[int], budget: int) -> None:
        self.readings = list(readings)
        self.now = NOW(lambda context: self.readings.pop(0))  # kept: the C only borrows it
        self.clock = Clock(self.now, None, budget)


@pytest.mark.parametrize(
    ("readings", "iterations"),
    [
        ([0, 100], 0),
        ([0, 0, 60], 1),
        ([7, 7, 37, 67, 97], 3),
        ([2**32 - 5, 2**32 - 5, 50], 1),
    ],
    ids=["too late", "no second one fits", "no fourth one fits", "the clock wraps"],
)
def test_deadline(tmp_path: Path, readings: list[int], iterations: int) -> None:
    """Of 100 ticks: an iteration begins only if one as long as the longest before would end."""
    sizes = Sizes(mpc_iterations=50, horizon=9)
    sizes.write(tmp_path)
    firmware, rng = Firmware(tmp_path, sizes), np.random.default_rng(13)
    network = random_network(rng, sizes)
    firmware.set_network(network)
    config, state, reference = random_problem(rng, sizes)
    c_state, ticking = firmware.state(state), Ticking(readings, 100)
    result = firmware.step(firmware.config(config), c_state, reference, ticking.clock)
    assert (result.status, result.iterations) == (mpc.Status.DEADLINE, iterations)
    assert not ticking.readings

    answers = iter([True] * iterations + [False])
    wanted = mpc.step(config, network, state, reference, lambda: next(answers))
    assert (wanted.status, wanted.iterations) == (mpc.Status.DEADLINE, iterations)
    np.testing.assert_allclose(array_of(c_state, "plan"), state.plan, atol=1e-3)
    assert result.cost == pytest.approx(wanted.cost, rel=1e-3)


def test_a_bad_solve_leaves_no_warm_start(tendon_firmware: Firmware) -> None:
    """The step after it starts from rest at the command, as if nothing had been planned."""
    rng = np.random.default_rng(9)
    tendon_firmware.set_network(random_network(rng, tendon_firmware.sizes))
    config, state, reference = random_problem(rng, tendon_firmware.sizes)
    c_config, c_state = tendon_firmware.config(config), tendon_firmware.state(state)
    bad = reference.copy()
    bad[8, 1] = np.nan  # of a stage that counts
    assert tendon_firmware.step(c_config, c_state, bad).status == mpc.Status.NOT_FINITE
    again = tendon_firmware.step(c_config, c_state, reference)
    rested = replace(state, plan=np.tile(state.commands[0], (3, 1)))
    fresh = tendon_firmware.step(c_config, tendon_firmware.state(rested), reference)
    assert bytes(again) == bytes(fresh)


@pytest.fixture(scope="module")
def linsolve(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], ctypes.CDLL]:
    """By the number of unknowns: each has tiles of its own."""

    def build(unknowns: int) -> ctypes.CDLL:
        folder = tmp_path_factory.mktemp(f"linsolve_{unknowns}")
        Sizes(commands=unknowns, control_horizon=1).write(folder)
        library = folder / "linsolve.so"
        subprocess.run(
            [
                "gcc",
                *FLAGS,
                "-shared",
                "-fPIC",
                f"-I{folder}",
                f"-I{SOURCES}",
                str(SOURCES / "solver" / "linsolve.c"),
            ]
            + ["-o", str(library), "-lm"],
            check=True,
        )
        loaded = ctypes.CDLL(str(library))
        loaded.linsolve_factor.restype = ctypes.c_bool
        return loaded

    return build


def pointer(values: np.ndarray):
    return values.ctypes.data_as(ctypes.POINTER(ctypes.c_float))


def stride_of(size: int) -> int:
    """LINSOLVE_STRIDE"""
    tile = size if size <= 6 else next((t for t in (5, 4, 3) if size % t == 0), 2)
    return -(-size // tile) * tile


def padded(matrix: np.ndarray) -> np.ndarray:
    """Its lower half in rows of LINSOLVE_STRIDE; what must not be read is NaN."""
    size, stride = len(matrix), stride_of(len(matrix))
    rows = np.eye(stride, dtype=np.float32)
    rows[:size, :size] = matrix
    rows[~np.tri(stride, dtype=bool)] = np.nan
    return rows


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 30])
def test_cholesky(linsolve, size: int) -> None:
    """Backward error: the damping, a few roundings (6e-8) a size; nothing above the diagonal is
    read. The factor's diagonal holds reciprocals."""
    rng, library = np.random.default_rng(8), linsolve(size)
    for condition in (1.0, 1e2, 1e4):
        vectors, _ = np.linalg.qr(rng.normal(size=(size, size)))
        matrix = vectors * condition ** -rng.uniform(size=size) @ vectors.T
        rows, wanted = padded(matrix), np.zeros(stride_of(size), dtype=np.float32)
        wanted[:size] = rng.normal(size=size)
        y = wanted.copy()
        assert library.linsolve_factor(pointer(rows), pointer(rows))
        library.linsolve_backward(pointer(rows), pointer(y))
        factor = np.tril(rows[:size, :size].astype(float))
        factor[np.diag_indices(size)] = 1 / np.diag(factor)
        bound = 1e-6 * size + 1.1e-5
        assert np.abs(factor.T @ factor - matrix).max() < bound * np.abs(matrix).max()
        assert np.abs(factor.T @ y[:size] - wanted[:size]).max() < 1e-5


@pytest.mark.parametrize("size", [1, 4, 7, 12])
def test_cholesky_reports_what_is_not_positive_definite(linsolve, size: int) -> None:
    rng, library = np.random.default_rng(9), linsolve(size)
    for bad in (-1.0, np.nan, np.inf):
        matrix = np.diag(rng.uniform(1, 2, size))
        matrix[-1, -1] = bad
        rows = padded(matrix)
        assert not library.linsolve_factor(pointer(rows), pointer(rows))


def test_hostile_problems_under_sanitizers(tmp_path: Path) -> None:
    """`make fuzz` has a million of them."""
    done = subprocess.run(
        ["make", "-s", "-C", str(NETWORK.parent / "fuzz"), "PROBLEMS=12000", f"BUILD={tmp_path}"],
        capture_output=True,
        text=True,
    )
    if "cannot find -lasan" in done.stderr:
        pytest.skip("gcc has no sanitizers here")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("2000 problems") == 6
