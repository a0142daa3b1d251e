"""Random networks of every operator: the C does what the IR means, values and derivatives.

Each example is a batch of networks, compiled with one call of the C compiler.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from nn4mc_codegen.graph.ir import Graph, Tensor
from nn4mc_codegen.graph.options import Options
from nn4mc_codegen.ops.activation import MEANINGS, Activation
from nn4mc_codegen.ops.add import Add
from nn4mc_codegen.ops.batch_normalization import BatchNormalization
from nn4mc_codegen.ops.concatenate import Concatenate
from nn4mc_codegen.ops.conv import Conv
from nn4mc_codegen.ops.dense import Dense
from nn4mc_codegen.ops.depthwise import DepthwiseConv
from nn4mc_codegen.ops.elementwise import Elementwise
from nn4mc_codegen.ops.flatten import Flatten
from nn4mc_codegen.ops.matmul import MatMul
from nn4mc_codegen.ops.multiply import Multiply
from nn4mc_codegen.ops.pad import Pad
from nn4mc_codegen.ops.pool import AveragePool, MaxPool
from nn4mc_codegen.ops.recurrent import GRU, LSTM, SimpleRNN
from nn4mc_codegen.ops.reduce import Reduce
from nn4mc_codegen.ops.reshape import Reshape
from nn4mc_codegen.ops.softmax import Softmax
from nn4mc_codegen.ops.take import Slice, Take
from nn4mc_codegen.ops.transpose import Transpose
from nn4mc_codegen.ops.unrolled import Unrolled
from nn4mc_codegen.ops.windows import Windows
from nn4mc_codegen.printing.emit import emit
from nn4mc_codegen.trial.host import HostCode, build_library
from nn4mc_codegen.trial.oracle import make_cases

BATCHES, BATCH = 30, 10  # 300 networks
STEPS, RESET = 5, 3
# float32 against float64 through up to six layers, relative to the largest value or to 1.
TOLERANCE = {"y": 1e-5, "state": 1e-5, "jacobian": 3e-5, "g": 3e-5, "dy": 3e-5, "h": 3e-4}
# Values stay of order 1 under these; exp and the like would make errors as large as they please.
PARAMETERS = {
    "leaky_relu": (("a", 0.2),),
    "capped_relu": (("m", 1.0),),
    "shifted_relu": (("a", 0.1), ("t", 0.25), ("m", 1.5)),
    "elu": (("a", 1.0),),
    "selu": (("s", 1.05070098), ("a", 1.67326324)),
    "hard_sigmoid": (("a", 0.2),),
}
ACTIVATIONS = [
    Activation(name, PARAMETERS.get(name, ())) for name in MEANINGS if name != "exponential"
]
MAX_SIZE = 160


@dataclass
class Drawn:
    graph: Graph
    options: Options


class Network:
    """Draws a network node by node."""

    def __init__(self, draw: Callable, builder: type, name: str):
        self._draw = draw
        self._b = builder(0)
        self._random = np.random.default_rng(draw(st.integers(0, 2**16)))
        shapes = st.sampled_from([(4,), (7,), (1,), (6, 2), (9, 1), (4, 3, 2), (5, 5, 1)])
        self.tensors = [self._b.input(*draw(shapes)) for _ in range(draw(st.integers(1, 2)))]
        for _ in range(draw(st.integers(1, 6))):
            x = draw(st.sampled_from(self.tensors))
            rank = {1: VECTOR, 2: LINE, 3: IMAGE}[len(x.shape)]
            self.tensors.append(draw(st.sampled_from(rank))(self, x))
        graph = self._b.graph(self.tensors[-1])
        inputs, states = graph.input_size, graph.state_size
        columns = st.sets(st.integers(0, inputs - 1), min_size=1, max_size=inputs)
        chosen = [*sorted(draw(columns)), *(["state"] if states and draw(st.booleans()) else [])]
        options = {draw(st.sampled_from(["vjp", "jvp", "hvp"])): chosen, "jacobian": chosen}
        mode = draw(st.sampled_from(["speed", "balanced", "size"]))
        self.drawn = Drawn(graph, Options(name, optimize=mode, **options))

    def pick(self, *choices):
        return self._draw(st.sampled_from(choices))

    def activation(self) -> Activation:
        return self.pick(Activation("linear"), *ACTIVATIONS)

    def weights(self, *shape: int, inputs: int) -> np.ndarray:
        """Of the scale that keeps a signal's variance."""
        return self._random.normal(0.0, inputs**-0.5, shape).astype(np.float32)

    def bias(self, size: int) -> np.ndarray:
        return self._random.normal(0.0, 0.3, size).astype(np.float32)

    def apply(self, op, *x: Tensor) -> Tensor:
        """The result, or x where the operator does not fit it or makes too much of it."""
        try:
            shape = op.output_shape([t.shape for t in x])
        except ValueError:
            return x[0]
        return self._b.apply(op, *x) if np.prod(shape) <= MAX_SIZE else x[0]

    def another(self, x: Tensor) -> Tensor:
        return self.pick(*(t for t in self.tensors if t.shape == x.shape))

    def windows(self, x: Tensor, *paddings: str) -> Windows:
        axes = len(x.shape) - 1

        def numbers(*choices: int) -> tuple[int, ...]:
            return tuple(self.pick(*choices) for _ in range(axes))

        dilated = self.pick(False, True)
        strides, dilation = (
            ((1,) * axes, numbers(1, 2)) if dilated else (numbers(1, 1, 2, 3), (1,) * axes)
        )
        return Windows(numbers(1, 2, 3, 4), strides, dilation, self.pick(*paddings))


