"""A model run by those who defined it: Keras, the TensorFlow Lite interpreter, onnxruntime.

No framework opens the model file: whatever a file may hold that runs code (a Lambda layer, a class
of one's own, a custom operator) is not in what our own reader makes of it, and that alone goes to
the child process that runs it (`source_process`), which can open and write nothing.

What the comparison is worth: Keras builds its layers of the config that the file has, of which the
operators name the keys (`Op.keras_config`). So it is Keras that says what `units`, `activation`,
`axis` or `reset_after` mean. Which arrays are a layer's, and how layers are connected, is our own
reading; the tests compare that with Keras' on files that they wrote themselves. A reference built
of the graph alone would be simpler, but would say nothing about the reading of a config.
"""

from __future__ import annotations

import importlib.util
import io
import json
import os
import pickle
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nn4mc_codegen.graph.ir import Graph
from nn4mc_codegen.importers import read_source
from nn4mc_codegen.importers.keras import Source
from nn4mc_codegen.importers.onnx_source import OnnxSource
from nn4mc_codegen.int8.quantize import QuantGraph
from nn4mc_codegen.trial.oracle import STEP_TOLERANCE
from nn4mc_codegen.trial.programs import run_bounded

# Steps of the sequences for a recurrent model that takes any number.
STEPS = 20
# A comparison takes 4 s of processor time, most of it to import TensorFlow; on two cores with a
# dozen busy processes it was seen to take 130 s.
TIMEOUT_S = 300


@dataclass(frozen=True)
class SourceVerdict:
    runner: str
    """who ran it, with the version; or why nobody did"""
    error: float | None
    """largest |source - meaning| of an output, relative to the largest where that exceeds 1; of an
    int8 network in steps of its output. None where it was not run"""
    tolerance: float
    remark: str = ""
    """what else its runner does with the model"""

    @property
    def passed(self) -> bool:
        return self.error is None or self.error <= self.tolerance


def compare_with_source(
    path: Path, graph: Graph | QuantGraph, samples: int, seed: int
) -> SourceVerdict:
    """Compare the meaning of a graph with the model of the file that it was read from.

    Raises `ModelError` if the file cannot be read any more.
    """
    try:
        source = read_source(path)
        if isinstance(source, Source):
            return _keras(source, graph, samples, seed)
        if isinstance(source, OnnxSource):
            return _onnx(source, graph, samples, seed)
        return _tflite(source, graph, samples, seed)
    except _NotRun as reason:
        return SourceVerdict(f"source not run: {reason}", None, 0.0)


class _NotRun(Exception):
    pass


def is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _keras(source: Source, graph: Graph, samples: int, seed: int) -> SourceVerdict:
    framework = _keras_for(source)
    random = np.random.default_rng(seed)
    shapes = source.network.inputs.values()
    # A sequence's tensor in the graph is one step of it: its shape in the file has an axis more.
    timed = [len(s) == len(t.shape) + 2 for s, t in zip(shapes, graph.inputs, strict=True)]
    lengths = {shape[1] for shape, is_timed in zip(shapes, timed, strict=True) if is_timed}
    steps = next((n for n in lengths if n is not None), STEPS) if lengths else 1
    x = random.normal(size=(samples, steps, graph.input_size)).astype(np.float32)
    ends = np.cumsum([t.size for t in graph.inputs])[:-1]
    given = [
        part.reshape(samples, *((steps,) if is_timed else ()), *tensor.shape)
        for part, tensor, is_timed in zip(
            np.split(x, ends, axis=2), graph.inputs, timed, strict=True
        )
    ]
    head, found = _run(framework, (source, given))  # of a sequence of outputs the last
    if graph.states:
        meant = np.array([graph.run(sequence)[0][-1] for sequence in x])
    else:
        meant = np.array([graph.evaluate(row) for row in x[:, 0]])
    scale = max(1.0, float(np.max(np.abs(meant))))
    error = float(np.max(np.abs(found - meant))) / scale
    return SourceVerdict(head["runner"], error, STEP_TOLERANCE)


