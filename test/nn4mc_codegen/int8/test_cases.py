"""Real int8 networks that fell short once, kept beside the project: results and what they cost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nn4mc_codegen.compile import compile_model
from nn4mc_codegen.importers import read_model
from nn4mc_codegen.trial.host import HostCode, build_library
from nn4mc_codegen.trial.qemu import measure, missing_tools

MODELS = Path(__file__).resolve().parents[4] / "shared" / "cases" / "models"
# Most instructions of a step, a little above what they take, so that none becomes slower unseen.
# TensorFlow Lite Micro with CMSIS-NN takes 7.52 M of the first and 1.49 M of the second.
LIMITS = {
    "kws_mlperf_int8": 4_700_000,
    "micro_speech_int8": 700_000,
    "lenet_q": 420_000,
    "dscnn_q": 300_000,
}
# 27,648 inputs are more than the emulated chip has room for beside the samples.
NAMES = [*LIMITS, "vww_mlperf_int8"]


@pytest.fixture(params=NAMES)
def case(request) -> Path:
    path = MODELS / f"{request.param}.tflite"
    if not path.exists():
        pytest.skip(f"{path.name} is not in {MODELS}")
    return path


def test_results_are_those_of_tensorflow_lite(case, tmp_path):
    """Bit for bit those of the reference kernels, of inputs over the whole range."""
    lite = pytest.importorskip("tensorflow").lite
    interpreter = lite.Interpreter(
        str(case), experimental_op_resolver_type=lite.experimental.OpResolverType.BUILTIN_REF
    )
    interpreter.allocate_tensors()
    (given,), (made,) = interpreter.get_input_details(), interpreter.get_output_details()
    graph, _ = read_model(case)
    compile_model(case, tmp_path)
    build_library([tmp_path / "fk.c"], tmp_path / "fk.so", "-O2")
    x = np.random.default_rng(0).integers(-128, 128, (4, graph.input_size))
    x[1] = np.round(x[1] / 8)
    x[2:] = np.linspace(-128, 127, graph.input_size).astype(int) * np.array([[1], [-1]]) - 0
    x = x.clip(-128, 127)
    expected = []
    for row in x:
        if given["dtype"] == np.int8:
            tensor = row.astype(np.int8)
        else:
            tensor = graph.inputs[0].dequantize(row)
        interpreter.set_tensor(given["index"], tensor.reshape(given["shape"]))
        interpreter.invoke()
        y = interpreter.get_tensor(made["index"]).ravel()
        expected.append(y if made["dtype"] == np.int8 else graph.output.quantize(y))
    found = HostCode(tmp_path / "fk.so", tmp_path / "fk.h").run(x, "step_q")["y"]
    np.testing.assert_array_equal(found, expected)


def test_instructions(case, tmp_path):
    if case.stem not in LIMITS:
        pytest.skip(f"{case.stem} has no room on the emulated chip")
    if missing_tools():
        pytest.skip(missing_tools())
    graph, _ = read_model(case)
    compile_model(case, tmp_path)
    x = np.random.default_rng(1).normal(size=(2, graph.input_size)).astype(np.float32)
    measured = measure(tmp_path, "fk", x)
    np.testing.assert_array_equal(measured.outputs["y"], [graph.evaluate(row) for row in x])
    assert measured.instructions <= LIMITS[case.stem]
