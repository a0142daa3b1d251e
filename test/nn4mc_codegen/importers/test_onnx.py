"""What an ONNX file means where it leaves something open: axes, states, several outputs."""

from __future__ import annotations

import numpy as np
import pytest

from nn4mc_codegen.graph.check import ModelError
from nn4mc_codegen.graph.ir import Graph

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
importer = pytest.importorskip("nn4mc_codegen.importers.onnx")
onnx_file = pytest.importorskip("nn4mc_codegen.importers.onnx_file")

RANDOM = np.random.default_rng(0)
INPUTS, UNITS = 3, 4


def node(kind: str, *inputs: str, outputs=("y",), **attributes):
    return onnx.helper.make_node(kind, inputs, list(outputs), **attributes)


def weights(gates: int, ways: int = 1) -> dict[str, np.ndarray]:
    return {
        name: RANDOM.normal(0.0, 0.5, (ways, gates * UNITS, n)).astype(np.float32)
        for name, n in (("W", INPUTS), ("R", UNITS))
    }


def read(*nodes, shape: tuple, outputs=("y",), **arrays) -> Graph:
    stored = [onnx.numpy_helper.from_array(np.asarray(a), name) for name, a in arrays.items()]
    info = onnx.helper.make_tensor_value_info
    inputs = [info(n, onnx.TensorProto.FLOAT, s) for n, s in {"x": shape}.items()]
    results = [info(n, onnx.TensorProto.FLOAT, None) for n in outputs]
    graph = onnx.helper.make_graph(nodes, "g", inputs, results, stored)
    opsets = [onnx.helper.make_opsetid("", 18)]
    made = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8)
    return importer.read(made.SerializeToString())


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def test_the_newest_opset_is_one_that_the_package_knows():
    assert onnx_file.NEWEST_OPSET <= onnx.defs.onnx_opset_version()


def test_an_open_batch_is_one_sample():
    graph = read(node("Relu", "x"), shape=("n", 3))
    assert graph.output.shape == (1, 3) and graph.input_size == 3


def test_another_open_axis_is_refused():
    with pytest.raises(ModelError, match="'x': axis 1 is open; export it with a size"):
        read(node("Relu", "x"), shape=("n", "width"))


def test_an_axis_without_a_name_is_open():
    with pytest.raises(ModelError, match="'x': axis 1 is open"):
        read(node("Relu", "x"), shape=(1, None))


@pytest.mark.parametrize("shape", [("time", 1, INPUTS), ("time", "batch", INPUTS), (1, 1, INPUTS)])
def test_an_open_or_single_step_carries_its_state(shape):
    graph = read(node("GRU", "x", "W", "R", outputs=["y"]), shape=shape, **weights(3))
    assert graph.state_size == UNITS and graph.input_size == INPUTS
    x = RANDOM.normal(size=(2, INPUTS))
    assert not np.allclose(graph.run(x[[0, 1]])[0][1], graph.run(x[[1, 1]])[0][0])


def test_a_window_carries_nothing():
    arrays = weights(3)
    window = read(node("GRU", "x", "W", "R", outputs=["y"]), shape=(2, 1, INPUTS), **arrays)
    steps = read(node("GRU", "x", "W", "R", outputs=["y"]), shape=(1, 1, INPUTS), **arrays)
    assert window.state_size == 0
    x = RANDOM.normal(size=(2, INPUTS))
    np.testing.assert_allclose(window.evaluate(x.ravel()), steps.run(x)[0].ravel())


def test_a_window_of_three_steps_and_an_open_batch():
    """Three is also how many steps an open axis is tried with."""
    graph = read(node("GRU", "x", "W", "R"), shape=(3, "batch", INPUTS), **weights(3))
    assert graph.state_size == 0 and graph.input_size == 3 * INPUTS


def test_steps_beside_a_window_carry_nothing():
    """A second GRU gets the last step of the first one's five: it begins anew with each window."""
    arrays = weights(3)
    second = RANDOM.normal(size=(1, 3 * UNITS, UNITS)).astype(np.float32)
    nodes = [
        node("GRU", "x", "W", "R", outputs=["", "h"]),
        node("GRU", "h", "V", "R", outputs=["", "y"]),
    ]
    graph = read(*nodes, shape=(5, 1, INPUTS), V=second, **arrays)
    assert graph.state_size == 0 and graph.input_size == 5 * INPUTS


