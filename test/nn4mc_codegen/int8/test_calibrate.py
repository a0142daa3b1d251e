"""Post-training quantisation: ranges, refusals, files of samples, and what the C makes of it."""

from __future__ import annotations

import re

import numpy as np
import pytest

from nn4mc_codegen.compile import compile_model, emit_graph
from nn4mc_codegen.graph.check import ModelError
from nn4mc_codegen.graph.options import Options
from nn4mc_codegen.int8.calibrate import quantize_graph
from nn4mc_codegen.int8.samples import load_samples
from nn4mc_codegen.ops.activation import Activation
from nn4mc_codegen.ops.add import Add
from nn4mc_codegen.ops.batch_normalization import BatchNormalization
from nn4mc_codegen.ops.concatenate import Concatenate
from nn4mc_codegen.ops.conv import Conv
from nn4mc_codegen.ops.depthwise import DepthwiseConv
from nn4mc_codegen.ops.flatten import Flatten
from nn4mc_codegen.ops.multiply import Multiply
from nn4mc_codegen.ops.pad import Pad
from nn4mc_codegen.ops.pool import AveragePool, MaxPool
from nn4mc_codegen.ops.softmax import Softmax
from nn4mc_codegen.ops.windows import Windows
from nn4mc_codegen.trial.host import HostCode, build_library

RANDOM = np.random.default_rng(0)
LINEAR, RELU, TANH = Activation("linear"), Activation("relu"), Activation("tanh")


def weights(*shape: int) -> np.ndarray:
    return RANDOM.normal(0.0, 0.4, shape).astype(np.float32)


@pytest.fixture
def everything(build):
    """Every operator that has an int8 form, in one graph."""
    b = build()
    image, vector = b.input(8, 6, 3, name="image"), b.input(4, name="vector")
    h = b.apply(Pad(((1, 0), (0, 2))), image)
    windows = Windows((3, 2), (2, 1), (1, 2), "same")
    h = b.apply(Conv(weights(6, 3, 5), weights(5), windows, 1, RELU), h)
    h = b.apply(BatchNormalization(weights(5), weights(5)), h)
    windows = Windows((3, 3), (1, 1), (1, 1), "same")
    h = b.apply(DepthwiseConv(weights(9, 1, 10), weights(10), windows, 5, TANH), h)
    h = b.apply(MaxPool(Windows((2, 2), (2, 2), (1, 1), "same")), h)
    h = b.apply(
        Conv(
            weights(1, 5, 6),
            weights(6),
            Windows((1, 1), (1, 1), (1, 1), "valid"),
            2,
            Activation("capped_relu", (("m", 1.0),)),
        ),
        h,
    )
    h = b.apply(AveragePool(Windows((2, 2), (1, 1), (1, 1), "same")), h)
    h = b.apply(Activation("gelu"), h)
    mean, flat = b.apply(AveragePool(None, keepdims=False), h), b.apply(Flatten(), h)
    flat = b.dense(flat, 6, Activation("elu", (("a", 1.0),)))
    h = b.apply(Add(), mean, flat, b.apply(Multiply(), mean, flat, flat))
    h = b.apply(Concatenate(-1), h, b.apply(TANH, vector), vector)
    return b.graph(b.apply(Softmax(), b.dense(h, 4)))


def compiled(graph, folder, origin) -> HostCode:
    for name, text in emit_graph(graph, Options(), origin).texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    build_library([folder / "fk.c"], folder / "fk.so")
    return HostCode(folder / "fk.so", folder / "fk.h")


def test_every_operator(everything, tmp_path, origin):
    samples = RANDOM.normal(size=(60, everything.input_size))
    quantised = quantize_graph(everything, samples)
    # Softmax has steps of 1/256; ten layers of int8 before it.
    assert quantised.accuracy.maximum < 0.1
    assert quantised.accuracy.rms < 0.02
    code = compiled(quantised, tmp_path, origin)
    x = RANDOM.normal(0.0, 1.5, (30, everything.input_size)).astype(np.float32)
    rows = np.array([quantised.quantize(row) for row in x])
    expected = np.array([quantised.evaluate_q(row) for row in rows])
    np.testing.assert_array_equal(code.run(rows, "step_q")["y"], expected)
    np.testing.assert_array_equal(code.run(x)["y"], [quantised.evaluate(row) for row in x])


@pytest.mark.parametrize("sizes", [(1, 1), (3, 5), (64, 64), (33, 2), (7, 30), (900, 3)])
def test_dense_of_every_size(build, tmp_path, origin, sizes):
    inputs, outputs = sizes
    b = build()
    h = b.dense(b.input(inputs), outputs, TANH)
    graph = b.graph(b.dense(h, outputs))
    quantised = quantize_graph(graph, RANDOM.normal(size=(50, inputs)))
    assert quantised.accuracy.rms < 0.02 * quantised.accuracy.range
    code = compiled(quantised, tmp_path, origin)
    x = RANDOM.normal(size=(20, inputs)).astype(np.float32)
    np.testing.assert_array_equal(code.run(x)["y"], [quantised.evaluate(row) for row in x])


def test_a_clip_needs_no_table(build):
    b = build()
    graph = b.graph(b.apply(RELU, b.dense(b.input(3), 4)))
    assert [node.op.kind for node in quantize_graph(graph, np.eye(3)).nodes] == ["dense"]


