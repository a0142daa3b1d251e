"""SimpleRNN, GRU and LSTM in int8: the C, here and on a Cortex-M4F, is NumPy's to the bit."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest

from nn4mc_codegen.compile import emit_graph
from nn4mc_codegen.graph.check import ModelError
from nn4mc_codegen.graph.ir import Graph
from nn4mc_codegen.graph.options import Options
from nn4mc_codegen.int8 import recurrent as r
from nn4mc_codegen.int8.calibrate import quantize_graph
from nn4mc_codegen.int8.quantize import QNode, QTensor, QuantGraph
from nn4mc_codegen.int8.samples import MAX_STEPS, load_samples, sequences_of
from nn4mc_codegen.ops.activation import Activation
from nn4mc_codegen.ops.recurrent import GRU, LSTM, SimpleRNN
from nn4mc_codegen.trial.host import HostCode, build_library
from nn4mc_codegen.trial.oracle import make_cases
from nn4mc_codegen.trial.qemu import measure, missing_tools
from nn4mc_codegen.trial.reference import SourceVerdict
from nn4mc_codegen.trial.selftest import selftest_texts
from nn4mc_codegen.verify import verify_graph

TANH, SIGMOID = Activation("tanh"), Activation("sigmoid")
HARD = Activation("hard_sigmoid", (("a", 0.2),))
WARNINGS = "-Wall -Wextra -Wpedantic -Wconversion -Wdouble-promotion -Wshadow -Werror".split()
STEPS, RESETS = 300, (0, 77, 78, 140)


def layer(kind: str, inputs: int, units: int, gate=SIGMOID, seed=0, scale=1.0, activation=TANH):
    """A layer with weights of the scale that keeps a signal's variance, times `scale`."""
    random = np.random.default_rng(seed)
    gates = {"simple_rnn": 1, "gru": 3, "gru_reset_after": 3, "lstm": 4}[kind]

    def weights(*shape: int) -> np.ndarray:
        return random.normal(0.0, scale * shape[0] ** -0.5, shape).astype(np.float32)

    kernels = weights(inputs, gates * units), weights(units, gates * units)
    bias = random.normal(0.0, 0.3, (2, gates * units)).astype(np.float32)
    if kind == "simple_rnn":
        return SimpleRNN(*kernels, bias[0], activation)
    if kind == "lstm":
        return LSTM(*kernels, bias[0], activation, gate)
    return GRU(*kernels, bias if kind == "gru_reset_after" else bias[0], activation, gate,
               kind == "gru_reset_after")  # fmt: skip


def sequences(inputs: int, seed=0, count=2, steps=50) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, steps, inputs))


@pytest.fixture
def network(build):
    """Recurrent layers one after the other, then Dense; float, and quantised."""

    def make(*layers, outputs=3) -> tuple[Graph, QuantGraph]:
        b = build()
        h = b.input(len(layers[0].kernel))
        for op in layers:
            h = b.apply(op, h)
        graph = b.graph(b.dense(h, outputs) if outputs else h)
        return graph, quantize_graph(graph, sequences(graph.input_size))

    return make


@pytest.fixture
def emulator():
    if missing_tools():
        pytest.skip(missing_tools())


def write(graph, folder, origin, name="fk", **options) -> None:
    for file_name, text in emit_graph(graph, Options(name, **options), origin).texts.items():
        (folder / file_name).write_text(text, encoding="utf-8")


def same_bits(graph: QuantGraph, q: np.ndarray, run) -> np.ndarray:
    """int8 inputs q (steps, inputs) through `run` and through the twin, with resets; the states."""
    again = np.isin(np.arange(len(q)), RESETS)
    y, states, state = [], [], None
    for row, reset in zip(q, again, strict=True):
        output, state = graph.step_q(row, None if reset else state)
        y.append(output)
        states.append(state)
    found = run(q.astype(np.int8), "step_q", resets=again)
    np.testing.assert_array_equal(found["y"], y)
    np.testing.assert_array_equal(found["state"], states)
    return np.array(states)


def on_host(graph: QuantGraph, folder, origin) -> HostCode:
    write(graph, folder, origin)
    build_library([folder / "fk.c"], folder / "fk.so")
    return HostCode(folder / "fk.so", folder / "fk.h")


def extremes(size: int, seed=0, steps=STEPS) -> np.ndarray:
    """int8 inputs, among them stretches of the lowest and of the highest."""
    q = np.random.default_rng(seed).integers(-128, 128, (steps, size))
    q[20:40], q[40:60] = 127, -128
    q[60:80] = np.where(np.arange(size) % 2, 127, -128)
    return q


