"""ONNX' own tests of its operators: what a file means here is what ONNX says it means.

Those of the poolings take six seconds to make, and the C of all of them two minutes: both are left
to `make onnx`, which also says that docs/onnx.md counts and names them as they are.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import re
import warnings
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from nn4mc_codegen.graph.check import ModelError

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
node_tests = importlib.import_module("onnx.backend.test.case.node")
importer = importlib.import_module("nn4mc_codegen.importers.onnx")
onnx_file = importlib.import_module("nn4mc_codegen.importers.onnx_file")
onnx_reader = importlib.import_module("nn4mc_codegen.importers.onnx_reader")

ALL = bool(os.environ.get("ONNX_ALL"))
SLOW = ("averagepool", "maxpool")
PAGE = Path(__file__).resolve().parents[3] / "docs" / "onnx.md"
TOLERANCE = 2e-6
# Its expected numbers are written with four digits.
FEW_DIGITS = {"test_averagepool_2d_ceil_last_window_starts_on_pad": 1e-4}
MOST_ELEMENTS = 12_000
"""Of an input or output of which C is made; the four larger ones fit no microcontroller"""
# Which inputs are weights, indices or limits: constants of the file in every network.
CONSTANT = {
    **dict.fromkeys(("Clip", "Conv", "Dropout", "Gemm", "LayerNormalization"), (1, 2)),
    **dict.fromkeys(("GRU", "LSTM", "RNN"), (1, 2, 3, 4, 7)),
    **dict.fromkeys(("Slice", "Pad"), (1, 2, 3, 4)),
    **dict.fromkeys(("Reshape", "Squeeze", "Unsqueeze", "Split", "Gather", "Expand", "Tile"), (1,)),
    **dict.fromkeys(("ReduceMean", "ReduceSum", "Pow", "PRelu"), (1,)),
    "BatchNormalization": (1, 2, 3, 4),
}
# Of the tests of the operators that are read: what is not, by what the refusal says.
LEFT_OUT = {
    "training": r"is in training mode",
    "peepholes": r"has peepholes",
    "masks and indices beside the result": r"has more than the 1 output",
    "padding with copies": r"has mode",
    "sequences and optional values": r"is no tensor",
    "opsets below 13": r"is of opset",
    "tensors without elements": r"has extent 0|of size 0",
    "numbers of another type than float32": r"is an input of|is of type|to type",
}


def cases() -> list:
    """Of one node each, of an operator that is read."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy's, about what the tests divide by
        if ALL:
            found = node_tests.collect_testcases(None)
        else:  # what that function does, for some of the modules alone
            names = {kind.lower() for kind in importer.OPERATORS} - set(SLOW)
            for module in pkgutil.iter_modules(node_tests.__path__):
                if module.name.replace("_", "") in names:
                    importlib.import_module(f"{node_tests.__name__}.{module.name}")
            found = node_tests._NodeTestCases
    nodes = [(case, case.model.graph.node) for case in found]
    return [c for c, n in nodes if len(n) == 1 and n[0].op_type in importer.OPERATORS]


def bound(case, names: set[str]) -> tuple:
    """The model with these inputs as constants, the others' values and the expected outputs."""
    model = type(case.model)()
    model.CopyFrom(case.model)
    given, expected = case.data_sets[0]
    values = []
    for declared, value in zip(case.model.graph.input, given, strict=True):
        if not declared.type.HasField("tensor_type"):
            raise ModelError(f"{declared.name} is no tensor")
        tensor = value
        if not isinstance(value, onnx.TensorProto):
            tensor = onnx.numpy_helper.from_array(np.asarray(value), declared.name)
        if declared.name in names:
            model.graph.initializer.add().CopyFrom(tensor)
            model.graph.initializer[-1].name = declared.name
        else:
            values.append(onnx.numpy_helper.to_array(tensor))
    return model, values, [_array(value) for value in expected]


def _array(value) -> np.ndarray:
    return np.asarray(
        onnx.numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value
    )


