"""LSTM layers in int8: every byte that TensorFlow Lite's reference kernels give, in NumPy and in C.

Files are made by hand, with scales and weights that reach what a converter's seldom do; a file of
the converter itself is in test_tflite_operators.py.
"""

from __future__ import annotations

import os

import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
tf = pytest.importorskip("tensorflow")

from nn4mc_codegen.compile import emit_graph  # noqa: E402
from nn4mc_codegen.graph.check import ModelError  # noqa: E402
from nn4mc_codegen.graph.options import Options  # noqa: E402
from nn4mc_codegen.importers import read_model, tflite  # noqa: E402
from nn4mc_codegen.int8 import curves  # noqa: E402
from nn4mc_codegen.ops.activation import Activation  # noqa: E402
from nn4mc_codegen.ops.recurrent import LSTM  # noqa: E402
from nn4mc_codegen.trial.qemu import measure, missing_tools  # noqa: E402
from nn4mc_codegen.trial.reference import compare_with_source  # noqa: E402

from .tflite_interpreter import (  # noqa: E402
    Interpreter,
    add_tensor,
    changed,
    of_function,
    operator_of,
    same_in_c,
    schema,
)

pytestmark = pytest.mark.filterwarnings("ignore")  # TensorFlow's own, of which there are many

KIND = "UNIDIRECTIONAL_SEQUENCE_LSTM"
RANDOM = np.random.default_rng(11)


def quantised(model, index: int, scale: float, zero: int = 0) -> int:
    """A tensor of the file with a scale and a zero point."""
    how = model.subgraphs[0].tensors[index].quantization = schema.QuantizationParametersT()
    how.scale, how.zeroPoint = [np.float32(scale)], [zero]
    return index


def add_lstm(model, x: int, x_scale: float, steps: int, sizes: tuple[int, int], fraction: int):
    """One more layer of (inputs, units) behind the tensor x, whose cell state has so many bits
    below 1; the tensor of its result and that one's scale."""
    (inputs, units), graph = sizes, model.subgraphs[0]
    h_scale, zero = 1 / RANDOM.integers(128, 400), int(RANDOM.integers(-60, 60))

    def weights(columns: int) -> int:
        q = RANDOM.integers(-127, 128, (units, columns)).astype(np.int8)
        index = add_tensor(model, "INT8", q, q.shape)
        # Factors to gates on either side of 1, arguments that pass their range now and then.
        return quantised(model, index, RANDOM.uniform(0.2, 2.5) / np.sqrt(columns) / 30)

    def bias() -> int:
        q = RANDOM.integers(-9000, 9000, units).astype(np.int32)
        return quantised(model, add_tensor(model, "INT32", q, [units]), 1e-4)

    def state(kind: str, scale: float, zero: int) -> int:
        index = quantised(model, add_tensor(model, kind, None, [1, units]), scale, zero)
        graph.tensors[index].isVariable = True
        return index

    operator = schema.OperatorT()
    operator.inputs = [x, *(weights(inputs) for _ in "ifko"), *(weights(units) for _ in "ifko")]
    operator.inputs += [-1, -1, -1, *(bias() for _ in "ifko"), -1, -1]
    operator.inputs += [state("INT8", h_scale, zero), state("INT16", 2.0**-fraction, 0)]
    operator.inputs += [-1] * 4
    operator.outputs = [add_tensor(model, "INT8", None, [1, steps, units])]
    hidden = add_tensor(model, "INT8", None, [0])
    operator.intermediates = [add_tensor(model, "FLOAT32", None, [0]) for _ in range(4)] + [hidden]
    for index in (operator.outputs[0], hidden):
        quantised(model, index, h_scale, zero)
    operator.builtinOptionsType = schema.BuiltinOptions.UnidirectionalSequenceLSTMOptions
    options = operator.builtinOptions = schema.UnidirectionalSequenceLSTMOptionsT()
    options.fusedActivationFunction = schema.ActivationFunctionType.TANH
    options.cellClip = 10.0
    graph.operators.append(operator)
    return operator.outputs[0], h_scale


def lstm_file(steps: int, inputs: int, layers: dict[int, int]) -> bytes:
    """Layers in a row: of each the fractional bits of its cell state, and its units."""

    def change(model):
        graph = model.subgraphs[0]
        graph.operators, model.signatureDefs = [], None
        kind = getattr(schema.BuiltinOperator, KIND)
        model.operatorCodes[0].builtinCode = model.operatorCodes[0].deprecatedBuiltinCode = kind
        x, scale, size = graph.inputs[0], 0.02, inputs
        graph.tensors[x].type = schema.TensorType.INT8
        quantised(model, x, scale, -5)
        for fraction, units in layers.items():
            x, scale = add_lstm(model, x, scale, steps, (size, units), fraction)
            size = units
        graph.outputs = [x]

    return changed(of_function(lambda x: tf.reverse(x, (1,)), (1, steps, inputs)), change)


