"""Networks built with onnx.helper: the C does what onnxruntime does, all in one library.

A third of them in every run of the tests, all of them with `make onnx`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nn4mc_codegen.importers import read_model
from nn4mc_codegen.trial.qemu import measure, missing_tools

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

# float32 on both sides, relative to the largest output or to 1.
TOLERANCE = 2e-6
JACOBIAN_TOLERANCE = 1e-5
SAMPLES, STEPS = 4, 6
EVERY = 1 if os.environ.get("ONNX_ALL") else 3
"""Of the networks below every third one, or all"""


class Net:
    """An ONNX model, node by node; arrays that are given become initializers."""

    def __init__(self, **inputs: list):
        self._random = np.random.default_rng(len(inputs))
        self._inputs = inputs
        self._nodes: list = []
        self._constants: list = []

    def __call__(self, kind: str, *inputs, outputs: int = 1, **attributes):
        names = [self._named(i) for i in inputs]
        made = [f"t{len(self._nodes)}_{k}" for k in range(outputs)]
        self._nodes.append(onnx.helper.make_node(kind, names, made, **attributes))
        return made[0] if outputs == 1 else made

    def _named(self, value) -> str:
        if isinstance(value, str):
            return value
        name = f"c{len(self._constants)}"
        self._constants.append(onnx.numpy_helper.from_array(np.asarray(value), name))
        return name

    def weights(self, *shape: int, inputs: int = 0) -> np.ndarray:
        """Of the scale that keeps a signal's variance."""
        scale = (inputs or shape[-1]) ** -0.5
        return self._random.normal(0.0, scale, shape).astype(np.float32)

    def dense(self, x: str, inputs: int, units: int) -> str:
        """As PyTorch's exporter writes a linear layer."""
        return self("Gemm", x, self.weights(units, inputs), self.weights(units), transB=1)

    def conv(self, x: str, channels: int, filters: int, size: list[int], group=1, **attributes):
        taps = channels // group * int(np.prod(size))
        W = self.weights(filters, channels // group, *size, inputs=taps)
        return self("Conv", x, W, self.weights(filters), group=group, **attributes)

    def recurrent(self, kind: str, x: str, inputs: int, units: int, ways=1, starts=(), **more):
        """All outputs of the node."""
        gates = {"RNN": 1, "GRU": 3, "LSTM": 4}[kind] * units
        arrays = [self.weights(ways, gates, n) for n in (inputs, units)]
        arrays.append(0.3 * self.weights(ways, 2 * gates, inputs=1))
        given = [x, *arrays, *(["", *starts] if starts else [])]
        outputs = 3 if kind == "LSTM" else 2
        return self(kind, *given, outputs=outputs, hidden_size=units, **more)

    def model(self, *outputs: str, opset: int = 18) -> onnx.ModelProto:
        float_ = onnx.TensorProto.FLOAT
        graph = onnx.helper.make_graph(
            self._nodes,
            "network",
            [onnx.helper.make_tensor_value_info(n, float_, s) for n, s in self._inputs.items()],
            [onnx.helper.make_tensor_value_info(n, float_, None) for n in outputs],
            self._constants,
        )
        opsets = [onnx.helper.make_opsetid("", opset)]
        return onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


# ---------------------------------------------------------------- dense networks


def perceptron(activation: str, **attributes) -> Callable:
    """Two hidden layers, as PyTorch writes them."""

    def build() -> onnx.ModelProto:
        n = Net(x=["batch", 7])
        x = n(activation, n.dense("x", 7, 12), **attributes)
        x = n(activation, n.dense(x, 12, 9), **attributes)
        opset = {"Gelu": 20, "Swish": 24}.get(activation, 18)
        return n.model(n.dense(x, 9, 3), opset=opset)

    return build


def matmul_and_add() -> onnx.ModelProto:
    n = Net(x=[1, 6])
    x = n("Tanh", n("Add", n("MatMul", "x", n.weights(6, 10)), n.weights(10)))
    x = n("Sub", n("MatMul", x, n.weights(10, 4)), n.weights(4))
    return n.model(n("Mul", x, np.float32(0.5)), opset=13)


def rows_of_several_samples() -> onnx.ModelProto:
    n = Net(x=[3, 5])
    return n.model(n.dense(n("Relu", n.dense("x", 5, 8)), 8, 2))


def residual() -> onnx.ModelProto:
    n = Net(x=["batch", 8])
    x = "x"
    for _ in range(3):
        x = n("Add", x, n.dense(n("Tanh", n.dense(x, 8, 8)), 8, 8))
    return n.model(n.dense(x, 8, 2))


def densely_connected() -> onnx.ModelProto:
    n = Net(x=["batch", 5])
    x, width = "x", 5
    for _ in range(3):
        x, width = n("Concat", x, n("Elu", n.dense(x, width, 4)), axis=1), width + 4
    return n.model(n.dense(x, width, 3))


def gated() -> onnx.ModelProto:
    n = Net(x=["batch", 6])
    a, b = n("Split", n.dense("x", 6, 16), outputs=2, axis=-1, num_outputs=2)
    return n.model(n.dense(n("Mul", n("Sigmoid", a), n("Tanh", b)), 8, 3))


def gelu_of_old_opsets() -> onnx.ModelProto:
    """As PyTorch wrote it before opset 20."""
    n = Net(x=["batch", 6])
    x = n.dense("x", 6, 10)
    gate = n("Add", n("Erf", n("Div", x, np.float32(2**0.5))), np.float32(1))
    x = n("Mul", n("Mul", x, gate), np.float32(0.5))
    return n.model(n.dense(x, 10, 3), opset=14)


def layer_normalised() -> onnx.ModelProto:
    n = Net(x=["batch", 6])
    x = n.dense("x", 6, 12)
    x = n("LayerNormalization", x, 1 + n.weights(12), n.weights(12))
    return n.model(n.dense(n("Relu", x), 12, 3))


def layer_normalised_in_parts() -> onnx.ModelProto:
    """As exporters write it below opset 17."""
    n = Net(x=["batch", 6])
    x = n.dense("x", 6, 12)
    centred = n("Sub", x, n("ReduceMean", x, axes=[-1]))
    variance = n("ReduceMean", n("Pow", centred, np.float32(2)), axes=[-1])
    x = n("Div", centred, n("Sqrt", n("Add", variance, np.float32(1e-5))))
    x = n("Add", n("Mul", x, 1 + n.weights(12)), n.weights(12))
    return n.model(n.dense(x, 12, 3), opset=13)


def batch_normalised() -> onnx.ModelProto:
    n = Net(x=["batch", 6])
    x = n.dense("x", 6, 10)
    moments = n.weights(10), np.abs(n.weights(10)) + np.float32(0.5)
    x = n("BatchNormalization", x, 1 + n.weights(10), n.weights(10), *moments)
    return n.model(n.dense(n("Tanh", x), 10, 3))


def standardised() -> onnx.ModelProto:
    """Inputs and outputs in their own units, inside of the model, with limits at the end."""
    n = Net(x=["batch", 5])
    x = n("Div", n("Sub", "x", n.weights(5)), 1 + np.abs(n.weights(5)))
    x = n.dense(n("Tanh", n.dense(x, 5, 9)), 9, 3)
    x = n("Add", n("Mul", x, 2 + n.weights(3)), n.weights(3))
    return n.model(n("Clip", x, np.float32(-1.5), np.float32(1.25)))


def slopes_that_are_trained() -> onnx.ModelProto:
    n = Net(x=["batch", 5])
    x = n("PRelu", n.dense("x", 5, 8), np.abs(n.weights(8)))
    return n.model(n.dense(n("Max", x, n("Neg", n("Abs", x))), 8, 3))


def softmax_of_a_mixture() -> onnx.ModelProto:
    n = Net(x=["batch", 6])
    weights = n("Softmax", n.dense("x", 6, 4), axis=-1)
    parts = n("Reshape", n.dense("x", 6, 12), ints(-1, 4, 3))
    mixed = n("Mul", n("Unsqueeze", weights, ints(2)), parts)
    return n.model(n("ReduceSum", mixed, ints(1), keepdims=0))


def attention() -> onnx.ModelProto:
    """One head over five tokens, with products of two results."""
    n = Net(x=[1, 5, 6])
    q, k, v = (n("MatMul", "x", n.weights(6, 4, inputs=6)) for _ in range(3))
    scores = n("MatMul", q, n("Transpose", k, perm=[0, 2, 1]))
    scores = n("Softmax", n("Mul", scores, np.float32(0.5)), axis=-1)
    return n.model(n("MatMul", scores, v))


def two_inputs() -> onnx.ModelProto:
    n = Net(command=["batch", 3], output=["batch", 4])
    x = n("Concat", "command", "output", axis=-1)
    x = n.dense(n("Tanh", n.dense(x, 7, 9)), 9, 4)
    return n.model(n("Add", "output", x))


def two_outputs() -> onnx.ModelProto:
    n = Net(x=["batch", 5])
    x = n("Tanh", n.dense("x", 5, 8))
    return n.model(n.dense(x, 8, 2), n("Exp", n.dense(x, 8, 3)))


def chosen_columns() -> onnx.ModelProto:
    """The increment of what stands in some columns, as a forward kinematics has it."""
    n = Net(x=["batch", 9])
    now = n("Gather", "x", ints(7, 2, 4), axis=1)
    rest = n("Slice", "x", ints(0), ints(6), ints(1), ints(2))
    return n.model(n("Add", now, n.dense(n("Tanh", n.dense(rest, 3, 8)), 8, 3)))


def shapes_that_are_computed() -> onnx.ModelProto:
    """What exporters write for x.view(x.shape[0], -1), with an open batch."""
    n = Net(x=["batch", 3, 4])
    first = n("Gather", n("Shape", "x"), np.int64(0), axis=0)
    shape = n("Concat", n("Unsqueeze", first, ints(0)), ints(-1), axis=0)
    return n.model(n.dense(n("Reshape", n("Tanh", "x"), shape), 12, 3))


def quotients() -> onnx.ModelProto:
    n = Net(x=["batch", 4])
    a, b = n.dense("x", 4, 6), n("Softplus", n.dense("x", 4, 6))
    x = n("Div", a, n("Add", b, np.float32(0.5)))
    return n.model(n("Sub", x, n("ReduceMean", x, ints(1))), n("Min", a, b))


# ---------------------------------------------------------------- convolutions


def line_of_convolutions() -> onnx.ModelProto:
    n = Net(x=["batch", 3, 20])
    x = n("Relu", n.conv("x", 3, 6, [5], pads=[2, 2], strides=[2]))
    x = n("Relu", n.conv(x, 6, 4, [3]))
    return n.model(n.dense(n("Flatten", x), 32, 3))


def lenet() -> onnx.ModelProto:
    n = Net(x=["batch", 1, 16, 16])
    x = n("MaxPool", n("Tanh", n.conv("x", 1, 4, [5, 5])), kernel_shape=[2, 2], strides=[2, 2])
    x = n("MaxPool", n("Tanh", n.conv(x, 4, 6, [3, 3])), kernel_shape=[2, 2], strides=[2, 2])
    x = n("Tanh", n.dense(n("Flatten", x), 24, 12))
    return n.model(n("Softmax", n.dense(x, 12, 5), axis=1))


def separable() -> onnx.ModelProto:
    n = Net(x=["batch", 4, 9, 8])
    x = n("Relu", n.conv("x", 4, 4, [3, 3], group=4, pads=[1, 1, 1, 1]))
    x = n("Clip", n.conv(x, 4, 6, [1, 1]), np.float32(0), np.float32(6))
    x = n("GlobalAveragePool", x)
    return n.model(n.dense(n("Squeeze", x, ints(2, 3)), 6, 3))


def residual_convolutions() -> onnx.ModelProto:
    n = Net(x=["batch", 3, 7, 7])
    x = "x"
    for _ in range(2):
        y = n.conv(x, 3, 3, [3, 3], pads=[1, 1, 1, 1])
        moments = n.weights(3), np.abs(n.weights(3)) + np.float32(0.5)
        y = n("BatchNormalization", y, 1 + n.weights(3), n.weights(3), *moments)
        x = n("Relu", n("Add", x, y))
    return n.model(n("ReduceMean", x, ints(2, 3), keepdims=0))


def causal_and_dilated() -> onnx.ModelProto:
    n = Net(x=["batch", 2, 16])
    x = "x"
    for dilation in (1, 2, 4):
        channels = 2 if dilation == 1 else 4
        padded = n("Pad", x, ints(0, 0, dilation, 0, 0, 0))
        x = n("Tanh", n.conv(padded, channels, 4, [2], dilations=[dilation]))
    return n.model(n("Gather", x, np.int64(-1), axis=2))


def groups_and_odd_padding() -> onnx.ModelProto:
    n = Net(x=["batch", 4, 8, 6])
    x = n.conv("x", 4, 6, [3, 2], group=2, pads=[0, 1, 1, 0], strides=[2, 1])
    x = n("LeakyRelu", x, alpha=0.2)
    return n.model(n.conv(x, 6, 2, [2, 2], auto_pad="SAME_LOWER"))


def poolings() -> onnx.ModelProto:
    n = Net(x=["batch", 2, 9, 9])
    a = n("AveragePool", "x", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    included = {"count_include_pad": 1, "pads": [1, 1, 1, 1]}
    b = n("AveragePool", "x", kernel_shape=[3, 3], strides=[2, 2], **included)
    c = n("MaxPool", "x", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)
    return n.model(n("Concat", a, b, c, axis=1))


def channels_weighed() -> onnx.ModelProto:
    """Squeeze and excite."""
    n = Net(x=["batch", 4, 6, 5])
    x = n("Relu", n.conv("x", 4, 6, [3, 3]))
    gate = n("Sigmoid", n.conv(n("GlobalAveragePool", x), 6, 6, [1, 1]))
    return n.model(n("GlobalMaxPool", n("Mul", x, gate)))


def channels_last_outside() -> onnx.ModelProto:
    """As converters from TensorFlow write it."""
    n = Net(x=["batch", 6, 6, 2])
    x = n.conv(n("Transpose", "x", perm=[0, 3, 1, 2]), 2, 3, [3, 3])
    x = n("Transpose", n("Add", x, n.weights(3, 1, 1)), perm=[0, 2, 3, 1])
    return n.model(n("Flatten", n("HardSwish", x)))


# ---------------------------------------------------------------- recurrent networks


def torch_rnn(kind: str, layers: int, inputs: int, units: int, outputs: int, **more) -> Callable:
    """(batch, time, inputs), as PyTorch exports batch_first: from zeros of a computed shape."""

    def build() -> onnx.ModelProto:
        n = Net(x=["batch", "time", inputs])
        x, width = n("Transpose", "x", perm=[1, 0, 2]), inputs
        batch = n("Gather", n("Shape", "x"), ints(0), axis=0)
        shape = n("Concat", ints(1), batch, ints(units), axis=0)
        zeros = n("Expand", np.zeros((1, 1, 1), np.float32), shape)
        for _ in range(layers):
            starts = (zeros, zeros) if kind == "LSTM" else (zeros,)
            y = n.recurrent(kind, x, width, units, starts=starts, **more)[0]
            x, width = n("Squeeze", y, ints(1)), units
        x = n("Transpose", x, perm=[1, 0, 2])
        x = n("Add", n("MatMul", x, n.weights(units, outputs, inputs=units)), n.weights(outputs))
        return n.model(x)

    return build


def last_step_of_an_open_sequence() -> onnx.ModelProto:
    n = Net(x=["time", 1, 4])
    y = n.recurrent("GRU", "x", 4, 6)[0]
    last = n("Slice", n("Squeeze", y, ints(1, 2)), ints(-1), ints(2**31 - 1), ints(0))
    return n.model(n.dense(last, 6, 2))


def layers_around_a_step() -> onnx.ModelProto:
    n = Net(x=["time", 1, 5])
    x = n("Tanh", n("MatMul", "x", n.weights(5, 6)))
    y = n.recurrent("RNN", x, 6, 7, activations=["Relu"])[1]
    return n.model(n.dense(n("Squeeze", y, ints(0)), 7, 3))


def window_of_steps() -> onnx.ModelProto:
    n = Net(x=[1, 5, 3])
    y = n.recurrent("GRU", n("Transpose", "x", perm=[1, 0, 2]), 3, 6, linear_before_reset=1)[1]
    return n.model(n.dense(n("Squeeze", y, ints(0)), 6, 2))


def both_ways(kind: str) -> Callable:
    def build() -> onnx.ModelProto:
        n = Net(x=[4, 1, 3])
        y = n.recurrent(kind, "x", 3, 5, ways=2, direction="bidirectional")[0]
        y = n("Reshape", n("Transpose", y, perm=[0, 2, 1, 3]), ints(0, 0, -1))
        y = n.recurrent(kind, y, 10, 4, direction="reverse")[0]
        return n.model(n("ReduceMean", y, ints(0, 1), keepdims=0))

    return build


def state_in_and_out(kind: str) -> Callable:
    """One step with its state as an input and an output: nothing is carried inside."""

    def build() -> onnx.ModelProto:
        names = ("h", "c") if kind == "LSTM" else ("h",)
        n = Net(x=[1, 1, 4], **{name: [1, 1, 6] for name in names})
        y, *states = n.recurrent(kind, "x", 4, 6, starts=names)
        return n.model(n.dense(n("Reshape", y, ints(1, 6)), 6, 2), *states)

    return build


def sequences_side_by_side() -> onnx.ModelProto:
    n = Net(x=[3, 2, 4])
    y, h, c = n.recurrent("LSTM", "x", 4, 3)
    return n.model(y, h, c)


def convolutions_before_a_sequence() -> onnx.ModelProto:
    n = Net(x=[1, 3, 12])
    x = n("Relu", n.conv("x", 3, 4, [3], strides=[2]))
    y = n.recurrent("LSTM", n("Transpose", x, perm=[2, 0, 1]), 4, 5)[1]
    return n.model(n.dense(n("Squeeze", y, ints(0)), 5, 2))


NETWORKS: dict[str, Callable] = {
    "tanh": perceptron("Tanh"),
    "relu": perceptron("Relu"),
    "sigmoid": perceptron("Sigmoid"),
    "leaky relu": perceptron("LeakyRelu", alpha=0.1),
    "elu": perceptron("Elu"),
    "selu": perceptron("Selu"),
    "celu": perceptron("Celu", alpha=0.75),
    "softplus": perceptron("Softplus"),
    "hard sigmoid": perceptron("HardSigmoid", alpha=0.3, beta=0.4),
    "mish": perceptron("Mish"),
    "gelu": perceptron("Gelu", approximate="tanh"),
    "swish": perceptron("Swish", alpha=1.5),
    "matmul and add": matmul_and_add,
    "several samples": rows_of_several_samples,
    "residual": residual,
    "densely connected": densely_connected,
    "gated": gated,
    "gelu in parts": gelu_of_old_opsets,
    "layer norm": layer_normalised,
    "layer norm in parts": layer_normalised_in_parts,
    "batch norm": batch_normalised,
    "standardised": standardised,
    "prelu": slopes_that_are_trained,
    "mixture": softmax_of_a_mixture,
    "attention": attention,
    "two inputs": two_inputs,
    "two outputs": two_outputs,
    "columns": chosen_columns,
    "computed shapes": shapes_that_are_computed,
    "quotients": quotients,
    "conv line": line_of_convolutions,
    "lenet": lenet,
    "separable": separable,
    "residual conv": residual_convolutions,
    "causal conv": causal_and_dilated,
    "grouped conv": groups_and_odd_padding,
    "poolings": poolings,
    "channels weighed": channels_weighed,
    "channels last": channels_last_outside,
    "gru": torch_rnn("GRU", 1, 4, 8, 2, linear_before_reset=1),
    "gru, reset before": torch_rnn("GRU", 1, 4, 8, 2, linear_before_reset=0),
    "gru 59, two layers": torch_rnn("GRU", 2, 15, 59, 5, linear_before_reset=1),
    "lstm": torch_rnn("LSTM", 1, 4, 8, 2),
    "lstm, two layers": torch_rnn("LSTM", 2, 3, 7, 2),
    "rnn": torch_rnn("RNN", 1, 4, 8, 2),
    "last step": last_step_of_an_open_sequence,
    "layers around a step": layers_around_a_step,
    "window": window_of_steps,
    "gru both ways": both_ways("GRU"),
    "lstm both ways": both_ways("LSTM"),
    "rnn both ways": both_ways("RNN"),
    "gru, state outside": state_in_and_out("GRU"),
    "lstm, state outside": state_in_and_out("LSTM"),
    "side by side": sequences_side_by_side,
    "conv and lstm": convolutions_before_a_sequence,
}
CHOSEN = list(NETWORKS)[::EVERY]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory, compile_graphs) -> dict:
    """By name: the model, its graph, the columns of its Jacobian, its C."""
    folder = tmp_path_factory.mktemp("onnx")
    models, graphs, columns = {}, {}, {}
    for number, name in enumerate(CHOSEN):
        models[name] = NETWORKS[name]()
        path = folder / f"{number}.onnx"
        path.write_bytes(models[name].SerializeToString())
        graphs[name] = read_model(path)[0]
        columns[name] = list(range(min(3, graphs[name].input_size)))
    codes = compile_graphs([(graphs[name], columns[name]) for name in CHOSEN])
    return {
        name: (models[name], graphs[name], columns[name], code)
        for name, code in zip(CHOSEN, codes, strict=True)
    }


def by_onnxruntime(model: onnx.ModelProto, x: np.ndarray, steps: int) -> np.ndarray:
    """Outputs, flat, for flat inputs (steps, inputs): of a network with open time at once."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    inputs = session.get_inputs()
    open_ = [[{"batch": 1, "time": steps}.get(e, e) for e in i.shape] for i in inputs]
    one = [[{"batch": 1, "time": 1}.get(e, e) for e in i.shape] for i in inputs]
    given = {}
    for i, part, shape in zip(
        inputs, np.split(x, np.cumsum([np.prod(s) for s in one])[:-1], axis=1), open_, strict=True
    ):
        given[i.name] = part.reshape(shape)
    return np.concatenate([y.ravel() for y in session.run(None, given)])


@pytest.mark.parametrize("name", CHOSEN)
def test_same_as_onnxruntime(compiled, name):
    model, graph, columns, code = compiled[name]
    random = np.random.default_rng(1)
    steps = STEPS if graph.states else SAMPLES
    x = random.normal(size=(steps, graph.input_size)).astype(np.float32)
    found = code.run(x)["y"]
    if graph.states:  # a sequence at once; where only its last step is told, that
        expected = by_onnxruntime(model, x, steps)
        found = found.ravel()[-expected.size :]
    else:
        expected = np.array([by_onnxruntime(model, row[None], 1) for row in x])
    scale = max(1.0, float(np.max(np.abs(expected))))
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE * scale)
    meant = graph.jacobian(x[0])[:, columns]
    scale = max(1.0, float(np.max(np.abs(meant))))
    _, jacobian = code.jacobian(x[0])
    np.testing.assert_allclose(jacobian, meant, rtol=0, atol=JACOBIAN_TOLERANCE * scale)


@pytest.mark.skipif(missing_tools() is not None, reason=str(missing_tools()))
@pytest.mark.parametrize("name", ["gru, state outside", "layer norm in parts"][: 3 // EVERY])
def test_cortex_m4f_gives_the_same_bits(tmp_path, name):
    from nn4mc_codegen import compile_model
    from nn4mc_codegen.trial.host import HostCode, build_library

    path = tmp_path / "m.onnx"
    path.write_bytes(NETWORKS[name]().SerializeToString())
    header, source = compile_model(path, tmp_path, jacobian="all").files
    build_library([source], tmp_path / "fk.so")
    code = HostCode(tmp_path / "fk.so", Path(header))
    random = np.random.default_rng(2)
    x = random.normal(size=(5, read_model(path)[0].input_size)).astype(np.float32)
    for function in ("step", "jacobian"):
        here, there = code.run(x, function), measure(tmp_path, "fk", x, function).outputs
        assert all(here[key].tobytes() == there[key].tobytes() for key in here)
