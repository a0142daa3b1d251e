"""Random networks of every operator: the C does what the IR means, values and Jacobian."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nn4mc_codegen.emit import emit
from nn4mc_codegen.ir import Graph
from nn4mc_codegen.ops.activation import Activation
from nn4mc_codegen.ops.add import Add
from nn4mc_codegen.ops.concatenate import Concatenate
from nn4mc_codegen.verify import HostCode, build_library

ACTIVATIONS = [
    Activation("linear"),
    Activation("relu"),
    Activation("tanh"),
    Activation("sigmoid"),
    Activation("elu", (("a", 1.0),)),
    Activation("leaky_relu", (("a", 0.2),)),
]
# float32 against float64 through up to six layers, relative to the largest value beyond 1.
TOLERANCE = 1e-5


def draw_network(draw: Callable, builder: type) -> tuple[Graph, tuple[int, ...]]:
    """A graph and the chosen elements of its flat input."""
    b = builder(draw(st.integers(0, 2**16)))
    tensors = [b.input(draw(st.integers(1, 9))) for _ in range(draw(st.integers(1, 3)))]
    for _ in range(draw(st.integers(1, 6))):
        kind = draw(st.sampled_from(["dense", "dense", "activation", "concatenate", "add"]))
        x = draw(st.sampled_from(tensors))
        if kind == "dense":
            h = b.dense(x, draw(st.integers(1, 40)), draw(st.sampled_from(ACTIVATIONS)))
        elif kind == "activation":
            h = b.apply(draw(st.sampled_from(ACTIVATIONS[1:])), x)
        elif kind == "concatenate":
            others = draw(st.lists(st.sampled_from(tensors), min_size=1, max_size=3))
            h = b.apply(Concatenate(-1), x, *others)
        else:
            h = b.apply(Add(), x, draw(st.sampled_from([t for t in tensors if t.size == x.size])))
        tensors.append(h)
    graph = b.graph(tensors[-1])
    elements = st.integers(0, graph.input_size - 1)
    chosen = draw(st.sets(elements, min_size=1, max_size=graph.input_size))
    return graph, tuple(sorted(chosen))


def compile_graph(graph: Graph, chosen: tuple[int, ...], folder: Path) -> HostCode:
    origin = {"model_file": "m.keras", "model_hash": "0" * 16, "command": "nn4mc"}
    for file_name, text in emit(graph, "fk", chosen, **origin)[1].items():
        (folder / file_name).write_text(text, encoding="utf-8")
    build_library([folder / "fk.c"], folder / "fk.so", "-O0")
    sizes = graph.input_size, graph.output.size, len(chosen)
    return HostCode(folder / "fk.so", "fk", *sizes)


@settings(
    max_examples=40,
    deadline=None,  # each example calls the C compiler
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(data=st.data())
def test_random_network(build, data):
    graph, chosen = draw_network(data.draw, build)
    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        code = compile_graph(graph, chosen, Path(folder))
        for _ in range(5):
            x = random.normal(size=graph.input_size).astype(np.float32)
            expected = graph.evaluate(x)
            scale = max(1.0, np.max(np.abs(expected)))
            np.testing.assert_allclose(code.step(x), expected, atol=TOLERANCE * scale)
            y, jacobian = code.jacobian(x)
            np.testing.assert_array_equal(y, code.step(x))
            expected = graph.jacobian(x)[:, list(chosen)]
            scale = max(1.0, np.max(np.abs(expected)))
            np.testing.assert_allclose(jacobian, expected, atol=TOLERANCE * scale)
