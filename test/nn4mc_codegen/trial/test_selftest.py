"""The self-test that runs on the user's board passes for right C and counts what is wrong."""

from __future__ import annotations

import re
import subprocess

import numpy as np
import pytest

from nn4mc_codegen.compile import emit_graph
from nn4mc_codegen.graph.options import Options
from nn4mc_codegen.int8.calibrate import quantize_graph
from nn4mc_codegen.ops.activation import Activation
from nn4mc_codegen.ops.recurrent import SimpleRNN
from nn4mc_codegen.printing.emitted import Origin
from nn4mc_codegen.trial.host import STRICT_FLAGS
from nn4mc_codegen.trial.interface import read_function
from nn4mc_codegen.trial.oracle import Case, make_cases, random_inputs
from nn4mc_codegen.trial.selftest import selftest_texts

X = np.array([[1, 2], [2, 3], [-1, 4]], np.float32)
RESETS = np.array([True, False, True])
V = np.array([[1], [-1], [2]], np.float32)
MAIN = """
#include "toy_selftest.h"
int main(void) { return toy_selftest(); }
"""


@pytest.fixture
def texts(toy_texts):
    def case(short_name, inputs, expected):
        function = read_function(toy_texts["toy.h"], "toy", short_name)
        tolerance = dict.fromkeys(expected, 1e-6)
        expected = {name: np.array(values, float) for name, values in expected.items()}
        return Case(function, short_name, inputs, RESETS, None, expected, tolerance, tolerance)

    step = case("step", {"x": X}, {"y": [[4], [12], [0]]})
    vjp = case("vjp", {"x": X, "v": V}, {"g": [[2, 2], [-3, -4], [8, 0]]})
    return {**toy_texts, **selftest_texts("toy", [step, vjp])}


def failures(texts, folder, *compiler) -> int:
    for name, text in {**texts, "main.c": MAIN}.items():
        (folder / name).write_text(text)
    sources = [str(folder / name) for name in ("toy.c", "toy_selftest.c", "main.c")]
    program = str(folder / "program")
    flags = [f for f in STRICT_FLAGS if not (f == "-std=c99" and compiler[0] == "g++")]
    subprocess.run([*compiler, *flags, *sources, "-o", program, "-lm"], check=True)
    return subprocess.run([program], check=False).returncode


@pytest.mark.parametrize("compiler", [("cc",), ("g++", "-x", "c++")], ids=["c", "c++"])
def test_right_code_passes(texts, tmp_path, compiler):
    assert failures(texts, tmp_path, *compiler) == 0


@pytest.mark.parametrize(
    ("change", "count"),
    [
        (("y[0] = state", "y[0] = 1.0001f * state"), 2),  # the third output is 0
        (("y[0] = state->value[0] * x[1];", "y[0] = 0.0f;"), 2),
        (("= 1.0f", "= 0.0f"), 6),  # every result depends on the state after a reset
        (("g[0] = v", "g[0] = 0.0f / 0.0f * v"), 3),  # NaN is wrong
    ],
)
def test_wrong_results_are_counted(texts, tmp_path, change, count):
    wrong = {name: text.replace(*change) for name, text in texts.items() if name == "toy.c"}
    assert wrong["toy.c"] != texts["toy.c"]
    assert failures({**texts, **wrong}, tmp_path, "cc") == count


def generated(graph, options) -> dict[str, str]:
    emitted = emit_graph(graph, options, Origin("m", "0", "c"))
    x = random_inputs(graph.input_size, 6, seed=0)
    cases = make_cases(graph, emitted.texts["toy.h"], "toy", emitted.columns, x, resets=(3,))
    return {**emitted.texts, **selftest_texts("toy", cases)}


def float_network(b):
    graph = b.graph(b.dense(b.dense(b.input(3), 5, Activation("tanh")), 2))
    return generated(graph, Options("toy", jacobian="all", vjp="all", jvp=2, hvp="all"))


def recurrent_network(b):
    random = np.random.default_rng(0)
    weights = (random.normal(0, 0.4, s).astype(np.float32) for s in ((3, 4), (4, 4), (4,)))
    h = b.apply(SimpleRNN(*weights, Activation("tanh")), b.input(3))
    return generated(b.graph(b.dense(h, 2)), Options("toy", jacobian="all,state", vjp="state"))


def folded_network(b):
    graph = b.graph(b.dense(b.dense(b.input(3), 5, Activation("tanh")), 2))
    return generated(graph, Options("toy", fold=(1, 2), jacobian=1))


def ranged_network(b):
    graph = b.graph(b.dense(b.dense(b.input(3), 5, Activation("tanh")), 2))
    return generated(graph, Options("toy", jacobian="0,1,0+2", jacobian_range=True))


def int8_network(b):
    graph = b.graph(b.dense(b.dense(b.input(3), 5, Activation("relu")), 2))
    inputs = np.random.default_rng(0).normal(size=(50, 3))
    return generated(quantize_graph(graph, inputs), Options("toy", dtype="int8"))


@pytest.mark.parametrize(
    "network", [float_network, recurrent_network, folded_network, ranged_network, int8_network]
)
def test_generated_networks_pass_theirs(build, tmp_path, network):
    texts = network(build())
    assert failures(texts, tmp_path, "cc") == 0
    wrong = re.sub(r"(_y\[6\]\[2\] = \{\s*\{)", r"\g<1>1 + ", texts["toy_selftest.c"], count=1)
    assert wrong != texts["toy_selftest.c"]
    assert failures({**texts, "toy_selftest.c": wrong}, tmp_path, "cc") >= 1


def test_arrays_that_are_equal_stand_once(texts):
    assert texts["toy_selftest.c"].count("{1.0f, 2.0f}") == 1
    assert "toy_step, toy_vjp" in texts["toy_selftest.h"]
