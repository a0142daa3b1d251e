"""`.tflite` files, float32 and int8, against TensorFlow Lite's interpreter."""

from __future__ import annotations

import os
import subprocess
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
tf = pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")

from nn4mc_codegen import compile_model  # noqa: E402
from nn4mc_codegen.compile import emit_graph  # noqa: E402
from nn4mc_codegen.graph.check import ModelError, check_graph  # noqa: E402
from nn4mc_codegen.graph.ir import Graph  # noqa: E402
from nn4mc_codegen.graph.options import Options  # noqa: E402
from nn4mc_codegen.importers import tflite  # noqa: E402
from nn4mc_codegen.int8.calibrate import quantize_graph  # noqa: E402
from nn4mc_codegen.int8.quantize import QuantGraph  # noqa: E402
from nn4mc_codegen.trial.host import STRICT_FLAGS, HostCode  # noqa: E402

from .tflite_interpreter import Interpreter  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # TensorFlow's own, of which there are many

L = keras.layers
# Both sides sum in float32, in different orders; outputs are of order 1.
OUTPUT_TOLERANCE = 2e-6
# Relative to the largest entry of the same Jacobian.
JACOBIAN_TOLERANCE = 1e-5
SAMPLES = 40


def sequential(*layers):
    return keras.Sequential(layers)


def two_inputs(join, *shape):
    a, b = L.Input(shape, name="a"), L.Input(shape, name="b")
    return keras.Model([a, b], join(L.Activation("tanh")(a), b))


def increment():
    """The form of a trained rig model: y(k+1) = y(k) + net(u, y, signals)."""
    sizes = {"commands": 4, "output": 3, "signals": 5}
    inputs = [L.Input((size,), name=name) for name, size in sizes.items()]
    h = L.Dense(16, activation="tanh")(L.Concatenate()(inputs))
    h = L.Dense(16, activation="tanh")(h)
    return keras.Model(inputs, L.Add()([inputs[1], L.Dense(3)(h)]))


def perceptron(activation, units=9):
    return sequential(
        L.Input((7,)), L.Dense(units, activation=activation), L.Dense(6, activation), L.Dense(3)
    )


def convolutions_1d():
    return sequential(
        L.Input((12, 4)),
        L.Conv1D(5, 3, padding="same", activation="relu"),
        L.MaxPooling1D(2),
        L.Conv1D(6, 3, padding="causal", activation="tanh"),
        L.GlobalAveragePooling1D(),
        L.Dense(3),
    )


def convolutions_2d():
    return sequential(
        L.Input((9, 8, 2)),
        L.Conv2D(5, 3, strides=2, padding="same", activation="relu6"),
        L.DepthwiseConv2D(3, padding="same", depth_multiplier=2, activation="relu"),
        L.AveragePooling2D(2, padding="same"),
        L.ZeroPadding2D(((1, 0), (0, 2))),
        L.Conv2D(4, (2, 3)),
        L.MaxPooling2D((2, 1)),
        L.Flatten(),
        L.Dense(3, activation="softmax"),
    )


def dilated():
    """Converted for an open batch size it would be SPACE_TO_BATCH_ND and a plain convolution."""
    return sequential(
        L.Input(batch_shape=(1, 11, 3)),
        L.Conv1D(4, 3, dilation_rate=2, padding="causal", activation="relu"),
        L.Conv1D(4, 3, dilation_rate=3),
        L.Flatten(),
        L.Dense(2),
    )


def rows():
    """Dense layers applied to each of several vectors; shapes that the file computes."""
    return sequential(
        L.Input((5, 4)),
        L.Dense(6, activation="gelu"),
        L.Reshape((6, 5)),
        L.Activation("swish"),
        L.Flatten(),
        L.Dense(2, activation="leaky_relu"),
    )


def wide():
    """Sums beyond 24 bits, which the fast kernel cannot hold."""
    layer = L.Dense(5)
    model = sequential(L.Input((700,)), layer)
    layer.set_weights([np.full((700, 5), 0.05, np.float32), np.zeros(5, np.float32)])
    return model


