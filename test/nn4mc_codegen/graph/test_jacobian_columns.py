"""Columns of the Jacobian that are sums, and functions that make only a range of columns."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from nn4mc_codegen.compile import compile_model
from nn4mc_codegen.graph.check import ModelError
from nn4mc_codegen.graph.options import Options
from nn4mc_codegen.ops.activation import Activation
from nn4mc_codegen.ops.add import Add
from nn4mc_codegen.ops.concatenate import Concatenate
from nn4mc_codegen.ops.dense import Dense
from nn4mc_codegen.ops.multiply import Multiply
from nn4mc_codegen.ops.recurrent import SimpleRNN
from nn4mc_codegen.printing.emit import emit
from nn4mc_codegen.printing.emitted import Origin
from nn4mc_codegen.program.instructions import Linear
from nn4mc_codegen.trial.host import HostCode, build_library
from nn4mc_codegen.trial.interface import InterfaceError, macros
from nn4mc_codegen.trial.qemu import measure, missing_tools
from nn4mc_codegen.trial.reference import SourceVerdict
from nn4mc_codegen.verify import verify_graph

needs_arm = pytest.mark.skipif(missing_tools() is not None, reason=str(missing_tools()))
# Relative to the largest entry: both sides sum in float32, in different orders.
TOLERANCE = 1e-5
SAMPLES = 6
COMMANDS, LAGS, OUTPUTS, SIGNALS = 4, 3, 3, 5
SINGLES = COMMANDS * LAGS + OUTPUTS
INPUTS = SINGLES + SIGNALS
SUMS = [tuple(range(c, COMMANDS * LAGS, COMMANDS)) for c in range(COMMANDS)]
COLUMNS = SINGLES + COMMANDS
RANGES = [(0, COLUMNS), (0, COMMANDS), (COMMANDS * LAGS, COLUMNS), (7, 8), (3, 14), (9, 9)]
TANH, RELU = Activation("tanh"), Activation("relu")


def wanted(**more) -> dict:
    return {
        "jacobian": [*range(SINGLES), *SUMS],
        "jacobian_range": True,
        "fold": list(range(SINGLES, INPUTS)),
        **more,
    }


# --------------------------------------------------------------------------- TensorFlow's Jacobian


def dense(keras, hidden: str):
    return keras.Sequential(
        [
            keras.Input((INPUTS,)),
            keras.layers.Dense(10, activation=hidden),
            keras.layers.Dense(6, activation=hidden),
            keras.layers.Dense(OUTPUTS, activation="tanh"),
        ]
    )


def skip_of_parts(keras):
    sizes = {"commands": COMMANDS * LAGS, "output": OUTPUTS, "signals": SIGNALS}
    parts = [keras.Input((size,), name=name) for name, size in sizes.items()]
    h = keras.layers.Dense(8, activation="relu")(keras.layers.Concatenate()(parts))
    return keras.Model(parts, keras.layers.Add()([parts[1], keras.layers.Dense(OUTPUTS)(h)]))


def recurrent(keras):
    layers = [keras.Input((1, INPUTS)), keras.layers.GRU(5), keras.layers.Dense(OUTPUTS)]
    return keras.Sequential(layers)


NETWORKS = {
    "relu": lambda keras: dense(keras, "relu"),
    "tanh": lambda keras: dense(keras, "tanh"),
    "skip_of_parts": skip_of_parts,
    "recurrent": recurrent,
}
MODES = ("speed", "balanced", "size")


@dataclass
class Compiled:
    folder: Path
    code: HostCode
    x: np.ndarray
    expected: np.ndarray
    """(samples, outputs, columns), of TensorFlow"""

    def arguments(self, function: str, first: int, past: int) -> dict:
        more = {"folded": self.folded} if function.endswith("folded") else {}
        resets = np.ones(len(self.x), bool)  # TensorFlow was given sequences of one step
        return {"resets": resets, "first": first, "past": past, **more}

    @property
    def folded(self) -> np.ndarray:
        return self.code.run(self.x, "fold")["folded"]

    def check(self, found: np.ndarray, first: int, past: int) -> None:
        found = found.reshape(self.expected.shape)[:, :, first:past]
        atol = TOLERANCE * np.abs(self.expected).max()
        np.testing.assert_allclose(found, self.expected[:, :, first:past], rtol=0, atol=atol)


@pytest.fixture(scope="module")
def networks(tmp_path_factory) -> dict[str, Compiled]:
    """Each network in each mode, with Jacobians of TensorFlow."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    tf, keras = pytest.importorskip("tensorflow"), pytest.importorskip("keras")
    folder = tmp_path_factory.mktemp("columns")
    keras.utils.set_random_seed(5)
    x = np.random.default_rng(5).normal(0, 0.7, (SAMPLES, INPUTS)).astype(np.float32)
    sources, expected = [], {}
    for network, make in NETWORKS.items():
        model = make(keras)
        model.save(folder / f"{network}.keras")
        slopes = jacobians(tf, model, x)
        sums = [slopes[:, :, list(group)].sum(axis=2, keepdims=True) for group in SUMS]
        expected[network] = np.concatenate([slopes[:, :, :SINGLES], *sums], axis=2)
        for mode in MODES:
            options = wanted(optimize=mode)
            result = compile_model(
                folder / f"{network}.keras", folder, f"{network}_{mode}", **options
            )
            sources.append(result.files[1])
    build_library(sources, folder / "all.so")
    return {
        f"{network}_{mode}": Compiled(
            folder, HostCode(folder / "all.so", folder / f"{network}_{mode}.h"), x, values
        )
        for network, values in expected.items()
        for mode in MODES
    }


