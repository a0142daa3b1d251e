"""Operators and kinds of weights of `.tflite` files, against TensorFlow Lite's interpreter.

Networks of whole layers are in test_against_tflite.py; here each operator is alone, or nearly so.
"""

from __future__ import annotations

import os

import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
tf = pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")

from nn4mc_codegen.graph.check import ModelError  # noqa: E402
from nn4mc_codegen.importers import read_model, tflite  # noqa: E402
from nn4mc_codegen.importers.tflite_file import File  # noqa: E402
from nn4mc_codegen.importers.tflite_wide import split_channels, split_rows  # noqa: E402
from nn4mc_codegen.ops.windows import Windows  # noqa: E402
from nn4mc_codegen.trial.reference import compare_with_source  # noqa: E402

from .tflite_interpreter import (  # noqa: E402
    Interpreter,
    add_tensor,
    changed,
    converted,
    of_function,
    operator_of,
    same_in_c,
    schema,
    set_constant,
)

pytestmark = pytest.mark.filterwarnings("ignore")  # TensorFlow's own, of which there are many

L = keras.layers
# Both sides sum in float32, in different orders; outputs are of order 1.
OUTPUT_TOLERANCE = 2e-6
SAMPLES = 10
RANDOM = np.random.default_rng(7)


def normal(*shape, scale=1.0):
    return RANDOM.normal(0.0, scale, shape).astype(np.float32)


def kinds(content: bytes) -> set[str]:
    return {operator.kind for operator in File(content).operators}


# ---------------------------------------------------------------------------- float32 operators

ROWS = normal(3, 1, 5)
NORMALISATION = L.LayerNormalization(epsilon=0.1)
NORMALISATION.build((1, 3, 8))


def apart(parts):
    """Of the first and the last part, so that any between them are read by nobody."""
    return tf.concat([tf.tanh(parts[-1]), parts[0]], axis=-1)


FUNCTIONS = {
    "transposed": ("TRANSPOSE", [(1, 3, 4, 5)], lambda x: tf.transpose(x, (0, 3, 1, 2))),
    "transposed_batch": ("TRANSPOSE", [(1, 3, 4, 5)], lambda x: tf.transpose(x, (2, 1, 0, 3))),
    "part": ("STRIDED_SLICE", [(1, 6, 4, 5)], lambda x: x[:, 1:-1, ::2, 3]),
    "backwards": ("STRIDED_SLICE", [(1, 6, 4)], lambda x: x[:, 4:0:-2, ::-1]),
    "ellipsis": ("STRIDED_SLICE", [(1, 6, 4, 5)], lambda x: x[..., tf.newaxis, -3:-1]),
    "one_row": ("STRIDED_SLICE", [(1, 6, 4)], lambda x: x[:, -1]),
    "beyond": ("STRIDED_SLICE", [(1, 6, 4)], lambda x: x[:, -9:3, 2:99]),
    "turned": ("REVERSE_V2", [(1, 6, 4)], lambda x: tf.reverse(x, (1, -1))),
    "split": ("SPLIT", [(1, 6, 4)], lambda x: apart(tf.split(x, 3, axis=1))),
    "split_channels": ("SPLIT", [(1, 6, 4)], lambda x: apart(tf.split(x, 2, axis=-1))),
    "unpacked": ("UNPACK", [(1, 3, 4)], lambda x: apart(tf.unstack(x, axis=2))),
    "minus": ("SUB", [(1, 3, 4, 5), (1, 3, 1, 5)], lambda a, b: a - b),
    "minus_rows": ("SUB", [(1, 3, 4, 5)], lambda x: ROWS - x),
    "minus_channels": ("SUB", [(1, 3, 5)], lambda x: tf.nn.relu(x - ROWS[0, 0])),
    "distance": (
        "SQUARED_DIFFERENCE",
        [(1, 3, 4), (1, 3, 4)],
        lambda a, b: tf.math.squared_difference(a, b),
    ),
    "distance_rows": (
        "SQUARED_DIFFERENCE",
        [(1, 3, 4, 5)],
        lambda x: tf.math.squared_difference(x, tf.reduce_mean(x, axis=2, keepdims=True)),
    ),
    "normalised": ("RSQRT", [(1, 3, 8)], lambda x: NORMALISATION(x)),
    "quotient": ("DIV", [(1, 4), (1, 4)], lambda a, b: a / (1.0 + b * b)),
    "roots": ("SQRT", [(1, 4)], lambda x: tf.sqrt(1.0 + tf.abs(x)) - tf.maximum(x, -0.3)),
    "sums": ("SUM", [(1, 3, 4, 5)], lambda x: tf.minimum(tf.reduce_sum(x, axis=(1, 3)), 2.0)),
}


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return {
        name: of_function(function, *shapes) for name, (_, shapes, function) in FUNCTIONS.items()
    }