def _keras_for(source: Source) -> str:
    """The package that means by the file's config what the file's Keras meant by it."""
    if source.keras_major >= 3:
        wanted = ("keras",)
    else:
        wanted = ("tf_keras", "keras")
        if any("hard_sigmoid" in str(call.config) for call in source.network.calls):
            wanted = ("tf_keras",)  # Keras 3 means another function by it
    for package in wanted:
        if is_installed(package) and is_installed("tensorflow"):
            return package
    raise _NotRun(f"{wanted[0]} is not installed")


def _tflite(content: bytes, graph: Graph | QuantGraph, samples: int, seed: int) -> SourceVerdict:
    """Of an int8 network in steps of its output."""
    is_int8 = isinstance(graph, QuantGraph)
    if not any(map(is_installed, ("ai_edge_litert", "tensorflow"))):
        raise _NotRun("no TensorFlow Lite interpreter is installed")
    random = np.random.default_rng(seed)
    x = random.normal(size=(samples, graph.input_size)).astype(np.float32)
    q = np.array([graph.quantize(row) for row in x]) if is_int8 else None
    sizes = [tensor.size for tensor in graph.inputs]
    carries = bool(graph.states)
    head, found = _run("tflite", (content, sizes, x, q, carries))
    found = found.astype(np.float64)
    if is_int8:
        if head["output_type"] == "float32":
            found = np.rint(found / graph.output.scale) + graph.output.zero
        elif head["output_type"] == "uint8":
            found -= 128
        meant, state = [], None
        for row in q:
            y, state = graph.step_q(row, state if carries else None)
            meant.append(y)
        return SourceVerdict(head["runner"], float(np.max(np.abs(found - np.array(meant)))), 1.0)
    meant = graph.run(x)[0] if carries else np.array([graph.evaluate(row) for row in x])
    scale = max(1.0, float(np.max(np.abs(meant))))
    error = float(np.max(np.abs(found - meant))) / scale
    runner, remark = head["runner"], ""
    if "own_kernels" in head:
        runner += " with its 8-bit weights as float32"
        own = head["own_kernels"] / scale
        remark = f"on these weights it rounds activations to 8 bits too and differs by {own:.1e}"
    return SourceVerdict(runner, error, STEP_TOLERANCE, remark)


def _onnx(source: OnnxSource, graph: Graph, samples: int, seed: int) -> SourceVerdict:
    if not is_installed("onnxruntime"):
        raise _NotRun("onnxruntime is not installed")
    steps = STEPS if source.is_sequence else 1
    random = np.random.default_rng(seed)
    x = random.normal(size=(samples, steps, graph.input_size)).astype(np.float32)
    first = 0
    for tensor, (_, extents) in zip(graph.inputs, source.inputs, strict=True):
        if "time" not in extents:  # at all steps the same
            x[:, :, first : first + tensor.size] = x[:, :1, first : first + tensor.size]
        first += tensor.size
    head, found = _run("onnx", (source, x))
    meant = np.array([graph.run(sequence)[0][-1] for sequence in x])
    scale = max(1.0, float(np.max(np.abs(meant))))
    error = float(np.max(np.abs(found - meant))) / scale
    return SourceVerdict(head["runner"], error, STEP_TOLERANCE)


def _run(framework: str, request: object) -> tuple[dict, np.ndarray]:
    """What `source_process` answers: who ran the model, and its outputs (samples, …)."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "PYTHONDONTWRITEBYTECODE": "1",
        "CUDA_VISIBLE_DEVICES": "-1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    with tempfile.TemporaryDirectory() as empty:
        done = run_bounded(
            [sys.executable, "-m", "nn4mc_codegen.trial.source_process", framework],
            TIMEOUT_S,
            _NotRun,
            f"{framework} does not end",
            input=pickle.dumps(request),
            cwd=empty,
            env=environment,
        )
    line, _, array = done.stdout.partition(b"\n")
    if done.returncode or not line:
        raise _NotRun(f"{framework} ends with exit code {done.returncode}")
    head = json.loads(line)
    if "failure" in head:
        raise _NotRun(f"{head['runner']} cannot run it ({head['failure']})")
    return head, np.load(io.BytesIO(array), allow_pickle=False)