KINDS, GATES = ("simple_rnn", "gru", "gru_reset_after", "lstm"), (SIGMOID, HARD)


@pytest.mark.parametrize("gate", GATES, ids=["sigmoid", "hard_sigmoid"])
@pytest.mark.parametrize("kind", KINDS)
def test_bits_of_the_twin(network, tmp_path, origin, kind, gate):
    graph, quantised = network(layer(kind, 7, 5, gate, scale=3.0))
    code = on_host(quantised, tmp_path, origin)
    same_bits(quantised, extremes(7), code.run)
    x = np.random.default_rng(3).normal(0.0, 2.0, (STEPS, 7)).astype(np.float32)
    x[5, 0], x[6, 1], x[7, 2], x[8], x[9] = np.nan, np.inf, -np.inf, 1e30, -1e30
    y, states = quantised.run(x)
    found = code.run(x)
    np.testing.assert_array_equal(found["y"], y)
    np.testing.assert_array_equal(found["state"], states)
    last, state = code.sequence(x)
    np.testing.assert_array_equal(last, y[-1])
    np.testing.assert_array_equal(state, states[-1])


@pytest.mark.parametrize("sizes", [(1, 1), (3, 2), (4, 4), (16, 17), (40, 9)])
def test_sizes_that_leave_a_rest(network, tmp_path, origin, sizes):
    inputs, units = sizes
    kinds = [layer(kind, inputs if k == 0 else units, units) for k, kind in enumerate(KINDS)]
    _, quantised = network(*kinds, outputs=0)
    code = on_host(quantised, tmp_path, origin)
    same_bits(quantised, extremes(inputs, steps=100), code.run)