@pytest.mark.parametrize("name", FUNCTIONS)
def test_operators_in_float32(files, name):
    kind, content = FUNCTIONS[name][0], files[name]
    assert kind in kinds(content)
    graph, interpreter = tflite.read(content), Interpreter(content, reference=False)
    for x in normal(SAMPLES, graph.input_size):
        expected = interpreter(x)
        np.testing.assert_allclose(
            graph.evaluate(x), expected, rtol=0, atol=OUTPUT_TOLERANCE * max(1, np.abs(x).max())
        )


def test_operators_in_c(files, compile_graphs):
    graphs = list(map(tflite.read, files.values()))
    for graph, code in zip(graphs, compile_graphs([(g, "all") for g in graphs]), strict=True):
        for x in normal(3, graph.input_size):
            y, jacobian = code.jacobian(x)
            meant = graph.jacobian(x.astype(np.float64))
            np.testing.assert_allclose(y, graph.evaluate(x), rtol=0, atol=1e-5)
            # Relative to the largest entry: a few roundings more than the values.
            atol = 1e-5 * max(1.0, np.abs(meant).max())
            np.testing.assert_allclose(jacobian, meant, rtol=0, atol=atol)


# ---------------------------------------------------------------------------- LSTM


STEPS, UNITS = 6, 4


def lstm_file(steps: int) -> bytes:
    """Two layers one after the other, as the converter writes those of Keras 2 (see the long test);
    weights of a size that makes gates move."""

    def change(model):
        graph = model.subgraphs[0]
        graph.operators, model.signatureDefs = [], None
        code = model.operatorCodes[0]
        kind = schema.BuiltinOperator.UNIDIRECTIONAL_SEQUENCE_LSTM
        code.builtinCode = code.deprecatedBuiltinCode = kind
        (x,) = graph.inputs

        def array(*shape):
            return add_tensor(model, "FLOAT32", normal(*shape, scale=0.7), shape)

        def state():
            index = add_tensor(model, "FLOAT32", None, [1, UNITS])
            graph.tensors[index].isVariable = True
            return index

        for size in (3, UNITS):
            operator = schema.OperatorT()
            kernels = [array(UNITS, size) for _ in range(4)] + [array(UNITS, UNITS) for _ in "ifco"]
            biases = [array(UNITS) for _ in "ifco"]
            operator.inputs = [x, *kernels, -1, -1, -1, *biases, -1, -1, state(), state()]
            operator.inputs += [-1] * 4
            x = add_tensor(model, "FLOAT32", None, [1, steps, UNITS])
            operator.outputs = [x]
            name = "UnidirectionalSequenceLSTMOptions"
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, name)
            options = operator.builtinOptions = schema.UnidirectionalSequenceLSTMOptionsT()
            options.fusedActivationFunction = schema.ActivationFunctionType.TANH
            options.cellClip = 10.0
            graph.operators.append(operator)
        graph.outputs = [x]

    return changed(of_function(lambda x: tf.reverse(x, (1,)), (1, steps, 3)), change)


@pytest.fixture(scope="module")
def lstm_window() -> bytes:
    return lstm_file(STEPS)


@pytest.fixture(scope="module")
def lstm_step() -> bytes:
    return lstm_file(1)


def of_window(content: bytes, x: np.ndarray) -> np.ndarray:
    """From a state of zeros, as the Keras model begins."""
    interpreter = Interpreter(content, reference=False)
    found = []
    for row in x:
        interpreter.reset()
        found.append(interpreter(row))
    return np.array(found)


def test_lstm_of_a_whole_sequence(lstm_window):
    graph = tflite.read(lstm_window)
    assert graph.state_size == 0
    x = normal(SAMPLES, graph.input_size)
    meant = [graph.evaluate(row) for row in x]
    np.testing.assert_allclose(meant, of_window(lstm_window, x), rtol=0, atol=OUTPUT_TOLERANCE)


