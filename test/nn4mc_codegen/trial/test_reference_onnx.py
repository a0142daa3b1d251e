"""An ONNX model run by onnxruntime: of the file only what our own reader has looked at."""

from __future__ import annotations

import numpy as np
import pytest

from nn4mc_codegen.importers import read_model, read_source
from nn4mc_codegen.trial.reference import compare_with_source

onnx = pytest.importorskip("onnx", reason="onnx is not installed")


def written(path, seed: int = 0):
    """A GRU along an open axis, beside an input that has no such axis, with what is no network."""
    random = np.random.default_rng(seed)
    arrays = {
        "W": random.normal(size=(1, 12, 3)),
        "R": random.normal(size=(1, 12, 4)),
        "K": random.normal(size=(4, 2)),
    }
    stored = [
        onnx.numpy_helper.from_array(a.astype(np.float32), name) for name, a in arrays.items()
    ]
    make = onnx.helper.make_node
    nodes = [
        make("GRU", ["x", "W", "R"], ["", "h"], hidden_size=4),
        make("MatMul", ["h", "K"], ["m"]),
        make("Add", ["m", "bias"], ["y"]),
    ]
    info, kind = onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
    inputs = [info("x", kind, ["time", 1, 3]), info("bias", kind, [1, 1, 2])]
    graph = onnx.helper.make_graph(nodes, "g", inputs, [info("y", kind, None)], stored, "a secret")
    opsets = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("com.evil", 1)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8, doc_string="a secret")
    model.metadata_props.add(key="a", value="secret")
    path.write_bytes(model.SerializeToString())
    return path


def test_only_what_was_read_reaches_onnxruntime(tmp_path):
    source = read_source(written(tmp_path / "m.onnx"))
    assert source.inputs == (("x", ("time", 1, 3)), ("bias", (1, 1, 2))) and source.is_sequence
    assert b"secret" not in source.content and b"evil" not in source.content


def test_same_as_onnxruntime_along_a_sequence(tmp_path):
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    path = written(tmp_path / "m.onnx")
    found = compare_with_source(path, read_model(path)[0], 5, seed=0)
    assert found.passed and found.error is not None, found.runner
    assert found.runner.startswith("onnxruntime ")
    other = compare_with_source(path, read_model(written(tmp_path / "o.onnx", 1))[0], 5, seed=0)
    assert not other.passed and other.error > 1e-3
    assert len(list(tmp_path.iterdir())) == 2