NETWORKS = {
    "increment": increment,
    "convolutions_1d": convolutions_1d,
    "convolutions_2d": convolutions_2d,
    "dilated": dilated,
    "rows": rows,
    "wide": wide,
    "average_2d": lambda: sequential(L.Input((5, 6, 8)), L.GlobalAveragePooling2D()),
    "average_2d_kept": lambda: sequential(
        L.Input((5, 6, 8)), L.GlobalAveragePooling2D(keepdims=True)
    ),
    "average_1d": lambda: sequential(L.Input((7, 8)), L.GlobalAveragePooling1D()),
    "normalised": lambda: sequential(L.Input((5, 4)), L.Activation("tanh"), L.BatchNormalization()),
    "padded": lambda: sequential(L.Input((4, 3, 2)), L.ZeroPadding2D(((1, 2), (0, 3)))),
    "sum": lambda: two_inputs(lambda a, b: L.Add()([a, b]), 40),
    "difference": lambda: two_inputs(lambda a, b: L.Subtract()([a, b]), 40),
    "product": lambda: two_inputs(lambda a, b: L.Multiply()([a, b]), 40),
    "joined": lambda: two_inputs(lambda a, b: L.Concatenate()([a, b]), 4, 5),
    **{
        f"dense_{name}": (lambda name=name: perceptron(name))
        for name in ("relu", "relu6", "tanh", "elu")
    },
    **{
        f"only_{name}": (lambda name=name: sequential(L.Input((40,)), L.Activation(name)))
        for name in (
            "tanh sigmoid relu relu6 leaky_relu elu gelu hard_silu softmax exponential".split()
        )
    },
}
# A rescaled mean, product or leaky_relu rounds differently in the optimised kernels; beyond that
# one quantum of a layer may become two in the layers after it.
OPTIMISED_QUANTA = {"convolutions_1d": 2, "convolutions_2d": 2, "rows": 2}


def data(model, samples, seed=0):
    """Unit-scale inputs in the order of the model's, flat ones in that of the file."""
    random = np.random.default_rng(seed)
    return [random.normal(size=(samples, *t.shape[1:])).astype(np.float32) for t in model.inputs]


def convert(model, kind):
    """kind: float32, int8 (with float32 inputs and outputs, the default), or int8_io."""
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if kind != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        names, arrays = [t.name for t in model.inputs], data(model, 50)
        converter.representative_dataset = lambda: (
            {n: a[i : i + 1] for n, a in zip(names, arrays, strict=True)} for i in range(50)
        )
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    if kind == "int8_io":
        converter.inference_input_type = converter.inference_output_type = tf.int8
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return converter.convert()


@dataclass
class Case:
    model: object
    content: bytes
    graph: Graph | QuantGraph
    code: HostCode


@pytest.fixture(scope="module")
def cases(tmp_path_factory, origin) -> dict[tuple[str, str], Case]:
    """Every network in every kind, compiled with one call of the C compiler."""
    folder = tmp_path_factory.mktemp("tflite")
    keras.utils.set_random_seed(3)
    random = np.random.default_rng(3)
    made = {}
    for name, make in NETWORKS.items():
        model = make()
        if name != "wide":  # biases, which Keras starts at zero
            model.set_weights(
                [
                    np.abs(w + random.normal(0.0, 0.1, w.shape))
                    if "variance" in v.path
                    else w + random.normal(0.0, 0.1, w.shape)
                    for v, w in zip(model.weights, model.get_weights(), strict=True)
                ]
            )
        for kind in ["float32", *(kind for n, kind in INT8 if n == name)]:
            content, code = convert(model, kind), f"{name}_{kind}"
            graph = tflite.read(content)
            # The Jacobian of the widest would take long to compile.
            jacobian = "all" if kind == "float32" and name != "wide" else None
            texts = emit_graph(graph, Options(code, jacobian=jacobian), origin).texts
            for file_name, text in texts.items():
                (folder / file_name).write_text(text, encoding="utf-8")
            made[name, kind] = model, content, graph, folder / f"{code}.c"
    library = folder / "all.so"
    sanitized = ["-O1", "-fPIC", "-shared", "-fsanitize=undefined", "-fno-sanitize-recover"]
    sources = [str(source) for *_, source in made.values()]
    words = ["cc", *STRICT_FLAGS, *sanitized, "-o", str(library), *sources, "-lm"]
    subprocess.run(words, check=True)
    return {
        key: Case(model, content, graph, HostCode(library, source.with_suffix(".h")))
        for key, (model, content, graph, source) in made.items()
    }


def flat_inputs(case: Case, samples: int = SAMPLES, seed: int = 1) -> np.ndarray:
    size = case.graph.input_size
    return np.random.default_rng(seed).normal(size=(samples, size)).astype(np.float32)