@pytest.mark.long
@pytest.mark.parametrize("kind", ["window", "step", "both_ways_in_half_precision", "quantised"])
def test_lstm_of_keras_2(kind, origin, tmp_path):
    """Its conversion takes five to ten seconds."""
    k2 = pytest.importorskip("tf_keras")
    steps = 1 if kind == "step" else STEPS
    last = k2.layers.LSTM(UNITS)
    if kind == "both_ways_in_half_precision":
        last = k2.layers.Bidirectional(last)
    first = k2.layers.LSTM(UNITS, return_sequences=True)
    layers = [k2.layers.Input(batch_shape=(1, steps, 3)), first, last]
    if kind == "quantised":
        layers.append(k2.layers.Dense(2))
    model = k2.Sequential(layers)
    model.set_weights([normal(*w.shape, scale=0.7) for w in model.get_weights()])
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if kind in ("both_ways_in_half_precision", "quantised"):
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if kind == "both_ways_in_half_precision":
        converter.target_spec.supported_types = [tf.float16]
    if kind == "quantised":
        content = in_int8(converter, (1, steps, 3))
        graph, interpreter = tflite.read(content), Interpreter(content, reference=True)
        x, expected = RANDOM.integers(-128, 128, (5 * SAMPLES, graph.input_size)), []
        for row in x:
            interpreter.reset()
            expected.append(interpreter(row))
        np.testing.assert_array_equal([graph.evaluate_q(row) for row in x], expected)
        same_in_c(graph, x, expected, origin, tmp_path)
        return
    content = converted(converter)
    graph = tflite.read(content)
    assert graph.state_size == (4 * UNITS if kind == "step" else 0)
    x = normal(SAMPLES, graph.input_size)
    meant = [graph.evaluate(row) for row in x]
    np.testing.assert_allclose(meant, of_window(content, x), rtol=0, atol=OUTPUT_TOLERANCE)
    if kind == "window":
        keras_says = model.predict(x.reshape(-1, 1, steps, 3)[0], verbose=0).ravel()
        np.testing.assert_allclose(meant[0], keras_says, rtol=0, atol=OUTPUT_TOLERANCE)


def test_lstm_of_one_step_carries_its_state(lstm_step, compile_graphs):
    """As the interpreter does from call to call; NAME_reset is its reset_all_variables."""
    graph, interpreter = tflite.read(lstm_step), Interpreter(lstm_step, reference=False)
    assert graph.state_size == 16
    x = normal(30, graph.input_size)
    expected = [interpreter(row) for row in x]
    interpreter.reset()
    expected += [interpreter(row) for row in x[:5]]
    whole = np.vstack([x, x[:5]])
    (code,) = compile_graphs([(graph, {})])
    found = code.run(whole, resets=np.arange(35) == 30)["y"]
    np.testing.assert_allclose(found, expected, rtol=0, atol=OUTPUT_TOLERANCE)
    assert np.abs(found[30:] - found[:5]).max() < 1e-7 < np.abs(found[1] - found[0]).max()


@pytest.mark.long
@pytest.mark.parametrize("kind", ["window", "step", "uint8"])
def test_verify_runs_the_interpreter_as_it_means_the_file(kind, lstm_window, lstm_step, tmp_path):
    """From zeros each time, or from call to call; and bytes as it takes them."""
    content = lstm_window if kind == "window" else lstm_step
    path = tmp_path / "m.tflite"
    path.write_bytes(in_uint8(uint8_windows) if kind == "uint8" else content)
    found = compare_with_source(path, read_model(path)[0], 10, seed=0)
    assert found.error is not None and found.passed, found.runner
    if kind == "uint8":
        assert found.error == 0


@pytest.mark.parametrize("clip,fused", [(0.3, "TANH"), (10.0, "RELU"), (0.3, "RELU6")])
def test_lstm_that_clips_its_state(lstm_window, lstm_step, clip, fused):
    """The converter always writes 10 and tanh; the interpreter takes others."""

    def change(model):
        for operator in model.subgraphs[0].operators[:2]:
            operator.builtinOptions.cellClip = clip
            kind = getattr(schema.ActivationFunctionType, fused)
            operator.builtinOptions.fusedActivationFunction = kind

    for content in (changed(lstm_window, change), changed(lstm_step, change)):
        graph = tflite.read(content)
        x = normal(12, graph.input_size, scale=2.0)
        if graph.states:
            interpreter = Interpreter(content, reference=False)
            expected, (meant, _) = [interpreter(row) for row in x], graph.run(x)
        else:
            expected, meant = of_window(content, x), [graph.evaluate(row) for row in x]
        scale = max(1.0, np.abs(meant).max())
        np.testing.assert_allclose(meant, expected, rtol=0, atol=OUTPUT_TOLERANCE * scale)