def jacobians(tf, model, x: np.ndarray) -> np.ndarray:
    """(samples, outputs, inputs)"""
    variable = tf.constant(x)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(variable)
        if len(model.inputs) > 1:
            y = model(tf.split(variable, [i.shape[1] for i in model.inputs], axis=1))
        else:
            y = model(tf.reshape(variable, (-1, *model.inputs[0].shape[1:])))
    return tape.batch_jacobian(y, variable, experimental_use_pfor=False).numpy()


NAMES = [f"{network}_{mode}" for network in NETWORKS for mode in MODES]


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("function", ["jacobian", "jacobian_folded"])
@pytest.mark.parametrize("name", NAMES)
def test_sums_and_ranges_are_tensorflows(networks, name, function):
    network = networks[name]
    assert network.code.run(network.x[0])["y"].shape == (1, OUTPUTS)
    for first, past in RANGES:
        found = network.code.run(network.x, function, **network.arguments(function, first, past))
        network.check(found["jacobian"], first, past)
    # All columns, unless a range is given.
    more = network.arguments(function, 0, 0)
    del more["first"], more["past"]
    network.check(network.code.run(network.x, function, **more)["jacobian"], 0, COLUMNS)


@needs_arm
@pytest.mark.parametrize("network", NETWORKS)
def test_a_cortex_m4f_gives_the_same(networks, network):
    compiled = networks[f"{network}_balanced"]
    for first, past in RANGES[:3]:
        more = compiled.arguments("jacobian_folded", first, past)
        found = measure(
            compiled.folder, f"{network}_balanced", compiled.x, "jacobian_folded", **more
        )
        compiled.check(found.outputs["jacobian"], first, past)


@needs_arm
@pytest.mark.parametrize("network", ["relu", "tanh", "skip_of_parts"])
def test_a_shorter_range_costs_less(networks, network):
    """All blocks that lie outside are left out, not the rows of a few columns."""
    compiled = networks[f"{network}_balanced"]
    costs = []
    for first, past in [(0, COLUMNS), (COMMANDS * LAGS, COLUMNS), (0, COMMANDS)]:
        more = compiled.arguments("jacobian_folded", first, past)
        found = measure(
            compiled.folder, f"{network}_balanced", compiled.x, "jacobian_folded", **more
        )
        costs.append(found.instructions)
    assert costs[0] > costs[1] + 50 and costs[1] > costs[2] + 50


# --------------------------------------------------------------------------- what is left alone


def feed_forward(b, activation=RELU, inputs=INPUTS):
    h = b.dense(b.dense(b.input(inputs, name="x"), 10, activation), 6, activation)
    return b.graph(b.dense(h, OUTPUTS, TANH))


@pytest.mark.parametrize("activation", [RELU, TANH], ids=lambda a: a.name)
def test_blocks_outside_the_range_are_not_written(build, compile_graphs, activation):
    """19 columns in blocks of 5, the last one from 14."""
    (code,) = compile_graphs([(feed_forward(build(), activation), wanted())])
    x = np.random.default_rng(0).normal(size=INPUTS).astype(np.float32)
    for (first, past), written in {
        (0, 4): range(0, 5),
        (6, 9): range(5, 10),
        (9, 11): range(5, 15),
        (18, 19): range(14, 19),
        (14, 15): range(10, 15),
        (5, 5): range(0),
    }.items():
        found = code.run(x, "jacobian", first=first, past=past)["jacobian"].reshape(OUTPUTS, -1)
        there = np.isfinite(found).all(axis=0)
        np.testing.assert_array_equal(np.flatnonzero(there), list(written))
        np.testing.assert_array_equal(np.isfinite(found).any(axis=0), there)


