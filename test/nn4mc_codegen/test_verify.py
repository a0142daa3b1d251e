"""verify finds what is wrong with C: here C that was made wrong."""

from __future__ import annotations

import re

import numpy as np
import pytest

from nn4mc_codegen import verify
from nn4mc_codegen.compile import emit_graph
from nn4mc_codegen.graph.options import Options
from nn4mc_codegen.importers import read_model
from nn4mc_codegen.ops.activation import LINEAR, Activation
from nn4mc_codegen.ops.add import Add
from nn4mc_codegen.ops.concatenate import Concatenate
from nn4mc_codegen.ops.dense import Dense
from nn4mc_codegen.ops.recurrent import SimpleRNN
from nn4mc_codegen.printing.emitted import Origin
from nn4mc_codegen.trial import reference
from nn4mc_codegen.trial.chips import MPS2, STM32F405
from nn4mc_codegen.trial.host import HostError
from nn4mc_codegen.trial.qemu import missing_tools
from nn4mc_codegen.trial.reference import SourceVerdict
from nn4mc_codegen.verify import prefix_graphs, verify_graph

needs_arm = pytest.mark.skipif(missing_tools() is not None, reason=str(missing_tools()))
ALL = Options(jacobian="all", vjp="all", jvp="all", hvp="all")
ORIGIN = Origin("m.keras", "0123", "nn4mc")


@pytest.fixture
def graph(build):
    b = build()
    return b.graph(b.dense(b.dense(b.input(4), 6, Activation("tanh")), 3))


@pytest.fixture
def recurrent(build):
    b = build()
    random = np.random.default_rng(0)
    kernel, recurrent, bias = (
        random.normal(0, 0.4, shape).astype(np.float32) for shape in ((3, 4), (4, 4), (4,))
    )
    cell = SimpleRNN(kernel, recurrent, bias, Activation("tanh"))
    return b.graph(b.dense(b.apply(cell, b.input(3)), 2))


@pytest.fixture
def sabotage(monkeypatch):
    """Adds a statement to the end of a generated function."""

    def insert(file: str, function: str, statement: str) -> None:
        def emit_wrong(graph, options, origin):
            emitted = emit_graph(graph, options, origin)
            if file in emitted.texts:
                text = emitted.texts[file]
                end = text.index("\n}\n", text.index(f"void {function}("))
                emitted.texts[file] = f"{text[:end]}\n    {statement}{text[end:]}"
            return emitted

        monkeypatch.setattr(verify, "emit_graph", emit_wrong)

    return insert


@pytest.fixture
def verdict_of(monkeypatch):
    def run(graph, options=ALL, on_arm=False, samples=20):
        if not on_arm:
            monkeypatch.setattr(verify, "missing_tools", lambda: "not wanted")
        return verify_graph(graph, options, ORIGIN, SourceVerdict("nobody", None, 0.0), samples)

    return run


def failed(verdict):
    return {part.name for part in (*verdict.functions, *verdict.layers) if not part.passed}


@needs_arm
def test_right_code_passes(graph, verdict_of):
    verdict = verdict_of(graph, on_arm=True)
    assert verdict.passed and verdict.samples == 20
    names = ["fk_step", "fk_jacobian", "fk_vjp", "fk_jvp", "fk_hvp"]
    assert [f.name for f in verdict.functions] == names
    assert [layer.name for layer in verdict.layers] == ["layer_0", "layer_1"]
    for part in (*verdict.functions, *verdict.layers):
        assert part.host_error == part.arm_error < 1e-5
    assert all(f.same_bits for f in verdict.functions)
    assert verdict.line.startswith("same: 20 samples, largest error ")
    for cost in ("flash", "RAM 0 B", "stack", "instructions", "cycles (estimated)"):
        assert cost in verdict.line