def test_fewer_steps_than_the_clip_need_none(lstm_window, lstm_step):
    clips = [
        {getattr(getattr(n.op, "cell", n.op), "cell_clip", None) for n in tflite.read(c).nodes}
        for c in (lstm_window, lstm_step)
    ]
    assert clips == [{None, 0.0}, {None, 10.0}]


def test_lstm_with_the_time_axis_in_front(lstm_window):
    """As `time_major` says; then the sequence alone is the output."""

    def change(model):
        graph = model.subgraphs[0]
        graph.operators = graph.operators[:2]
        for operator in graph.operators:
            operator.builtinOptions.timeMajor = True
        ends = [graph.operators[0].inputs[0], *(o.outputs[0] for o in graph.operators)]
        for index in ends:
            _, steps, size = graph.tensors[index].shape
            graph.tensors[index].shape = [steps, 1, size]
        graph.outputs = [ends[-1]]
        model.signatureDefs = None

        # The samples of an input come first: it is turned before the sequence begins.
        turn = schema.OperatorT()
        given = add_tensor(model, "FLOAT32", None, [1, 6, 3])
        turn.inputs = [given, add_tensor(model, "INT32", np.int32([1, 0, 2]), [3])]
        turn.outputs, graph.inputs = [graph.inputs[0]], [given]
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.TRANSPOSE
        turn.opcodeIndex = len(model.operatorCodes)
        model.operatorCodes.append(code)
        graph.operators.insert(0, turn)

    content = changed(lstm_window, change)
    graph = tflite.read(content)
    x = normal(SAMPLES, graph.input_size)
    meant = [graph.evaluate(row) for row in x]
    np.testing.assert_allclose(meant, of_window(content, x), rtol=0, atol=OUTPUT_TOLERANCE)


@pytest.mark.parametrize(
    ("position", "value", "words"),
    [
        (1, -1, "couples its input gate"),
        (9, 12, "has peepholes"),
        (16, 1, "has a projection"),
        (20, 12, "has a normalisation"),
        (12, -1, "lacks an input"),
        (18, -1, "lacks a state"),
        (18, 0, "begins with a state that it is given"),
        (5, 1, "has an array of shape"),
    ],
)
def test_other_lstms_are_refused(lstm_window, position, value, words):
    def change(model):
        operator = operator_of(model, "UNIDIRECTIONAL_SEQUENCE_LSTM")
        inputs = list(operator.inputs)
        # A position of the operator names the tensor that stands there.
        inputs[position] = value if value < 0 else inputs[value]
        operator.inputs = inputs

    with pytest.raises(ModelError, match=words):
        tflite.read(changed(lstm_window, change))


def test_loops_of_keras_3_are_refused_with_a_way_out():
    model = keras.Sequential([L.Input(batch_shape=(1, 6, 3)), L.LSTM(4), L.Dense(2)])
    with pytest.raises(ModelError, match="WHILE is a loop.*; compile the Keras file instead"):
        tflite.read(converted(tf.lite.TFLiteConverter.from_keras_model(model)))


# ---------------------------------------------------------------------------- kinds of weights


def convolutional():
    return keras.Sequential(
        [
            L.Input((9, 8, 4)),
            L.Conv2D(40, 3, activation="relu", bias_initializer="normal"),
            L.DepthwiseConv2D(3, depth_multiplier=4),
            L.Flatten(),
            L.Dense(30, activation="tanh"),
            L.Dense(3),
        ]
    )


def dynamic_range(model) -> bytes:
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    return converted(converter)


