"""ONNX files that nobody should compile: one line says why, no other path is read."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from nn4mc_codegen import compile_model
from nn4mc_codegen.cli import app
from nn4mc_codegen.graph.check import ModelError
from nn4mc_codegen.importers import read_model

onnx = pytest.importorskip("onnx", reason="onnx is not installed")

FLOAT, INT64 = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64
KERNEL = np.random.default_rng(0).normal(size=(3, 2)).astype(np.float32)
# What one file may take: far above what it takes, far below what a bomb would.
MAX_SECONDS = 10.0


def node(kind: str, *inputs: str, output: str = "y", **attributes):
    return onnx.helper.make_node(kind, inputs, [output], **attributes)


def model(*nodes, opset: int = 18, shape: tuple = (1, 3), kind: int = FLOAT, **arrays):
    """A file of nodes from x to y; arrays are initializers by their names."""
    stored = [onnx.numpy_helper.from_array(np.asarray(a), name) for name, a in arrays.items()]
    graph = onnx.helper.make_graph(
        nodes,
        "g",
        [onnx.helper.make_tensor_value_info("x", kind, shape)],
        [onnx.helper.make_tensor_value_info("y", FLOAT, None)],
        stored,
    )
    opsets = [onnx.helper.make_opsetid("", opset)]
    return onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8)


def dense():
    return model(node("MatMul", "x", "W"), W=KERNEL)


def changed(change, made=None) -> bytes:
    made = made or dense()
    change(made)
    return made.SerializeToString()


def external(location: str, offset: int = 0, length: int | None = 24) -> bytes:
    """The dense layer with its weights in another file."""

    def change(made) -> None:
        tensor = made.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        entries = {"location": location, "offset": str(offset)}
        entries |= {} if length is None else {"length": str(length)}
        for key, value in entries.items():
            tensor.external_data.add(key=key, value=value)

    return changed(change)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def of_own_domain(made) -> None:
    made.graph.node[0].domain = "com.evil"
    made.opset_import.add(domain="com.evil", version=1)


def branches() -> bytes:
    inner = onnx.helper.make_graph([node("Identity", "x")], "b", [], [])
    chosen = node("If", "c", then_branch=inner, else_branch=inner)
    return model(chosen, c=np.array(True)).SerializeToString()


def dims(*extents: int):
    def change(made) -> None:
        made.graph.initializer[0].dims[:] = extents

    return change


def doubling() -> bytes:
    nodes = [node("Concat", "x", "x", output="t0", axis=0)]
    nodes += [
        node("Concat", f"t{k}", f"t{k}", output=f"t{k + 1}" if k < 58 else "y", axis=0)
        for k in range(59)
    ]
    return model(*nodes).SerializeToString()


def sequence(steps: int) -> bytes:
    W, R = np.ones((1, 12, 3), np.float32), np.ones((1, 12, 4), np.float32)
    gru = onnx.helper.make_node("GRU", ["x", "W", "R"], ["y"], hidden_size=4)
    return model(gru, shape=(steps, 1, 3), W=W, R=R).SerializeToString()


def of(*nodes, **more) -> bytes:
    return model(*nodes, **more).SerializeToString()


SOURCES = {
    "garbage": (b"\x08\x07" + np.random.default_rng(1).bytes(3000), "damaged"),
    "first byte alone": (b"\x08", "damaged"),
    "nothing inside": (b"\x08\x08", "names no opset"),
    "cut short": (dense().SerializeToString()[:-30], "damaged|no output|no node makes"),
    "opset too old": (of(node("Relu", "x"), opset=9), "is of opset 9; export with one from 13"),
    "opset of the future": (of(node("Relu", "x"), opset=99), "is of opset 99"),
    "own domain": (changed(of_own_domain), "MatMul of com.evil is no operator of ONNX"),
    "branches": (branches(), "If is not supported"),
    "own operator": (of(node("\x1b[2JEvil", "x")), r"Evil is not supported"),
    "no output": (changed(lambda m: m.graph.ClearField("output")), "has no output"),
    "output of nothing": (of(node("Relu", "x", output="z")), "an output that no node makes"),
    "circle": (of(node("Add", "x", "z"), node("Relu", "y", output="z")), "no node before it"),
    "made twice": (of(node("Relu", "x"), node("Tanh", "x")), "made already"),
    "no input": (of(node("Relu")), "lacks its input 0"),
    "input of integers": (of(node("Relu", "x"), kind=INT64), "an input of int64"),
    "input beyond all": (of(node("Relu", "x"), shape=(1, 2**40)), "too large an input"),
    "input of open width": (of(node("Relu", "x"), shape=("n", "m")), "axis 1 is open"),
    "constant output": (of(node("Relu", "c"), c=KERNEL), "no input has a say in"),
    "weights of nothing": (changed(dims(-3, 2)), r"has shape \(-3, 2\)"),
    "weights beyond all": (changed(dims(2**40, 2**40)), "at most 4194304 elements"),
    "weights too few": (changed(dims(3, 3)), r"has 6 elements for shape \(3, 3\)"),
    "weights of text": (
        changed(lambda m: m.graph.initializer[0].ClearField("raw_data")),
        "has 0 elements",
    ),
    "weights float64": (of(node("MatMul", "x", "W"), W=KERNEL.astype(float)), "float64"),
    "weights NaN": (of(node("MatMul", "x", "W"), W=KERNEL * np.nan), "6 of 6 weights W are NaN"),
    "weights of another shape": (of(node("MatMul", "x", "W"), W=KERNEL.T), "shapes"),
    "doubling": (doubling(), "at most 4194304 elements"),
    "huge constant": (of(node("ConstantOfShape", "n"), n=ints(2**31, 2**31)), "smaller model"),
    "huge range": (
        of(node("Range", "a", "b", "c"), a=ints(0)[0], b=ints(2**60)[0], c=ints(1)[0]),
        "more than 65536",
    ),
    "huge expansion": (of(node("Expand", "x", "n"), n=ints(2**31, 2**20, 3)), "4194304"),
    "huge tiles": (of(node("Tile", "x", "n"), n=ints(2**40, 2**20)), "smaller model"),
    "huge padding": (of(node("Pad", "x", "n"), n=ints(0, 0, 0, 2**40)), "65535"),
    "huge sum": (
        of(node("Add", "x", "c"), shape=(2**21, 1), c=np.ones((1, 2**10), np.float32)),
        "at most 4194304",
    ),
    "huge product": (
        of(node("Transpose", "x", output="t"), node("MatMul", "x", "t"), shape=(2**20, 1)),
        "at most 4194304",
    ),
    "endless sequence": (sequence(100_000), "at most 256"),
    "strides of zero": (
        of(node("MaxPool", "x", kernel_shape=[2], strides=[0]), shape=(1, 2, 8)),
        r"strides \(0,\)",
    ),
    "pads below zero": (
        of(node("MaxPool", "x", kernel_shape=[2], pads=[-1, 0]), shape=(1, 2, 8)),
        "positive numbers",
    ),
    "window of text": (
        of(node("MaxPool", "x", kernel_shape=["a"]), shape=(1, 2, 8)),
        "kernel_shape",
    ),
    "axis far away": (of(node("Softmax", "x", axis=2**40)), "has axis 1099511627776 of 2"),
    "axes twice": (of(node("Unsqueeze", "x", "n"), n=ints(0, 0)), "has axes"),
    "index far away": (of(node("Gather", "x", "n", axis=1), n=ints(3)), "an index outside"),
    "indices that move": (of(node("Gather", "c", "x"), c=KERNEL), "indices that are not constant"),
    "no divisor": (of(node("Div", "a", "b"), a=ints(1), b=ints(0)), "divides by zero"),
    "remainder by nothing": (
        of(node("Mod", "a", "b", output="n"), node("Reshape", "x", "n"), a=ints(7), b=ints(0)),
        "gives shape",
    ),
    "many nodes": (of(*[node("Relu", "x")] * 20_000), "more than 16384 nodes"),
    "absolute path": (external("/etc/passwd"), "lies outside of the model's folder"),
    "way up": (external("../secret"), "lies outside of the model's folder"),
    "way up and down": (external("sub/../../secret"), "lies outside of the model's folder"),
    "link": (external("link"), "lies outside of the model's folder"),
    "folder": (external("sub"), "is no file|cannot be read"),
    "pipe": (external("pipe"), "is no file"),
    "itself by a null": (external("weights\0.bin"), "no plain name"),
    "drive": (external("C:\\secret"), "no plain name"),
    "no name": (external(""), "no plain name"),
    "missing": (external("none.bin"), "cannot be read"),
    "before the beginning": (external("weights.bin", -8), "begins at -8"),
    "beyond the end": (external("weights.bin", 8), "fewer than the model says"),
    "larger than all": (external("weights.bin", 0, 2**50), "too large"),
    "bytes left over": (external("weights.bin", 4, 20), "5 elements for shape|has 5 elements"),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Beside the model 24 bytes of weights; a secret above; a link and a pipe."""
    inside = tmp_path / "inside"
    (inside / "sub").mkdir(parents=True)
    (tmp_path / "secret").write_bytes(KERNEL.tobytes())
    (inside / "weights.bin").write_bytes(KERNEL.tobytes())
    (inside / "sub" / "weights.bin").write_bytes(KERNEL.tobytes())
    (inside / "link").symlink_to(tmp_path / "secret")
    os.mkfifo(inside / "pipe")
    return inside


