"""The child process of `reference`: runs a model that our own reader has read, behind closed doors.

    python -m nn4mc_codegen.trial.source_process keras|tf_keras|tflite|onnx < request > answer

The request is a pickle of the parent, and the answer a line of JSON and an array in NumPy's format,
which holds no objects. The framework is imported first, then the doors are closed, and only then is
the request read.
"""

from __future__ import annotations

import importlib
import io
import json
import os
import pickle
import sys
import warnings
from typing import Any

import numpy as np

from nn4mc_codegen.importers.isolation import bound_resources, close_doors
from nn4mc_codegen.importers.keras import Source
from nn4mc_codegen.importers.onnx_source import OnnxSource
from nn4mc_codegen.ops import KERAS_LAYERS
from nn4mc_codegen.ops.activation import NAMES as ACTIVATIONS

# What else a config may say to Keras: which of a few ways to go.
WORDS = ("valid", "same", "causal", "channels_last", "concat", "sum", "mul", "ave")


def main(framework: str) -> None:
    answer_to = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what frameworks print is no answer
    warnings.simplefilter("ignore")
    others = {"tflite": tflite, "onnx": onnx}
    runner, run = others[framework]() if framework in others else keras(framework)
    bound_resources()
    close_doors()
    head, outputs = {"runner": runner}, np.zeros(0)
    try:
        more, outputs = run(*pickle.load(sys.stdin.buffer))
        head |= more
    except Exception as error:  # whatever a framework makes of what it does not expect
        head["failure"] = (str(error).splitlines() or [type(error).__name__])[0][:80]
    array = io.BytesIO()  # NumPy would write to the pipe as to a file
    np.save(array, outputs, allow_pickle=False)
    with answer_to:
        answer_to.write(json.dumps(head).encode() + b"\n" + array.getvalue())


# Keras


def keras(package: str):
    framework = importlib.import_module(package)
    # Much is imported when it is first used.
    layers = [framework.layers.Conv1D(1, 1), framework.layers.GRU(1), framework.layers.Dense(1)]
    warm = np.zeros((1, 2, 1), np.float32)
    for layer in layers:
        warm = layer(warm)
    return f"Keras {framework.__version__}", lambda *request: ({}, run_keras(framework, *request))


def run_keras(framework: Any, source: Source, inputs: list[np.ndarray]) -> np.ndarray:
    """Outputs (samples, …) of the model for inputs (samples, …) each: those of one step where the
    graph is of one, the last."""
    layers: dict[str, Any] = {}
    tensor = framework.ops.convert_to_tensor if hasattr(framework, "ops") else tf_constant

    def outputs(inputs: list[np.ndarray]) -> list[Any]:
        made = dict(zip(source.network.inputs, inputs, strict=True))
        for call in source.network.calls:
            if call.name not in layers:
                layers[call.name] = built(framework, call.class_name, call.config)
            given = [made[key] for key in call.sources]
            layer = layers[call.name]
            if call.starts:
                found = layer(given[0], initial_state=[tensor(state) for state in given[1:]])
            else:
                found = layer(given if call.op.several_inputs else given[0])
            name, number, _ = call.result
            several = found if isinstance(found, list | tuple) else [found]
            made |= {(name, number, part): value for part, value in enumerate(several)}
        return [made[key] for key in source.network.outputs]

    outputs([x[:1] for x in inputs])  # layers have their arrays from their first call on
    for name, arrays in source.arrays.items():
        layers[name].set_weights(arrays)
        if hasattr(layers[name], "finalize_state"):  # a Normalization computes with copies
            layers[name].finalize_state()
    found = (np.asarray(y, np.float32).reshape(len(inputs[0]), -1) for y in outputs(inputs))
    return np.hstack([y[:, -size:] for y, size in zip(found, source.sizes, strict=True)])


def tf_constant(x: Any) -> Any:
    """For Keras 2, which takes no arrays as states."""
    return importlib.import_module("tensorflow").constant(x)