def test_int8_weights_mean_the_floats_that_they_stand_for():
    """Keras with those floats: the interpreter says which they are, and Keras what they give."""
    model = convolutional()
    content = dynamic_range(model)
    interpreter = Interpreter(content, reference=True)
    stored = {}
    for details, q in interpreter.constants(np.int8):
        how = details["quantization_parameters"]
        shape = np.ones(q.ndim, int)
        shape[how["quantized_dimension"]] = -1
        stored[q.shape] = q * how["scales"].reshape(shape)
    weights = []
    for w in model.get_weights():
        # In the file outputs come first, those of a depthwise layer last.
        turned = {2: (1, 0), 4: (3, 0, 1, 2)}.get(w.ndim)
        depthwise = w.ndim == 4 and w.shape[3] == 4
        shape = (1, 3, 3, 160) if depthwise else tuple(np.take(w.shape, turned)) if turned else ()
        found = stored.get(tuple(map(int, shape)))
        if found is not None:
            back = found if depthwise else found.transpose(np.argsort(turned))
            w = back.reshape(w.shape).astype(np.float32)
        weights.append(w)
    assert sum(w.ndim > 1 and np.unique(w).size < w.size for w in weights) >= 3
    model.set_weights(weights)
    graph = tflite.read(content)
    x = normal(SAMPLES, 9, 8, 4)
    meant = [graph.evaluate(row.ravel()) for row in x]
    np.testing.assert_allclose(meant, model.predict(x, verbose=0), rtol=0, atol=OUTPUT_TOLERANCE)


def test_int8_weights_against_the_kernels_that_round_activations_too():
    """Of one layer W·x: rounding x to 8 bits moves each element by half a step of max|x|/127 at
    most, and so each sum by no more than that times the sum of |W|."""
    model = keras.Sequential([L.Input((300,)), L.Dense(20)])
    content = dynamic_range(model)
    graph, interpreter = tflite.read(content), Interpreter(content, reference=True)
    (W,) = (node.op.kernel for node in graph.nodes if node.op.kind == "dense")
    largest = 0.0
    for x in normal(SAMPLES, 300):
        error = np.abs(graph.evaluate(x) - interpreter(x))
        bound = np.abs(x).max() / 254 * np.abs(W).sum(axis=0)
        assert np.all(error <= bound)
        largest = max(largest, error.max())
    assert largest > 1e-4  # they do round


def test_int8_weights_of_an_lstm(lstm_window):
    content = lstm_window

    def eight_bits(model):
        """As the converter leaves large ones: these are float32."""
        graph = model.subgraphs[0]
        for index in operator_of(model, "UNIDIRECTIONAL_SEQUENCE_LSTM").inputs[1:9]:
            tensor = graph.tensors[index]
            values = np.frombuffer(bytes(model.buffers[tensor.buffer].data), np.float32)
            scale = np.float32(np.abs(values).max() / 127)
            tensor.type = schema.TensorType.INT8
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale, tensor.quantization.zeroPoint = [scale], [0]
            q = np.rint(values / scale).astype(np.int8)
            model.buffers[tensor.buffer].data = q.view(np.uint8)

    def the_same_in_floats(model):
        graph = model.subgraphs[0]
        for index in operator_of(model, "UNIDIRECTIONAL_SEQUENCE_LSTM").inputs[1:9]:
            buffer = model.buffers[graph.tensors[index].buffer]
            values = np.frombuffer(bytes(buffer.data), np.float32)
            scale = np.float32(np.abs(values).max() / 127)
            rounded = np.rint(values / scale).astype(np.float32) * scale
            buffer.data = np.frombuffer(rounded.tobytes(), np.uint8)

    graph = tflite.read(changed(content, eight_bits))
    x = normal(SAMPLES, graph.input_size)
    meant = [graph.evaluate(row) for row in x]
    expected = of_window(changed(content, the_same_in_floats), x)
    np.testing.assert_allclose(meant, expected, rtol=0, atol=OUTPUT_TOLERANCE)


def test_half_precision_weights_become_float32():
    converter = tf.lite.TFLiteConverter.from_keras_model(convolutional())
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_types = [tf.float16]
    content = converted(converter)
    assert "DEQUANTIZE" in kinds(content)
    graph, interpreter = tflite.read(content), Interpreter(content, reference=False)
    for x in normal(SAMPLES, graph.input_size):
        expected = interpreter(x)
        np.testing.assert_allclose(graph.evaluate(x), expected, rtol=0, atol=OUTPUT_TOLERANCE)


def in_int8(converter, shape) -> bytes:
    """The file of a converter, input and output in int8, too."""
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([normal(*shape)] for _ in range(20))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    return converted(converter)


def quantised(model, shape, **more) -> bytes:
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([normal(*shape)] for _ in range(20))
    for name, value in more.items():
        if name == "supported_ops":
            converter.target_spec.supported_ops = value
        else:
            setattr(converter, name, value)
    return converted(converter)


def test_int16_activations_are_refused_with_a_way_out():
    ops = tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
    model = keras.Sequential([L.Input((7,)), L.Dense(9, activation="relu"), L.Dense(3)])
    with pytest.raises(ModelError, match="int16 activations.*TFLITE_BUILTINS_INT8.*--dtype int8"):
        tflite.read(quantised(model, (1, 7), supported_ops=[ops]))