def by_hand(seed: int) -> QuantGraph:
    """Layers with weights, factors and shifts that no calibration would find: sums up to what the
    kernels allow, states that reach the limits of int16."""
    random = np.random.default_rng(seed)
    inputs, units = int(random.integers(1, 30)), int(random.integers(1, 14))
    output = r.Output(int(random.integers(1 << 14, 1 << 15)), int(random.integers(18, 24)),
                      int(random.integers(-128, 128)))  # fmt: skip
    gate = (r.Gate("sigmoid", 0.5), r.Gate("hard_sigmoid", 1.6))[seed // 4 % 2]

    def sums(rows: int, x_columns: int, h_columns: int) -> r.Sums:
        weights = random.choice([-127, -126, 0, 126, 127], (rows, x_columns + h_columns))
        # 29 columns of 127·2^15·4 and 13 of 127·2^15 are below 2^30 by more than this bias.
        bias = random.integers(-(1 << 28), 1 << 28, rows)
        multiplier = random.integers(1 << 10, 1 << random.integers(14, 31), rows)
        shift = int(random.integers(0, 3)) if x_columns and h_columns else 0
        return r.Sums(weights.astype(np.int8), bias, multiplier, x_columns, shift)

    both = inputs, units
    last = gate, inputs, units, output
    made = [
        lambda: r.SimpleRNN((sums(units, *both),), None, *last[1:]),
        lambda: r.GRU((sums(2 * units, *both), sums(units, *both)), *last),
        lambda: r.GRUResetAfter(
            (sums(2 * units, *both), sums(units, inputs, 0), sums(units, 0, units)),
            *last,
            int(random.integers(0, 15)),
        ),
        lambda: r.LSTM((sums(4 * units, *both),), *last, int(random.integers(0, 16))),
    ][seed % 4]()
    x, y = QTensor("x", (inputs,), 0.02, 3), QTensor("y", (units,), 0.01, output.zero)
    return QuantGraph((x,), y, (QNode("y", made, (x,), y),))


def test_extreme_layers(tmp_path, origin):
    graphs = [by_hand(seed) for seed in range(12)]
    for number, graph in enumerate(graphs):
        write(graph, tmp_path, origin, f"n{number}")
    build_library(sorted(tmp_path.glob("*.c")), tmp_path / "all.so")
    highest, lowest = 0, 0
    for number, graph in enumerate(graphs):
        code = HostCode(tmp_path / "all.so", tmp_path / f"n{number}.h")
        states = same_bits(graph, extremes(graph.input_size, number), code.run)
        highest, lowest = max(highest, states.max()), min(lowest, states.min())
    assert (lowest, highest) == (-(1 << 15), (1 << 15) - 1)


@pytest.mark.parametrize("seed", range(4))
def test_extreme_layers_on_cortex_m4f(tmp_path, origin, emulator, seed):
    graph = by_hand(seed)
    write(graph, tmp_path, origin, optimize=("speed", "balanced", "size")[seed % 3])

    def run(q, function, resets):
        return measure(tmp_path, "fk", q, function, resets=resets).outputs

    same_bits(graph, extremes(graph.input_size, seed), run)


def test_stacked_layers_pass_verification(network, origin):
    """Every function and every layer, the whole sequence at once, and on the Cortex-M4F."""
    layers = layer("gru_reset_after", 6, 7), layer("lstm", 7, 9), layer("gru", 9, 5, HARD)
    _, quantised = network(*layers)
    verdict = verify_graph(
        quantised, Options(), origin, SourceVerdict("no source", None, 0.0), samples=120
    )
    assert verdict.passed and verdict.largest_error == 0.0
    assert [f.name for f in verdict.functions] == ["fk_step", "fk_step_q", "fk_run"]
    assert len(verdict.layers) == 4
    assert verdict.arm_skipped or all(f.same_bits for f in verdict.functions[:2])


@pytest.mark.parametrize(
    "compiler",
    [
        "g++ -std=c++11 -x c++",
        "arm-none-eabi-g++ -std=c++11 -x c++ -mcpu=cortex-m4 -mthumb",
        "arm-none-eabi-gcc -std=c99 -mcpu=cortex-m3 -mthumb",
    ],
)
@pytest.mark.parametrize("optimize", ["balanced", "size"])
def test_compiles_without_a_warning(network, tmp_path, origin, compiler, optimize):
    command = [*compiler.split(), *WARNINGS, "-O1", "-c", "fk.c", "-o", "fk.o"]
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    layers = [layer(kind, 5, 5, GATES[k % 2]) for k, kind in enumerate(KINDS)]
    write(network(*layers, outputs=0)[1], tmp_path, origin, optimize=optimize)
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_header_says_what_the_state_means(network, origin):
    _, quantised = network(layer("lstm", 3, 4))
    header = emit_graph(quantised, Options(), origin).texts["fk.h"]
    cell = quantised.nodes[0].op.cell
    for line in (
        "#define FK_STATES 8",
        "#define FK_LAYER_0_C_OFFSET 4",
        "#define FK_STATE_SCALE_LAYER_0_H 3.05175781e-05f",
        f"#define FK_STATE_SCALE_LAYER_0_C {np.float32(2.0 ** (cell - 15)):.9g}f",
        "    int16_t value[FK_STATES];",
        "void fk_step_q(fk_state *state, const int8_t x[FK_INPUTS], int8_t y[FK_OUTPUTS]);",
    ):
        assert line in header.splitlines()


@pytest.mark.parametrize("optimize", ["balanced", "size"])
def test_sanitizers(network, tmp_path, origin, optimize):
    """The self-test with a reset midway, under those for memory and for undefined behaviour; its
    inputs go beyond what int8 holds. Weights have 16 bits or 8."""
    _, quantised = network(*(layer(kind, 5, 5, GATES[k % 2]) for k, kind in enumerate(KINDS)))
    texts = emit_graph(quantised, Options("toy", optimize=optimize), origin).texts
    x = np.random.default_rng(1).normal(0.0, 3.0, (200, 5)).astype(np.float32)
    cases = make_cases(quantised, texts["toy.h"], "toy", {}, x, resets=(100,))
    texts |= selftest_texts("toy", cases)
    texts["main.c"] = '#include "toy_selftest.h"\nint main(void) { return toy_selftest(); }\n'
    for name, text in texts.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    flags = ["-std=c99", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    words = ["cc", *flags, *texts, "-o", "toy", "-lm"]
    subprocess.run([w for w in words if not w.endswith(".h")], cwd=tmp_path, check=True)
    done = subprocess.run(["./toy"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


# Instructions and flash of float32 (speed, balanced) as measured in November 2026 with gcc 12.2:
# LSTM32 11778, 12613 and 27 kB; LSTM16 4605, 4963; GRU16 3125, 3445; GRU16 with the reset gate
# before the product 3163, 3475. Of int8: the limits below; those of GRU16 are small networks, whose
# weights have two bytes: 0.75 times float32's flash, balanced.
@pytest.mark.parametrize(
    ("kind", "units", "limit", "flash"),
    [
        ("lstm", 32, 10_050, 0.6),
        ("gru_reset_after", 16, 2620, 0.8),
        pytest.param("lstm", 16, 4210, 0.6, marks=pytest.mark.long),
        pytest.param("gru", 16, 2620, 0.8, marks=pytest.mark.long),
    ],
)
def test_faster_than_float32(network, tmp_path, origin, emulator, kind, units, limit, flash):
    graph, quantised = network(layer(kind, 16, units))
    x = sequences(16, seed=1, count=1, steps=20)[0]
    write(quantised, tmp_path, origin)
    small = measure(tmp_path, "fk", x)
    write(graph, tmp_path, origin, "real")
    real = measure(tmp_path, "real", x)
    assert small.instructions < real.instructions and small.instructions <= limit
    assert small.flash_bytes < flash * real.flash_bytes and small.ram_bytes == 0


def test_curves():
    """The table's lines are off by 1.9e-4 at most (see `recurrent`), rounding adds half a step of
    2^-15 at either end and in the result; the sigmoid is half of that, and 1 is left out at +8."""
    x = np.arange(-(1 << 15), 1 << 15)
    error = r.tanh(x) / 2**15 - np.tanh(x / 2**12)
    assert np.abs(error).max() < 1.9e-4 + 2.0**-15
    sigmoid = r.sigmoid(x) / 2**15
    assert np.abs(sigmoid - 1 / (1 + np.exp(-x / 2**11))).max() < 1e-4 + 2.0**-15
    for curve in (r.tanh, r.sigmoid, r.hard_sigmoid):
        assert np.all(np.diff(curve(x)) >= 0)
    assert r.tanh(np.array(0)) == 0 and r.sigmoid(np.array(0)) == 1 << 14
    assert (r.sigmoid(x).min(), r.sigmoid(x).max()) == (0, 1 << 15)


def test_states_are_calibrated_along_sequences(build):
    """A cell that adds up its input reaches in 50 steps what it never does in one."""
    b = build()
    kernel = np.array([[0.0, 0.0, 0.5, 0.0]], np.float32)
    bias = np.array([20.0, 20.0, 0.0, 0.0], np.float32)
    op = LSTM(kernel, np.zeros((1, 4), np.float32), bias, TANH, SIGMOID)
    graph = b.graph(b.apply(op, b.input(1)))
    rows = np.ones((50, 1))
    grown = 50 * np.tanh(0.5)
    assert quantize_graph(graph, rows).nodes[0].op.cell == np.ceil(np.log2(grown))
    assert quantize_graph(graph, rows[:, None]).nodes[0].op.cell == 0
    quantised = quantize_graph(graph, rows[None])
    _, states = quantised.run(np.ones((200, 1)))  # and where it is beyond, it stays there
    assert states[-1, 1] == (1 << 15) - 1


def test_samples_of_a_recurrent_network(network, tmp_path):
    graph, _ = network(layer("gru", 3, 2))
    rows = sequences(3, count=2, steps=7)
    np.save(tmp_path / "sequences.npy", rows)
    np.savez(tmp_path / "named.npz", in_0=rows, other=np.zeros(1))
    np.savetxt(tmp_path / "one.csv", rows[0], delimiter=",")
    assert load_samples(tmp_path / "sequences.npy", graph).shape == (2, 7, 3)
    np.testing.assert_array_equal(load_samples(tmp_path / "named.npz", graph), rows)
    np.testing.assert_allclose(load_samples(tmp_path / "one.csv", graph), rows[:1])
    np.save(tmp_path / "wrong.npy", np.zeros((2, 7, 4)))
    with pytest.raises(ModelError, match=r"wrong.npy: shape \(2, 7, 4\), but a sample has 3"):
        load_samples(tmp_path / "wrong.npy", graph)
    many = sequences_of(graph, np.zeros((1000, 50, 3)))
    assert many.shape == (MAX_STEPS // 50, 50, 3)
    assert sequences_of(graph, np.zeros((9999, 3))).shape == (1, MAX_STEPS, 3)


@pytest.mark.parametrize(
    ("op", "message"),
    [
        (layer("gru", 3, 2, activation=Activation("relu")), "has the activation relu; its int8"),
        (layer("lstm", 3, 2, TANH), "has the recurrent activation tanh; its int8 form has sigmoid"),
        (layer("lstm", 3, 2, scale=np.inf), "has weights or states that are not finite"),
        (layer("lstm", 3, 2, scale=2000.0), "has gates that a single input moves by hundreds"),
        (replace(layer("lstm", 3, 2), cell_clip=0.01), "has a cell state that is held at 0.01"),
    ],
    ids=["relu", "gate", "infinite", "weights", "clip"],
)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_refusals(network, op, message):
    with pytest.raises(ModelError, match=f"layer 'layer_0': {message}.*; compile it as float32"):
        network(op)