def dense(n: Network, x: Tensor) -> Tensor:
    inputs, units = x.shape[-1], n.pick(1, 2, 3, 5, 8, 13, 37)
    op = Dense(n.weights(inputs, units, inputs=inputs), n.bias(units), n.activation())
    return n.apply(op, x)


def activation(n: Network, x: Tensor) -> Tensor:
    return n.apply(n.pick(*ACTIVATIONS), x)


def normalised(n: Network, x: Tensor) -> Tensor:
    channels = x.shape[-1]
    return n.apply(BatchNormalization(1 + n.bias(channels), n.bias(channels)), x)


def softmax(n: Network, x: Tensor) -> Tensor:
    return n.apply(Softmax(), x)


def joined(n: Network, x: Tensor) -> Tensor:
    return n.apply(Concatenate(n.pick(*range(-len(x.shape), 0))), x, n.another(x), n.another(x))


def added(n: Network, x: Tensor) -> Tensor:
    return n.apply(Add(), x, n.another(x))


def multiplied(n: Network, x: Tensor) -> Tensor:
    return n.apply(Multiply(), x, n.another(x))


def flattened(n: Network, x: Tensor) -> Tensor:
    return n.apply(Flatten(), x)


def reshaped(n: Network, x: Tensor) -> Tensor:
    return n.apply(Reshape(n.pick((-1, 2), (2, -1), (1, -1, 1))), x)


def convolved(n: Network, x: Tensor) -> Tensor:
    paddings = ("valid", "same", "causal") if len(x.shape) == 2 else ("valid", "same")
    windows, channels = n.windows(x, *paddings), x.shape[-1]
    groups = n.pick(*(g for g in (1, 1, 2, 3) if channels % g == 0))
    outputs = groups * n.pick(1, 2, 3, 5)
    inputs = channels // groups
    kernel = n.weights(windows.taps, inputs, outputs, inputs=inputs * windows.taps)
    return n.apply(Conv(kernel, n.bias(outputs), windows, groups, n.activation()), x)


def convolved_by_depth(n: Network, x: Tensor) -> Tensor:
    windows, channels = n.windows(x, "valid", "same"), x.shape[-1]
    outputs = channels * n.pick(1, 2)
    kernel = n.weights(windows.taps, 1, outputs, inputs=windows.taps)
    return n.apply(DepthwiseConv(kernel, n.bias(outputs), windows, channels, n.activation()), x)


def pooled(n: Network, x: Tensor) -> Tensor:
    kind = n.pick(AveragePool, MaxPool)
    if n.pick(False, False, True):
        return n.apply(kind(None, n.pick(False, True)), x)
    windows = n.windows(x, "valid", "same")
    ones = (1,) * len(windows.size)
    return n.apply(kind(Windows(windows.size, windows.strides, ones, windows.padding)), x)


def padded(n: Network, x: Tensor) -> Tensor:
    return n.apply(Pad(tuple((n.pick(0, 1, 2), n.pick(0, 1)) for _ in x.shape[1:])), x)


def recurrent(n: Network, x: Tensor) -> Tensor:
    kind, units, inputs = n.pick(SimpleRNN, GRU, LSTM), n.pick(1, 3, 6), x.size
    width = units * kind.gates
    arrays = (
        n.weights(inputs, width, inputs=inputs),
        n.weights(units, width, inputs=units),
        n.bias(width),
    )
    sigmoid = n.pick(Activation("sigmoid"), Activation("hard_sigmoid", (("a", 0.2),)))
    tanh = Activation("tanh")
    if kind is SimpleRNN:
        return n.apply(SimpleRNN(*arrays, tanh), x)
    if kind is LSTM:
        return n.apply(LSTM(*arrays, tanh, sigmoid), x)
    reset_after = n.pick(False, True)
    kernel, inner, bias = arrays
    if reset_after:
        bias = np.stack([bias, n.bias(width)])
    return n.apply(GRU(kernel, inner, bias, tanh, sigmoid, reset_after), x)