# ---------------------------------------------------------------------------- uint8 and int8


def in_uint8(network) -> bytes:
    """The converter of TensorFlow 1: `network` of an input of 8 bits, each tensor with the range
    that a fake quantisation gives it."""
    v1 = tf.compat.v1
    graph = v1.Graph()
    with graph.as_default(), v1.Session(graph=graph) as session:
        x = v1.placeholder(tf.float32, (1, 9, 8, 3), name="x")
        y = network(within(x, -1, 1))
        converter = v1.lite.TFLiteConverter.from_session(session, [x], [y])
        converter.inference_type = tf.uint8
        converter.inference_input_type = converter.inference_output_type = tf.uint8
        converter.quantized_input_stats = {"x": (127.5, 127.5)}
        return converted(converter)


def within(x, low, high, **more):
    return tf.quantization.fake_quant_with_min_max_args(x, low, high, **more)


def weights(*shape, low, high):
    """Of a range that is not even about zero: some are further than 127 steps from it."""
    values = np.clip(normal(*shape, scale=high / 2), low, high)
    return within(tf.constant(values), low, high, narrow_range=True)


def uint8_windows(x):
    h = tf.nn.conv2d(x, weights(3, 3, 3, 5, low=-0.3, high=0.7), 1, "SAME")
    h = within(tf.nn.relu6(h + tf.constant(normal(5, scale=0.1))), 0, 6)
    h = tf.nn.depthwise_conv2d(h, weights(3, 3, 5, 1, low=-0.5, high=0.9), (1, 2, 2, 1), "SAME")
    h = within(tf.nn.relu6(h + tf.constant(normal(5, scale=0.1))), 0, 6)
    a = within(tf.nn.avg_pool2d(h, 2, 1, "SAME"), 0, 6)
    m = within(tf.nn.max_pool2d(h, 2, 1, "SAME"), 0, 6)
    h = within(within(a + m, 0, 9) * m, 0, 30)
    h = tf.reshape(h, (1, 100))
    h = within(tf.matmul(h, weights(100, 4, low=-0.1, high=0.3)), -9, 9)
    return within(tf.nn.softmax(h), 0, 1 - 1 / 256)


def uint8_others(x):
    h = within(tf.sigmoid(x), 0, 255 / 256)
    h = within(h - within(tf.tanh(x), -1, 127 / 128), -2, 2)
    h = tf.concat([h, h[:, :, ::-1]], axis=3)
    h = tf.transpose(tf.pad(h, ((0, 0), (1, 0), (0, 2), (0, 0))), (0, 2, 1, 3))
    return h[:, 1:-1, ::3]


@pytest.mark.parametrize("network", [uint8_windows, uint8_others])
def test_uint8_is_that_of_the_reference_kernels(network, origin, tmp_path):
    content = in_uint8(network)
    graph, interpreter = tflite.read(content), Interpreter(content, reference=True)
    x = RANDOM.integers(0, 256, (3 * SAMPLES, graph.input_size))
    expected = np.array([interpreter(row) for row in x]).astype(int)
    assert len(np.unique(expected)) > 20
    np.testing.assert_array_equal([graph.evaluate_q(row - 128) + 128 for row in x], expected)
    same_in_c(graph, x - 128, expected - 128, origin, tmp_path)


def test_inputs_and_outputs_of_uint8_around_int8():
    model = keras.Sequential([L.Input((7,)), L.Dense(9, activation="relu"), L.Dense(3)])
    content = quantised(
        model,
        (1, 7),
        inference_input_type=tf.uint8,
        inference_output_type=tf.uint8,
        supported_ops=[tf.lite.OpsSet.TFLITE_BUILTINS_INT8],
    )
    graph, interpreter = tflite.read(content), Interpreter(content, reference=True)
    assert [node.op.kind for node in graph.nodes] == ["dense", "dense"]
    for x in RANDOM.integers(0, 256, (SAMPLES, 7)):
        np.testing.assert_array_equal(graph.evaluate_q(x - 128) + 128, interpreter(x))


