"""Which kernel takes a layer, and that each is exact on layers that only just belong to it."""

from __future__ import annotations

import numpy as np
import pytest

from nn4mc_codegen.compile import emit_graph
from nn4mc_codegen.graph.options import Options
from nn4mc_codegen.int8 import operators as o
from nn4mc_codegen.int8 import quantize as q
from nn4mc_codegen.int8.code import Int8Code
from nn4mc_codegen.ops.windows import Windows
from nn4mc_codegen.trial.host import HostCode, build_library
from nn4mc_codegen.trial.qemu import measure, missing_tools

# Layers are (conv, rows, window, strides), (depthwise, rows a channel, window, strides) and
# (dense, rows, vectors); the kernels of the first and the last kind stand beside them.
CASES = {
    "vectors at distances": (
        (1, 23, 3),
        [("conv", 7, (1, 5), (1, 2)), ("conv", 6, (1, 3), (1, 1)), ("dense", 3, 1)],
        ["points", "points", "dense"],
    ),
    "one position": (
        (1, 1, 20),
        [("conv", 7, (1, 1), (1, 1)), ("conv", 13, (1, 1), (1, 1))],
        ["dense", "dense"],
    ),
    "two positions": (
        (1, 2, 9),
        [("conv", 7, (1, 1), (1, 1)), ("dense", 5, 2), ("dense", 4, 1)],
        ["dense", "dense", "dense"],
    ),
    "no single vector": ((9, 1, 1), [("dense", 6, 9), ("dense", 5, 9)], ["points", "points"]),
    "few channels": (
        (6, 5, 3),
        [("depthwise", 1, (3, 3), (1, 1)), ("depthwise", 2, (3, 3), (2, 2))],
        [],
    ),
    "rows that are skipped": (
        (12, 3, 4),
        [("depthwise", 1, (2, 2), (3, 3)), ("conv", 3, (2, 1), (2, 1))],
        ["windows"],
    ),
    "three shapes": (
        (7, 7, 6),
        [
            ("depthwise", 1, (5, 5), (3, 1)),
            ("depthwise", 1, (1, 1), (2, 2)),
            ("depthwise", 3, (2, 4), (1, 3)),
        ],
        [],
    ),
}


def network(shape: tuple[int, ...], layers: list[tuple], seed: int) -> q.QuantGraph:
    """Random weights; the results of some layers are cut off at zero, as relu does."""
    random = np.random.default_rng(seed)
    tensors, nodes = [q.QTensor("x", shape, 0.02, int(random.integers(-128, 128)))], []
    for kind, rows, *rest in layers:
        x, zero = tensors[-1], int(random.choice([-128, 10]))
        if kind == "dense":
            (count,) = rest
            columns, shape = x.size // count, (1, count, rows)
        else:
            padding = "same" if kind == "depthwise" else "valid"
            window = o.Window(Windows(*rest, (1, 1), padding), *x.shape)
            taps = int(np.prod(window.windows.size))
            columns = taps * (x.shape[2] if kind == "conv" else 1)
            rows = rows * (1 if kind == "conv" else x.shape[2])
            shape = (*window.output, rows)
        multiplier, shift = random.integers(1 << 30, 1 << 31, rows), random.integers(-9, -6, rows)
        parts = (
            random.integers(-127, 128, (rows, columns)).astype(np.int8),
            random.integers(-3000, 3000, rows),
            q.Rescaling(multiplier, shift, zero),
        )
        kinds = {"conv": o.Conv, "depthwise": o.Depthwise}
        op = o.Dense(*parts, count) if kind == "dense" else kinds[kind](*parts, window, x.zero)
        tensors.append(q.QTensor(f"t{len(tensors)}", shape, 0.02, zero))
        nodes.append(q.QNode(tensors[-1].name, op, (x,), tensors[-1]))
    return q.QuantGraph((tensors[0],), tensors[-1], tuple(nodes))


@pytest.mark.parametrize("name", CASES)
def test_every_kernel_is_exact(name, tmp_path, origin):
    shape, layers, routes = CASES[name]
    graph = network(shape, layers, len(name))
    code = Int8Code(graph, Options())
    assert [code.route[node.op] for node in code.graph.nodes if node.op in code.route] == routes
    for file_name, text in emit_graph(graph, Options(), origin).texts.items():
        (tmp_path / file_name).write_text(text, encoding="utf-8")
    x = np.random.default_rng(1).integers(-128, 128, (12, graph.input_size))
    expected = np.array([graph.evaluate_q(row) for row in x])
    assert len(np.unique(expected)) > 5
    build_library([tmp_path / "fk.c"], tmp_path / "fk.so", "-O1")
    found = HostCode(tmp_path / "fk.so", tmp_path / "fk.h").run(x, "step_q")["y"]
    np.testing.assert_array_equal(found, expected)
    if not missing_tools():
        measured = measure(tmp_path, "fk", x.astype(np.int8), "step_q")
        np.testing.assert_array_equal(measured.outputs["y"], expected)