def test_where_all_is_switched_off_the_range_is_zero(build, compile_graphs):
    b = build()
    kernel = np.ones((INPUTS, 8), np.float32)
    off = Dense(kernel, np.full(8, -1e3, np.float32), RELU)  # whatever x of order 1
    (code,) = compile_graphs([(b.graph(b.dense(b.apply(off, b.input(INPUTS)), 3)), wanted())])
    found = code.run(np.ones(INPUTS, np.float32), "jacobian", first=7, past=11)["jacobian"]
    expected = np.full((3, COLUMNS), np.nan)
    expected[:, 7:11] = 0.0
    np.testing.assert_array_equal(found.reshape(3, -1), expected)


@pytest.mark.parametrize("activation", [RELU, TANH], ids=lambda a: a.name)
def test_the_product_that_makes_the_columns_makes_the_sums(build, origin, activation):
    """With weights that were added up here, behind those of the other columns."""

    def products(columns):
        options = Options(**wanted(jacobian=columns))
        emitted = emit(feed_forward(build(), activation), options, origin)
        kernels = emitted.procedures["jacobian_folded"].kernels
        return emitted, [k.head.W.shape for k in kernels if isinstance(k.head, Linear)]

    without, plain = products(SINGLES)
    emitted, summed = products([*range(SINGLES), *SUMS])
    assert plain[:-1] == summed[:-1]
    assert plain[-1] == (SINGLES, 10) and summed[-1] == (COLUMNS, 10)
    text = emitted.texts["fk.c"]
    assert len(re.findall(r"float f\[", text)) == len(
        re.findall(r"float f\[", without.texts["fk.c"])
    )
    assert f"float f[{10 * (INPUTS + len(SUMS))}]" in text
    # The other functions read what they did: nothing is added to their cost.
    for name in ("step", "fold", "step_folded"):
        assert emitted.procedures[name].macs == without.procedures[name].macs


@needs_arm
def test_sums_add_nothing_to_a_step(build, tmp_path):
    """Weights of folded inputs lie behind the sums; they are read as if they did not."""
    x = np.random.default_rng(0).normal(size=(3, INPUTS)).astype(np.float32)
    costs = []
    for columns in (SINGLES, [*range(SINGLES), *SUMS]):
        emitted = emit(feed_forward(build()), Options(**wanted(jacobian=columns)), ORIGIN)
        for name, text in emitted.texts.items():
            (tmp_path / name).write_text(text)
        more = {"folded": measure(tmp_path, "fk", x, "fold").outputs["folded"]}
        costs.append(measure(tmp_path, "fk", x, "step_folded", **more).instructions)
    assert costs[1] <= costs[0] + 10  # a row of weights may end elsewhere: one more for each unit


ORIGIN = Origin("m", "0" * 16, "nn4mc compile")


# --------------------------------------------------------------------------- any network


def shared_layer(b):
    """A layer that is called twice, on other inputs, and reads one of them twice."""
    random = np.random.default_rng(0)
    op = Dense(*(random.normal(0, 0.5, s).astype(np.float32) for s in ((4, 5), (5,))), TANH)
    u, v = b.input(2, name="u"), b.input(2, name="v")
    first = b.apply(op, b.apply(Concatenate(-1), u, v))
    again = b.apply(op, b.apply(Concatenate(-1), v, v))
    return b.graph(b.dense(b.apply(Multiply(), first, again), 3))


def straight_through(b):
    """Inputs of sums also reach the output by themselves and through a formula."""
    u, v = b.input(2, name="u"), b.input(2, name="v")
    return b.graph(b.apply(Add(), b.apply(Multiply(), u, v), u, b.dense(v, 2, TANH)))


def many_outputs(b):
    """Forward mode is cheaper."""
    return b.graph(b.dense(b.dense(b.input(4, name="u"), 12, TANH), 20, TANH))


def own_state(b):
    random = np.random.default_rng(0)
    weights = [random.normal(0, 0.4, s).astype(np.float32) for s in ((4, 5), (5, 5), (5,))]
    h = b.apply(SimpleRNN(*weights, TANH), b.input(4, name="u"))
    return b.graph(b.dense(h, 2))


CHOICES = [
    [0, 1, 2, 3, (0, 2), (1, 3)],
    [1, (0, 1, 2), (3,), (0, 3)],
    [(3, 0), (1, 2)],
    "0,3,0+3,1+2",
]