def test_int8_is_put_elsewhere_as_by_the_reference_kernels():
    inputs = L.Input((6, 5, 4))
    h = L.Permute((3, 1, 2))(L.Activation("tanh")(inputs))
    model = keras.Model(inputs, h[:, 1:, ::-2, 3])
    ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    content = quantised(model, (1, 6, 5, 4), supported_ops=ops)
    assert {"TRANSPOSE", "STRIDED_SLICE"} <= kinds(content)
    graph, interpreter = tflite.read(content), Interpreter(content, reference=True)
    for x in normal(SAMPLES, graph.input_size):
        np.testing.assert_array_equal(graph.evaluate(x), interpreter(x))


def apart_in_int8(x):
    """Parts that are split and unpacked, of which the one in between is read by nobody."""
    first, _, last = tf.split(x, 3, axis=1)
    columns = tf.unstack(tf.tanh(tf.concat([first, last], axis=2)), axis=2)
    return tf.concat([columns[0], columns[7], columns[2]], axis=1)


def apart_in_floats(x):
    """The converter may leave this UNPACK between a DEQUANTIZE and several QUANTIZE."""
    first, second, *_ = tf.unstack(x, axis=1)
    return tf.tanh(first) + second


def distances(x):
    """Of tensors with scales of their own, of one that repeats, and of a constant."""
    a, b = tf.tanh(x), tf.nn.relu(x)
    near = tf.math.squared_difference(a, b)
    far = tf.math.squared_difference(ROWS[0, 0, :4], tf.math.squared_difference(near, x))
    return tf.math.squared_difference(far, tf.reduce_mean(x, axis=(0, 1), keepdims=True))


TRIES = 40
"""Of the same function on the same data the converter leaves an operator in floats one time, and
not the next: in a process of 12 tries from 1 to 8 times not."""
INT8_FUNCTIONS = {
    "apart": ({"SPLIT", "UNPACK"}, apart_in_int8),
    "apart_in_floats": ({"DEQUANTIZE", "UNPACK"}, apart_in_floats),
    "distances": ({"SQUARED_DIFFERENCE"}, distances),
}


@pytest.mark.parametrize("name", INT8_FUNCTIONS)
def test_int8_functions_are_those_of_the_reference_kernels(name, origin, tmp_path):
    wanted, function = INT8_FUNCTIONS[name]
    signature = [tf.TensorSpec((1, 6, 4), tf.float32)]
    concrete = tf.function(function, input_signature=signature).get_concrete_function()
    for _ in range(TRIES):
        content = in_int8(tf.lite.TFLiteConverter.from_concrete_functions([concrete]), (1, 6, 4))
        if wanted <= kinds(content):
            break
    assert wanted <= kinds(content)
    graph, interpreter = tflite.read(content), Interpreter(content, reference=True)
    x = RANDOM.integers(-128, 128, (20 * SAMPLES, graph.input_size))
    expected = np.array([interpreter(row) for row in x])
    assert len(np.unique(expected)) > 20
    np.testing.assert_array_equal([graph.evaluate_q(row) for row in x], expected)
    same_in_c(graph, x, expected, origin, tmp_path)


def test_parts_of_weights_are_the_weights():
    """Σ w·x over the columns and rows as they stand, and over those that are added."""
    w = RANDOM.integers(-255, 256, (4, 3, 2, 6))
    w[..., 1] //= 3  # fits as it is
    parts, chosen = split_channels(w)
    assert len(chosen) > w.shape[-1] and np.count_nonzero(chosen == 1) == 1
    assert parts.dtype == np.int8 and parts.min() >= -127
    x = RANDOM.integers(-128, 128, 6)
    np.testing.assert_array_equal(parts.astype(int) @ x[chosen], w @ x)
    windows = Windows((3, 2), (2, 1), (1, 1), "same")
    rows, taller, times = split_rows(w[:1], windows, 7, 5)
    image = RANDOM.integers(-128, 128, (7, 5))
    sums = []
    for kernel, how, picture in (
        (w[:1], windows, image),
        (rows, taller, np.repeat(image, times, axis=0)),
    ):
        places = how.places(picture.shape)
        patches = np.append(picture.ravel(), 0)[places]
        sums.append(patches @ kernel.astype(int).reshape(places.shape[1], -1))
    np.testing.assert_array_equal(*sums)
    with pytest.raises(ValueError, match="dilated"):
        split_rows(w[:1], Windows((3, 2), (1, 1), (2, 1), "same"), 7, 5)


# ---------------------------------------------------------------------------- hostile files


def refused(tmp_path, content: bytes) -> str:
    """What `read_model`, which reads in a process of its own, says."""
    path = tmp_path / "m.tflite"
    path.write_bytes(content)
    with pytest.raises(ModelError) as error:
        read_model(path)
    assert str(error.value).startswith("m.tflite: ") and "\n" not in str(error.value)
    return str(error.value)


