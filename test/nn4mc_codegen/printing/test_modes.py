"""The modes are ordered: speed is never slower than balanced, size is never larger.

Small networks, each of which once broke the order or stands for its kind; instructions are exact.
"""

from __future__ import annotations

import numpy as np
import pytest

from nn4mc_codegen.compile import emit_graph
from nn4mc_codegen.graph.options import Options
from nn4mc_codegen.int8.calibrate import quantize_graph
from nn4mc_codegen.ops.activation import Activation
from nn4mc_codegen.ops.conv import Conv
from nn4mc_codegen.ops.depthwise import DepthwiseConv
from nn4mc_codegen.ops.flatten import Flatten
from nn4mc_codegen.ops.pool import AveragePool, MaxPool
from nn4mc_codegen.ops.recurrent import SimpleRNN
from nn4mc_codegen.ops.windows import Windows
from nn4mc_codegen.trial.qemu import measure, missing_tools

pytestmark = pytest.mark.skipif(bool(missing_tools()), reason=str(missing_tools()))

RELU = Activation("relu")


def windows(size: int, stride: int = 1, padding: str = "same") -> Windows:
    return Windows((size, size), (stride, stride), (1, 1), padding)


def weights(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).normal(0.0, 0.3, shape).astype(np.float32)


def dense(b):
    return b.graph(b.dense(b.dense(b.input(10), 20, RELU), 5))


def separable(b):
    """A depthwise convolution of stride 2, then 1×1, as DS-CNN has them."""
    h = b.apply(
        DepthwiseConv(weights(9, 1, 8), weights(8), windows(3, 2), 8, RELU), b.input(8, 8, 8)
    )
    h = b.apply(Conv(weights(1, 8, 16), weights(16), windows(1), 1, RELU), h)
    return b.graph(b.dense(b.apply(AveragePool(None, keepdims=False), h), 3))


def pooled(b):
    """A convolution of 2 channels and a pool, as LeNet has them."""
    h = b.apply(
        Conv(weights(9, 2, 6), weights(6), windows(3, 1, "valid"), 1, RELU), b.input(8, 8, 2)
    )
    h = b.apply(Flatten(), b.apply(MaxPool(windows(2, 2, "valid")), h))
    return b.graph(b.dense(h, 3))


def chain(*sizes, activation):
    def make(b):
        h = b.input(sizes[0])
        for units in sizes[1:]:
            h = b.dense(h, units, Activation(activation))
        return b.graph(h)

    return pytest.param(make, id=f"{'-'.join(map(str, sizes))} {activation}")


def recurrent(b):
    """The state is read while the next one is made: with tanh in place it has to be copied."""
    op = SimpleRNN(weights(16, 20), weights(20, 20), weights(20), Activation("tanh"))
    return b.graph(b.dense(b.apply(op, b.input(16)), 3))


def curved(b):
    """A convolution that makes many values at once and applies tanh to each."""
    op = Conv(weights(9, 3, 20), weights(20), windows(3, 1, "valid"), 1, Activation("tanh"))
    return b.graph(b.apply(Flatten(), b.apply(op, b.input(6, 6, 3))))


def channelwise(b):
    """A depthwise convolution alone: no other layer shares its relu."""
    op = DepthwiseConv(weights(9, 1, 4), weights(4), windows(3), 4, RELU)
    return b.graph(b.apply(Flatten(), b.apply(op, b.input(8, 8, 4))))


@pytest.mark.parametrize("dtype", ["float32", "int8"])
@pytest.mark.parametrize("make", [dense, separable, pooled])
def test_order(build, tmp_path, origin, make, dtype):
    check_order(make(build()), tmp_path, origin, dtype)


@pytest.mark.parametrize(
    "make",
    [
        chain(48, 24, 8, activation="relu"),
        chain(16, 8, 8, activation="tanh"),
        chain(12, 5, activation="relu"),
        recurrent,
        curved,
        channelwise,
    ],
)
def test_order_of_floats(build, tmp_path, origin, make):
    check_order(make(build()), tmp_path, origin, "float32")


def check_order(graph, tmp_path, origin, dtype):
    x = np.random.default_rng(0).normal(size=(20, graph.input_size)).astype(np.float32)
    if dtype == "int8":
        graph = quantize_graph(graph, x)
    found = {}
    for mode in ("speed", "balanced", "size"):
        for name, text in emit_graph(graph, Options(optimize=mode), origin).texts.items():
            (tmp_path / name).write_text(text, encoding="utf-8")
        found[mode] = measure(tmp_path, "fk", x[:2])
    assert found["speed"].instructions <= found["balanced"].instructions
    assert found["size"].flash_bytes <= found["balanced"].flash_bytes