def as_network(case) -> tuple:
    """Its graph, the flat input and the flat output."""
    (node,) = case.model.graph.node
    names = {node.input[k] for k in CONSTANT.get(node.op_type, ()) if k < len(node.input)}
    model, values, expected = bound(case, names)
    graph = importer.read(model.SerializeToString())
    x = np.concatenate([v.ravel() for v in values])
    return graph, x, np.concatenate([e.ravel() for e in expected])


def require_same_constants(case) -> None:
    """The operator on constants alone, as it is folded."""
    model, _, expected = bound(case, {i.name for i in case.model.graph.input})
    file = onnx_file.OnnxFile(model.SerializeToString())
    reader = onnx_reader.Reader(file, importer.OPERATORS, {}, carries=False)
    try:
        reader.graph()
    except ModelError as refused:  # of an output that is constant, when all has been read
        if "no input has a say" not in str(refused):
            raise
    for name, wanted in zip(file.outputs, expected, strict=True):
        found = reader.values[name]
        assert found.dtype == wanted.dtype and found.shape == wanted.shape, case.name
        np.testing.assert_allclose(found, wanted, rtol=case.rtol, atol=case.atol)


@pytest.fixture(scope="module")
def sorted_cases() -> tuple[dict, list[str], dict[str, list[str]]]:
    """Networks by the test's name, names of those on constants, and refusals."""
    networks, constants, refused = {}, [], defaultdict(list)
    for case in cases():
        try:
            networks[case.name] = as_network(case)
        except ModelError as first:
            try:
                require_same_constants(case)
                constants.append(case.name)
            except ModelError as second:
                refused[_reason(case.name, f"{first}; {second}")].append(case.name)
    return networks, constants, dict(refused)


def _reason(name: str, message: str) -> str:
    found = [r for r, pattern in LEFT_OUT.items() if re.search(pattern, message)]
    assert found, f"{name}: {message}"
    return found[0]


def error_of(name: str, found: np.ndarray, expected: np.ndarray) -> float:
    """Relative to the largest number or to 1, in units of the tolerance."""
    assert found.shape == expected.shape, name
    scale = max(1.0, float(np.max(np.abs(expected))))
    error = float(np.max(np.abs(found - expected))) / scale
    return error / FEW_DIGITS.get(name, TOLERANCE)


def test_meaning_is_that_of_onnx(sorted_cases):
    networks, constants, _ = sorted_cases
    assert len(networks) > 200 and len(constants) > 50
    for name, (graph, x, expected) in networks.items():
        assert error_of(name, graph.evaluate(x), expected) <= 1.0, name


@pytest.mark.skipif(not ALL, reason="with `make onnx`")
def test_c_is_that_of_onnx(sorted_cases, compile_graphs):
    networks, _, _ = sorted_cases
    small = {
        name: found
        for name, found in networks.items()
        if max(found[0].input_size, found[0].output.size) <= MOST_ELEMENTS
    }
    assert len(networks) - len(small) == 8
    codes = compile_graphs([(graph, ()) for graph, _, _ in small.values()])
    for (name, (_, x, expected)), code in zip(small.items(), codes, strict=True):
        assert error_of(name, code.step(x.astype(np.float32)), expected) <= 1.0, name


@pytest.mark.skipif(not ALL, reason="with `make onnx`")
def test_page_counts_and_names_them(sorted_cases):
    networks, constants, refused = sorted_cases
    page = PAGE.read_text(encoding="utf-8")
    left_out = sum(map(len, refused.values()))
    total = len(networks) + len(constants) + left_out
    sentence = (
        f"Of {total} tests {len(networks)} pass as networks and {len(constants)} as constants that "
        f"are folded; {left_out} are left out."
    )
    assert sentence in " ".join(page.split()), sentence
    for reason, names in refused.items():
        short = sorted(n.removeprefix("test_") for n in names)
        casts = [n for n in short if n.startswith("cast")]
        listed = [n for n in short if n not in casts]
        listed += [f"{len(casts)} of cast_… and castlike_…"] if casts else []
        row = f"| {reason} | {len(names)} | {', '.join(listed)} |"
        assert row in page, row