HOSTILE = {
    "not_all_axes": ("TRANSPOSE", 1, [0, 1, 2, 2], "no order of them"),
    "axis_of_parts": ("SPLIT", 0, [-4], "along axes [-4]"),
    "parts_that_are_not_equal": ("SPLIT", 0, [2], "into 3 parts along axis 2"),
    "an_axis_that_is_none": ("TRANSPOSE", 1, [0, 1, 2, 7], "no order of them"),
    "negative_axis": ("TRANSPOSE", 1, [-1, 1, 2, 3], "no order of them"),
    "too_few_axes": ("TRANSPOSE", 1, [0, 1], "no order of them"),
    "no_axes": ("TRANSPOSE", 1, np.zeros(0, np.int32), "reads what no operator"),
    "one_beyond": ("STRIDED_SLICE", 1, [0, 1, 0, 5], "takes element 5 of an axis of 5"),
    "one_far_below": ("STRIDED_SLICE", 1, [0, 1, 0, -(1 << 31)], "takes element -2147483648"),
    "nothing_left": ("STRIDED_SLICE", 2, [0, 1, 4, 4], "leaves nothing"),
    "no_step": ("STRIDED_SLICE", 3, [1, 1, 0, 1], "a stride of 0"),
    "odd_bounds": ("STRIDED_SLICE", 2, [0, 1], "bounds of different lengths"),
    "axis_of_a_turn": ("REVERSE_V2", 1, [3], "of axes [3]"),
    "axis_of_a_sum": ("SUM", 1, [1, 9], "over axes [1, 9]"),
}
OF_FUNCTION = {
    "SPLIT": "split",
    "TRANSPOSE": "transposed",
    "STRIDED_SLICE": "part",
    "REVERSE_V2": "turned",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_constants_are_refused(files, tmp_path, name):
    kind, position, values, words = HOSTILE[name]
    content = files[OF_FUNCTION.get(kind, "sums")]
    values = np.asarray(values, np.int32)
    message = refused(tmp_path, changed(content, lambda m: set_constant(m, kind, position, values)))
    assert words in message


def test_zero_points_that_are_no_bytes_are_refused(tmp_path):
    """Of weights: taken for what it says, this one would have 10^16 parts."""

    def change(model):
        weights = operator_of(model, "CONV_2D").inputs[1]
        model.subgraphs[0].tensors[weights].quantization.zeroPoint = [1 << 60]

    message = refused(tmp_path, changed(in_uint8(uint8_windows), change))
    assert "has zero point" in message


def test_more_bounds_than_axes_are_refused(files, tmp_path):
    def change(model):
        for position, value in ((1, 0), (2, 1), (3, 1)):
            set_constant(model, "STRIDED_SLICE", position, np.full(9, value, np.int32))

    assert "has 9 bounds" in refused(tmp_path, changed(files["part"], change))


def test_more_parts_than_an_axis_has_are_refused(files, tmp_path):
    def change(model):
        operator = operator_of(model, "UNPACK")
        operator.outputs = [*operator.outputs, add_tensor(model, "FLOAT32", None, (1, 3))]
        read = operator_of(model, "CONCATENATION")
        read.inputs = [*read.inputs, operator.outputs[-1]]

    message = refused(tmp_path, changed(files["unpacked"], change))
    assert "UNPACK of shape (1, 3, 4) into 4 parts along axis 2" in message


def outcome(content: bytes) -> bool:
    """Whether a file is read; if not, the error must be one line. In this process."""
    try:
        tflite.read(content)
    except ModelError as error:
        assert "\n" not in str(error) and len(str(error)) < 2000
        return False
    return True


def test_truncated_and_damaged_files_of_these_kinds(files, lstm_window):
    for content in (lstm_window, in_uint8(uint8_others), files["part"], files["split"]):
        for length in np.linspace(0, len(content) - 8, 60).astype(int):
            assert not outcome(content[:length])
        outcomes = []
        for _ in range(150):
            damaged = np.frombuffer(content, np.uint8).copy()
            places = RANDOM.integers(8, len(content), RANDOM.integers(1, 5))
            damaged[places] = RANDOM.choice([0, 1, 127, 128, 255])
            outcomes.append(outcome(damaged.tobytes()))
        assert 10 < sum(outcomes) < 145  # of either kind enough