@pytest.mark.parametrize("optimize", MODES)
@pytest.mark.parametrize("ranged", [False, True])
def test_sums_of_any_network(build, compile_graphs, optimize, ranged):
    graphs = [make(build()) for make in (shared_layer, straight_through, many_outputs, own_state)]
    cases = [(graph, columns) for graph in graphs for columns in CHOICES]
    # A state may have a part in a sum: all of it moves, with the first input.
    cases.append((graphs[-1], [0, "state", (0, *range(4, 9)), (1, 2)]))
    codes = compile_graphs(
        [
            (graph, {"jacobian": c, "optimize": optimize, "jacobian_range": ranged})
            for graph, c in cases
        ]
    )
    x = np.random.default_rng(1).normal(size=4).astype(np.float32)
    for (graph, columns), code in zip(cases, codes, strict=True):
        if isinstance(columns, str):
            columns = [0, 3, (0, 3), (1, 2)]
        elements = np.arange(4 + graph.state_size)
        parts = [
            part
            for column in columns
            for part in ([[e] for e in elements[4:]] if column == "state" else [column])
        ]
        full = graph.full_jacobian(x, np.zeros(graph.state_size))
        if "state" not in columns:
            full = full[: graph.output.size]
        expected = [full[:, np.atleast_1d(part)].sum(axis=1) for part in parts]
        found = code.jacobian(x)[1]
        atol = TOLERANCE * np.abs(full).max()
        np.testing.assert_allclose(found, np.stack(expected, axis=1), rtol=0, atol=atol)


@needs_arm
def test_verify_knows_sums_and_ranges(build):
    for graph, options in (
        (feed_forward(build()), Options(**wanted())),
        (own_state(build()), Options(jacobian="all,state,0+2,1+3", jacobian_range=True)),
    ):
        verdict = verify_graph(graph, options, ORIGIN, SourceVerdict("nobody", None, 0.0), 20)
        assert verdict.passed and all(f.same_bits is not False for f in verdict.functions)
        assert "fk_jacobian" in [f.name for f in verdict.functions]


# --------------------------------------------------------------------------- what is said


def test_header_explains_sums_and_range(build, origin):
    options = Options(**wanted())
    text = emit(feed_forward(build()), options, origin).texts["fk.h"]
    assert "#define FK_JACOBIAN_RANGE\n" in text
    assert macros(text)["FK_JACOBIAN_COLUMNS"] == COLUMNS
    assert f" *   {SINGLES}: x[0] + x[4] + x[8]\n" in text
    assert text.count("int first, int past);") == 2
    assert "first .. past - 1" in text and "undefined" in text
    plain = emit(feed_forward(build()), Options(jacobian=SINGLES), origin).texts["fk.h"]
    assert "RANGE" not in plain and "first" not in plain and "sum of" not in plain


def test_command_line_of_sums_chooses_them_again(build, compile_graphs):
    options = Options(jacobian=[0, 2, (0, 2), [1, 3]], jacobian_range=True)
    line = options.command_line("m.h5")
    assert line.endswith("--jacobian 0,2,0+2,1+3 --jacobian-range")
    graph = many_outputs(build())
    words = [{"jacobian": options.jacobian}, {"jacobian": "0,2,0+2,1+3"}]
    x = np.ones(4, np.float32)
    first, second = (code.jacobian(x)[1] for code in compile_graphs([(graph, w) for w in words]))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"jacobian": [0, (1, 4)]}, "jacobian: the flat input has no element 4"),
        ({"jacobian": [0, (1, -1)]}, "jacobian: the flat input has no element -1"),
        ({"jacobian": [0, (1, "u")]}, "jacobian: the flat input has no element u"),
        ({"jacobian": "0,1+7"}, "jacobian: the flat input has no element 7"),
        ({"jacobian": [0, ()]}, "jacobian: a sum of no elements"),
        ({"jacobian": [0, (1, 1)]}, r"jacobian: the sum 1\+1 has an element twice"),
        ({"jacobian": "0,1+u"}, r"jacobian: no input '1\+u'; the inputs are u"),
        ({"hvp": [(0, 1)]}, r"hvp: 0\+1 is a sum; only the Jacobian has columns of sums"),
        ({"jacobian": [(0, 1)], "fold": [1]}, r"columns of folded inputs, x\[1\]"),
        ({"jacobian_range": True}, "jacobian_range is for a Jacobian"),
    ],
)
def test_bad_columns_are_refused_in_one_line(build, origin, options, message):
    with pytest.raises(ModelError, match=message) as refused:
        emit(many_outputs(build()), Options(**options), origin)
    assert "\n" not in str(refused.value)


def test_a_range_is_one_number_a_sample(build, compile_graphs):
    graph = many_outputs(build())
    (code,) = compile_graphs([(graph, {"jacobian": 4, "jacobian_range": True})])
    with pytest.raises(InterfaceError, match=r"past has shape \(2, 1\), not \(3, 1\)"):
        code.run(np.ones((3, 4)), "jacobian", past=[1, 2])
    with pytest.raises(InterfaceError, match="takes x, first, past; given"):
        code.run(np.ones(4), "jacobian", last=3)