def built(framework: Any, class_name: str, config: dict[str, Any]) -> Any:
    """A layer of a class in our table, of those parts of its config that the operator names."""
    if class_name == "Bidirectional":
        inner = [
            built(framework, config[key]["class_name"], config[key]["config"])
            for key in ("layer", "backward_layer")
            if config.get(key)
        ]
        mode = plain(framework, config.get("merge_mode", "concat"))
        return framework.layers.Bidirectional(
            inner[0], merge_mode=mode, backward_layer=inner[1] if inner[1:] else None
        )
    wanted = KERAS_LAYERS[class_name].keras_config
    arguments = {key: plain(framework, config[key]) for key in wanted if key in config}
    axis = arguments.get("axis")
    if isinstance(axis, list) and len(axis) == 1:  # as Keras 2 writes that of a BatchNormalization
        arguments["axis"] = axis[0]
    return getattr(framework.layers, class_name)(**arguments)


def plain(framework: Any, value: Any) -> Any:
    """A part of a config without anything that Keras would look up, import or run.

    Numbers, and lists of them, stay; a word must be the name of an activation, or say nothing to
    Keras but which of a few ways to go, as "same" does; an activation that is a layer is built.
    """
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, list | tuple):
        return [plain(framework, item) for item in value]
    if isinstance(value, dict) and isinstance(value.get("config"), dict):
        class_name = value.get("class_name")
        if class_name in ("ReLU", "LeakyReLU", "ELU"):
            return built(framework, class_name, value["config"])
    word = value.get("config") if isinstance(value, dict) else value
    if word in (*ACTIVATIONS, *WORDS):
        return word
    raise ValueError(f"{value!r:.60} in a config")


# TensorFlow Lite


def tflite():
    try:
        from ai_edge_litert import schema_py_generated as schema
        from ai_edge_litert.interpreter import Interpreter, OpResolverType
    except ImportError:
        import tensorflow
        from tensorflow.lite.python import schema_py_generated as schema

        Interpreter = tensorflow.lite.Interpreter
        OpResolverType = tensorflow.lite.experimental.OpResolverType
    # The reference kernels, whose integers are exact; where they lack an operator the others.
    kinds = OpResolverType.BUILTIN_REF, OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES

    def interpreter(content: bytes) -> Any:
        for kind in kinds:
            try:
                return Interpreter(model_content=content, experimental_op_resolver_type=kind)
            except ValueError:
                if kind is kinds[-1]:
                    raise

    def run(
        content: bytes, sizes: list[int], x: np.ndarray, q: np.ndarray | None, carries: bool
    ) -> tuple[dict, np.ndarray]:
        given = sizes, x, q, carries
        as_stored, as_floats = (rewritten(schema, content, floats) for floats in (False, True))
        head, y = run_tflite(interpreter(as_floats), *given)
        if as_floats != as_stored:
            _, own = run_tflite(interpreter(as_stored), *given)
            head["own_kernels"] = float(np.max(np.abs(own - y)))
        return head, y

    return "TensorFlow Lite interpreter", run


