"""Random chains of nodes: the meaning of a file here is what onnxruntime makes of it.

Shapes are small and alike on purpose: three rows of three channels tell apart what broadcasts how.
"""

from __future__ import annotations

import os

import numpy as np
import pytest

from nn4mc_codegen.graph.ir import Graph

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
importer = pytest.importorskip("nn4mc_codegen.importers.onnx")

NETWORKS = 3000 if os.environ.get("ONNX_ALL") else 200
# onnxruntime adds float32 numbers, this float64 ones; quotients by 0.5 and products grow them.
TOLERANCE = 1e-4


class Chain:
    """A random chain; `shape` is that of its end."""

    def __init__(self, random: np.random.Generator):
        self._random = random
        self._nodes, self._constants = [], []
        few = self._few
        shapes = [[few(), few()], [1, few(), 3, 3], [1, few(), few() + 2]]
        self.start = self.shape = shapes[random.integers(3)]
        steps = (self.product, self.product, self.arithmetic, self.arithmetic)
        steps = (*steps, self.arithmetic, self.mean, self.order, self.form)
        self._end = "x"
        for _ in range(random.integers(2, 6)):
            steps[random.integers(len(steps))]()

    def _few(self) -> int:
        return int(self._random.choice([1, 2, 3, 3, 3]))

    def _numbers(self, *shape: int) -> np.ndarray:
        values = self._random.normal(size=shape)
        return np.where(np.abs(values) < 0.3, 0.5, values)

    def _node(self, kind: str, *inputs, shape, **attributes) -> None:
        names = []
        for value in inputs:
            if not isinstance(value, str):
                name = f"c{len(self._constants)}"
                array = np.asarray(value)
                array = array.astype(np.float32) if array.dtype.kind == "f" else array
                self._constants.append(onnx.numpy_helper.from_array(array, name))
                value = name
            names.append(value)
        self._end = f"t{len(self._nodes)}"
        self._nodes.append(onnx.helper.make_node(kind, names, [self._end], **attributes))
        self.shape = list(shape)

    def _broadcast(self, shape: list[int]) -> np.ndarray:
        """Of a random shape that broadcasts to this one."""
        kept = shape[self._random.integers(0, len(shape) + 1) :]
        return self._numbers(*(1 if self._random.random() < 0.4 else n for n in kept))

    def product(self) -> None:
        units, x = self._few(), self._end
        if len(self.shape) == 2:
            rows, inputs = self.shape
            if self._random.random() < 0.5:
                self._node("MatMul", x, self._numbers(inputs, units), shape=[rows, units])
                return
            kernel, more = self._numbers(units, inputs), self._broadcast([rows, units])
            factors = {"alpha": float(self._numbers()), "beta": float(self._numbers())}
            self._node("Gemm", x, kernel, more, shape=[rows, units], transB=1, **factors)
        elif len(self.shape) > 2:
            batch, channels, *extents = self.shape
            taps = 1 if min(extents) == 1 else self._few() % 2 + 1
            kernel = self._numbers(units, channels, *[taps] * len(extents))
            left = [n - taps + 1 for n in extents]
            self._node("Conv", x, kernel, self._numbers(units), shape=[batch, units, *left])

    def arithmetic(self) -> None:
        kinds = ("Add", "Sub", "Mul", "Max", "Min", "Div", "PRelu")
        kind = kinds[self._random.integers(len(kinds))]
        given = [self._end, self._broadcast(self.shape)]
        if kind not in ("Div", "PRelu") and self._random.random() < 0.4:
            given.reverse()
        self._node(kind, *given, shape=self.shape)

    def mean(self) -> None:
        axis, kept = int(self._random.integers(len(self.shape))), int(self._random.integers(2))
        shape = [1 if i == axis else n for i, n in enumerate(self.shape) if kept or i != axis]
        if shape:
            self._node("ReduceMean", self._end, axes=[axis], keepdims=kept, shape=shape)

    def order(self) -> None:
        axes = [int(axis) for axis in self._random.permutation(len(self.shape))]
        self._node("Transpose", self._end, perm=axes, shape=[self.shape[axis] for axis in axes])

    def form(self) -> None:
        size = int(np.prod(self.shape))
        shape = [[1, size], [size, 1], [1, 1, size], [size]][self._random.integers(4)]
        self._node("Reshape", self._end, np.array(shape, np.int64), shape=shape)

    def model(self) -> bytes:
        info, kind = onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
        ends = [info("x", kind, self.start)], [info(self._end, kind, None)]
        graph = onnx.helper.make_graph(self._nodes, "g", *ends, self._constants)
        opset = onnx.helper.make_opsetid("", 16)
        made = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8)
        return made.SerializeToString()

    @property
    def is_empty(self) -> bool:
        return not self._nodes


def by_onnxruntime(content: bytes, x: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


def test_random_chains():
    random = np.random.default_rng(0)
    compared = 0
    for _ in range(NETWORKS):
        chain = Chain(random)
        if chain.is_empty:
            continue
        content = chain.model()
        graph: Graph = importer.read(content)
        x = random.normal(size=chain.start).astype(np.float32)
        expected = by_onnxruntime(content, x)
        assert graph.output.shape == expected.shape
        scale = max(1.0, float(np.max(np.abs(expected))))
        found = graph.evaluate(x.ravel()).reshape(expected.shape)
        kinds = ", ".join(node.op.kind for node in graph.nodes)
        assert np.max(np.abs(found - expected)) <= TOLERANCE * scale, f"{chain.start}: {kinds}"
        compared += 1
    assert compared > 0.9 * NETWORKS