@pytest.mark.parametrize(
    ("nodes", "reason"),
    [
        (
            [
                node("GRU", "x", "W", "R", outputs=["s"]),
                node("ReduceMean", "s", "axes", keepdims=0),
            ],
            "needs several steps of its axis 'time' at once",
        ),
        (
            [
                node("ReduceMean", "x", "axes", outputs=["m"], keepdims=1),
                node("Sub", "x", "m", outputs=["d"]),
                node("GRU", "d", "W", "R", outputs=["y"]),
            ],
            "needs several steps of its axis 'time' at once",
        ),
        (
            [node("GRU", "x", "W", "R", outputs=["y"], direction="reverse")],
            "open axis 'time' of time, and a state or a way that needs its end",
        ),
        (
            [node("GRU", "x", "W", "R", "", "", "h", outputs=["y"])],
            "open axis 'time' of time, and a state or a way that needs its end",
        ),
    ],
)
def test_what_a_step_cannot_know_is_refused(nodes, reason):
    """Read at one step, each of these would be another network."""
    more = {"axes": ints(0), "h": np.ones((1, 1, UNITS), np.float32)}
    with pytest.raises(ModelError, match=reason):
        read(*nodes, shape=("time", 1, INPUTS), **more, **weights(3))


def test_the_state_c_of_a_step_stays_inside():
    lstm = node("LSTM", "x", "W", "R", outputs=["", "h", "c"])
    graph = read(lstm, node("Relu", "h"), shape=("time", 1, INPUTS), **weights(4))
    assert graph.state_size == 2 * UNITS
    with pytest.raises(ModelError, match="hands out its state c, which it keeps"):
        read(lstm, node("Relu", "c"), shape=("time", 1, INPUTS), **weights(4))


def test_outputs_stand_one_after_the_other():
    nodes = [node("Relu", "x", outputs=["a"]), node("Neg", "x", outputs=["b"])]
    graph = read(*nodes, shape=(1, 2), outputs=["b", "a"])
    np.testing.assert_allclose(graph.evaluate(np.array([2.0, -3.0])), [-2.0, 3.0, 2.0, 0.0])


def test_a_bias_is_folded_into_its_layer():
    nodes = [node("MatMul", "x", "K", outputs=["m"]), node("Add", "m", "b")]
    kernel, bias = np.eye(3, dtype=np.float32), np.ones(3, np.float32)
    graph = read(*nodes, shape=(1, 3), K=kernel, b=bias)
    assert [n.op.kind for n in graph.nodes] == ["dense"]
    np.testing.assert_array_equal(graph.nodes[0].op.bias, bias)


def test_a_constant_for_each_row_is_no_bias():
    """Three rows of three channels: (3, 1) and (3,) have as many numbers."""
    nodes = [node("MatMul", "x", "K", outputs=["m"]), node("Add", "m", "b")]
    gemm = [node("Gemm", "x", "K", "b")]
    kernel = np.eye(3, dtype=np.float32)
    for bias in (np.array([[1], [2], [3]]), np.array([[1, 2, 3]]), np.array([1, 2, 3])):
        for written in (nodes, gemm):
            graph = read(*written, shape=(3, 3), K=kernel, b=bias.astype(np.float32))
            found = graph.evaluate(np.zeros(9)).reshape(3, 3)
            np.testing.assert_array_equal(found, np.broadcast_to(bias, (3, 3)))


def test_what_nothing_reads_is_left_out():
    nodes = [node("Relu", "x"), node("Exp", "x", outputs=["unused"])]
    assert len(read(*nodes, shape=(1, 3)).nodes) == 1


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([node("GRU", "x", "W", "R", clip=1.0)], "clips its sums"),
        ([node("GRU", "x", "W", "R", activations=["Sin", "Tanh"])], "has the activation 'Sin'"),
        ([node("GRU", "x", "W", "R", activations=["Tanh"])], "names 1 activations; name 2"),
        ([node("GRU", "x", "W", "R", direction="up")], "has direction 'up'"),
        ([node("GRU", "x", "R", "R")], "has weights"),
        ([node("GRU", "x", "W", "R", "", "n")], "stops within sequences"),
        ([node("LSTM", "x", "W", "R", input_forget=1)], "peepholes or coupled gates"),
        ([node("AveragePool", "x", kernel_shape=[2], pads=[2, 0])], "pads by a whole window"),
        ([node("Pow", "x", "k")], "has the exponent 2.5; use 0.5, -1 or 1 to 8"),
        ([node("Cast", "x", to=onnx.TensorProto.DOUBLE)], "of a result to another type"),
    ],
)
def test_what_is_not_done_is_refused_by_name(nodes, message):
    more = {"n": np.array([1], np.int32), "k": np.float32(2.5)}
    with pytest.raises(ModelError, match=message):
        read(*nodes, shape=(2, 1, INPUTS), **more, **weights(3))