def extremes(size: int, count: int) -> np.ndarray:
    """int8 inputs, among them the lowest and the highest."""
    x = RANDOM.integers(-128, 128, (count, size))
    x[3:6], x[6:9] = 127, -128
    return x


# Cell states of every fraction that there is a tanh for; rows of up to 64 elements, and of more.
STEP = {15: 6, 14: 3, 13: 9, 12: 70}
WINDOW = {11: 67, 10: 4, 9: 5, 14: 1}


@pytest.mark.parametrize(
    ("layers", "optimize"),
    [
        (STEP, "speed"),
        (WINDOW, "size"),
        pytest.param(STEP, "size", marks=pytest.mark.long),
        pytest.param(WINDOW, "speed", marks=pytest.mark.long),
    ],
    ids=["step, speed", "window, size", "step, size", "window, speed"],
)
def test_it_is_that_of_the_reference_kernels(layers, optimize, origin, tmp_path):
    steps = 1 if layers is STEP else 5
    content = lstm_file(steps, 7, layers)
    graph, interpreter = tflite.read(content), Interpreter(content, reference=True)
    assert graph.state_size == (2 * sum(layers.values()) if steps == 1 else 0)
    x = extremes(graph.input_size, 80)
    resets = np.isin(np.arange(len(x)), [0, 40]) if steps == 1 else np.ones(len(x), bool)
    expected, meant, state = [], [], None
    for row, reset in zip(x, resets, strict=True):
        if reset:
            interpreter.reset()
        expected.append(interpreter(row))
        y, state = graph.step_q(row, None if reset else state)
        meant.append(y)
    assert len(np.unique(expected)) > 50
    np.testing.assert_array_equal(meant, expected)
    again = resets if steps == 1 else None
    same_in_c(graph, x, expected, origin, tmp_path, resets=again, optimize=optimize)


@pytest.mark.long
def test_verify_carries_the_state_as_the_interpreter_does(tmp_path):
    path = tmp_path / "m.tflite"
    path.write_bytes(lstm_file(1, 5, {14: 6}))
    found = compare_with_source(path, read_model(path)[0], 40, seed=0)
    assert found.error == 0 and found.passed, found.runner


def same_from_zeros(content: bytes) -> None:
    """Each sequence begins with a state of zeros."""
    graph, interpreter = tflite.read(content), Interpreter(content, reference=True)
    for row in extremes(graph.input_size, 30):
        interpreter.reset()
        np.testing.assert_array_equal(graph.evaluate_q(row), interpreter(row))


@pytest.mark.parametrize("clip", [0.0, 0.25, 1e-7])
def test_clipped_cell_states(clip):
    """A clip of less than a step of c is none to the interpreter."""

    def change(model):
        operator_of(model, KIND).builtinOptions.cellClip = clip

    same_from_zeros(changed(lstm_file(8, 3, {14: 5}), change))


def test_time_axis_in_front():
    """The samples of an input come first: it is turned before the sequence begins."""

    def change(model):
        graph, operator = model.subgraphs[0], operator_of(model, KIND)
        operator.builtinOptions.timeMajor = True
        turned = operator.inputs[0]
        graph.tensors[turned].shape = [6, 1, 3]
        graph.tensors[operator.outputs[0]].shape = [6, 1, 5]
        given = quantised(model, add_tensor(model, "INT8", None, [1, 6, 3]), 0.02, -5)
        turn, code = schema.OperatorT(), schema.OperatorCodeT()
        turn.inputs = [given, add_tensor(model, "INT32", np.int32([1, 0, 2]), [3])]
        turn.outputs, graph.inputs = [turned], [given]
        code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.TRANSPOSE
        turn.opcodeIndex = len(model.operatorCodes)
        model.operatorCodes.append(code)
        graph.operators.insert(0, turn)

    same_from_zeros(changed(lstm_file(6, 3, {14: 5}), change))