def refusal(path: Path) -> str:
    begin = time.monotonic()
    before = sorted(path.parent.iterdir())
    with pytest.raises(ModelError) as refused:
        compile_model(path, path.parent / "out")
    assert time.monotonic() - begin < MAX_SECONDS
    assert sorted(path.parent.iterdir()) == before
    text = str(refused.value)
    assert text.isprintable() and text.startswith(path.name) and len(text) < 900
    return text


@pytest.mark.parametrize("name", SOURCES)
def test_file_is_refused(folder, name):
    content, message = SOURCES[name]
    path = folder / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=message):
        raise ModelError(refusal(path))


@pytest.mark.parametrize("name", ["garbage", "own operator", "way up", "NaN"])
def test_command_line_ends_in_one_line_and_exit_code_2(folder, name):
    path = folder / "model.onnx"
    path.write_bytes(SOURCES.get(name, SOURCES["weights NaN"])[0])
    done = CliRunner().invoke(app, ["compile", str(path), "-o", str(folder / "out")])
    assert done.exit_code == 2
    assert len(done.output.strip().splitlines()) == 1 and done.output.strip().isprintable()
    assert not (folder / "out").exists()


@pytest.mark.parametrize("location", ["weights.bin", "sub/weights.bin", "./weights.bin"])
def test_data_beside_the_model_is_read(folder, location):
    whole, parted = folder / "whole.onnx", folder / "model.onnx"
    whole.write_bytes(dense().SerializeToString())
    parted.write_bytes(external(location))
    graph, first = read_model(parted)
    x = np.array([0.5, -1.0, 2.0])
    np.testing.assert_array_equal(graph.evaluate(x), read_model(whole)[0].evaluate(x))
    data = folder / location
    data.write_bytes((2 * KERNEL).tobytes())
    again, second = read_model(parted)
    np.testing.assert_array_equal(again.evaluate(x), 2 * graph.evaluate(x))
    assert first != second  # what was compiled can be told from the hash


