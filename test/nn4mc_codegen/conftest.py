"""Graphs, model files and compiled C for the compiler's tests."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pytest

from nn4mc_codegen.graph.ir import Graph, Node, Op, Tensor
from nn4mc_codegen.graph.options import Options
from nn4mc_codegen.ops.activation import Activation
from nn4mc_codegen.ops.concatenate import Concatenate
from nn4mc_codegen.ops.dense import Dense
from nn4mc_codegen.ops.flatten import Flatten
from nn4mc_codegen.printing.emit import emit
from nn4mc_codegen.printing.emitted import Origin
from nn4mc_codegen.trial.host import HostCode, build_library

ORIGIN = Origin("m.keras", "0" * 16, "nn4mc compile")


class GraphBuilder:
    """Builds a `Graph` node by node."""

    def __init__(self, seed: int = 0):
        self._random = np.random.default_rng(seed)
        self._inputs: list[Tensor] = []
        self._nodes: list[Node] = []

    def input(self, *shape: int, name: str = "") -> Tensor:
        self._inputs.append(Tensor(name or f"in_{len(self._inputs)}", shape))
        return self._inputs[-1]

    def apply(self, op: Op, *inputs: Tensor) -> Tensor:
        name = f"layer_{len(self._nodes)}"
        output = Tensor(name, op.output_shape([t.shape for t in inputs]))
        self._nodes.append(Node(name, op, inputs, output))
        return output

    def dense(self, x: Tensor, units: int, activation: Activation | None = None) -> Tensor:
        """Weights of the scale that keeps a signal's variance."""
        kernel = self._random.normal(0.0, x.size**-0.5, (x.size, units)).astype(np.float32)
        bias = self._random.normal(0.0, 0.3, units).astype(np.float32)
        return self.apply(Dense(kernel, bias, activation or Activation("linear")), x)

    def all_of(self, *outputs: Tensor) -> Graph:
        """All of them, flat, one after the other: as many networks for one call of the compiler."""
        flat = [self.apply(Flatten(), t) for t in outputs]
        return self.graph(self.apply(Concatenate(0), *flat))

    def graph(self, output: Tensor) -> Graph:
        return Graph(tuple(self._inputs), output, tuple(self._nodes))


TOY_HEADER = """
#ifndef TOY_H
#define TOY_H
#define TOY_INPUTS 2
#define TOY_OUTPUTS 1
#define TOY_STATES 1
#ifdef __cplusplus
extern "C" {
#endif
typedef struct { float value[TOY_STATES]; } toy_state;
void toy_reset(toy_state *state);
void toy_step(toy_state *state, const float x[TOY_INPUTS], float y[TOY_OUTPUTS]);
void toy_vjp(const toy_state *state, const float x[TOY_INPUTS], const float v[TOY_OUTPUTS],
    float g[TOY_INPUTS]);
#ifdef __cplusplus
}
#endif
#endif
"""
TOY_SOURCE = """
#include "toy.h"
void toy_reset(toy_state *state)
{
    state->value[0] = 1.0f;
}
void toy_step(toy_state *state, const float x[TOY_INPUTS], float y[TOY_OUTPUTS])
{
    state->value[0] += x[0];
    y[0] = state->value[0] * x[1];
}
void toy_vjp(const toy_state *state, const float x[TOY_INPUTS], const float v[TOY_OUTPUTS],
    float g[TOY_INPUTS])
{
    g[0] = v[0] * x[1];
    g[1] = v[0] * (state->value[0] + x[0]);
}
"""


@pytest.fixture(scope="session")
def toy_texts() -> dict[str, str]:
    """A network by hand: h = h + x[0], y = h·x[1], from h = 1."""
    return {"toy.h": TOY_HEADER, "toy.c": TOY_SOURCE}


@pytest.fixture(scope="session")
def build() -> Callable[[], GraphBuilder]:
    return GraphBuilder


@pytest.fixture(scope="session")
def origin() -> Origin:
    return ORIGIN


@pytest.fixture(scope="session")
def compile_graphs(tmp_path_factory) -> Callable[..., list[HostCode]]:
    """Compiles graphs, each with its Jacobian's columns or a dict of options, by one call of cc."""

    def compile_all(cases: Sequence[tuple[Graph, Sequence[int] | dict]]) -> list[HostCode]:
        folder = tmp_path_factory.mktemp("c")
        sources = []
        for number, (graph, wanted) in enumerate(cases):
            options = wanted if isinstance(wanted, dict) else {"jacobian": wanted or None}
            emitted = emit(graph, Options(f"n{number}", **options), ORIGIN)
            for file_name, text in emitted.texts.items():
                path = folder / file_name
                path.write_text(text, encoding="utf-8")
                sources += [path] if path.suffix == ".c" else []
        library = folder / "all.so"
        build_library(sources, library, "-O1")
        return [HostCode(library, folder / f"n{i}.h") for i in range(len(cases))]

    return compile_all


@pytest.fixture(scope="session")
def same_as_meaning(compile_graphs) -> Callable[..., None]:
    """Compares outputs and chosen columns of the Jacobian of C with the graph's, at a random x."""

    def compare(cases: Sequence[tuple[Graph, Sequence[int]]], tolerance: float) -> None:
        random = np.random.default_rng(0)
        for (graph, chosen), code in zip(cases, compile_graphs(cases), strict=True):
            x = random.normal(size=graph.input_size).astype(np.float32)
            np.testing.assert_allclose(code.step(x), graph.evaluate(x), atol=tolerance)
            expected = graph.jacobian(x)[:, list(chosen)]
            np.testing.assert_allclose(code.jacobian(x)[1], expected, atol=tolerance)

    return compare


@dataclass
class ModelFiles:
    """Writes model files as Keras lays them out, without Keras."""

    folder: Path

    def hdf5(
        self,
        config: dict,
        weights: dict[str, list[tuple[str, np.ndarray]]],
        version: str = "2.2.4",
        name: str = "model.h5",
    ) -> Path:
        path = self.folder / name
        with h5py.File(path, "w") as file:
            file.attrs["model_config"] = json.dumps(config).encode()
            file.attrs["keras_version"] = version.encode()
            for layer, arrays in weights.items():
                group = file.create_group(f"model_weights/{layer}")
                names = [f"{layer}/{array_name}:0" for array_name, _ in arrays]
                group.attrs["weight_names"] = np.array(names, dtype="S")
                for array_name, (_, array) in zip(names, arrays, strict=True):
                    group[array_name] = array
            file.require_group("model_weights")
        return path

    def zip(
        self,
        config: dict,
        weights: dict[str, list[np.ndarray]],
        version: str = "3.4.1",
        name: str = "model.keras",
    ) -> Path:
        """`weights` by the name of their group, which is not the layer's."""
        buffer = io.BytesIO()
        with h5py.File(buffer, "w") as file:
            for group, arrays in weights.items():
                for number, array in enumerate(arrays):
                    file[f"layers/{group}/vars/{number}"] = array
        path = self.folder / name
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("metadata.json", json.dumps({"keras_version": version}))
            archive.writestr("config.json", json.dumps(config))
            archive.writestr("model.weights.h5", buffer.getvalue())
        return path


@pytest.fixture
def files(tmp_path: Path) -> ModelFiles:
    return ModelFiles(tmp_path)