@needs_arm
def test_recurrent_code_passes(recurrent, verdict_of):
    options = Options(jacobian="all,state", vjp="state", hvp="all,state")
    verdict = verdict_of(recurrent, options, on_arm=True, samples=40)
    assert verdict.passed
    *stepwise, whole_sequence = verdict.functions
    assert whole_sequence.name == "fk_run" and whole_sequence.arm_error is None
    assert all(f.same_bits for f in stepwise)


@needs_arm
def test_folded_code_passes(graph, verdict_of):
    verdict = verdict_of(graph, Options(fold=(1, 2), jacobian=1), on_arm=True)
    assert verdict.passed and all(f.same_bits for f in verdict.functions)
    names = ["fk_step", "fk_jacobian", "fk_step_folded", "fk_jacobian_folded"]
    assert [f.name for f in verdict.functions] == names


@pytest.mark.parametrize(
    ("function", "statement"),
    [
        ("step", "y[0] += 1e-5f;"),
        ("step", "y[2] = 0.0f / 0.0f;"),
        ("jacobian", "jacobian[0] *= 1.001f;"),
        ("jacobian", "y[0] += 1e-5f;"),
        ("vjp", "g[3] = 0.0f;"),
        ("jvp", "dy[1] += t[0] * 1e-3f;"),
        ("hvp", "h[2] *= 1.01f;"),
    ],
)
def test_a_wrong_function_is_found(graph, sabotage, verdict_of, function, statement):
    sabotage("fk.c", f"fk_{function}", statement)
    verdict = verdict_of(graph)
    assert failed(verdict) == {f"fk_{function}"}
    assert verdict.line.startswith("DIFFERENT: ")
    assert verdict.arm_skipped == "not wanted" and "Cortex-M4F not run" in verdict.line


def test_a_wrong_layer_is_found(graph, sabotage, verdict_of):
    sabotage("layers.c", "layers_step", "y[5] += 1e-5f;")
    assert failed(verdict_of(graph)) == {"layer_0"}


def test_a_wrong_state_is_found(recurrent, sabotage, verdict_of):
    """The output does not need the state again in this step; the next one does."""
    sabotage("fk.c", "fk_step", "state->value[0] *= 1.0001f;")
    assert failed(verdict_of(recurrent, Options())) == {"fk_step", "fk_run"}
    sabotage("fk.c", "fk_reset", "state->value[1] = 0.01f;")
    assert "fk_step" in failed(verdict_of(recurrent, Options()))
    sabotage("fk.c", "fk_run", "y[0] += 1e-5f;")
    assert failed(verdict_of(recurrent, Options())) == {"fk_run"}


def test_a_layer_s_error_counts_beside_what_that_layer_makes(build, sabotage, verdict_of):
    """A thousand times larger logits hide no error of the layer before, and need not be nearer than
    their own size lets float32 be."""
    b = build()
    h = b.dense(b.input(4), 6, Activation("tanh"))
    graph = b.graph(
        b.apply(Dense(1e3 * np.ones((6, 3), np.float32), np.zeros(3, np.float32), LINEAR), h)
    )
    sabotage("layers.c", "layers_step", "y[5] += 1e-5f;")
    assert failed(verdict_of(graph)) == {"layer_0"}
    sabotage("layers.c", "layers_step", "y[6] += 1e-4f;")
    assert not failed(verdict_of(graph))


@needs_arm
def test_what_a_chip_has_no_room_for_runs_on_a_larger_one(build, verdict_of, monkeypatch):
    """A megabyte of weights and a few bytes more than there is flash; and where there is no larger
    chip, it is compared here."""
    b = build()
    graph = b.graph(b.dense(b.dense(b.input(512), 520), 2))
    verdict = verdict_of(graph, Options(), on_arm=True, samples=4)
    assert verdict.passed and verdict.chip == MPS2.name and verdict.flash_bytes > 1 << 20
    why = r"for it takes \d+ B more of FLASH than an STM32F405 has"
    same = r"gives the same bits as this host; flash"
    assert re.search(rf"Cortex-M4F \(MPS2 with AN386, {why}\) {same}", verdict.line)
    assert all(part.arm_error is not None for part in (*verdict.functions, *verdict.layers))
    monkeypatch.setattr(verify, "CHIPS", (STM32F405,))
    verdict = verdict_of(graph, Options(), on_arm=True, samples=4)
    assert verdict.passed and verdict.flash_bytes is None and verdict.chip is None
    assert re.search(r"Cortex-M4F not run: it takes \d+ B more of \w+", verdict.line)
    assert all(part.arm_error is None for part in (*verdict.functions, *verdict.layers))


