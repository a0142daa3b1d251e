"""The model file run by those who defined it: Keras, or the TensorFlow Lite interpreter."""

from __future__ import annotations

import importlib
import os
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nn4mc_codegen.graph.ir import Graph
from nn4mc_codegen.int8.quantize import QuantGraph
from nn4mc_codegen.trial.oracle import STEP_TOLERANCE

# Steps of the sequences for a recurrent model that takes any number.
STEPS = 20


@dataclass(frozen=True)
class SourceVerdict:
    runner: str
    """who ran it, with the version; or why nobody did"""
    error: float | None
    """largest |source - meaning| of an output, relative to the largest where that exceeds 1; of an
    int8 network in steps of its output. None where it was not run"""
    tolerance: float

    @property
    def passed(self) -> bool:
        return self.error is None or self.error <= self.tolerance


def compare_with_source(
    path: Path, graph: Graph | QuantGraph, samples: int, seed: int
) -> SourceVerdict:
    """Compare a model file, run by its own framework, with the meaning of its graph."""
    try:
        if path.read_bytes()[4:8] == b"TFL3":
            return _tflite(path, graph, samples, seed)
        return _keras(path, graph, samples, seed)
    except _NotRun as reason:
        return SourceVerdict(f"source not run: {reason}", None, 0.0)


class _NotRun(Exception):
    pass


def _keras(path: Path, graph: Graph, samples: int, seed: int) -> SourceVerdict:
    model, runner = _load(path)
    random = np.random.default_rng(seed)
    steps = 1
    if graph.states:
        extents = {i.shape[1] for i in model.inputs if len(i.shape) > 1}
        steps = next((e for e in extents if e is not None), STEPS)
    x = random.normal(size=(samples, steps, graph.input_size)).astype(np.float32)
    ends = np.cumsum([t.size for t in graph.inputs])[:-1]
    time = (steps,) if graph.states else ()
    given = [
        part.reshape(samples, *time, *tensor.shape)
        for part, tensor in zip(np.split(x, ends, axis=2), graph.inputs, strict=True)
    ]
    try:
        each = [_call(model, [g[i : i + 1] for g in given]) for i in range(samples)]
    except Exception as error:  # whatever Keras makes of inputs that it does not expect
        raise _NotRun(f"{runner} cannot run it ({_first_line(error)})") from None
    if graph.states:
        meant = np.array([graph.run(sequence)[0][-1] for sequence in x])
    else:
        meant = np.array([graph.evaluate(row) for row in x[:, 0]])
    # Of a sequence of outputs the last.
    found = np.concatenate(each).reshape(samples, -1)[:, -graph.output.size :]
    scale = max(1.0, float(np.max(np.abs(meant))))
    return SourceVerdict(runner, float(np.max(np.abs(found - meant))) / scale, STEP_TOLERANCE)


def _load(path: Path):
    """The model and who loads it: Keras 3, or Keras 2 where that is installed and does better."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    reason = "Keras is not installed"
    for module in ("keras", "tf_keras"):
        try:
            keras = importlib.import_module(module)
        except ImportError:
            continue
        runner = f"Keras {keras.__version__}"
        try:
            return keras.models.load_model(path, compile=False), runner
        except Exception as error:  # whatever comes to pass in a file
            reason = f"{runner} cannot load it ({_first_line(error)})"
    raise _NotRun(reason)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:80]


def _call(model, inputs: list[np.ndarray]) -> np.ndarray:
    for layer in model.layers:
        if getattr(layer, "stateful", False):
            layer.reset_states() if hasattr(layer, "reset_states") else layer.reset_state()
    result = model(inputs if len(inputs) > 1 else inputs[0], training=False)
    return result.numpy() if hasattr(result, "numpy") else np.asarray(result)


def _tflite(path: Path, graph: Graph | QuantGraph, samples: int, seed: int) -> SourceVerdict:
    """Of an int8 network in steps of its output."""
    is_int8 = isinstance(graph, QuantGraph)
    interpreter = _interpreter(path, is_int8)
    runner = "TensorFlow Lite interpreter"
    random = np.random.default_rng(seed)
    x = random.normal(size=(samples, graph.input_size)).astype(np.float32)
    inputs = interpreter.get_input_details()
    output = interpreter.get_output_details()[0]
    takes_int8 = inputs[0]["dtype"] == np.int8
    ends = np.cumsum([t.size for t in graph.inputs])[:-1]
    found, meant = [], []
    for row in x:
        given = graph.quantize(row) if takes_int8 else row
        for part, details in zip(np.split(given, ends), inputs, strict=True):
            values = part.reshape(details["shape"]).astype(details["dtype"])
            interpreter.set_tensor(details["index"], values)
        interpreter.invoke()
        y = interpreter.get_tensor(output["index"]).ravel().astype(np.float64)
        if is_int8 and output["dtype"] != np.int8:
            y = np.rint(y / graph.output.scale) + graph.output.zero
        found.append(y)
        meant.append(graph.evaluate_q(graph.quantize(row)) if is_int8 else graph.evaluate(row))
    error = float(np.max(np.abs(np.array(found) - np.array(meant))))
    if is_int8:
        return SourceVerdict(runner, error, 1.0)
    return SourceVerdict(runner, error / max(1.0, float(np.max(np.abs(meant)))), STEP_TOLERANCE)


def _interpreter(path: Path, is_int8: bool):
    """With the reference kernels, whose integers are exact, unless they lack an operator."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType
    except ImportError:
        try:
            import tensorflow
        except ImportError:
            raise _NotRun("no TensorFlow Lite interpreter is installed") from None
        Interpreter = tensorflow.lite.Interpreter
        OpResolverType = tensorflow.lite.experimental.OpResolverType
    kinds = [OpResolverType.BUILTIN_REF] * is_int8 + [OpResolverType.AUTO]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that TensorFlow's is the old one
        for kind in kinds:
            try:
                interpreter = Interpreter(model_path=str(path), experimental_op_resolver_type=kind)
                break
            except ValueError:
                if kind is kinds[-1]:
                    raise
    interpreter.allocate_tensors()
    return interpreter