def computed(n: Network, x: Tensor) -> Tensor:
    """With a number, a constant for each channel, or another result that broadcasts."""
    name = n.pick("add", "subtract", "multiply", "minimum", "maximum", "prelu")
    if n.pick(False, True):
        constant = n.bias(n.pick(1, x.shape[-1]))
        return n.apply(Elementwise(name, n.pick((None, constant), (constant, None))), x)
    other = n.apply(Reduce((n.pick(*range(len(x.shape))),), True, True), x)
    return n.apply(Elementwise(name, (None, None)), x, other)


def divided(n: Network, x: Tensor) -> Tensor:
    """By what is never small: the root of a sum of squares and one."""
    squares = n.apply(Multiply(), x, x)
    total = n.apply(Reduce((len(x.shape) - 1,), True, n.pick(False, True)), squares)
    more = n.apply(Elementwise("add", (None, np.ones(1, np.float32))), total)
    root = n.apply(Elementwise("square_root", (None,)), more)
    return n.apply(Elementwise("divide", (None, None)), x, root)


def turned(n: Network, x: Tensor) -> Tensor:
    return n.apply(Transpose(tuple(range(len(x.shape)))[:: n.pick(1, -1)]), x)


def cut(n: Network, x: Tensor) -> Tensor:
    axis = n.pick(*range(len(x.shape)))
    if n.pick(False, True):
        count = n.pick(1, 2, 5)
        return n.apply(Take(np.arange(count) % x.shape[axis], axis), x)
    parts = [(None, None, 1)] * len(x.shape)
    parts[axis] = (None, None, n.pick(-1, 2, -2))
    return n.apply(Slice(tuple(parts)), x)


def matrices(n: Network, x: Tensor) -> Tensor:
    """x'·x, or the squares of a vector added up."""
    if len(x.shape) != 2:
        return x
    return n.apply(MatMul(), n.apply(Transpose((1, 0)), x), x)


def sequence(n: Network, x: Tensor) -> Tensor:
    if len(x.shape) != 2:
        return x
    kind, units, inputs = n.pick(SimpleRNN, GRU, LSTM), n.pick(1, 3), x.shape[-1]
    width = units * kind.gates
    arrays = [n.weights(inputs, width, inputs=inputs), n.weights(units, width, inputs=units)]
    more = {SimpleRNN: (), GRU: (Activation("sigmoid"), False), LSTM: (Activation("sigmoid"),)}
    cell = kind(*arrays, n.bias(width), Activation("tanh"), *more[kind])
    return n.apply(Unrolled(cell, False, n.pick(False, True)), x)


ANY = [dense, dense, activation, normalised, softmax, joined, added, multiplied, reshaped]
ANY += [computed, computed, divided, turned, cut]
VECTOR = [*ANY, dense, recurrent]
WINDOWED = [convolved, convolved, convolved_by_depth, pooled, padded, flattened]
LINE = [*ANY, *WINDOWED, matrices, sequence]
IMAGE = [*ANY, *WINDOWED]


@settings(
    max_examples=BATCHES,
    deadline=None,  # each example calls the C compiler
    derandomize=True,
    # A batch names the network that failed; to shrink it would mean hundreds of compilations.
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(data=st.data())
def test_random_networks(build, origin, data):
    networks = [Network(data.draw, build, f"n{k}").drawn for k in range(BATCH)]
    networks = [n for n in networks if n.graph.nodes]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        columns = []
        for n in networks:
            emitted = emit(n.graph, n.options, origin)
            columns.append(emitted.columns)
            for file_name, text in emitted.texts.items():
                (folder / file_name).write_text(text, encoding="utf-8")
        sources = [folder / f"{n.options.name}.c" for n in networks]
        build_library(sources, folder / "all.so", "-O0")
        for n, chosen in zip(networks, columns, strict=True):
            check(n, chosen, folder)


def check(network: Drawn, columns: dict, folder: Path) -> None:
    name, graph = network.options.name, network.graph
    header = folder / f"{name}.h"
    code = HostCode(folder / "all.so", header)
    x = np.random.default_rng(0).normal(size=(STEPS, graph.input_size)).astype(np.float32)
    cases = make_cases(graph, header.read_text(), name, columns, x, resets=(RESET,))
    assert {"step", "jacobian"} < {case.short_name for case in cases}
    for case in cases:
        vectors = {key: value for key, value in case.inputs.items() if key != "x"}
        if case.state is not None:
            vectors["state"] = case.state
        found = code.run(x, case.short_name, resets=case.resets, **vectors)
        for key, error in case.errors(found).items():
            formulas = "; ".join(node.op.formula for node in graph.nodes)
            assert error <= TOLERANCE[key], f"{case.short_name} {key}: {error:.1e} of {formulas}"