@needs_arm
def test_a_large_network_is_given_fewer_samples_there(graph, verdict_of, monkeypatch):
    monkeypatch.setattr(verify, "MAX_EMULATED", 4000)
    verdict = verdict_of(graph, ALL, on_arm=True, samples=60)
    step = verdict.functions[0]
    assert verdict.passed and 2 < step.arm_samples == -(-4000 // step.instructions) < 60
    assert all(2 <= f.arm_samples < 60 and f.same_bits for f in verdict.functions)
    assert f"same bits as this host on {step.arm_samples} samples" in verdict.line


@needs_arm
def test_what_is_wrong_on_the_microcontroller_only_is_found(graph, sabotage, verdict_of):
    wrong = "\n#ifdef __arm__\n    y[0] += 1e-5f;\n#endif"
    sabotage("fk.c", "fk_step", wrong)
    verdict = verdict_of(graph, Options(), on_arm=True)
    assert failed(verdict) == {"fk_step"} and not verdict.functions[0].same_bits
    assert verdict.functions[0].host_error < 2e-6 < verdict.functions[0].arm_error


def test_a_source_that_differs_is_a_difference(graph, monkeypatch):
    monkeypatch.setattr(verify, "missing_tools", lambda: "not wanted")
    source = SourceVerdict("Keras", 1e-3, 2e-6)
    verdict = verify_graph(graph, Options(), ORIGIN, source, 5)
    assert not verdict.passed and "Keras differs by 1.0e-03" in verdict.line


def test_code_that_does_not_compile_is_an_error(graph, sabotage, verdict_of):
    sabotage("fk.c", "fk_step", "int;;")
    with pytest.raises(HostError, match="the C compiler refuses"):
        verdict_of(graph)


def test_prefixes_hold_what_a_layer_needs_and_no_more(build):
    b = build()
    x = b.input(4)
    left, right = b.dense(x, 3), b.dense(x, 3)
    joined = b.apply(Concatenate(-1), left, right)
    graph = b.graph(b.dense(b.apply(Add(), b.dense(joined, 3), left), 2))
    names = [[node.name for node in prefix.nodes] for prefix in prefix_graphs(graph)]
    assert names == [
        ["layer_0"],
        ["layer_1"],
        ["layer_0", "layer_1", "layer_2", "layer_3"],  # layer_2 only puts elements elsewhere
        ["layer_0", "layer_1", "layer_2", "layer_3", "layer_4"],
        ["layer_0", "layer_1", "layer_2", "layer_3", "layer_4", "layer_5"],
    ]


@pytest.mark.parametrize(("version", "package"), [("2.2.4", "tf_keras"), ("3.4.1", "keras")])
def test_source_that_cannot_be_run(files, monkeypatch, version, package):
    monkeypatch.setattr(reference, "is_installed", lambda package: False)
    layer = {"name": "d", "units": 2, "batch_input_shape": [None, 3], "use_bias": False}
    layers = [{"class_name": "Dense", "config": layer}]
    config = {"class_name": "Sequential", "config": {"layers": layers}}
    arrays = {"d": [("kernel", np.ones((3, 2), np.float32))]}
    path = files.hdf5(config, arrays, version)
    found = reference.compare_with_source(path, read_model(path)[0], 3, 0)
    assert found.runner == f"source not run: {package} is not installed" and found.passed