def rewritten(schema: Any, content: bytes, floats: bool = False) -> bytes:
    """The main graph of a `.tflite` file alone, in a new flatbuffer; with `floats` the int8 weights
    of float32 arithmetic are float32 there.

    Other graphs, metadata and operators that it does not use, which our reader did not look at, are
    left out. Raises ValueError where it uses an operator that is not built in.
    """
    import flatbuffers

    model = schema.ModelT.InitFromPackedBuf(content, 0)
    main = model.subgraphs[0]
    used = sorted({operator.opcodeIndex for operator in main.operators})
    codes = [model.operatorCodes[number] for number in used]
    if any(code.customCode for code in codes):
        raise ValueError("an operator that is not built in")
    for operator in main.operators:
        operator.opcodeIndex = used.index(operator.opcodeIndex)
    model.operatorCodes, model.subgraphs = codes, [main]
    model.metadata = model.metadataBuffer = model.signatureDefs = None
    if floats:
        make_floats(schema, model)
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def make_floats(schema: Any, model: Any) -> None:
    """Replace the 8-bit constants that operators on float32 read, but for those of a DEQUANTIZE,
    which makes floats of them itself."""
    main, types = model.subgraphs[0], schema.TensorType
    wanted: set[int] = set()
    read_as_stored: set[int] = set()
    for operator in main.operators:
        code = model.operatorCodes[operator.opcodeIndex]
        kind = max(code.builtinCode, code.deprecatedBuiltinCode)
        computes = main.tensors[operator.outputs[0]].type == types.FLOAT32
        is_own = kind == schema.BuiltinOperator.DEQUANTIZE or not computes
        (read_as_stored if is_own else wanted).update(i for i in operator.inputs if i >= 0)
    for tensor in (main.tensors[i] for i in sorted(wanted - read_as_stored)):
        data, quantization = model.buffers[tensor.buffer].data, tensor.quantization
        if tensor.type not in (types.INT8, types.UINT8) or data is None or quantization is None:
            continue
        shape = np.ones(len(tensor.shape), int)
        if len(quantization.scale) > 1:
            shape[quantization.quantizedDimension] = -1
        scale, zero = np.float32(quantization.scale), np.array(quantization.zeroPoint)
        q = np.array(data, np.uint8).view(np.int8 if tensor.type == types.INT8 else np.uint8)
        steps = q.reshape(tensor.shape).astype(np.int64) - zero.reshape(shape)
        made = schema.BufferT()
        made.data = (steps.astype(np.float32) * scale.reshape(shape)).view(np.uint8).ravel()
        tensor.type, tensor.buffer, tensor.quantization = types.FLOAT32, len(model.buffers), None
        model.buffers.append(made)


def run_tflite(
    interpreter: Any, sizes: list[int], x: np.ndarray, q: np.ndarray | None, carries: bool
) -> tuple[dict, np.ndarray]:
    """Outputs (samples, n) for x (samples, inputs), which is q in int8, inputs being of `sizes`;
    the samples are steps of one sequence where the network carries a state."""
    interpreter.allocate_tensors()
    inputs, output = interpreter.get_input_details(), interpreter.get_output_details()[0]
    kind = np.dtype(inputs[0]["dtype"])
    given = x if kind == np.float32 else q + 128 if kind == np.uint8 else q
    found = []
    for row in given:
        for part, details in zip(np.split(row, np.cumsum(sizes)[:-1]), inputs, strict=True):
            values = part.reshape(details["shape"]).astype(details["dtype"])
            interpreter.set_tensor(details["index"], values)
        if not carries:
            interpreter.reset_all_variables()
        interpreter.invoke()
        found.append(interpreter.get_tensor(output["index"]).ravel())
    return {"output_type": np.dtype(output["dtype"]).name}, np.array(found)


# ONNX


def onnx():
    import onnxruntime
    from onnx import TensorProto, helper

    def session(content: bytes):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    # Much is loaded with the first model.
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1]) for n in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Tanh", ["x"], ["y"])], "g", ends[:1], ends[1:])
    opset = helper.make_opsetid("", 13)
    warm = helper.make_model(graph, opset_imports=[opset], ir_version=8).SerializeToString()
    session(warm).run(None, {"x": np.zeros(1, np.float32)})

    def run(source: OnnxSource, x: np.ndarray):
        return {}, np.array([run_onnx(session(source.content), source, row) for row in x])

    return f"onnxruntime {onnxruntime.__version__}", run


def run_onnx(session: Any, source: OnnxSource, x: np.ndarray) -> np.ndarray:
    """Outputs, flat, at the last step, for x (steps, inputs)."""
    given, first = {}, 0
    for name, extents in source.inputs:
        one = [1 if e == "time" else e for e in extents]
        part = x[:, first : first + int(np.prod(one))]
        first += part.shape[1]
        if "time" in extents:
            rows = part.reshape(len(x), *one)
            given[name] = np.concatenate(list(rows), axis=extents.index("time"))
        else:
            given[name] = part[0].reshape(one)
    outputs = []
    for y, shape in zip(session.run(None, given), source.outputs, strict=True):
        for axis, extent in enumerate(shape):
            if y.shape[axis] != extent:
                y = np.take(y, [-1], axis=axis)
        outputs.append(y.ravel())
    return np.concatenate(outputs)


if __name__ == "__main__":
    main(*sys.argv[1:])