def test_tables_are_the_curves():
    """Every argument; and the curves are near what they stand for: 12 steps of 2^-15 at most, the
    noise of their arithmetic, as measured in November 2026."""
    for wholes in ([3], [3, 2], [3, 1]):
        table = curves.table(wholes)
        for whole in wholes:
            u = np.arange(curves.END + 1)
            entries = table.entries[whole][u // curves.BLOCK]
            found = (entries >> 16) + table.rests[(entries & 0xFFFF) + u % curves.BLOCK]
            np.testing.assert_array_equal(found, curves.curve(whole))
        assert table.rests.max() < 128 and len(table.rests) < 1 << 16
    x = np.arange(-(1 << 15), 1 << 15)
    errors = [
        curves.tanh(x, whole) - np.tanh(x * 2.0 ** (whole - 15)) * 2**15 for whole in range(7)
    ]
    errors.append(curves.logistic(x) - 2**15 / (1 + np.exp(-x / 2**12)))
    assert 8 < np.abs(errors).max() < 12.5


def test_tail_of_the_curve():
    """Beyond 8 the arguments of tanh, twice what they were, meet a few steps."""
    u = np.arange(curves.END, 2 * curves.END + 1, 2)
    found = np.full(len(u), curves.curve(3)[-1])
    for at, rise in curves.tail():
        found += rise * (u >= at)
    np.testing.assert_array_equal(found, curves.curve(4)[u // 2])
    for whole in (5, 6, 7):
        assert np.all(curves.curve(whole)[(2 * curves.END) >> (whole - 3) :] == found[-1])


def other_scale(model, operator, position):
    quantised(model, operator.inputs[position], 0.001)


def other_activation(model, operator, kind):
    operator.builtinOptions.fusedActivationFunction = kind


def low_weight(model, operator, position):
    index = model.subgraphs[0].tensors[operator.inputs[position]].buffer
    model.buffers[index].data = np.full(len(model.buffers[index].data), 128, np.uint8)


def in_place_of(model, operator, place):
    position, value = place
    inputs = list(operator.inputs)
    inputs[position] = value if value < 0 else inputs[value]
    operator.inputs = inputs


def no_intermediates(model, operator, _):
    operator.intermediates = None


@pytest.mark.parametrize(
    ("change", "value", "words"),
    [
        (in_place_of, (1, -1), "couples its input gate"),
        (in_place_of, (9, 12), "has peepholes"),
        (in_place_of, (16, 1), "has a projection"),
        (in_place_of, (20, 12), "has a normalisation"),
        (in_place_of, (12, -1), "lacks an input"),
        (in_place_of, (5, -1), "lacks an input"),
        (in_place_of, (18, -1), "lacks a state"),
        (in_place_of, (18, 0), "begins with a state that it is given"),
        (in_place_of, (19, 18), "has a cell state of INT8"),
        (in_place_of, (6, 1), "has an array of shape"),
        (in_place_of, (12, 1), "has a bias of int8"),
        (other_scale, 18, "has its state in another scale than its result"),
        (other_scale, 19, "which is no power of two"),
        (other_activation, schema.ActivationFunctionType.RELU, "has the activation RELU in int8"),
        (low_weight, 2, "has a weight of -128"),
        (no_intermediates, None, "does not say what its h is.*with a representative dataset"),
    ],
)
def test_what_is_refused(change, value, words):
    def apply(model):
        change(model, operator_of(model, KIND), value)

    with pytest.raises(ModelError, match=words):
        tflite.read(changed(lstm_file(4, 3, {14: 4}), apply))


@pytest.mark.parametrize(
    ("scale", "position", "words"),
    [(2.0**-5, 19, "has a cell state of scale 2\\^-5"), (1e4, 1, "moves by 1/32")],
)
def test_scales_that_are_refused(scale, position, words):
    def change(model):
        quantised(model, operator_of(model, KIND).inputs[position], scale)

    with pytest.raises(ModelError, match=words):
        tflite.read(changed(lstm_file(4, 3, {14: 4}), change))


def test_damaged_files():
    content, read = lstm_file(4, 3, {14: 4, 13: 2}), 0
    for _ in range(150):
        damaged = np.frombuffer(content, np.uint8).copy()
        places = RANDOM.integers(8, len(content), RANDOM.integers(1, 5))
        damaged[places] = RANDOM.choice([0, 1, 127, 128, 255])
        try:
            tflite.read(damaged.tobytes())
            read += 1
        except ModelError as error:
            assert "\n" not in str(error)
    assert 10 < read < 145  # of either kind enough


# Instructions of a step as measured in November 2026 with gcc 12.2: of 16 inputs and 16 units
# float32 takes 4940 balanced, int8 the first limit less some; of 32 units 12577.
@pytest.mark.parametrize(
    ("units", "limit"), [(16, 4500), pytest.param(32, 10_050, marks=pytest.mark.long)]
)
def test_faster_than_float32(build, origin, tmp_path, units, limit):
    if missing_tools():
        pytest.skip(missing_tools())
    b = build()
    weights = [RANDOM.normal(0, 0.3, (n, 4 * units)).astype(np.float32) for n in (16, units)]
    bias = np.zeros(4 * units, np.float32)
    op = LSTM(*weights, bias, Activation("tanh"), Activation("sigmoid"))
    graphs = {
        "real": b.graph(b.apply(op, b.input(16))),
        "net": tflite.read(lstm_file(1, 16, {14: units})),
    }
    x, found = RANDOM.normal(size=(20, 16)).astype(np.float32), {}
    for name, graph in graphs.items():
        for file, text in emit_graph(graph, Options(name), origin).texts.items():
            (tmp_path / file).write_text(text, encoding="utf-8")
        found[name] = measure(tmp_path, name, x).instructions
    assert found["net"] < found["real"] and found["net"] <= limit
