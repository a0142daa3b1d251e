"""Real int8 networks that fell short once, kept beside the project: results and what they cost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nn4mc_codegen.compile import compile_model
from nn4mc_codegen.importers import read_model
from nn4mc_codegen.trial.chips import MPS2, STM32F405
from nn4mc_codegen.trial.host import HostCode, build_library
from nn4mc_codegen.trial.qemu import (
    compile_objects,
    measure,
    missing_tools,
    size_beyond_empty,
)

MODELS = Path(__file__).resolve().parents[4] / "shared" / "cases" / "models"
# Most instructions of a step, a little above what they take, so that none becomes slower unseen.
# TensorFlow Lite Micro with CMSIS-NN takes 7.52 M of the first, 1.49 M of the second and 624,839 of
# the last.
LIMITS = {
    "kws_mlperf_int8": 3_700_000,
    "micro_speech_int8": 620_000,
    "lenet_q": 340_000,
    "dscnn_q": 175_000,
    "vww_mlperf_int8": 11_600_000,
}
CHIPS = {"vww_mlperf_int8": MPS2}
"""Of 27,648 inputs, for which the smaller chip has no room beside the samples."""
FLOATS = {"lenet_q": "lenet.h5", "dscnn_q": "dscnn.h5"}
"""The same networks before they were quantised."""


@pytest.fixture(params=LIMITS)
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
    if missing_tools():
        pytest.skip(missing_tools())
    graph, _ = read_model(case)
    compile_model(case, tmp_path)
    x = np.random.default_rng(1).normal(size=(2, graph.input_size)).astype(np.float32)
    measured = measure(tmp_path, "fk", x, chip=CHIPS.get(case.stem, STM32F405))
    np.testing.assert_array_equal(measured.outputs["y"], [graph.evaluate(row) for row in x])
    assert measured.instructions <= LIMITS[case.stem]
    if case.stem in FLOATS:
        compile_model(MODELS / FLOATS[case.stem], tmp_path, "real", optimize="speed")
        assert measured.instructions < measure(tmp_path, "real", x).instructions


def test_size_is_below_onnx2c(tmp_path):
    """LeNet of onnx2c -O2 is 34,904 bytes by the same toolchain, with its weights; 34,720 here."""
    path = MODELS / "lenet.h5"
    if missing_tools() or not path.exists():
        pytest.skip(missing_tools() or f"{path.name} is not in {MODELS}")
    compile_model(path, tmp_path, optimize="size")
    objects = compile_objects(tmp_path, [tmp_path / "fk.c"], [f"-I{tmp_path}"])
    assert size_beyond_empty(tmp_path, objects, ["fk_step"], STM32F405).flash_bytes <= 34_904