@pytest.mark.parametrize("name", NETWORKS)
def test_float32(cases, name):
    case = cases[name, "float32"]
    interpreter = Interpreter(case.content, reference=False)
    x = flat_inputs(case)
    expected = np.array([interpreter(row) for row in x])
    # Exponentials reach e^4: relative to what is larger than 1.
    scale = max(1.0, float(np.abs(expected).max()))
    for meant in (np.array([case.graph.evaluate(row) for row in x]), case.code.run(x)["y"]):
        np.testing.assert_allclose(meant, expected, rtol=0, atol=OUTPUT_TOLERANCE * scale)


@pytest.mark.parametrize("name", [n for n in NETWORKS if n != "wide"])
def test_float32_jacobian(cases, name):
    case = cases[name, "float32"]
    x = flat_inputs(case, 3)
    names = {t.name: t for t in case.model.inputs}
    variable = tf.constant(x)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(variable)
        parts = tf.split(variable, [t.size for t in case.graph.inputs], axis=1)
        given = {
            t.name: tf.reshape(part, (-1, *t.shape))
            for t, part in zip(case.graph.inputs, parts, strict=True)
        }
        if len(names) == 1:
            (only,) = given.values()
            y = tf.concat([case.model(only[i : i + 1]) for i in range(len(x))], axis=0)
        else:
            y = case.model([given[n] for n in names])
        y = tf.reshape(y, (len(x), -1))
    expected = tape.batch_jacobian(y, variable, experimental_use_pfor=False).numpy()
    found = case.code.run(x, "jacobian")["jacobian"].reshape(expected.shape)
    np.testing.assert_allclose(
        found, expected, rtol=0, atol=JACOBIAN_TOLERANCE * np.abs(expected).max()
    )


INT8 = [(name, "int8") for name in NETWORKS if name != "only_elu"]  # it stays in float32
INT8 += [("increment", "int8_io"), ("only_tanh", "int8_io")]


def int8_inputs(case: Case, interpreter: Interpreter) -> np.ndarray:
    """Some of them beyond the range that the representative data had."""
    x = 1.5 * flat_inputs(case)
    if interpreter.inputs[0]["dtype"] == np.int8:
        return np.array([case.graph.quantize(row) for row in x])
    return x


def in_quanta(case: Case, interpreter: Interpreter, y: np.ndarray) -> np.ndarray:
    return y if interpreter.is_int8 else np.rint(y / case.graph.output.scale)


def meaning(case: Case, x: np.ndarray) -> np.ndarray:
    """The int8 outputs of inputs as the interpreter takes them, less the zero point of float32."""
    if np.issubdtype(x.dtype, np.integer):
        return np.array([case.graph.evaluate_q(row) for row in x])
    return np.array([case.graph.evaluate_q(case.graph.quantize(r)) for r in x]) - (
        case.graph.output.zero
    )


@pytest.mark.parametrize("name,kind", INT8)
def test_int8_is_that_of_the_reference_kernels(cases, name, kind):
    if name == "dense_elu":
        pytest.skip("the reference kernels have no ELU")
    case = cases[name, kind]
    interpreter = Interpreter(case.content, reference=True)
    x = int8_inputs(case, interpreter)
    expected = np.array([in_quanta(case, interpreter, interpreter(row)) for row in x])
    np.testing.assert_array_equal(meaning(case, x), expected)


@pytest.mark.parametrize("name,kind", INT8)
def test_int8_is_near_the_optimised_kernels(cases, name, kind):
    case = cases[name, kind]
    interpreter = Interpreter(case.content, reference=False)
    x = int8_inputs(case, interpreter)
    expected = np.array([in_quanta(case, interpreter, interpreter(row)) for row in x])
    assert np.abs(meaning(case, x) - expected).max() <= OPTIMISED_QUANTA.get(name, 1)


@pytest.mark.parametrize("name,kind", INT8)
def test_int8_code_is_its_meaning(cases, name, kind):
    case = cases[name, kind]
    x = 1.5 * flat_inputs(case)
    x[0, 0], x[1, 0], x[2, 0] = np.nan, np.inf, -1e30
    q = np.array([case.graph.quantize(row) for row in x])
    expected = np.array([case.graph.evaluate_q(row) for row in q])
    np.testing.assert_array_equal(case.code.run(q, "step_q")["y"], expected)
    np.testing.assert_array_equal(case.code.run(x)["y"], [case.graph.evaluate(row) for row in x])