def test_joined_inputs_share_a_scale(build):
    b = build()
    joined = b.apply(Concatenate(-1), b.input(2), b.input(3))
    quantised = quantize_graph(b.graph(b.dense(joined, 2)), RANDOM.normal(size=(9, 5)))
    first, second = quantised.inputs
    assert (first.scale, first.zero) == (second.scale, second.zero)
    assert [node.op.kind for node in quantised.nodes] == ["rewire", "dense"]


def test_accuracy_is_in_units_of_the_output(build):
    b = build()
    graph = b.graph(b.dense(b.dense(b.input(5), 8, TANH), 2))
    samples = RANDOM.normal(size=(40, 5))
    quantised = quantize_graph(graph, samples)
    difference = [quantised.evaluate(x) - graph.evaluate(x) for x in samples]
    assert quantised.accuracy.maximum == np.abs(difference).max()
    text = str(quantised.accuracy)
    percent = 100 * quantised.accuracy.rms / quantised.accuracy.range
    assert f"{quantised.accuracy.rms:.3g} RMS" in text and f"{percent:.2g} %" in text


def test_zero_weights_and_constant_inputs(build, tmp_path, origin):
    b = build()
    x = b.input(3)
    node = b.graph(b.dense(x, 2)).nodes[0]
    node.op.kernel[:], node.op.bias[:] = 0.0, 0.0
    quantised = quantize_graph(b.graph(node.output), np.zeros((4, 3)))
    code = compiled(quantised, tmp_path, origin)
    assert not code.run(np.ones((1, 3), np.float32))["y"].any()


def test_derivatives_of_int8_are_refused(build, origin):
    b = build()
    quantised = quantize_graph(b.graph(b.dense(b.input(3), 2)), np.eye(3))
    for kind in ("jacobian", "vjp", "jvp", "hvp", "fold"):
        with pytest.raises(ModelError, match=f"{kind}: an int8 network"):
            emit_graph(quantised, Options(**{kind: "all"}), origin)


def test_samples_from_files(build, tmp_path):
    b = build()
    first, second = b.input(2, name="u"), b.input(3, name="v")
    graph = b.graph(b.dense(b.apply(Concatenate(-1), first, second), 2))
    rows = RANDOM.normal(size=(6, 5)).round(3)
    np.save(tmp_path / "a.npy", rows)
    np.savez(tmp_path / "b.npz", rows)
    np.savez(tmp_path / "c.npz", v=rows[:, 2:], u=rows[:, :2])
    np.savetxt(tmp_path / "d.csv", rows, delimiter=",")
    np.savetxt(tmp_path / "e.csv", rows, delimiter=",", header="u0,u1,v0,v1,v2", comments="")
    for name in ("a.npy", "b.npz", "c.npz", "d.csv", "e.csv"):
        np.testing.assert_allclose(load_samples(tmp_path / name, graph), rows)


class Pickled:
    def __reduce__(self):
        return print, ("executed",)


def test_files_that_are_no_samples_are_refused(build, tmp_path, capsys):
    b = build()
    graph = b.graph(b.dense(b.input(3), 2))
    np.save(tmp_path / "pickled.npy", np.array([Pickled()], object), allow_pickle=True)
    np.save(tmp_path / "shape.npy", np.zeros((4, 2)))
    np.save(tmp_path / "empty.npy", np.zeros((0, 3)))
    np.save(tmp_path / "nan.npy", np.full((2, 3), np.nan))
    np.savez(tmp_path / "names.npz", a=np.zeros(1), b=np.zeros(1))
    (tmp_path / "words.csv").write_text("1,2,3\n1,two,3\n")
    (tmp_path / "garbage.npz").write_bytes(b"PK\x03\x04garbage")
    (tmp_path / "model.txt").write_text("1 2 3")
    names = [path.name for path in tmp_path.iterdir()]
    assert len(names) == 8
    for name in (*names, "missing.npy"):
        with pytest.raises(ModelError, match=re.escape(name)) as error:
            load_samples(tmp_path / name, graph)
        assert "\n" not in str(error.value)
    assert "executed" not in capsys.readouterr().out


@pytest.fixture
def model(files):
    """tanh(W·x + b), 3 inputs, 2 outputs."""
    config = {"units": 2, "activation": "tanh", "batch_input_shape": [None, 3], "name": "d"}
    layers = [{"class_name": "Dense", "config": config}]
    arrays = [("kernel", weights(3, 2)), ("bias", weights(2))]
    return files.hdf5({"class_name": "Sequential", "config": {"layers": layers}}, {"d": arrays})


def test_compiled_from_a_keras_file(model, tmp_path):
    np.save(tmp_path / "x.npy", RANDOM.normal(size=(30, 3)))
    result = compile_model(model, tmp_path, dtype="int8", representative=tmp_path / "x.npy")
    assert 0 < result.accuracy.rms < 0.02
    header = (tmp_path / "fk.h").read_text(encoding="utf-8")
    assert "--dtype int8 --representative x.npy" in header
    assert str(result.accuracy) in header


def test_options_that_do_not_go_together_are_refused(model, tmp_path):
    np.save(tmp_path / "x.npy", RANDOM.normal(size=(30, 3)))
    with pytest.raises(ModelError, match="needs representative inputs"):
        compile_model(model, tmp_path / "out", dtype="int8")
    with pytest.raises(ModelError, match="for dtype int8 only"):
        compile_model(model, tmp_path / "out", representative=tmp_path / "x.npy")
    assert not (tmp_path / "out").exists()