def test_data_to_the_end_of_the_file(folder):
    path = folder / "model.onnx"
    (folder / "weights.bin").write_bytes(b"12345678" + KERNEL.tobytes())
    path.write_bytes(external("weights.bin", 8, None))
    assert read_model(path)[0].output.shape == (1, 2)


def test_without_the_package(folder, monkeypatch):
    path = folder / "model.onnx"
    path.write_bytes(dense().SerializeToString())
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"takes the onnx package; install it: pip install"):
        read_model(path)


def test_files_damaged_anywhere(folder):
    """Bytes changed at random: read or refused in one line, never anything else."""
    W, R = np.ones((1, 12, 3), np.float32), np.ones((1, 12, 4), np.float32)
    nodes = [
        node("Conv", "x", "K", output="a", pads=[1, 1]),
        node("Transpose", "a", output="b", perm=[2, 0, 1]),
        onnx.helper.make_node("GRU", ["b", "W", "R"], ["", "h"], hidden_size=4),
        node("Squeeze", "h", "n", output="c"),
        node("Softmax", "c", axis=-1),
    ]
    kernel = np.ones((3, 2, 3), np.float32)
    whole = bytearray(of(*nodes, shape=(1, 2, 5), K=kernel, W=W, R=R, n=ints(0)))
    path = folder / "model.onnx"
    path.write_bytes(whole)
    read_model(path)
    random = np.random.default_rng(0)
    refused = 0
    for _ in range(40):
        content = bytearray(whole)
        for place in random.integers(1, len(content), random.integers(1, 6)):
            content[place] = random.integers(256)
        path.write_bytes(content)
        try:
            read_model(path)
        except ModelError as error:
            refused += 1
            assert str(error).isprintable()
    assert refused > 10