@pytest.mark.parametrize("name", ["increment", "convolutions_1d", "convolutions_2d", "rows"])
def test_quantised_here_is_as_good_as_by_the_converter(cases, name):
    """Of the same float32 network on the same representative data."""
    theirs, ours = cases[name, "int8"], cases[name, "float32"]
    parts = dict(zip([t.name for t in ours.model.inputs], data(ours.model, 50), strict=True))
    if len(parts) == 1:
        (samples,) = parts.values()
        samples = samples.reshape(50, -1)
    else:
        samples = np.hstack([parts[t.name] for t in ours.graph.inputs])
    quantised = quantize_graph(ours.graph, samples)

    def rms(graph):
        x = flat_inputs(ours, 100)
        difference = [graph.evaluate(row) - ours.graph.evaluate(row) for row in x]
        return np.sqrt(np.mean(np.square(difference)))

    # The same scheme: what differs is which layers share a scale.
    assert rms(quantised) < 1.3 * rms(theirs.graph)
    assert quantised.accuracy.rms < 0.02 * quantised.accuracy.range


def refused(tmp_path: Path, content: bytes) -> str:
    path = tmp_path / "m.tflite"
    path.write_bytes(content)
    with pytest.raises(ModelError) as error:
        compile_model(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert "\n" not in str(error.value)
    return str(error.value)


def test_unknown_operators_are_refused_by_name(tmp_path):
    model = sequential(L.Input((4,)), L.Dense(3, activation="selu"))
    message = refused(tmp_path, convert(model, "float32"))
    assert message.startswith("m.tflite: layer 'greater_1': GREATER is not supported; compile the")


def test_open_batch_size_with_dilation_is_explained(tmp_path):
    model = sequential(L.Input((11, 3)), L.Conv1D(4, 3, dilation_rate=2), L.Flatten())
    assert "give the model's Input batch_size=1" in refused(tmp_path, convert(model, "float32"))


def test_names_of_inputs_are_those_of_the_model(cases):
    names = {t.name: t.size for t in cases["increment", "int8"].graph.inputs}
    assert names == {"commands": 4, "output": 3, "signals": 5}


def outcome(content: bytes) -> bool:
    """Whether a file is read; if not, the error must be one line. In this process."""
    try:
        check_graph(tflite.read(content))
    except ModelError as error:
        assert "\n" not in str(error) and len(str(error)) < 2000
        return False
    return True


@pytest.mark.parametrize("kind", ["float32", "int8"])
def test_truncated_files_are_refused(cases, tmp_path, kind):
    content = cases["convolutions_1d", kind].content
    for length in np.linspace(0, len(content) - 8, 200).astype(int):
        assert not outcome(content[:length])
    for length in (0, 7, 8, 1000):
        refused(tmp_path, content[:length])


def patched(content: bytes, place: int, value: int) -> bytes:
    """With another 32-bit number at a place."""
    return content[:place] + int(value).to_bytes(4, "little", signed=True) + content[place + 4 :]


def test_hostile_files_are_refused(cases):
    import tflite as schema

    content = cases["increment", "float32"].content
    graph = schema.Model.GetRootAs(content, 0).Subgraphs(0)
    operator, table = graph.Operators(1), graph._tab
    inputs = operator._tab.Vector(operator._tab.Offset(4 + 2))
    operators = table.Vector(table.Offset(4 + 2 * 3))
    output = int(operator.OutputsAsNumpy()[0])
    first = graph.Tensors(graph.InputsAsNumpy()[0])._tab
    shape = first.Vector(first.Offset(4))
    for place, value, words in (
        (inputs, output, "reads what no operator before it makes"),
        (inputs, 1 << 30, "names tensors that it does not have"),
        (inputs - 4, (1 << 31) - 1, "damaged"),
        (operators - 4, (1 << 31) - 1, "claims 2147483647 parts"),
        (shape + 4, (1 << 31) - 1, "at most"),
        (shape + 4, -5, "at most"),
        (shape, 3, "not that of one sample"),
    ):
        with pytest.raises(ModelError, match=words):
            tflite.read(patched(content, place, value))


@pytest.mark.parametrize("kind", ["float32", "int8"])
def test_damaged_files_are_one_line_or_a_graph(cases, kind):
    """Bytes changed at random, weights and structure alike."""
    content = cases["convolutions_1d", kind].content
    random = np.random.default_rng(0)
    outcomes = []
    for _ in range(400):
        damaged = np.frombuffer(content, np.uint8).copy()
        places = random.integers(8, len(content), random.integers(1, 6))
        damaged[places] = random.choice([0, 1, 127, 128, 255, *random.integers(0, 256, 3)])
        outcomes.append(outcome(damaged.tobytes()))
    assert 40 < sum(outcomes) < 360  # of either kind enough
